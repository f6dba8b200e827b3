//! Cursors over the whole log: at its end, behind its oldest record, over damage.

use crate::support::{open, quiet};
use siding::{Durability, ErrorKind, Log, Lsn, Result};
use siding_sim::SimDisk;
use std::sync::Arc;

#[test]
fn a_follower_may_start_where_a_segment_is_full() -> Result<()> {
    let log = open(&SimDisk::new(1).with_write_unit(4096))?;
    let mut before = Lsn::ZERO;
    while log.positions().durable < Lsn::new(64 << 10) {
        before = log.positions().durable;
        log.write(&[1; 400])?;
    }
    let full = log.positions().durable;
    assert_eq!(full, Lsn::new(64 << 10), "a segment is full, the next one not open");
    let mut follower = log.follow(full)?;
    let mut behind = log.follow(before)?;
    assert!(follower.next()?.is_none());
    log.write(b"next")?;
    let next = follower.next()?.expect("a record was written");
    assert_eq!(next.payload(), b"next");
    assert!(behind.next()?.expect("the last one of the full segment").lsn() < full);
    Ok(())
}

/// Writes and trims until nothing of the first segments is left.
fn go_on(log: &Log) -> Result<()> {
    for round in 1..=200 {
        let last = log.write(&[round; 4000])?;
        log.redo_from(last)?;
        if round % 8 == 0 {
            log.keypoint()?;
        }
    }
    assert!(log.positions().oldest > Lsn::new(256 << 10));
    Ok(())
}

#[test]
fn a_cursor_that_fell_behind_says_trimmed() -> Result<()> {
    let log = open(&SimDisk::new(1))?;
    for round in 0..40 {
        log.write(&[round; 4000])?;
    }
    let mut follower = log.follow(Lsn::ZERO)?;
    let mut records = log.records(Lsn::ZERO)?;
    assert!(follower.next()?.is_some() && records.next()?.is_some());
    go_on(&log)?;
    let error = loop {
        match follower.next() {
            Ok(record) => assert!(record.is_some(), "there is more, and it is gone"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Trimmed, "{error}");
    let error = loop {
        match records.next() {
            Ok(record) => assert!(record.is_some(), "there is more, and it is gone"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Trimmed, "{error}");
    assert_eq!(log.records(Lsn::new(1)).unwrap_err().kind(), ErrorKind::Trimmed);
    assert_eq!(log.follow(Lsn::new(1)).unwrap_err().kind(), ErrorKind::Trimmed);
    Ok(())
}

#[test]
fn a_cursor_never_ends_before_what_is_durable() -> Result<()> {
    let disk = SimDisk::new(1);
    let roomy = || quiet().segment_size(8 << 20).ring_size(8 << 20);
    let log = roomy().durability(Durability::Relaxed).open_on(Arc::new(disk.clone()))?.finish()?;
    let mut last = Lsn::ZERO;
    for round in 0..40 {
        last = log.write(&[round; 64 << 10])?;
    }
    // Batches that one sync makes durable: none can say that another was.
    log.ensure_durable(last)?;
    let segment = "0000000000000000.seg";
    let bytes = disk.contents(segment).expect("it is there");
    let mut sector = bytes[1024..1536].to_vec();
    sector[100] ^= 1;
    disk.overwrite(segment, 1024, &sector).unwrap();
    let mut records = log.records(Lsn::ZERO)?;
    let error = records.next().expect_err("the commit is damaged");

    assert_eq!((error.kind(), error.lsn()), (ErrorKind::Corrupt, Some(Lsn::new(512))), "{error}");
    let error = log.follow(Lsn::ZERO)?.next().expect_err("the commit is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    Ok(())
}
