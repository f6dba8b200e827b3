//! The engine: a stream with keypoints, trimming and the background work around it.

use crate::archive::Archiving;
use crate::directories::Directories;
use crate::forking::Forking;
use crate::keeper::Keeper;
use crate::open::{Config, Opened, Report};
use crate::restore::note::Noted;
use crate::undo::UndoHandler;
use siding_wal::disk::{DirLock, FutexWord};
use siding_wal::format::{ClosePayload, Kind, UnitState};
use siding_wal::seeded;
use siding_wal::stream::{Stream, Upkeep};
use siding_wal::write::Core;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The positions of a log, oldest first. They never go back, and
/// `oldest <= keypoint_begin <= keypoint_end <= durable <= written <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Nothing below is kept. Moved by trimming.
    pub oldest: Lsn,
    /// The redo position in the last durable keypoint. Moved by a keypoint.
    pub redo: Lsn,
    /// Where the last complete durable keypoint begins, or zero. Moved by a keypoint.
    pub keypoint_begin: Lsn,
    /// Where it ends, or zero.
    pub keypoint_end: Lsn,
    /// All below is on stable storage. Moved by a flush.
    pub durable: Lsn,
    /// All below was handed to the operating system. Moved by a flush.
    pub written: Lsn,
    /// Behind the last record. Moved by every append.
    pub end: Lsn,
}

/// A log that is open, with everything that keeps it small.
pub struct Engine {
    stream: Arc<Stream>,
    report: Report,
    keeper: Mutex<Keeper>,
    pub(crate) keypointing: Mutex<()>,
    undoing: Mutex<()>,
    undo: Option<UndoHandler>,
    repair: AtomicBool,
    /// Held from taking a mark's time to its place, so that time never goes back along the log.
    pub(crate) marking: Mutex<()>,
    closing: Mutex<()>,
    closed: AtomicBool,
    pub(crate) wake: FutexWord,
    lock: Mutex<Option<Box<dyn DirLock>>>,
    directories: Mutex<Directories>,
    restored: Noted,
    pub(crate) forking: Forking,
    pub(crate) archiving: Archiving,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// The first segment of whose contents the unit table has seen all: behind the one that the scan
/// began in, for that was written to before.
fn first_own_segment(opened: &Opened) -> u64 {
    let segments = opened.stream.segments();
    let from = opened.report.scanned_from;
    if opened.report.created { 0 } else { segments.number_of(from).saturating_add(1) }
}

impl Engine {
    /// The engine over an opened stream.
    #[must_use]
    pub fn new(opened: Opened, config: &mut Config) -> Arc<Self> {
        let now = opened.stream.clock().monotonic_ms();
        let keeper = Keeper::new(
            config.keypoint_bytes,
            config.keypoint_ms,
            now,
            opened.stream.bounds().keypoint_end,
            opened.stream.core().content_end(),
            opened.marked_ms,
        );
        let due_at = keeper.due_at();
        let first = first_own_segment(&opened);
        let engine = Arc::new(Self {
            directories: Mutex::new(Directories::new(opened.directories, first)),
            restored: Noted::new(opened.restored),
            forking: Forking::new(opened.pool, config.forks),
            archiving: Archiving::new(config.archived, config.max_log_bytes),
            stream: opened.stream,
            report: opened.report,
            keeper: Mutex::new(keeper),
            keypointing: Mutex::new(()),
            undoing: Mutex::new(()),
            undo: config.undo.take(),
            repair: AtomicBool::new(false),
            marking: Mutex::new(()),
            closing: Mutex::new(()),
            closed: AtomicBool::new(false),
            wake: FutexWord::default(),
            lock: Mutex::new(Some(opened.lock)),
        });
        let upkeep: Weak<dyn Upkeep> = Arc::<Self>::downgrade(&engine);
        engine.stream.set_upkeep(upkeep);
        engine.set_marks(due_at);
        // What the log holds from earlier opens is no arrears of this one.
        engine.note_look();
        engine.forget_restore();
        engine
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// What the open found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Removes the note of a restore that is over.
    pub(crate) fn forget_restore(&self) {
        self.restored.outlived(&**self.stream.disk(), self.stream.bounds().oldest);
    }

    pub(crate) fn directories(&self) -> MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn undo_handler(&self) -> Option<&UndoHandler> {
        self.undo.as_ref()
    }

    /// Whether units that are being backed out may be undone in the background: true once the
    /// embedder has finished its recovery.
    pub fn start_undo(&self) {
        self.repair.store(true, Ordering::Release);
    }

    pub(crate) fn may_undo(&self) -> bool {
        self.repair.load(Ordering::Acquire)
    }

    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn one_undo(&self) -> MutexGuard<'_, ()> {
        self.undoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_keypoint(&self, end: Lsn) {
        let now = self.stream.clock().monotonic_ms();
        let mut keeper = self.keeper();
        keeper.keypoint_taken(now, end);
        self.set_marks(keeper.due_at());
    }

    /// The positions of this moment.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let bounds = self.stream.bounds();
        let core = self.stream.core();
        let positions = Positions {
            oldest: bounds.oldest,
            redo: bounds.redo,
            keypoint_begin: bounds.keypoint_begin,
            keypoint_end: bounds.keypoint_end,
            durable: core.writer.durable(),
            written: core.writer.written(),
            end: core.writer.end(),
        };
        drop(core);
        positions.assert_ladder();
        positions
    }

    /// Where forward recovery of a copy of these objects, or of all if none is named, starts if the
    /// copy begins now.
    #[must_use]
    pub fn recovery_point(&self, objects: &[u16]) -> Lsn {
        let core = self.stream.core();
        core.redo.recovery_point(objects, core.writer.end())
    }

    /// Reports that everything below `lsn` that was committed is durable in the embedder's files.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] above what is durable.
    pub fn redo_from(&self, lsn: Lsn) -> Result<()> {
        let mut core = self.stream.core();
        if lsn > core.writer.durable() {
            return Err(Error::new(ErrorKind::Invalid, "a redo position above what is durable")
                .at(lsn)
                .advise("report positions that commit returned"));
        }
        core.redo.report(lsn);
        Ok(())
    }

    /// Closes cleanly: everything durable, CLOSE in a batch of its own, then the clean mark.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] while units are in flight, naming them; or the log failed.
    pub fn close(&self) -> Result<()> {
        if !self.closed.load(Ordering::Acquire) && self.stream.failure().is_none() {
            // What was dropped is nobody's any more. Not under the lock: the embedder's handler
            // runs, and may ask for a close itself.
            self.end_dropped()?;
            self.undo_abandoned();
        }
        let _one_at_a_time = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            // A close that failed has failed, however often it is asked for.
            let failed = |error: &Error| error.kind() != ErrorKind::Closed;
            return self.stream.failure().filter(failed).map_or(Ok(()), Err);
        }
        self.end_dropped()?;
        idle(&self.in_flight())?;
        if self.keeper().worth_a_keypoint(self.stream.core().writer.end()) {
            match self.keypoint_now(&self.one_keypoint()) {
                Err(error) if error.kind() == ErrorKind::LogFull => {}
                other => drop(other?),
            }
        }
        {
            // Others may have begun something since; from here on they may not.
            let mut core = self.stream.core();
            idle(&in_state(&core, IN_FLIGHT))?;
            core.set_closing(true);
        }
        self.write_close().inspect_err(|_| self.stream.core().set_closing(false))?;
        self.closed.store(true, Ordering::Release);
        self.stream.write_control(true)?;
        self.stream
            .fail(Error::new(ErrorKind::Closed, "the log is closed").advise("open it again"));
        Ok(())
    }

    fn write_close(&self) -> Result<()> {
        self.stream.flush()?;
        let payload: ClosePayload = self.mark_payload();
        let placed = self.stream.append_first(Kind::Close, &payload.encode())?;
        if seeded!(CleanBeforeClose) {
            self.stream.write_control(true)?;
        }
        self.stream.ensure_durable(placed.next)
    }

    /// Ends units that were dropped when memory had no room for it, a ring's worth at a time.
    fn end_dropped(&self) -> Result<()> {
        let now = self.stream.clock().monotonic_ms();
        let mut left = usize::MAX;
        loop {
            let still = {
                let mut core = self.stream.core();
                core.retry_dropped(now);
                core.dropped()
            };
            if still == 0 || still >= left {
                return Ok(());
            }
            left = still;
            self.stream.flush()?;
        }
    }

    /// Ends everything without a clean close: as a crash would, but threads end and the lock goes.
    pub fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
        self.stream.stop();
        self.wake.fetch_max(1);
        self.wake.wake_all();
    }

    /// Lets the directory's lock go. The log must be closed or abandoned, its threads ended.
    pub fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Units that have records and are neither prepared nor decided, or not yet undone.
    #[must_use]
    pub fn in_flight(&self) -> Vec<u64> {
        self.in_state(IN_FLIGHT)
    }

    /// Units in one of these states, lowest number first.
    #[must_use]
    pub fn in_state(&self, states: &[UnitState]) -> Vec<u64> {
        in_state(&self.stream.core(), states)
    }
}

/// Neither prepared nor decided, or not yet undone.
const IN_FLIGHT: &[UnitState] = &[UnitState::InFlight, UnitState::BackingOut];

fn in_state(core: &Core, states: &[UnitState]) -> Vec<u64> {
    let mut units: Vec<u64> = core
        .units
        .iter()
        .filter(|(_, unit)| states.contains(&unit.state) && !unit.is_blank())
        .map(|(number, _)| number)
        .collect();
    units.sort_unstable();
    units
}

/// Whether a close may go on.
fn idle(busy: &[u64]) -> Result<()> {
    if busy.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = busy.iter().take(8).map(|unit| format!("{unit:#x}")).collect();
    let what = format!("{} units are in flight: {}", busy.len(), named.join(", "));
    Err(Error::new(ErrorKind::InUse, what).advise("commit, prepare or back them out, then close"))
}

impl Positions {
    /// The ladder of positions; what breaks it is a defect of this code, never of data.
    fn assert_ladder(&self) {
        let begin = self.keypoint_begin;
        assert!(begin.is_zero() || self.oldest <= begin, "oldest above the keypoint: {self:?}");
        assert!(begin <= self.keypoint_end, "keypoint ends before it begins: {self:?}");
        assert!(self.keypoint_end <= self.durable, "keypoint not durable: {self:?}");
        assert!(self.redo <= self.durable, "redo above durable: {self:?}");
        assert!(self.durable <= self.written, "durable above written: {self:?}");
        assert!(self.written <= self.end, "written above the end: {self:?}");
    }
}
