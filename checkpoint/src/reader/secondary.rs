//! What stands on the secondary log, seen from outside.

use super::ReadOnly;
use siding_fork::StandIn;
use siding_wal::chain::Fetch as _;
use siding_wal::format::{EXTENT_ALIGN, SPtr, extent_file_name, wide};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// A stretch of a unit's moved records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentInfo {
    /// The file it stands in.
    pub file: String,
    /// Where it starts there, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Which move of the unit wrote it.
    pub moves: u32,
    /// Records in it.
    pub records: u64,
    /// The LSN of the oldest of them.
    pub oldest: Lsn,
    /// The LSN of the newest of them.
    pub newest: Lsn,
}

impl ReadOnly {
    /// The extents of a live unit, newest first, each verified as it is read; and why there are
    /// no more of them, if the walk did not come to its end.
    #[must_use]
    pub fn extents_of(&self, unit: u64) -> (Vec<ExtentInfo>, Option<Error>) {
        let mut found = Vec::new();
        let broken = self.walk_extents(unit, &mut found).err();
        (found, broken)
    }

    /// Whether what is lost of a unit's moved records can be rebuilt from originals that are still
    /// on the main log; false if nothing is lost, or it has none. Costs a read of each
    /// moved record.
    #[must_use]
    pub fn can_rebuild(&self, unit: u64) -> bool {
        let moving = self.view.analysis.units.as_moved(unit);
        let Some(moving) = moving else { return false };
        let found = StandIn::new(moving, Arc::new(self.clone()), &self.pool);
        found.is_ok_and(|found| found.is_some())
    }

    fn walk_extents(&self, unit: u64, found: &mut Vec<ExtentInfo>) -> Result<()> {
        let mut at = self.chain_of(unit)?.sec;
        let mut below = Lsn::MAX;
        while at != SPtr::NONE {
            let head = self.copies(unit)?.extent(unit, at)?.head;
            // Older copies stand behind newer ones, so the walk ends, whatever the files say.
            if head.newest >= below {
                let file = extent_file_name(at.extent);
                let what = format!("extents of unit {unit:#x} lead in a circle at {file}");
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
            below = head.oldest;
            found.push(ExtentInfo {
                file: extent_file_name(at.extent),
                offset: u64::from(at.offset).saturating_mul(wide(EXTENT_ALIGN)),
                bytes: u64::from(head.len),
                moves: head.moves,
                records: u64::from(head.count),
                oldest: head.oldest,
                newest: head.newest,
            });
            at = head.parent;
        }
        Ok(())
    }

    /// The files of the secondary log and their bytes, by name.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn extent_files(&self) -> Result<Vec<(String, u64)>> {
        self.pool.list_files()
    }
}
