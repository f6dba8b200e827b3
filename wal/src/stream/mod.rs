//! The thin driver of the write side: one lock, one flush token, the files.
//!
//! Everything that decides is in [`Core`], under one short lock. Whoever
//! waits for durability and finds the flush token free flushes for all; else the holder of the
//! token, or the flusher thread, does. Without threads (in the simulator) the caller does all of
//! it, by the same code.
//!
//! Locks are taken in this order: preparing, flush token, filling, control file, preparer, core;
//! segments and bounds are leaves. No disk is touched under the core's lock.

mod append;
mod control;
mod fetch;
mod flush;
mod notify;
mod prepare;
mod threads;

pub use append::Pending;
pub use control::{Bounds, create_control, next_block, write_slot};
pub use fetch::RecordBuf;
pub use notify::{in_callback, run as run_callback};
pub use prepare::{AHEAD, Prepared, RECYCLED, create_filled};

use crate::chain::Copies;
use crate::disk::{Clock, Disk, FutexWord};
use crate::format::{Discipline, LogId};
use crate::read::{Segment, Segments};
use crate::write::Core;
use crate::{Error, Lsn, Result};
use control::Control;
use flush::Token;
use notify::Notifier;
use prepare::Preparer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

/// What an open log is, for as long as it is open.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which log this is.
    pub log_id: LogId,
    /// Which directory this is.
    pub path_id: [u8; 16],
    /// How effects reach the embedder's files.
    pub discipline: Discipline,
    /// The incarnation of this open.
    pub incarnation: u32,
    /// The epoch it writes under.
    pub epoch: u32,
    /// Batches start and end at multiples of this.
    pub write_unit: u32,
    /// Bytes of each segment.
    pub segment_size: u64,
    /// Bytes of records that may wait in memory.
    pub ring_size: usize,
    /// The largest payload, in bytes.
    pub max_record: usize,
    /// The most that the log's files may take together.
    pub max_log_bytes: Option<u64>,
    /// Whether a flusher thread will run; without one the caller does its work.
    pub threads: bool,
}

/// Whoever keeps a stream small: keypoints, trimming, moves.
pub trait Upkeep: Send + Sync {
    /// A segment was sealed, or the log has grown to [`Stream::wake_at`]. Called by whoever
    /// flushes: may do no more than wake somebody.
    fn wake(&self);

    /// Another segment would have to be made: does first what is due anyway and lets one go.
    fn catch_up(&self);

    /// There is no room: frees some, and says whether it did.
    fn make_room(&self) -> bool;
}

/// Where an opened stream stands before its first record.
#[derive(Debug)]
pub struct Opened {
    /// Writer, unit table, commit minima.
    pub core: Core,
    /// The live segments; the last one is open.
    pub segments: Segments,
    /// What was prepared behind it.
    pub prepared: Prepared,
    /// The control file and the sequence number of its newest slot, if there is one.
    pub control: Option<u64>,
    /// Oldest position, last keypoint, redo position.
    pub bounds: Bounds,
    /// The block of unit ids of this open.
    pub unit_block: u32,
}

/// One open stream of records.
pub struct Stream {
    settings: Settings,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    core: Mutex<Core>,
    token: Mutex<Token>,
    segments: RwLock<Segments>,
    /// Held for as long as something is prepared.
    preparing: Mutex<()>,
    /// Held while the preparer syncs the segment that is written to.
    filling: Mutex<()>,
    preparer: Mutex<Preparer>,
    control: Mutex<Control>,
    bounds: Mutex<Bounds>,
    notifier: Notifier,
    flusher: FutexWord,
    hurry: AtomicBool,
    stopping: AtomicBool,
    upkeep: OnceLock<Weak<dyn Upkeep>>,
    wake_at: AtomicU64,
    wall: AtomicU64,
    secondary: OnceLock<Arc<dyn Copies>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("settings", &self.settings).finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds a lock runs strangers' code; a poisoned one is as good as another.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// Takes an opened stream over.
    #[must_use]
    pub fn new(
        settings: Settings,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        opened: Opened,
    ) -> Self {
        let Opened { mut core, segments, prepared, control, bounds, unit_block } = opened;
        core.use_block(unit_block);
        core.set_terms(settings.write_unit, segments.len());
        let token = Token::new(segments.last().cloned());
        let stream = Self {
            preparing: Mutex::new(()),
            filling: Mutex::new(()),
            preparer: Mutex::new(Preparer::new(prepared)),
            control: Mutex::new(Control::new(control, unit_block)),
            core: Mutex::new(core),
            token: Mutex::new(token),
            segments: RwLock::new(segments),
            bounds: Mutex::new(bounds),
            notifier: Notifier::default(),
            flusher: FutexWord::default(),
            hurry: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            upkeep: OnceLock::new(),
            wake_at: AtomicU64::new(u64::MAX),
            wall: AtomicU64::new(u64::MAX),
            secondary: OnceLock::new(),
            settings,
            disk,
            clock,
        };
        stream.update_limits();
        stream
    }

    /// What the log is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The directory.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The clocks.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The append lock, and what is decided under it. Hold it briefly, and touch no disk.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    /// The live segments of this moment.
    #[must_use]
    pub fn segments(&self) -> Segments {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Oldest position, last keypoint, redo position of this moment.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        *lock(&self.bounds)
    }

    /// Sets who keeps the stream small. Counts once.
    pub fn set_upkeep(&self, upkeep: Weak<dyn Upkeep>) {
        let _ = self.upkeep.set(upkeep);
    }

    /// Wakes whoever keeps the stream small once it is written up to `lsn`. Counts once.
    pub fn wake_at(&self, lsn: Lsn) {
        self.wake_at.store(lsn.get(), Ordering::Relaxed);
    }

    /// Who would write DATA from `lsn` on calls [`Upkeep::catch_up`] first. Counts until that has
    /// set another one, or could do nothing.
    pub fn set_wall(&self, lsn: Lsn) {
        self.wall.store(lsn.get(), Ordering::Relaxed);
    }

    fn wall(&self) -> Lsn {
        Lsn::new(self.wall.load(Ordering::Relaxed))
    }

    pub(super) fn upkeep(&self) -> Option<Arc<dyn Upkeep>> {
        self.upkeep.get().and_then(Weak::upgrade)
    }

    /// Sets where moved records are read. Counts once.
    pub fn set_secondary(&self, copies: Arc<dyn Copies>) {
        let _ = self.secondary.set(copies);
    }

    /// Why the log failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.core().writer.failure()
    }

    /// The log failed: nothing more is taken or acknowledged, and all who wait are told.
    pub fn fail(&self, error: Error) {
        let lost = self.core().writer.fail(error);
        self.settle(lost, crate::write::Outcome::Failed);
        self.flusher.fetch_max(1);
        self.flusher.wake_all();
    }

    /// Trims: nothing below `oldest` is kept. Says so durably first, then frees whole segments.
    ///
    /// 1. The control slot with the new oldest position is synced. Crash before: nothing is
    ///    trimmed; behind: the files below are leftovers, and are freed by the next open.
    /// 2. The files are recycled or removed, the directory is not synced for it: a removal that
    ///    is lost leaves a leftover.
    ///
    /// # Errors
    ///
    /// The log failed, or fails now because the control file cannot be written.
    pub fn trim(&self, oldest: Lsn) -> Result<u64> {
        {
            // In one step: two threads may trim, and the lower one must not take it back.
            let mut bounds = lock(&self.bounds);
            if oldest <= bounds.oldest {
                return Ok(0);
            }
            bounds.oldest = oldest;
        }
        self.write_control(false)?;
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Arc<Segment>> = segments.remove_below(oldest);
        drop(segments);
        self.core().commits.trimmed(oldest);
        let freed = self.settings.segment_size.saturating_mul(crate::format::wide(gone.len()));
        self.free(gone.iter().map(|segment| segment.number));
        self.update_limits();
        Ok(freed)
    }

    /// Takes note of a complete, durable keypoint, and says so in the control file.
    ///
    /// # Errors
    ///
    /// The log failed, or fails now because the control file cannot be written.
    pub fn keypoint_done(&self, begin: Lsn, end: Lsn, redo: Lsn) -> Result<()> {
        {
            let mut bounds = lock(&self.bounds);
            bounds.keypoint_begin = begin;
            bounds.keypoint_end = end;
            bounds.redo = redo;
        }
        self.write_control(false)?;
        let mut core = self.core();
        let durable = core.writer.durable();
        core.units.redo_carried(redo, durable);
        core.commits.redo_carried(redo);
        Ok(())
    }

    /// Tells the stream's threads to end; what waits for durability is made durable first.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.flusher.fetch_max(1);
        self.flusher.wake_all();
        self.notifier.stop();
    }
}
