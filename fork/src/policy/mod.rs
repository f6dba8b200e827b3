//! When to move what: which units hold old segments, and whether moving them pays.
//!
//! Pure. The benefit of a round is segment bytes freed over bytes copied, for a *prefix* of the
//! sealed segments: trimming frees from the oldest on. The longest prefix that pays is taken.
//! Units of which no more will come are moved whole, busy ones only as far as the prefix goes.

mod holders;
mod situation;

pub use situation::{Candidate, Effect, Hindrance, Plan, Round, Sealed, Settings, Situation};

use holders::{Costs, Holder, Mode, Part, wide};
use std::collections::BTreeMap;

/// Decides when to move what. Remembers one thing: whether it is at it.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    settings: Settings,
    running: bool,
}

impl Policy {
    /// A policy that is not at it yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, running: false }
    }

    /// What the operator has chosen.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is to be moved now.
    ///
    /// The plans copy no more than the budget, unless the first of them cannot be made smaller.
    pub fn round(&mut self, now: &Situation<'_>) -> Round {
        let freeable = now.freeable();
        let holders = now.holders(&self.settings, freeable);
        let first = holders.iter().map(Holder::first).min().unwrap_or(freeable);
        let kept = wide(freeable.saturating_sub(first));
        self.running = match self.running || now.is_short() {
            true => kept >= self.settings.low.max(1),
            false => kept >= self.settings.high.max(1),
        };
        let mut round = Round { kept, ..Round::default() };
        if !self.running {
            return round;
        }
        let mut prefixes = Prefixes {
            now,
            ratio: self.settings.ratio,
            first,
            behind: freeable,
            costs: Costs::new(&holders, freeable),
            room: now.room,
        };
        let stays = |holder: &&Holder<'_>| holder.unit.held || holder.unit.moving;
        let stays = holders.iter().filter(stays).min_by_key(|it| (it.first(), it.unit.unit));
        if let Some(stays) = stays {
            prefixes.behind = stays.first();
            if prefixes.behind == first {
                let unit = stays.unit.unit;
                let held = stays.unit.held;
                let why = if held { Hindrance::Held(unit) } else { Hindrance::Moving(unit) };
                round.hindrance = Some(why);
                return round;
            }
        }
        match prefixes.due() {
            Some((mode, last)) => prefixes.fill(&mut round, holders, mode, last),
            None => {
                prefixes.room = u64::MAX;
                let needs = prefixes.due().map(|(mode, last)| prefixes.costs.of(mode, last));
                round.hindrance = Some(needs.map_or(Hindrance::NotWorth, Hindrance::NoRoom));
            }
        }
        round
    }

    /// What moving each unit would cost and gain, lowest number first.
    #[must_use]
    pub fn effects(&self, now: &Situation<'_>) -> Vec<Effect> {
        let freeable = now.freeable();
        let holders = now.holders(&self.settings, freeable);
        // How many units keep each segment, and one of them.
        let mut keepers = vec![(0_u64, 0_u64); freeable];
        for holder in &holders {
            for part in &holder.parts {
                if let Some(keeper) = keepers.get_mut(part.segment) {
                    *keeper = (keeper.0.saturating_add(1), holder.unit.unit);
                }
            }
        }
        let oldest = holders.iter().map(Holder::first).min().unwrap_or(freeable);
        let mut effects: BTreeMap<u64, Effect> = now
            .units
            .iter()
            .map(|unit| {
                let unit = unit.unit;
                (unit, Effect { unit, oldest: None, segments: 0, cost: 0, gain: 0 })
            })
            .collect();
        for holder in &holders {
            let (unit, first) = (holder.unit.unit, holder.first());
            let alone = |(count, one): &&(u64, u64)| *count == 0 || (*count, *one) == (1, unit);
            let leaves = keepers.iter().skip(first).take_while(alone).count();
            let last = first.saturating_add(leaves.saturating_sub(1));
            let in_reach = |part: &&Part| part.segment < freeable;
            let effect = Effect {
                unit,
                oldest: now.segments.get(first).map(|segment| segment.number),
                segments: wide(holder.parts.iter().filter(in_reach).count()),
                cost: holder.bytes_upto(last),
                gain: if first == oldest { now.bytes_of(leaves) } else { 0 },
            };
            effects.insert(unit, effect);
        }
        effects.into_values().collect()
    }
}

/// The prefixes of the sealed segments that could be freed.
struct Prefixes<'a> {
    now: &'a Situation<'a>,
    ratio: u64,
    /// The oldest segment that units alone keep.
    first: usize,
    /// Behind the last segment that may belong to a prefix.
    behind: usize,
    costs: Costs,
    room: u64,
}

impl Prefixes<'_> {
    fn freed(&self, last: usize) -> u64 {
        self.now.bytes_of(last.saturating_add(1).saturating_sub(self.first))
    }

    /// The longest prefix that pays and finds room, by its last segment.
    fn due(&self) -> Option<(Mode, usize)> {
        let longest = |mode| {
            (self.first..self.behind).rev().find(|last| {
                let copied = self.costs.of(mode, *last);
                let pays = self.freed(*last) >= self.ratio.saturating_mul(copied);
                copied <= self.room && (pays || self.now.is_short())
            })
        };
        longest(Mode::Whole)
            .map(|last| (Mode::Whole, last))
            .or_else(|| longest(Mode::Partial).map(|last| (Mode::Partial, last)))
    }

    /// Plans the moves that free the segments up to `last`, or what the budget allows of it.
    fn fill(&self, round: &mut Round, mut holders: Vec<Holder<'_>>, mode: Mode, last: usize) {
        let fits = |mode| {
            let fits = |last: &usize| self.costs.of(mode, *last) <= self.now.budget;
            (self.first..=last).rev().find(fits).map(|last| (mode, last))
        };
        let fitting = fits(mode).or_else(|| fits(Mode::Partial));
        let (mode, last) = fitting.unwrap_or_else(|| (mode, self.smallest(last)));
        holders.retain(|holder| holder.first() <= last);
        holders.sort_by_key(|holder| (holder.class, holder.first(), holder.unit.unit));
        let size = self.now.segment_size;
        for holder in &holders {
            // Of a unit that is too large, only what must go.
            let modes = [mode, Mode::Partial].map(|mode| (mode, holder.cost(mode, last)));
            let left = self.now.budget.saturating_sub(round.copied);
            let small_enough = modes.into_iter().find(|(_, cost)| *cost <= left);
            let at_least_one = modes.last().copied().filter(|_| round.plans.is_empty());
            if let Some((mode, cost)) = small_enough.or(at_least_one) {
                round.plans.push(holder.plan(mode, last, size));
                round.copied = round.copied.saturating_add(cost);
            }
        }
        if round.plans.len() == holders.len() {
            round.freed = self.freed(last);
        }
    }

    /// The shortest prefix whose freeing is a step, up to where the next one begins.
    fn smallest(&self, last: usize) -> usize {
        let cost = self.costs.of(Mode::Partial, self.first);
        let same = |last: &usize| self.costs.of(Mode::Partial, *last) == cost;
        (self.first..=last).take_while(same).last().unwrap_or(self.first)
    }
}
