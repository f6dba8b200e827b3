//! Upkeep: what keeps a log small, when it is due, and who does it.
//!
//! The keeper does it, woken whenever a segment is sealed. Who appends faster than the keeper
//! keeps up does it himself, before another segment is made: so what is retained is bounded by
//! the work that lives, and not by how fast log can be written.

use crate::engine::Engine;
use crate::forking::Why;
use crate::keeper::Task;
use siding_wal::format::{Kind, MAX_LABEL, MarkPayload, label_payload};
use siding_wal::stream::Upkeep;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::cell::Cell;
use std::sync::{MutexGuard, PoisonError};

thread_local! {
    /// Whether this thread is writing a keypoint: it must not wait for one.
    static IN_KEYPOINT: Cell<bool> = const { Cell::new(false) };
}

/// Holds the right to write a keypoint.
pub(crate) struct Keypointing<'a> {
    _right: MutexGuard<'a, ()>,
}

/// See [`Engine::no_reclaim`].
pub(crate) struct NoReclaim {
    before: bool,
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        IN_KEYPOINT.set(self.before);
    }
}

impl Drop for Keypointing<'_> {
    fn drop(&mut self) {
        IN_KEYPOINT.set(false);
    }
}

impl Upkeep for Engine {
    fn wake(&self) {
        self.wake_keeper();
        self.archiving.wake();
    }

    fn catch_up(&self) {
        if IN_KEYPOINT.get() || self.is_closed() {
            return;
        }
        let full = self.stream().core().in_reserve();
        if self.keypoint_due() && (!full || self.keypoint_frees()) {
            self.keypoint_if_due(Why::Outrun);
        }
        let _ = self.trim();
    }

    fn make_room(&self) -> bool {
        if IN_KEYPOINT.get() || self.is_closed() {
            return false;
        }
        let before = self.stream().segments().oldest_number();
        let freed = || self.stream().segments().oldest_number() > before;
        // A keypoint that frees nothing would only use the reserve up.
        self.trim().is_ok_and(|bytes| bytes > 0)
            || (self.keypoint_frees() && self.keypoint_now(&self.one_keypoint()).is_ok() && freed())
            || (self.fork_due(Why::Full)
                && self.stream().flush().is_ok()
                && self.trim().is_ok()
                && freed())
            || (self.fork_due(Why::FullBeforeKeypoint)
                && self.stream().flush().is_ok()
                && self.keypoint_frees()
                && self.keypoint_now(&self.one_keypoint()).is_ok()
                && freed())
    }
}

impl Engine {
    pub(crate) fn one_keypoint(&self) -> Keypointing<'_> {
        let guard = self.keypointing.lock().unwrap_or_else(PoisonError::into_inner);
        IN_KEYPOINT.set(true);
        Keypointing { _right: guard }
    }

    /// While this is held, whoever finds no room does not make any by a keypoint or a move.
    pub(crate) fn no_reclaim(&self) -> NoReclaim {
        NoReclaim { before: IN_KEYPOINT.replace(true) }
    }

    /// Has the keeper look now.
    pub(crate) fn wake_keeper(&self) {
        self.wake.fetch_max(1);
        self.wake.wake_all();
    }

    /// The next keypoint is due at `lsn`: the keeper is woken there, and has the time that half
    /// a segment takes.
    pub(crate) fn set_marks(&self, lsn: Lsn) {
        self.stream().wake_at(lsn);
        self.stream().set_wall(lsn.plus(self.stream().settings().segment_size / 2));
    }

    /// Whether a keypoint is due by bytes.
    fn keypoint_due(&self) -> bool {
        let end = self.stream().core().writer.end();
        self.keeper().bytes_due(end)
    }

    /// Moves first, for the keypoint makes their fork records durable. Another thread may be at
    /// it: then this waits for it, and finds nothing due.
    fn keypoint_if_due(&self, why: Why) {
        let right = self.one_keypoint();
        let now = self.stream().clock().monotonic_ms();
        if self.due(now).0 == Some(Task::Keypoint) {
            if why == Why::Outrun {
                self.settle_forks();
                self.rebuild_due();
                let _ = self.write_directories();
            }
            self.fork_due(why);
            // What fails here fails the log, or is tried again; the next call says so.
            let _ = self.keypoint_now(&right);
        }
    }

    /// Moves what keeps a keypoint from trimming, if nobody has looked for that since one was due.
    /// Who takes keypoints more often than the keeper would never comes to where he waits for it:
    /// he does its part here.
    pub(crate) fn make_way(&self) {
        let full = self.stream().core().in_reserve();
        let late = self.keeper().is_late(self.unlooked());
        if late && !full && self.may_fork(self.free_below_next()) {
            self.settle_forks();
            let _ = self.write_directories();
            self.fork_due(Why::Outrun);
        }
    }

    /// Does the background work that is due. Threads call it; without threads the owner does.
    pub fn tick(&self) {
        if self.is_closed() || self.stream().failure().is_some() {
            return;
        }
        let now = self.stream().clock().monotonic_ms();
        self.stream().core().retry_dropped(now);
        self.undo_abandoned();
        self.settle_forks();
        self.rebuild_due();
        // Hints: what cannot be written is made by a scan.
        let _ = self.write_directories();
        self.keep(now);
        self.fork_due(Why::Now);
        self.compact_due();
        self.archive_due();
        let _ = self.trim();
        // Last: what was just trimmed is used again, and no file need be made.
        while self.stream().needs_preparing() && self.stream().prepare_step(true).is_ok() {}
    }

    /// What is due, and whether a mark is.
    fn due(&self, now: u64) -> (Option<Task>, bool) {
        let (end, content) = {
            let core = self.stream().core();
            (core.writer.end(), core.content_end())
        };
        let keeper = self.keeper();
        (keeper.due(now, end, content), keeper.mark_due(now, content))
    }

    /// Takes a keypoint or writes MARK, if that is due.
    fn keep(&self, now: u64) {
        let content = self.stream().core().content_end();
        let (due, mark_due) = self.due(now);
        let full = self.stream().core().in_reserve();
        match due {
            // The reserve of a full log is for those who end something. What they wrote is made
            // durable all the same: a relaxed commit waits a second for it, no longer.
            Some(Task::Mark) if full => self.flush_only(now, content),
            Some(Task::Keypoint) if full && mark_due && !self.keypoint_frees() => {
                self.flush_only(now, content);
            }
            Some(Task::Keypoint) if full && !self.keypoint_frees() => {}
            // What fails here fails the log, or is tried again; the next call says so.
            Some(Task::Mark) => drop(self.mark()),
            Some(Task::Keypoint) => self.keypoint_if_due(Why::Keypoint),
            None => {}
        }
    }

    /// What MARK is for, on a log that has no room for one.
    fn flush_only(&self, now: u64, content: Lsn) {
        if self.stream().flush().is_ok() {
            self.keeper().marked(now, content);
        }
    }

    /// Writes MARK, in a batch of its own: its `durable_before` covers everything before it.
    ///
    /// # Errors
    ///
    /// The log failed or is full.
    pub fn mark(&self) -> Result<()> {
        // What comes behind this position may be in the batch of the mark, and the next one's.
        let content = self.stream().core().content_end();
        self.stream().flush()?;
        // Whoever is at it may wait for the room that this thread makes.
        let Ok(marking) = self.marking.try_lock() else { return Ok(()) };
        let payload = self.mark_payload();
        let placed = self.stream().append_first(Kind::Mark, &payload.encode())?;
        drop(marking);
        self.stream().ensure_durable(placed.next)?;
        let now = self.stream().clock().monotonic_ms();
        self.keeper().marked(now, content);
        Ok(())
    }

    /// Gives a position a name: a mark that carries it, durable when this returns. Returns the
    /// position just behind it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a name that is empty or has more than 255 bytes; the log failed
    /// or is full.
    pub fn label(&self, name: &str) -> Result<Lsn> {
        if name.is_empty() || name.len() > MAX_LABEL {
            let what = format!("a label has 1 to {MAX_LABEL} bytes, and not {}", name.len());
            return Err(Error::new(ErrorKind::Invalid, what).advise("choose another name"));
        }
        self.stream().may_wait()?;
        let marking = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        let payload = label_payload(&self.mark_payload(), name);
        let placed = self.stream().append_of_log(Kind::Mark, &payload)?;
        drop(marking);
        self.stream().ensure_durable(placed.next)?;
        Ok(placed.next)
    }

    pub(crate) fn mark_payload(&self) -> MarkPayload {
        let wall_ms = self.stream().clock().wall_ms();
        let bounds = self.stream().bounds();
        MarkPayload {
            time_ms: self.keeper().mark_time(wall_ms),
            wall_ms,
            oldest: bounds.oldest,
            keypoint_begin: bounds.keypoint_begin,
            keypoint_end: bounds.keypoint_end,
        }
    }
}
