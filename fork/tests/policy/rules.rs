//! Each rule of the policy, by name.

use crate::support::{Log, SIZE, eager, ends, short};
use siding_fork::policy::{Effect, Hindrance, Policy, Round, Settings};
use siding_wal::Lsn;
use siding_wal::format::UnitState;

#[test]
fn a_log_that_no_unit_keeps_is_left_alone() {
    assert_eq!(Log::new(7, 5).round(), Round::default());
    assert_eq!(Log::new(7, 0).round(), Round::default());
    assert_eq!(Log::new(7, 5).busy(1, &[(12, 10)]).with(|it| it.urgent = true).round().kept, 0);
}

#[test]
fn one_stuck_unit_is_moved_and_frees_what_it_held() {
    let round = Log::new(7, 5).idle(1, &[(7, 10)]).round();
    assert_eq!(short(&round), [(1, None)]);
    assert_eq!((round.copied, round.freed, round.kept), (10, 5 * SIZE, 5));
}

#[test]
fn it_begins_at_the_high_water_mark_and_goes_on_to_the_low_one() {
    let one = Log::new(0, 1).idle(1, &[(0, 10)]);
    let two = Log::new(0, 2).idle(1, &[(0, 10)]);
    let none = Log::new(0, 1);
    let mut policy = Policy::default();
    assert_eq!(short(&one.round_of(&mut policy)), []);
    assert_eq!(short(&two.round_of(&mut policy)), [(1, None)]);
    assert_eq!(short(&one.round_of(&mut policy)), [(1, None)]);
    assert_eq!(short(&none.round_of(&mut policy)), []);
    assert_eq!(short(&one.round_of(&mut policy)), []);
}

#[test]
fn when_log_is_short_it_begins_at_the_first_segment() {
    let log = Log::new(0, 1).idle(1, &[(0, 10)]);
    assert_eq!(short(&log.clone().with(|it| it.urgent = true).round()), [(1, None)]);
    assert_eq!(short(&log.clone().with(|it| it.soft_limit = Some(SIZE - 1)).round()), [(1, None)]);
    assert_eq!(short(&log.with(|it| it.soft_limit = Some(SIZE)).round()), []);
}

#[test]
fn an_idle_unit_in_the_youngest_segments_alone_is_left_alone() {
    // The open segment is number 3; the last keypoint lies in segment 2.
    let log = Log::new(0, 3).idle(1, &[(1, 10), (2, 10), (3, 10)]);
    let log = log.with(|it| it.free_below = Lsn::new(2 * SIZE + 100));
    assert_eq!((short(&log.round()), log.round().kept), (vec![], 1));
    let young = Log::new(0, 3).idle(1, &[(2, 10), (3, 10)]);
    let young = young.with(|it| (it.free_below, it.urgent) = (Lsn::new(2 * SIZE + 100), true));
    assert_eq!(young.round(), Round::default());
}

#[test]
fn what_others_keep_counts_for_nothing() {
    let log = Log::new(0, 9).idle(1, &[(0, 300)]);
    assert_eq!(log.round().freed, 9 * SIZE);
    // The first segment that something else keeps is the one in which its position lies.
    for (position, freed) in [(3 * SIZE, 3), (4 * SIZE - 1, 3), (4 * SIZE, 4)] {
        let log = log.clone().with(|it| it.free_below = Lsn::new(position));
        let log = log.with(|it| it.urgent = true);
        assert_eq!(log.round().freed, freed * SIZE, "{position}");
    }
}

#[test]
fn segments_in_front_of_all_units_are_not_a_benefit() {
    let log = Log::new(0, 6).idle(1, &[(4, 501)]);
    assert_eq!(log.round().kept, 2);
    let why = log.round().hindrance;
    assert_eq!((short(&log.round()), why), (vec![], Some(Hindrance::NotWorth)));
    let log = Log::new(0, 6).idle(1, &[(2, 300)]).with(|it| it.soft_limit = Some(0));
    assert_eq!(log.round().freed, 4 * SIZE);
}

#[test]
fn an_entry_counts_while_the_floor_is_at_or_below_it() {
    let log = Log::new(0, 8).busy(1, &[(0, 10), (1, 10), (5, 10)]);
    let at = |floor: Lsn| log.clone().last(|it| it.floor = floor).round();
    let round = at(ends(1, 1).1);
    assert_eq!((short(&round), round.freed), (vec![(1, Some(5))], 7 * SIZE));
    assert_eq!(at(ends(5, 1).0).freed, 3 * SIZE);
    assert_eq!(at(ends(5, 1).1).freed, 3 * SIZE);
    assert_eq!(at(Lsn::new(8 * SIZE)).kept, 0);
}

#[test]
fn an_entry_of_a_unit_that_is_not_live_counts_for_nothing() {
    let log = Log::new(0, 8).idle(2, &[(3, 10)]).idle(1, &[(0, 10)]);
    let log = log.with(|it| it.units.truncate(1));
    assert_eq!((short(&log.round()), log.round().freed), (vec![(2, None)], 5 * SIZE));
}

#[test]
fn the_longest_prefix_that_pays_is_taken() {
    // The second unit is too large to pay for its own segment: the first one pays for both. The
    // third is too large for all of them, and for what lies behind it.
    let log = Log::new(0, 9).busy(1, &[(0, 20)]).busy(2, &[(1, 300)]).busy(3, &[(2, 900)]);
    let round = log.clone().with(|it| it.free_below = Lsn::new(2 * SIZE)).round();
    assert_eq!((short(&round), round.freed), (vec![(1, Some(0)), (2, Some(1))], 2 * SIZE));
    let round = log.with(|it| it.free_below = Lsn::new(4 * SIZE)).round();
    assert_eq!((round.plans.len(), round.freed), (2, 2 * SIZE));
}

#[test]
fn a_benefit_equal_to_the_ratio_pays_and_one_byte_less_does_not() {
    let log = |bytes| Log::new(0, 2).idle(1, &[(0, bytes)]);
    assert_eq!(short(&log(500).round()), [(1, None)]);
    assert_eq!(short(&log(501).round()), []);
    assert_eq!(log(501).round().hindrance, Some(Hindrance::NotWorth));
    let mut generous = Policy::new(Settings { ratio: 3, ..Settings::default() });
    assert_eq!(short(&log(501).round_of(&mut generous)), [(1, None)]);
}

#[test]
fn above_the_soft_limit_every_benefit_pays() {
    let log = Log::new(0, 4).idle(1, &[(0, 900), (1, 900), (2, 900), (3, 900)]);
    assert_eq!(short(&log.round()), []);
    let above = log.clone().with(|it| it.soft_limit = Some(it.retained - 1));
    assert_eq!((short(&above.round()), above.round().freed), (vec![(1, None)], 4 * SIZE));
    let below = log.with(|it| it.soft_limit = Some(it.retained));
    assert_eq!(short(&below.round()), []);
}

#[test]
fn when_the_log_is_full_every_benefit_pays() {
    let log = Log::new(0, 4).idle(1, &[(0, 900), (1, 900), (2, 900), (3, 900), (4, 9000)]);
    let log = log.with(|it| it.urgent = true);
    assert_eq!((short(&log.round()), log.round().freed), (vec![(1, None)], 4 * SIZE));
}

#[test]
fn waiting_units_come_first_then_idle_ones_then_busy_ones() {
    let log = Log::new(0, 9)
        .busy(1, &[(0, 10), (9, 1)])
        .idle(2, &[(0, 10), (9, 1)])
        .unit(3, UnitState::InFlight, None, &[(1, 10), (9, 1)])
        .in_doubt(4, &[(2, 10), (9, 1)])
        .unit(5, UnitState::Committed, Some(0), &[(1, 10), (9, 1)])
        .unit(6, UnitState::Aborted, Some(0), &[(1, 10), (9, 1)])
        .unit(7, UnitState::BackingOut, Some(0), &[(0, 10), (9, 1)]);
    let order = [(7, None), (5, None), (6, None), (4, None), (2, None), (3, None), (1, Some(0))];
    assert_eq!(short(&log.round()), order);
    assert_eq!(log.round().copied, 6 * 11 + 10);
}

#[test]
fn a_unit_is_idle_once_it_wrote_nothing_for_the_threshold() {
    let log = Log::new(0, 9).unit(1, UnitState::InFlight, Some(9_999), &[(0, 10), (9, 1)]);
    assert_eq!(short(&log.round()), [(1, Some(0))]);
    let log = log.last(|it| it.idle_ms = Some(10_000));
    assert_eq!(short(&log.round()), [(1, None)]);
}

#[test]
fn a_busy_unit_is_moved_up_to_its_newest_record_in_the_last_segment_freed() {
    let log = Log::new(0, 4).busy(1, &[(0, 10), (1, 10), (3, 2000), (4, 50)]);
    let log = log.with(|it| it.free_below = Lsn::new(4 * SIZE));
    let round = log.round();
    assert_eq!(round.plans.len(), 1);
    assert_eq!(round.plans[0].upto, Some(ends(1, 1).1));
    assert_eq!((round.copied, round.freed), (20, 3 * SIZE));
    // A directory knows what comes behind it; of the open segment none does.
    assert_eq!(round.plans[0].next, Some((ends(3, 1).0, Lsn::new(3 * SIZE))));
    let round = Log::new(0, 4).busy(1, &[(0, 10), (1, 10), (4, 50)]).round();
    assert_eq!((round.plans[0].upto, round.plans[0].next), (Some(ends(1, 1).1), None));
}

#[test]
fn an_idle_unit_whose_young_records_are_too_many_is_moved_partially() {
    let log = Log::new(0, 4).idle(1, &[(0, 10), (4, 100_000)]).in_doubt(2, &[(1, 10), (4, 90_000)]);
    assert_eq!(short(&log.round()), [(2, Some(1)), (1, Some(0))]);
    assert_eq!((log.round().copied, log.round().freed), (20, 4 * SIZE));
}

#[test]
fn a_held_unit_ends_the_prefix_in_front_of_its_first_segment() {
    let log = Log::new(0, 9)
        .in_doubt(1, &[(0, 10), (5, 10)])
        .in_doubt(2, &[(4, 10)])
        .last(|it| it.held = true)
        .in_doubt(3, &[(6, 10)]);
    assert_eq!((short(&log.round()), log.round().freed), (vec![(1, None)], 4 * SIZE));
    let log = log.in_doubt(4, &[(0, 10)]).last(|it| it.held = true);
    let round = log.with(|it| it.urgent = true).round();
    assert_eq!((short(&round), round.hindrance), (vec![], Some(Hindrance::Held(4))));
}

#[test]
fn a_unit_that_is_moving_is_not_moved_again_nor_is_what_lies_behind_it() {
    let log = Log::new(0, 9).in_doubt(1, &[(0, 10)]).in_doubt(2, &[(4, 10)]).last(|it| {
        it.moving = true;
    });
    assert_eq!((short(&log.round()), log.round().freed), (vec![(1, None)], 4 * SIZE));
    let log = log.in_doubt(3, &[(0, 10)]).last(|it| it.moving = true);
    let round = log.with(|it| it.urgent = true).round();
    assert_eq!((short(&round), round.hindrance), (vec![], Some(Hindrance::Moving(3))));
}

#[test]
fn the_longest_prefix_within_the_budget_is_taken() {
    let log =
        Log::new(0, 9).in_doubt(1, &[(0, 100)]).in_doubt(2, &[(2, 100)]).in_doubt(3, &[(4, 100)]);
    for (budget, units, freed) in [(300, 3, 9), (299, 2, 4), (200, 2, 4), (199, 1, 2), (100, 1, 2)]
    {
        let round = log.clone().with(|it| it.budget = budget).round();
        assert_eq!((round.plans.len(), round.freed), (units, freed * SIZE), "{budget}");
        assert!(round.copied <= budget);
    }
}

#[test]
fn one_segment_kept_by_many_is_left_by_as_many_as_the_budget_allows() {
    let log = (1..=10).fold(Log::new(0, 99), |log, unit| log.in_doubt(unit, &[(0, 30), (1, 30)]));
    let round = log.clone().with(|it| it.budget = 100).round();
    // The third has room for its first segment alone.
    assert_eq!(short(&round), [(1, None), (2, Some(0))]);
    assert_eq!((round.copied, round.freed), (90, 0));
    let round = log.with(|it| it.budget = 300).round();
    assert_eq!((round.plans.len(), round.freed, round.copied), (10, SIZE, 300));
    assert!(round.plans.iter().all(|plan| plan.upto.is_some()));
}

#[test]
fn a_unit_larger_than_the_budget_is_moved_segment_by_segment() {
    let log = Log::new(0, 99).in_doubt(1, &[(0, 300), (2, 300), (5, 300)]);
    let round = |budget| log.clone().with(|it| it.budget = budget).round();
    assert_eq!((short(&round(900)), round(900).freed), (vec![(1, None)], 99 * SIZE));
    assert_eq!((short(&round(899)), round(899).freed), (vec![(1, Some(2))], 5 * SIZE));
    assert_eq!((short(&round(599)), round(599).freed), (vec![(1, Some(0))], 2 * SIZE));
    // Not even one segment of it fits: it is moved all the same.
    assert_eq!((short(&round(0)), round(0).copied), (vec![(1, Some(0))], 300));
    assert_eq!(round(0).freed, 2 * SIZE);
}

#[test]
fn beyond_the_budget_there_is_one_plan_alone() {
    let log = Log::new(0, 99).in_doubt(1, &[(0, 300)]).in_doubt(2, &[(0, 300)]);
    let round = log.with(|it| it.budget = 10).round();
    assert_eq!((short(&round), round.copied, round.freed), (vec![(1, Some(0))], 300, 0));
}

#[test]
fn nothing_is_moved_that_does_not_find_room_for_all_that_frees_a_segment() {
    let log = Log::new(0, 99).in_doubt(1, &[(0, 300)]).in_doubt(2, &[(0, 300)]);
    let log = log.in_doubt(3, &[(4, 300)]);
    let round = |room| log.clone().with(|it| (it.room, it.urgent) = (room, true)).round();
    assert_eq!(round(900).freed, 99 * SIZE);
    assert_eq!((round(899).freed, round(600).freed), (4 * SIZE, 4 * SIZE));
    let why = round(599).hindrance;
    assert_eq!((short(&round(599)), why), (vec![], Some(Hindrance::NoRoom(900))));
    // The budget does not make it smaller.
    let small = log.clone().with(|it| (it.room, it.budget) = (599, 300));
    assert_eq!(short(&small.round()), []);
}

#[test]
fn a_unit_that_finds_no_room_whole_is_moved_partially() {
    let log = Log::new(0, 9).in_doubt(1, &[(0, 10), (9, 500)]).with(|it| it.room = 509);
    assert_eq!(short(&log.round()), [(1, Some(0))]);
}

#[test]
fn a_floor_that_no_directory_knows_is_believed() {
    let log = Log::new(0, 9).busy(1, &[(5, 10)]).last(|it| {
        (it.floor, it.main_bytes) = (Lsn::new(3 * SIZE + 1), 50);
    });
    let round = log.with(|it| it.budget = 10).round();
    assert_eq!((short(&round), round.copied), (vec![(1, None)], 50));
    assert_eq!((round.freed, round.kept), (6 * SIZE, 6));
    // In the open segment it is nobody's business.
    let log = Log::new(0, 9).busy(1, &[]).last(|it| it.floor = Lsn::new(9 * SIZE + 1));
    assert_eq!(log.round(), Round::default());
}

#[test]
fn a_floor_within_a_segment_costs_what_is_left_there() {
    // Were it 700 bytes, they would not pay.
    let log = Log::new(0, 2).busy(1, &[(0, 700)]).last(|it| it.main_bytes = 40);
    assert_eq!(log.round().copied, 40);
    assert_eq!(log.ask(|now| Policy::default().effects(now))[0].cost, 40);
}

#[test]
fn the_same_situation_gives_the_same_plans_whatever_the_order_of_the_units() {
    let mut log = Log::new(0, 9);
    for unit in 1..=20 {
        log = log.in_doubt(unit, &[(unit % 4, 10), (unit % 4 + 1, 10)]);
    }
    let round = log.clone().with(|it| it.budget = 200).round();
    let turned = log.with(|it| {
        it.units.reverse();
        it.segments.iter_mut().for_each(|(_, directory)| directory.reverse());
        it.budget = 200;
    });
    assert_eq!(turned.round(), round);
}

#[test]
fn numbers_at_their_limits_do_no_harm() {
    let log = Log::new(0, 3).in_doubt(1, &[(0, u64::MAX)]).busy(2, &[(0, u64::MAX)]);
    let log = log.with(|it| (it.urgent, it.budget) = (true, 0));
    assert_eq!(log.round_of(&mut eager()).copied, u64::MAX);
    let log = log.with(|it| it.segments = vec![(u64::MAX, it.segments[0].1.clone())]);
    assert_eq!(log.round_of(&mut eager()).kept, 0);
}

#[test]
fn why_says_what_each_unit_would_cost_and_gain() {
    let log = Log::new(3, 9)
        .in_doubt(5, &[(6, 40), (12, 1)])
        .idle(4, &[(3, 10), (4, 20), (7, 30)])
        .busy(1, &[(6, 50), (7, 60), (8, 1)])
        .idle(2, &[(12, 70)])
        .idle(3, &[(9, 5), (10, 5)]);
    let effect = |unit, oldest, segments, cost, gain| Effect { unit, oldest, segments, cost, gain };
    let want = [
        // Another unit is in the same segment: what it has there, and it gains nothing alone.
        effect(1, Some(6), 3, 50, 0),
        // In the open segment.
        effect(2, None, 0, 0, 0),
        // Nobody else from there on, and an older unit keeps it all.
        effect(3, Some(9), 2, 10, 0),
        // It keeps the oldest segment, alone up to the sixth.
        effect(4, Some(3), 3, 30, 3 * SIZE),
        effect(5, Some(6), 1, 40, 0),
    ];
    assert_eq!(log.ask(|now| Policy::default().effects(now)), want);
    // A unit that stays where it is keeps log like any other.
    let held = log.with(|it| it.units[1].held = true);
    assert_eq!(held.ask(|now| Policy::default().effects(now)), want);
}
