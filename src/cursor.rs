//! Cursors: readers that lend one record at a time, and [`Owned`] for `for` loops.

use crate::inner::Inner;
use crate::{OwnedRecord, Record};
use siding_checkpoint::{History, Reading};
use siding_wal::chain::{ChainStart, Fetch, Forward, Walk};
use siding_wal::{Error, Lsn, Result};
use std::sync::Arc;

/// Makes an iterator of owned records of any cursor. It ends behind the first error.
#[derive(Debug)]
pub struct Owned<C> {
    cursor: C,
    failed: bool,
}

impl<C> Owned<C> {
    fn new(cursor: C) -> Self {
        Self { cursor, failed: false }
    }
}

/// Where single records come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// An open log.
    Log(Arc<Inner>),
    /// The files of a log that is only looked at.
    Files(siding_checkpoint::ReadOnly),
}

impl Source {
    fn fetch(&self) -> &dyn Fetch {
        match self {
            Self::Log(log) => &**log.engine().stream(),
            Self::Files(files) => files,
        }
    }

    /// The chain of the unit anew, if what `error` found lost could be rebuilt.
    fn mend(&self, unit: u64, error: Error) -> Result<ChainStart> {
        match self {
            Self::Log(log) => log.engine().mend(unit, error),
            Self::Files(_) => Err(error),
        }
    }
}

/// A unit's records, newest to oldest, control records among them.
#[derive(Debug)]
pub struct Backward {
    source: Source,
    walk: Walk,
    unit: u64,
    /// Records from here on were given, or are not asked for.
    below: Lsn,
    mended: bool,
}

/// A unit's records, oldest to newest, control records among them, wherever they stand.
#[derive(Debug)]
pub struct Chain {
    source: Source,
    chain: Forward,
}

/// What a commit of a unit applies: its records oldest to newest, without what was rolled back.
#[derive(Debug)]
pub struct Effects {
    log: Arc<Inner>,
    chain: Forward,
    unit: u64,
    /// The last record that was given.
    last: Lsn,
    mended: bool,
}

/// The committed units that redo must apply: whole, in the order of their commits, each oldest
/// to newest, without what was rolled back. Memory is bounded, whatever a unit's size.
#[derive(Debug)]
pub struct Committed(pub(crate) siding_checkpoint::Committed);

/// Every record from a position on, up to what was durable when the cursor was made.
#[derive(Debug)]
pub struct Records(Reader);

#[derive(Debug)]
enum Reader {
    Log(History),
    Files(Reading),
}

/// Every record from a position on, and those that become durable later. Pins nothing: if it
/// falls behind what is kept, it says so.
#[derive(Debug)]
pub struct Follower {
    history: History,
    /// Keeps the log open.
    _log: Arc<Inner>,
}

impl Backward {
    pub(crate) fn new(source: Source, start: ChainStart) -> Self {
        let (unit, below) = (start.unit, start.head.plus(1));
        Self { source, walk: Walk::records(start), unit, below, mended: false }
    }

    pub(crate) fn of_log(log: &Arc<Inner>, start: ChainStart) -> Self {
        Self::new(Source::Log(Arc::clone(log)), start)
    }

    /// The next older record; none at the end of the chain. One read of the disk at most, none
    /// while the record is recent. Moved records that are found lost are rebuilt, if their
    /// originals are there.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            match self.walk.step(self.source.fetch()) {
                Ok(Some((lsn, header))) if lsn < self.below => {
                    self.below = lsn;
                    return Ok(Some(Record::new(lsn, header, self.walk.payload())));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) if self.mended => return Err(error),
                Err(error) => {
                    self.walk = Walk::records(self.source.mend(self.unit, error)?);
                    self.mended = true;
                }
            }
        }
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned::new(self)
    }
}

impl Chain {
    pub(crate) fn new(source: Source, start: ChainStart) -> Self {
        Self { source, chain: Forward::records(start) }
    }

    /// The next newer record; none behind the newest.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let step = self.chain.step(self.source.fetch())?;
        Ok(step.map(|(lsn, header)| Record::new(lsn, header, self.chain.payload())))
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned::new(self)
    }
}

impl Effects {
    pub(crate) fn new(log: &Arc<Inner>, start: ChainStart) -> Self {
        let (log, chain) = (Arc::clone(log), Forward::new(start, Lsn::MAX));
        Self { log, chain, unit: start.unit, last: Lsn::ZERO, mended: false }
    }

    /// The next newer record; none behind the newest. Moved records that are found lost are
    /// rebuilt, if their originals are there.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            match self.chain.step(&**self.log.engine().stream()) {
                Ok(Some((lsn, header))) if lsn > self.last => {
                    self.last = lsn;
                    return Ok(Some(Record::new(lsn, header, self.chain.payload())));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) if self.mended => return Err(error),
                Err(error) => {
                    let anew = self.log.engine().mend(self.unit, error)?;
                    self.chain = Forward::new(anew, Lsn::MAX);
                    self.mended = true;
                }
            }
        }
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned::new(self)
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
        Owned::new(self)
    }
}

impl Records {
    pub(crate) fn of_log(history: History) -> Self {
        Self(Reader::Log(history))
    }

    pub(crate) fn of_files(reading: Reading) -> Self {
        Self(Reader::Files(reading))
    }

    /// The next record; none at the end.
    ///
    /// # Errors
    ///
    /// What is wrong with the log.
    #[allow(clippy::should_implement_trait, reason = "it lends; an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        let step = match &mut self.0 {
            Reader::Log(history) => history.step()?,
            Reader::Files(reading) => reading.step()?,
        };
        Ok(step.map(|(lsn, header, payload)| Record::new(lsn, header, payload)))
    }

    /// Looks again at a log that is only looked at, and goes on behind what was read: there may be
    /// more now. Of an open log see [`Log::follow`](crate::Log::follow).
    ///
    /// # Errors
    ///
    /// As [`ReadOnly::refresh`](crate::ReadOnly::refresh).
    pub fn refresh(&mut self) -> Result<()> {
        match &mut self.0 {
            Reader::Log(history) => history.advance(),
            Reader::Files(reading) => reading.refresh()?,
        }
        Ok(())
    }

    /// Bytes that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        match &self.0 {
            Reader::Log(history) => history.bytes_read(),
            Reader::Files(reading) => reading.bytes_read(),
        }
    }

    /// An iterator of owned records.
    #[must_use]
    pub fn owned(self) -> Owned<Self> {
        Owned::new(self)
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
                if self.failed {
                    return None;
                }
                let record = self.cursor.next().map(|record| record.map(|it| it.to_owned()));
                self.failed = record.is_err();
                record.transpose()
            }
        }
    )*};
}

owned_iterator!(Backward, Chain, Effects, Committed, Records);
