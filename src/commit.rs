//! How a commit can fail: the single question a caller must branch on is whether it happened.

use crate::UnitOfWork;
use siding_wal::{Error, ErrorKind};
use std::fmt;

/// Why a commit did not return a position.
#[derive(Debug)]
pub enum CommitError {
    /// It did not happen. A unit of work is, or will be, backed out: it is safe to try again with
    /// a new one. Of a unit in doubt this call decided nothing: it stays in doubt, or somebody
    /// else has decided it, as [`Error::committed`] says.
    BackedOut(Error),
    /// The log failed while the COMMIT was on its way: only the next open can tell.
    Unknown(Error),
}

impl CommitError {
    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &Error {
        match self {
            Self::BackedOut(error) | Self::Unknown(error) => error,
        }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.error().kind()
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackedOut(error) => write!(f, "not committed: {error}"),
            Self::Unknown(error) => write!(f, "whether it committed is unknown: {error}"),
        }
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error())
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::BackedOut(error) | CommitError::Unknown(error) => error,
        }
    }
}

/// Why a prepare did not succeed. The unit comes back where it is still in flight.
#[derive(Debug)]
pub struct PrepareError {
    /// The unit, to go on with: another gid, a commit, a back-out. None if the log failed while
    /// PREPARE was on its way: the next open tells whether the unit is in doubt.
    pub unit: Option<UnitOfWork>,
    /// What went wrong.
    pub error: Error,
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not prepared: {}", self.error)
    }
}

impl std::error::Error for PrepareError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<PrepareError> for Error {
    fn from(error: PrepareError) -> Self {
        error.error
    }
}
