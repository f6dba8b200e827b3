//! A restored log is archived beside the history it left: a later restore can choose either.

use crate::after::branch;
use crate::check::{expected, reopened};
use crate::driver::{archive, archived, carried_out, shipped};
use crate::points::targets;
use crate::world::World;
use siding::archive::{Target, Wanted};
use siding::{ErrorKind, Lsn, RestoreOptions, Result, plan_restore};
use siding_sim::{Rng, SimDisk};

/// Restores to the end of a history, and holds it against what that history says.
fn end_of(world: &World, sink: &siding::sink::DirectorySink, wanted: &Wanted) -> Result<Lsn> {
    let plan = plan_restore(sink, wanted)?;
    let disk = SimDisk::new(3);
    let (file, _) = carried_out(sink, &plan, &disk, &RestoreOptions::new())?;
    let due = expected(world, plan.target)?;
    reopened(world.repeats, disk, file, 3, world.incarnation, &due)?;
    Ok(plan.target)
}

fn life(seed: u64) -> Result<()> {
    let (mut old, backup) = archived(seed)?;
    let mut rng = Rng::new(seed);
    let at = targets(&old, &backup, &mut rng, 2)?.pop().unwrap();
    let mut new = branch(&old, &backup, at, seed)?;
    assert!(new.incarnation > old.incarnation);
    archive(&new, &backup.sink)?;
    for _ in 0..40 {
        new.step()?;
    }
    shipped(&mut new)?;
    // The old one had not quite ended.
    for _ in 0..10 {
        old.step()?;
    }
    shipped(&mut old)?;
    let last = |world: &World| -> Result<Lsn> {
        let (records, _) = world.records()?;
        Ok(records.last().map_or(Lsn::ZERO, |last| last.end))
    };
    let newest = end_of(&new, &backup.sink, &Target::End.into())?;
    assert!(newest >= last(&new)?, "{newest}");
    let of_old = Wanted { incarnation: Some(old.incarnation), ..Target::End.into() };
    let older = end_of(&old, &backup.sink, &of_old)?;
    assert!(older >= last(&old)?, "{older}");
    // Behind the branch a position is one of the history that was asked for, or none.
    for to in targets(&old, &backup, &mut rng, 3)?.into_iter().filter(|to| *to > at) {
        let wanted = Wanted { incarnation: Some(old.incarnation), ..Target::Lsn(to).into() };
        assert_eq!(end_of(&old, &backup.sink, &wanted)?, to);
        match plan_restore(&backup.sink, &Target::Lsn(to).into()) {
            Ok(plan) => assert!(plan.reachable.incarnation >= new.incarnation),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
    Ok(())
}

#[test]
fn histories_that_went_apart_are_restored_each_by_itself() -> Result<()> {
    for seed in 0..16 {
        life(seed).map_err(|error| {
            siding::Error::new(ErrorKind::Corrupt, format!("seed {seed}: {error}"))
        })?;
    }
    Ok(())
}
