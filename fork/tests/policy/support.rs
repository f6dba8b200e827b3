//! A log to plan for, built segment by segment.

use siding_fork::policy::{Candidate, Policy, Round, Sealed, Settings, Situation};
use siding_wal::Lsn;
use siding_wal::format::{DirectoryEntry, UnitState};

/// Bytes of a segment.
pub(crate) const SIZE: u64 = 1000;

/// A log of sealed segments and live units, with room for everything.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) segments: Vec<(u64, Vec<DirectoryEntry>)>,
    pub(crate) units: Vec<Candidate>,
    pub(crate) free_below: Lsn,
    pub(crate) retained: u64,
    pub(crate) soft_limit: Option<u64>,
    pub(crate) budget: u64,
    pub(crate) room: u64,
    pub(crate) urgent: bool,
}

impl Log {
    /// Segments `first` and so on, as many as `count`, all of which could go.
    pub(crate) fn new(first: u64, count: u64) -> Self {
        let behind = first + count;
        Self {
            segments: (first..behind).map(|number| (number, Vec::new())).collect(),
            units: Vec::new(),
            free_below: Lsn::new(behind * SIZE),
            retained: count * SIZE,
            soft_limit: None,
            budget: u64::MAX,
            room: u64::MAX,
            urgent: false,
        }
    }

    /// An idle unit in flight with so many bytes in each of these segments, in one record each.
    pub(crate) fn idle(self, unit: u64, parts: &[(u64, u64)]) -> Self {
        self.unit(unit, UnitState::InFlight, Some(1_000_000), parts)
    }

    /// The same of a busy unit.
    pub(crate) fn busy(self, unit: u64, parts: &[(u64, u64)]) -> Self {
        self.unit(unit, UnitState::InFlight, Some(0), parts)
    }

    /// The same of a prepared one.
    pub(crate) fn in_doubt(self, unit: u64, parts: &[(u64, u64)]) -> Self {
        self.unit(unit, UnitState::InDoubt, Some(0), parts)
    }

    pub(crate) fn unit(
        mut self,
        unit: u64,
        state: UnitState,
        idle_ms: Option<u64>,
        parts: &[(u64, u64)],
    ) -> Self {
        for (number, bytes) in parts {
            let (oldest, newest) = ends(*number, unit);
            let entry = DirectoryEntry { unit, oldest, newest, count: 2, bytes: *bytes };
            // Behind the last segment: in the open one, which has no directory.
            if let Some(segment) = self.segments.iter_mut().find(|(it, _)| it == number) {
                segment.1.push(entry);
            }
        }
        self.units.push(Candidate {
            unit,
            state,
            floor: parts.first().map_or(Lsn::MAX, |(number, _)| ends(*number, unit).0),
            main_bytes: parts.iter().map(|(_, bytes)| bytes).sum(),
            idle_ms,
            held: false,
            moving: false,
        });
        self
    }

    /// The unit that was added last, to be changed.
    pub(crate) fn last(mut self, change: impl FnOnce(&mut Candidate)) -> Self {
        change(self.units.last_mut().unwrap());
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Plans with this policy.
    pub(crate) fn round_of(&self, policy: &mut Policy) -> Round {
        self.ask(|situation| policy.round(situation))
    }

    /// Plans with a policy that has not begun.
    pub(crate) fn round(&self) -> Round {
        self.round_of(&mut Policy::default())
    }

    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Situation<'_>) -> T) -> T {
        let segments: Vec<Sealed<'_>> = self
            .segments
            .iter()
            .map(|(number, directory)| Sealed { number: *number, directory })
            .collect();
        ask(&Situation {
            segment_size: SIZE,
            segments: &segments,
            free_below: self.free_below,
            retained: self.retained,
            soft_limit: self.soft_limit,
            units: &self.units,
            budget: self.budget,
            room: self.room,
            urgent: self.urgent,
        })
    }
}

/// Where a unit's oldest and newest record in a segment stand.
pub(crate) fn ends(number: u64, unit: u64) -> (Lsn, Lsn) {
    let start = number * SIZE + unit * 8 % (SIZE / 2);
    (Lsn::new(start), Lsn::new(start + SIZE / 2 - 8))
}

/// A policy that begins at one segment and takes whatever frees something.
pub(crate) fn eager() -> Policy {
    Policy::new(Settings { ratio: 0, high: 1, low: 1, ..Settings::default() })
}

/// What was planned, shortly: the units, each with the segment it is moved up to, or none if it
/// is moved whole.
pub(crate) fn short(round: &Round) -> Vec<(u64, Option<u64>)> {
    let one = |upto: Lsn| upto.get() / SIZE;
    round.plans.iter().map(|plan| (plan.unit, plan.upto.map(one))).collect()
}
