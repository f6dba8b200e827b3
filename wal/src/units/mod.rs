//! The unit table: every live unit of work, its chain, and what it pins.
//!
//! Pure. One table serves the running log, keypoints and restart: restart applies records to it
//! with [`Units::replay`], the running log with [`Units::appended`].

mod moved;
mod replay;
mod span;

pub use moved::{Forked, Moving};
pub use span::Span;

use crate::Lsn;
use crate::chain::ChainStart;
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

/// A live unit of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it stands.
    pub state: UnitState,
    /// Its newest record on the main log; zero before the first.
    pub head: Lsn,
    /// Its oldest record on the main log that was not moved; head < floor: there is none.
    pub floor: Lsn,
    /// The newest copy of its moved records.
    pub sec: SPtr,
    /// How often it was moved.
    pub moves: u32,
    /// Its COMMIT, or zero.
    pub commit: Lsn,
    /// Its first record ever.
    pub first: Lsn,
    /// Milliseconds since 1970 when it began.
    pub started_ms: u64,
    /// Monotonic milliseconds when it was prepared in this open, and those of earlier opens.
    pub in_doubt: (Option<u64>, u64),
    /// Records and bytes on the main log.
    pub main: (u64, u64),
    /// The name the coordinator knows it by; empty before PREPARE.
    pub gid: Vec<u8>,
    /// Whether it was prepared: such a unit was in doubt before it was decided.
    pub prepared: bool,
    /// Records and bytes on the secondary log.
    pub secondary: (u64, u64),
    /// Monotonic milliseconds of its newest record; zero if it wrote none in this open.
    pub touched_ms: u64,
    /// Behind its newest fork record, while that is not durable, and what it pins until then.
    pin: Option<(Lsn, Lsn)>,
    /// Its running move, and the first record that was written since that began.
    moving: Option<Option<Lsn>>,
    /// What it wrote to segments whose directory is not written yet.
    spans: Vec<Span>,
    /// Bytes of compensation records that undoing what it wrote may take.
    undo: u64,
}

/// What live units may still have to write to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// How many units.
    pub units: u64,
    /// Forced records, each perhaps in a batch of its own.
    pub batches: u64,
    /// Bytes of compensation records.
    pub undo: u64,
}

/// Bytes of the one compensation record that a roll-back writes under deferred apply.
const ROLL_BACK: u64 = 40;

/// Bytes that the compensation of a record may take under repeat history beyond those of the
/// record: its `undo_next`.
const UNDO_NEXT: u64 = 8;

impl Unit {
    fn new(started_ms: u64) -> Self {
        Self {
            state: UnitState::InFlight,
            head: Lsn::ZERO,
            floor: Lsn::new(1),
            sec: SPtr::NONE,
            moves: 0,
            commit: Lsn::ZERO,
            first: Lsn::ZERO,
            started_ms,
            in_doubt: (None, 0),
            main: (0, 0),
            gid: Vec::new(),
            prepared: false,
            secondary: (0, 0),
            touched_ms: 0,
            pin: None,
            moving: None,
            spans: Vec::new(),
            undo: 0,
        }
    }

    /// The oldest position of the main log that it needs; [`Lsn::MAX`] if none.
    #[must_use]
    pub fn live_low(&self) -> Lsn {
        let naive = self.main.0 == 0 && self.head == self.floor;
        let naive = if crate::seeded!(NaiveCutTrim) { naive } else { false };
        if naive {
            return Lsn::MAX;
        }
        if self.head >= self.floor { self.floor } else { Lsn::MAX }
    }

    /// The oldest position of the main log that trimming must leave: a fork record that is not
    /// durable frees nothing yet.
    #[must_use]
    pub fn pinned_low(&self) -> Lsn {
        let pin = match self.pin {
            Some(_) if crate::seeded!(TrimBeforeForkDurable) => Lsn::MAX,
            Some((_, low)) => low,
            None => Lsn::MAX,
        };
        self.live_low().min(pin)
    }

    /// Where its chain begins.
    #[must_use]
    pub fn chain(&self, unit: u64) -> ChainStart {
        ChainStart { unit, head: self.head, floor: self.floor, sec: self.sec }
    }

    /// Whether it has no record anywhere.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.head.is_zero() && self.sec == SPtr::NONE
    }

    /// Milliseconds it has been in doubt, over all opens.
    #[must_use]
    pub fn in_doubt_ms(&self, now_ms: u64) -> u64 {
        let (since, before) = self.in_doubt;
        since.map_or(before, |since| before.saturating_add(now_ms.saturating_sub(since)))
    }

    /// What it may still have to write to be ended.
    fn owed(&self) -> Owed {
        let batches = match self.state {
            UnitState::InFlight => 3,
            UnitState::InDoubt => 2,
            UnitState::Committed | UnitState::Aborted | UnitState::BackingOut => 1,
            UnitState::Ended => 0,
        };
        Owed { units: 1, batches, undo: self.undo }
    }

    /// Counts what undoing this record may take, or no longer does.
    fn count_undo(&mut self, record: &Applied<'_>) {
        let len = record.next.since(record.lsn);
        let gone = match (record.kind, record.repeat_history) {
            (Kind::Data, repeat) if self.state == UnitState::InFlight => {
                self.undo = self.undo.saturating_add(undo_cost(len, repeat));
                return;
            }
            (Kind::Compensation, _) => len,
            // What was prepared under deferred apply is never rolled back; what is decided is
            // undone under repeat history alone.
            (Kind::Prepare | Kind::Abort, false) | (Kind::Commit, _) => self.undo,
            _ => 0,
        };
        self.undo = self.undo.saturating_sub(gone);
    }

    /// The append rule: a record of the unit was written at `lsn`.
    fn extend(&mut self, lsn: Lsn, bytes: u64) {
        if self.head < self.floor {
            self.floor = lsn;
        }
        if self.first.is_zero() {
            self.first = lsn;
        }
        if self.moving == Some(None) {
            self.moving = Some(Some(lsn));
        }
        self.head = lsn;
        self.main = (self.main.0.saturating_add(1), self.main.1.saturating_add(bytes));
    }

    fn from_entry(entry: UnitEntry) -> Self {
        Self {
            state: entry.state,
            head: entry.head,
            floor: entry.floor,
            sec: entry.sec,
            moves: entry.moves,
            commit: entry.commit,
            first: entry.first,
            started_ms: entry.started_ms,
            in_doubt: (None, entry.in_doubt_ms),
            main: entry.main,
            prepared: !entry.gid.is_empty(),
            gid: entry.gid,
            secondary: entry.secondary,
            touched_ms: 0,
            pin: None,
            moving: None,
            spans: Vec::new(),
            // More than it can be: how much of it was undone is not known.
            undo: entry.main.1.saturating_add(entry.main.0.saturating_mul(UNDO_NEXT)),
        }
    }

    fn entry(&self, unit: u64, now_ms: u64) -> UnitEntry {
        UnitEntry {
            unit,
            state: self.state,
            head: self.head,
            floor: self.floor,
            sec: if crate::seeded!(KeypointForgetsCopies) { SPtr::NONE } else { self.sec },
            moves: self.moves,
            commit: self.commit,
            first: self.first,
            started_ms: self.started_ms,
            in_doubt_ms: self.in_doubt_ms(now_ms),
            main: self.main,
            secondary: self.secondary,
            gid: self.gid.clone(),
        }
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

/// What undoing a DATA record of `len` bytes, padding included, may take.
#[must_use]
pub fn undo_cost(len: u64, repeat_history: bool) -> u64 {
    if repeat_history { len.saturating_add(UNDO_NEXT) } else { ROLL_BACK }
}

impl Owed {
    fn add(&mut self, other: Self) {
        self.units = self.units.saturating_add(other.units);
        self.batches = self.batches.saturating_add(other.batches);
        self.undo = self.undo.saturating_add(other.undo);
    }

    fn subtract(&mut self, other: Self) {
        self.units = self.units.saturating_sub(other.units);
        self.batches = self.batches.saturating_sub(other.batches);
        self.undo = self.undo.saturating_sub(other.undo);
    }
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

impl Unit {
    fn decide(&mut self, record: &Applied<'_>, now_ms: u64) {
        self.in_doubt = (None, self.in_doubt_ms(now_ms));
        if record.kind == Kind::Commit {
            self.state = UnitState::Committed;
            self.commit = record.lsn;
        } else if record.repeat_history {
            self.state = UnitState::BackingOut;
        } else {
            self.state = UnitState::Aborted;
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
