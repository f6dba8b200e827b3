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
    /// A signal came first: the call did nothing.
    Eintr,
    /// The call takes [`STALL_MS`], and goes well then.
    Stall,
    /// A write is answered with an error, and lands some calls later for all that, over what was
    /// written there meanwhile. Other calls do not know it.
    Late,
    /// A lie: a write that is answered well and never gets anywhere.
    Lost,
    /// A lie: a sync, or the flush of a durable write, that is answered well and did nothing.
    Lying,
    /// A lie: a write that is answered well and lands at another place, of this file or another.
    Misdirected,
}

/// How long a stalled call takes.
pub const STALL_MS: u64 = 30_000;

impl Fault {
    /// Those that are no lies: after each a log must keep every promise.
    pub const ALL: [Self; 9] = [
        Self::Eio,
        Self::Enospc,
        Self::Edquot,
        Self::Erofs,
        Self::Short,
        Self::Zero,
        Self::Eintr,
        Self::Stall,
        Self::Late,
    ];

    /// The lies: no log keeps what a disk threw away and called safe. It must not show anything
    /// else in its place, nor lose in silence what something later vouches for.
    pub const LIES: [Self; 3] = [Self::Lost, Self::Lying, Self::Misdirected];

    /// Whether a call of this kind can fail so.
    pub fn hits(self, op: Op) -> bool {
        match self {
            Self::Eio | Self::Erofs | Self::Eintr | Self::Stall => true,
            Self::Enospc | Self::Edquot => !matches!(op, Op::Rename | Op::Remove),
            Self::Short | Self::Zero | Self::Late | Self::Lost | Self::Misdirected => {
                matches!(op, Op::Write | Op::DurableWrite)
            }
            Self::Lying => matches!(op, Op::DurableWrite | Op::Sync | Op::SyncDir),
        }
    }

    /// Whether the caller is told that all is well: in time, or wrongly.
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Stall | Self::Lost | Self::Lying | Self::Misdirected)
    }

    /// The error a caller gets, if it is told.
    pub fn error(self) -> io::Error {
        match self {
            // The numbers are the same on every Unix; this kind has no stable name.
            Self::Eio => io::Error::from_raw_os_error(5),
            Self::Enospc => io::ErrorKind::StorageFull.into(),
            Self::Edquot => io::ErrorKind::QuotaExceeded.into(),
            Self::Erofs => io::ErrorKind::ReadOnlyFilesystem.into(),
            Self::Short | Self::Zero => io::ErrorKind::WriteZero.into(),
            Self::Eintr => io::ErrorKind::Interrupted.into(),
            Self::Stall | Self::Late => io::ErrorKind::TimedOut.into(),
            Self::Lost | Self::Lying | Self::Misdirected => io::Error::other("a lie is not told"),
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
