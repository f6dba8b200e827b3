//! The policy against one that tries every prefix, in every way, and counts by hand.

use crate::support::{Log, SIZE, ends};
use proptest::prelude::*;
use siding_fork::policy::{Candidate, Effect, Policy, Round, Settings};
use siding_wal::format::UnitState;

const SEGMENTS: u64 = 6;

/// What a unit has in each segment, and in the open one.
type Parts = Vec<u64>;

#[derive(Clone, Debug)]
struct Drawn {
    state: UnitState,
    idle_ms: Option<u64>,
    parts: Parts,
    held: bool,
    moving: bool,
    /// Segments that it has left already.
    left: usize,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let state = prop::sample::select(vec![
        UnitState::InFlight,
        UnitState::InFlight,
        UnitState::InFlight,
        UnitState::InDoubt,
        UnitState::Committed,
        UnitState::BackingOut,
    ]);
    let bytes = prop_oneof![3 => Just(0_u64), 2 => 1..40_u64, 1 => 1..1500_u64];
    (
        state,
        prop::option::of(prop::sample::select(vec![0_u64, 20_000])),
        prop::collection::vec(bytes, SEGMENTS as usize + 1),
        prop::bool::weighted(0.06),
        prop::bool::weighted(0.06),
        prop_oneof![3 => Just(0_usize), 1 => 0..4_usize],
    )
        .prop_map(|(state, idle_ms, parts, held, moving, left)| Drawn {
            state,
            idle_ms,
            parts,
            held,
            moving,
            left,
        })
}

prop_compose! {
    fn log()(
        units in prop::collection::vec(drawn(), 0..7),
        free_below in 0..=SEGMENTS * SIZE,
        soft_limit in prop::option::weighted(0.3, 0..2 * SEGMENTS * SIZE),
        budget in prop_oneof![Just(u64::MAX), 0..3000_u64],
        room in prop_oneof![Just(u64::MAX), 0..3000_u64],
        urgent in prop::bool::weighted(0.2),
    ) -> Log {
        let mut log = Log::new(0, SEGMENTS);
        log.free_below = siding_wal::Lsn::new(free_below);
        (log.soft_limit, log.budget, log.room, log.urgent) = (soft_limit, budget, room, urgent);
        for (unit, drawn) in units.into_iter().enumerate() {
            log = put(log, unit as u64, &drawn);
        }
        log
    }
}

fn put(log: Log, unit: u64, drawn: &Drawn) -> Log {
    let parts: Vec<(u64, u64)> =
        (0..).zip(&drawn.parts).filter(|(_, bytes)| **bytes > 0).map(|(n, b)| (n, *b)).collect();
    let live = &parts[drawn.left.min(parts.len())..];
    if live.is_empty() {
        return log;
    }
    let log = log.unit(unit, drawn.state, drawn.idle_ms, &parts);
    log.last(|it| {
        it.floor = ends(live[0].0, unit).0;
        it.main_bytes = live.iter().map(|(_, bytes)| bytes).sum();
        (it.held, it.moving) = (drawn.held, drawn.moving);
    })
}

/// What the unit has in the segments from `from` to `to` that was not moved.
fn bytes_in(log: &Log, unit: &Candidate, from: u64, to: u64) -> u64 {
    let inside = |number: &u64| (from..=to).contains(number);
    let entries = log.segments.iter().filter(|(number, _)| inside(number));
    entries
        .flat_map(|(_, directory)| directory)
        .filter(|entry| entry.unit == unit.unit && entry.newest >= unit.floor)
        .map(|entry| entry.bytes)
        .sum()
}

fn keeps(log: &Log, unit: &Candidate, number: u64) -> bool {
    bytes_in(log, unit, number, number) > 0
}

fn rank(unit: &Candidate) -> u8 {
    match (unit.state, unit.idle_ms) {
        (UnitState::InFlight, Some(0)) => 2,
        (UnitState::InFlight, _) => 1,
        _ => 0,
    }
}

/// A way to free the segments up to `last`: the units, whole or not, and the bytes of each.
#[derive(Clone, Debug)]
struct Way {
    last: u64,
    moves: Vec<(u64, bool, u64)>,
    copied: u64,
}

/// Every way, the longer prefix first, and of the same length whole moves first.
fn ways(log: &Log, whole: bool, behind: u64) -> Vec<Way> {
    let mut all = Vec::new();
    for last in (0..behind).rev() {
        let mut inside: Vec<&Candidate> =
            log.units.iter().filter(|unit| bytes_in(log, unit, 0, last) > 0).collect();
        if inside.is_empty() || inside.iter().any(|unit| unit.held || unit.moving) {
            continue;
        }
        let first = |unit: &Candidate| (0..).find(|number| keeps(log, unit, *number));
        inside.sort_by_key(|unit| (rank(unit), first(unit), unit.unit));
        let moves: Vec<_> = inside
            .iter()
            .map(|unit| {
                let whole = whole && rank(unit) < 2;
                let bytes = if whole { unit.main_bytes } else { bytes_in(log, unit, 0, last) };
                (unit.unit, whole, bytes)
            })
            .collect();
        let copied = moves.iter().map(|(_, _, bytes)| bytes).sum();
        all.push(Way { last, moves, copied });
    }
    all
}

struct Oracle {
    kept: u64,
    first: u64,
    /// Due, were there no budget.
    due: Option<Way>,
    /// What is done of it within the budget; none if it does not reach.
    fits: Option<Way>,
}

fn oracle(log: &Log, settings: &Settings) -> Oracle {
    let behind = log.free_below.get() / SIZE;
    let first = (0..behind).find(|number| log.units.iter().any(|it| keeps(log, it, *number)));
    let first = first.unwrap_or(behind);
    let kept = behind - first;
    let short = log.urgent || log.soft_limit.is_some_and(|limit| log.retained > limit);
    let begins = if short { kept >= 1 } else { kept >= settings.high };
    if !begins {
        return Oracle { kept, first, due: None, fits: None };
    }
    let pays = |way: &&Way| {
        let freed = (way.last + 1 - first) * SIZE;
        way.copied <= log.room && (short || freed >= settings.ratio * way.copied)
    };
    let (whole, partial) = (ways(log, true, behind), ways(log, false, behind));
    let due = [&whole, &partial].into_iter().find_map(|ways| ways.iter().find(pays).cloned());
    let fits = due.as_ref().and_then(|due| {
        let same = if whole.iter().any(|way| pays(&way)) { &whole } else { &partial };
        let fit = |way: &&Way| way.last <= due.last && way.copied <= log.budget;
        same.iter().find(fit).or_else(|| partial.iter().find(fit)).cloned()
    });
    Oracle { kept, first, due, fits }
}

/// The log once these moves are durable.
fn apply(log: &Log, round: &Round) -> Log {
    let mut after = log.clone();
    for plan in &round.plans {
        let unit = after.units.iter_mut().find(|it| it.unit == plan.unit).unwrap();
        let left = log.segments.iter().find_map(|(number, directory)| {
            let entry = directory.iter().find(|entry| entry.unit == plan.unit)?;
            plan.upto.filter(|upto| entry.oldest > *upto).map(|_| ends(*number, plan.unit).0)
        });
        // Nothing left in sealed segments: what is left, if anything, is in the open one.
        unit.floor = left.unwrap_or(siding_wal::Lsn::new(SEGMENTS * SIZE));
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_plans_are_those_of_trying_everything(log in log()) {
        let settings = Settings::default();
        let (round, want) = (log.round(), oracle(&log, &settings));
        prop_assert_eq!(round.kept, want.kept);
        prop_assert_eq!(round.plans.is_empty(), want.due.is_none(), "{:?}", want.due);
        if let Some(way) = want.fits {
            let planned: Vec<(u64, bool)> =
                round.plans.iter().map(|plan| (plan.unit, plan.upto.is_none())).collect();
            let moves: Vec<(u64, bool)> = way.moves.iter().map(|it| (it.0, it.1)).collect();
            prop_assert_eq!(planned, moves);
            prop_assert_eq!(round.copied, way.copied);
            prop_assert_eq!(round.freed, (way.last + 1 - want.first) * SIZE);
        }
    }

    #[test]
    fn plans_keep_to_the_budget_and_do_what_they_say(log in log()) {
        let round = log.round();
        let after = apply(&log, &round);
        let mut copied = 0;
        for plan in &round.plans {
            let before = log.units.iter().find(|it| it.unit == plan.unit).unwrap();
            prop_assert!(!before.held && !before.moving);
            copied += match plan.upto {
                None => before.main_bytes,
                Some(upto) => bytes_in(&log, before, 0, upto.get() / SIZE),
            };
            let next = plan.next.map(|(next, start)| (next.get() / SIZE, start.get() / SIZE));
            let floor = after.units.iter().find(|it| it.unit == plan.unit).unwrap().floor;
            let left = Some(floor.get() / SIZE).filter(|it| *it < SEGMENTS && plan.upto.is_some());
            prop_assert_eq!(next, left.map(|number| (number, number)));
        }
        prop_assert_eq!(round.copied, copied);
        prop_assert!(copied <= log.budget || round.plans.len() == 1, "{} bytes", copied);
        prop_assert!(copied <= log.room);
        let first = |log: &Log| oracle(log, &Settings::default()).first;
        let freed = (first(&after) - first(&log)) * SIZE;
        if round.freed > 0 {
            // What lies behind the prefix may be nobody's.
            prop_assert!(round.freed <= freed, "{} said, {} freed", round.freed, freed);
        }
        if !round.plans.is_empty() {
            // Every plan is for a unit that keeps one of the segments that are to go.
            let due = oracle(&log, &Settings::default()).due.unwrap();
            for plan in &round.plans {
                prop_assert!(due.moves.iter().any(|it| it.0 == plan.unit), "{:?}", plan);
            }
        }
    }

    #[test]
    fn rounds_with_any_budget_come_to_an_end_and_free_what_is_due(log in log()) {
        let mut log = log;
        (log.room, log.urgent) = (u64::MAX, true);
        let mut policy = Policy::default();
        let due = oracle(&log, policy.settings()).due;
        let mut rounds = 0;
        loop {
            let round = log.round_of(&mut policy);
            if round.plans.is_empty() {
                break;
            }
            let after = apply(&log, &round);
            for (unit, before) in after.units.iter().zip(&log.units) {
                prop_assert!(unit.floor >= before.floor);
            }
            log = after;
            rounds += 1;
            prop_assert!(rounds < 100, "{:?}", log);
        }
        if let Some(due) = due {
            prop_assert!(oracle(&log, policy.settings()).first > due.last);
        }
    }

    #[test]
    fn costs_and_gains_are_those_of_a_unit_moved_alone(log in log()) {
        let effects = log.ask(|now| Policy::default().effects(now));
        let behind = log.free_below.get() / SIZE;
        let first = |units: &[&Candidate]| {
            (0..behind).find(|n| units.iter().any(|it| keeps(&log, it, *n))).unwrap_or(behind)
        };
        prop_assert_eq!(effects.len(), log.units.len());
        for (effect, unit) in effects.iter().zip(&log.units) {
            let all: Vec<&Candidate> = log.units.iter().collect();
            let others: Vec<&Candidate> =
                log.units.iter().filter(|it| it.unit != unit.unit).collect();
            let own = (0..behind).filter(|n| keeps(&log, unit, *n));
            let (segments, oldest) = (own.clone().count() as u64, own.clone().next());
            let gain = (first(&others) - first(&all)) * SIZE;
            let cost = oldest.map_or(0, |oldest| {
                let shared = |n: &u64| others.iter().any(|it| keeps(&log, it, *n));
                let next = (oldest..behind).find(shared).unwrap_or(behind);
                bytes_in(&log, unit, oldest, oldest.max(next.saturating_sub(1)))
            });
            let want = Effect { unit: unit.unit, oldest, segments, cost, gain };
            prop_assert_eq!(effect, &want);
        }
    }
}
