//! Which way to the disk: the choice of a backend, by name.

use super::Disk;
use super::buffered::BufferedDisk;
use super::dir::Dir;
use super::memory::MemoryDisk;
use crate::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A way to reach the disk. All of them keep the same promises, see `disk::conformance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Past the page cache, each durable write one call. Falls back to `Buffered`, and says so in
    /// [`Geometry::notes`](super::Geometry::notes), where the file system refuses.
    Direct,
    /// As `Direct`, and much at once goes through `io_uring`: appends that are not durable, the
    /// scan of a restart, many reads. Durable writes are plain calls, which wait for nobody else.
    /// Falls back to `Direct`, and says so, where the kernel has no ring for us.
    Uring,
    /// As `Uring`, with durable writes and syncs through the ring too: half the processor time of
    /// a commit on an idle machine, and a small part of the commits on a busy one. Measure first.
    UringDurable,
    /// Through the page cache, a sync behind each durable write. Works everywhere.
    Buffered,
    /// Stores into a map of the file, and `msync`. What was stored is in memory of the log's own
    /// too: a map cannot see its own loss. Falls back to `Buffered`, and says so, where a store
    /// may end the process.
    Mmap,
    /// In memory, for tests: each [`open_dir`] makes a new, empty directory.
    Memory,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Direct, Self::Uring, Self::UringDurable, Self::Buffered, Self::Mmap, Self::Memory];

    /// Its name, as options and reports say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Uring => "uring",
            Self::UringDurable => "uring-durable",
            Self::Buffered => "buffered",
            Self::Mmap => "mmap",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|backend| backend.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::Invalid, format!("no backend {name:?}; there are {names}"))
        })
    }
}

/// Bulk requests in flight at once, unless something else is asked for.
pub const DEPTH: usize = 4;

/// Opens a directory for a log, `create`: after making it, and what leads to it, durably.
///
/// Takes no lock: that is [`Disk::lock`].
///
/// # Errors
///
/// `NotFound` if there is none and `create` is false; else what the operating system says.
pub fn open_dir(path: &Path, backend: Backend, create: bool) -> io::Result<Arc<dyn Disk>> {
    open_dir_at_depth(path, backend, create, DEPTH)
}

/// The same, with `depth` bulk requests in flight at once where there is a ring.
///
/// # Errors
///
/// As [`open_dir`].
pub fn open_dir_at_depth(
    path: &Path,
    backend: Backend,
    create: bool,
    depth: usize,
) -> io::Result<Arc<dyn Disk>> {
    if backend == Backend::Memory {
        return Ok(Arc::new(MemoryDisk::new()));
    }
    let dir = Dir::open(path, create)?;
    match backend {
        Backend::Direct | Backend::Memory => direct(dir, Vec::new()),
        Backend::Uring => ring(dir, depth, false),
        Backend::UringDurable => ring(dir, depth, true),
        Backend::Buffered => Ok(Arc::new(BufferedDisk::new(dir, Vec::new())?)),
        Backend::Mmap => super::mapped::open(dir, Vec::new()),
    }
}

/// Opens a directory for looking at alone, past the page cache where that can be: never writes,
/// never locks, and answers every call that would with `PermissionDenied`.
///
/// The owner of the log may be at work meanwhile: files come, go and change.
///
/// # Errors
///
/// What the operating system says.
pub fn open_dir_read_only(path: &Path) -> io::Result<Arc<dyn Disk>> {
    direct(Dir::open_read_only(path)?, vec!["the directory was opened read-only".to_owned()])
}

#[cfg(target_os = "linux")]
fn direct(dir: Dir, notes: Vec<String>) -> io::Result<Arc<dyn Disk>> {
    super::direct::open(dir, notes)
}

#[cfg(not(target_os = "linux"))]
fn direct(dir: Dir, mut notes: Vec<String>) -> io::Result<Arc<dyn Disk>> {
    notes.push("there is no direct I/O on this system; buffered is used instead".to_owned());
    Ok(Arc::new(BufferedDisk::new(dir, notes)?))
}

#[cfg(target_os = "linux")]
fn ring(dir: Dir, depth: usize, durable: bool) -> io::Result<Arc<dyn Disk>> {
    super::direct::open_ring(dir, depth, durable, Vec::new())
}

#[cfg(not(target_os = "linux"))]
fn ring(dir: Dir, _: usize, _: bool) -> io::Result<Arc<dyn Disk>> {
    direct(dir, vec!["there is no io_uring on this system".to_owned()])
}
