//! Room: the quota with its reserve, a full disk, and how much more than what lives is kept.

use crate::world::{FILE_SIZE, World};
use siding_sim::{Rng, SimDisk};
use siding_wal::ErrorKind;

/// Appends and syncs small extents for new units until one is refused; returns why, and the last
/// unit that was taken.
fn fill(world: &mut World, first: u64) -> (siding_wal::Error, u64) {
    for unit in first.. {
        if let Err(error) = world.append(unit, &[300, 300]) {
            return (error, unit - 1);
        }
        world.sync().unwrap();
    }
    unreachable!()
}

#[test]
fn a_quota_that_is_full_refuses_moves_and_leaves_nothing_behind() {
    let quota = 4 * FILE_SIZE;
    let mut world = World::with_quota(SimDisk::new(1), Some(quota));
    let (error, last) = fill(&mut world, 1);
    assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
    let (calls, files) = (world.disk.calls(), world.files());
    assert!(files.values().sum::<u64>() <= quota - FILE_SIZE);
    assert!(files.values().sum::<u64>() > quota - FILE_SIZE - 8192, "as much as may be");
    world.append(last + 1, &[300, 300]).unwrap_err();
    assert_eq!((world.disk.calls(), world.files()), (calls, files), "nothing was touched");
    world.check_reads();

    // The reserve is there for copies that make room.
    world.sweep();
    (1..=last).filter(|unit| unit % 2 == 0).for_each(|unit| world.free(unit));
    world.append(last + 1, &[300, 300]).unwrap_err();
    world.compact(1, 9).unwrap();
    world.sync().unwrap();
    world.settle();
    assert!(world.files().values().sum::<u64>() <= quota);
    world.check_reads();
    // And a unit that ends gives room too.
    (1..=last).for_each(|unit| world.free(unit));
    world.append(last + 1, &[300]).unwrap();
    world.sync().unwrap();
    world.check_bytes();
}

#[test]
fn the_quota_counts_what_earlier_opens_left() {
    let quota = 4 * FILE_SIZE;
    let mut world = World::with_quota(SimDisk::new(1), Some(quota));
    let (_, last) = fill(&mut world, 1);
    let disk = world.disk.fork();
    world.reopen(disk);
    let error = world.append(last + 1, &[300, 300]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogFull);
    // What is found to be dead gives room.
    (1..=last).for_each(|unit| world.free(unit));
    world.append(last + 1, &[300, 300]).unwrap_err();
    world.sweep();
    world.append(last + 1, &[300]).unwrap();
    world.sync().unwrap();
    world.check_bytes();
}

#[test]
fn a_full_disk_refuses_an_append_and_the_others_stay_good() {
    let mut world = World::new(SimDisk::new(1));
    world.disk.set_capacity(Some(3 * FILE_SIZE));
    world.append(1, &[300]).unwrap();
    let calls = world.disk.calls();
    let error = world.append(2, &[300_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
    assert_eq!(world.disk.calls(), calls, "nothing was tried");
    world.sync().unwrap();
    let (error, last) = fill(&mut world, 3);
    assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
    assert!(last > 20);
    world.check_reads();
    world.free(3);
    world.free(4);
    world.disk.set_capacity(None);
    world.sweep();
    world.append(last + 1, &[300]).unwrap();
    world.sync().unwrap();
    world.check_bytes();
}

/// The overhead that is asked: a quarter of what lives, 128 bytes a unit, and one open file.
fn assert_small(world: &World, units: u64) {
    let stats = world.pool.stats();
    let most = stats.live_bytes + stats.live_bytes / 4 + 128 * units;
    assert!(stats.bytes <= most + FILE_SIZE, "{stats:?}");
}

#[test]
fn compaction_keeps_the_pool_small_while_units_come_and_go() {
    let mut world = World::new(SimDisk::new(1));
    world.sweep();
    let mut rng = Rng::new(3);
    let (mut copied, mut appended, mut next) = (0, 0, 1);
    for round in 0..300 {
        for _ in 0..8 {
            let lens = vec![rng.index(700); 1 + rng.index(3)];
            world.append(next, &lens).unwrap();
            next += 1;
        }
        world.sync().unwrap();
        appended += world.live.range(next - 8..).flat_map(|it| it.1).map(|it| it.len).sum::<u64>();
        let units: Vec<u64> = world.live.keys().copied().collect();
        // Most end soon, some stay for ever.
        for unit in units.into_iter().filter(|unit| unit % 7 != 0) {
            if rng.chance(1, 4) {
                world.free(unit);
            }
        }
        while let Some(units) = world.pool.worst() {
            for unit in &units {
                copied += world.pool.unit_bytes(*unit);
                world.compact(*unit, 50).unwrap();
            }
            world.sync().unwrap();
            world.settle();
        }
        assert_small(&world, wide(world.live.len()));
        if round % 50 == 0 {
            let disk = world.disk.fork();
            world.reopen(disk);
            world.sweep();
            assert!(world.pool.worst().is_none() || round == 0);
        }
    }
    world.check_reads();
    world.check_bytes();
    assert!(copied < 2 * appended, "{copied} bytes copied for {appended} appended");
}

fn wide(len: usize) -> u64 {
    siding_wal::format::wide(len)
}

#[test]
fn a_busy_unit_among_short_ones_is_compacted_with_them() {
    let mut world = World::new(SimDisk::new(1));
    world.sweep();
    for short in 2..200 {
        world.append(1, &[200]).unwrap();
        world.append(short, &[900]).unwrap();
        world.sync().unwrap();
        world.free(short);
        if let Some(units) = world.pool.worst() {
            assert_eq!(units, [1]);
            world.compact(1, 64).unwrap();
            world.sync().unwrap();
            world.settle();
        }
        assert_small(&world, 1);
    }
    world.check_reads();
    world.check_bytes();
}

#[test]
fn a_file_is_written_in_large_pieces_and_a_round_synced_once() {
    let mut world = World::new(SimDisk::new(1).with_write_unit(4096));
    for unit in 1..40 {
        world.append(unit, &[100]).unwrap();
    }
    world.sync().unwrap();
    let trace: Vec<String> = world.disk.trace().iter().map(ToString::to_string).collect();
    let name = "0000000100000001.ext";
    let expected = [
        format!("create {name}"),
        format!("write 16384 bytes at 0 of {name}"),
        format!("sync {name}"),
        "sync the directory".to_owned(),
    ];
    assert_eq!(trace, expected);
    world.sync().unwrap();
    assert_eq!(wide(trace.len()), world.disk.calls(), "nothing new, nothing to do");
}
