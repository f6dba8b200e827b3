//! The writer against the reference, whatever happens in whatever order.
//!
//! `PROPTEST_CASES=5000 cargo test -p siding-wal --test writer` runs more.

use crate::model::{Broken, World};
use crate::ops::{Op, Shape, ops, shape};
use proptest::prelude::*;

fn run(world: &mut World, ops: &[Op]) -> Result<(), TestCaseError> {
    for (index, op) in ops.iter().enumerate() {
        world.step(op).map_err(|broken| at(&format!("{index}: {op:?}"), broken))?;
    }
    Ok(())
}

fn at(place: &str, broken: Broken) -> TestCaseError {
    TestCaseError::fail(format!("{place}: {broken}"))
}

/// One life, a power cut, a second life, a clean end.
fn lives(shape: &Shape, lives: &[(Vec<Op>, u64)], last: &[Op]) -> Result<(), TestCaseError> {
    let mut world = World::new(shape);
    for (ops, seed) in lives {
        run(&mut world, ops)?;
        world = world.crash(*seed).map_err(|broken| at("after a crash", broken))?;
    }
    run(&mut world, last)?;
    world.finish().map_err(|broken| at("at the end", broken))
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(128)
    })]

    #[test]
    fn a_writer_keeps_what_it_promises(shape in shape(), ops in ops()) {
        lives(&shape, &[], &ops)?;
    }

    #[test]
    fn what_was_durable_is_found_after_each_crash(
        shape in shape(),
        before in prop::collection::vec((ops(), any::<u64>()), 1..3),
        last in ops(),
    ) {
        lives(&shape, &before, &last)?;
    }
}
