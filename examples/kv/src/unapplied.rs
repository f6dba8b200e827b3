//! The race between commit, apply and snapshot, and how it is won.
//!
//! A commit is durable a moment before its changes are in the map. If a snapshot were taken in
//! that moment with the log's durable position as its redo position, those changes would be in
//! neither: not in the map that was copied, and below where redo starts. The last COMMIT that was
//! applied is no better: commits are applied in another order than they stand in the log.
//!
//! So whoever is about to put a COMMIT into the log first leaves here the log's end as a mark,
//! and takes the mark away once the map shows the changes. The redo position of a snapshot is
//! the durable position of the log, or the lowest mark if that is lower. Both are read under one
//! lock, and the map is copied afterwards. Then every COMMIT that ends at or below the redo
//! position was applied:
//!
//! - its mark was left before the lock was taken here, for a mark left later is at or above the
//!   durable position, and its COMMIT ends above the mark;
//! - its mark is not there any more, for the redo position is not above any mark that is;
//! - and marks go away after the map has changed.
//!
//! Nobody waits for anybody here: not commits for a snapshot, not a snapshot for a slow commit.

use siding::{Log, Lsn};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Marks of commits on their way, by the order in which they were left.
#[derive(Debug, Default)]
struct Marks {
    next: u64,
    left: BTreeMap<u64, Lsn>,
}

/// Commits that the map may not show yet.
#[derive(Debug, Default)]
pub(crate) struct Unapplied(Mutex<Marks>);

/// A mark; see [`Unapplied::leave_mark`].
#[derive(Debug)]
#[must_use = "take the mark away once the map shows what was committed"]
pub(crate) struct Mark(u64);

impl Unapplied {
    /// To be called before a COMMIT is put into the log.
    pub(crate) fn leave_mark(&self, log: &Log) -> Mark {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = marks.next;
        marks.next += 1;
        let end = log.positions().end;
        marks.left.insert(number, end);
        Mark(number)
    }

    /// To be called once the map shows the changes, or when they will never come. If it is
    /// unknown whether they come, the mark must stay: it keeps the log for the next open.
    pub(crate) fn take_away(&self, mark: Mark) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left.remove(&mark.0);
    }

    /// Every unit whose COMMIT ends at or below this is in the map.
    pub(crate) fn redo_position(&self, log: &Log) -> Lsn {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = log.positions().durable;
        // Ends were read under the lock, so the first mark is the lowest.
        marks.left.values().next().map_or(durable, |lowest| durable.min(*lowest))
    }
}
