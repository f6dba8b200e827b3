//! What the model keeps: every record that was ever written and not lost, the extents, the
//! keypoints. What it knows of a unit it finds out from these, each time anew.

use siding_wal::Lsn;
use siding_wal::format::{ForkPayload, Kind, SPtr, UnitEntry, UnitState, flags};
use std::collections::BTreeMap;

/// Bytes of a segment.
pub(crate) const SEGMENT: u64 = 512;

/// A record of the main log.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) lsn: Lsn,
    pub(crate) next: Lsn,
    /// Zero: of the log itself.
    pub(crate) unit: u64,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) prev: Lsn,
    pub(crate) payload: Vec<u8>,
    pub(crate) fork: Option<ForkPayload>,
    /// COMMIT: the oldest live record, and the newest copy, as they stood.
    pub(crate) decision: (Lsn, SPtr),
}

impl Record {
    pub(crate) fn ends(&self) -> bool {
        let decides = matches!(self.kind, Kind::Commit | Kind::Abort);
        self.kind == Kind::End || (decides && self.flags & flags::END != 0)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.next.since(self.lsn)
    }
}

/// An extent: whose, what comes before it, and the copies by their original LSN.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) unit: u64,
    pub(crate) parent: SPtr,
    pub(crate) copies: Vec<Lsn>,
}

/// A complete keypoint.
#[derive(Clone, Debug)]
pub(crate) struct Keypoint {
    pub(crate) begin: Lsn,
    /// Behind its KP_END.
    pub(crate) next: Lsn,
    pub(crate) redo: Lsn,
    pub(crate) entries: Vec<UnitEntry>,
}

/// The records that are there, up to some position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) all: Vec<Record>,
    pub(crate) repeat: bool,
}

/// A unit, as its records up to some position tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) state: UnitState,
    pub(crate) head: Lsn,
    pub(crate) floor: Lsn,
    pub(crate) sec: SPtr,
    pub(crate) moves: u32,
    pub(crate) commit: Lsn,
    pub(crate) first: Lsn,
    pub(crate) gid: Vec<u8>,
    pub(crate) main: (u64, u64),
    pub(crate) secondary: (u64, u64),
    /// Behind its END.
    pub(crate) ended: Option<Lsn>,
    /// Every record but fork records, oldest first.
    pub(crate) records: Vec<Lsn>,
    /// The oldest of them that was not moved.
    pub(crate) low: Lsn,
}

impl Records {
    /// The records of a unit that end at or below `upto`.
    pub(crate) fn of(&self, unit: u64, upto: Lsn) -> impl Iterator<Item = &Record> {
        self.all.iter().filter(move |it| it.unit == unit && it.next <= upto)
    }

    pub(crate) fn at(&self, lsn: Lsn) -> Option<&Record> {
        let index = self.all.binary_search_by_key(&lsn, |it| it.lsn).ok()?;
        self.all.get(index)
    }

    /// Every unit that has a record up to there.
    pub(crate) fn units(&self, upto: Lsn) -> Vec<u64> {
        let mut units: Vec<u64> = self
            .all
            .iter()
            .filter(|it| it.next <= upto && it.unit != 0)
            .map(|it| it.unit)
            .collect();
        units.sort_unstable();
        units.dedup();
        units
    }

    /// What the records up to `upto` tell of a unit.
    pub(crate) fn tell(&self, unit: u64, upto: Lsn) -> Told {
        let records: Vec<&Record> = self.of(unit, upto).collect();
        let find = |kind| records.iter().find(|it| it.kind == kind);
        let newest_fork = records.iter().rev().find(|it| it.kind == Kind::Fork);
        let fork = newest_fork.and_then(|it| it.fork);
        let moved = |it: &Record| match (fork, newest_fork) {
            (Some(fork), Some(_)) if !fork.floor.is_zero() => it.lsn < fork.floor,
            (Some(_), Some(record)) => it.lsn < record.lsn,
            _ => false,
        };
        let mut plain = records.clone();
        plain.retain(|it| it.kind != Kind::Fork);
        let (gone, live): (Vec<&Record>, Vec<&Record>) = plain.iter().partition(|it| moved(it));
        let sum = |of: &[&Record]| {
            of.iter().fold((0, 0), |(count, bytes), it| (count + 1, bytes + it.bytes()))
        };
        let low = live.first().map_or(Lsn::MAX, |it| it.lsn);
        let state = match () {
            () if find(Kind::Commit).is_some() => UnitState::Committed,
            () if find(Kind::Abort).is_some() && self.repeat => UnitState::BackingOut,
            () if find(Kind::Abort).is_some() => UnitState::Aborted,
            () if find(Kind::Prepare).is_some() => UnitState::InDoubt,
            () => UnitState::InFlight,
        };
        Told {
            state,
            head: records.last().map_or(Lsn::ZERO, |it| it.lsn),
            floor: match newest_fork {
                _ if low < Lsn::MAX => low,
                Some(record) => record.lsn.plus(1),
                None => Lsn::new(1),
            },
            sec: fork.map_or(SPtr::NONE, |fork| fork.sec),
            moves: fork.map_or(0, |fork| fork.moves),
            commit: find(Kind::Commit).map_or(Lsn::ZERO, |it| it.lsn),
            first: plain.first().map_or(Lsn::ZERO, |it| it.lsn),
            gid: find(Kind::Prepare).map_or(Vec::new(), |_| unit.to_le_bytes().to_vec()),
            main: sum(&live),
            secondary: sum(&gone),
            ended: records.iter().find(|it| it.ends()).map(|it| it.next),
            records: plain.iter().map(|it| it.lsn).collect(),
            low,
        }
    }
}

/// The secondary log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extents {
    pub(crate) all: BTreeMap<SPtr, Stored>,
    pub(crate) last: u64,
}

impl Extents {
    pub(crate) fn add(&mut self, unit: u64, parent: SPtr, copies: Vec<Lsn>) -> SPtr {
        self.last += 1;
        let at = SPtr { extent: self.last, offset: 8 };
        self.all.insert(at, Stored { unit, parent, copies });
        at
    }

    /// The copies of a unit from this extent on, newest first.
    pub(crate) fn copies(&self, unit: u64, sec: SPtr) -> Result<Vec<Lsn>, String> {
        let mut found = Vec::new();
        for at in self.chain(unit, sec)? {
            found.extend(self.all[&at].copies.iter().rev());
        }
        Ok(found)
    }

    /// The extents of a unit from this one on, newest first.
    pub(crate) fn chain(&self, unit: u64, mut sec: SPtr) -> Result<Vec<SPtr>, String> {
        let mut found = Vec::new();
        while sec != SPtr::NONE {
            let stored = self.all.get(&sec).ok_or_else(|| format!("{sec:?} of {unit} is gone"))?;
            if stored.unit != unit {
                return Err(format!("{sec:?} is of {}, not {unit}", stored.unit));
            }
            found.push(sec);
            sec = stored.parent;
        }
        Ok(found)
    }
}
