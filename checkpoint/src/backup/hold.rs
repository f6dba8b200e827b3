//! What a backup holds while it runs: redo, trimming, extents.
//!
//! Position and hold are one step under the append lock, before the first byte is read. From then
//! on redo stays at or below the recovery point, nothing is trimmed beyond what could be at that
//! moment, and no extent is freed; so what the stop keypoint will need is there when it is copied.

use crate::engine::Engine;
use crate::restore::BackupId;
use siding_wal::write::Held;
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};

/// Holds, until it is dropped.
pub(super) struct Hold<'a> {
    engine: &'a Engine,
    number: u64,
    /// The recovery point.
    pub(super) point: Lsn,
    /// That of each object by itself.
    pub(super) objects: Vec<(u16, Lsn)>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.engine.stream().core().redo.let_go(self.number);
    }
}

impl Hold<'_> {
    /// Whether it still holds; then where the log ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LogFull`]: too much log was written; it let go.
    pub(super) fn check(&self) -> Result<Lsn> {
        let mut core = self.engine.stream().core();
        let end = core.writer.end();
        core.redo.give_up(end);
        if core.redo.holds(self.number) {
            return Ok(end);
        }
        let what = "the backup was given up: more log was written while it ran than it may hold";
        Err(Error::new(ErrorKind::LogFull, what)
            .at(end)
            .advise("copy faster, or let the backup hold more log"))
    }
}

impl Engine {
    /// Takes hold; of `low` too, if that is still there. `most`: how many bytes of log may be
    /// written until it lets go.
    pub(super) fn hold(
        &self,
        id: BackupId,
        objects: &[u16],
        low: Lsn,
        most: Option<u64>,
    ) -> Hold<'_> {
        // What is trimmed between this and the hold nobody needed then, and so nobody will.
        let trim = self.unheld_trim_point().min(low);
        let began_ms = self.stream().clock().wall_ms();
        let mut core = self.stream().core();
        let end = core.writer.end();
        let mut point = core.redo.recovery_point(objects, end);
        let mut each = core.redo.recovery_points(objects, end);
        if seeded!(RecoveryPointIsNow) {
            point = end;
            each.iter_mut().for_each(|(_, lsn)| *lsn = end);
        }
        let held = Held { id, point, trim, began: end, began_ms, most };
        let number = core.redo.hold(held);
        Hold { engine: self, number, point, objects: each }
    }
}
