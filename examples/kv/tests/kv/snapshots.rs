//! Snapshot files: a crash between any two steps, rot, and files that are somebody else's.

use crate::{contents, copy, crash, open, put, scratch};
use siding::ErrorKind;
use siding_kv::{Db, Error, Map, Result, log_dir};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A database with two snapshots behind it, and something newer than both.
fn filled(dir: &Path) -> Result<Db> {
    let db = open(dir)?;
    for round in 0..3 {
        for key in 0..60 {
            put(&db, &format!("k{key}"), &format!("{round}{}", "x".repeat(600)))?;
        }
        if round < 2 {
            db.snapshot()?;
        }
    }
    Ok(db)
}

fn newest(dir: &Path) -> PathBuf {
    let mut all: Vec<PathBuf> = files(dir);
    all.sort();
    all.pop().unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.is_file()).collect()
}

/// The database as `log` left its log and `data` its snapshots.
fn composed(log: &Path, data: &Path) -> TempDir {
    let image = scratch();
    copy(&log_dir(log), &log_dir(image.path())).unwrap();
    for file in files(data) {
        fs::copy(&file, image.path().join(file.file_name().unwrap())).unwrap();
    }
    image
}

fn holds(dir: &Path, expected: &Map) -> Result<Db> {
    let db = open(dir)?;
    assert_eq!(&contents(&db), expected);
    assert!(!dir.join("snapshot.tmp").exists());
    // It goes on from there: another snapshot, another crash.
    put(&db, "on", "1")?;
    db.snapshot()?;
    let again = crash(dir);
    assert_eq!(contents(&open(again.path())?), contents(&db));
    Ok(db)
}

#[test]
fn a_crash_between_any_two_steps_of_a_snapshot_loses_nothing() -> Result<()> {
    let dir = scratch();
    let db = filled(dir.path())?;
    let expected = contents(&db);
    // The log writes records of its own: what is put together below must be of one moment.
    let (before, taken) = loop {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let end = db.log().positions().end;
        db.log().ensure_durable(end)?;
        let before = crash(dir.path());
        if db.log().positions().end == end {
            break (before, db.snapshot()?);
        }
    };
    let after = crash(dir.path());
    let whole = fs::read(&taken.file).unwrap();
    let oldest = newest_but(before.path(), 1);
    // While the file is written, and once it is synced: any part of it under the first name.
    for len in [0, 1, 35, 36, whole.len() / 2, whole.len() - 1, whole.len()] {
        let image = composed(before.path(), before.path());
        fs::write(image.path().join("snapshot.tmp"), &whole[..len]).unwrap();
        let db = holds(image.path(), &expected)?;
        assert_eq!(
            db.report().snapshot.as_ref().unwrap().file_name(),
            newest(before.path()).file_name()
        );
    }
    // Renamed, the log not told yet; and told, what is older not removed yet.
    for log in [before.path(), after.path()] {
        let image = composed(log, after.path());
        fs::copy(&oldest, image.path().join(oldest.file_name().unwrap())).unwrap();
        let db = holds(image.path(), &expected)?;
        assert_eq!(db.report().snapshot.as_ref().unwrap().file_name(), taken.file.file_name());
        assert_eq!(db.report().redone, 0);
    }
    // All done.
    holds(after.path(), &expected)?;
    Ok(())
}

fn newest_but(dir: &Path, skip: usize) -> PathBuf {
    let mut all = files(dir);
    all.sort();
    all.into_iter().rev().nth(skip).unwrap()
}

#[test]
fn a_snapshot_that_is_torn_or_rotten_costs_a_longer_redo_and_nothing_else() -> Result<()> {
    let dir = scratch();
    let db = filled(dir.path())?;
    db.snapshot()?;
    put(&db, "last", "1")?;
    let expected = contents(&db);
    let good = crash(dir.path());
    let whole = fs::read(newest(good.path())).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let garbage = vec![0xa5; 5_000];
    let torn: Vec<Vec<u8>> = [0, 7, 8, 40, whole.len() / 2, whole.len() - 1]
        .into_iter()
        .map(|len| whole[..len].to_vec())
        .collect();
    let rotten = [0, 9, 13, 30, 40, whole.len() - 5, whole.len() - 1].map(flipped).to_vec();
    for bytes in torn.into_iter().chain(rotten).chain([garbage]) {
        let image = composed(good.path(), good.path());
        fs::write(newest(image.path()), &bytes).unwrap();
        let db = holds(image.path(), &expected)?;
        assert_eq!(db.report().passed_over.len(), 1, "{:?}", db.report());
        assert!(db.report().redone > 60);
    }
    Ok(())
}

#[test]
fn without_any_whole_snapshot_a_trimmed_log_is_refused_by_name() -> Result<()> {
    let dir = scratch();
    let db = filled(dir.path())?;
    db.snapshot()?;
    db.close()?;
    drop(db);
    for file in files(dir.path()) {
        fs::write(file, b"SIDINGKV rotten").unwrap();
    }
    let refused = open(dir.path()).unwrap_err();
    assert_eq!(refused.log_kind(), Some(ErrorKind::Trimmed), "{refused}");
    assert!(refused.to_string().contains("checksum"), "{refused}");
    for file in files(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    let refused = open(dir.path()).unwrap_err();
    assert_eq!(refused.log_kind(), Some(ErrorKind::Trimmed), "{refused}");
    Ok(())
}

#[test]
fn a_whole_snapshot_of_another_log_is_refused() -> Result<()> {
    let (one, other) = (scratch(), scratch());
    let db = filled(one.path())?;
    drop(filled(other.path())?);
    let image = composed(one.path(), other.path());
    let refused = open(image.path()).unwrap_err();
    assert!(matches!(&refused, Error::Snapshot { what, .. } if what.contains("another log")));
    // An older state of the same log, with a snapshot from later on.
    let before = crash(one.path());
    for _ in 0..10 {
        put(&db, "later", &"x".repeat(900))?;
    }
    db.snapshot()?;
    let image = composed(before.path(), one.path());
    let refused = open(image.path()).unwrap_err();
    assert!(matches!(&refused, Error::Snapshot { what, .. } if what.contains("newer")));
    Ok(())
}

#[test]
fn snapshots_without_their_log_are_not_taken_for_a_new_database() -> Result<()> {
    let dir = scratch();
    drop(filled(dir.path())?);
    fs::remove_dir_all(log_dir(dir.path())).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert_eq!(refused.log_kind(), Some(ErrorKind::NotFound), "{refused}");
    Ok(())
}

#[test]
fn files_of_others_are_left_alone() -> Result<()> {
    let dir = scratch();
    drop(filled(dir.path())?);
    let mine = ["snapshot-7", "snapshot-00000000000000zz", "notes.txt", "snapshot-"];
    for name in mine {
        fs::write(dir.path().join(name), b"mine").unwrap();
    }
    let db = open(dir.path())?;
    assert!(db.report().passed_over.is_empty());
    db.snapshot()?;
    for name in mine {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"mine");
    }
    // One that takes the last number there is.
    let last = dir.path().join("snapshot-ffffffffffffffff");
    fs::write(&last, b"mine").unwrap();
    let refused = db.snapshot().unwrap_err();
    assert!(matches!(refused, Error::Snapshot { file, .. } if file == last));
    assert_eq!(fs::read(&last).unwrap(), b"mine");
    Ok(())
}
