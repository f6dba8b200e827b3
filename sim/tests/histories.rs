//! The invariants of the log and its moves, over random histories: asked after every call, and
//! behind a crash at every boundary; and with the mover off every answer is the same.
//!
//! `SIDING_HISTORIES=100 cargo test -p siding-sim --test histories` runs a hundred times as many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use proptest::prelude::*;
use siding::Discipline;
use siding_sim::scenario::history::{History, Op};
use siding_sim::sweep::Choices;

fn cases(cases: u32) -> ProptestConfig {
    let times: u32 = std::env::var("SIDING_HISTORIES").map_or(1, |times| times.parse().unwrap());
    ProptestConfig {
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases.saturating_mul(times))
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (8_u16..900).prop_map(Op::Begin),
        12 => (any::<u8>(), 8_u16..3_000).prop_map(|(unit, len)| Op::Append(unit, len)),
        3 => any::<u8>().prop_map(Op::Savepoint),
        3 => any::<u8>().prop_map(Op::RollBack),
        3 => any::<u8>().prop_map(Op::Commit),
        5 => any::<u8>().prop_map(Op::Prepare),
        2 => any::<(u8, bool)>().prop_map(|(unit, drop)| Op::BackOut(unit, drop)),
        3 => any::<(u8, bool, bool)>().prop_map(|(unit, commit, end)| {
            Op::Resolve(unit, commit, end)
        }),
        2 => any::<u8>().prop_map(Op::End),
        8 => any::<u8>().prop_map(Op::Fork),
        1 => any::<(u8, bool)>().prop_map(|(unit, hold)| Op::Hold(unit, hold)),
        4 => Just(Op::Fill),
        4 => Just(Op::Store),
        6 => Just(Op::Keypoint),
        4 => (0_u16..30_000).prop_map(Op::Tick),
        2 => Just(Op::Flush),
        2 => Just(Op::Restart),
        1 => Just(Op::Close),
    ]
}

fn op_or_cut() -> impl Strategy<Value = Op> {
    prop_oneof![20 => op(), 1 => any::<u64>().prop_map(Op::PowerCut)]
}

fn discipline() -> impl Strategy<Value = Discipline> {
    prop_oneof![Just(Discipline::DeferredApply), Just(Discipline::RepeatHistory)]
}

proptest! {
    #![proptest_config(cases(400))]

    /// I1 to I3, I5 to I8, I10, L1 to L3 after every call; I4 where a power cut takes any subset
    /// of what is not durable; I9 and L4 at the end.
    #[test]
    fn invariants_hold_after_every_call(
        ops in prop::collection::vec(op_or_cut(), 1..80),
        discipline in discipline(),
    ) {
        let history = History { ops, discipline, moves: true };
        history.run().map_err(|trouble| TestCaseError::fail(format!("{trouble:?}")))?;
    }

    /// I11: with the mover off every restart answers the same, and no less log is kept.
    #[test]
    fn moves_change_no_answer(
        ops in prop::collection::vec(op(), 1..80),
        discipline in discipline(),
    ) {
        let on = History { ops, discipline, moves: true };
        let off = History { moves: false, ..on.clone() };
        let fail = |trouble| TestCaseError::fail(format!("{trouble:?}"));
        let (with, without) = (on.run().map_err(fail)?, off.run().map_err(fail)?);
        prop_assert_eq!(with.answers, without.answers);
        // A fork record takes a write unit, and may be what begins a segment.
        let more = with.moves * 1_024 + (64 << 10);
        for (with, without) in with.retained.iter().zip(&without.retained) {
            prop_assert!(*with <= without + more, "{with} with moves, {without} without");
        }
    }
}

proptest! {
    #![proptest_config(cases(40))]

    /// Any history, crashed at every call of the disk: the oracle, and I4, I8, I9 and L4.
    #[test]
    fn a_history_survives_a_crash_at_every_boundary(
        ops in prop::collection::vec(op(), 10..30),
        discipline in discipline(),
        seed in any::<u64>(),
    ) {
        let history = History { ops, discipline, moves: true };
        let choices = Choices { random: 1, ..Choices::few() };
        let report = history.sweep(seed).choices(choices).stop_after(1).power_cuts();
        prop_assert_eq!(report.broken, 0, "{:?}", report.violations);
    }
}
