//! Restart against a model: any mix of work, keypoints, closes, crashes and failing calls, and
//! after each restart the log must say what its own records say from the beginning on.
//!
//! The model knows nothing of keypoints, trimming or segments: it keeps every record that ever
//! was durable, and replays all of them. What is checked, by the letters of the protocol's
//! invariants, stands in `check.rs`. `PROPTEST_CASES=5000 cargo test --test restart` runs more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]
#![allow(clippy::type_complexity, reason = "what a restart tells, in tuples")]

mod check;
mod ops;
mod reference;
#[path = "../support/mod.rs"]
mod support;
mod world;

use ops::{Op, Shape, ops, shape};
use proptest::prelude::*;
use world::World;

fn run(shape: &Shape, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut world = World::new(shape);
    for op in ops {
        world.step(op).map_err(|broken| TestCaseError::fail(format!("{op:?}: {broken}")))?;
    }
    world.finish().map_err(|broken| TestCaseError::fail(format!("at the end: {broken}")))
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 4000,
        ..ProptestConfig::with_cases(192)
    })]

    #[test]
    fn restart_says_what_the_records_say(shape in shape(), ops in ops()) {
        run(&shape, &ops)?;
    }
}
