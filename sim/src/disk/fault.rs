//! Calls that fail, and the record of calls.

use std::fmt;
use std::io;
use std::sync::Arc;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The device says no. Part of a write may have reached it.
    Eio,
    /// No room: writes, syncs (which lost data then, as on thin storage), creations.
    Enospc,
    /// The quota is used up: as [`Fault::Enospc`].
    Edquot,
    /// The file system went read-only: everything that changes something.
    Erofs,
    /// A write moves a part of its bytes, and then no more. Other calls do not know it.
    Short,
    /// A write moves no bytes. Other calls do not know it.
    Zero,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Eio, Self::Enospc, Self::Edquot, Self::Erofs, Self::Short, Self::Zero];

    /// Whether a call of this kind can fail so.
    pub fn hits(self, op: Op) -> bool {
        match self {
            Self::Eio | Self::Erofs => true,
            Self::Enospc | Self::Edquot => !matches!(op, Op::Rename | Op::Remove),
            Self::Short | Self::Zero => matches!(op, Op::Write | Op::DurableWrite),
        }
    }

    /// The error a caller gets.
    pub fn error(self) -> io::Error {
        match self {
            // The numbers are the same on every Unix; this kind has no stable name.
            Self::Eio => io::Error::from_raw_os_error(5),
            Self::Enospc => io::ErrorKind::StorageFull.into(),
            Self::Edquot => io::ErrorKind::QuotaExceeded.into(),
            Self::Erofs => io::ErrorKind::ReadOnlyFilesystem.into(),
            Self::Short | Self::Zero => io::ErrorKind::WriteZero.into(),
        }
    }
}

/// How long a fault stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lasts {
    /// One call fails.
    Once,
    /// Every call from then on that can fail so.
    ForEver,
}

impl Lasts {
    pub(super) fn covers(self, at: u64, now: u64) -> bool {
        match self {
            Self::Once => now == at,
            Self::ForEver => now >= at,
        }
    }
}

/// The kind of a call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `Disk::create`.
    Create,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove`.
    Remove,
    /// `LogFile::write_at` without `durable`.
    Write,
    /// `LogFile::write_at` with `durable`.
    DurableWrite,
    /// A file gets another length.
    Cut,
    /// `LogFile::sync`.
    Sync,
    /// `Disk::sync_dir`.
    SyncDir,
}

/// A call that changes something: an I/O boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub op: Op,
    /// The file it was asked of; empty for the directory.
    pub name: Arc<str>,
    /// The new name, of a rename.
    pub to: Option<Arc<str>>,
    /// Where in the file, in bytes.
    pub at: u64,
    /// How many bytes.
    pub len: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, name, to, at, len } = self;
        match (op, to) {
            (Op::Create, _) => write!(f, "create {name}"),
            (Op::Rename, Some(to)) => write!(f, "rename {name} to {to}"),
            (Op::Rename, None) => write!(f, "rename {name}"),
            (Op::Remove, _) => write!(f, "remove {name}"),
            (Op::Write, _) => write!(f, "write {len} bytes at {at} of {name}"),
            (Op::DurableWrite, _) => write!(f, "write {len} bytes durably at {at} of {name}"),
            (Op::Cut, _) => write!(f, "cut {name} to {at} bytes"),
            (Op::Sync, _) => write!(f, "sync {name}"),
            (Op::SyncDir, _) => write!(f, "sync the directory"),
        }
    }
}
