//! A restored log goes on: more work, moves, keypoints, crashes; it is backed up, and restored.

use crate::check::{Backup, back_up, expected, reopened, restored};
use crate::points::{history, targets};
use crate::world::World;
use siding::disk::Disk;
use siding::{Error, ErrorKind, Lsn, Result};
use siding_sim::Rng;

/// Restores, with the records up to there as the past of the restored log.
pub(crate) fn branch(world: &World, backup: &Backup, to: Lsn, seed: u64) -> Result<World> {
    let mut new = restored(world, backup, to, seed, &expected(world, to)?)?;
    new.before = world.records()?.0.into_iter().filter(|record| record.end <= to).collect();
    new.next = world.next;
    Ok(new)
}

/// Power goes; what the next open gives is held against what was durable.
fn crash(mut world: World) -> Result<World> {
    world.keep()?;
    let end = world.records()?.0.last().map_or(Lsn::ZERO, |last| last.end);
    let expected = expected(&world, end)?;
    world.log.abandon();
    let World { repeats, disk, file, archive, before, incarnation, next, .. } = world;
    let mut again = reopened(repeats, disk, file, next, incarnation, &expected)?;
    let mut archive = archive;
    archive.take(&again.disk);
    (again.archive, again.before, again.next) = (archive, before, next);
    Ok(again)
}

fn works(world: &mut World, steps: u64) -> Result<()> {
    for _ in 0..steps {
        world.step()?;
    }
    world.keep()
}

/// Restores to somewhere behind `from`, and goes on from there.
fn somewhere(world: &World, backup: &Backup, from: Lsn, rng: &mut Rng) -> Result<World> {
    let behind: Vec<Lsn> =
        targets(world, backup, rng, 20)?.into_iter().filter(|lsn| *lsn >= from).collect();
    let last = world.records()?.0.last().map_or(Lsn::ZERO, |last| last.end);
    let to = behind.last().copied().unwrap_or(last);
    branch(world, backup, to, rng.below(1 << 30))
}

/// A history, restored, in all the ways in which that can go on.
pub(crate) fn life(seed: u64) -> Result<()> {
    let (world, backup) = history(seed)?;
    let mut rng = Rng::new(seed);
    let mut new = somewhere(&world, &backup, Lsn::ZERO, &mut rng)?;
    let branched = new.before.last().map_or(Lsn::ZERO, |last| last.end);
    for _ in 0..rng.below(4) {
        let steps = rng.below(40);
        works(&mut new, steps)?;
        new = crash(new)?;
    }
    // The same backup again, along what was written since.
    let mut again = somewhere(&new, &backup, branched, &mut rng)?;
    works(&mut again, 20)?;
    crash(again)?;
    // A backup of the restored log.
    let (mut new, second) = back_up(new)?;
    works(&mut new, 40)?;
    let mut third = somewhere(&new, &second, Lsn::ZERO, &mut rng)?;
    works(&mut third, 30)?;
    let third = crash(third)?;
    let (mut third, backup) = back_up(crash(third)?)?;
    third.keep()?;
    let end = backup.manifest.end;
    branch(&third, &backup, end, seed)?;
    Ok(())
}

fn named(seed: u64, result: Result<()>) -> Result<()> {
    result.map_err(|error| Error::new(ErrorKind::Corrupt, format!("seed {seed}: {error}")))
}

#[test]
fn a_restored_log_goes_on_and_is_restored_again() -> Result<()> {
    // Behind 59: seeds that have found something.
    for seed in (0..60).chain([72]) {
        named(seed, life(seed))?;
    }
    Ok(())
}

/// Whether the power cuts see it.
#[cfg(feature = "seeded-bugs")]
fn broken_off() -> bool {
    let seen = || crate::steps::at_each_step(false).is_err();
    std::panic::catch_unwind(seen).unwrap_or(true)
}

/// Wrong decisions of a restore are seen by these tests.
#[cfg(feature = "seeded-bugs")]
#[test]
fn wrong_restores_are_found() {
    use siding_wal::seeded::{Bug, with};
    for bug in Bug::OF_RESTORE {
        let cut = matches!(bug, Bug::RestoreUnmarked | Bug::MarkGoneTooEarly);
        let found = (0..200).find(|seed| {
            with(bug, || {
                let lived = std::panic::catch_unwind(|| life(*seed).is_err()).unwrap_or(true);
                lived
                    || crate::points::below_the_end(*seed).is_err()
                    || (*seed == 0 && cut && broken_off())
            })
        });
        println!("{bug:?}: seed {found:?}");
        assert!(found.is_some(), "{bug:?} is not found");
    }
}

/// Once nothing of the copied stretch is kept the note of the restore goes.
#[test]
fn the_note_goes_with_the_log_it_is_about() -> Result<()> {
    let (world, backup) = history(4)?;
    let mut rng = Rng::new(4);
    let new = somewhere(&world, &backup, Lsn::ZERO, &mut rng)?;
    let there =
        |world: &World| world.disk.list().unwrap().iter().any(|(name, _)| name == "restored");
    assert!(there(&new));
    new.log.keypoint()?;
    assert!(there(&new), "headers of the copied log could speak again");
    for unit in new.log.in_doubt() {
        unit.back_out()?;
    }
    for unit in new.log.decided() {
        unit.end()?;
    }
    for _ in 0..2 {
        for _ in 0..20 {
            new.log.write(&[0; 8_000])?;
        }
        new.log.redo_from(new.log.positions().durable)?;
        new.log.keypoint()?;
    }
    assert!(!there(&new));
    Ok(())
}
