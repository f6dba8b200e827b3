//! Which extents live, in which files. Pure.

use super::PoolStats;
use siding_wal::Lsn;
use siding_wal::format::{ExtentHead, SPtr, wide};
use std::collections::{BTreeMap, BTreeSet};

/// An extent that is live, or may become so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    unit: u64,
    extent: Known,
}

/// What the head of an extent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) len: u64,
    pub(super) parent: SPtr,
    /// The original LSNs of its oldest and its newest copy.
    pub(super) oldest: Lsn,
    pub(super) newest: Lsn,
    /// Copies behind its parent.
    pub(super) older: u64,
}

impl From<&ExtentHead> for Known {
    fn from(head: &ExtentHead) -> Self {
        Self {
            len: u64::from(head.len),
            parent: head.parent,
            oldest: head.oldest,
            newest: head.newest,
            older: head.total_count.saturating_sub(u64::from(head.count)),
        }
    }
}

/// The extents of a unit.
#[derive(Clone, Debug, Default)]
struct OfUnit {
    extents: BTreeSet<SPtr>,
    bytes: u64,
}

/// An extent file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct File {
    bytes: u64,
    live_bytes: u64,
    extents: u64,
    /// Whether this open made it: then every live extent in it is known.
    own: bool,
}

/// What lives where.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    extents: BTreeMap<SPtr, Entry>,
    units: BTreeMap<u64, OfUnit>,
    files: BTreeMap<u64, File>,
    /// Files that still take extents, or have to be synced: they are not removed.
    open: BTreeSet<u64>,
    /// Appended since the last sync.
    unsynced: BTreeSet<SPtr>,
    /// Units that were freed before the sweep.
    freed: BTreeSet<u64>,
    /// Live units that were copied to new extents in this open, and the newest of those: who
    /// follows older ones is late, and misses nothing.
    replaced: BTreeMap<u64, SPtr>,
    /// Where the chain of a unit cannot be followed: what lies behind is not known.
    broken: BTreeMap<u64, SPtr>,
    swept: bool,
}

impl Ledger {
    /// A file of this open.
    pub(super) fn opened(&mut self, number: u64) {
        self.files.entry(number).or_default().own = true;
        self.open.insert(number);
    }

    /// The file takes nothing more.
    pub(super) fn closed(&mut self, number: u64) {
        self.open.remove(&number);
    }

    pub(super) fn file_bytes(&mut self, number: u64, bytes: u64) {
        self.files.entry(number).or_default().bytes = bytes;
    }

    /// The file is not there, or not the pool's.
    pub(super) fn forget_file(&mut self, number: u64) {
        self.files.remove(&number);
    }

    pub(super) fn is_own(&self, number: u64) -> bool {
        self.files.get(&number).is_some_and(|file| file.own)
    }

    /// Whether something live is known to stand in the file.
    pub(super) fn is_lived_in(&self, number: u64) -> bool {
        self.files.get(&number).is_some_and(|file| file.extents > 0)
    }

    pub(super) fn appended(&mut self, unit: u64, at: SPtr, extent: Known) {
        self.insert(unit, at, extent);
        self.unsynced.insert(at);
    }

    /// Takes note of an extent that is live.
    pub(super) fn insert(&mut self, unit: u64, at: SPtr, extent: Known) {
        if self.extents.insert(at, Entry { unit, extent }).is_some() {
            return;
        }
        let len = extent.len;
        let of_unit = self.units.entry(unit).or_default();
        of_unit.extents.insert(at);
        of_unit.bytes = of_unit.bytes.saturating_add(len);
        let file = self.files.entry(at.extent).or_default();
        file.live_bytes = file.live_bytes.saturating_add(len);
        file.extents = file.extents.saturating_add(1);
    }

    /// The parent of an extent of this unit, if it is known.
    pub(super) fn parent(&self, unit: u64, at: SPtr) -> Option<SPtr> {
        self.known(unit, at).map(|extent| extent.parent)
    }

    /// What is known of an extent of this unit.
    pub(super) fn known(&self, unit: u64, at: SPtr) -> Option<Known> {
        self.extents.get(&at).filter(|entry| entry.unit == unit).map(|entry| entry.extent)
    }

    /// The extents of the unit that must be on the disk, and their lengths.
    pub(super) fn on_disk(&self, unit: u64) -> Vec<(SPtr, u64)> {
        let extents = self.extents_of(unit).into_iter();
        let synced = extents.filter(|at| !self.unsynced.contains(at));
        synced.filter_map(|at| Some((at, self.known(unit, at)?.len))).collect()
    }

    pub(super) fn synced(&mut self) {
        self.unsynced.clear();
    }

    /// What was appended since the last sync is dead; which extents.
    pub(super) fn void(&mut self) -> BTreeSet<SPtr> {
        let void = std::mem::take(&mut self.unsynced);
        void.iter().for_each(|at| self.kill(*at));
        void
    }

    fn kill(&mut self, at: SPtr) {
        let Some(entry) = self.extents.remove(&at) else { return };
        self.unsynced.remove(&at);
        if let Some(of_unit) = self.units.get_mut(&entry.unit) {
            of_unit.extents.remove(&at);
            of_unit.bytes = of_unit.bytes.saturating_sub(entry.extent.len);
            if of_unit.extents.is_empty() {
                self.units.remove(&entry.unit);
            }
        }
        if let Some(file) = self.files.get_mut(&at.extent) {
            file.live_bytes = file.live_bytes.saturating_sub(entry.extent.len);
            file.extents = file.extents.saturating_sub(1);
        }
    }

    pub(super) fn discard(&mut self, unit: u64, at: SPtr) {
        if self.parent(unit, at).is_some() {
            self.kill(at);
        }
    }

    pub(super) fn free(&mut self, unit: u64) {
        if !self.swept {
            self.freed.insert(unit);
        }
        self.replaced.remove(&unit);
        self.broken.remove(&unit);
        for at in self.extents_of(unit) {
            self.kill(at);
        }
    }

    /// True if the whole chain is known: then what was damaged is not needed any more.
    pub(super) fn replaced(&mut self, unit: u64, newest: SPtr) -> bool {
        self.replaced.insert(unit, newest);
        let mut kept = BTreeSet::new();
        let mut at = newest;
        while let Some(parent) = self.parent(unit, at) {
            if !kept.insert(at) {
                break;
            }
            at = parent;
        }
        // Older extents stand before newer ones: what was moved since stands behind `newest`. Where
        // the chain leads to one that is not known, anything before it may belong to the chain.
        for other in self.extents_of(unit) {
            if at < other && other < newest && !kept.contains(&other) {
                self.kill(other);
            }
        }
        let whole = at == SPtr::NONE && !kept.is_empty();
        if whole {
            self.broken.remove(&unit);
        }
        whole
    }

    /// Whether the unit was freed before the sweep met it.
    pub(super) fn is_freed(&self, unit: u64) -> bool {
        self.freed.contains(&unit)
    }

    /// Where the unit's chain began when it was copied last, if it was in this open.
    pub(super) fn replacement(&self, unit: u64) -> Option<SPtr> {
        self.replaced.get(&unit).copied()
    }

    /// The chain of a unit cannot be followed beyond this extent.
    pub(super) fn broke(&mut self, unit: u64, at: SPtr) {
        self.broken.insert(unit, at);
    }

    /// The chain may be followed once more: what was damaged can be read again.
    pub(super) fn healed(&mut self, unit: u64) {
        self.broken.remove(&unit);
    }

    /// The sweep is over; it saw these files.
    pub(super) fn swept(&mut self, there: &BTreeSet<u64>) {
        self.swept = true;
        // Counted before, and gone since.
        self.files.retain(|number, file| file.own || file.extents > 0 || there.contains(number));
        self.freed.clear();
    }

    pub(super) fn is_swept(&self) -> bool {
        self.swept
    }

    /// Files that nothing needs. Until the sweep has told what earlier opens left, their files
    /// stay; so do those that may hold what a broken chain leads to.
    pub(super) fn dead_files(&self) -> Vec<u64> {
        let doubtful = self.broken.values().map(|at| at.extent).max();
        let needed = |number: u64, file: &File| {
            file.extents > 0
                || self.open.contains(&number)
                || !file.own && (!self.swept || doubtful.is_some_and(|newest| number <= newest))
        };
        let dead = self.files.iter().filter(|(number, file)| !needed(**number, file));
        dead.map(|(number, _)| *number).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    pub(super) fn holds(&self, unit: u64, at: SPtr) -> bool {
        self.parent(unit, at).is_some()
    }

    pub(super) fn unit_bytes(&self, unit: u64) -> u64 {
        self.units.get(&unit).map_or(0, |of_unit| of_unit.bytes)
    }

    fn extents_of(&self, unit: u64) -> BTreeSet<SPtr> {
        self.units.get(&unit).map(|of_unit| of_unit.extents.clone()).unwrap_or_default()
    }

    /// The units of the file that gives most for what is copied, if the pool has more than
    /// `file_size` and a fifth beyond what lives. Files with a unit of `damaged` cannot be
    /// emptied, nor can those whose units' chains take more than `room`: copied by halves they
    /// would stay, and their copies beside them.
    pub(super) fn worst(
        &self,
        file_size: u64,
        room: u64,
        damaged: &BTreeSet<u64>,
    ) -> Option<Vec<u64>> {
        let stats = self.stats();
        let fine = stats.live_bytes.saturating_add(stats.live_bytes / 5);
        if !self.swept || stats.bytes <= fine.saturating_add(file_size) {
            return None;
        }
        let mut best: Option<(u64, Vec<u64>)> = None;
        for (number, file) in self.files.iter().filter(|(number, _)| !self.open.contains(number)) {
            let units = self.units_in(*number);
            if units.is_empty() || units.iter().any(|unit| damaged.contains(unit)) {
                continue;
            }
            let cost: u64 = units.iter().map(|unit| self.unit_bytes(*unit)).sum();
            let gain = file.bytes.saturating_sub(file.live_bytes);
            if gain.saturating_mul(10) < file.bytes || cost > room {
                continue;
            }
            let price = cost.saturating_mul(1000).checked_div(gain).unwrap_or(u64::MAX);
            if best.as_ref().is_none_or(|(least, _)| price < *least) {
                best = Some((price, units));
            }
        }
        best.map(|(_, units)| units)
    }

    fn units_in(&self, number: u64) -> Vec<u64> {
        let from = SPtr { extent: number, offset: 0 };
        let to = SPtr { extent: number, offset: u32::MAX };
        let units: BTreeSet<u64> =
            self.extents.range(from..=to).map(|(_, entry)| entry.unit).collect();
        units.into_iter().collect()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let bytes = self.bytes();
        let live_bytes = self.files.values().map(|file| file.live_bytes).sum();
        PoolStats {
            files: wide(self.files.len()),
            bytes,
            live_bytes,
            dead_bytes: bytes.saturating_sub(live_bytes),
            extents: wide(self.extents.len()),
            swept: self.swept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(extent: u64, offset: u32) -> SPtr {
        SPtr { extent, offset }
    }

    const fn known(len: u64, parent: SPtr) -> Known {
        Known { len, parent, oldest: Lsn::ZERO, newest: Lsn::ZERO, older: 0 }
    }

    #[test]
    fn where_a_chain_leads_to_what_is_not_known_anything_older_may_belong_to_it() {
        let mut ledger = Ledger::default();
        let (old, unknown, dead, new) = (at(1, 64), at(2, 64), at(3, 64), at(3, 99));
        ledger.insert(5, old, known(100, SPtr::NONE));
        ledger.insert(5, dead, known(100, unknown));
        ledger.insert(5, new, known(100, unknown));
        assert!(!ledger.replaced(5, new));
        assert!(ledger.holds(5, old) && ledger.holds(5, new) && !ledger.holds(5, dead));
        // The chain goes on with the old one: it stays. It ends before it: it goes.
        ledger.insert(5, unknown, known(100, old));
        assert!(ledger.replaced(5, new));
        assert!(ledger.holds(5, old) && ledger.holds(5, unknown));
        ledger.insert(5, at(4, 64), known(100, SPtr::NONE));
        assert!(ledger.replaced(5, at(4, 64)));
        assert_eq!((ledger.stats().extents, ledger.unit_bytes(5)), (1, 100));
    }

    #[test]
    fn what_was_counted_and_is_gone_is_not_counted_for_ever() {
        let mut ledger = Ledger::default();
        ledger.file_bytes(1, 4096);
        ledger.file_bytes(2, 4096);
        ledger.insert(5, at(3, 64), known(100, SPtr::NONE));
        ledger.file_bytes(3, 4096);
        assert_eq!((ledger.stats().bytes, ledger.dead_files()), (3 * 4096, Vec::new()));
        ledger.swept(&BTreeSet::from([2]));
        // A file that is needed and missing is not forgotten.
        assert_eq!((ledger.stats().bytes, ledger.dead_files()), (2 * 4096, vec![2]));
    }
}
