//! The admin socket: who may ask, what is answered, and what becomes of those who ask nonsense.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use siding::{Discipline, Kind, Log, Lsn, Options, Outcome, Result, UnitState};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn options() -> Options {
    Options::new().segment_size(64 << 10).ring_size(256 << 10).admin(true)
}

fn open(path: &Path) -> Result<Log> {
    options().open(path)?.finish()
}

fn ask(dir: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(dir.join("admin.sock")).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn prepared(log: &Log, gid: &[u8]) -> Result<u64> {
    let mut unit = log.begin()?;
    unit.append(b"effect")?;
    Ok(unit.prepare(gid).unwrap().id())
}

#[test]
fn it_answers_what_the_owner_knows() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let unit = prepared(&log, b"a\tb\n")?;
    let mut flying = log.begin()?;
    flying.append(b"not durable, and known all the same")?;
    let units = ask(dir.path(), b"units\n");
    assert!(
        units.starts_with(&format!("unit={unit:#x}\tstate=in doubt\tgid=6109620a\t")),
        "{units}"
    );
    assert!(units.contains("state=in flight") && units.ends_with("\nok\n"), "{units}");
    assert_eq!(units.lines().count(), 3);
    let why = ask(dir.path(), b"why\n");
    assert!(why.contains("kind=unit") && why.contains("gid a\\tb\\n"), "{why}");
    let positions = ask(dir.path(), b"positions\n");
    assert!(positions.contains(&format!("end={}", log.positions().end)), "{positions}");
    let keypoint = ask(dir.path(), b"keypoint\n");
    assert_eq!(keypoint, format!("begin={}\nok\n", log.positions().keypoint_begin));
    assert!(!log.positions().keypoint_begin.is_zero());
    flying.back_out()?;
    log.close()
}

#[test]
fn it_is_private_and_goes_with_its_owner() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    // What a dead owner leaves: a socket nobody listens at, and a half-made one.
    drop(UnixListener::bind(&socket).unwrap());
    fs::create_dir(dir.path().join("admin.sock.new")).unwrap();
    drop(UnixListener::bind(dir.path().join("admin.sock.new/s")).unwrap());
    let log = open(dir.path())?;
    let data = fs::symlink_metadata(&socket).unwrap();
    assert!(data.file_type().is_socket());
    assert_eq!(data.permissions().mode() & 0o7777, 0o600);
    assert!(!dir.path().join("admin.sock.new").exists());
    assert!(ask(dir.path(), b"positions\n").ends_with("ok\n"));
    log.close()?;
    assert!(fs::symlink_metadata(&socket).is_err(), "it stays when the log is closed");
    // Dropping the last handle closes too.
    drop(open(dir.path())?);
    assert!(fs::symlink_metadata(&socket).is_err());
    let log = Options::new().open(dir.path())?.finish()?;
    assert!(fs::symlink_metadata(&socket).is_err(), "nobody asked for it");
    log.close()
}

/// Run a second time in a process whose umask takes nothing away.
#[test]
fn at_no_instant_is_it_more_open_than_at_last() -> Result<()> {
    if std::env::var_os("SIDING_TEST_UMASK").is_none() {
        let this = std::env::current_exe().unwrap();
        let status = std::process::Command::new("sh")
            .args([
                "-c",
                "umask 000; exec \"$0\" --exact at_no_instant_is_it_more_open_than_at_last",
            ])
            .arg(this)
            .env("SIDING_TEST_UMASK", "0")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "see the message above");
        return Ok(());
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let stop = AtomicBool::new(false);
    let seen = AtomicU32::new(0);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(data) = fs::symlink_metadata(&socket) {
                    let mode = data.permissions().mode() & 0o7777;
                    seen.fetch_max(mode, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..30 {
            open(dir.path())?.close()?;
        }
        stop.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    assert_eq!(seen.load(Ordering::Relaxed), 0o600);
    Ok(())
}

#[test]
fn nonsense_is_answered_and_the_next_visitor_is_served() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let long = vec![b'x'; 100_000];
    let nonsense: [&[u8]; 8] = [
        b"\n",
        b"dance\n",
        b"units and more\n",
        b"resolve\n",
        b"resolve 7 perhaps me\n",
        b"resolve seven commit me\n",
        b"\xff\xfe\x00\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for request in nonsense {
        let answer = ask(dir.path(), request);
        assert!(answer.starts_with("error\tInvalid\t") && answer.ends_with('\n'), "{answer:?}");
        assert_eq!(answer.lines().count(), 1, "{answer:?}");
    }
    let answer = ask(dir.path(), &long[..4097]);
    assert!(answer.contains("4096 bytes at most"), "{answer}");
    // One who says more than fits, one who says nothing and leaves, one who does not listen.
    let mut stream = UnixStream::connect(dir.path().join("admin.sock")).unwrap();
    let _ = stream.write_all(&long);
    drop(stream);
    drop(UnixStream::connect(dir.path().join("admin.sock")).unwrap());
    let mut stream = UnixStream::connect(dir.path().join("admin.sock")).unwrap();
    stream.write_all(b"units\n").unwrap();
    drop(stream);
    assert!(ask(dir.path(), b"positions\n").ends_with("ok\n"));
    log.close()
}

#[test]
fn a_visitor_who_says_nothing_holds_up_nobody_for_long() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let start = Instant::now();
    let mut silent = UnixStream::connect(dir.path().join("admin.sock")).unwrap();
    silent.write_all(b"un").unwrap();
    assert!(ask(dir.path(), b"positions\n").ends_with("ok\n"));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let mut answer = String::new();
    silent.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("no request came in time"), "{answer}");
    // Nor does one hold up a close.
    let _silent = UnixStream::connect(dir.path().join("admin.sock")).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    log.close()?;
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn a_directory_with_a_long_name_has_a_door_too() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(90)).join("e".repeat(90));
    let log = open(&deep)?;
    assert!(fs::symlink_metadata(deep.join("admin.sock")).unwrap().file_type().is_socket());
    log.close()?;
    assert!(fs::symlink_metadata(deep.join("admin.sock")).is_err());
    Ok(())
}

#[test]
fn a_unit_is_backed_out_without_help_and_committed_only_with_it() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let unit = prepared(&log, b"one")?;
    let refused = ask(dir.path(), format!("resolve {unit} commit me\n").as_bytes());
    assert!(refused.starts_with("error\tInvalid\t") && refused.contains("Options::resolve"));
    assert_eq!(log.in_doubt().len(), 1);
    let done = ask(dir.path(), format!("resolve {unit:#x} back-out Ann Other\n").as_bytes());
    assert_eq!(done, format!("unit={unit:#x}\toutcome=back-out\nok\n"));
    assert!(log.in_doubt().is_empty());
    let again = ask(dir.path(), format!("resolve {unit} commit me\n").as_bytes());
    assert!(again.starts_with("error\tAlreadyDecided\t") && again.contains("back out"), "{again}");
    let unknown = ask(dir.path(), b"resolve 7 back-out me\n");
    assert!(unknown.starts_with("error\tNotFound\t"), "{unknown}");
    let mut flying = log.begin()?;
    flying.append(b"in flight")?;
    let early = ask(dir.path(), format!("resolve {} back-out me\n", flying.id()).as_bytes());
    assert!(early.starts_with("error\tInvalid\t") && early.contains("in flight"), "{early}");
    flying.commit()?;
    log.close()?;
    let seen = Log::open_read_only(dir.path())?;
    let records = seen.records(Lsn::ZERO)?.owned().collect::<Result<Vec<_>>>()?;
    let abort = records.iter().find(|record| record.kind() == Kind::Abort).unwrap();
    assert!(abort.payload().ends_with(b"Ann Other"));
    let heuristic = siding_wal::format::flags::HEURISTIC;
    assert_ne!(abort.as_record().flags() & heuristic, 0);
    Ok(())
}

#[test]
fn the_program_resolves_by_its_own_handler() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let log = options()
        .resolve(move |doubt, outcome| {
            told.lock().unwrap().push((doubt.gid().to_vec(), outcome));
            match doubt.gid() {
                b"left" => Ok(()),
                b"panics" => panic!("the handler's own trouble"),
                _ if outcome == Outcome::Commit => doubt.commit().map(drop).map_err(Into::into),
                _ => doubt.back_out(),
            }
        })
        .open(dir.path())?
        .finish()?;
    let (one, left) = (prepared(&log, b"one")?, prepared(&log, b"left")?);
    let panics = prepared(&log, b"panics")?;
    let done = ask(dir.path(), format!("resolve {one} commit me\n").as_bytes());
    assert!(done.ends_with("outcome=commit\nok\n"), "{done}");
    assert_eq!(*seen.lock().unwrap(), [(b"one".to_vec(), Outcome::Commit)]);
    for unit in [left, panics] {
        let done = ask(dir.path(), format!("resolve {unit} back-out me\n").as_bytes());
        assert!(done.starts_with("error\tCallback\t"), "{done}");
    }
    let states: Vec<_> = log.units().iter().map(|unit| unit.state).collect();
    assert_eq!(states, [UnitState::InDoubt, UnitState::InDoubt]);
    log.close()
}

#[test]
fn under_repeat_history_a_back_out_is_undone_by_the_program() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let undone = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&undone);
    let log = options()
        .discipline(Discipline::RepeatHistory)
        .undo(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        })
        .open(dir.path())?
        .finish()?;
    let (one, two) = (prepared(&log, b"one")?, prepared(&log, b"two")?);
    let done = ask(dir.path(), format!("resolve {one} back-out me\n").as_bytes());
    assert!(done.ends_with("ok\n"), "{done}");
    let done = ask(dir.path(), format!("resolve {two} commit me\n").as_bytes());
    assert!(done.ends_with("ok\n"), "{done}");
    let until = Instant::now() + Duration::from_secs(10);
    while !log.units().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((undone.load(Ordering::Relaxed), log.units().len()), (1, 0));
    log.close()
}

#[test]
fn nothing_is_decided_before_recovery_is_finished() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let unit = prepared(&log, b"one")?;
    log.close()?;
    let recovery = options().open(dir.path())?;
    assert!(ask(dir.path(), b"units\n").contains("in doubt"));
    let early = ask(dir.path(), format!("resolve {unit} back-out me\n").as_bytes());
    assert!(early.starts_with("error\tInUse\t"), "{early}");
    let log = recovery.finish()?;
    let done = ask(dir.path(), format!("resolve {unit} back-out me\n").as_bytes());
    assert!(done.ends_with("ok\n"), "{done}");
    log.close()
}
