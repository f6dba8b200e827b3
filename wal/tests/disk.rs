//! The backends on a real directory: what the conformance suite cannot ask of every disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

use siding_wal::disk::{
    AlignedBuf, Backend, Disk, LockError, LogFile, conformance, open_dir, open_dir_read_only,
};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// On the disk the build is on: `/tmp` may be memory.
fn temp() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

const REAL: [Backend; 5] =
    [Backend::Direct, Backend::Uring, Backend::UringDurable, Backend::Buffered, Backend::Mmap];

fn at(path: &Path, backend: Backend) -> Arc<dyn Disk> {
    open_dir(path, backend, true).unwrap()
}

fn block(byte: u8) -> AlignedBuf {
    AlignedBuf::from(&[byte; 4096][..])
}

fn read(file: &dyn LogFile, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = AlignedBuf::zeroed(len);
    let count = file.read_at(offset, &mut buf).unwrap();
    buf[..count].to_vec()
}

#[test]
fn every_backend_conforms() {
    let temp = temp();
    for backend in Backend::ALL {
        let made = std::cell::Cell::new(0);
        let passed = conformance::check(&|| {
            made.set(made.get() + 1);
            open_dir(&temp.path().join(format!("{backend}-{}", made.get())), backend, true)
        });
        let passed = passed.unwrap_or_else(|broken| panic!("{backend}: {broken}"));
        assert_eq!(passed.len(), made.get());
    }
}

/// Some of these take direct I/O and tell nothing about it, others refuse.
#[test]
fn direct_conforms_on_a_file_system_without_a_disk() {
    let Ok(temp) = tempfile::tempdir_in("/dev/shm") else { return };
    let made = std::cell::Cell::new(0);
    conformance::check(&|| {
        made.set(made.get() + 1);
        let disk = open_dir(&temp.path().join(made.get().to_string()), Backend::Direct, true)?;
        assert!(!disk.geometry().notes.is_empty(), "an assumption or a fallback is named");
        Ok(disk)
    })
    .unwrap();
}

#[test]
fn backends_go_by_name() {
    for backend in Backend::ALL {
        assert_eq!(backend.to_string().parse::<Backend>().unwrap(), backend);
        let temp = temp();
        let disk = at(temp.path(), backend);
        assert_eq!(disk.path().is_none(), backend == Backend::Memory);
        assert_eq!(disk.free_bytes().is_none(), backend == Backend::Memory);
    }
    let error = "ramdisk".parse::<Backend>().unwrap_err();
    assert_eq!(error.kind(), siding_wal::ErrorKind::Invalid);
    assert!(
        error.to_string().contains("direct, uring, uring-durable, buffered, mmap, memory"),
        "{error}"
    );
}

#[test]
fn a_directory_is_made_only_on_request() {
    let temp = temp();
    let deep = temp.path().join("a/b/../c/log");
    for backend in REAL {
        let error = open_dir(&deep, backend, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(open_dir_read_only(&deep).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    let deep = temp.path().join("a/b/log");
    at(&deep, Backend::Direct).create("x").unwrap();
    at(&deep, Backend::Buffered).open("x").unwrap();
}

#[test]
fn the_directory_stays_the_same_when_its_path_does_not() {
    for backend in REAL {
        let temp = temp();
        let (old, new) = (temp.path().join("old"), temp.path().join("new"));
        let disk = at(&old, backend);
        disk.create("a").unwrap().write_at(0, &[&block(1)], true).unwrap();
        fs::rename(&old, &new).unwrap();
        fs::create_dir(&old).unwrap();
        disk.create("b").unwrap();
        disk.rename("a", "c").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap().len(), 2);
        assert_eq!(fs::read(new.join("c")).unwrap(), *block(1));
        assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
    }
}

#[test]
fn a_file_may_end_anywhere() {
    let temp = temp();
    let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(temp.path().join("x"), &bytes).unwrap();
    let disks = REAL.map(|backend| at(temp.path(), backend));
    for disk in disks.iter().chain(&[open_dir_read_only(temp.path()).unwrap()]) {
        let file = disk.open("x").unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        assert_eq!(read(&*file, 0, 16384), bytes);
        assert_eq!(read(&*file, 0, 4096), bytes[..4096]);
        assert_eq!(read(&*file, 8192, 4096), bytes[8192..]);
        assert_eq!(read(&*file, 12288, 4096), []);
    }
    // The next write fills the last block up.
    let file = disks[0].open("x").unwrap();
    file.write_at(12288, &[&block(7)], true).unwrap();
    let whole = read(&*file, 0, 1 << 20);
    assert_eq!((whole.len(), &whole[..10_000]), (16384, &bytes[..]));
    assert!(whole[10_000..12288].iter().all(|byte| *byte == 0));
}

#[test]
fn direct_takes_aligned_buffers_alone() {
    let temp = temp();
    let disk = at(temp.path(), Backend::Direct);
    if disk.name() != "direct" || !disk.geometry().notes.is_empty() {
        return;
    }
    let file = disk.create("x").unwrap();
    let mut buf = AlignedBuf::zeroed(8192);
    let odd = &mut buf[1..4097];
    for error in [file.write_at(0, &[odd], true).unwrap_err(), file.read_at(0, odd).unwrap_err()] {
        // Said in words: "invalid argument" is all the system has for it.
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::InvalidInput, None));
    }
    assert_eq!(file.len().unwrap(), 0);
}

/// Bytes this thread has had read from devices so far.
fn device_reads() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// After a failed sync the page cache shows bytes that are on no disk.
#[test]
fn reads_come_from_the_device() {
    const SIZE: u64 = 1 << 20;
    let temp = temp();
    if !at(temp.path(), Backend::Direct).geometry().notes.is_empty() {
        return; // No disk below that could be asked.
    }
    let path = temp.path().join("x");
    let fill = |byte| {
        fs::write(&path, vec![byte; SIZE as usize]).unwrap();
        fs::File::open(&path).unwrap().sync_all().unwrap();
    };
    let cost = |file: &dyn LogFile| {
        let before = device_reads();
        assert_eq!(read(file, 0, SIZE as usize).len(), SIZE as usize);
        device_reads() - before
    };
    fill(1);
    let direct = at(temp.path(), Backend::Direct).open("x").unwrap();
    assert!(cost(&*direct) >= SIZE);
    assert!(cost(&*direct) >= SIZE, "direct reads never come from the cache");
    let looking = open_dir_read_only(temp.path()).unwrap().open("x").unwrap();
    assert!(cost(&*looking) >= SIZE);

    fill(2);
    let disk = at(temp.path(), Backend::Buffered);
    let file = disk.open("x").unwrap();
    assert!(cost(&*file) >= SIZE, "an open forgets what the cache believes");
    assert_eq!(cost(&*file), 0, "and what was read since is kept");
    // Dirty at the open: gone after the sync that recovery does before it reads.
    fs::write(&path, vec![3; SIZE as usize]).unwrap();
    let file = disk.open("x").unwrap();
    file.sync().unwrap();
    assert!(cost(&*file) >= SIZE);
    // A writer knows what it wrote, and its syncs do not cost it the cache.
    file.write_at(0, &[&AlignedBuf::zeroed(SIZE as usize)], false).unwrap();
    file.sync().unwrap();
    assert_eq!(cost(&*file), 0);
}

/// Bytes this thread has dirtied so far, as the operating system counts them.
fn dirtied() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Folios of a megabyte would be written whole for each commit.
#[test]
fn a_store_dirties_no_more_than_the_write_unit() {
    let temp = temp();
    let disk = at(temp.path(), Backend::Mmap);
    let geometry = disk.geometry();
    if disk.name() != "mmap" || !geometry.notes.is_empty() {
        return; // Nothing is counted here.
    }
    let file = disk.create("x").unwrap();
    file.write_at(0, &[&AlignedBuf::zeroed(4 << 20)], true).unwrap();
    let most = |file: &dyn LogFile| {
        let places = (0..4 << 20).step_by(256 << 10);
        let cost = places.map(|offset| {
            let before = dirtied();
            file.write_at(offset, &[&block(1)], true).unwrap();
            dirtied() - before
        });
        cost.max().unwrap()
    };
    assert_eq!(most(&*file), u64::from(geometry.write_unit));
    // As it comes back from the device, after a scan.
    let again = disk.open("x").unwrap();
    assert_eq!(read(&*again, 0, 4 << 20).len(), 4 << 20);
    assert!(most(&*again) <= u64::from(geometry.write_unit));
}

#[test]
fn a_link_counts_as_what_it_leads_to() {
    let temp = temp();
    fs::create_dir(temp.path().join("log")).unwrap();
    fs::write(temp.path().join("elsewhere"), [1; 4096]).unwrap();
    std::os::unix::fs::symlink("../elsewhere", temp.path().join("log/x")).unwrap();
    for backend in REAL {
        let disk = at(&temp.path().join("log"), backend);
        assert_eq!(disk.list().unwrap(), [("x".to_owned(), 4096)]);
        assert_eq!(disk.open("x").unwrap().len().unwrap(), 4096);
    }
}

/// Nothing there takes direct I/O; it serves to see the fallback everywhere.
#[test]
fn a_refusal_of_direct_io_is_named() {
    let Ok(disk) = open_dir_read_only(Path::new("/proc/sys/kernel")) else { return };
    assert_eq!(disk.name(), "buffered");
    let notes = disk.geometry().notes;
    assert!(notes.iter().any(|note| note.contains("refuses direct I/O")), "{notes:?}");
    assert_eq!(read(&*disk.open("ostype").unwrap(), 0, 512), b"Linux\n");
}

#[test]
fn read_only_changes_nothing_and_follows() {
    let temp = temp();
    let owner = at(temp.path(), Backend::Direct);
    let guard = owner.lock().unwrap();
    let file = owner.create("a").unwrap();
    file.write_at(0, &[&block(1)], true).unwrap();
    let looker = open_dir_read_only(temp.path()).unwrap();
    let seen = looker.open("a").unwrap();
    let dated = || {
        let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        (changed(temp.path()), changed(&temp.path().join("a")), looker.list().unwrap().len())
    };
    let before = dated();
    let denied = |what: &str, result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
    };
    denied("create", looker.create("b").map(drop));
    denied("rename", looker.rename("a", "b"));
    denied("remove", looker.remove("a"));
    denied("sync_dir", looker.sync_dir());
    denied("write", seen.write_at(0, &[&block(2)], false));
    denied("durable write", seen.write_at(0, &[&block(2)], true));
    denied("sync", seen.sync());
    drop(guard);
    match looker.lock() {
        Err(LockError::Io(error)) => denied("lock", Err(error)),
        other => panic!("{other:?}"),
    }
    assert_eq!(dated(), before);
    assert_eq!(read(&*seen, 0, 8192), *block(1));
    file.write_at(4096, &[&block(3)], false).unwrap();
    assert_eq!(read(&*seen, 4096, 8192), *block(3), "the owner goes on writing");
    assert!(looker.geometry().notes.iter().any(|note| note.contains("read-only")));
    // An empty directory has nothing to try direct I/O on; looking into it is no error.
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(open_dir_read_only(&empty).unwrap().list().unwrap(), []);
}

fn holder(disk: &dyn Disk) -> Option<u32> {
    match disk.lock() {
        Err(LockError::Held { pid }) => pid,
        other => panic!("the lock is held, not {other:?}"),
    }
}

#[test]
fn the_lock_excludes_handles_and_outlives_its_file() {
    let temp = temp();
    let path = temp.path().join("lock");
    let us = Some(std::process::id());
    let [one, two] = [Backend::Direct, Backend::Buffered].map(|backend| at(temp.path(), backend));
    fs::write(&path, "4194304 and more than a number takes").unwrap();
    let guard = one.lock().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    drop(one);
    assert_eq!(holder(&*two), us, "the lock is the guard's, not the disk's");
    fs::remove_file(&path).unwrap();
    assert_eq!(holder(&*two), None, "held, though the file that names the holder is gone");
    drop(guard);
    let guard = two.lock().unwrap();
    assert_eq!(holder(&*at(temp.path(), Backend::Direct)), us);
    drop(guard);
    assert!(path.exists(), "the file stays");
    two.lock().unwrap();
}

/// Where a file system knows no locks on directories, the file's is all there is.
#[test]
fn the_file_alone_holds_the_lock_too() {
    let temp = temp();
    let path = temp.path().join("lock");
    fs::write(&path, "77\n").unwrap();
    let other = fs::File::open(&path).unwrap();
    other.try_lock().unwrap();
    let disk = at(temp.path(), Backend::Direct);
    assert_eq!(holder(&*disk), Some(77));
    drop(other);
    disk.lock().unwrap();
}

const VICTIM: &str = "SIDING_TEST_LOCK_DIR";

/// Not a test of its own: what the next one runs in another process, where it finds a directory.
#[test]
fn hold_the_lock_until_killed() {
    let Ok(path) = std::env::var(VICTIM) else { return };
    let _guard = at(Path::new(&path), Backend::Direct).lock().unwrap();
    fs::write(Path::new(&path).join("held"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn a_killed_holder_lets_go() {
    let temp = temp();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_the_lock_until_killed"])
        .env(VICTIM, temp.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !temp.path().join("held").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the holder ended by itself");
        std::thread::yield_now();
    }
    let disk = at(temp.path(), Backend::Buffered);
    let held = holder(&*disk);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(held, Some(child.id()));
    disk.lock().unwrap();
}

#[test]
fn handles_do_not_leak_into_children() {
    let temp = temp();
    for backend in REAL {
        let disk = at(temp.path(), backend);
        let _lock = disk.lock().unwrap();
        let _file = disk.create(backend.name()).unwrap();
        let _again = disk.open(backend.name()).unwrap();
        let Ok(out) = Command::new("ls").args(["-l", "/proc/self/fd"]).output() else { return };
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(!text.contains(temp.path().to_str().unwrap()), "{text}");
    }
}

#[test]
fn the_owner_is_known_while_the_lock_is_held() {
    let temp = temp();
    for backend in Backend::ALL {
        let path = temp.path().join(backend.name());
        let disk = at(&path, backend);
        assert_eq!(disk.owner().unwrap(), None, "{backend}: nobody yet");
        let lock = disk.lock().unwrap();
        assert_eq!(disk.owner().unwrap().unwrap().pid, Some(std::process::id()), "{backend}");
        if backend != Backend::Memory {
            let looking = open_dir_read_only(&path).unwrap();
            assert_eq!(looking.owner().unwrap().unwrap().pid, Some(std::process::id()));
            // Whoever removes the file does not make the owner disappear.
            fs::remove_file(path.join("lock")).unwrap();
            assert_eq!(looking.owner().unwrap().unwrap().pid, None);
        }
        drop(lock);
        assert_eq!(disk.owner().unwrap(), None, "{backend}: nobody any more");
    }
}

#[test]
fn asking_for_the_owner_keeps_nobody_from_the_lock() {
    let temp = temp();
    let disk = at(temp.path(), Backend::Buffered);
    drop(disk.lock().unwrap());
    // A reader asks by a share of the lock; this one is slow to give it back.
    let share = fs::File::open(temp.path().join("lock")).unwrap();
    share.try_lock_shared().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            share.unlock().unwrap();
        });
        disk.lock().unwrap();
    });
}
