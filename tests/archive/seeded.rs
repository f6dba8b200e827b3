//! Wrong archives are found: each seeded bug fails the test that is about it.

use crate::ship;
use siding::Result;
use siding_wal::seeded::{Bug, with};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The test that is about a bug.
fn test_of(bug: Bug) -> fn() -> Result<()> {
    match bug {
        Bug::PinBeforeShipped => {
            ship::what_fails_is_tried_again_later_and_later_and_the_log_is_kept
        }
        Bug::IndexBeforeSegment => {
            ship::whenever_the_power_goes_nothing_that_was_trimmed_is_missing
        }
        Bug::PruneBreaksChain => crate::prune::what_is_kept_can_be_restored_whenever_the_power_goes,
        Bug::PruneSegmentFirst => {
            crate::prune::what_is_kept_can_be_restored_whenever_the_power_goes
        }
        Bug::GapNotNoticed => ship::beyond_its_quota_the_pin_lets_go_and_the_gap_is_named,
        other => panic!("{other:?} is no bug of an archive"),
    }
}

#[test]
fn wrong_archives_are_found() {
    for bug in Bug::OF_ARCHIVE {
        let test = test_of(bug);
        let found = catch_unwind(AssertUnwindSafe(|| with(bug, test)));
        assert!(found.is_err() || found.is_ok_and(|it| it.is_err()), "{bug:?} is not found");
        assert!(test().is_ok(), "without {bug:?} it passes");
    }
}
