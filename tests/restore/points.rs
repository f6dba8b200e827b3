//! Every point, of histories of all kinds.

use crate::check::{Backup, back_up, expected, restored};
use crate::world::World;
use siding::disk::Disk;
use siding::{ErrorKind, Lsn, Result};
use siding_sim::{Rng, SimDisk};

/// A history with a backup in it, and more behind it.
pub(crate) fn history(seed: u64) -> Result<(World, Backup)> {
    let mut world = World::new(seed, seed % 2 == 1)?;
    for _ in 0..80 {
        world.step()?;
    }
    let (mut world, backup) = back_up(world)?;
    for _ in 0..2 {
        for _ in 0..50 {
            world.step()?;
        }
        if seed.is_multiple_of(3) {
            world = world.crash()?;
        }
    }
    world.keep()?;
    Ok((world, backup))
}

/// Some positions from the end of the backup on.
pub(crate) fn targets(
    world: &World,
    backup: &Backup,
    rng: &mut Rng,
    count: usize,
) -> Result<Vec<Lsn>> {
    let (records, _) = world.records()?;
    let end = backup.manifest.end;
    let all: Vec<Lsn> =
        records.iter().flat_map(|it| [it.lsn, it.end]).filter(|lsn| *lsn >= end).collect();
    let mut some = vec![end];
    for _ in 1..count.min(all.len()) {
        some.push(all[usize::try_from(rng.below(all.len() as u64)).unwrap()]);
    }
    Ok(some)
}

fn check(seed: u64) -> Result<u64> {
    let (world, backup) = history(seed)?;
    let mut rng = Rng::new(seed);
    let mut points = 0;
    for to in targets(&world, &backup, &mut rng, 6)? {
        let expected = expected(&world, to)?;
        restored(&world, &backup, to, seed, &expected).map_err(|error| {
            let what = format!("seed {seed}, to {to}, backup to {}: {error}", backup.manifest.end);
            siding::Error::new(ErrorKind::Corrupt, what)
        })?;
        points += 1;
    }
    Ok(points)
}

#[test]
fn a_restore_to_any_point_is_what_the_records_up_to_there_say() -> Result<()> {
    let mut points = 0;
    for seed in 0..60 {
        points += check(seed)?;
    }
    assert!(points > 300, "{points}");
    Ok(())
}

/// Every position below the end of a backup is refused, and nothing is written.
pub(crate) fn below_the_end(seed: u64) -> Result<()> {
    let (world, backup) = history(seed)?;
    let (records, batches) = world.records()?;
    let end = backup.manifest.end;
    let all = records.iter().flat_map(|it| [it.lsn, it.end]).chain(batches);
    for to in all.filter(|to| *to < end).chain([Lsn::ZERO, Lsn::new(end.get() - 1)]) {
        let disk = SimDisk::new(seed);
        let refused = backup.restore_log(&world.archive, world.incarnation, &disk, to).err();
        let kind = refused.map(|error| error.kind());
        if kind != Some(ErrorKind::Invalid) || !disk.list().unwrap().is_empty() {
            let what = format!("a restore to {to} below {end}: {kind:?}");
            return Err(siding::Error::new(ErrorKind::Corrupt, what));
        }
    }
    Ok(())
}

#[test]
fn every_point_below_the_end_of_the_backup_is_refused() -> Result<()> {
    (0..6).try_for_each(below_the_end)
}
