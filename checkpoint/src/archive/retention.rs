//! What an archive may let go of. Pure.
//!
//! What is kept is what the plans of the kept backups need: each kept history from the floor of
//! its oldest kept backup to its end, without a hole. So everything that could be restored of the
//! window before can be after.

use super::index::SegmentIndex;
use super::inventory::Inventory;
use crate::backup::{BackupFile, Manifest};
use crate::restore::{BackupId, Branch, Gap, Histories, Piece, Planner, Source, Way};
use siding_wal::format::LogId;
use siding_wal::{Lsn, seeded};
use std::collections::BTreeSet;

/// What is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest backups with objects, of each log; one at least.
    pub count: usize,
    /// Every position of the last so many milliseconds, of each history, as its marks tell the
    /// time.
    pub window_ms: Option<u64>,
    /// These backups, with what they rest on, to their ends; what follows on them only if another
    /// rule keeps it.
    pub pinned: Vec<BackupId>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { count: 1, window_ms: None, pinned: Vec::new() }
    }
}

/// What is kept, and what goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Backups that are kept.
    pub kept: Vec<BackupId>,
    /// Names that go, in this order: what makes others count goes before them.
    pub remove: Vec<String>,
    /// Log that is missing in what is kept.
    pub gaps: Vec<Gap>,
}

/// What may go, of all logs in a sink, at a time in milliseconds since 1970.
///
/// What no backup leads to is kept, unless all of it is older than what the window or the count
/// keeps; so is everything of a log without a backup, and extents but for shorter copies.
#[must_use]
pub fn retain(found: &Inventory, rule: &Retention, now_ms: u64) -> Pruning {
    let logs: BTreeSet<LogId> = found.segments.iter().map(|it| it.log_id).collect();
    let logs: BTreeSet<LogId> =
        logs.into_iter().chain(found.backups.iter().map(|(_, it)| it.log_id)).collect();
    let (mut backups, mut log, mut pruning) = (Vec::new(), Vec::new(), Pruning::default());
    for id in logs {
        let pieces = found.segments.iter().filter(|it| it.log_id == id);
        let pieces: Vec<Piece> =
            pieces.map(|it| Piece { index: it.clone(), source: Source::Archive }).collect();
        let ours: Vec<&Manifest> =
            found.backups.iter().map(|(_, it)| it).filter(|it| it.log_id == id).collect();
        let keeping = Keeping::new(&pieces, ours.clone(), id, rule, now_ms);
        let (kept, needed) = (keeping.backups(), keeping.pieces());
        pruning.kept.extend(kept.iter().copied());
        backups.extend(ours.into_iter().filter(|it| !kept.contains(&it.id)));
        let left: Vec<Piece> = needed.iter().filter_map(|at| pieces.get(*at)).cloned().collect();
        pruning.gaps.extend(super::gaps_of(&Histories::new(&left)));
        let goes = pieces.iter().enumerate().filter(|(at, _)| !needed.contains(at));
        log.extend(goes.map(|(_, piece)| piece.index.clone()));
    }
    pruning.remove = in_order(found, backups, &log);
    pruning
}

/// The names of what goes: what makes others count first.
///
/// 1. Manifests, those of backups that rest on others first. Crash: complete backups, all they need
///    there; files that no manifest names. 2. Indexes. Crash: segments that do not count. 3. The
///    rest, which nobody believes in any more.
fn in_order(found: &Inventory, mut backups: Vec<&Manifest>, log: &[SegmentIndex]) -> Vec<String> {
    backups.sort_by_key(|it| (std::cmp::Reverse(it.end), it.id));
    let of = |backup: &Manifest| found.backups.iter().find(|(_, it)| it.id == backup.id);
    let manifests = backups.iter().filter_map(|it| of(it)).map(|(name, _)| name.clone());
    let indexes = log.iter().map(SegmentIndex::index_name);
    let segments = log.iter().map(SegmentIndex::segment_name);
    let files = backups.iter().flat_map(|it| &it.files).map(|it: &BackupFile| it.stored.clone());
    let extents = found.superfluous().1.into_iter().filter_map(|at| found.extents.get(at));
    let extents = extents.map(super::ArchivedExtents::name);
    let mut names: Vec<String> = manifests.collect();
    if seeded!(PruneSegmentFirst) {
        names.extend(segments.chain(indexes).chain(files).chain(extents));
    } else {
        names.extend(indexes.chain(segments).chain(files).chain(extents));
    }
    names
}

/// What is kept of one log.
struct Keeping<'a> {
    planner: Planner<'a>,
    rule: &'a Retention,
    ways: Vec<Way<'a>>,
    /// Histories that no backup leads to.
    loose: Vec<Branch>,
    /// Backups with objects from which histories are kept to their ends.
    going: BTreeSet<BackupId>,
    /// Older marks than this are of no interest.
    cutoff_ms: u64,
}

impl<'a> Keeping<'a> {
    fn new(
        pieces: &'a [Piece],
        backups: Vec<&'a Manifest>,
        id: LogId,
        rule: &'a Retention,
        now_ms: u64,
    ) -> Self {
        let planner = Planner::new(pieces, backups, id);
        let (mut ways, mut loose) = (Vec::new(), Vec::new());
        for branch in planner.histories().branches() {
            match planner.way(&branch, None, None) {
                Some(way) => ways.push(way),
                None => loose.push(branch),
            }
        }
        let mut newest: Vec<&Manifest> = ways.iter().flat_map(|it| it.roots.clone()).collect();
        newest.sort_by_key(|it| (std::cmp::Reverse((it.time_ms, it.end)), it.id));
        newest.dedup_by_key(|it| it.id);
        newest.truncate(rule.count.max(1));
        let oldest_ms = newest.iter().map(|it| it.time_ms.0).min().unwrap_or_default();
        let window = rule.window_ms.map(|window| now_ms.saturating_sub(window));
        let cutoff_ms = window.unwrap_or(u64::MAX).min(oldest_ms);
        let mut going: BTreeSet<BackupId> = newest.iter().map(|it| it.id).collect();
        for way in ways.iter().filter(|_| window.is_some()) {
            going.extend(of_window(way, window.unwrap_or_default()));
        }
        Self { planner, rule, ways, loose, going, cutoff_ms }
    }

    /// Backups that are kept.
    fn backups(&self) -> BTreeSet<BackupId> {
        let mut kept = BTreeSet::new();
        for id in &self.rule.pinned {
            kept.extend(self.planner.chain(*id));
        }
        let going = |root: &BackupId| self.going.contains(root);
        for backup in self.planner.backups() {
            let chain = self.planner.chain(backup.id);
            // One that serves nothing now may serve once what it rests on is put back.
            if chain.last().is_some_and(going) || self.is_broken(&chain) {
                kept.insert(backup.id);
            }
        }
        kept
    }

    /// Whether no history leads from the backup that the others of a chain rest on.
    fn is_broken(&self, chain: &[BackupId]) -> bool {
        let serves =
            |id: &BackupId| self.ways.iter().any(|way| way.roots.iter().any(|root| root.id == *id));
        !chain.last().is_some_and(serves)
    }

    /// The pieces that are needed, by their place.
    fn pieces(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        for way in &self.ways {
            let going = way.roots.iter().filter(|it| self.going.contains(&it.id));
            let floors = going.map(|it| it.floor);
            let floor = if seeded!(PruneBreaksChain) { floors.max() } else { floors.min() };
            let end = way.branch.pieces.last().map_or(Lsn::ZERO, |(_, end)| *end);
            if let Some(floor) = floor {
                self.add(&mut needed, way, floor, end);
            }
            for id in &self.rule.pinned {
                let chain = self.planner.chain(*id);
                let root = chain.last().and_then(|id| way.roots.iter().find(|it| it.id == *id));
                let end = self.planner.backups().iter().find(|it| it.id == *id).map(|it| it.end);
                if let (Some(root), Some(end)) = (root, end) {
                    self.add(&mut needed, way, root.floor, end);
                }
            }
        }
        let old = |branch: &Branch| {
            let marks = self.planner.histories().marks(branch);
            // Without backups nothing is said to be old.
            let told = marks.last().is_some_and(|mark| mark.time_ms < self.cutoff_ms);
            told && !self.going.is_empty()
        };
        for branch in self.loose.iter().filter(|branch| !old(branch)) {
            needed.extend(branch.pieces.iter().map(|(at, _)| *at));
        }
        needed
    }

    /// The pieces of a history from that of a floor to that below an end.
    fn add(&self, needed: &mut BTreeSet<usize>, way: &Way<'_>, floor: Lsn, end: Lsn) {
        for (at, _) in &way.branch.pieces {
            let Some(piece) = self.planner.histories().piece(*at) else { continue };
            let index = &piece.index;
            let next = index.first_lsn().plus(index.segment_size);
            if next > floor && index.first_lsn() < end {
                needed.insert(*at);
            }
        }
    }
}

/// The backups of a history that restores to its last while begin from.
fn of_window(way: &Way<'_>, cutoff_ms: u64) -> Vec<BackupId> {
    let behind = way.marks.partition_point(|mark| mark.time_ms <= cutoff_ms);
    let from = behind.checked_sub(1).and_then(|at| way.marks.get(at));
    let from = from.map_or(Lsn::ZERO, |mark| mark.lsn);
    // The newest that ends at or below, and all above.
    let below = way.roots.partition_point(|root| root.end <= from).saturating_sub(1);
    way.roots.iter().skip(below).map(|root| root.id).collect()
}
