//! A full disk, and how fast a full secondary log is compacted.

use crate::lost::{chain, extents};
use crate::support::{StillClock, quiet, redone};
use siding::disk::Disk as _;
use siding::{ErrorKind, Log, Options, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

/// Nothing is moved for what it gains: only because the disk is full.
fn options() -> Options {
    quiet().without_threads(StillClock::new()).fork_benefit(1_000_000)
}

fn used(disk: &SimDisk) -> u64 {
    disk.list().unwrap().iter().map(|(_, len)| *len).sum()
}

/// A unit in doubt with so many records of 6,000 bytes.
fn stuck(log: &Log, records: usize) -> Result<u64> {
    let mut unit = log.begin()?;
    for _ in 0..records {
        unit.append(&[7; 6_000])?;
    }
    let id = unit.id();
    drop(unit.prepare(b"stuck")?);
    Ok(id)
}

/// Others commit and are stored, until there is no room or enough were.
fn pass(log: &Log, count: usize) -> Result<usize> {
    for number in 0..count {
        match log.write(&[1; 8_000]) {
            Ok(lsn) => log.redo_from(lsn)?,
            Err(error) if error.kind() == ErrorKind::LogFull => return Ok(number),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

/// Trim, then fork: the disk of both logs is full, and what holds the main log is moved.
#[test]
fn a_full_disk_moves_the_unit_that_holds_the_log() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let unit = stuck(&log, 5)?;
    let before = chain(&log, unit)?;
    // Too little for a segment is enough for the copies.
    disk.set_capacity(Some(used(&disk) + (440 << 10)));
    assert_eq!(pass(&log, 300)?, 300, "{:?}", log.positions());
    let moved = log.units().remove(0);
    assert_eq!((moved.unit, moved.records, moved.secondary_records), (unit, 0, 6));
    assert!(log.positions().oldest.get() > 1 << 20, "{:?}", log.positions());
    assert_eq!(chain(&log, unit)?, before);
    // What was moved for room is there after a crash.
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    let log = options().open_on(Arc::new(left))?.finish()?;
    assert_eq!(chain(&log, unit)?, before);
    log.close()
}

/// Then back-pressure: there is no room for the copies either. What lives can be ended, and that
/// makes room.
#[test]
fn a_disk_too_full_for_the_copies_refuses_new_work_alone() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let unit = stuck(&log, 100)?;
    log.ensure_durable(log.positions().end)?;
    disk.set_capacity(Some(used(&disk) + (300 << 10)));
    let passed = pass(&log, 300)?;
    assert!(passed < 100, "{passed} units passed");
    assert!(log.begin().and_then(|mut work| work.append(&[1; 8_000])).is_err());
    assert!(extents(&disk).is_empty(), "what was copied in vain is given back");
    let held = log.units().remove(0);
    assert_eq!((held.unit, held.records, held.secondary_records), (unit, 101, 0));
    assert!(log.is_failed().is_none());
    // In doubt it stays: nobody decides it for want of room. Then somebody does.
    assert_eq!(log.in_doubt().len(), 1);
    let lsn = log.in_doubt().remove(0).commit()?;
    log.redo_from(lsn)?;
    assert_eq!(pass(&log, 300)?, 300);
    log.close()?;
    let recovery = options().open_on(Arc::new(disk.clone()))?;
    assert!(redone(&recovery)?.iter().all(|payload| payload.len() == 8_000));
    Ok(())
}

/// A compaction copies at the pace of moves: a file's worth at a time, and then what time brings.
#[test]
fn a_compaction_keeps_to_the_pace_of_moves() -> Result<()> {
    const RATE: u64 = 20_000;
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let options = quiet().forks(false).fork_rate(RATE);
    let options = options.without_threads(Arc::<StillClock>::clone(&clock));
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    // In each file a unit that lives, and one that is over soon.
    let (mut live, mut gone) = (Vec::new(), Vec::new());
    for number in 0..20_u8 {
        let mut unit = log.begin()?;
        unit.append(&[number; 12_000])?;
        let mut over = log.begin()?;
        for _ in 0..9 {
            over.append(&[9; 6_000])?;
        }
        log.fork(unit.id())?;
        log.fork(over.id())?;
        live.push(unit);
        gone.push(over);
    }
    let chains: Vec<_> = live.iter().map(|unit| chain(&log, unit.id())).collect::<Result<_>>()?;
    drop(gone);
    log.ensure_durable(log.positions().end)?;
    let (start, bytes) = (disk.trace().len(), used(&disk));
    let written = || -> u64 {
        let calls = disk.trace().split_off(start);
        calls.iter().filter(|call| call.name.ends_with(".ext")).map(|call| call.len).sum()
    };
    for tick in 1..=200_u64 {
        clock.advance(100);
        log.write(b"flushes")?;
        log.tick();
        // A second's worth is there at once; a file's worth may be owed, and its padding.
        let most = RATE + tick * RATE / 10 + (16 << 10);
        assert!(written() <= most, "tick {tick}: {} bytes copied, of {most}", written());
    }
    assert!(written() > 150_000 && used(&disk) + (500 << 10) < bytes, "{} bytes", written());
    let now: Vec<_> = live.iter().map(|unit| chain(&log, unit.id())).collect::<Result<_>>()?;
    assert_eq!(now, chains);
    Ok(())
}
