//! The database, through restarts, crashes, doubts and crowds.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod backup;
mod crowd;
mod doubt;
mod restart;
mod shell;
mod snapshots;
mod transactions;

use siding_kv::{Db, Map, Options, Result};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A log of small segments, so that trimming shows, and little patience.
fn options() -> Options {
    let log = siding::Options::new().segment_size(64 << 10).ring_size(256 << 10);
    Options::new().log(log).patience(Duration::from_millis(200))
}

fn open(dir: &Path) -> Result<Db> {
    options().open(dir)
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The files as a crash at this moment would leave them, or one while they are copied: the
/// control file goes first, for what it says holds of all later states of the segments.
fn crash(dir: &Path) -> TempDir {
    loop {
        if let Some(image) = crash_amid(dir) {
            return image;
        }
    }
}

/// The same while others write. None if the log was never still for as long as a copy takes: who
/// writes faster than it is copied must be held up.
fn crash_amid(dir: &Path) -> Option<TempDir> {
    let image = scratch();
    copy(&siding_kv::log_dir(dir), &siding_kv::log_dir(image.path()))?;
    copy_files(dir, image.path())?;
    Some(image)
}

fn copy(from: &Path, to: &Path) -> Option<()> {
    fs::create_dir_all(to).unwrap();
    copy_files(from, to)
}

/// Copies what stands at one moment: while the log trims, a copy takes longer than a moment, and
/// no crash would leave what it is made of.
fn copy_files(from: &Path, to: &Path) -> Option<()> {
    for _ in 0..8 {
        let control = fs::read(from.join("control")).ok();
        copy_once(from, to);
        if fs::read(from.join("control")).ok() == control {
            return Some(());
        }
        for entry in fs::read_dir(to).unwrap().map(std::io::Result::unwrap) {
            if !entry.path().is_dir() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    None
}

fn copy_once(from: &Path, to: &Path) {
    let entries = fs::read_dir(from).unwrap().map(std::io::Result::unwrap);
    let files = entries.filter(|entry| !entry.path().is_dir());
    let mut names: Vec<_> = files.map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| (name != "control", name.clone()));
    for name in names {
        // A spare may be renamed while it is copied; it holds nothing.
        if let Err(cause) = fs::copy(from.join(&name), to.join(&name)) {
            assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

fn put(db: &Db, key: &str, value: &str) -> Result<siding::Lsn> {
    let mut txn = db.begin()?;
    txn.put(key.as_bytes(), value.as_bytes())?;
    txn.commit()
}

fn value(db: &Db, key: &str) -> Option<String> {
    db.view(|map| map.get(key.as_bytes()).map(|it| String::from_utf8_lossy(it).into_owned()))
}

fn contents(db: &Db) -> Map {
    db.view(Map::clone)
}
