//! Moves, as the unit table sees them: what a fork record changes, what it pins until it is
//! durable, and what becomes of the extents of a unit that has ended.
//!
//! A move begins, and the table notes the first record that the unit writes from here on. The
//! copies are durable, and the fork record is appended: readers go to the copies, trimming still
//! leaves the originals. The fork record is durable, and the originals count for nothing.
//!
//! The extents of a unit are free once its END is durable; under deferred apply, if it
//! committed, not before a durable keypoint carries a redo position above its COMMIT: until then
//! redo may have to read them.

use super::{Applied, Unit, Units};
use crate::Lsn;
use crate::chain::ChainStart;
use crate::format::{ForkPayload, SPtr, UnitEntry, UnitState};
use std::collections::BTreeMap;

/// A move that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The chain as it stood.
    pub start: ChainStart,
    /// How often the unit was moved before.
    pub moves: u32,
    /// Records and bytes on the secondary log.
    pub secondary: (u64, u64),
    /// The hash of those records, if a fork record of the unit was seen in this open.
    pub chain_hash: Option<u64>,
}

/// What a move has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The newest extent with the unit's moved records, durable.
    pub sec: SPtr,
    /// The oldest record that stays, if one was there when the move began.
    pub successor: Option<Lsn>,
    /// Whether main log records were moved: else extents were copied to new ones, or rebuilt.
    pub moves_floor: bool,
    /// The oldest original that took the place of a lost copy: below the floor, and needed until
    /// the fork record is durable.
    pub original: Option<Lsn>,
    /// Records and bytes on the secondary log now.
    pub secondary: (u64, u64),
    /// CRC32C of previous hash, original LSN and header checksum, over them.
    pub chain_hash: u64,
}

/// What the table keeps of moved units beyond their entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved {
    /// Behind a fork record that is not durable: its unit.
    forks: BTreeMap<Lsn, u64>,
    /// Committed and ended under deferred apply: the entry, and the position behind END.
    ended: BTreeMap<u64, (UnitEntry, Lsn)>,
    /// The redo position that the last durable keypoint carries.
    redo: Lsn,
    /// Units whose extents are free.
    freed: Vec<u64>,
    /// Fork records from the one position up to the other do not count.
    late: (Lsn, Lsn),
}

impl Moved {
    /// A unit ended: its extents, if they are free once END is durable.
    pub(super) fn ended(&mut self, unit: u64, entry: Unit, record: &Applied<'_>) -> SPtr {
        if entry.sec == SPtr::NONE && !entry.passed_forks() {
            return SPtr::NONE;
        }
        if crate::seeded!(FreeBeforeEndDurable) {
            self.freed.push(unit);
            return SPtr::NONE;
        }
        // Zero if it was backed out.
        let for_redo = entry.commit >= self.redo && !entry.commit.is_zero();
        if !for_redo || record.repeat_history || crate::seeded!(FreeAtEndNotAtRedo) {
            return entry.sec;
        }
        let entry = UnitEntry { state: UnitState::Ended, ..entry.entry(unit, 0) };
        self.ended.insert(unit, (entry, record.next));
        SPtr::NONE
    }

    pub(super) fn free(&mut self, unit: u64) {
        self.freed.push(unit);
    }

    pub(super) fn units(&self) -> impl Iterator<Item = u64> {
        self.ended.keys().copied()
    }

    pub(super) fn entry(&self, unit: u64) -> Option<UnitEntry> {
        self.ended.get(&unit).map(|(entry, _)| entry.clone())
    }

    pub(super) fn restore(&mut self, entry: UnitEntry) {
        self.ended.insert(entry.unit, (entry, Lsn::ZERO));
    }

    pub(super) fn holds(&self, unit: u64) -> bool {
        self.ended.contains_key(&unit)
    }
}

impl Units {
    /// The log was restored: the extents that fork records from `begin` up to `target` name are
    /// not there, and the originals are.
    pub fn restored(&mut self, begin: Lsn, target: Lsn) {
        self.moved.late = (begin, target);
    }

    pub(super) fn is_late(&self, lsn: Lsn) -> bool {
        let (begin, target) = self.moved.late;
        begin <= lsn && lsn < target && !crate::seeded!(HonourLateForks)
    }

    /// Begins a move of `unit`; none if it has no records, or is being moved.
    pub fn begin_move(&mut self, unit: u64) -> Option<Moving> {
        let entry = self.live.get_mut(&unit)?;
        if entry.is_blank() || entry.moving.is_some() {
            return None;
        }
        entry.moving = Some(None);
        let (start, moves) = (entry.chain(unit), entry.moves);
        let Unit { secondary, chain_hash, .. } = *entry;
        Some(Moving { start, moves, secondary, chain_hash })
    }

    /// The move of `unit` is over, or was given up.
    pub fn end_move(&mut self, unit: u64) {
        if let Some(entry) = self.live.get_mut(&unit) {
            entry.moving = None;
        }
    }

    /// What the fork record of a move that has come to `forked` says; none if the unit ended
    /// meanwhile, or no move of it runs.
    #[must_use]
    pub fn fork(&self, unit: u64, forked: &Forked) -> Option<ForkPayload> {
        let entry = self.live.get(&unit)?;
        let since = entry.moving?;
        let floor = match forked.moves_floor {
            true if crate::seeded!(PartialForgetsRest) => since.unwrap_or(Lsn::ZERO),
            true if crate::seeded!(MoveForgetsAppends) => forked.successor.unwrap_or(Lsn::ZERO),
            true => forked.successor.or(since).unwrap_or(Lsn::ZERO),
            false if entry.head >= entry.floor => entry.floor,
            false => Lsn::ZERO,
        };
        Some(ForkPayload {
            sec: forked.sec,
            floor,
            moves: entry.moves.saturating_add(1),
            moved_count: forked.secondary.0,
            moved_bytes: forked.secondary.1,
            first: entry.first,
            started_ms: entry.started_ms,
            chain_hash: forked.chain_hash,
        })
    }

    /// Takes note of the fork record at `lsn`, its end at `next`; of the originals from `original`
    /// on copies are lost that the unit had before.
    pub fn forked(
        &mut self,
        unit: u64,
        (lsn, next): (Lsn, Lsn),
        fork: &ForkPayload,
        original: Option<Lsn>,
    ) {
        let Some(entry) = self.live.get_mut(&unit) else { return };
        // One move runs at a time, but its fork record need not be durable when the next one is
        // appended: what it pins stays pinned.
        let low = entry.pinned_low().min(original.unwrap_or(Lsn::MAX));
        if let Some((before, _)) = entry.pin {
            self.moved.forks.remove(&before);
        }
        entry.apply_fork(lsn, fork);
        entry.pin = Some((next, low));
        entry.moving = None;
        self.moved.forks.insert(next, unit);
    }

    pub(super) fn unpin(&mut self, durable: Lsn) {
        while let Some(first) = self.moved.forks.first_entry().filter(|it| *it.key() <= durable) {
            let (next, unit) = (*first.key(), first.remove());
            if let Some(entry) = self.live.get_mut(&unit)
                && entry.pin.is_some_and(|(behind, _)| behind == next)
            {
                entry.pin = None;
            }
        }
        self.release(durable);
    }

    /// Whether a fork record of `unit` is appended and not durable.
    #[must_use]
    pub fn is_forking(&self, unit: u64) -> bool {
        self.live.get(&unit).is_some_and(|entry| entry.pin.is_some())
    }

    /// The last durable keypoint carries this redo position.
    pub fn redo_carried(&mut self, redo: Lsn, durable: Lsn) {
        self.moved.redo = self.moved.redo.max(redo);
        self.release(durable);
    }

    fn release(&mut self, durable: Lsn) {
        let redo = self.moved.redo;
        let gone = |(entry, next): &(UnitEntry, Lsn)| entry.commit < redo && *next <= durable;
        if !self.moved.ended.values().any(gone) {
            return;
        }
        let Moved { ended, freed, .. } = &mut self.moved;
        ended.retain(|unit, it| {
            let gone = gone(it);
            if gone {
                freed.push(*unit);
            }
            !gone
        });
    }

    /// Units whose extents have become free since this was asked last.
    pub fn take_freed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.moved.freed)
    }

    /// The unit as a move of it would begin with it, whether it lives or has ended and redo still
    /// needs it; none if it has no moved records.
    #[must_use]
    pub fn as_moved(&self, unit: u64) -> Option<Moving> {
        let (moves, secondary, chain_hash) = match self.live.get(&unit) {
            Some(entry) => (entry.moves, entry.secondary, entry.chain_hash),
            None => self.moved.entry(unit).map(|entry| (entry.moves, entry.secondary, None))?,
        };
        let start = self.redo_chain(unit).filter(|start| start.sec != SPtr::NONE)?;
        Some(Moving { start, moves, secondary, chain_hash })
    }

    /// Where redo finds the records of a unit that has an entry: live, or ended and still needed.
    #[must_use]
    pub fn redo_chain(&self, unit: u64) -> Option<ChainStart> {
        if let Some(entry) = self.live.get(&unit) {
            return Some(entry.chain(unit));
        }
        let entry = self.moved.entry(unit)?;
        let UnitEntry { head, floor, sec, .. } = entry;
        Some(ChainStart { unit, head, floor, sec })
    }

    /// Units that committed and ended, and whose extents redo may have to read.
    pub fn needed_by_redo(&self) -> impl Iterator<Item = &UnitEntry> {
        self.moved.ended.values().map(|(entry, _)| entry)
    }

    /// Units that may have moved a record that stood at `lsn`, and the newest extent of each.
    #[must_use]
    pub fn may_have_moved(&self, lsn: Lsn) -> Vec<(u64, SPtr)> {
        // What was moved stands below the floor, and where nothing else is left the floor is
        // behind the fork record.
        let holds = |first: Lsn, floor: Lsn| first <= lsn && lsn < floor;
        let live = self.live.iter().filter(|(_, it)| holds(it.first, it.floor));
        let live = live.map(|(unit, it)| (*unit, it.sec));
        let ended = self.moved.ended.iter().filter(|(_, (it, _))| holds(it.first, it.floor));
        let ended = ended.map(|(unit, (it, _))| (*unit, it.sec));
        // Few, and for a moment: what they moved is not remembered.
        let ending = self.ending.values().map(|ending| (ending.unit, ending.frees));
        let all = live.chain(ended).chain(ending);
        let mut all: Vec<_> = all.filter(|(_, sec)| *sec != SPtr::NONE).collect();
        all.sort_unstable();
        all
    }

    /// Every unit with extents, and the newest of them: what the secondary log must keep.
    #[must_use]
    pub fn extents(&self) -> Vec<(u64, SPtr)> {
        let live = self.live.iter().map(|(unit, entry)| (*unit, entry.sec));
        let ended = self.moved.ended.iter().map(|(unit, (entry, _))| (*unit, entry.sec));
        let ended = ended.filter(|_| !crate::seeded!(SweepForgetsRedo));
        // A crash that loses END needs them.
        let ending = self.ending.values().map(|ending| (ending.unit, ending.frees));
        let all = live.chain(ended).chain(ending);
        let mut all: Vec<_> = all.filter(|(_, sec)| *sec != SPtr::NONE).collect();
        all.sort_unstable();
        all
    }
}

impl Unit {
    /// Whether a move of it runs.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Whether it has fork records, and none of them counts: its COMMIT may say that it was moved,
    /// so redo must go by its entry.
    fn passed_forks(&self) -> bool {
        self.moves > 0 && !crate::seeded!(LateForkDropsEntry)
    }

    /// A fork record stands at `lsn` and does not count. It is a link of the chain all the same,
    /// and the next one that is written must have a larger number.
    pub(super) fn pass_fork(&mut self, lsn: Lsn, fork: &ForkPayload) {
        if self.head < self.floor {
            self.floor = lsn.plus(1);
        }
        self.head = lsn;
        self.moves = self.moves.max(fork.moves);
    }

    pub(super) fn apply_fork(&mut self, lsn: Lsn, fork: &ForkPayload) {
        let (count, bytes) = self.secondary;
        let moved =
            (fork.moved_count.saturating_sub(count), fork.moved_bytes.saturating_sub(bytes));
        self.main = (self.main.0.saturating_sub(moved.0), self.main.1.saturating_sub(moved.1));
        self.secondary = (fork.moved_count, fork.moved_bytes);
        self.chain_hash = Some(fork.chain_hash);
        self.head = lsn;
        self.floor = match fork.floor.is_zero() {
            true if crate::seeded!(NaiveCut) => lsn,
            true if crate::seeded!(NaiveCutTrim) => lsn,
            true => lsn.plus(1),
            false => fork.floor,
        };
        self.sec = fork.sec;
        self.moves = fork.moves;
        if self.first.is_zero() {
            self.first = fork.first;
        }
        if self.started_ms == 0 {
            self.started_ms = fork.started_ms;
        }
    }
}
