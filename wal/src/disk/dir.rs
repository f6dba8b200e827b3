//! One directory of the operating system, held open: what the backends on real disks share.

use super::transfer::refuse;
use super::{DirLock, LockError, Owner};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The lock's file. It is never removed: whoever waits for it would hold the lock of a ghost.
const LOCK: &str = "lock";

/// How often the lock is tried, a millisecond apart: whoever asks for its owner has a share of it
/// for an instant.
const PATIENCE: u32 = 20;

/// The log is the owner's; the group may read it.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const DIR_MODE: u32 = 0o750;

/// A directory by descriptor: what is done here goes to this directory, even if its path comes
/// to mean another one.
#[derive(Clone, Debug)]
pub(super) struct Dir {
    file: Arc<File>,
    path: PathBuf,
    writable: bool,
}

/// What a backend on a real disk does with names and the lock, by its field `dir`: a part of its
/// `impl Disk`.
macro_rules! of_directory {
    () => {
        fn list(&self) -> std::io::Result<Vec<(String, u64)>> {
            self.dir.list()
        }

        fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
            self.dir.rename(from, to)
        }

        fn remove(&self, name: &str) -> std::io::Result<()> {
            self.dir.remove(name)
        }

        fn sync_dir(&self) -> std::io::Result<()> {
            self.dir.sync()
        }

        fn lock(&self) -> Result<Box<dyn $crate::disk::DirLock>, $crate::disk::LockError> {
            self.dir.lock()
        }

        fn owner(&self) -> std::io::Result<Option<$crate::disk::Owner>> {
            self.dir.owner()
        }

        fn free_bytes(&self) -> Option<u64> {
            self.dir.free_bytes()
        }

        fn path(&self) -> Option<std::path::PathBuf> {
            Some(self.dir.path().to_owned())
        }
    };
}
pub(super) use of_directory;

impl Dir {
    /// Opens the directory, `create`: after making it and what leads to it, durably.
    pub(super) fn open(path: &Path, create: bool) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        if create {
            make(&path)?;
        }
        Self::at(path, true)
    }

    /// Opens the directory for looking at alone.
    pub(super) fn open_read_only(path: &Path) -> io::Result<Self> {
        Self::at(std::path::absolute(path)?, false)
    }

    fn at(path: PathBuf, writable: bool) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { file: Arc::new(File::from(file)), path, writable })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn writable(&self) -> bool {
        self.writable
    }

    /// Refuses what would change a directory that was opened for looking at alone.
    fn check_writable(&self) -> io::Result<()> {
        check_writable(self.writable)
    }

    pub(super) fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.file)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            // What a link leads to, or a broken link itself.
            let stat = rustix::fs::statat(&self.file, name, AtFlags::empty())
                .or_else(|_| rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW));
            let size = match stat {
                Ok(stat) => u64::try_from(stat.st_size).unwrap_or(0),
                // Removed or renamed since: the owner of the log may be at work.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            entries.push((name.to_string_lossy().into_owned(), size));
        }
        Ok(entries)
    }

    /// Creates an empty file, open for reading and writing.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        check_name(name)?;
        self.check_writable()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.file, name, flags, FILE_MODE)?))
    }

    /// Opens a file, for writing too unless the directory is for looking at alone.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        check_name(name)?;
        let access = if self.writable { OFlags::RDWR } else { OFlags::RDONLY };
        // Without NONBLOCK a pipe that somebody put here would hold us for ever.
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&self.file, name, flags, Mode::empty())?))
    }

    /// A file that has no name and goes with its handle, if the file system makes such.
    #[cfg(target_os = "linux")]
    pub(super) fn nameless(&self) -> io::Result<File> {
        self.check_writable()?;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.file, c".", flags, FILE_MODE)?))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        self.check_writable()?;
        Ok(rustix::fs::renameat(&self.file, from, &self.file, to)?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.check_writable()?;
        Ok(rustix::fs::unlinkat(&self.file, name, AtFlags::empty())?)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.check_writable()?;
        sync_dir(&self.file)
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.file).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    /// Takes the exclusive lock: `flock` belongs to the open file, so two handles in one process
    /// exclude each other as two processes do, and a process that dies lets go.
    pub(super) fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        self.check_writable().map_err(LockError::Io)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.file, LOCK, flags, FILE_MODE)
            .map(File::from)
            .map_err(|error| LockError::Io(error.into()))?;
        try_lock(&file, &file)?;
        // The directory too: an operator who removes the file to get past it must not succeed.
        // A network file system may know no locks on directories, and then the file must do.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.file, c".", flags, Mode::empty()).map(File::from).ok();
        if let Some(Err(held @ LockError::Held { .. })) =
            dir.as_ref().map(|dir| try_lock(dir, &file))
        {
            return Err(held);
        }
        write_pid(&file);
        Ok(Box::new(Lock { file, dir }))
    }

    /// Who holds the lock: found by asking for a share of it, which is given back at once. That
    /// needs no right to write, and holds up nobody but for the instant [`PATIENCE`] allows for.
    pub(super) fn owner(&self) -> io::Result<Option<Owner>> {
        let open = |name: &str, more: OFlags| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
            rustix::fs::openat(&self.file, name, flags, Mode::empty()).map(File::from)
        };
        let noted = match open(LOCK, OFlags::empty()) {
            Ok(file) => Some(file),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let pid = || noted.as_ref().and_then(read_pid);
        if noted.as_ref().map(is_locked).transpose()? == Some(true) {
            return Ok(Some(Owner { pid: pid() }));
        }
        // A network file system may know no locks on directories.
        let dir = open(".", OFlags::DIRECTORY).ok();
        let locked = dir.is_some_and(|dir| is_locked(&dir).unwrap_or(false));
        Ok(locked.then(|| Owner { pid: pid() }))
    }
}

/// Whether somebody holds an exclusive lock on `target`.
fn is_locked(target: &File) -> io::Result<bool> {
    match target.try_lock_shared() {
        Ok(()) => target.unlock().map(|()| false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// An operating system's lock, let go of when it is dropped.
#[derive(Debug)]
struct Lock {
    file: File,
    dir: Option<File>,
}

impl DirLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, but for children that were forked meanwhile and hold copies.
        if let Some(dir) = &self.dir {
            let _ = dir.unlock();
        }
        let _ = self.file.unlock();
    }
}

/// Locks `target`, or says whose process id `noted` holds.
fn try_lock(target: &File, noted: &File) -> Result<(), LockError> {
    for _ in 0..PATIENCE {
        match target.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Err(fs::TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
    }
    Err(LockError::Held { pid: read_pid(noted) })
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let count = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..count)?).ok()?.trim().parse().ok()
}

/// Notes who holds the lock. It is for people, so a full disk does not keep the log shut.
fn write_pid(file: &File) {
    let text = format!("{}\n", std::process::id());
    // In place first: the block of an earlier owner's number is there even on a full disk.
    let written = file.write_all_at(text.as_bytes(), 0).is_ok();
    let _ = file.set_len(if written { super::transfer::bytes(text.len()) } else { 0 });
}

/// Makes a directory and what leads to it, each durable in the one above.
fn make(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if path.is_dir() {
        // An earlier run may have made it and died before the sync. If it cannot be synced now
        // (one may pass through a directory without reading it), it has stood long enough.
        let _ = File::open(parent).and_then(|parent| sync_dir(&parent));
        return Ok(());
    }
    if !parent.is_dir() {
        make(parent)?;
    }
    match fs::DirBuilder::new().mode(DIR_MODE).create(path) {
        // Another process was faster, or a file stands there; the open will tell which.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_dir(&File::open(parent)?)
}

/// Accepts nothing but a plain file name.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    let plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0']);
    if plain { Ok(()) } else { Err(refuse(format!("{name:?} is not a plain file name"))) }
}

pub(super) fn check_writable(writable: bool) -> io::Result<()> {
    match writable {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the directory was opened read-only",
        )),
    }
}

/// Makes a file's data and size durable. Never called twice for a failure, be it an interrupted
/// call: the standard library would.
#[cfg(target_os = "linux")]
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fdatasync(file)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    // The standard library knows the call that empties the device's cache.
    file.sync_data()
}

#[cfg(target_os = "linux")]
fn sync_dir(dir: &File) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_dir(dir: &File) -> io::Result<()> {
    dir.sync_all()
}
