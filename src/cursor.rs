//! Cursors: readers that lend one record at a time, and [`Owned`] for `for` loops.

use crate::log::Inner;
use crate::{OwnedRecord, Record};
use siding_checkpoint::History;
use siding_wal::chain::{Forward, Walk};
use siding_wal::{Lsn, Result};
use std::sync::Arc;

/// Makes an iterator of owned records of any cursor.
#[derive(Debug)]
pub struct Owned<C>(C);

/// A unit's records, newest to oldest, control records among them.
#[derive(Debug)]
pub struct Backward {
    log: Arc<Inner>,
    walk: Walk,
}

/// What a commit of a unit applies: its records oldest to newest, without what was rolled back.
#[derive(Debug)]
pub struct Effects {
    log: Arc<Inner>,
    chain: Forward,
}

/// The committed units that redo must apply: whole, in the order of their commits, each oldest
/// to newest, without what was rolled back. Memory is bounded, whatever a unit's size.
#[derive(Debug)]
pub struct Committed(pub(crate) siding_checkpoint::Committed);

/// Every record from a position on, up to what was durable when the cursor was made.
#[derive(Debug)]
pub struct Records(pub(crate) History);

/// Every record from a position on, and those that become durable later. Pins nothing: if it
/// falls behind what is kept, it says so.
#[derive(Debug)]
pub struct Follower {
    history: History,
    /// Keeps the log open.
    _log: Arc<Inner>,
}

impl Backward {
    pub(crate) fn new(log: &Arc<Inner>, unit: u64, head: Lsn, floor: Lsn) -> Self {
        Self { log: Arc::clone(log), walk: Walk::records(unit, head, floor) }
    }

    /// The next older record; none at the end of the chain. One read of the disk at most, none
    /// while the record is recent.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let step = self.walk.step(&**self.log.engine().stream())?;
        Ok(step.map(|(lsn, header)| Record::new(lsn, header, self.walk.payload())))
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned(self)
    }
}

impl Effects {
    pub(crate) fn new(log: &Arc<Inner>, unit: u64, head: Lsn, floor: Lsn) -> Self {
        Self { log: Arc::clone(log), chain: Forward::new(unit, head, floor) }
    }

    /// The next newer record; none behind the newest.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let step = self.chain.step(&**self.log.engine().stream())?;
        Ok(step.map(|(lsn, header)| Record::new(lsn, header, self.chain.payload())))
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned(self)
    }
}

impl Committed {
    /// The next record; none behind the last unit. [`Record::commit`] says behind which position
    /// its unit is committed.
    ///
    /// # Errors
    ///
    /// What is wrong with the log: durable data is damaged or gone.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let step = self.0.step()?;
        Ok(step.map(|(lsn, header, payload, commit)| {
            Record::new(lsn, header, payload).committed(commit)
        }))
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned(self)
    }
}

impl Records {
    /// The next record; none at the end.
    ///
    /// # Errors
    ///
    /// What is wrong with the log.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let step = self.0.step()?;
        Ok(step.map(|(lsn, header, payload)| Record::new(lsn, header, payload)))
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned(self)
    }
}

impl Follower {
    pub(crate) fn new(log: &Arc<Inner>, history: History) -> Self {
        Self { history, _log: Arc::clone(log) }
    }

    /// The next durable record; none if there is none now: ask again later.
    ///
    /// # Errors
    ///
    /// [`Trimmed`](siding_wal::ErrorKind::Trimmed) if it fell behind; what is wrong with the log.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        self.history.advance();
        let step = self.history.step()?;
        Ok(step.map(|(lsn, header, payload)| Record::new(lsn, header, payload)))
    }
}

macro_rules! owned_iterator {
    ($($cursor:ty),*) => {$(
        impl Iterator for Owned<$cursor> {
            type Item = Result<OwnedRecord>;

            fn next(&mut self) -> Option<Self::Item> {
                self.0.next().map(|record| record.map(|record| record.to_owned())).transpose()
            }
        }
    )*};
}

owned_iterator!(Backward, Effects, Committed, Records);
