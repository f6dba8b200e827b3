//! Disks that are full, or cannot be written.

use crate::support::{open, quiet, recover, redone};
use siding::disk::Disk;
use siding::{CommitError, Durability, Error, ErrorKind, Log, Options, Result};
use siding_sim::SimDisk;
use siding_sim::disk::{Fault, Lasts, Op};
use std::sync::Arc;

const FIRST: &str = "0000000000000000.seg";

/// A log that has acknowledged something, and has more on its way.
fn run(disk: &SimDisk, options: Options) -> Result<Log> {
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    log.write(b"acknowledged")?;
    log.ensure_durable(log.positions().end)?;
    Ok(log)
}

/// The number of the first call of this kind that `work` makes of the segment that is open.
fn call(options: impl Fn() -> Options, op: Op, work: impl Fn(&Log) -> Result<()>) -> Result<u64> {
    let disk = SimDisk::new(1);
    let log = run(&disk, options())?;
    let before = disk.calls();
    work(&log)?;
    let trace = disk.trace();
    let found = (before..).zip(&trace[usize::try_from(before).unwrap()..]);
    let mut found = found.filter(|(_, call)| call.op == op && &*call.name == FIRST);
    Ok(found.next().expect("there is such a call").0)
}

/// The error of a log that failed: what was being done, where, why, and what now.
fn assert_failed(error: &Error, what: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Failed, "{text}");
    assert!(text.contains(what) && text.contains("storage space"), "{text}");
    assert!(error.path().is_some() && error.advice().is_some(), "{text}");
}

/// A disk that is full at one call, and from there on or not, takes nothing that it acknowledged.
fn full_at(
    options: impl Fn() -> Options,
    op: Op,
    work: impl Fn(&Log) -> Result<()>,
    what: &str,
) -> Result<()> {
    let call = call(&options, op, &work)?;
    for lasts in [Lasts::Once, Lasts::ForEver] {
        let disk = SimDisk::new(1);
        let log = run(&disk, options())?;
        disk.fail(call, Fault::Enospc, lasts);
        let error = work(&log).expect_err("the disk is full");
        assert_failed(&error, what);
        assert_failed(&log.is_failed().expect("the log failed"), what);
        let late = log.write(b"late").expect_err("the log failed");
        assert!(matches!(late, CommitError::BackedOut(_)), "{late}");
        assert_failed(late.error(), what);
        log.abandon();
        // Room was made, and the log is opened again.
        let disk = disk.crash(siding_sim::disk::Crash::DropAll);
        let recovery = recover(&disk)?;
        let seen = redone(&recovery)?;
        assert_eq!(seen.first().map(Vec::as_slice), Some(&b"acknowledged"[..]));
        assert!(!seen.contains(&b"late".to_vec()));
        let log = recovery.finish()?;
        log.write(b"it goes on")?;
        log.close()?;
    }
    Ok(())
}

#[test]
fn a_disk_that_is_full_at_a_write_fails_the_log_and_takes_nothing() -> Result<()> {
    let work = |log: &Log| match log.write(b"unknown") {
        Err(CommitError::BackedOut(error)) => panic!("COMMIT was on its way: {error}"),
        other => Ok(other.map(drop)?),
    };
    full_at(quiet, Op::DurableWrite, work, "a batch cannot be written")
}

#[test]
fn a_disk_that_is_full_at_a_sync_fails_the_log_and_takes_nothing() -> Result<()> {
    let work = |log: &Log| {
        // Batches in three segments: each is left with a sync.
        for _ in 0..16 {
            log.write(&[1; 9_000])?;
        }
        log.ensure_durable(log.positions().end)
    };
    let relaxed = || quiet().ring_size(1 << 20).durability(Durability::Relaxed);
    full_at(relaxed, Op::Sync, work, "cannot be synced")
}

#[test]
fn a_disk_that_is_full_when_a_segment_is_prepared_refuses_new_work_alone() -> Result<()> {
    for fault in [Fault::Enospc, Fault::Edquot] {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        let mut unit = log.begin()?;
        unit.append(b"kept")?;
        disk.fail(disk.calls(), fault, Lasts::ForEver);
        // No commit: what is prepared takes memory alone, and every call of the disk fails.
        let error = loop {
            log.tick();
            match log.begin()?.append(&[1; 9_000]) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
        assert!(error.advice().is_some(), "{error}");
        let text = error.to_string();
        assert!(text.contains("prepare") && text.contains(".seg"), "{text}");
        assert!(log.is_failed().is_none());
        drop((unit, log));
    }
    Ok(())
}

#[test]
fn a_log_is_not_made_on_a_full_disk() {
    for fault in [Fault::Enospc, Fault::Edquot] {
        let disk = SimDisk::new(1);
        disk.fail(0, fault, Lasts::ForEver);
        let error = recover(&disk).expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
        assert!(error.path().is_some(), "{error}");
        // Nothing is in the way once there is room.
        assert!(open(&disk.fork()).and_then(|log| log.close()).is_ok());
    }
}

#[test]
fn a_full_disk_keeps_nobody_from_opening_and_ending_what_lives() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    for number in 0..4_u8 {
        let mut unit = log.begin()?;
        unit.append(&[number; 100])?;
        drop(unit.prepare(&[number + 1])?);
    }
    let mut bulk = log.begin()?;
    while bulk.append(&[9; 3_000]).is_ok() {
        log.tick();
        if log.positions().end.get() > 300 << 10 {
            let used: u64 = disk.list().unwrap().iter().map(|(_, len)| *len).sum();
            disk.set_capacity(Some(used));
        }
    }
    log.ensure_durable(log.positions().end)?;
    log.abandon();
    drop((bulk, log));
    // The spare is taken, and taken again as long as nothing was written to it.
    for _ in 0..4 {
        let log = open(&disk)?;
        assert_eq!(log.in_doubt().len(), 4);
        log.abandon();
    }
    let log = open(&disk)?;
    log.tick();
    let error = log.begin()?.append(&[9; 3_000]).expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
    for doubt in log.in_doubt() {
        doubt.commit()?;
    }
    log.close()?;
    let recovery = recover(&disk)?;
    let committed: Vec<_> = (0..4).map(|number| vec![number; 100]).collect();
    assert_eq!(redone(&recovery)?, committed);
    Ok(())
}

#[test]
fn a_read_only_directory_says_so() -> Result<()> {
    // One that holds no log.
    let disk = SimDisk::new(1);
    disk.fail(0, Fault::Erofs, Lasts::ForEver);
    let error = recover(&disk).expect_err("nothing can be made there");
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
    // One that holds a log, closed or not.
    for closed in [true, false] {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        log.write(b"kept")?;
        if closed {
            log.close()?
        } else {
            log.abandon()
        }
        drop(log);
        let disk = disk.fork();
        disk.fail(0, Fault::Erofs, Lasts::ForEver);
        let error = match recover(&disk) {
            Err(error) => error,
            Ok(_) => panic!("it takes a number for each open, and writes it down"),
        };
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
        assert!(error.path().is_some(), "{error}");
        assert_eq!(redone(&recover(&disk.fork())?)?, [b"kept"]);
    }
    Ok(())
}
