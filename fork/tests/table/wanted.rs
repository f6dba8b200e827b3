//! What must be kept, as the records tell.

use crate::history::History;
use crate::model::Told;
use siding_wal::Lsn;
use siding_wal::format::{Kind, SPtr};

impl History {
    /// The redo position that the last durable keypoint carried when so much was durable.
    pub(crate) fn carried(&self, durable: Lsn) -> Lsn {
        self.keypoint_at(durable).map_or(Lsn::ZERO, |it| it.redo)
    }

    /// The oldest record that a unit needs, whatever a crash now would leave: fork records that
    /// are not durable count for nothing.
    pub(crate) fn needs(&self, unit: u64) -> Lsn {
        let told = self.records.tell(unit, self.end);
        let durable = self.records.tell(unit, self.durable);
        if durable.ended.is_some() {
            return Lsn::MAX;
        }
        let kept = |lsn: &Lsn| durable.moves == 0 || *lsn >= durable.floor;
        told.records.into_iter().find(kept).unwrap_or(Lsn::MAX)
    }

    /// Whether redo may need the moved records of a unit, as it stood when so much was durable.
    fn for_redo(&self, told: &Told, durable: Lsn) -> bool {
        !self.records.repeat && !told.commit.is_zero() && told.commit >= self.carried(durable)
    }

    /// Whether a crash that leaves the log up to `cut` needs extents of the unit.
    fn needs_extents(&self, unit: u64, cut: Lsn) -> bool {
        let told = self.records.tell(unit, cut);
        told.sec != SPtr::NONE && (told.ended.is_none() || self.for_redo(&told, cut))
    }

    /// Every unit whose extents may be needed: now, or after a crash now.
    pub(crate) fn keeps_extents(&self) -> Vec<u64> {
        let open = self.records.all.iter().map(|it| it.next).filter(|it| *it > self.durable);
        let cuts: Vec<Lsn> = open.chain([self.durable]).collect();
        let mut units = self.records.units(self.end);
        units.retain(|unit| {
            let told = self.records.tell(*unit, self.end);
            told.moves > 0 && cuts.iter().any(|cut| self.needs_extents(*unit, *cut))
        });
        units
    }

    /// Takes note of what the table says is free, and whether that is so.
    pub(crate) fn free(&mut self) -> Result<(), String> {
        let needed = self.keeps_extents();
        for unit in self.table.take_freed() {
            if needed.contains(&unit) {
                return Err(format!("the extents of {unit} were freed, and may be needed"));
            }
            if !self.freed.insert(unit) {
                return Err(format!("the extents of {unit} were freed twice"));
            }
            self.extents.all.retain(|_, stored| stored.unit != unit);
        }
        Ok(())
    }

    /// Every COMMIT that redo would deliver.
    pub(crate) fn to_redo(&self) -> Vec<(u64, Lsn)> {
        let carried = self.carried(self.durable);
        let commits = self.records.all.iter().filter(|it| it.kind == Kind::Commit);
        let above = commits.filter(|it| it.next > carried && !self.records.repeat);
        above.map(|it| (it.unit, it.lsn)).collect()
    }
}
