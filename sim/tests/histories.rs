//! The invariants of the log and its moves, over random histories: asked after every call, and
//! behind a crash at every boundary; and with the mover off every answer is the same.
//!
//! `SIDING_HISTORIES=100 cargo test -p siding-sim --test histories` runs a hundred times as many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod calls;

use calls::{discipline, op, op_or_cut};
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

proptest! {
    #![proptest_config(cases(400))]

    /// I1 to I8, I10, I12, L1 to L3 after every call or restart; I9 and L4 at the end.
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
        let (with, without) = (with.retained, without.retained);
        prop_assert!(with <= without + more, "{with} with moves, {without} without");
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

/// A trim removes many files, and the power goes before the directory is synced.
#[test]
fn removals_that_a_crash_undoes_are_made_again() {
    let mut ops = vec![Op::Fill; 16];
    ops.extend([Op::Store, Op::Keypoint, Op::PowerCut(7)]);
    let history = History { ops, discipline: Discipline::DeferredApply, moves: true };
    history.run().unwrap();
}
