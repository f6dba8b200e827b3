//! A unit whose outcome is durable and whose work is not done.

use crate::inner::Inner;
use crate::{CommitError, Error};
use siding_wal::format::Kind;
use siding_wal::{Lsn, Result};
use std::sync::Arc;

/// What was decided of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its effects count.
    Commit,
    /// They do not.
    BackOut,
}

/// A unit whose outcome is durable, while work remains: telling participants, for example.
/// Dropping it leaves that to resynchronisation: after a restart it is in
/// [`Recovery::decided`](crate::Recovery::decided).
#[derive(Debug)]
#[must_use = "the unit pins log until it is ended"]
pub struct Decided {
    log: Arc<Inner>,
    unit: u64,
    outcome: Outcome,
    commit: Option<Lsn>,
}

impl Decided {
    pub(crate) fn new(log: &Arc<Inner>, unit: u64, outcome: Outcome, commit: Option<Lsn>) -> Self {
        Self { log: Arc::clone(log), unit, outcome, commit }
    }

    /// The unit's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.unit
    }

    /// What was decided.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The position just behind its COMMIT, if it committed in this open.
    #[must_use]
    pub fn lsn(&self) -> Option<Lsn> {
        self.commit
    }

    /// Notes something about the work that remains. Never delivered as an effect.
    ///
    /// # Errors
    ///
    /// The record is too large, the log is full or failed.
    ///
    /// # Crash
    ///
    /// The record may be lost until something behind it is durable.
    pub fn append(&mut self, payload: &[u8]) -> Result<Lsn> {
        Ok(self.log.engine().stream().append(self.unit, Kind::Data, 0, payload)?.lsn)
    }

    /// The work is done: the unit is forgotten. One that is backed out under repeat history is
    /// undone first, through the handler of [`Options::undo`](crate::Options::undo).
    ///
    /// # Errors
    ///
    /// The log failed: after a restart the unit may be there once more. What the undo handler
    /// says, or that there is none: then the unit stays, to be undone later.
    ///
    /// # Crash
    ///
    /// Before this returns the unit may be there once more, decided as it was.
    pub fn end(self) -> Result<()> {
        let stream = self.log.engine().stream();
        stream.may_wait()?;
        if self.outcome == Outcome::BackOut && stream.core().repeats_history() {
            // END without compensation would leave its effects in the embedder's files for ever.
            return self.log.undo(self.unit);
        }
        let ended = stream.end_unit(self.unit)?;
        stream.wait_durable(ended.placed.next, ended.done.as_deref())
    }
}

/// A decision that was refused did not happen; one whose durability is unknown may have.
pub(crate) fn refused(error: Error) -> CommitError {
    CommitError::BackedOut(error)
}
