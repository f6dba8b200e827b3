//! Can the rig see? Every bug that is seeded in the library is found by a short sweep, and where
//! no bug is, the same sweep finds nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

/// Without the feature there is nothing to ask: the answer is a constant.
#[cfg(not(feature = "seeded-bugs"))]
#[test]
fn no_bug_is_there_without_the_feature() {
    const THERE: bool = siding_wal::seeded!(AckBeforeSync);
    const { assert!(!THERE) };
}

#[cfg(feature = "seeded-bugs")]
mod calls;

#[cfg(feature = "seeded-bugs")]
mod found {
    use super::calls::{discipline, op_or_cut};
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    use siding_sim::Sweep;
    use siding_sim::disk::Fault;
    use siding_sim::oracle::Model;
    use siding_sim::scenario;
    use siding_sim::scenario::history::History;
    use siding_sim::sweep::{Choices, Report};
    use siding_wal::seeded::{Bug, is_seeded, with};
    use std::collections::BTreeSet;

    /// What is done to a scenario. The cheapest that finds the bug.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum By {
        /// A power cut or a kill at every boundary.
        OneCrash,
        /// Another one at every boundary of the restart behind it.
        TwoCrashes,
        /// Every call fails, once and for ever.
        FailingCalls,
    }
    use By::{FailingCalls, OneCrash, TwoCrashes};

    /// By which scenario a bug is found, what is done to it, and within how many disks.
    fn finder(bug: Bug) -> (&'static str, By, u64) {
        match bug {
            Bug::AckBeforeSync => ("append_commit", OneCrash, 20),
            Bug::RetriedFsync => ("keypoint_behind_a_segment_change", FailingCalls, 40),
            Bug::FillSyncIgnored => ("filled_in_steps", FailingCalls, 100),
            Bug::HeaderBeforeDurable => ("keypoint_behind_a_segment_change", OneCrash, 40),
            Bug::NoDirectorySync => ("prepare_segments", OneCrash, 100),
            Bug::RecycledNameUnsynced => ("recycle", FailingCalls, 50),
            Bug::RecycledHeaderUnsynced => ("recycle", OneCrash, 50),
            Bug::FoundNotSynced => ("append_commit", TwoCrashes, 500),
            Bug::FoundNameUnsynced => ("relaxed", TwoCrashes, 1_000),
            Bug::WrittenIsVouchedFor => ("several_batches", OneCrash, 40),
            Bug::StaleSegmentAccepted => ("stale_batches", OneCrash, 40),
            Bug::UnitBlockUnsynced => ("first_open", OneCrash, 20),
            Bug::EndUnpinsEarly => ("end_while_trimming", OneCrash, 60),
            Bug::TrimForgetsUnits => ("undo_of_old_units", OneCrash, 80),
            Bug::KeypointNotDurable => ("keypoints", OneCrash, 20),
            Bug::TrimPastKeypoint => ("redo_and_trim", OneCrash, 20),
            Bug::TrimForgetsCommits => ("deferred_apply", OneCrash, 150),
            Bug::KeypointForgetsCommitMinima => {
                ("keypoint_behind_a_segment_change", TwoCrashes, 2_000)
            }
            Bug::CleanMarkStays => ("append_commit", TwoCrashes, 500),
            Bug::CleanBeforeClose => ("clean_reopens", TwoCrashes, 1_000),
            Bug::ForkBeforeSync => ("fork_in_doubt", OneCrash, 200),
            Bug::TrimBeforeForkDurable => ("fork_not_durable", OneCrash, 400),
            Bug::NoSubtract => ("fork_in_doubt", OneCrash, 200),
            Bug::FreeBeforeEndDurable => ("fork_in_doubt", OneCrash, 200),
            Bug::SecondForkNoLink => ("fork_twice", OneCrash, 200),
            Bug::CompactFreeEarly => ("fork_compacted", OneCrash, 500),
            Bug::EndDropsForkPin => ("fork_not_durable", OneCrash, 400),
            Bug::FreeAtEndNotAtRedo => ("fork_and_commit", OneCrash, 200),
            Bug::NaiveCut => ("fork_frees", OneCrash, 200),
            Bug::NaiveCutTrim => ("fork_frees", OneCrash, 200),
            Bug::CopyNotDurable => ("fork_of_the_durable", OneCrash, 200),
            Bug::PartialForgetsRest => ("fork_partly", OneCrash, 200),
            Bug::MoveForgetsAppends => ("fork_while_appending", OneCrash, 200),
            Bug::KeypointForgetsCopies => ("fork_in_doubt", OneCrash, 200),
            Bug::SweepForgetsRedo => ("fork_and_commit", OneCrash, 200),
            Bug::SweepLeavesOrphans => ("fork_in_doubt", OneCrash, 200),
            other => panic!("{other:?} is for tests/backup/ or tests/restore/"),
        }
    }

    fn sweep(name: &str, by: By) -> Sweep<'static, Model> {
        let scenario = scenario::named(name);
        match by {
            OneCrash | FailingCalls => scenario.sweep(1).choices(Choices::few()),
            TwoCrashes => scenario.two_crashes(1),
        }
    }

    fn run(sweep: &Sweep<'static, Model>, by: By) -> Report {
        match by {
            OneCrash | TwoCrashes => sweep.power_cuts(),
            FailingCalls => sweep.io_errors(&[Fault::Eio]),
        }
    }

    #[test]
    fn every_bug_is_found_by_a_short_sweep() {
        for bug in Bug::ALL {
            let (name, by, within) = finder(bug);
            // The log that the scenario starts on was written by the same wrong code.
            let sweep = with(bug, || sweep(name, by).stop_after(1));
            let report = with(bug, || run(&sweep, by));
            println!("{bug:?}: {} disks of {name}, {by:?}", report.states);
            let Some(violation) = report.violations.first() else {
                panic!("{bug:?} is not found by {name}, {by:?}, {} disks", report.states);
            };
            let tried = report.states;
            assert!(
                tried <= within,
                "{bug:?} is found by {name} after {tried} disks:\n{violation}"
            );
            let again = with(bug, || sweep.replay(&violation.steps));
            assert!(again.is_err(), "{bug:?}: not repeated:\n{violation}");
        }
    }

    #[test]
    fn where_no_bug_is_the_same_sweeps_find_nothing() {
        let sweeps: BTreeSet<_> = Bug::ALL.map(finder).iter().map(|it| (it.0, it.1)).collect();
        for (name, by) in sweeps {
            run(&sweep(name, by), by).assert_clean();
        }
    }

    /// Two crashes are tried for a reason: one leaves these bugs unseen.
    #[test]
    fn what_needs_two_crashes_is_not_found_by_one() {
        for bug in Bug::ALL {
            let (name, by, _) = finder(bug);
            if by == TwoCrashes {
                let report = with(bug, || sweep(name, by).nested(0).power_cuts());
                assert_eq!(report.broken, 0, "{bug:?} is found by one crash of {name}");
            }
        }
    }

    /// Wrong moves that random histories show, without a crash at a chosen place.
    const BY_CHANCE: [Bug; 12] = [
        Bug::TrimForgetsUnits,
        Bug::TrimPastKeypoint,
        Bug::TrimForgetsCommits,
        Bug::ForkBeforeSync,
        Bug::NoSubtract,
        Bug::FreeBeforeEndDurable,
        Bug::SecondForkNoLink,
        Bug::FreeAtEndNotAtRedo,
        Bug::NaiveCut,
        Bug::NaiveCutTrim,
        Bug::KeypointForgetsCopies,
        Bug::SweepLeavesOrphans,
    ];

    #[test]
    fn random_histories_find_wrong_moves() {
        let mut runner = TestRunner::deterministic();
        let strategy = (prop::collection::vec(op_or_cut(), 1..80), discipline());
        let mut next = || {
            let (ops, discipline) = strategy.new_tree(&mut runner).unwrap().current();
            History { ops, discipline, moves: true }
        };
        let histories: Vec<History> = (0..100).map(|_| next()).collect();
        let holds = |history: &History| {
            let run = std::panic::AssertUnwindSafe(|| history.run().is_ok());
            std::panic::catch_unwind(run).is_ok_and(|held| held)
        };
        for bug in BY_CHANCE {
            let found = histories.iter().position(|it| !with(bug, || holds(it)));
            assert!(found.is_some(), "{bug:?} is not found by {} histories", histories.len());
        }
        assert!(histories.iter().all(holds), "and without a bug something is found");
    }

    #[test]
    fn bugs_are_listed_once_each() {
        for (place, bug) in Bug::ALL.into_iter().enumerate() {
            assert_eq!(bug as usize, place, "{bug:?}");
        }
    }

    #[test]
    fn a_bug_is_there_only_while_it_is_asked_for() {
        let there = || is_seeded(Bug::AckBeforeSync);
        assert!(!there());
        with(Bug::AckBeforeSync, || {
            assert!(there() && !is_seeded(Bug::RetriedFsync));
            with(Bug::RetriedFsync, || assert!(!there()));
            assert!(there());
            assert!(!std::thread::spawn(there).join().unwrap());
        });
        let broken = std::panic::catch_unwind(|| with(Bug::AckBeforeSync, || panic!("a bug")));
        assert!(broken.is_err() && !there());
    }
}
