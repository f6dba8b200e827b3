//! Which extents live, in which files. Pure.

use super::PoolStats;
use siding_wal::format::{SPtr, wide};
use std::collections::{BTreeMap, BTreeSet};

/// An extent that is live, or may become so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    unit: u64,
    len: u64,
    parent: SPtr,
}

/// An extent file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct File {
    bytes: u64,
    live_bytes: u64,
    extents: u64,
}

/// What lives where.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    extents: BTreeMap<SPtr, Entry>,
    units: BTreeMap<u64, BTreeSet<SPtr>>,
    files: BTreeMap<u64, File>,
    /// Appended since the last sync.
    unsynced: Vec<SPtr>,
    /// Units that were freed before the sweep.
    freed: BTreeSet<u64>,
    swept: bool,
}

impl Ledger {
    pub(super) fn appended(&mut self, unit: u64, at: SPtr, len: u64, parent: SPtr) {
        self.learn(unit, at, len, parent);
        self.unsynced.push(at);
    }

    /// Takes note of an extent that is live.
    pub(super) fn learn(&mut self, unit: u64, at: SPtr, len: u64, parent: SPtr) {
        if self.extents.insert(at, Entry { unit, len, parent }).is_some() {
            return;
        }
        self.units.entry(unit).or_default().insert(at);
        let file = self.files.entry(at.extent).or_default();
        file.live_bytes = file.live_bytes.saturating_add(len);
        file.extents = file.extents.saturating_add(1);
    }

    pub(super) fn file_bytes(&mut self, number: u64, bytes: u64) {
        self.files.entry(number).or_default().bytes = bytes;
    }

    pub(super) fn synced(&mut self) {
        self.unsynced.clear();
    }

    /// What was appended since the last sync is dead.
    pub(super) fn void(&mut self) -> Vec<u64> {
        for at in std::mem::take(&mut self.unsynced) {
            self.kill(at);
        }
        self.empty(None)
    }

    fn kill(&mut self, at: SPtr) {
        let Some(entry) = self.extents.remove(&at) else { return };
        if let Some(of_unit) = self.units.get_mut(&entry.unit) {
            of_unit.remove(&at);
            if of_unit.is_empty() {
                self.units.remove(&entry.unit);
            }
        }
        if let Some(file) = self.files.get_mut(&at.extent) {
            file.live_bytes = file.live_bytes.saturating_sub(entry.len);
            file.extents = file.extents.saturating_sub(1);
        }
    }

    /// Files without live extents; they are known no more.
    fn empty(&mut self, open: Option<u64>) -> Vec<u64> {
        let swept = self.swept;
        let incarnation = self.files.keys().next_back().map_or(0, |last| last >> 32);
        // Until the sweep has told what earlier opens left, their files stay.
        let gone = |number: u64, file: &File| {
            file.extents == 0 && Some(number) != open && (swept || number >> 32 >= incarnation)
        };
        let numbers: Vec<u64> =
            self.files.iter().filter(|(n, file)| gone(**n, file)).map(|(n, _)| *n).collect();
        for number in &numbers {
            self.files.remove(number);
        }
        numbers
    }

    pub(super) fn discard(&mut self, unit: u64, at: SPtr, open: Option<u64>) -> Vec<u64> {
        if self.extents.get(&at).is_some_and(|entry| entry.unit == unit) {
            self.kill(at);
        }
        self.empty(open)
    }

    pub(super) fn free(&mut self, unit: u64, open: Option<u64>) -> Vec<u64> {
        if !self.swept {
            self.freed.insert(unit);
        }
        for at in self.units.get(&unit).cloned().unwrap_or_default() {
            self.kill(at);
        }
        self.empty(open)
    }

    pub(super) fn replaced(&mut self, unit: u64, newest: SPtr, open: Option<u64>) -> Vec<u64> {
        let mut kept = BTreeSet::new();
        let mut at = newest;
        while let Some(entry) = self.extents.get(&at).filter(|_| at != SPtr::NONE) {
            if !kept.insert(at) {
                break;
            }
            at = entry.parent;
        }
        if kept.is_empty() {
            return Vec::new();
        }
        let of_unit = self.units.get(&unit).cloned().unwrap_or_default();
        for at in of_unit.difference(&kept) {
            self.kill(*at);
        }
        self.empty(open)
    }

    /// Whether the unit was freed before the sweep met it.
    pub(super) fn is_freed(&self, unit: u64) -> bool {
        self.freed.contains(&unit)
    }

    /// The sweep is over. Returns files that nothing needs.
    pub(super) fn swept(&mut self, open: Option<u64>) -> Vec<u64> {
        self.swept = true;
        self.freed.clear();
        self.empty(open)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    pub(super) fn unit_bytes(&self, unit: u64) -> u64 {
        let of_unit = self.units.get(&unit).into_iter().flatten();
        of_unit.filter_map(|at| self.extents.get(at)).map(|entry| entry.len).sum()
    }

    pub(super) fn worst(&self, open: Option<u64>, file_size: u64) -> Option<Vec<u64>> {
        let stats = self.stats();
        let fine = stats.live_bytes.saturating_add(stats.live_bytes / 5);
        if !self.swept || stats.bytes <= fine.saturating_add(file_size.saturating_mul(2)) {
            return None;
        }
        let closed = self.files.iter().filter(|(number, _)| Some(**number) != open);
        let (number, file) = closed.min_by_key(|(_, file)| {
            file.live_bytes.saturating_mul(1000).checked_div(file.bytes).unwrap_or(1000)
        })?;
        if file.live_bytes.saturating_mul(10) > file.bytes.saturating_mul(9) {
            return None;
        }
        let from = SPtr { extent: *number, offset: 0 };
        let to = SPtr { extent: *number, offset: u32::MAX };
        let units: BTreeSet<u64> =
            self.extents.range(from..=to).map(|(_, entry)| entry.unit).collect();
        Some(units.into_iter().collect())
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            files: wide(self.files.len()),
            bytes: self.bytes(),
            live_bytes: self.files.values().map(|file| file.live_bytes).sum(),
            extents: wide(self.extents.len()),
            swept: self.swept,
        }
    }
}
