//! The verbs that write: on a closed log, through the owner's socket, and where they must not.

use crate::support::{Said, contents, flip, made, make, options, siding, verb};
use serde_json::json;
use siding::{Discipline, Log, Lsn, Outcome, Result, UnitState};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tempfile::tempdir;

/// The payloads that a recovery delivers, those of 3000 bytes left out.
fn delivered(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut seen = Vec::new();
    let log = options().open(path)?.recover(|record| {
        if record.payload().len() < 3000 {
            seen.push(record.payload().to_vec());
        }
        Ok(())
    })?;
    log.close()?;
    Ok(seen)
}

#[test]
fn resolve_commits_a_unit_of_a_closed_log() -> Result<()> {
    let dir = tempdir().unwrap();
    made(dir.path());
    let said = verb("resolve", dir.path(), &["transfer-7", "--commit", "--who", "Ann, 4711"]);
    said.exits(0).tells(&["transfer-7", "commit", "durable"]);
    let kinds = ["--json", "--kind", "commit", "--uow", "0x10000000001"];
    let commit = verb("dump", dir.path(), &kinds).exits(0).objects().remove(0);
    assert_eq!((&commit["heuristic"], &commit["cause"]), (&json!(true), &json!("operator")));
    assert_eq!(commit["who"], "Ann, 4711");
    verb("info", dir.path(), &[]).exits(0).tells(&["[A] clean close"]);
    verb("verify", dir.path(), &[]).exits(0);
    let seen = delivered(dir.path())?;
    assert!(seen.ends_with(&[
        b"the last one".to_vec(),
        b"debit 30".to_vec(),
        b"credit 30".to_vec()
    ]));
    Ok(())
}

#[test]
fn resolve_backs_a_unit_out_by_its_number() -> Result<()> {
    let dir = tempdir().unwrap();
    made(dir.path());
    let said = verb("resolve", dir.path(), &["0x10000000001", "--back-out", "--json"]).exits(0);
    let object = &said.objects()[0];
    assert_eq!((&object["outcome"], &object["through"]), (&json!("back-out"), &json!("files")));
    assert_eq!(object["gid"], "transfer-7");
    assert!(!delivered(dir.path())?.contains(&b"debit 30".to_vec()));
    Ok(())
}

#[test]
fn resolve_refuses_what_is_not_in_doubt_and_changes_nothing() {
    let dir = tempdir().unwrap();
    made(dir.path());
    let before = contents(dir.path());
    verb("resolve", dir.path(), &["nobody", "--commit"]).exits(1).tells(&["nobody", "units"]);
    verb("resolve", dir.path(), &["0x99", "--commit"]).exits(1).tells(&["0x99"]);
    let decided = verb("resolve", dir.path(), &["0x10000000002", "--back-out"]).exits(1);
    decided.tells(&["decided already", "commit"]);
    verb("resolve", dir.path(), &["transfer-7"]).exits(2).tells(&["--commit"]);
    verb("resolve", dir.path(), &["transfer-7", "--commit", "--back-out"]).exits(2);
    assert_eq!(contents(dir.path()), before);

    verb("resolve", dir.path(), &["transfer-7", "--back-out", "--who", "Ann"]).exits(0);
    let before = contents(dir.path());
    for named in ["transfer-7", "0x10000000001"] {
        let again = verb("resolve", dir.path(), &[named, "--commit", "--json"]).exits(1);
        let object = &again.objects()[0];
        assert_eq!(object["kind"], "AlreadyDecided");
        let text = object["error"].as_str().unwrap();
        assert!(text.contains("back out, by operator Ann"), "{text}");
    }
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn resolve_leaves_undo_to_the_program() -> Result<()> {
    let dir = tempdir().unwrap();
    let repeat = || options().discipline(Discipline::RepeatHistory);
    let log = repeat().open(dir.path())?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"in the files already")?;
    drop(unit.prepare(b"one").unwrap());
    log.close()?;
    verb("resolve", dir.path(), &["one", "--back-out"]).exits(0).tells(&["next open"]);
    verb("units", dir.path(), &[]).exits(0).tells(&["backing out"]);
    let undone = Arc::new(AtomicU32::new(0));
    let recovery = repeat().open(dir.path())?;
    for unit in recovery.in_flight() {
        unit.undo(|_| {
            undone.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        })?;
    }
    recovery.finish()?.close()?;
    assert_eq!(undone.load(Ordering::Relaxed), 1);
    verb("units", dir.path(), &[]).exits(0).tells(&["no unit is live"]);
    Ok(())
}

#[test]
fn keypoint_trims_a_closed_log() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, _) = make(dir.path())?;
    for doubt in log.in_doubt() {
        doubt.commit()?;
    }
    for decided in log.decided() {
        decided.end()?;
    }
    log.redo_from(log.positions().durable)?;
    log.close()?;
    let before = verb("info", dir.path(), &["--json"]).exits(0).objects().remove(0);
    let said = verb("keypoint", dir.path(), &["--json"]).exits(0).objects().remove(0);
    let begin = said["begin"].as_u64().unwrap();
    assert!(begin > before["positions"]["keypoint_begin"].as_u64().unwrap());
    verb("keypoint", dir.path(), &[]).exits(0).tells(&["keypoint at", "trimmed"]);
    verb("verify", dir.path(), &[]).exits(0).tells(&["[A] clean close"]);
    Ok(())
}

#[test]
fn a_locked_log_names_its_owner() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, _) = make(dir.path())?;
    let pid = std::process::id().to_string();
    for args in [vec!["transfer-7", "--commit"], vec![]] {
        let name = if args.is_empty() { "keypoint" } else { "resolve" };
        verb(name, dir.path(), &args).exits(3).tells(&["process", &pid, "admin"]);
    }
    assert_eq!(log.in_doubt().len(), 1);
    log.close()
}

#[test]
fn a_damaged_log_is_not_written_to() {
    let dir = tempdir().unwrap();
    let (log, _) = make(dir.path()).unwrap();
    let hole = log.positions().end;
    for _ in 0..3 {
        log.write(&[7; 100]).unwrap();
    }
    log.close().unwrap();
    flip(dir.path(), hole, 60);
    let before = contents(dir.path());
    verb("resolve", dir.path(), &["transfer-7", "--commit"]).exits(3).tells(&["damaged"]);
    verb("keypoint", dir.path(), &[]).exits(3).tells(&["damaged"]);
    let kept: Vec<_> =
        contents(dir.path()).into_iter().filter(|(name, _)| name != "lock").collect();
    assert_eq!(kept, before.into_iter().filter(|(name, _)| name != "lock").collect::<Vec<_>>());
}

/// Runs a verb as somebody without rights, whoever runs the test.
fn as_nobody(binary: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(binary);
    command.args(args);
    if fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
    {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_read_only_directory_is_read_and_not_written() {
    let temp = tempdir().unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let (binary, dir) = (temp.path().join("siding"), temp.path().join("log"));
    fs::copy(env!("CARGO_BIN_EXE_siding"), &binary).unwrap();
    made(&dir);
    for entry in fs::read_dir(&dir).unwrap() {
        mode(&entry.unwrap().path(), 0o444);
    }
    mode(&dir, 0o555);
    mode(temp.path(), 0o755);
    let path = dir.to_str().unwrap();
    for name in ["info", "dump", "verify", "units", "why"] {
        as_nobody(&binary, &[name, path]).exits(0);
    }
    let refused = as_nobody(&binary, &["resolve", path, "transfer-7", "--commit", "--json"]);
    assert_eq!(refused.exits(3).objects()[0]["kind"], "ReadOnly");
    as_nobody(&binary, &["keypoint", path]).exits(3).tells(&["denied", path]);
    mode(&dir, 0o755);
    assert_eq!(Log::open_read_only(&dir).unwrap().units()[0].state, UnitState::InDoubt);
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_owner_is_asked_while_it_commits() -> Result<()> {
    let dir = tempdir().unwrap();
    made(dir.path());
    let applied = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&applied);
    let log = options()
        .admin(true)
        .resolve(move |doubt, outcome| match outcome {
            Outcome::Commit => {
                doubt.commit()?;
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Outcome::BackOut => doubt.back_out(),
        })
        .open(dir.path())?
        .finish()?;
    let mut other = log.begin()?;
    other.append(b"other")?;
    drop(other.prepare(b"\xffbinary\x01").unwrap());
    // Another process believes a batch once the next one vouches for it.
    log.write(b"behind it")?;
    log.write(b"and behind that")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                log.write(&[9; 500])?;
            }
            Ok(())
        });
        // The writer ends however this does.
        let _stops = Stops(&stop);
        let pid = format!("by process {}; it answers", std::process::id());
        verb("info", dir.path(), &[]).exits(0).tells(&[&pid, "2 in doubt"]);
        let units = verb("units", dir.path(), &["--json", "--in-doubt"]).exits(0).objects();
        assert_eq!(
            (&units[0]["source"], &units[0]["gid"]),
            (&json!("owner"), &json!("transfer-7"))
        );
        assert_eq!(units[1]["gid"], json!(null));
        assert_eq!(units[1]["gid_hex"], "ff62696e61727901");
        verb("units", dir.path(), &[]).exits(0).tells(&["\\xffbinary\\x01"]);
        let pins = verb("why", dir.path(), &["--json"]).exits(0).objects();
        assert!(pins.iter().any(|pin| pin["unit"] == units[0]["unit"] && pin["source"] == "owner"));

        let begin = verb("keypoint", dir.path(), &["--json"]).exits(0).objects().remove(0);
        assert_eq!(begin["through"], "owner");
        assert_eq!(begin["begin"].as_u64(), Some(log.positions().keypoint_begin.get()));

        let done = verb("resolve", dir.path(), &["transfer-7", "--commit", "--json"]).exits(0);
        assert_eq!(done.objects()[0]["through"], "owner");
        assert_eq!(applied.load(Ordering::Relaxed), 1);
        let other = units[1]["unit"].as_str().unwrap();
        verb("resolve", dir.path(), &[other, "--back-out"]).exits(0).tells(&["\\xffbinary"]);
        verb("resolve", dir.path(), &[other, "--commit"]).exits(1).tells(&["back out"]);
        verb("resolve", dir.path(), &["nobody", "--commit"]).exits(1).tells(&["nobody"]);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    })?;
    assert!(log.in_doubt().is_empty());
    log.close()?;
    verb("verify", dir.path(), &[]).exits(0);
    Ok(())
}

#[test]
fn a_dead_owners_socket_is_no_owner() -> Result<()> {
    let dir = tempdir().unwrap();
    made(dir.path());
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("admin.sock")).unwrap());
    verb("info", dir.path(), &[]).exits(0).tells(&["[A] clean close"]);
    verb("resolve", dir.path(), &["transfer-7", "--back-out"]).exits(0);
    let log = options().open(dir.path())?.finish()?;
    assert!(log.in_doubt().is_empty());
    assert!(log.records(Lsn::ZERO)?.next()?.is_some());
    log.close()
}

#[test]
fn the_writing_verbs_say_that_they_write() {
    siding(["--help"]).exits(0).tells(&["resolve", "keypoint", "Writes"]);
    for name in ["resolve", "keypoint"] {
        siding([name, "--help"]).exits(0).tells(&["Example", "admin socket"]);
    }
}
