//! The unit table: every live unit of work, its chain, and what it pins.
//!
//! Pure. One table serves the running log, keypoints and restart: restart applies records to it
//! with [`Units::replay`], the running log with [`Units::appended`].

mod moved;
mod replay;
mod span;
mod unit;

pub use moved::{Forked, Moving};
pub use span::Span;
pub use unit::{Owed, Unit, undo_cost};

use crate::Lsn;
use crate::format::{Kind, SPtr, UnitEntry, UnitState, flags};
use moved::Moved;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes unit numbers, which this log hands out itself: one multiplication, no defence needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: the high bits, which the table looks at too, depend on all of them.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A unit whose END is appended and not durable: it pins what it pinned.
#[derive(Clone, Debug)]
struct Ending {
    unit: u64,
    pin: Lsn,
    gid: Vec<u8>,
    /// Its extents, if they are free once END is durable.
    frees: SPtr,
}

/// Who has a gid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GidHolder {
    /// A live unit.
    Live(u64),
    /// A unit whose END is not durable; the gid is free once all below this is.
    Ending(Lsn),
}

/// All live units, and those that are ending.
#[derive(Clone, Debug, Default)]
pub struct Units {
    live: HashMap<u64, Unit, BuildHasherDefault<NumberHasher>>,
    gids: HashMap<Vec<u8>, GidHolder>,
    /// By the position behind their END.
    ending: BTreeMap<Lsn, Ending>,
    owed: Owed,
    /// What concerns moved records.
    moved: Moved,
    /// Bytes of a segment.
    segment_size: u64,
}

impl Units {
    /// Registers a unit that began now and has written nothing.
    pub fn begin(&mut self, unit: u64, started_ms: u64) {
        let new = Unit::new(started_ms);
        self.owed.add(new.owed());
        self.live.insert(unit, new);
    }

    /// Forgets a unit that never wrote a record.
    pub fn forget_blank(&mut self, unit: u64) {
        if self.live.get(&unit).is_some_and(Unit::is_blank)
            && let Some(blank) = self.live.remove(&unit)
        {
            self.owed.subtract(blank.owed());
        }
    }

    /// What all live units together may still have to write to be ended.
    #[must_use]
    pub fn owed(&self) -> Owed {
        self.owed
    }

    /// Counts anew what is owed, once restart has rebuilt the table.
    pub fn recount(&mut self, repeat_history: bool) {
        self.owed = Owed::default();
        for unit in self.live.values_mut() {
            if !repeat_history {
                unit.undo = 0;
            }
            self.owed.add(unit.owed());
        }
    }

    /// A live unit.
    #[must_use]
    pub fn get(&self, unit: u64) -> Option<&Unit> {
        self.live.get(&unit)
    }

    /// How many units are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no unit is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Every live unit, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Unit)> {
        self.live.iter().map(|(unit, state)| (*unit, state))
    }

    /// The numbers of all units that a keypoint lists, lowest first.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.live.keys().copied().chain(self.moved.units()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Who has this gid.
    #[must_use]
    pub fn gid_holder(&self, gid: &[u8]) -> Option<GidHolder> {
        self.gids.get(gid).copied()
    }

    /// Takes note of a record that was just appended for `unit`, its END at `next` included.
    pub fn appended(&mut self, unit: u64, record: &Applied<'_>, now_ms: u64) {
        let Some(entry) = self.live.get_mut(&unit) else { return };
        self.owed.subtract(entry.owed());
        entry.count_undo(record);
        entry.extend(record.lsn, record.next.since(record.lsn));
        entry.touched_ms = now_ms;
        span::note(&mut entry.spans, record.lsn, record.next, self.segment_size);
        match record.kind {
            Kind::Prepare => {
                entry.state = UnitState::InDoubt;
                entry.in_doubt.0 = Some(now_ms);
                entry.gid = record.gid.to_vec();
                entry.prepared = true;
                self.gids.insert(record.gid.to_vec(), GidHolder::Live(unit));
            }
            Kind::Commit | Kind::Abort => entry.decide(record, now_ms),
            _ => {}
        }
        if record.ends() {
            self.end(unit, record);
        } else {
            self.owed.add(entry.owed());
        }
    }

    fn end(&mut self, unit: u64, record: &Applied<'_>) {
        let Some(entry) = self.live.remove(&unit) else { return };
        let next = record.next;
        if !entry.gid.is_empty() {
            self.gids.insert(entry.gid.clone(), GidHolder::Ending(next));
        }
        // A read of what it wrote, or a crash that loses END, still needs all of it. Of a fork
        // record that is lost with END, the originals too.
        let pin = match () {
            () if crate::seeded!(EndUnpinsEarly) => Lsn::MAX,
            () if crate::seeded!(EndDropsForkPin) => entry.live_low(),
            () => entry.pinned_low(),
        };
        let gid = entry.gid.clone();
        let frees = self.moved.ended(unit, entry, record);
        self.ending.insert(next, Ending { unit, pin, gid, frees });
    }

    /// Everything below `durable` is: units whose END lies there pin nothing more.
    pub fn settle(&mut self, durable: Lsn) {
        while let Some(first) = self.ending.first_entry().filter(|first| *first.key() <= durable) {
            let (next, ended) = (*first.key(), first.remove());
            if self.gids.get(&ended.gid) == Some(&GidHolder::Ending(next)) {
                self.gids.remove(&ended.gid);
            }
            if ended.frees != SPtr::NONE {
                self.moved.free(ended.unit);
            }
        }
        self.unpin(durable);
    }

    /// The oldest position that a live or ending unit needs, and that unit.
    #[must_use]
    pub fn low(&self) -> Option<(Lsn, u64)> {
        let live = self.live.iter().map(|(unit, entry)| (entry.pinned_low(), *unit));
        let ending = self.ending.values().map(|ending| (ending.pin, ending.unit));
        live.chain(ending).filter(|(low, _)| *low < Lsn::MAX).min()
    }

    /// The oldest position that a live unit needs; [`Lsn::MAX`] if none needs any.
    #[must_use]
    pub fn live_low(&self) -> Lsn {
        self.live.values().map(Unit::live_low).min().unwrap_or(Lsn::MAX)
    }

    /// What a keypoint that carries the redo position `redo` says of a unit; none if it has no
    /// record, or ended and is not needed.
    #[must_use]
    pub fn entry(&self, unit: u64, now_ms: u64, redo: Lsn) -> Option<UnitEntry> {
        match self.live.get(&unit) {
            Some(entry) => {
                Some(entry).filter(|entry| !entry.is_blank()).map(|it| it.entry(unit, now_ms))
            }
            None => self.moved.entry(unit).filter(|entry| entry.commit >= redo),
        }
    }
}

/// A record of a unit, as the table sees it.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// Where it stands.
    pub lsn: Lsn,
    /// The position behind it.
    pub next: Lsn,
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// PREPARE: the gid. Else empty.
    pub gid: &'a [u8],
    /// Whether the log repeats history: ABORT without END then means undo is under way.
    pub repeat_history: bool,
}

impl Applied<'_> {
    /// Whether the unit ends with it.
    #[must_use]
    pub fn ends(&self) -> bool {
        let decided = matches!(self.kind, Kind::Commit | Kind::Abort);
        self.kind == Kind::End || (decided && self.flags & flags::END != 0)
    }
}
