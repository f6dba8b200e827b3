//! Why there is no plan, and what could be had instead. Pure.

use super::history::Gap;
use crate::backup::backup_digits;
use siding_wal::{Error, ErrorKind, Lsn};
use std::fmt;

/// What can be restored: every position from the first to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The end of the oldest backup that serves.
    pub from: Lsn,
    /// The end of the log that follows on it without a gap.
    pub to: Lsn,
    /// The same as times, in milliseconds since 1970: those of the first and of the last mark in
    /// between. None if there is no mark.
    pub times_ms: Option<(u64, u64)>,
    /// The highest incarnation of this history.
    pub incarnation: u32,
}

impl fmt::Display for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, times_ms, incarnation } = self;
        write!(f, "LSN {from} to LSN {to} of incarnation {incarnation}")?;
        match times_ms {
            Some((first, last)) => write!(f, ", as time {first} ms to {last} ms since 1970"),
            None => write!(f, ", no point in time"),
        }
    }
}

/// Why a target cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no complete backup.
    NoBackup,
    /// Backups of several logs, and nobody said which.
    SeveralLogs(usize),
    /// There is no such backup.
    NoSuchBackup([u8; 16]),
    /// A backup rests on this one, which is not there.
    NoParent([u8; 16]),
    /// The log of a backup is not there whole, from its floor to its end.
    NoLog([u8; 16]),
    /// No history with a backup has anything of this incarnation.
    NoIncarnation(u32),
    /// The target lies below the end of the oldest backup that serves.
    Below(Lsn),
    /// The target lies above the log that is there.
    Above(Lsn),
    /// There is log at the target, but not up to it.
    Gap(Lsn, Gap),
    /// A time before the first mark.
    TimeBefore(u64),
    /// A time after the last mark: whether more happened by then cannot be known.
    TimeAfter(u64),
    /// No such label.
    NoLabel(String),
}

/// A target that cannot be restored: why, and what can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// What can be restored of the history that was asked for.
    pub reachable: Option<Reachable>,
    /// What can be restored of others.
    pub others: Vec<Reachable>,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackup => write!(f, "there is no complete backup"),
            Self::SeveralLogs(count) => write!(f, "there are backups of {count} logs"),
            Self::NoSuchBackup(id) => {
                write!(f, "there is no complete backup {}", backup_digits(*id))
            }
            Self::NoParent(id) => {
                write!(
                    f,
                    "the backup rests on the backup {}, which is not there",
                    backup_digits(*id)
                )
            }
            Self::NoLog(id) => {
                write!(f, "the log of the backup {} is not there whole", backup_digits(*id))
            }
            Self::NoIncarnation(number) => {
                write!(f, "no backup and no log behind one is of incarnation {number}")
            }
            Self::Below(lsn) => write!(f, "LSN {lsn} lies below the end of the oldest backup"),
            Self::Above(lsn) => write!(f, "LSN {lsn} lies above the log that is there"),
            Self::Gap(lsn, gap) => write!(f, "LSN {lsn} cannot be reached: {gap}"),
            Self::TimeBefore(ms) => {
                write!(f, "time {ms} ms lies before the first mark that can be reached")
            }
            Self::TimeAfter(ms) => write!(
                f,
                "time {ms} ms lies after the last mark: what else was written by then is not known"
            ),
            Self::NoLabel(name) => write!(f, "no position has the label `{name}`"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why)?;
        match &self.reachable {
            Some(reachable) => write!(f, "; what can be reached: {reachable}")?,
            None => write!(f, "; nothing can be reached")?,
        }
        for other in &self.others {
            write!(f, "; of another history: {other}")?;
        }
        Ok(())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.why {
            Why::Gap(..) | Why::NoParent(_) | Why::NoLog(_) => ErrorKind::Missing,
            Why::SeveralLogs(_) | Why::Below(_) | Why::TimeBefore(_) => ErrorKind::Invalid,
            _ => ErrorKind::NotFound,
        };
        let error = Self::new(kind, refusal.to_string());
        match refusal.why {
            Why::Below(lsn) | Why::Above(lsn) | Why::Gap(lsn, _) => error.at(lsn),
            _ => error,
        }
    }
}
