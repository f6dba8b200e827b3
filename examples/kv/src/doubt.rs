//! Units in doubt: prepared, and not decided. They outlive every restart.
//!
//! Here they are decided by a call; but an operator can decide them too, behind the database's
//! back, at the log itself. [`Db::learn_decisions`] finds that out: before every snapshot, and
//! whenever somebody meets a lock of a unit in doubt.

use crate::change::{self, Changes};
use crate::locks::Locks;
use crate::{Db, Error, Result};
use siding::{CommitError, Decided, ErrorKind, InDoubt, Kind, Log, Lsn, Outcome};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A unit in doubt.
#[derive(Debug)]
struct Doubt {
    unit: InDoubt,
    changes: Changes,
    /// It was in doubt at this position: its decision stands at or above it.
    since: Lsn,
}

/// All units in doubt, by gid.
#[derive(Debug)]
pub(crate) struct Doubts(Mutex<BTreeMap<Vec<u8>, Doubt>>);

type Table<'a> = MutexGuard<'a, BTreeMap<Vec<u8>, Doubt>>;

impl Doubts {
    /// The units that were in doubt when the log was opened: what their commit would apply is
    /// read, and locked again before anybody else can come.
    pub(crate) fn at_restart(log: &Log, locks: &Locks) -> Result<Self> {
        let since = log.positions().end;
        let doubts = Self(Mutex::default());
        for unit in log.in_doubt() {
            let mut changes = Changes::new();
            let mut effects = unit.effects()?;
            while let Some(record) = effects.next()? {
                let (key, value) = change::decode(record.payload())?;
                changes.insert(key.to_vec(), value.map(<[u8]>::to_vec));
            }
            locks.keep_in_doubt(unit.id(), &changes);
            doubts.add(unit, changes, since);
        }
        Ok(doubts)
    }

    pub(crate) fn add(&self, unit: InDoubt, changes: Changes, since: Lsn) {
        self.table().insert(unit.gid().to_vec(), Doubt { unit, changes, since });
    }

    pub(crate) fn gids(&self) -> Vec<Vec<u8>> {
        self.table().keys().cloned().collect()
    }

    fn table(&self) -> Table<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Db {
    /// The gids of the units in doubt, in order.
    #[must_use]
    pub fn in_doubt(&self) -> Vec<Vec<u8>> {
        self.0.doubts.gids()
    }

    /// What a commit of a unit in doubt will do.
    ///
    /// # Errors
    ///
    /// [`Error::NotInDoubt`].
    pub fn changes_in_doubt(&self, gid: &[u8]) -> Result<Changes> {
        let table = self.0.doubts.table();
        let doubt = table.get(gid).ok_or_else(|| Error::NotInDoubt(gid.to_vec()))?;
        Ok(doubt.changes.clone())
    }

    /// Phase two: commits a unit in doubt.
    ///
    /// # Errors
    ///
    /// [`Error::NotInDoubt`]; [`Error::AlreadyDecided`] if somebody else was first;
    /// [`Error::Unknown`] if the log failed meanwhile.
    ///
    /// # Crash
    ///
    /// Until this returns it may be in doubt again; then it is committed.
    pub fn commit_prepared(&self, gid: &[u8]) -> Result<Lsn> {
        self.settle(gid, Outcome::Commit, InDoubt::commit)
    }

    /// Phase two: backs a unit in doubt out.
    ///
    /// # Errors
    ///
    /// As [`Db::commit_prepared`].
    ///
    /// # Crash
    ///
    /// Until this returns it may be in doubt again; then it is backed out.
    pub fn back_out_prepared(&self, gid: &[u8]) -> Result<()> {
        self.settle(gid, Outcome::BackOut, |unit| {
            unit.back_out().map_err(|error| match error.kind() {
                ErrorKind::Failed | ErrorKind::Io => CommitError::Unknown(error),
                _ => CommitError::BackedOut(error),
            })
        })
    }

    /// Phase two for a coordinator: makes the outcome durable, applies it, and leaves the unit
    /// in the log until [`Decided::end`], while other participants are told.
    ///
    /// # Errors
    ///
    /// As [`Db::commit_prepared`].
    ///
    /// # Crash
    ///
    /// Until this returns it may be in doubt again; then it is decided, and [`Log::decided`] of
    /// a later open has it, until it is ended.
    pub fn decide(&self, gid: &[u8], outcome: Outcome) -> Result<Decided> {
        self.settle(gid, outcome, |unit| unit.decide(outcome))
    }

    fn settle<T>(
        &self,
        gid: &[u8],
        outcome: Outcome,
        decide: impl FnOnce(InDoubt) -> std::result::Result<T, CommitError>,
    ) -> Result<T> {
        let shared = &*self.0;
        let mark = shared.unapplied.leave_mark(&shared.log);
        let doubt = shared.doubts.table().remove(gid);
        let Some(Doubt { unit, changes, since }) = doubt else {
            shared.unapplied.take_away(mark);
            return Err(Error::NotInDoubt(gid.to_vec()));
        };
        let id = unit.id();
        let error = match decide(unit) {
            Ok(done) => {
                self.landed(id, outcome, &changes);
                shared.unapplied.take_away(mark);
                return Ok(done);
            }
            Err(CommitError::BackedOut(error)) => error,
            // Mark and locks stay: only the next open can tell.
            Err(unknown) => return Err(unknown.into()),
        };
        // Nothing was decided here: somebody else was first, or the log would not have it.
        if let Some(unit) = shared.log.in_doubt().into_iter().find(|unit| unit.id() == id) {
            shared.doubts.add(unit, changes, since);
            shared.unapplied.take_away(mark);
            return Err(error.into());
        }
        let outcome = self.decision_of(id, since)?;
        self.landed(id, outcome, &changes);
        shared.unapplied.take_away(mark);
        Err(Error::AlreadyDecided(outcome))
    }

    /// The outcome is known: the map shows it, then the locks go.
    fn landed(&self, unit: u64, outcome: Outcome, changes: &Changes) {
        if outcome == Outcome::Commit {
            self.apply(changes);
        }
        self.0.locks.release(unit);
    }

    /// Takes note of decisions that were made at the log itself. Returns how many.
    ///
    /// # Errors
    ///
    /// What the log says; what is not known now is looked for again the next time.
    pub fn learn_decisions(&self) -> Result<usize> {
        let mut table = self.0.doubts.table();
        // In this order: what is in doubt after the end was read is decided above it.
        let end = self.0.log.positions().end;
        let still: HashSet<u64> = self.0.log.in_doubt().iter().map(InDoubt::id).collect();
        let mut decided = Vec::new();
        for (gid, doubt) in table.iter_mut() {
            if still.contains(&doubt.unit.id()) {
                doubt.since = end;
            } else {
                let outcome = self.decision_of(doubt.unit.id(), doubt.since)?;
                decided.push((gid.clone(), outcome));
            }
        }
        for (gid, outcome) in &decided {
            if let Some(doubt) = table.remove(gid) {
                self.landed(doubt.unit.id(), *outcome, &doubt.changes);
            }
        }
        Ok(decided.len())
    }

    /// Looks for a unit's decision in the log: it is no longer in doubt, so there is one.
    fn decision_of(&self, unit: u64, since: Lsn) -> Result<Outcome> {
        let log = &self.0.log;
        log.ensure_durable(log.positions().end)?;
        let mut records = log.records(since)?;
        while let Some(record) = records.next()? {
            match record.kind() {
                Kind::Commit if record.unit() == unit => return Ok(Outcome::Commit),
                Kind::Abort if record.unit() == unit => return Ok(Outcome::BackOut),
                _ => {}
            }
        }
        Err(Error::Record("a unit is not in doubt, and its decision is not there"))
    }
}
