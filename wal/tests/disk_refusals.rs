//! Bad input and bad days: what the operating system refuses comes back as it said it.
#![allow(clippy::unwrap_used, clippy::panic)]

use siding_wal::disk::{AlignedBuf, Backend, Disk, LogFile, open_dir, open_dir_read_only};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn temp() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// All that may write, and last one that may not.
fn disks(path: &Path) -> [Arc<dyn Disk>; 6] {
    [
        open_dir(path, Backend::Direct, true).unwrap(),
        open_dir(path, Backend::Uring, true).unwrap(),
        open_dir(path, Backend::UringDurable, true).unwrap(),
        open_dir(path, Backend::Buffered, true).unwrap(),
        open_dir(path, Backend::Mmap, true).unwrap(),
        open_dir_read_only(path).unwrap(),
    ]
}

/// The operating system's own error, with its number.
fn refused<T>(what: &str, result: io::Result<T>, kind: ErrorKind) {
    let Err(error) = result else { panic!("{what} went through") };
    assert_eq!(error.kind(), kind, "{what}: {error}");
    assert!(error.raw_os_error().is_some(), "{what}: {error} is not the system's");
}

fn write(file: &dyn LogFile, durable: bool) -> io::Result<()> {
    file.write_at(0, &[&AlignedBuf::zeroed(4096)], durable)
}

#[test]
fn a_full_disk() {
    let temp = temp();
    symlink("/dev/full", temp.path().join("x")).unwrap();
    for disk in &disks(temp.path())[..5] {
        let file = disk.open("x").unwrap();
        for durable in [false, true] {
            let what = format!("{}: a write, durable {durable}", disk.name());
            refused(&what, write(&*file, durable), ErrorKind::StorageFull);
        }
    }
    let notes = &disks(temp.path())[0];
    notes.open("x").unwrap();
    if notes.name() == "direct" {
        let notes = notes.geometry().notes;
        assert!(notes.iter().any(|note| note.contains("refused direct I/O")), "{notes:?}");
    }
}

/// A file that refuses direct I/O is buffered, and looking at it alone means that there too.
#[test]
fn a_refusing_file_opened_read_only() {
    let temp = temp();
    symlink("/dev/full", temp.path().join("x")).unwrap();
    let file = open_dir_read_only(temp.path()).unwrap().open("x").unwrap();
    for result in [write(&*file, false), write(&*file, true), file.sync()] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}

/// A log on a full disk must still be opened, by one owner, or it could never be made smaller.
#[test]
fn a_full_disk_keeps_no_lock_shut() {
    let temp = temp();
    symlink("/dev/full", temp.path().join("lock")).unwrap();
    let disk = &disks(temp.path())[0];
    let guard = disk.lock().unwrap();
    assert!(disk.lock().is_err());
    drop(guard);
    disk.lock().unwrap();
}

#[test]
fn paths_that_are_no_directories() {
    let temp = temp();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    for create in [false, true] {
        for backend in [Backend::Direct, Backend::Buffered] {
            refused("a file", open_dir(&file, backend, create), ErrorKind::NotADirectory);
            let below = file.join("below");
            refused("below a file", open_dir(&below, backend, create), ErrorKind::NotADirectory);
        }
    }
    refused("a file", open_dir_read_only(&file), ErrorKind::NotADirectory);
    let long = temp.path().join("x".repeat(300));
    for create in [false, true] {
        let result = open_dir(&long, Backend::Direct, create);
        refused("a long path", result, ErrorKind::InvalidFilename);
    }
    assert_eq!(fs::read(&file).unwrap(), b"");
    let error = open_dir(Path::new(""), Backend::Direct, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "an empty path: {error}");
}

#[test]
fn entries_that_are_no_files() {
    let temp = temp();
    let path = temp.path();
    fs::create_dir(path.join("dir")).unwrap();
    fs::create_dir(path.join("lost+found")).unwrap();
    symlink("nowhere", path.join("broken")).unwrap();
    symlink("loop", path.join("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("admin.sock"));
    let pipe = Command::new("mkfifo").arg(path.join("pipe")).status();
    for disk in disks(path) {
        let name = disk.name();
        refused(name, disk.open("broken"), ErrorKind::NotFound);
        assert!(disk.open("loop").is_err());
        assert!(disk.open("admin.sock").is_err());
        let names: Vec<String> = disk.list().unwrap().into_iter().map(|entry| entry.0).collect();
        for due in ["dir", "lost+found", "broken", "loop"] {
            assert!(names.contains(&due.to_owned()), "{due}: {names:?}");
        }
        // A pipe holds nobody up: it fails, at once, somewhere before bytes come of it.
        if pipe.as_ref().is_ok_and(std::process::ExitStatus::success) {
            let mut buf = AlignedBuf::zeroed(4096);
            let read = disk.open("pipe").and_then(|file| file.read_at(0, &mut buf));
            assert!(read.is_err(), "{read:?}");
        }
    }
    for disk in &disks(path)[..5] {
        let name = disk.name();
        refused(name, disk.open("dir"), ErrorKind::IsADirectory);
        refused(name, disk.remove("dir"), ErrorKind::IsADirectory);
        refused(name, disk.create("dir"), ErrorKind::AlreadyExists);
        refused(name, disk.create(&"x".repeat(300)), ErrorKind::InvalidFilename);
        let file = disk.create("file").unwrap();
        refused(name, disk.rename("file", "dir"), ErrorKind::IsADirectory);
        refused(name, disk.rename("missing", "file"), ErrorKind::NotFound);
        assert!(write(&*file, true).is_ok());
        disk.remove("file").unwrap();
    }
}

#[test]
fn offsets_beyond_every_file() {
    let temp = temp();
    for disk in &disks(temp.path())[..5] {
        let file = disk.create(disk.name()).unwrap();
        let buf = AlignedBuf::zeroed(4096);
        // Far above any disk and below what an offset can say: most file systems end earlier.
        let result = file.write_at((1 << 62) - 4096, &[&buf], true);
        if result.is_err() {
            refused("a write far out", result, ErrorKind::FileTooLarge);
            assert_eq!(file.len().unwrap(), 0);
        }
    }
}

#[test]
fn a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let temp = temp();
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe.seg");
    if fs::write(temp.path().join(name), "x").is_err() {
        return; // A file system that takes text alone.
    }
    for disk in disks(temp.path()) {
        assert_eq!(disk.list().unwrap(), [("\u{fffd}\u{fffd}.seg".to_owned(), 1)]);
    }
}
