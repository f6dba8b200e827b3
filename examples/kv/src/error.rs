//! What can go wrong, as a caller branches on it.

use siding::{CommitError, ErrorKind, Outcome};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result with the database's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug)]
pub enum Error {
    /// Somebody else holds a lock that the call needs. Back the transaction out and try again.
    Busy {
        /// What is locked: a key, or the key at which a scan was stopped.
        key: Vec<u8>,
        /// The unit of work that holds the lock.
        holder: u64,
        /// Whether that unit is in doubt: it may hold the lock for days.
        in_doubt: bool,
    },
    /// The value under the key is not a number, or the sum is none.
    NotANumber(Vec<u8>),
    /// No unit is in doubt under this gid.
    NotInDoubt(Vec<u8>),
    /// Somebody else decided this unit, thus; the database has taken note of it.
    AlreadyDecided(Outcome),
    /// The transaction has ended, or the savepoint was rolled over.
    Ended,
    /// A record of the log is none of this database's.
    Record(&'static str),
    /// A snapshot is torn, foreign, or does not fit the log.
    Snapshot {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No snapshot can be used, and the log does not reach back far enough without one.
    Snapshots {
        /// What is wrong with the newest.
        first: String,
        /// What the log says.
        log: siding::Error,
    },
    /// The operating system refused a call on a file of the database.
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What it said.
        cause: io::Error,
    },
    /// The log refused; what was asked for did not happen.
    Log(siding::Error),
    /// The log failed while a decision was on its way: only the next open can tell whether it
    /// happened. Until then the database answers nothing about the keys concerned.
    Unknown(siding::Error),
}

impl Error {
    pub(crate) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |cause| Self::Io { file: file.to_owned(), cause }
    }

    pub(crate) fn snapshot(file: &Path, what: impl Into<String>) -> Self {
        Self::Snapshot { file: file.to_owned(), what: what.into() }
    }

    /// What kind of error of the log it is, if it is one.
    #[must_use]
    pub fn log_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Log(error) | Self::Unknown(error) | Self::Snapshots { log: error, .. } => {
                Some(error.kind())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { key, holder, in_doubt } => {
                let key = String::from_utf8_lossy(key);
                let (state, now) = if *in_doubt {
                    (", which is in doubt", "ask its coordinator, or resolve it")
                } else {
                    ("", "back out, and try again")
                };
                write!(f, "`{key}` is locked by unit {holder:#x}{state}; {now}")
            }
            Self::NotANumber(key) => {
                write!(f, "`{}` holds no number, or the sum is none", String::from_utf8_lossy(key))
            }
            Self::NotInDoubt(gid) => {
                write!(f, "no unit is in doubt under gid `{}`", String::from_utf8_lossy(gid))
            }
            Self::AlreadyDecided(Outcome::Commit) => f.write_str("decided elsewhere: committed"),
            Self::AlreadyDecided(Outcome::BackOut) => f.write_str("decided elsewhere: backed out"),
            Self::Ended => f.write_str("the transaction has ended, or the savepoint is gone"),
            Self::Record(what) => write!(f, "the log holds a record that is not ours: {what}"),
            Self::Snapshot { file, what } => write!(f, "snapshot {}: {what}", file.display()),
            Self::Snapshots { first, log } => {
                write!(f, "no snapshot can be used: {first}; and without it: {log}")
            }
            Self::Io { file, cause } => write!(f, "{}: {cause}", file.display()),
            Self::Log(error) => error.fmt(f),
            Self::Unknown(error) => write!(f, "whether it committed is unknown: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { cause, .. } => Some(cause),
            Self::Log(error) | Self::Unknown(error) | Self::Snapshots { log: error, .. } => {
                Some(error)
            }
            _ => None,
        }
    }
}

impl From<siding::Error> for Error {
    fn from(error: siding::Error) -> Self {
        Self::Log(error)
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::BackedOut(error) => Self::Log(error),
            CommitError::Unknown(error) => Self::Unknown(error),
        }
    }
}
