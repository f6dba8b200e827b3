//! Taking a snapshot, so that the log stays small and a restart short.
//!
//! 1. The redo position is taken, before anything is copied (see `unapplied`).
//! 2. Decisions made at the log itself are learned. A unit that was decided at or below the redo
//!    position was so before step 1, so it is found here, before the copy.
//! 3. The map is copied, some keys at a time, into a file with a temporary name. It is a *fuzzy*
//!    copy: a commit that is applied meanwhile may be in it, or half in it. That does no harm:
//!    it stands above the redo position, so a restart redoes it whole; changes are absolute, and
//!    redo goes in the order of the commits.
//! 4. The file is synced. 5. It is renamed. 6. The directory is synced.
//! 7. The log is told: redo can start at the position of the oldest snapshot that is kept, and
//!    a keypoint makes that durable and trims. Two snapshots are kept, so that rot in the newest
//!    costs a longer redo and nothing else.
//! 8. Older ones are removed.
//!
//! Crash up to 4: an unfinished file, removed by the next open. After 5: the next open may see
//! either snapshot as the newest; both are whole, and the log reaches back to both. After 6: the
//! new one. After 7: older files are there that no open starts from while a newer one is whole.

use crate::db::Whole;
use crate::snapshot::{self, Writer};
use crate::{Db, Error, Result};
use siding::Lsn;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Snapshots that are kept.
const KEPT: usize = 2;

/// Keys copied under one hold of the map's lock.
const GROUP: usize = 512;

/// A snapshot that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its file.
    pub file: PathBuf,
    /// Every unit whose COMMIT ends at or below this is in it.
    pub redo: Lsn,
    /// Keys in it.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Db {
    /// Takes a snapshot and lets the log be trimmed. Others go on meanwhile.
    ///
    /// # Errors
    ///
    /// The disk or the log refuses; then the snapshots before count.
    ///
    /// # Crash
    ///
    /// The new snapshot counts, or the one before does; nothing is lost either way.
    pub fn snapshot(&self) -> Result<Taken> {
        let shared = &*self.0;
        let mut snapshots = shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let redo = shared.unapplied.redo_position(&shared.log);
        self.learn_decisions()?;
        let number = next_number(&shared.dir)?;
        let mut writer = Writer::create(&shared.dir, shared.log.report().log_id, redo)?;
        let keys = self.copy(&mut writer)?;
        // The write-ahead rule: what was applied must be in the log before it is in a file. It is
        // already, unless the log was opened with relaxed durability.
        let upto = shared.log.positions().end;
        shared.log.ensure_durable(upto)?;
        let bytes = writer.publish(&shared.dir, number, upto)?;
        snapshots.insert(0, Whole { number, redo });
        let kept = KEPT.min(snapshots.len());
        let old = snapshots.split_off(kept);
        if let Some(oldest) = snapshots.last() {
            shared.log.redo_from(oldest.redo)?;
            shared.log.keypoint()?;
        }
        for Whole { number, .. } in old {
            snapshot::remove(&snapshot::path(&shared.dir, number))?;
        }
        Ok(Taken { file: snapshot::path(&shared.dir, number), redo, keys, bytes })
    }

    fn copy(&self, writer: &mut Writer) -> Result<u64> {
        let mut from = Bound::Unbounded;
        let mut keys = 0;
        loop {
            let group: Vec<(Vec<u8>, Vec<u8>)> = self.view(|map| {
                let rest = map.range((from.clone(), Bound::Unbounded)).take(GROUP);
                rest.map(|(key, value)| (key.clone(), value.clone())).collect()
            });
            let Some((last, _)) = group.last() else { return Ok(keys) };
            from = Bound::Excluded(last.clone());
            for (key, value) in &group {
                writer.entry(key, value)?;
                keys += 1;
            }
        }
    }
}

/// Above every number there is: a file that was passed over keeps its own.
fn next_number(dir: &Path) -> Result<u64> {
    let Some(newest) = snapshot::numbers(dir)?.first().copied() else { return Ok(1) };
    newest.checked_add(1).ok_or_else(|| {
        let file = snapshot::path(dir, newest);
        Error::snapshot(&file, "no number is left above it; if it is not yours, move it away")
    })
}
