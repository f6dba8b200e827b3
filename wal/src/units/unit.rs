//! One live unit: where its chain stands, what it pins, and what it may still have to write.

use super::{Applied, Span};
use crate::Lsn;
use crate::chain::ChainStart;
use crate::format::{Kind, SPtr, UnitEntry, UnitState};

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
    /// The hash of those records, if a fork record of it was seen in this open.
    pub(super) chain_hash: Option<u64>,
    /// Monotonic milliseconds of its newest record; zero if it wrote none in this open.
    pub touched_ms: u64,
    /// Behind its newest fork record, while that is not durable, and what it pins until then.
    pub(super) pin: Option<(Lsn, Lsn)>,
    /// Its running move, and the first record that was written since that began.
    pub(super) moving: Option<Option<Lsn>>,
    /// What it wrote to segments whose directory is not written yet.
    pub(super) spans: Vec<Span>,
    /// Bytes of compensation records that undoing what it wrote may take.
    pub(super) undo: u64,
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
    pub(super) fn new(started_ms: u64) -> Self {
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
            chain_hash: None,
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
    pub(super) fn owed(&self) -> Owed {
        let batches = match self.state {
            UnitState::InFlight => 3,
            UnitState::InDoubt => 2,
            UnitState::Committed | UnitState::Aborted | UnitState::BackingOut => 1,
            UnitState::Ended => 0,
        };
        Owed { units: 1, batches, undo: self.undo }
    }

    /// Counts what undoing this record may take, or no longer does.
    pub(super) fn count_undo(&mut self, record: &Applied<'_>) {
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
    pub(super) fn extend(&mut self, lsn: Lsn, bytes: u64) {
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

    pub(super) fn from_entry(entry: UnitEntry) -> Self {
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
            chain_hash: None,
            touched_ms: 0,
            pin: None,
            moving: None,
            spans: Vec::new(),
            // More than it can be: how much of it was undone is not known.
            undo: entry.main.1.saturating_add(entry.main.0.saturating_mul(UNDO_NEXT)),
        }
    }

    pub(super) fn entry(&self, unit: u64, now_ms: u64) -> UnitEntry {
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

/// What undoing a DATA record of `len` bytes, padding included, may take.
#[must_use]
pub fn undo_cost(len: u64, repeat_history: bool) -> u64 {
    if repeat_history { len.saturating_add(UNDO_NEXT) } else { ROLL_BACK }
}

impl Owed {
    pub(super) fn add(&mut self, other: Self) {
        self.units = self.units.saturating_add(other.units);
        self.batches = self.batches.saturating_add(other.batches);
        self.undo = self.undo.saturating_add(other.undo);
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.units = self.units.saturating_sub(other.units);
        self.batches = self.batches.saturating_sub(other.batches);
        self.undo = self.undo.saturating_sub(other.undo);
    }
}

impl Unit {
    pub(super) fn decide(&mut self, record: &Applied<'_>, now_ms: u64) {
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
