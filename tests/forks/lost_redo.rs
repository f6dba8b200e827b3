//! Lost copies whose originals are still on the main log: redo reads those, and nothing trims them
//! before they are copied again, or not needed any more.

use crate::lost::{chain, doubt, extents, moved, open, pass, take};
use crate::support::{StillClock, quiet, redone};
use siding::{Log, Lsn, Options, PinKind, Recovery, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

fn options() -> Options {
    quiet().without_threads(StillClock::new()).forks(false)
}

fn recover(disk: &SimDisk) -> Result<Recovery> {
    options().open_on(Arc::new(disk.clone()))
}

/// As a kill leaves it.
fn killed(disk: &SimDisk, log: &Log) -> Result<SimDisk> {
    log.ensure_durable(log.positions().end)?;
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    Ok(left)
}

/// What is lost was looked for, and rebuilt if it can be.
fn settled(log: &Log) -> Result<()> {
    log.tick();
    log.ensure_durable(log.positions().end)?;
    log.tick();
    Ok(())
}

/// Twenty payloads of [`moved`].
fn payloads() -> Vec<Vec<u8>> {
    (0..20_u8).map(|number| vec![number; 500]).collect()
}

#[test]
fn redo_of_a_unit_whose_copies_are_lost_reads_the_originals() -> Result<()> {
    for decided in [false, true] {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        moved(&log)?;
        if decided {
            drop(doubt(&log).decide(siding::Outcome::Commit)?);
        } else {
            doubt(&log).commit()?;
        }
        let disk = killed(&disk, &log)?;
        let name = extents(&disk).pop().unwrap();
        take(&disk, &name);
        let recovery = recover(&disk)?;
        assert_eq!(redone(&recovery)?, payloads(), "{decided}");
        drop(recovery);
        assert_eq!(redone(&recover(&disk)?)?, payloads(), "once more: {decided}");
    }
    Ok(())
}

/// The older copies are there and their originals are not; of the newer ones it is the other way.
#[test]
fn redo_reads_copies_where_the_originals_are_gone_and_originals_where_the_copies_are() -> Result<()>
{
    for rot in [false, true] {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        let mut unit = log.begin()?;
        let mut written = Vec::new();
        for number in 0..50_u8 {
            unit.append(&[number; 900])?;
            written.push(vec![number; 900]);
        }
        // The fork record stands behind what is trimmed, and says where the older copies are.
        pass(&log)?;
        assert_eq!(log.fork(unit.id())?, 50);
        log.keypoint()?;
        assert!(log.positions().oldest >= Lsn::new(64 << 10), "{:?}", log.positions());
        let id = unit.id();
        drop(unit.prepare(b"stuck")?);
        // Another open writes to another file.
        log.close()?;
        let log = open(&disk)?;
        log.tick();
        let mut other = log.begin()?;
        other.append(b"between")?;
        assert_eq!(log.fork(id)?, 1);
        log.keypoint()?;
        doubt(&log).commit()?;
        other.commit()?;
        let disk = killed(&disk, &log)?;
        let newer = extents(&disk).pop().unwrap();
        assert_eq!(extents(&disk).len(), 2);
        if rot {
            disk.overwrite(&newer, 512 + 120, &[0xff; 3]).unwrap();
        } else {
            take(&disk, &newer);
        }
        let recovery = recover(&disk)?;
        written.push(b"between".to_vec());
        assert_eq!(redone(&recovery)?, written, "{rot}");
    }
    Ok(())
}

/// Redo may have to read the unit at every open, and only the originals have its records.
#[test]
fn originals_that_redo_needs_are_not_trimmed() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    for number in 0..20_u8 {
        unit.append(&[number; 500])?;
    }
    let id = unit.id();
    drop(unit.prepare(b"stuck")?);
    // The redo position passes them; the unit keeps them.
    pass(&log)?;
    assert_eq!(log.positions().oldest, Lsn::ZERO);
    log.fork(id)?;
    doubt(&log).commit()?;
    let disk = killed(&disk, &log)?;
    take(&disk, &extents(&disk)[0]);
    for _ in 0..3 {
        let log = open(&disk)?;
        log.keypoint()?;
        log.tick();
        let pins = log.why_retained();
        let pin = pins.iter().find(|pin| pin.kind == PinKind::Originals).expect("it is named");
        assert_eq!((pin.unit, pin.action), (Some(id), "report a later redo position"), "{pin:?}");
        assert!(log.positions().oldest < Lsn::new(64 << 10), "{:?}", log.positions());
        log.close()?;
        assert_eq!(redone(&recover(&disk)?)?[..20], payloads());
    }
    // Nobody needs them any more.
    let log = open(&disk)?;
    pass(&log)?;
    assert!(log.positions().oldest >= Lsn::new(64 << 10), "{:?}", log.positions());
    assert!(log.why_retained().iter().all(|pin| pin.kind != PinKind::Originals));
    log.close()
}

/// A log with its secondary log on another disk.
fn open_beside(disk: &SimDisk, other: &SimDisk) -> Result<Log> {
    options().secondary_on(Arc::new(other.clone())).open_on(Arc::new(disk.clone()))?.finish()
}

/// A unit whose originals nothing but its lost copies would need; the file is gone from `disk`, or
/// from `other`, where it was.
fn about_to_be_trimmed(other: Option<&SimDisk>) -> Result<(SimDisk, u64, crate::lost::Chain)> {
    let disk = SimDisk::new(1);
    let log = match other {
        Some(other) => open_beside(&disk, other)?,
        None => open(&disk)?,
    };
    log.tick();
    let mut unit = log.begin()?;
    for number in 0..20_u8 {
        unit.append(&[number; 500])?;
    }
    let id = unit.id();
    drop(unit.prepare(b"stuck")?);
    let before = chain(&log, id)?;
    pass(&log)?;
    log.fork(id)?;
    assert_eq!(log.positions().oldest, Lsn::ZERO);
    let disk = killed(&disk, &log)?;
    let beside = other.unwrap_or(&disk);
    take(beside, &extents(beside)[0]);
    Ok((disk, id, before))
}

#[test]
fn a_keypoint_before_the_first_look_leaves_originals_of_lost_copies() -> Result<()> {
    for close in [false, true] {
        let (disk, unit, before) = about_to_be_trimmed(None)?;
        let log = open(&disk)?;
        if close {
            log.close()?;
        } else {
            log.keypoint()?;
            log.abandon();
        }
        let log = open(&disk.crash(Crash::DropAll))?;
        settled(&log)?;
        assert_eq!(log.units()[0].problem, None, "{close}");
        assert_eq!(chain(&log, unit)?, before, "{close}");
        log.close()?;
    }
    Ok(())
}

#[test]
fn originals_are_kept_until_the_rebuilding_is_durable() -> Result<()> {
    let (disk, unit, before) = about_to_be_trimmed(None)?;
    let log = open(&disk)?;
    // The rebuilding, and a trim behind it; the fork record waits for a flush.
    log.tick();
    assert_eq!(log.rebuilt().len(), 1);
    let left = disk.crash(Crash::DropAll);
    log.ensure_durable(log.positions().end)?;
    log.tick();
    assert!(log.positions().oldest >= Lsn::new(64 << 10), "{:?}", log.positions());
    assert_eq!(chain(&log, unit)?, before);
    log.abandon();
    let log = open(&left)?;
    settled(&log)?;
    assert_eq!(log.units()[0].problem, None);
    assert_eq!(chain(&log, unit)?, before);
    log.close()
}

/// The disk of the secondary log is full: what cannot be rebuilt now can be later.
#[test]
fn originals_are_kept_while_there_is_no_room_for_a_rebuilding() -> Result<()> {
    let other = SimDisk::new(2);
    let (disk, unit, before) = about_to_be_trimmed(Some(&other))?;
    other.set_capacity(Some(0));
    let log = open_beside(&disk, &other)?;
    for _ in 0..3 {
        log.tick();
        log.keypoint()?;
    }
    let problem = log.units()[0].problem.clone().expect("it is named");
    assert!(problem.contains("not rebuilt: the disk of the secondary log is full"), "{problem}");
    let pins = log.why_retained();
    let pin = pins.iter().find(|pin| pin.kind == PinKind::Originals).expect("it is named");
    assert!(pin.unit == Some(unit) && pin.action.contains("make room"), "{pin:?}");
    assert_eq!(log.positions().oldest, Lsn::ZERO);
    other.set_capacity(None);
    log.tick();
    assert_eq!(log.rebuilt().len(), 1);
    log.keypoint()?;
    assert!(log.positions().oldest >= Lsn::new(64 << 10), "{:?}", log.positions());
    assert_eq!(chain(&log, unit)?, before);
    log.close()
}
