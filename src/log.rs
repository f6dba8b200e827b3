//! An open log.

use crate::inner::Inner;
use crate::read_only::open_secondary;
use crate::{
    Backward, CommitError, Decided, Durability, Follower, InDoubt, Options, OwnedRecord, ReadOnly,
    Record, Records, Recovery, UnitOfWork,
};
use siding_checkpoint::{ForkEffect, Pin, Positions, Progress, Rebuilt, Report, UnitInfo};
use siding_wal::chain::Fetch as _;
use siding_wal::disk::{Clock, SystemClock, open_dir_read_only};
use siding_wal::stream::RecordBuf;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::path::Path;
use std::sync::Arc;

/// An open log. Cheap to clone; every clone is the same log. Dropping the last handle closes it,
/// best effort; [`Log::close`] says whether that went well.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
}

impl Log {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Opens the log in a directory with the default options, or creates it there.
    ///
    /// # Errors
    ///
    /// What is there cannot be this log, whole: named, and nothing is changed.
    ///
    /// # Crash
    ///
    /// The next open does the same again.
    pub fn open(path: impl AsRef<Path>) -> Result<Recovery> {
        Options::new().open(path)
    }

    /// Looks at the log in a directory: takes no lock, writes nothing, and another process may
    /// have it open meanwhile. A log that an open would refuse for what stands behind its
    /// segment headers is shown as far as it can be read; [`ReadOnly::trouble`] says why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no log; or what is there cannot be a log: a foreign
    /// file, a missing segment, a damaged header.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<ReadOnly> {
        ReadOnly::open(path.as_ref())
    }

    /// Verifies the log in a directory, whether somebody has it open or not: every file, header,
    /// batch and record, chains and keypoints. Writes nothing, and reads all of it.
    ///
    /// # Errors
    ///
    /// There is no log, or the directory cannot be read. What is wrong with a log is no error,
    /// but a [`Finding`](crate::Finding).
    pub fn verify(
        path: impl AsRef<Path>,
        progress: impl Fn(&Progress),
    ) -> Result<crate::Verification> {
        Self::verify_with(path, None, progress)
    }

    /// The same of a log whose secondary log lies in another directory.
    ///
    /// # Errors
    ///
    /// As [`Log::verify`].
    pub fn verify_with(
        path: impl AsRef<Path>,
        secondary: Option<&Path>,
        progress: impl Fn(&Progress),
    ) -> Result<crate::Verification> {
        let path = path.as_ref();
        let secondary = secondary.map(open_secondary).transpose()?;
        let disk = open_dir_read_only(path)
            .map_err(|cause| Error::io("the log's directory cannot be opened", cause).file(path))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        siding_checkpoint::verify(&disk, secondary, &clock, &progress)
    }

    /// Begins a unit of work. Writes nothing.
    ///
    /// # Errors
    ///
    /// The log failed, or is closed.
    pub fn begin(&self) -> Result<UnitOfWork> {
        Ok(UnitOfWork::new(&self.inner, self.inner.engine().stream().begin()?))
    }

    /// A unit of one record, begun and committed in one step.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::commit`].
    ///
    /// # Crash
    ///
    /// As [`UnitOfWork::commit`].
    pub fn write(&self, payload: &[u8]) -> std::result::Result<Lsn, CommitError> {
        let stream = self.inner.engine().stream();
        let durable = self.inner.durability() == Durability::Durable;
        if durable {
            stream.may_wait().map_err(CommitError::BackedOut)?;
        }
        let pending = stream.write(0, payload, durable).map_err(CommitError::BackedOut)?;
        if durable {
            stream
                .wait_durable(pending.placed.next, pending.done.as_deref())
                .map_err(CommitError::Unknown)?;
        }
        Ok(pending.placed.next)
    }

    /// Every unit that is in doubt.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        self.inner.in_doubt()
    }

    /// Every unit that is decided and not ended.
    pub fn decided(&self) -> Vec<Decided> {
        self.inner.decided()
    }

    /// Every live unit that has written something, lowest number first.
    #[must_use]
    pub fn units(&self) -> Vec<UnitInfo> {
        self.inner.engine().units()
    }

    /// The records of a live unit, newest to oldest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if no such unit is live.
    pub fn unit_records(&self, unit: u64) -> Result<Backward> {
        let core = self.inner.engine().stream().core();
        let chain = core.units.get(unit).map(|entry| entry.chain(unit));
        drop(core);
        let chain = chain
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no unit {unit:#x} is live")))?;
        Ok(Backward::of_log(&self.inner, chain))
    }

    /// Moves a unit's records to the secondary log now, whatever it gains; returns how many. It
    /// goes on as before, and its chain is the same, but it holds no main log any more.
    ///
    /// Costs a read and a write of each record, one sync of the secondary log and one of the main
    /// log. What pins the log is moved by itself; see [`Options::forks`]. Moved records that are
    /// lost are rebuilt first, where their originals are there; what is lost for ever keeps no
    /// other record from being moved.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if no such unit is live, [`ErrorKind::LogFull`] beyond the quota,
    /// what the disk says, or what is lost if nothing was left to move; the unit stays as it was.
    ///
    /// # Crash
    ///
    /// It was moved, or it was not.
    pub fn fork(&self, unit: u64) -> Result<u64> {
        self.inner.engine().fork_unit(unit)
    }

    /// Units whose moved records were lost and rebuilt since this open. The log does it by itself,
    /// in the background, where every lost record can be had from the main log; the rest is in
    /// [`UnitInfo::problem`].
    #[must_use]
    pub fn rebuilt(&self) -> Vec<Rebuilt> {
        self.inner.engine().rebuilt()
    }

    /// Files beside the extents of the secondary log that have the name of one and are not this
    /// log's, each with what is wrong with it. They are left alone. Known once the background has
    /// looked, a moment after the open.
    #[must_use]
    pub fn strangers(&self) -> Vec<String> {
        self.inner.engine().strangers()
    }

    /// What moving each live unit would cost and gain, lowest number first; units that hold no
    /// main log are left out.
    ///
    /// # Errors
    ///
    /// What the disk says, if who holds a segment must be read from it.
    pub fn fork_effects(&self) -> Result<Vec<ForkEffect>> {
        self.inner.engine().fork_effects()
    }

    /// Keeps a unit from being moved by itself, until [`Log::unhold`] or the next open.
    pub fn hold(&self, unit: u64) {
        self.inner.engine().hold_unit(unit);
    }

    /// Lets a unit be moved again.
    pub fn unhold(&self, unit: u64) {
        self.inner.engine().unhold_unit(unit);
    }

    /// Every record from `from` on, up to what is durable now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] below the oldest position kept; zero stands for that position.
    pub fn records(&self, from: Lsn) -> Result<Records> {
        Ok(Records::of_log(self.inner.engine().history(from)?))
    }

    /// Every record from `from` on, and those that become durable later.
    ///
    /// # Errors
    ///
    /// As [`Log::records`].
    pub fn follow(&self, from: Lsn) -> Result<Follower> {
        let history = self.inner.engine().history(from)?;
        Ok(Follower::new(&self.inner, history))
    }

    /// The record at `lsn`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] below the oldest position kept; [`ErrorKind::Moved`] there if it was
    /// a record of a unit that was moved since, which the error names; [`ErrorKind::NotFound`] if
    /// no record begins there, or what is wrong with it.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedRecord> {
        let mut buf = RecordBuf::new();
        let engine = self.inner.engine();
        let found = engine.stream().fetch(lsn, &mut buf);
        let header = found.map_err(|error| engine.moved(lsn, error))?;
        Ok(Record::new(lsn, header, buf.payload()).to_owned())
    }

    /// Makes everything below `lsn` durable: the write-ahead rule before a page goes out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] above the end of the log; or the log failed.
    pub fn ensure_durable(&self, lsn: Lsn) -> Result<()> {
        self.inner.engine().stream().ensure_durable(lsn)
    }

    /// Says that every unit whose COMMIT ends at or below `lsn` is durable in the embedder's
    /// files. Never goes back. Takes effect for trimming when a durable keypoint carries it; if
    /// it is never called, nothing is ever trimmed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] above what is durable.
    pub fn redo_from(&self, lsn: Lsn) -> Result<()> {
        self.inner.engine().redo_from(lsn)
    }

    /// Where forward recovery of a copy of these objects, or of all if none is named, has to start
    /// if the copy begins now: their oldest update in progress, exactly, else the end of the log.
    /// Without [`update`](crate::UnitOfWork::update) guards in this open it is the redo position
    /// reported last. Writes nothing, and holds nothing.
    #[must_use]
    pub fn recovery_point(&self, objects: &[u16]) -> Lsn {
        self.inner.engine().recovery_point(objects)
    }

    /// Takes a keypoint and trims what it allows; returns where it begins.
    ///
    /// # Errors
    ///
    /// The log failed, or is full even in its reserve.
    ///
    /// # Crash
    ///
    /// The keypoint counts, or the one before does.
    pub fn keypoint(&self) -> Result<Lsn> {
        self.inner.engine().stream().may_wait()?;
        self.inner.engine().keypoint()
    }

    /// The positions of this moment.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.inner.engine().positions()
    }

    /// Every reason why log is kept, the one that holds most first.
    #[must_use]
    pub fn why_retained(&self) -> Vec<Pin> {
        self.inner.engine().why_retained()
    }

    /// What the open found and did.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.inner.engine().report()
    }

    /// Why the log failed, if it did.
    #[must_use]
    pub fn is_failed(&self) -> Option<Error> {
        self.inner.engine().stream().failure().filter(|error| error.kind() != ErrorKind::Closed)
    }

    /// Bytes that new work can append before another segment must be prepared.
    #[must_use]
    pub fn prepared_ahead(&self) -> u64 {
        self.inner.engine().stream().core().writer.ahead()
    }

    /// Stops without closing, as a crash would: what is durable stays, the next open recovers.
    pub fn abandon(&self) {
        self.inner.abandon();
    }

    /// Does the background work that is due; see [`Options::without_threads`].
    pub fn tick(&self) {
        self.inner.engine().tick();
    }

    /// Closes the log cleanly: the next open scans nothing behind the last keypoint twice, and
    /// goes on where this one ended. In-doubt units stay in doubt.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`], naming them, while units are in flight; or the log failed.
    ///
    /// # Crash
    ///
    /// Before this returns the close may count as unclean; nothing is lost.
    pub fn close(&self) -> Result<()> {
        self.inner.engine().stream().may_wait()?;
        self.inner.engine().close()?;
        self.inner.shut_down();
        Ok(())
    }
}
