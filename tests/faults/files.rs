//! Directories that hold something else than they should.

use siding::{Discipline, Durability, Error, ErrorKind, Log, Options, Recovery, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn options() -> Options {
    Options::new().segment_size(64 << 10).ring_size(256 << 10).write_unit(512)
}

fn open(dir: &Path) -> Result<Recovery> {
    options().open(dir)
}

/// The bytes of every file that matters; the lock file holds the number of a process.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files = entries.map(|path| (name(&path), fs::read(&path).unwrap()));
    files.filter(|(name, _)| name != "lock").collect()
}

fn restore(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for name in contents(dir).keys() {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// A log of five segments and more, closed, or left as a crash leaves it.
fn made(closed: bool) -> Result<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let log = options().durability(Durability::Relaxed).open(dir.path())?.finish()?;
    for number in 0..100_u32 {
        log.write(&[number.to_le_bytes(); 800].concat())?;
    }
    let mut unit = log.begin()?;
    unit.append(b"debit")?;
    drop(unit.prepare(b"transfer")?);
    if closed {
        log.close()?
    } else {
        log.abandon()
    }
    drop(log);
    Ok(dir)
}

/// All of it is there.
fn assert_whole(recovery: Recovery) -> Result<()> {
    let mut committed = recovery.committed()?;
    for number in 0..100_u32 {
        let record = committed.next()?.expect("all records are there");
        assert_eq!(record.payload(), [number.to_le_bytes(); 800].concat());
    }
    assert!(committed.next()?.is_none());
    drop(committed);
    let doubts = recovery.in_doubt();
    assert_eq!(doubts.iter().map(|doubt| doubt.gid()).collect::<Vec<_>>(), [b"transfer"]);
    recovery.abandon();
    Ok(())
}

fn segment(number: u64) -> String {
    siding_wal::format::segment_file_name(number)
}

/// The log is refused, by a reader too; the error names the file, and nothing is changed.
fn refused(dir: &Path, kind: ErrorKind, name: &str, tells: &str) -> Error {
    let before = contents(dir);
    let error = open(dir).expect_err("it cannot be this log, whole");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    let named = error.path().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    assert_eq!(named, Some(name), "{text}");
    assert!(text.contains(tells), "{text}: {tells}");
    assert!(error.advice().is_some(), "{text}: what now?");
    assert!(contents(dir) == before, "something was changed");
    let verified = Log::verify(dir, |_| {});
    let found = verified.is_err() || verified.is_ok_and(|it| !it.findings.is_empty());
    assert!(found, "{text}: and verify finds nothing");
    error
}

/// Does something to a log, closed or not, that must be refused; undone, all is there.
fn spoilt(
    kind: ErrorKind,
    name: &str,
    tells: &str,
    spoil: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    for closed in [true, false] {
        let dir = made(closed)?;
        let before = contents(dir.path());
        spoil(dir.path())?;
        refused(dir.path(), kind, name, tells);
        restore(dir.path(), &before);
        assert_whole(open(dir.path())?)?;
    }
    Ok(())
}

fn change(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Seals a changed header or slot, so that it counts as meant.
fn sealed(block: &mut [u8]) {
    let crc = crc32c::crc32c(&block[..508]);
    block[508..512].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_missing_middle_segment_is_named() -> Result<()> {
    for number in [0, 2, 4] {
        spoilt(ErrorKind::Missing, &segment(number), "[M]", |dir| {
            fs::remove_file(dir.join(segment(number))).unwrap();
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_last_segment_is_missed_too() -> Result<()> {
    let last = |dir: &Path| {
        let used = |number: &u64| {
            let bytes = fs::read(dir.join(segment(*number)));
            bytes.is_ok_and(|bytes| bytes[..512].iter().any(|byte| *byte != 0))
        };
        (0..20).filter(used).max().unwrap()
    };
    for closed in [true, false] {
        let dir = made(closed)?;
        let (before, last) = (contents(dir.path()), last(dir.path()));
        fs::remove_file(dir.path().join(segment(last))).unwrap();
        refused(dir.path(), ErrorKind::Missing, &segment(last), "[M]");
        restore(dir.path(), &before);
        assert_whole(open(dir.path())?)?;
    }
    Ok(())
}

#[test]
fn a_segment_of_another_log_is_named() -> Result<()> {
    let other = made(true)?;
    for (number, from) in [(2, 2), (0, 0), (40, 3)] {
        let spoil = |dir: &Path| {
            fs::copy(other.path().join(segment(from)), dir.join(segment(number))).unwrap();
            Ok(())
        };
        spoilt(ErrorKind::ForeignFile, &segment(number), "another log", spoil)?;
    }
    Ok(())
}

#[test]
fn the_control_file_of_another_log_is_noticed() -> Result<()> {
    let other = made(true)?;
    for closed in [true, false] {
        let dir = made(closed)?;
        let before = contents(dir.path());
        fs::copy(other.path().join("control"), dir.path().join("control")).unwrap();
        let error = open(dir.path()).expect_err("two logs in one directory");
        assert_eq!(error.kind(), ErrorKind::ForeignFile, "{error}");
        assert!(error.path().is_some() && error.advice().is_some(), "{error}");
        restore(dir.path(), &before);
        assert_whole(open(dir.path())?)?;
    }
    Ok(())
}

#[test]
fn another_log_is_told_apart_by_its_number() -> Result<()> {
    let (one, other) = (made(true)?, made(true)?);
    let id = |dir: &TempDir| -> Result<[u8; 16]> {
        let recovery = open(dir.path())?;
        let id = recovery.report().log_id;
        recovery.abandon();
        Ok(id)
    };
    assert_eq!(id(&one)?, id(&one)?);
    assert_ne!(id(&one)?, id(&other)?);
    Ok(())
}

#[test]
fn a_segment_under_a_wrong_number_is_named() -> Result<()> {
    spoilt(ErrorKind::ForeignFile, &segment(3), "wrong name", |dir| {
        fs::copy(dir.join(segment(1)), dir.join(segment(3))).unwrap();
        Ok(())
    })
}

#[test]
fn a_foreign_file_with_a_segments_name_is_named() -> Result<()> {
    for bytes in [b"a text of somebody's".to_vec(), vec![0x41; 64 << 10]] {
        spoilt(ErrorKind::ForeignFile, &segment(30), "not Siding's", |dir| {
            fs::write(dir.join(segment(30)), &bytes).unwrap();
            Ok(())
        })?;
    }
    // It is all there is.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(segment(0)), vec![0x41; 64 << 10]).unwrap();
    refused(dir.path(), ErrorKind::ForeignFile, &segment(0), "not Siding's");
    Ok(())
}

#[test]
fn other_files_are_reported_and_left_alone() -> Result<()> {
    let dir = made(false)?;
    let names = ["notes.txt", "0000000000000002.seg.bak", "2.seg", "00000000000000FF.seg"];
    for name in names {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let recovery = open(dir.path())?;
    let notes = recovery.report().notes.join("; ");
    assert!(names.iter().all(|name| notes.contains(name)), "{notes}");
    assert_whole(recovery)?;
    for name in names {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), name.as_bytes());
    }
    Ok(())
}

#[test]
fn a_newer_version_is_not_called_damage() -> Result<()> {
    spoilt(ErrorKind::UnsupportedVersion, &segment(2), "newer version 2", |dir| {
        change(dir.join(segment(2)), |bytes| {
            bytes[8] = 2;
            sealed(bytes);
        });
        Ok(())
    })?;
    spoilt(ErrorKind::UnsupportedVersion, &segment(2), "features this lacks", |dir| {
        change(dir.join(segment(2)), |bytes| {
            bytes[24] = 1;
            sealed(bytes);
        });
        Ok(())
    })?;
    spoilt(ErrorKind::UnsupportedVersion, "control", "newer version 2", |dir| {
        change(dir.join("control"), |bytes| {
            bytes[8] = 2;
            sealed(bytes);
        });
        Ok(())
    })
}

#[test]
fn a_shortened_file_is_named() -> Result<()> {
    spoilt(ErrorKind::Missing, &segment(2), "[G]", |dir| {
        change(dir.join(segment(2)), |bytes| bytes.truncate(10_000));
        Ok(())
    })
}

#[test]
fn a_log_is_not_opened_for_another_discipline() -> Result<()> {
    let dir = made(true)?;
    let before = contents(dir.path());
    let other = options().discipline(Discipline::RepeatHistory).open(dir.path());
    let error = other.expect_err("it is stored in the log");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("deferred apply") && error.advice().is_some(), "{error}");
    assert!(contents(dir.path()) == before, "something was changed");
    assert_whole(open(dir.path())?)
}

#[test]
fn a_locked_log_names_its_owner() -> Result<()> {
    let dir = made(true)?;
    let log = open(dir.path())?.finish()?;
    for _ in 0..2 {
        let error = open(dir.path()).expect_err("somebody has it");
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Locked, "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert_eq!(error.path(), Some(dir.path()), "{text}");
        assert!(error.advice().is_some(), "{text}");
    }
    log.write(b"it goes on")?;
    log.close()?;
    drop(log);
    open(dir.path())?.abandon();
    Ok(())
}

#[test]
fn a_log_that_is_not_there_is_not_made_unasked() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("nowhere")] {
        let error = options().create(false).open(&path).expect_err("there is no log");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(error.path(), Some(path.as_path()), "{error}");
    }
    assert!(contents(dir.path()).is_empty());
}
