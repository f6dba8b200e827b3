//! A prepared unit: in doubt until its coordinator says how it ends.

use crate::decided::{Decided, Outcome, refused};
use crate::inner::Inner;
use crate::{Backward, CommitError, Effects};
use siding_checkpoint::Need;
use siding_wal::chain::ChainStart;
use siding_wal::format::Cause;
use siding_wal::write::Verdict;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// A prepared unit. It survives every crash, and stays in doubt until it is decided: dropping
/// the handle decides nothing. Whoever decides second gets [`ErrorKind::AlreadyDecided`], and
/// [`Error::committed`] says how the first did.
#[derive(Debug)]
#[must_use = "an in-doubt unit stays in doubt until somebody decides"]
pub struct InDoubt {
    log: Arc<Inner>,
    unit: u64,
    gid: Vec<u8>,
    by: Cause,
    who: String,
    heuristic: bool,
}

impl InDoubt {
    pub(crate) fn new(log: &Arc<Inner>, unit: u64, gid: Vec<u8>) -> Self {
        let log = Arc::clone(log);
        Self { log, unit, gid, by: Cause::Program, who: String::new(), heuristic: false }
    }

    /// The same unit, decided by somebody else than its coordinator: the record says so.
    pub fn heuristically(self, by: Cause, who: &str) -> Self {
        Self { by, who: who.to_owned(), heuristic: true, ..self }
    }

    /// The name its coordinator knows it by.
    #[must_use]
    pub fn gid(&self) -> &[u8] {
        &self.gid
    }

    /// The unit's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.unit
    }

    /// Its records, newest to oldest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyDecided`] if it is no longer in doubt.
    pub fn records_backward(&self) -> Result<Backward> {
        Ok(Backward::of_log(&self.log, self.chain()?))
    }

    /// What a commit will apply: oldest to newest, without what was rolled back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyDecided`] if it is no longer in doubt.
    pub fn effects(&self) -> Result<Effects> {
        Ok(Effects::new(&self.log, self.chain()?))
    }

    fn chain(&self) -> Result<ChainStart> {
        let core = self.log.engine().stream().core();
        match core.in_doubt(self.unit) {
            Ok(unit) => Ok(unit.chain(self.unit)),
            // A handle was in doubt once: what the table has forgotten was decided.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = format!("unit {:#x} is no longer in doubt", self.unit);
                Err(Error::new(ErrorKind::AlreadyDecided, what))
            }
            Err(error) => Err(error),
        }
    }

    /// Commits it; returns the position just behind its COMMIT.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyDecided`] in [`CommitError::BackedOut`] (this call decided nothing);
    /// so is, under deferred apply, what is wrong with the secondary log if moved records of the
    /// unit are known to be lost: redo could not deliver them. The error names records and file.
    /// A file that is put back counts at once; else the unit can be backed out, for nothing of it
    /// was applied. [`CommitError::Unknown`] if the log failed meanwhile.
    ///
    /// # Crash
    ///
    /// Until this returns the unit may be in doubt again; then it is committed.
    pub fn commit(self) -> std::result::Result<Lsn, CommitError> {
        let pending = self.put(true, true)?;
        Ok(pending.placed.next)
    }

    /// Backs it out. Under repeat history this undoes it through the handler of
    /// [`Options::undo`](crate::Options::undo).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyDecided`]; what the handler says; or the log failed. Under repeat
    /// history also if moved records of the unit are known to be lost: undo needs them, and
    /// nothing was decided.
    ///
    /// # Crash
    ///
    /// Until this returns the unit may be in doubt again, or (repeat history) be in flight.
    pub fn back_out(self) -> Result<()> {
        let ends = !self.log.engine().stream().core().repeats_history();
        self.put(false, ends)?;
        if ends { Ok(()) } else { self.log.undo(self.unit) }
    }

    /// Makes the outcome durable and leaves the unit there, for the work that remains.
    ///
    /// # Errors
    ///
    /// As [`InDoubt::commit`].
    ///
    /// # Crash
    ///
    /// Until this returns the unit may be in doubt again; then it is decided.
    pub fn decide(self, outcome: Outcome) -> std::result::Result<Decided, CommitError> {
        let commit = outcome == Outcome::Commit;
        let pending = self.put(commit, false)?;
        let lsn = commit.then_some(pending.placed.next);
        Ok(Decided::new(&self.log, self.unit, outcome, lsn))
    }

    fn put(
        &self,
        commit: bool,
        end: bool,
    ) -> std::result::Result<siding_wal::stream::Pending, CommitError> {
        let how = Verdict {
            commit,
            end,
            heuristic: self.heuristic,
            cause: self.by,
            who: self.who.clone(),
        };
        let stream = self.log.engine().stream();
        stream.may_wait().map_err(refused)?;
        let need = if commit { Need::Effects } else { Need::Undo };
        self.log.engine().check_moved(self.unit, need).map_err(refused)?;
        let pending = stream.decide(self.unit, &how, true).map_err(refused)?;
        stream
            .wait_durable(pending.placed.next, pending.done.as_deref())
            .map_err(CommitError::Unknown)?;
        Ok(pending)
    }
}
