//! The model: every record that ever was durable, and what they say if all are replayed.

use siding::{Discipline, Kind, Lsn, OwnedRecord, Record, UnitState};
use siding_wal::format::{PreparePayload, flags, padded_record_len};
use std::collections::BTreeMap;

/// A record, as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) lsn: Lsn,
    pub(crate) next: Lsn,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) resource: u16,
    pub(crate) unit: u64,
    pub(crate) prev: Lsn,
    pub(crate) raw: Vec<u8>,
}

impl Rec {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        let len = u64::try_from(padded_record_len(record.raw().len())).unwrap();
        Self {
            lsn: record.lsn(),
            next: record.lsn().plus(len),
            kind: record.kind(),
            flags: record.flags(),
            resource: record.resource(),
            unit: record.unit(),
            prev: record.prev(),
            raw: record.raw().to_vec(),
        }
    }

    pub(crate) fn owned(record: &OwnedRecord) -> Self {
        Self::of(&record.as_record())
    }

    fn undo_next(&self) -> Lsn {
        Lsn::new(u64::from_le_bytes(self.raw[..8].try_into().unwrap()))
    }
}

/// A unit that has not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefUnit {
    pub(crate) state: UnitState,
    pub(crate) gid: Vec<u8>,
    /// Every record, oldest first.
    pub(crate) chain: Vec<Rec>,
    /// Those that a commit would apply, or undo would have to undo.
    pub(crate) effects: Vec<Rec>,
}

impl RefUnit {
    pub(crate) fn first(&self) -> Lsn {
        self.chain.first().map_or(Lsn::MAX, |record| record.lsn)
    }

    pub(crate) fn head(&self) -> Lsn {
        self.chain.last().map_or(Lsn::ZERO, |record| record.lsn)
    }
}

/// A unit that committed.
#[derive(Clone, Debug)]
pub(crate) struct RefCommit {
    pub(crate) next: Lsn,
    /// Its first record.
    pub(crate) first: Lsn,
    pub(crate) effects: Vec<Rec>,
}

/// What the records say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) units: BTreeMap<u64, RefUnit>,
    pub(crate) commits: Vec<RefCommit>,
}

/// Replays records, all from the first one on.
pub(crate) fn replay<'a>(
    records: impl Iterator<Item = &'a Rec>,
    discipline: Discipline,
) -> Result<Replayed, String> {
    let mut all = Replayed::default();
    let mut before = Lsn::ZERO;
    for record in records {
        if record.lsn <= before {
            return Err(format!("{record:?} does not ascend"));
        }
        before = record.lsn;
        if record.unit != 0 {
            all.apply(record, discipline)?;
        }
    }
    Ok(all)
}

impl Replayed {
    fn apply(&mut self, record: &Rec, discipline: Discipline) -> Result<(), String> {
        let unit = self.units.entry(record.unit).or_default();
        if record.prev != unit.head() {
            return Err(format!("{record:?} does not continue a chain at {}", unit.head()));
        }
        unit.chain.push(record.clone());
        match record.kind {
            Kind::Data if unit.state == UnitState::InFlight => unit.effects.push(record.clone()),
            Kind::Compensation => {
                let keep = record.undo_next();
                unit.effects.retain(|effect| effect.lsn <= keep);
            }
            Kind::Prepare => {
                unit.state = UnitState::InDoubt;
                unit.gid = PreparePayload::decode(&record.raw).map_err(|e| e.to_string())?.gid;
            }
            Kind::Commit => {
                unit.state = UnitState::Committed;
                self.commits.push(RefCommit {
                    next: record.next,
                    first: unit.first(),
                    effects: unit.effects.clone(),
                });
            }
            Kind::Abort if discipline == Discipline::RepeatHistory => {
                unit.state = UnitState::BackingOut;
            }
            Kind::Abort => unit.state = UnitState::Aborted,
            _ => {}
        }
        let decided = matches!(record.kind, Kind::Commit | Kind::Abort);
        if record.kind == Kind::End || (decided && record.flags & flags::END != 0) {
            let undone = unit.state != UnitState::BackingOut || unit.effects.is_empty();
            self.units.remove(&record.unit);
            if !undone {
                return Err(format!("{record:?} ends a unit that is not undone"));
            }
        }
        Ok(())
    }

    /// Nothing at or above this position may be trimmed.
    pub(crate) fn trim_point(&self, keypoint: Lsn, redo: Lsn, discipline: Discipline) -> Lsn {
        let live = self.units.values().map(RefUnit::first).min().unwrap_or(Lsn::MAX);
        let above = self.commits.iter().filter(|commit| commit.next > redo);
        let needed = match discipline {
            Discipline::DeferredApply => above.map(|commit| commit.first).min(),
            Discipline::RepeatHistory => None,
        };
        keypoint.min(redo).min(live).min(needed.unwrap_or(Lsn::MAX))
    }
}
