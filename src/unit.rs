//! A unit of work: all or nothing.

use crate::decided::{Decided, Outcome, refused};
use crate::inner::Inner;
use crate::{Backward, CommitError, Durability, InDoubt, PrepareError, Record, Ticket, Update};
use siding_checkpoint::Need;
use siding_wal::chain::{ChainStart, Walk};
use siding_wal::format::{Cause, Compensation, Kind, UnitState};
use siding_wal::stream::Pending;
use siding_wal::write::Verdict;
use siding_wal::{Error, Lsn, Result};
use std::sync::Arc;

/// A place in a unit that one can roll back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    unit: u64,
    head: Lsn,
}

/// A unit of work: all of its records count, or none. Owned by whoever writes it; may move
/// between threads. Dropping it backs it out, without waiting.
#[derive(Debug)]
#[must_use = "dropping a unit backs it out"]
pub struct UnitOfWork {
    log: Arc<Inner>,
    unit: u64,
    /// False once somebody else is responsible for how it ends.
    open: bool,
}

impl UnitOfWork {
    pub(crate) fn new(log: &Arc<Inner>, unit: u64) -> Self {
        Self { log: Arc::clone(log), unit, open: true }
    }

    /// The unit's number; never used again, not even after a crash.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.unit
    }

    /// Adds a record. Returns where it stands; nothing is durable before the unit commits.
    ///
    /// # Errors
    ///
    /// The record is too large, the log is full for new work, or failed. The unit goes on.
    ///
    /// # Crash
    ///
    /// The record may be there or not; the unit is backed out.
    pub fn append(&mut self, payload: &[u8]) -> Result<Lsn> {
        self.append_to(0, payload)
    }

    /// Adds a record that names what it changes by a number of the embedder's.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::append`].
    ///
    /// # Crash
    ///
    /// As [`UnitOfWork::append`].
    pub fn append_to(&mut self, resource: u16, payload: &[u8]) -> Result<Lsn> {
        Ok(self.log.engine().stream().append(self.unit, Kind::Data, resource, payload)?.lsn)
    }

    /// Adds a record that updates `object`, a number of the embedder's, and registers the update as
    /// in progress: until [`Update::done`] the redo position and the recovery point of a backup
    /// stay at or below it.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::append`].
    ///
    /// # Crash
    ///
    /// As [`UnitOfWork::append`].
    pub fn update(&mut self, object: u16, payload: &[u8]) -> Result<Update> {
        let placed = self.log.engine().stream().update(self.unit, object, payload)?;
        Ok(Update::new(&self.log, placed.lsn, object))
    }

    /// The place the unit is at now. Writes nothing.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        let core = self.log.engine().stream().core();
        let head = core.units.get(self.unit).map_or(Lsn::ZERO, |unit| unit.head);
        Savepoint { unit: self.unit, head }
    }

    /// Takes back every record behind the savepoint. `undo` sees each, newest first, undoes it
    /// in the embedder's state, and says what a compensation record shall carry (under repeat
    /// history; under deferred apply one record for all of them suffices, and its answer is not
    /// kept).
    ///
    /// # Errors
    ///
    /// [`Invalid`](siding_wal::ErrorKind::Invalid) for another unit's savepoint; what `undo`
    /// says, or the log failed: then everything that `undo` saw before is taken back, the rest
    /// is not.
    ///
    /// # Crash
    ///
    /// The unit is backed out; what was taken back is not undone once more.
    pub fn roll_back_to(
        &mut self,
        savepoint: &Savepoint,
        mut undo: impl FnMut(&Record<'_>) -> Result<Vec<u8>>,
    ) -> Result<()> {
        if savepoint.unit != self.unit {
            let what = "the savepoint is of another unit";
            return Err(Error::new(siding_wal::ErrorKind::Invalid, what));
        }
        let stream = self.log.engine().stream();
        let each = stream.core().repeats_history();
        let mut walk = Walk::effects(self.chain()).above(savepoint.head);
        // What the oldest record that was undone so far follows: undo of the rest begins there.
        let mut undo_next = None;
        let mut undone = Ok(());
        loop {
            let (lsn, header) = match walk.step(&**stream) {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(error) => {
                    undone = Err(error);
                    break;
                }
            };
            let body = match undo(&Record::new(lsn, header, walk.payload())) {
                Ok(body) => body,
                Err(error) => {
                    undone = Err(error);
                    break;
                }
            };
            if each {
                let payload = Compensation { undo_next: header.prev, body: &body }.encode();
                stream.append(self.unit, Kind::Compensation, header.resource, &payload)?;
            }
            undo_next = Some(header.prev);
        }
        if let (Some(undo_next), false) = (undo_next, each) {
            let payload = Compensation { undo_next, body: &[] }.encode();
            stream.append(self.unit, Kind::Compensation, 0, &payload)?;
        }
        undone
    }

    /// Its records so far, newest to oldest.
    ///
    /// # Errors
    ///
    /// None by itself; the cursor's steps say what is wrong.
    pub fn records_backward(&self) -> Result<Backward> {
        Ok(Backward::of_log(&self.log, self.chain()))
    }

    fn chain(&self) -> ChainStart {
        let core = self.log.engine().stream().core();
        let unit = core.units.get(self.unit);
        unit.map_or_else(ChainStart::default, |unit| unit.chain(self.unit))
    }

    /// Commits; returns the position just behind COMMIT once it is durable (at once under
    /// [`Durability::Relaxed`]). Costs one write and one flush, shared with everybody who
    /// commits at the same time.
    ///
    /// # Errors
    ///
    /// [`CommitError::BackedOut`]: it did not happen. [`CommitError::Unknown`]: the log failed
    /// while COMMIT was on its way.
    ///
    /// # Crash
    ///
    /// Until this returns, the unit is committed or backed out; then it is committed.
    pub fn commit(self) -> std::result::Result<Lsn, CommitError> {
        let durable = self.log.durability() == Durability::Durable;
        if durable {
            self.log.engine().stream().may_wait().map_err(CommitError::BackedOut)?;
        }
        let (log, pending) = self.put_commit(true, durable)?;
        if durable {
            let stream = log.engine().stream();
            stream
                .wait_durable(pending.placed.next, pending.done.as_deref())
                .map_err(CommitError::Unknown)?;
        }
        Ok(pending.placed.next)
    }

    /// Commits without waiting.
    ///
    /// # Errors
    ///
    /// [`CommitError::BackedOut`]: it did not happen.
    ///
    /// # Crash
    ///
    /// Until the ticket says so, the unit is committed or backed out.
    pub fn submit(self) -> std::result::Result<Ticket, CommitError> {
        let (log, pending) = self.put_commit(true, true)?;
        Ok(Ticket::new(&log, pending))
    }

    /// Makes the outcome commit durable and leaves the unit there, for the work that remains.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::commit`].
    ///
    /// # Crash
    ///
    /// Until this returns, the unit is decided or backed out; then it is decided.
    pub fn decide(self) -> std::result::Result<Decided, CommitError> {
        let unit = self.unit;
        self.log.engine().stream().may_wait().map_err(CommitError::BackedOut)?;
        let (log, pending) = self.put_commit(false, true)?;
        let stream = log.engine().stream();
        stream
            .wait_durable(pending.placed.next, pending.done.as_deref())
            .map_err(CommitError::Unknown)?;
        Ok(Decided::new(&log, unit, Outcome::Commit, Some(pending.placed.next)))
    }

    fn put_commit(
        mut self,
        end: bool,
        force: bool,
    ) -> std::result::Result<(Arc<Inner>, Pending), CommitError> {
        let how = Verdict { commit: true, end, ..Verdict::default() };
        let stream = self.log.engine().stream();
        // If this is refused, dropping the unit backs it out.
        self.log.engine().check_moved(self.unit, Need::Effects).map_err(refused)?;
        let pending = stream.decide(self.unit, &how, force).map_err(refused)?;
        self.open = false;
        Ok((Arc::clone(&self.log), pending))
    }

    /// Phase one of two: makes the unit durable under the name its coordinator knows it by. From
    /// here on it survives every crash, in doubt.
    ///
    /// # Errors
    ///
    /// [`PrepareError`], which hands the unit back where it is still in flight:
    /// [`DuplicateGid`](siding_wal::ErrorKind::DuplicateGid), a gid that is not 1 to 255 bytes,
    /// moved records that are lost.
    ///
    /// # Crash
    ///
    /// Until this returns, the unit is in doubt or backed out; then it is in doubt.
    pub fn prepare(self, gid: &[u8]) -> std::result::Result<InDoubt, PrepareError> {
        if let Err(error) = self.log.engine().stream().may_wait() {
            return Err(PrepareError { unit: Some(self), error });
        }
        let (doubt, ticket) = self.submit_prepare(gid)?;
        match ticket.wait() {
            Ok(_) => Ok(doubt),
            Err(error) => Err(PrepareError { unit: None, error: error.into() }),
        }
    }

    /// The same without waiting: the unit is in doubt for sure once the ticket says so.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::prepare`].
    ///
    /// # Crash
    ///
    /// Until the ticket says so, the unit is in doubt or backed out.
    pub fn submit_prepare(
        mut self,
        gid: &[u8],
    ) -> std::result::Result<(InDoubt, Ticket), PrepareError> {
        let engine = self.log.engine();
        let whole = engine.check_moved(self.unit, Need::Effects);
        let pending = match whole.and_then(|()| engine.stream().prepare(self.unit, gid)) {
            Ok(pending) => pending,
            Err(error) => return Err(PrepareError { unit: Some(self), error }),
        };
        self.open = false;
        let doubt = InDoubt::new(&self.log, self.unit, gid.to_vec());
        Ok((doubt, Ticket::new(&self.log, pending)))
    }

    /// Backs the unit out. Under repeat history this undoes it through the handler of
    /// [`Options::undo`](crate::Options::undo); under deferred apply nothing is waited for.
    ///
    /// # Errors
    ///
    /// What the handler says (the unit stays, to be undone later), or the log failed.
    ///
    /// # Crash
    ///
    /// The unit is backed out, now or by restart.
    pub fn back_out(mut self) -> Result<()> {
        self.open = false;
        let stream = self.log.engine().stream();
        stream.give_up(self.unit);
        if let Some(error) = stream.failure() {
            return Err(error);
        }
        if !stream.core().repeats_history() {
            return Ok(());
        }
        // Without room it was only marked, and nothing is undone before ABORT stands there.
        let marked = stream.core().units.get(self.unit).map(|unit| unit.state);
        if marked == Some(UnitState::InFlight) {
            let how = Verdict { cause: Cause::Drop, ..Verdict::default() };
            stream.decide(self.unit, &how, false)?;
        }
        self.log.undo(self.unit)
    }
}

impl Drop for UnitOfWork {
    fn drop(&mut self) {
        if self.open {
            self.log.engine().stream().give_up(self.unit);
        }
    }
}
