//! Undo, under repeat history: compensation records, newest first, then END (ARIES).
//!
//! 1. ABORT without END. Crash behind it: the unit is in flight, and is undone from its newest
//!    record on. 2. For each record that no compensation has undone: the embedder undoes it, then
//!    CLR with `undo_next`. Crash between: that record is undone once more; the embedder's undo
//!    must bear it. 3. END. Crash before: nothing is left to undo, END is written again.

use crate::engine::Engine;
use siding_wal::chain::Walk;
use siding_wal::format::{Compensation, Kind, RecordHeader, UnitState};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Undoes one record in the embedder's files; returns what a compensation record shall carry.
pub type UndoHandler = Arc<UndoRecord<'static>>;

/// The same, borrowed for one unit.
pub type UndoRecord<'a> = dyn Fn(Lsn, &RecordHeader, &[u8]) -> Result<Vec<u8>> + Send + Sync + 'a;

thread_local! {
    static UNDOING: Cell<bool> = const { Cell::new(false) };
}

/// This thread undoes a unit: the handler that it runs must not wait for it to be done.
struct Undoing;

impl Undoing {
    fn begin() -> Self {
        UNDOING.set(true);
        Self
    }
}

impl Drop for Undoing {
    fn drop(&mut self) {
        UNDOING.set(false);
    }
}

impl Engine {
    /// Undoes a unit that is being backed out, and ends it durably.
    ///
    /// # Errors
    ///
    /// What the handler says, the log failed, or the unit is not being backed out.
    pub fn undo_unit(&self, unit: u64, undo: &UndoRecord<'_>) -> Result<()> {
        let stream = self.stream();
        if UNDOING.get() {
            let what = "the call would wait for the undo that it is called from";
            return Err(
                Error::new(ErrorKind::WouldBlock, what).advise("drop the unit; it is undone next")
            );
        }
        let _one_at_a_time = self.one_undo();
        let _undoing = Undoing::begin();
        let start = {
            let core = stream.core();
            let entry = core.units.get(unit).filter(|it| it.state == UnitState::BackingOut);
            entry.map(|entry| entry.chain(unit)).ok_or_else(|| {
                let what = format!("unit {unit:#x} is not being backed out");
                Error::new(ErrorKind::UnitEnded, what)
            })?
        };
        let mut walk = Walk::effects(start);
        while let Some((lsn, header)) = walk.step(&**stream)? {
            let body = undo(lsn, &header, walk.payload())?;
            let payload = Compensation { undo_next: header.prev, body: &body }.encode();
            stream.append(unit, Kind::Compensation, header.resource, &payload)?;
        }
        let ended = stream.end_unit(unit)?;
        stream.wait_durable(ended.placed.next, ended.done.as_deref())
    }

    /// Undoes a unit by the handler the embedder gave.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if it gave none; else as [`Engine::undo_unit`].
    pub fn undo_now(&self, unit: u64) -> Result<()> {
        match self.undo_handler() {
            Some(handler) => self.undo_unit(unit, &**handler),
            None => Err(Error::new(
                ErrorKind::Invalid,
                "the log repeats history, and no undo handler was given",
            )
            .advise("open the log with Options::undo; until then the unit stays, not undone")),
        }
    }

    /// Undoes what was dropped, if the embedder gave a handler.
    pub(crate) fn undo_abandoned(&self) {
        let may = self.may_undo() && !UNDOING.get();
        let Some(handler) = self.undo_handler().filter(|_| may) else { return };
        for unit in self.in_state(&[UnitState::BackingOut]) {
            // What fails stays in the table, and is tried again. A handler that panics must not
            // take the thread with it that keeps the log small.
            let _ = catch_unwind(AssertUnwindSafe(|| self.undo_unit(unit, &**handler)));
        }
    }
}
