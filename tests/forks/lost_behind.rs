//! What a unit writes after moved records of it were lost for ever: it is moved like all else, and
//! what is lost stays named.

use crate::lost::{Chain, chain, doubt, extents, moved, open, pass, put, take};
use siding::{ErrorKind, Log, Lsn, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;

/// The newest records of the chain, up to the one that cannot be read, and the error.
fn readable(log: &Log, unit: u64) -> Result<(Vec<Vec<u8>>, siding::Error)> {
    let mut records = log.unit_records(unit)?;
    let mut seen = Vec::new();
    loop {
        match records.next() {
            Ok(record) => seen.push(record.expect("some are lost").payload().to_vec()),
            Err(error) => return Ok((seen, error)),
        }
    }
}

/// A decided unit whose 22 moved records are lost, the originals too; the name of the file, what
/// was in it, and the chain.
fn lost(disk: &SimDisk) -> Result<(u64, String, Vec<u8>, Chain)> {
    let log = open(disk)?;
    let (unit, _) = moved(&log)?;
    drop(doubt(&log).decide(siding::Outcome::Commit)?);
    assert_eq!(log.fork(unit)?, 1);
    let before = chain(&log, unit)?;
    pass(&log)?;
    log.close()?;
    let names = extents(disk);
    assert_eq!(names.len(), 1);
    let bytes = take(disk, &names[0]);
    Ok((unit, names[0].clone(), bytes, before))
}

#[test]
fn what_a_unit_with_lost_records_writes_on_does_not_keep_the_log() -> Result<()> {
    let disk = SimDisk::new(1);
    let (unit, name, bytes, mut whole) = lost(&disk)?;
    let mut newer: Vec<Vec<u8>> = Vec::new();
    for round in 0..3_u8 {
        let log = open(&disk)?;
        log.tick();
        let mut decided = log.decided().pop().unwrap();
        for number in 0..5_u8 {
            decided.append(&[10 * round + number; 300])?;
            newer.insert(0, vec![10 * round + number; 300]);
        }
        drop(decided);
        assert_eq!(log.fork(unit)?, 5);
        let end = log.positions().end;
        pass(&log)?;
        assert!(log.positions().oldest >= Lsn::new(end.get() / (64 << 10) * (64 << 10)));
        let check = |log: &Log| -> Result<()> {
            let (seen, error) = readable(log, unit)?;
            assert_eq!((seen, error.kind()), (newer.clone(), ErrorKind::Missing), "{error}");
            assert!(error.to_string().contains(&name), "{error}");
            let problem = log.units()[0].problem.clone().expect("it stays named");
            assert!(problem.contains("lost: 22 records, up to"), "{problem}");
            Ok(())
        };
        check(&log)?;
        log.ensure_durable(log.positions().end)?;
        let crashed = disk.crash(Crash::DropAll);
        let again = open(&crashed)?;
        again.tick();
        check(&again)?;
        log.close()?;
    }
    // The file is put back: the chain is whole again.
    put(&disk, &name, &bytes);
    let log = open(&disk)?;
    log.tick();
    assert_eq!(log.units()[0].problem, None);
    let payloads = chain(&log, unit)?.into_iter().map(|(_, _, payload)| payload);
    newer.extend(whole.drain(..).map(|(_, _, payload)| payload));
    assert_eq!(payloads.collect::<Vec<_>>(), newer);
    log.decided().pop().unwrap().end()
}

/// A bit of a body rots: the head of the extent, and all behind it, can be read.
#[test]
fn a_unit_with_a_rotten_extent_is_moved_and_not_committed() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    log.tick();
    let mut unit = log.begin()?;
    for number in 0..20_u8 {
        unit.append(&[number; 500])?;
    }
    assert_eq!(log.fork(unit.id())?, 20);
    pass(&log)?;
    let name = extents(&disk).pop().unwrap();
    disk.overwrite(&name, 512 + 200, &[0xff; 3]).unwrap();
    assert_eq!(chain(&log, unit.id()).unwrap_err().kind(), ErrorKind::Corrupt);
    unit.append(b"later")?;
    assert_eq!(log.fork(unit.id())?, 1);
    let (seen, error) = readable(&log, unit.id())?;
    assert_eq!((seen.len(), error.kind()), (1, ErrorKind::Corrupt), "{error}");
    let problem = log.units()[0].problem.clone().unwrap();
    assert!(problem.contains("lost: 20 records, from"), "{problem}");
    let error = unit.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("of its 21 moved records"), "{error}");
    assert!(log.units().is_empty(), "it was backed out");
    log.close()
}
