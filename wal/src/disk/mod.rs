//! The disk: the only place where the operating system is touched.
//!
//! [`Disk`] is one directory, [`LogFile`] one file in it. A write of the log is one virtual call a
//! flush, never one a record. Names are plain file names; a backend never sees a path.

mod backend;
mod buf;
mod buffered;
mod clock;
pub mod conformance;
mod conformance_bulk;
#[cfg(target_os = "linux")]
mod device;
mod dir;
#[cfg(target_os = "linux")]
mod direct;
mod door;
mod map;
mod mapped;
mod memory;
mod park;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod rings;
pub mod suite;
mod transfer;

pub use backend::{Backend, DEPTH, open_dir, open_dir_at_depth, open_dir_read_only};
pub use buf::{ALIGNMENT, AlignedBuf};
pub use clock::{Clock, SystemClock};
pub use door::{DOOR_NAME, Door, Visitor};
pub use memory::MemoryDisk;
pub use park::FutexWord;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory that holds a log.
///
/// An implementation must keep what [`LogFile::write_at`] with `durable` or [`LogFile::sync`]
/// acknowledged, whatever happens afterwards, and file names once [`Disk::sync_dir`] returned.
/// `disk::conformance` holds every implementation to this.
pub trait Disk: Send + Sync + Debug {
    /// The backend's name, for reports: `direct`, `buffered`, `memory` …
    fn name(&self) -> &'static str;

    /// What the device asks of writes.
    fn geometry(&self) -> Geometry;

    /// The names in the directory, in no particular order, with their sizes in bytes; whatever
    /// else than log files lies there is listed too.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Creates an empty file. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is one; else what the operating system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Opens an existing file for reading and, unless the disk is read-only, writing.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none; else what the operating system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Renames a file, replacing what had the new name. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    ///
    /// What the operating system says. A failed sync must never be retried.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the directory's exclusive lock until the guard is dropped or the process ends.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] with the owner's process id if another handle holds it.
    fn lock(&self) -> Result<Box<dyn DirLock>, LockError>;

    /// Who holds the directory's lock now, if anybody does. Changes nothing and waits for nobody;
    /// the answer may be out of date when it arrives.
    ///
    /// # Errors
    ///
    /// `Unsupported` where it cannot be known; else what the operating system says.
    fn owner(&self) -> io::Result<Option<Owner>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Bytes free on the device for this directory, if it can be known.
    fn free_bytes(&self) -> Option<u64>;

    /// Where the directory lies, for messages; none for one in memory.
    fn path(&self) -> Option<PathBuf>;
}

/// What the device asks of writes, and what this rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The safe write unit in bytes: what is synced in one unit survives a failed write of the
    /// next. A power of two, at least 512.
    pub write_unit: u32,
    /// The smallest unit [`LogFile::write_at`] accepts.
    pub min_write_unit: u32,
    /// Notes for the report: a fallback that was taken, an assumption made.
    pub notes: Vec<String>,
}

/// A file of the log.
///
/// Offsets of reads and writes and the length of every buffer are multiples of the geometry's
/// `min_write_unit`; buffers are aligned as [`AlignedBuf`] and the ring are. Anything else is
/// refused as `InvalidInput`.
pub trait LogFile: Send + Sync + Debug {
    /// Bytes of the file now.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes all of `bufs`, one behind the other, from `offset` on; `durable`: and returns once
    /// they are on stable storage, with what is needed to read them back.
    ///
    /// A short write is finished by further calls; one that moves no bytes is an error. A durable
    /// write says nothing of earlier ones: a device may be asked to force these bytes alone, so
    /// what was written without `durable` needs a [`LogFile::sync`].
    ///
    /// # Errors
    ///
    /// What the operating system says; then nothing is known about the range, nor, after a
    /// durable write, about any un-synced range of the file.
    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()>;

    /// Reads from `offset` on until `buf` is full or the file ends; returns how many bytes.
    /// Reads what is on the device, not what a page cache remembers, as far as the backend can.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Reads many places at once, each as [`LogFile::read_at`] does, and says of each how many
    /// bytes came; a device that serves several requests at a time is kept busy.
    fn read_many(&self, reads: &mut [(u64, &mut [u8])]) -> Vec<io::Result<usize>> {
        reads.iter_mut().map(|(offset, buf)| self.read_at(*offset, buf)).collect()
    }

    /// What reads large stretches of this and other files of its directory, `depth` of them at a
    /// time, `stretch` bytes each; none where threads do as well.
    fn pipe(&self, depth: usize, stretch: usize) -> Option<Box<dyn ReadPipe>> {
        let _ = (depth, stretch);
        None
    }

    /// What the operating system knows the file by, for a [`ReadPipe`] of its directory; none
    /// where reads must come through these calls.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Makes the file `len` bytes long, whatever lies behind: any number of bytes, for files that
    /// are not the log's. Durable only after [`LogFile::sync`].
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn cut(&self, len: u64) -> io::Result<()>;

    /// Makes everything written to the file before durable, its size included.
    ///
    /// # Errors
    ///
    /// What the operating system says. A failed sync must never be retried: the pages count as
    /// clean afterwards, and the next one succeeds over lost data.
    fn sync(&self) -> io::Result<()>;
}

/// Reads large stretches, several at a time, each in the order it was asked for.
pub trait ReadPipe: Send + Debug {
    /// Asks for the stretch at `offset`. No more may be asked for than the pipe is deep.
    ///
    /// # Errors
    ///
    /// More were asked for than that.
    fn ask(&mut self, file: &Arc<dyn LogFile>, offset: u64) -> io::Result<()>;

    /// Waits for the stretch that was asked for first and makes it the current one; returns how
    /// many bytes it has, fewer than a stretch only where the file ends.
    ///
    /// # Errors
    ///
    /// What the operating system says of that stretch.
    fn next(&mut self) -> io::Result<usize>;

    /// The bytes of the current stretch.
    fn current(&mut self) -> &[u8];
}

/// Who holds a directory's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process id in the lock file, if it can be read.
    pub pid: Option<u32>,
}

/// Holds a directory's exclusive lock.
pub trait DirLock: Send + Sync + Debug {}

/// Why a directory's lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another handle holds it; its process, if known.
    Held {
        /// The process id in the lock file.
        pid: Option<u32>,
    },
    /// The operating system refused.
    Io(io::Error),
}
