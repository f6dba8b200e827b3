//! Who keeps which segments, and what it costs to free them.

use super::situation::{Candidate, Plan, Sealed, Settings, Situation};
use siding_wal::Lsn;
use siding_wal::format::{DirectoryEntry, UnitState};
use std::collections::HashMap;

/// In which order units are moved, and which of them whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// In doubt, decided, backing out: no more will come, or little.
    Waiting,
    /// In flight, and nothing came for a while.
    Idle,
    /// More will come.
    Busy,
}

/// A unit's records in one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) segment: usize,
    bytes: u64,
    oldest: Lsn,
    /// Its newest record there; none if no directory knows.
    newest: Option<Lsn>,
}

/// A unit that keeps segments.
#[derive(Clone, Debug)]
pub(super) struct Holder<'a> {
    pub(super) unit: &'a Candidate,
    pub(super) class: Class,
    /// Where it has records, oldest first; never empty.
    pub(super) parts: Vec<Part>,
}

impl Holder<'_> {
    pub(super) fn first(&self) -> usize {
        self.parts.first().map_or(usize::MAX, |part| part.segment)
    }

    /// Bytes to copy so that it leaves all segments up to `last`.
    pub(super) fn bytes_upto(&self, last: usize) -> u64 {
        let parts = self.parts.iter().take_while(|part| part.segment <= last);
        let bytes = parts.fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        // Some of a part may have been moved already.
        bytes.min(self.unit.main_bytes)
    }

    fn is_whole(&self, mode: Mode) -> bool {
        mode == Mode::Whole && self.class != Class::Busy
    }

    pub(super) fn cost(&self, mode: Mode, last: usize) -> u64 {
        if self.is_whole(mode) { self.unit.main_bytes } else { self.bytes_upto(last) }
    }

    pub(super) fn plan(&self, mode: Mode, last: usize, size: u64) -> Plan {
        let behind = self.parts.partition_point(|part| part.segment <= last);
        let newest = behind.checked_sub(1).and_then(|index| self.parts.get(index)?.newest);
        let upto = newest.filter(|_| !self.is_whole(mode));
        let next = self.parts.get(behind).filter(|_| upto.is_some()).map(|part| {
            let number = part.oldest.get().checked_div(size).unwrap_or(0);
            (part.oldest, Lsn::new(number.saturating_mul(size)))
        });
        Plan { unit: self.unit.unit, upto, next }
    }
}

/// How units are moved of which no more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Whole.
    Whole,
    /// Partially, like busy ones: their younger records would cost more than they free.
    Partial,
}

/// Bytes to copy so that the segments up to each one go.
pub(super) struct Costs {
    whole: Vec<u64>,
    partial: Vec<u64>,
}

impl Costs {
    pub(super) fn new(holders: &[Holder<'_>], segments: usize) -> Self {
        let mut costs = Self { whole: vec![0; segments], partial: vec![0; segments] };
        for holder in holders {
            let mut before = 0_u64;
            for part in holder.parts.iter().filter(|part| part.segment < segments) {
                let upto = before.saturating_add(part.bytes).min(holder.unit.main_bytes);
                add(&mut costs.partial, part.segment, upto.saturating_sub(before));
                if !holder.is_whole(Mode::Whole) {
                    add(&mut costs.whole, part.segment, upto.saturating_sub(before));
                }
                before = upto;
            }
            if holder.is_whole(Mode::Whole) {
                add(&mut costs.whole, holder.first(), holder.unit.main_bytes);
            }
        }
        for sums in [&mut costs.whole, &mut costs.partial] {
            let mut sum = 0_u64;
            for cost in sums.iter_mut() {
                sum = sum.saturating_add(*cost);
                *cost = sum;
            }
        }
        costs
    }

    pub(super) fn of(&self, mode: Mode, last: usize) -> u64 {
        let sums = match mode {
            Mode::Whole => &self.whole,
            Mode::Partial => &self.partial,
        };
        sums.get(last).copied().unwrap_or(u64::MAX)
    }
}

fn add(sums: &mut [u64], index: usize, bytes: u64) {
    if let Some(sum) = sums.get_mut(index) {
        *sum = sum.saturating_add(bytes);
    }
}

pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Situation<'_> {
    /// How many of the sealed segments could go if no live unit held anything.
    pub(super) fn freeable(&self) -> usize {
        let below = |segment: &&Sealed<'_>| {
            let behind = segment.number.saturating_add(1).saturating_mul(self.segment_size);
            behind <= self.free_below.get()
        };
        self.segments.iter().take_while(below).count()
    }

    /// Every unit that keeps one of the first `freeable` segments, in the order of the
    /// candidates.
    pub(super) fn holders(&self, settings: &Settings, freeable: usize) -> Vec<Holder<'_>> {
        let mut all: Vec<Holder<'_>> = self
            .units
            .iter()
            .map(|unit| Holder { unit, class: class(unit, settings), parts: Vec::new() })
            .collect();
        let known: HashMap<u64, usize> =
            self.units.iter().enumerate().map(|(index, unit)| (unit.unit, index)).collect();
        for (segment, sealed) in self.segments.iter().enumerate() {
            for entry in sealed.directory {
                let Some(holder) = known.get(&entry.unit).and_then(|index| all.get_mut(*index))
                else {
                    continue;
                };
                if holder.unit.floor <= entry.newest {
                    let DirectoryEntry { oldest, newest, bytes, .. } = *entry;
                    holder.parts.push(Part { segment, bytes, oldest, newest: Some(newest) });
                }
            }
        }
        for holder in &mut all {
            self.believe_the_floor(holder);
        }
        all.retain(|holder| holder.first() < freeable);
        all
    }

    /// The floor is the truth. If the directory of its segment does not know of the unit, nobody
    /// knows where its records lie: then all of it is moved, or nothing.
    fn believe_the_floor(&self, holder: &mut Holder<'_>) {
        let floor = holder.unit.floor;
        let number = floor.get().checked_div(self.segment_size).unwrap_or(0);
        let segment = self.segments.partition_point(|sealed| sealed.number < number);
        if segment < holder.first() {
            let bytes = holder.unit.main_bytes;
            holder.parts = vec![Part { segment, bytes, oldest: floor, newest: None }];
        }
    }

    pub(super) fn bytes_of(&self, segments: usize) -> u64 {
        wide(segments).saturating_mul(self.segment_size)
    }

    /// More log is kept than there should be.
    pub(super) fn is_short(&self) -> bool {
        self.urgent || self.soft_limit.is_some_and(|limit| self.retained > limit)
    }
}

fn class(unit: &Candidate, settings: &Settings) -> Class {
    match (unit.state, unit.idle_ms) {
        (UnitState::InFlight, Some(idle)) if idle < settings.idle_ms => Class::Busy,
        (UnitState::InFlight, _) => Class::Idle,
        _ => Class::Waiting,
    }
}
