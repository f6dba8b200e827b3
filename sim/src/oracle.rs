//! What a log was told, and what it must therefore give back.
//!
//! The model is a list of what was appended, in the order of the log, and how far that was
//! acknowledged. What a restart keeps of it is everything up to a *cut*, which the log names
//! itself: where it ended, and which stretches its segment headers call void. So there is one
//! right answer after any crash: the acknowledged part lies below the cut, and what was kept is
//! all there, whole and once; nothing above it is there at all.

use siding::{Discipline, Kind, Lsn, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One thing that a unit of work was told.
#[derive(Clone, Debug)]
pub enum What {
    /// A record.
    Data {
        /// Where it stands.
        lsn: Lsn,
        /// Its bytes.
        payload: Arc<[u8]>,
    },
    /// Everything above this position is taken back.
    RollBack(Lsn),
    /// It is in doubt, under this name.
    Prepare(Arc<[u8]>),
    /// It is decided; true: and ended.
    Decide(Outcome, bool),
    /// It is ended.
    End,
    /// It is being undone from here on; nobody knows how far that came.
    Undoing,
}

#[derive(Clone, Debug)]
struct Entry {
    unit: u64,
    /// Behind its record, or behind the batch that holds it: kept if the cut keeps this.
    next: Lsn,
    what: What,
}

/// Everything a log was told, in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Model {
    discipline: Discipline,
    entries: Vec<Entry>,
    /// Every unit id ever handed out: none comes twice.
    ids: BTreeSet<u64>,
    /// All below was acknowledged.
    durable: Lsn,
    /// The embedder's own files: the redo position that is stored with them.
    pub snapshot: Lsn,
    /// Positions that were durable: they never go back.
    pub kept: Kept,
    /// The log was closed, and nothing was done since.
    pub closed: bool,
    /// A promise that was seen broken while the log ran.
    pub broken: Option<String>,
}

/// Durable positions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    /// Nothing below is kept.
    pub oldest: Lsn,
    /// The redo position of the last keypoint.
    pub redo: Lsn,
    /// Where the last keypoint begins.
    pub keypoint: Lsn,
}

/// What a restart says of one unit that is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Decided, or else prepared, or else in flight.
    pub outcome: Option<Outcome>,
    /// Its name, if it is in doubt.
    pub gid: Option<Vec<u8>>,
    /// Its records, newest to oldest; nothing if they cannot be asked for.
    pub chain: Option<Vec<(Lsn, Kind)>>,
    /// Its records that count, oldest to newest; nothing if they cannot be asked for.
    pub effects: Option<Vec<(Lsn, Vec<u8>)>>,
}

/// A record that redo was handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redo {
    /// Its unit.
    pub unit: u64,
    /// Where it stands.
    pub lsn: Lsn,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Behind its unit's COMMIT.
    pub commit: Option<Lsn>,
}

/// What a restart gave back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Where what was kept ends.
    pub end: Lsn,
    /// What segment headers call void: above the first, up to the second.
    pub voids: Vec<(Lsn, Lsn)>,
    /// Where redo was asked to start; none: where the log thought best.
    pub from: Option<Lsn>,
    /// What redo was handed, in order.
    pub redo: Vec<Redo>,
    /// The units that live.
    pub live: BTreeMap<u64, Live>,
}

impl Seen {
    fn keeps(&self, next: Lsn) -> bool {
        next <= self.end && !self.voids.iter().any(|(from, to)| next > *from && next <= *to)
    }
}

/// A unit at the cut.
#[derive(Debug, Default)]
struct Unit {
    /// Its records, and whether each was taken back.
    data: Vec<(Lsn, Arc<[u8]>, bool)>,
    gid: Option<Arc<[u8]>>,
    outcome: Option<Outcome>,
    ended: bool,
    undoing: bool,
    commit: Lsn,
}

impl Unit {
    fn apply(&mut self, entry: &Entry) {
        match &entry.what {
            What::Data { lsn, payload } => self.data.push((*lsn, Arc::clone(payload), false)),
            What::RollBack(to) => {
                self.data.iter_mut().filter(|it| it.0 > *to).for_each(|it| it.2 = true);
            }
            What::Prepare(gid) => self.gid = Some(Arc::clone(gid)),
            What::Decide(outcome, end) => {
                (self.outcome, self.ended, self.commit) = (Some(*outcome), *end, entry.next);
            }
            What::End => self.ended = true,
            What::Undoing => self.undoing = true,
        }
    }

    fn effects(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        self.data.iter().filter(|it| !it.2).map(|(lsn, payload, _)| (*lsn, &**payload))
    }
}

type Verdict = Result<(), String>;

fn unless(condition: bool, what: impl FnOnce() -> String) -> Verdict {
    if condition { Ok(()) } else { Err(what()) }
}

impl Model {
    /// A log of this discipline that nobody has told anything.
    pub fn new(discipline: Discipline) -> Self {
        Self { discipline, ..Self::default() }
    }

    /// Takes note of what a unit was told, behind which position that stands.
    pub fn note(&mut self, unit: u64, next: Lsn, what: What) {
        self.entries.push(Entry { unit, next, what });
    }

    /// All below was acknowledged.
    pub fn acknowledge(&mut self, upto: Lsn) {
        self.durable = self.durable.max(upto);
    }

    /// Whether the unit was prepared, for all that is known.
    pub fn is_prepared(&self, unit: u64) -> bool {
        self.entries.iter().any(|it| it.unit == unit && matches!(it.what, What::Prepare(_)))
    }

    /// The records of a unit, oldest first.
    pub fn told(&self, unit: u64) -> Vec<(Lsn, Arc<[u8]>)> {
        let data = |entry: &Entry| match &entry.what {
            What::Data { lsn, payload } if entry.unit == unit => Some((*lsn, Arc::clone(payload))),
            _ => None,
        };
        self.entries.iter().filter_map(data).collect()
    }

    /// All below was acknowledged.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// A unit id was handed out.
    pub fn issue(&mut self, unit: u64) -> Verdict {
        unless(self.ids.insert(unit), || format!("unit id {unit:#x} was handed out before"))
    }

    /// How many unit ids were handed out.
    pub fn issued(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Positions that are durable now.
    pub fn keep(&mut self, now: Kept) -> Verdict {
        let was = std::mem::replace(&mut self.kept, now);
        unless(
            now.oldest >= was.oldest && now.redo >= was.redo && now.keypoint >= was.keypoint,
            || format!("positions went back: {was:?}, then {now:?}"),
        )
    }

    /// Holds what a restart gave back against what the log was told; from then on, what was
    /// shown is promised, and what was lost is forgotten.
    pub fn hold(&mut self, seen: &Seen) -> Verdict {
        for entry in &self.entries {
            let Entry { unit, next, what } = entry;
            unless(*next > self.durable || seen.keeps(*next), || {
                format!("acknowledged and lost: {what:?} of {unit:#x}, {next} (end {})", seen.end)
            })?;
        }
        unless(
            seen.end >= self.durable || seen.voids.iter().any(|it| it.0 >= self.durable),
            || format!("the log ends at {}, and {} was durable", seen.end, self.durable),
        )?;
        self.entries.retain(|entry| seen.keeps(entry.next));
        let mut units: BTreeMap<u64, Unit> = BTreeMap::new();
        self.entries.iter().for_each(|it| units.entry(it.unit).or_default().apply(it));
        match self.discipline {
            Discipline::DeferredApply => self.committed(&units, seen)?,
            Discipline::RepeatHistory => self.history(&units, seen)?,
        }
        for (id, unit) in &units {
            self.judge(unit, seen.live.get(id)).map_err(|what| format!("unit {id:#x} {what}"))?;
        }
        let stranger = seen.live.keys().find(|id| !units.contains_key(id));
        unless(stranger.is_none(), || format!("a unit that nobody began lives: {stranger:?}"))?;
        self.durable = self.durable.max(seen.end);
        Ok(())
    }

    /// Deferred apply: committed units, whole, once, in commit order, without what was taken
    /// back.
    fn committed(&self, units: &BTreeMap<u64, Unit>, seen: &Seen) -> Verdict {
        let mut order: Vec<_> =
            units.iter().filter(|(_, unit)| unit.outcome == Some(Outcome::Commit)).collect();
        order.sort_by_key(|(_, unit)| unit.commit);
        let records: Vec<(u64, Lsn, Lsn, &[u8])> = order
            .iter()
            .flat_map(|(id, unit)| {
                unit.effects().map(|(lsn, payload)| (**id, unit.commit, lsn, payload))
            })
            .collect();
        let at = |from: Lsn| records.partition_point(|(_, commit, ..)| *commit <= from);
        let due =
            &records[self.start(records.len(), at(self.snapshot), seen.from.map(at), seen)?..];
        for (seen, (id, commit, lsn, payload)) in seen.redo.iter().zip(due) {
            let same = seen.unit == *id && seen.lsn == *lsn && seen.payload == *payload;
            unless(same && seen.commit.is_some_and(|seen| seen <= *commit), || {
                format!("redo gives {seen:?} where {id:#x} {lsn}, committed at {commit}, is due")
            })?;
        }
        Ok(())
    }

    /// Repeat history: every record, once, in the order of the log.
    fn history(&self, units: &BTreeMap<u64, Unit>, seen: &Seen) -> Verdict {
        let mut records: Vec<(Lsn, u64, &[u8])> = units
            .iter()
            .flat_map(|(id, unit)| {
                unit.data.iter().map(|(lsn, payload, _)| (*lsn, *id, &**payload))
            })
            .collect();
        records.sort_unstable();
        let at = |from: Lsn| records.partition_point(|(lsn, ..)| *lsn < from);
        let due =
            &records[self.start(records.len(), at(self.snapshot), seen.from.map(at), seen)?..];
        for (seen, (lsn, id, payload)) in seen.redo.iter().zip(due) {
            let same = seen.unit == *id && seen.lsn == *lsn && seen.payload == *payload;
            unless(same, || format!("history gives {seen:?} where {id:#x} {lsn} is due"))?;
        }
        Ok(())
    }

    /// Which of the `all` records redo starts with: the one it was asked to start with; or one
    /// of its own choice, not behind what the embedder's files lack.
    fn start(
        &self,
        all: usize,
        lacks: usize,
        asked: Option<usize>,
        seen: &Seen,
    ) -> Result<usize, String> {
        let given = seen.redo.len();
        let start = asked.or(all.checked_sub(given));
        match start.filter(|start| *start <= lacks && start + given == all) {
            Some(start) => Ok(start),
            None => {
                Err(format!("redo gives {given} records of {all}, and {} are due", all - lacks))
            }
        }
    }

    /// Whether a unit is as it must be at the cut.
    fn judge(&self, unit: &Unit, live: Option<&Live>) -> Verdict {
        let repeats = self.discipline == Discipline::RepeatHistory;
        let begun = !unit.data.is_empty() || unit.gid.is_some() || unit.outcome.is_some();
        let Some(live) = live else {
            let may_be_gone = unit.ended || unit.undoing || !begun || {
                // Whoever dropped it ended it, and did not say where.
                unit.gid.is_none() && unit.outcome.is_none() && !repeats
            };
            return unless(may_be_gone, || format!("is gone: {unit:?}"));
        };
        unless(!unit.ended && begun, || format!("has ended, and lives: {live:?}"))?;
        let backing_out = repeats && (unit.undoing || unit.outcome == Some(Outcome::BackOut));
        let due = (unit.outcome, unit.gid.as_deref());
        let fits = match (live.outcome, live.gid.as_deref()) {
            (None, None) => backing_out || due == (None, None),
            (None, gid) => due == (None, gid),
            (outcome, _) => unit.outcome == outcome && !backing_out,
        };
        unless(fits, || format!("is {live:?}, and should be {due:?}"))?;
        if let Some(chain) = &live.chain {
            Self::chain(unit, chain)?;
        }
        let Some(effects) = &live.effects else { return Ok(()) };
        let mut due = unit.effects();
        for (lsn, payload) in effects {
            unless(due.next() == Some((*lsn, payload)), || {
                format!("has the effect {lsn} wrongly")
            })?;
        }
        // Undo goes backward: what is left of it is the oldest part.
        unless(unit.undoing || due.next().is_none(), || format!("lost effects: {effects:?}"))
    }

    /// I1: each record once, strictly descending.
    fn chain(unit: &Unit, chain: &[(Lsn, Kind)]) -> Verdict {
        unless(chain.is_sorted_by(|newer, older| newer.0 > older.0), || {
            format!("has a chain that does not descend: {chain:?}")
        })?;
        let data = chain.iter().rev().filter(|(_, kind)| *kind == Kind::Data).map(|it| it.0);
        unless(data.eq(unit.data.iter().map(|it| it.0)), || {
            format!("has other records than it was told: {chain:?}")
        })?;
        let prepared = chain.iter().filter(|(_, kind)| *kind == Kind::Prepare).count();
        unless(prepared == usize::from(unit.gid.is_some()), || {
            format!("has {prepared} PREPAREs: {chain:?}")
        })
    }
}
