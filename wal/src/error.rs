//! One opaque error, one word wide: what happened, where, and what to do now.

use crate::Lsn;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result with Siding's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing went wrong; the part of an [`Error`] that a program branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a call.
    Io,
    /// Bytes that were durable are damaged; nothing was cut off.
    Corrupt,
    /// Bytes that were durable are not there: a missing or shortened file.
    Missing,
    /// The log failed earlier (a write or a sync went wrong) and accepts nothing more.
    Failed,
    /// No room: the disk, `max_log_bytes` or the reserve.
    LogFull,
    /// Another process (or another handle in this one) has the log open.
    Locked,
    /// A record or a gid beyond its limit.
    TooLarge,
    /// The unit of work has ended, or the call does not fit its state.
    UnitEnded,
    /// A live unit was prepared under this gid.
    DuplicateGid,
    /// The unit was already decided, perhaps the other way.
    AlreadyDecided,
    /// There is no such unit, record, directory or log.
    NotFound,
    /// The position lies below the oldest record kept.
    Trimmed,
    /// The record was moved to the secondary log.
    Moved,
    /// The log was written by a newer version of Siding, or with a feature this one lacks.
    UnsupportedVersion,
    /// A file that is not Siding's, or belongs to another log.
    ForeignFile,
    /// The directory cannot be written.
    ReadOnly,
    /// The call would have to wait inside a callback.
    WouldBlock,
    /// Something still needs it: units in flight at a close, for example.
    InUse,
    /// An option or an argument that makes no sense.
    Invalid,
    /// The log was closed.
    Closed,
    /// The embedder's own callback refused.
    Callback,
}

/// What happened, where, and what to do now. One word wide.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: String,
    advice: Option<&'static str>,
    lsn: Option<Lsn>,
    letter: Option<char>,
    commit: Option<bool>,
    path: Option<PathBuf>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, saying `what` happened.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            advice: None,
            lsn: None,
            letter: None,
            commit: None,
            path: None,
            source: None,
        }))
    }

    /// An error of the operating system while doing `what`.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::LogFull,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                ErrorKind::ReadOnly
            }
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        let mut error = Self::new(kind, what);
        error.0.source = Some(Box::new(source));
        error
    }

    /// The same error, with the position it concerns.
    #[must_use]
    pub fn at(mut self, lsn: Lsn) -> Self {
        self.0.lsn = Some(lsn);
        self
    }

    /// The same error, with the file or directory it concerns.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path = Some(path.as_ref().to_owned());
        self
    }

    /// The same error, by this row of the table that decides where a log ends.
    #[must_use]
    pub fn by_row(mut self, letter: char) -> Self {
        self.0.letter = Some(letter);
        self
    }

    /// The same error, with how the unit was decided before.
    #[must_use]
    pub fn decided(mut self, commit: bool) -> Self {
        self.0.commit = Some(commit);
        self
    }

    /// The same error, with what the reader can do now.
    #[must_use]
    pub fn advise(mut self, advice: &'static str) -> Self {
        self.0.advice = Some(advice);
        self
    }

    /// The same error, with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What happened, without where, why and what to do now.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The position it concerns, if there is one.
    #[must_use]
    pub fn lsn(&self) -> Option<Lsn> {
        self.0.lsn
    }

    /// The file or directory it concerns, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The letter of the table's row that refused the log, if one did; see `docs/RECOVERY.md`.
    #[must_use]
    pub fn letter(&self) -> Option<char> {
        self.0.letter
    }

    /// Of [`ErrorKind::AlreadyDecided`]: whether the unit was committed, else it was backed out;
    /// none if that is not known any more.
    #[must_use]
    pub fn committed(&self) -> Option<bool> {
        self.0.commit
    }

    /// What to do now, if this is known.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        self.0.advice
    }

    /// A copy for one of several waiters; the cause is kept as text.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let mut copy = Self::new(self.0.kind, self.0.what.clone());
        copy.0.advice = self.0.advice;
        copy.0.lsn = self.0.lsn;
        copy.0.letter = self.0.letter;
        copy.0.commit = self.0.commit;
        copy.0.path.clone_from(&self.0.path);
        copy.0.source = self.0.source.as_ref().map(|cause| cause.to_string().into());
        copy
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.what)?;
        if let Some(path) = &self.0.path {
            write!(f, " ({})", path.display())?;
        }
        if let Some(lsn) = self.0.lsn {
            write!(f, " at LSN {lsn}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        if let Some(advice) = self.0.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|cause| -> &(dyn std::error::Error + 'static) { cause })
    }
}
