//! Can the rig see what goes wrong in a move? Each bug that is seeded there must be found.
#![cfg(feature = "seeded-bugs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use siding_sim::scenario::named;
use siding_sim::sweep::Choices;
use siding_wal::seeded::{Bug, with};

/// Every bug of a move, and the scenarios that show it.
const FOUND_BY: [(Bug, &str); 8] = [
    (Bug::ForkBeforeSync, "fork_in_doubt"),
    (Bug::TrimBeforeForkDurable, "fork_not_durable"),
    (Bug::NoSubtract, "fork_in_doubt"),
    (Bug::FreeBeforeEndDurable, "fork_in_doubt"),
    (Bug::SecondForkNoLink, "fork_twice"),
    (Bug::CompactFreeEarly, "fork_compacted"),
    (Bug::EndDropsForkPin, "fork_not_durable"),
    (Bug::FreeAtEndNotAtRedo, "fork_and_commit"),
];

#[test]
fn every_bug_of_a_move_is_found() {
    for (bug, name) in FOUND_BY {
        let sweep = named(name).sweep(1).stop_after(1).choices(Choices::default());
        let cuts = with(bug, || sweep.power_cuts());
        assert!(cuts.broken > 0, "{bug:?} is not found by {name}");
    }
}
