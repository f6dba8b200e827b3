//! Room: what a move that was given up took is given back, and what does not fit is not tried for
//! ever.

use crate::lost::{chain, extents};
use crate::support::{StillClock, quiet};
use siding::disk::Disk as _;
use siding::{ErrorKind, Log, Options, Result};
use siding_sim::SimDisk;
use std::sync::Arc;

fn options() -> Options {
    quiet().without_threads(StillClock::new()).forks(false)
}

/// A unit in doubt with so many records of 6,000 bytes.
fn stuck(log: &Log, records: usize, gid: &[u8]) -> Result<u64> {
    let mut unit = log.begin()?;
    for _ in 0..records {
        unit.append(&[7; 6_000])?;
    }
    let id = unit.id();
    drop(unit.prepare(gid)?);
    Ok(id)
}

fn extent_bytes(disk: &SimDisk) -> u64 {
    let names = disk.list().unwrap();
    names.iter().filter(|(name, _)| name.ends_with(".ext")).map(|(_, len)| *len).sum()
}

#[test]
fn a_move_that_does_not_fit_leaves_the_quota_as_it_was() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = options().max_secondary_bytes(900 << 10).open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let small = stuck(&log, 1, b"small")?;
    let big = stuck(&log, 300, b"big")?;
    assert_eq!(log.fork(big).unwrap_err().kind(), ErrorKind::LogFull);
    assert_eq!(extent_bytes(&disk), 0, "{:?}", extents(&disk));
    assert_eq!(log.fork(small)?, 2);
    assert_eq!(chain(&log, small)?.len(), 2);
    Ok(())
}

#[test]
fn a_move_that_does_not_fit_on_the_disk_leaves_it_as_it_was() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let big = stuck(&log, 300, b"big")?;
    let used: u64 = disk.list().unwrap().iter().map(|(_, len)| *len).sum();
    disk.set_capacity(Some(used + (900 << 10)));
    let before = disk.free_bytes();
    assert_eq!(log.fork(big).unwrap_err().kind(), ErrorKind::LogFull);
    assert_eq!((disk.free_bytes(), extent_bytes(&disk)), (before, 0));
    Ok(())
}

#[test]
fn what_does_not_fit_is_not_copied_in_vain_again_and_again() -> Result<()> {
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let options = quiet().keypoint_bytes(64 << 10).max_secondary_bytes(200 << 10);
    let options = options.without_threads(Arc::<StillClock>::clone(&clock));
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let unit = stuck(&log, 25, b"stuck")?;
    let before = disk.trace().len();
    for _ in 0..200 {
        log.write(&[1; 8_000])?;
        log.redo_from(log.positions().durable)?;
        clock.advance(20);
        log.tick();
    }
    let calls = disk.trace().split_off(before);
    let of_copies = calls.iter().filter(|call| call.name.ends_with(".ext"));
    let written: u64 = of_copies.map(|call| call.len).sum();
    assert!(written < 300 << 10, "{written} bytes written for 150,000 that do not fit");
    let pins = log.why_retained();
    let pin = pins.iter().find(|pin| pin.unit == Some(unit)).expect("it keeps the log");
    assert!(pin.action.contains("max_secondary_bytes"), "{}", pin.action);
    Ok(())
}

/// Units that were moved and backed out leave files nearly empty; one of them has also a unit that
/// committed, which redo may still have to read.
#[test]
fn extents_that_redo_needs_do_not_keep_other_files_from_compaction() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let mut live = Vec::new();
    let mut ended = None;
    for number in 0..6_u8 {
        let mut unit = log.begin()?;
        unit.append(&[number; 400])?;
        let mut gone = log.begin()?;
        for _ in 0..10 {
            gone.append(&[9; 6_000])?;
        }
        log.fork(unit.id())?;
        log.fork(gone.id())?;
        drop(gone);
        match number {
            0 => ended = Some(unit),
            _ => live.push(unit),
        }
    }
    ended.unwrap().commit()?;
    let before = extent_bytes(&disk);
    for _ in 0..20 {
        log.write(b"flushes")?;
        log.tick();
    }
    let after = extent_bytes(&disk);
    assert!(after <= 3 * (64 << 10), "{after} of {before} bytes for {} units", live.len() + 1);
    Ok(())
}

/// Under a quota a compaction has the reserve of one file, and what is free. A file with a unit
/// whose copies are more than that is left, and others are compacted.
#[test]
fn a_unit_that_does_not_fit_keeps_no_other_from_compaction() -> Result<()> {
    let quota = 2_420 << 10;
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let options = options().max_secondary_bytes(quota);
    let options = options.without_threads(Arc::<StillClock>::clone(&clock));
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    // The big unit, a piece in each of some files, beside others that are over soon.
    let mut big = log.begin()?;
    let (mut small, mut gone) = (Vec::new(), Vec::new());
    for number in 0..7_u8 {
        for _ in 0..40 {
            big.append(&[number; 6_000])?;
        }
        let mut over = log.begin()?;
        for _ in 0..10 {
            over.append(&[number; 6_000])?;
        }
        log.fork(over.id())?;
        log.fork(big.id())?;
        gone.push(over);
    }
    // And small ones, a few in each of some files.
    for number in 0..4_u8 {
        let mut one = log.begin()?;
        one.append(&[number; 400])?;
        let mut over = log.begin()?;
        for _ in 0..11 {
            over.append(&[9; 6_000])?;
        }
        log.fork(one.id())?;
        log.fork(over.id())?;
        small.push(one);
        gone.push(over);
    }
    let chains: Vec<_> =
        small.iter().chain([&big]).map(|unit| chain(&log, unit.id())).collect::<Result<_>>()?;
    drop(gone);
    let (start, before) = (disk.trace().len(), extent_bytes(&disk));
    for _ in 0..100 {
        clock.advance(1_000);
        log.write(b"flushes")?;
        log.tick();
        assert!(extent_bytes(&disk) <= quota, "{} bytes", extent_bytes(&disk));
    }
    let after = extent_bytes(&disk);
    let calls = disk.trace().split_off(start);
    let of_copies = calls.iter().filter(|call| call.name.ends_with(".ext"));
    let written: u64 = of_copies.map(|call| call.len).sum();
    assert!(written < 100 << 10, "{written} bytes written for what does not fit");
    assert!(after + 200_000 < before, "{after} of {before} bytes");
    let now: Vec<_> =
        small.iter().chain([&big]).map(|unit| chain(&log, unit.id())).collect::<Result<_>>()?;
    assert_eq!(now, chains);
    Ok(())
}
