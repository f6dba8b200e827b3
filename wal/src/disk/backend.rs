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
    /// Through the page cache, a sync behind each durable write. Works everywhere.
    Buffered,
    /// In memory, for tests: each [`open_dir`] makes a new, empty directory.
    Memory,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Buffered, Self::Memory];

    /// Its name, as options and reports say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Buffered => "buffered",
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

/// Opens a directory for a log, `create`: after making it, and what leads to it, durably.
///
/// Takes no lock: that is [`Disk::lock`].
///
/// # Errors
///
/// `NotFound` if there is none and `create` is false; else what the operating system says.
pub fn open_dir(path: &Path, backend: Backend, create: bool) -> io::Result<Arc<dyn Disk>> {
    match backend {
        Backend::Direct => direct(Dir::open(path, create)?, Vec::new()),
        Backend::Buffered => Ok(Arc::new(BufferedDisk::new(Dir::open(path, create)?, Vec::new())?)),
        Backend::Memory => Ok(Arc::new(MemoryDisk::new())),
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
