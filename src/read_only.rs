//! A log that is only looked at, while its owner may be at work.

use crate::cursor::Source;
use crate::{Backward, Chain, OwnedRecord, Record, Records};
use siding_checkpoint::{ExtentInfo, ForkEffect, Pin, Positions, SegmentInfo, UnitInfo, Usage};
use siding_wal::chain::Fetch as _;
use siding_wal::disk::{Clock, Disk, SystemClock, open_dir_read_only};
use siding_wal::read::{Identity, Row};
use siding_wal::stream::RecordBuf;
use siding_wal::{Error, Lsn, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log that is only looked at: no lock is taken and nothing is written, and another process
/// may have it open meanwhile. Of a log in use only what was durable is shown, of a closed one
/// everything up to its end.
///
/// It shows the moment of the look; [`ReadOnly::refresh`] looks again. Cheap to clone.
///
/// ```
/// # fn main() -> siding::Result<()> {
/// # let dir = tempfile::tempdir().map_err(|e| siding::Error::io("a temporary directory", e))?;
/// let log = siding::Log::open(dir.path())?.finish()?;
/// log.write(b"hello")?;
/// log.close()?;
///
/// let seen = siding::Log::open_read_only(dir.path())?;
/// assert!(seen.is_clean());
/// let mut records = seen.records(siding::Lsn::ZERO)?;
/// assert_eq!(records.next()?.map(|record| record.payload().to_vec()), Some(b"hello".to_vec()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadOnly(pub(crate) siding_checkpoint::ReadOnly);

/// The directory of a secondary log, to be read.
pub(crate) fn open_secondary(path: &Path) -> Result<Arc<dyn Disk>> {
    open_dir_read_only(path).map_err(|cause| {
        Error::io("the secondary log's directory cannot be opened", cause).file(path)
    })
}

impl ReadOnly {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let disk = open_dir_read_only(path)
            .map_err(|cause| Error::io("the log's directory cannot be opened", cause).file(path))?;
        Self::open_on(disk, Arc::new(SystemClock::new()))
    }

    /// Looks at the log on a disk of the embedder's own.
    ///
    /// # Errors
    ///
    /// As [`Log::open_read_only`](crate::Log::open_read_only).
    pub fn open_on(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Self> {
        siding_checkpoint::ReadOnly::open(disk, clock).map(Self)
    }

    /// The same look, with the secondary log in another directory: see
    /// [`Options::secondary`](crate::Options::secondary).
    ///
    /// # Errors
    ///
    /// The directory cannot be opened.
    pub fn secondary(self, path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self(self.0.with_secondary(open_secondary(path.as_ref())?)))
    }

    /// Looks again.
    ///
    /// # Errors
    ///
    /// As [`Log::open_read_only`](crate::Log::open_read_only); what was seen before stays.
    pub fn refresh(&mut self) -> Result<()> {
        self.0.refresh()
    }

    /// Whether somebody has the log open, and who.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.usage()
    }

    /// Whether the log was read as one in use: only below what was durable.
    #[must_use]
    pub fn in_use(&self) -> bool {
        self.0.in_use()
    }

    /// Where the directory lies.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.0.path()
    }

    /// Which log this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.identity()
    }

    /// The largest incarnation seen, that of the last open.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.0.incarnation()
    }

    /// The epoch it was written under last.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.0.epoch()
    }

    /// The write unit of the last segment.
    #[must_use]
    pub fn write_unit(&self) -> u32 {
        self.0.write_unit()
    }

    /// Whether the log was closed cleanly.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.0.is_clean()
    }

    /// The lettered row that says how the log ends, or why an open refuses it; none of a log in
    /// use.
    #[must_use]
    pub fn row(&self) -> Option<&'static Row> {
        self.0.row()
    }

    /// What an open would refuse the log for, if it would: then everything here reaches only as
    /// far as the log could be read.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        self.0.trouble()
    }

    /// Where the look began to read, how many bytes and records it read.
    #[must_use]
    pub fn scanned(&self) -> (Lsn, u64, u64) {
        self.0.scanned()
    }

    /// The positions; `durable`, `written` and `end` are all where what can be believed ends.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.0.positions()
    }

    /// Every live unit that has written something, lowest number first.
    #[must_use]
    pub fn units(&self) -> Vec<UnitInfo> {
        self.0.units()
    }

    /// What moving each live unit would cost and gain, lowest number first. Costs a read of the
    /// directory of each sealed segment that is kept, or a scan of the segment if it has none.
    ///
    /// # Errors
    ///
    /// The log is damaged where a directory was to be made.
    pub fn fork_effects(&self) -> Result<Vec<ForkEffect>> {
        self.0.fork_effects()
    }

    /// Every reason why log is kept, the one that holds most first.
    #[must_use]
    pub fn why_retained(&self) -> Vec<Pin> {
        self.0.why_retained()
    }

    /// What was odd, or what the answers rest on.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.0.notes()
    }

    /// Every file of the log, lowest number first.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        self.0.segments()
    }

    /// Every record from `from` on; zero stands for the oldest position kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`](crate::ErrorKind::Trimmed) below the oldest position kept; so do
    /// the steps of the cursor if the owner trims what is being read.
    pub fn records(&self, from: Lsn) -> Result<Records> {
        Ok(Records::of_files(self.0.records(from)?))
    }

    /// The records of a live unit, newest to oldest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if no such unit is live.
    pub fn unit_records(&self, unit: u64) -> Result<Backward> {
        let chain = self.0.chain_of(unit)?;
        Ok(Backward::new(Source::Files(self.0.clone()), chain))
    }

    /// The records of a live unit, oldest to newest, those on the secondary log first.
    ///
    /// # Errors
    ///
    /// As [`ReadOnly::unit_records`].
    pub fn unit_chain(&self, unit: u64) -> Result<Chain> {
        let chain = self.0.chain_of(unit)?;
        Ok(Chain::new(Source::Files(self.0.clone()), chain))
    }

    /// The extents of a live unit on the secondary log, newest first, each verified as it is
    /// read; and why there are no more of them, if not all could be read. None of a unit that
    /// was not moved.
    #[must_use]
    pub fn extents_of(&self, unit: u64) -> (Vec<ExtentInfo>, Option<Error>) {
        self.0.extents_of(unit)
    }

    /// Whether what is lost of a live unit's moved records can be rebuilt from originals that are
    /// still on the main log, by an open or by [`Log::fork`](crate::Log::fork); false if nothing is
    /// lost. Costs a read of each moved record.
    #[must_use]
    pub fn can_rebuild(&self, unit: u64) -> bool {
        self.0.can_rebuild(unit)
    }

    /// The files of the secondary log and their bytes, by name.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn extent_files(&self) -> Result<Vec<(String, u64)>> {
        self.0.extent_files()
    }

    /// The record at `lsn`.
    ///
    /// # Errors
    ///
    /// As [`Log::read`](crate::Log::read).
    pub fn read(&self, lsn: Lsn) -> Result<OwnedRecord> {
        let mut buf = RecordBuf::new();
        let header = self.0.fetch(lsn, &mut buf)?;
        Ok(Record::new(lsn, header, buf.payload()).to_owned())
    }
}
