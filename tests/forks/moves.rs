//! One unit is moved, and everything about it stays the same.

use crate::support::{StillClock, quiet};
use siding::{Kind, Log, Lsn, OwnedRecord, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

fn open(disk: &SimDisk) -> Result<siding::Recovery> {
    quiet().without_threads(StillClock::new()).open_on(Arc::new(disk.clone()))
}

fn shown(mut cursor: siding::Backward) -> Result<Vec<(Lsn, Kind, Vec<u8>)>> {
    let mut all = Vec::new();
    while let Some(record) = cursor.next()? {
        all.push((record.lsn(), record.kind(), record.payload().to_vec()));
    }
    Ok(all)
}

fn payloads(records: &[OwnedRecord]) -> Vec<&[u8]> {
    records.iter().map(OwnedRecord::payload).collect()
}

/// Passing work that fills more than a segment.
fn pass(log: &Log, times: usize) -> Result<()> {
    for _ in 0..times * 10 {
        log.write(&[1; 8_000])?;
    }
    Ok(())
}

#[test]
fn the_chain_of_a_moved_unit_is_the_same() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?.finish()?;
    let mut unit = log.begin()?;
    for number in 0..50_u8 {
        unit.append(&[number; 100])?;
        log.write(b"somebody else")?;
    }
    let before = shown(unit.records_backward()?)?;
    assert_eq!(log.fork(unit.id())?, 50);
    assert_eq!(shown(unit.records_backward()?)?, before);
    assert_eq!(log.fork(unit.id())?, 0, "there is nothing left to move");
    unit.append(b"behind the fork")?;
    log.ensure_durable(log.positions().end)?;
    let after = shown(unit.records_backward()?)?;
    assert_eq!((after.len(), &after[1..]), (51, &before[..]));
    assert_eq!(log.fork(unit.id())?, 1);
    assert_eq!(shown(unit.records_backward()?)?, after);
    let doubt = unit.prepare(b"gid")?;
    assert_eq!(shown(doubt.records_backward()?)?[1..], after[..]);
    let effects: Vec<OwnedRecord> = doubt.effects()?.owned().collect::<Result<_>>()?;
    let oldest_first: Vec<&[u8]> = after.iter().rev().map(|(_, _, bytes)| &bytes[..]).collect();
    assert_eq!(payloads(&effects), oldest_first);
    doubt.commit()?;
    Ok(())
}

#[test]
fn a_moved_unit_pins_no_log_and_survives_crashes() -> Result<()> {
    let mut disk = SimDisk::new(1);
    let log = open(&disk)?.finish()?;
    let mut unit = log.begin()?;
    for number in 0..20_u8 {
        unit.append(&[number; 500])?;
    }
    let id = unit.id();
    let doubt = unit.prepare(b"for ever")?;
    let before = shown(doubt.records_backward()?)?;
    pass(&log, 3)?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    assert_eq!(log.positions().oldest, Lsn::ZERO, "it is pinned");
    assert_eq!(log.fork(id)?, 21);
    log.keypoint()?;
    assert!(log.positions().oldest > Lsn::new(64 << 10), "{:?}", log.positions());
    assert_eq!(shown(doubt.records_backward()?)?, before);
    drop(doubt);
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    disk = left;
    for round in 0..3 {
        let recovery = open(&disk)?;
        let doubts = recovery.in_doubt();
        assert_eq!(doubts.len(), 1, "round {round}");
        assert_eq!(shown(doubts[0].records_backward()?)?, before);
        let log = recovery.finish()?;
        log.tick();
        pass(&log, 2)?;
        log.redo_from(log.positions().durable)?;
        log.keypoint()?;
        assert!(log.positions().oldest > Lsn::new(64 << 10), "{:?}", log.positions());
        let left = disk.crash(Crash::DropAll);
        drop(doubts);
        log.abandon();
        disk = left;
    }
    let recovery = open(&disk)?;
    let doubt = recovery.in_doubt().pop().unwrap();
    let effects: Vec<OwnedRecord> = doubt.effects()?.owned().collect::<Result<_>>()?;
    assert_eq!(effects.len(), 20);
    doubt.commit()?;
    Ok(())
}

/// The control file alone named the keypoint that knows of a unit whose records are all moved.
#[test]
fn a_moved_unit_is_found_without_the_control_file() -> Result<()> {
    use siding::disk::Disk as _;
    let disk = SimDisk::new(1);
    let log = open(&disk)?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"moved")?;
    let doubt = unit.prepare(b"for ever")?;
    log.fork(doubt.id())?;
    pass(&log, 1)?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    log.tick();
    assert!(disk.open("0000000000000000.seg").is_err(), "trimmed, and gone");
    let before = shown(doubt.records_backward()?)?;
    drop(doubt);
    log.close()?;
    disk.remove("control").unwrap();
    let look = siding::ReadOnly::open_on(Arc::new(disk.clone()), StillClock::new())?;
    assert_eq!(look.units().len(), 1);
    let doubts = open(&disk)?.in_doubt();
    assert_eq!(doubts.len(), 1);
    assert_eq!(shown(doubts[0].records_backward()?)?, before);
    Ok(())
}

#[test]
fn a_committed_unit_whose_records_were_moved_is_redone() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"first")?;
    unit.append(b"second")?;
    log.ensure_durable(log.positions().end)?;
    log.fork(unit.id())?;
    pass(&log, 3)?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    assert!(log.positions().oldest > Lsn::new(64 << 10));
    unit.append(b"third")?;
    unit.commit()?;
    let extents = |disk: &SimDisk| {
        use siding::disk::Disk as _;
        disk.list().unwrap().iter().filter(|(name, _)| name.ends_with(".ext")).count()
    };
    log.keypoint()?;
    log.tick();
    assert_eq!(extents(&disk), 1, "redo may need it");
    let disk = disk.crash(Crash::DropAll);
    let recovery = open(&disk)?;
    let redone: Vec<OwnedRecord> = recovery.committed()?.owned().collect::<Result<_>>()?;
    assert_eq!(payloads(&redone), [&b"first"[..], b"second", b"third"]);
    let log = recovery.finish()?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    log.tick();
    log.tick();
    assert_eq!(extents(&disk), 0, "nothing needs it any more");
    log.close()
}

#[test]
fn a_roll_back_reaches_across_a_fork() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"kept")?;
    let save = unit.savepoint();
    unit.append(b"undone first")?;
    log.ensure_durable(log.positions().end)?;
    log.fork(unit.id())?;
    unit.append(b"undone second")?;
    let mut undone = Vec::new();
    unit.roll_back_to(&save, |record| {
        undone.push(record.payload().to_vec());
        Ok(Vec::new())
    })?;
    assert_eq!(undone, [&b"undone second"[..], b"undone first"]);
    log.fork(unit.id())?;
    let doubt = unit.prepare(b"gid")?;
    let effects: Vec<OwnedRecord> = doubt.effects()?.owned().collect::<Result<_>>()?;
    assert_eq!(payloads(&effects), [b"kept"]);
    doubt.commit()?;
    log.close()
}
