//! Transactions.

use crate::change::{self, Changes};
use crate::locks::{Span, Want};
use crate::{Db, Error, Result};
use siding::{CommitError, Lsn, UnitOfWork};
use std::collections::BTreeMap;
use std::fmt;

/// A transaction: sees its own changes and what is committed; nobody else sees its changes
/// before it has committed. Dropping it backs it out.
#[derive(Debug)]
#[must_use = "dropping a transaction backs it out"]
pub struct Txn {
    db: Db,
    /// None once the log, or the table of units in doubt, is responsible for it.
    unit: Option<UnitOfWork>,
    number: u64,
    changes: Changes,
    /// What each change replaced in `changes`, for savepoints.
    journal: Vec<Replaced>,
    keeps_locks: bool,
}

/// What stood in `changes` before one of them: a value, a removal, or nothing.
#[derive(Debug)]
struct Replaced {
    key: Vec<u8>,
    before: Option<Option<Vec<u8>>>,
}

/// A place in a transaction that one can roll back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    unit: u64,
    log: siding::Savepoint,
    journal: usize,
}

/// Why a prepare did not succeed. The transaction comes back where it can go on.
#[derive(Debug)]
pub struct NotPrepared {
    /// The transaction, to go on with; none if the log failed meanwhile.
    pub txn: Option<Box<Txn>>,
    /// What went wrong.
    pub error: Error,
}

impl fmt::Display for NotPrepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not prepared: {}", self.error)
    }
}

impl std::error::Error for NotPrepared {}

impl From<NotPrepared> for Error {
    fn from(not: NotPrepared) -> Self {
        not.error
    }
}

impl Txn {
    pub(crate) fn new(db: Db, unit: UnitOfWork) -> Self {
        Self {
            db,
            number: unit.id(),
            unit: Some(unit),
            changes: Changes::new(),
            journal: Vec::new(),
            keeps_locks: false,
        }
    }

    /// The number of its unit of work.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.number
    }

    fn lock(&self, want: Want<'_>) -> Result<()> {
        let locks = &self.db.0.locks;
        match locks.take(self.number, want) {
            // Perhaps an operator has decided that unit meanwhile.
            Err(Error::Busy { in_doubt: true, .. }) if self.db.learn_decisions()? > 0 => {
                locks.take(self.number, want)
            }
            other => other,
        }
    }

    /// The value under a key, which stays so until the transaction ends.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.lock(Want::Read(key))?;
        Ok(self.look(key))
    }

    fn look(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changes.get(key) {
            Some(changed) => changed.clone(),
            None => self.db.view(|map| map.get(key).cloned()),
        }
    }

    /// The keys of a span and their values, in order. Nobody else adds or removes one before
    /// the transaction ends.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn scan(&self, span: &Span) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.lock(Want::Scan(span))?;
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> = self
            .db
            .view(|map| span.of(map).map(|(key, value)| (key.clone(), value.clone())).collect());
        for (key, value) in span.of(&self.changes) {
            change::apply(&mut found, key, value.as_deref());
        }
        Ok(found.into_iter().collect())
    }

    /// Puts a value under a key.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`]; or the log has no room, or the record is too large for it. Nothing has
    /// changed then, and the transaction can go on.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.change(key, |_| Ok(Some(value.to_vec()))).map(drop)
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// As [`Txn::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.change(key, |_| Ok(None)).map(drop)
    }

    /// Adds to the number under a key (8 bytes, little-endian; 0 where there is none). Returns
    /// the sum. The log is given the sum, not what was added.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`], or as [`Txn::put`].
    pub fn increment(&mut self, key: &[u8], by: i64) -> Result<i64> {
        let mut sum = 0;
        self.change(key, |before| {
            let added = change::number(key, before)?.checked_add(by);
            sum = added.ok_or_else(|| Error::NotANumber(key.to_vec()))?;
            Ok(Some(sum.to_le_bytes().to_vec()))
        })?;
        Ok(sum)
    }

    fn change(
        &mut self,
        key: &[u8],
        to: impl FnOnce(Option<&[u8]>) -> Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        self.lock(Want::Write(key))?;
        let value = to(self.look(key).as_deref())?;
        // First the log, then memory: what the log refuses has not happened.
        let unit = self.unit.as_mut().ok_or(Error::Ended)?;
        unit.append(&change::encode(key, value.as_deref()))?;
        let before = self.changes.insert(key.to_vec(), value);
        self.journal.push(Replaced { key: key.to_vec(), before });
        Ok(())
    }

    /// The place the transaction is at now. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`].
    pub fn savepoint(&self) -> Result<Savepoint> {
        let unit = self.unit.as_ref().ok_or(Error::Ended)?;
        Ok(Savepoint { unit: self.number, log: unit.savepoint(), journal: self.journal.len() })
    }

    /// Takes back everything behind the savepoint. Locks stay.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if it is of another transaction, or lies behind a place that was rolled
    /// back to since; or what the log says, and then the transaction is backed out: the log may
    /// have taken back a part.
    pub fn roll_back_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let ours = savepoint.unit == self.number && savepoint.journal <= self.journal.len();
        let unit = self.unit.as_mut().filter(|_| ours);
        // Under deferred apply nothing of this is in any file yet: memory alone is rolled back,
        // and only once the log has taken note.
        let result = unit.ok_or(Error::Ended)?.roll_back_to(&savepoint.log, |_| Ok(Vec::new()));
        if let Err(error) = result {
            drop(self.unit.take());
            return Err(error.into());
        }
        for Replaced { key, before } in self.journal.drain(savepoint.journal..).rev() {
            match before {
                Some(before) => drop(self.changes.insert(key, before)),
                None => drop(self.changes.remove(&key)),
            }
        }
        Ok(())
    }

    /// Commits, and returns once that is durable: a position such that this transaction, and
    /// everything it has seen, is committed below it. Others see the changes from here on, all
    /// or none.
    ///
    /// # Errors
    ///
    /// [`Error::Log`]: it is backed out. [`Error::Unknown`]: the log failed; its keys stay
    /// locked until the next open tells.
    ///
    /// # Crash
    ///
    /// Until this returns it is committed or backed out; then it is committed.
    pub fn commit(mut self) -> Result<Lsn> {
        let unit = self.unit.take().ok_or(Error::Ended)?;
        if self.journal.is_empty() && self.changes.is_empty() {
            return Ok(self.db.0.log.positions().durable);
        }
        let shared = &self.db.0;
        let mark = shared.unapplied.leave_mark(&shared.log);
        match unit.commit() {
            Ok(lsn) => {
                self.db.apply(&self.changes);
                shared.unapplied.take_away(mark);
                // Locks go last, with `self`: who waits for one sees the changes.
                Ok(lsn)
            }
            Err(CommitError::BackedOut(error)) => {
                shared.unapplied.take_away(mark);
                Err(error.into())
            }
            Err(unknown) => {
                self.keeps_locks = true;
                Err(unknown.into())
            }
        }
    }

    /// Phase one of two: the transaction is durable under `gid`, and in doubt until
    /// [`Db::commit_prepared`] or one of its like is called, in this open or a later one. It
    /// keeps the locks of what it writes; what it only read is free.
    ///
    /// # Errors
    ///
    /// [`NotPrepared`]: the gid is taken, empty or too long, and the transaction comes back; or
    /// the log failed.
    ///
    /// # Crash
    ///
    /// Until this returns it is in doubt or backed out; then it is in doubt.
    pub fn prepare(mut self, gid: &[u8]) -> std::result::Result<(), NotPrepared> {
        let Some(unit) = self.unit.take() else {
            return Err(NotPrepared { txn: None, error: Error::Ended });
        };
        let shared = &self.db.0;
        // From PREPARE on an operator may decide it, before the table below knows of it.
        let mark = shared.unapplied.leave_mark(&shared.log);
        let since = shared.log.positions().end;
        match unit.prepare(gid) {
            Ok(doubt) => {
                self.keeps_locks = true;
                let changes = std::mem::take(&mut self.changes);
                shared.locks.keep_in_doubt(self.number, &changes);
                shared.doubts.add(doubt, changes, since);
                shared.unapplied.take_away(mark);
                Ok(())
            }
            Err(refused) => {
                let error = Error::Log(refused.error);
                let Some(unit) = refused.unit else {
                    self.keeps_locks = true;
                    return Err(NotPrepared { txn: None, error });
                };
                shared.unapplied.take_away(mark);
                self.unit = Some(unit);
                Err(NotPrepared { txn: Some(Box::new(self)), error })
            }
        }
    }

    /// Backs the transaction out: nothing of it was ever there.
    ///
    /// # Errors
    ///
    /// The log failed; it is backed out all the same, by the next open.
    pub fn back_out(mut self) -> Result<()> {
        let unit = self.unit.take().ok_or(Error::Ended)?;
        Ok(unit.back_out()?)
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        drop(self.unit.take());
        if !self.keeps_locks {
            self.db.0.locks.release(self.number);
        }
    }
}
