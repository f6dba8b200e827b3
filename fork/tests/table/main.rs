//! The unit table alone, against a model that knows nothing but the records: random histories of
//! appends, moves, keypoints, trimming and crashes.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, which know how large their logs are and stop at the first surprise"
)]

mod checks;
mod history;
mod model;
mod wanted;

use history::{History, Op, ops};
use proptest::prelude::*;

/// Lives through a history; what was wrong, if anything was.
fn run(repeat: bool, ops: &[Op]) -> Result<(), String> {
    let mut history = History::new(repeat);
    for (index, op) in ops.iter().enumerate() {
        history.apply(*op).map_err(|what| format!("{index}: {op:?}: {what}"))?;
    }
    for op in [Op::Sync(255), Op::Crash(0)] {
        history.apply(op).map_err(|what| format!("at last, {op:?}: {what}"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_table_agrees_with_the_records(repeat: bool, ops in ops(120)) {
        let found = run(repeat, &ops);
        prop_assert!(found.is_ok(), "{}", found.unwrap_err());
    }
}

#[test]
fn a_directory_knows_of_records_that_lie_below_a_captured_head() {
    let ops = [
        Op::Keypoint(0),
        Op::Begin,
        Op::Data(0, 63),
        Op::Data(0, 63),
        Op::Keypoint(9),
        Op::Sync(255),
        Op::Crash(0),
    ];
    assert_eq!(run(false, &ops), Ok(()));
}

/// A unit that has committed in its first record and moved the second.
const MOVED: [Op; 8] = [
    Op::Begin,
    Op::Commit(0),
    Op::Data(0, 0),
    Op::Sync(255),
    Op::Move(0, 255),
    Op::Fork(0),
    Op::Sync(255),
    Op::Redo(2),
];

#[test]
fn the_extents_of_a_unit_are_listed_until_its_end_is_durable() {
    let ops = [MOVED.as_slice(), &[Op::Keypoint(0), Op::Keypoint(9), Op::Sync(255), Op::End(0)]];
    assert_eq!(run(false, &ops.concat()), Ok(()));
    let ops = [Op::Begin, Op::Data(0, 0), Op::Sync(255), Op::Move(0, 255), Op::Fork(0)];
    assert_eq!(run(false, &[ops.as_slice(), &[Op::Sync(255), Op::AbortEnd(0)]].concat()), Ok(()));
}

#[test]
fn a_restart_does_not_list_extents_that_a_redo_position_has_passed() {
    let ops = [
        MOVED.as_slice(),
        &[Op::Keypoint(0), Op::Keypoint(9), Op::Sync(255), Op::End(0), Op::Sync(255)],
        &[Op::Crash(0)],
    ];
    assert_eq!(run(false, &ops.concat()), Ok(()));
}

#[test]
fn a_redo_position_at_a_commit_has_not_passed_it() {
    let ops = [
        [Op::Begin, Op::Data(0, 0), Op::Sync(255), Op::Move(0, 255)].as_slice(),
        &[Op::Fork(0), Op::Commit(0), Op::Sync(255), Op::Redo(1)],
        &[Op::Keypoint(0), Op::Keypoint(9), Op::Sync(255), Op::End(0), Op::Sync(255)],
        &[Op::Crash(0)],
    ];
    assert_eq!(run(false, &ops.concat()), Ok(()));
}

#[test]
fn a_redo_position_frees_nothing_before_the_end_is_durable() {
    // Of KP_BEGIN, KP_END and END the first two become durable.
    let ops = [MOVED.as_slice(), &[Op::Keypoint(0), Op::Keypoint(9), Op::End(0), Op::Sync(170)]];
    assert_eq!(run(false, &ops.concat()), Ok(()));
}

/// Each wrong version of a decision that the table makes is seen.
#[cfg(feature = "seeded-bugs")]
mod seeded {
    use super::{History, Op, ops, run};
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    use siding_wal::seeded::{Bug, with};

    #[test]
    fn every_bug_of_the_table_is_found() {
        for bug in [
            Bug::EndUnpinsEarly,
            Bug::TrimBeforeForkDurable,
            Bug::EndDropsForkPin,
            Bug::FreeBeforeEndDurable,
            Bug::FreeAtEndNotAtRedo,
        ] {
            let mut runner = TestRunner::deterministic();
            let found = (0..3000).any(|_| {
                let ops = ops(120).new_tree(&mut runner).unwrap().current();
                with(bug, || run(false, &ops)).is_err()
            });
            assert!(found, "{bug:?} was not found");
        }
    }

    /// The shortest history in which END forgets what a fork record pins.
    #[test]
    fn an_end_behind_a_fork_record_pins_the_originals() {
        let ops = [
            Op::Begin,
            Op::Data(0, 1),
            Op::Data(0, 1),
            Op::Sync(255),
            Op::Keypoint(9),
            Op::Keypoint(9),
            Op::Keypoint(9),
            Op::Sync(255),
            Op::Move(0, 255),
            Op::Fork(0),
            Op::AbortEnd(0),
            Op::Trim,
        ];
        assert_eq!(run(false, &ops), Ok(()));
        let mut history = History::new(false);
        let found =
            with(Bug::EndDropsForkPin, || ops.iter().find_map(|op| history.apply(*op).err()));
        assert!(found.is_some());
    }
}
