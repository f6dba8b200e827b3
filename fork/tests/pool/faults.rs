//! A life of the pool, with the power cut in every call, and every call made to fail.

use crate::world::{Promised, World};
use siding_sim::disk::{Crash, FailedSync, Fault, Lasts};
use siding_sim::{SimDisk, Sweep, Trouble};
use std::sync::Arc;

/// What earlier opens left: live extents in several files, orphans, a unit that ends later.
fn before(how: FailedSync) -> (SimDisk, Promised) {
    let disk = SimDisk::new(11);
    disk.set_failed_sync(how);
    let mut world = World::new(disk);
    for unit in 1..6 {
        world.append(unit, &[100, 20, 3000]).unwrap();
    }
    world.sync().unwrap();
    world.append(2, &[9000, 9000]).unwrap();
    world.append(3, &[9000, 9000]).unwrap();
    world.sync().unwrap();
    world.append(4, &[500]).unwrap();
    world.sync_alone().unwrap();
    world.append(3, &[70, 70]).unwrap();
    world.sync().unwrap();
    world.crash(Crash::KeepAll);
    // Only of this open.
    let disk = world.disk.crash(Crash::KeepAll);
    (disk, world.promised())
}

/// Rounds of moves and a compaction; failures are taken as the mover takes them.
fn life(disk: &SimDisk, promised: &Promised) -> Promised {
    let mut world = World::go_on(disk.clone(), promised);
    for unit in [1, 7, 8] {
        if world.append(unit, &[200, 40]).is_err() {
            world.abandon(unit);
        }
    }
    let _ = world.sync();
    world.free(5);
    world.sweep_anyway();
    if world.compact(3, 2).is_ok() && world.sync().is_ok() {
        world.settle();
    }
    // Larger than what is gathered, and than a file.
    if world.append(9, &[30, 1_100_000, 30]).is_err() {
        world.abandon(9);
    }
    if world.append(10, &[30]).is_err() {
        world.abandon(10);
    }
    let _ = world.sync();
    world.free(2);
    // A compaction whose fork record never becomes durable: the old extents stay.
    if world.compact(1, 1).is_ok() {
        let _ = world.sync_alone();
    }
    world.free(9);
    if world.append(10, &[30]).is_err() {
        world.abandon(10);
    }
    let _ = world.sync();
    world.promised()
}

/// The next open finds everything; nothing is left over once it has swept.
fn check(disk: &SimDisk, promised: &mut Promised) -> Result<(), Trouble> {
    let mut world = World::go_on(disk.clone(), promised);
    *promised = world.promised();
    let units: Vec<u64> = world.live.keys().copied().collect();
    units.iter().try_for_each(|unit| world.read(unit))?;
    world.append(11, &[10])?;
    let synced = world.sync();
    *promised = world.promised();
    synced?;
    let found = world.pool.sweep(&world.newest())?;
    if found.problems > 0 {
        let what = world.pool.problems().into_iter().map(|problem| problem.what);
        return Err(Trouble::Refused(what.collect()));
    }
    world.swept();
    units.iter().try_for_each(|unit| world.read(unit))?;
    if !disk.is_off() && disk.troubles() == 0 {
        world.check_bytes();
    }
    Ok(())
}

fn sweep(how: FailedSync) -> Sweep<'static, Promised> {
    let (start, promised) = before(how);
    let scenario = move |disk: Arc<SimDisk>| life(&disk, &promised);
    Sweep::new("a life of the pool", start, scenario, |disk, promised| check(&disk, promised))
}

#[test]
fn no_power_cut_takes_what_was_synced() {
    let report = sweep(FailedSync::Lost).nested(1).nested_one_in(5).power_cuts();
    report.assert_clean();
    assert!(report.boundaries > 15 && report.nested > 500, "{report:?}");
}

#[test]
fn a_failed_call_voids_nothing_but_what_was_not_synced() {
    let modes = [FailedSync::Lost, FailedSync::Reverted, FailedSync::Scattered, FailedSync::Kept];
    for how in modes {
        let report = sweep(how).io_errors(&Fault::ALL);
        report.assert_clean();
        assert!(report.states > 500, "{report:?}");
    }
}

#[test]
fn after_a_failed_sync_its_file_is_left_alone() {
    // Every call that can fail before the sync of a round returns: what the round appended is
    // void, what was synced in the same file before is not, and the file is never written again.
    for nth in 0..2 {
        let mut world = World::new(SimDisk::new(5));
        let first = world.append(1, &[100]).unwrap();
        world.sync().unwrap();
        let second = world.append(2, &[100]).unwrap();
        assert_eq!(first.extent, second.extent);
        let calls = world.disk.calls();
        world.disk.fail(calls + nth, Fault::Eio, Lasts::Once);
        world.sync().unwrap_err();
        world.read(&1).unwrap();
        let third = world.append(2, &[100]).unwrap();
        assert!(third.extent > second.extent);
        world.sync().unwrap();
        let failed = siding_wal::format::extent_file_name(first.extent);
        let later = world.disk.trace().split_off(usize::try_from(calls + nth + 1).unwrap());
        assert!(later.iter().all(|call| *call.name != *failed), "{later:?}");
        world.check_reads();
    }
}

#[test]
fn one_failed_append_fails_the_round_of_those_who_believe_in_theirs() {
    let mut world = World::new(SimDisk::new(5));
    world.append(1, &[100]).unwrap();
    world.disk.fail(world.disk.calls(), Fault::Eio, Lasts::Once);
    world.append(2, &[1_100_000]).unwrap_err();
    world.abandon(2);
    // What unit 1 appended went the same way, and nobody has told it so far.
    world.sync().unwrap_err();
    assert!(world.live.is_empty());
    world.append(1, &[100]).unwrap();
    world.sync().unwrap();

    world.check_reads();
}

#[test]
fn a_round_that_gave_up_what_failed_leaves_nothing_to_the_next_one() {
    let mut world = World::new(SimDisk::new(5));
    // One unit gave up before, the other appended twice; both know.
    world.append(1, &[100]).unwrap();
    world.abandon(1);
    world.append(2, &[100]).unwrap();
    world.disk.fail(world.disk.calls(), Fault::Eio, Lasts::Once);
    world.append(2, &[1_100_000]).unwrap_err();
    assert!(world.files().is_empty(), "nothing is left behind");
    world.abandon(2);
    world.append(3, &[100]).unwrap();
    world.sync().unwrap();
    // A sync that failed was heard by all, whether or not they give theirs up.
    world.append(4, &[100]).unwrap();
    world.disk.fail(world.disk.calls() + 1, Fault::Eio, Lasts::Once);
    world.sync_alone().unwrap_err();
    world.append(5, &[100]).unwrap();
    world.sync().unwrap();
    world.check_reads();
    world.sweep();
    world.check_bytes();
}
