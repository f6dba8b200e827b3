//! What a keypoint must carry.

use crate::support::{quiet, recover, redone};
use siding::{Durability, Log, Lsn, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

/// Commits that are not waited for: what they append may be in memory alone.
fn relaxed(disk: &SimDisk) -> Result<Log> {
    quiet().durability(Durability::Relaxed).open_on(Arc::new(disk.clone()))?.finish()
}

#[test]
fn a_keypoint_knows_of_commits_in_a_segment_that_is_not_open_yet() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = relaxed(&disk)?;
    let mut old = log.begin()?;
    old.append(b"precious")?;
    let mut redo = Lsn::ZERO;
    while log.positions().end < Lsn::new(70 << 10) {
        redo = log.write(&[1; 400])?;
        log.tick();
    }
    log.ensure_durable(redo)?;
    log.redo_from(redo)?;
    while log.positions().end < Lsn::new(128 << 10) {
        log.write(&[2; 200])?;
    }
    log.ensure_durable(log.positions().durable)?;
    // Placed in segment 2, whose header is not written before the next flush.
    let committed = old.commit()?;
    assert!(committed > Lsn::new(128 << 10) && log.positions().durable <= Lsn::new(128 << 10));
    log.keypoint()?;

    let first = disk.crash(Crash::KeepAll);
    let log = relaxed(&first)?;
    log.keypoint()?;
    let second = first.crash(Crash::KeepAll);
    let seen = redone(&recover(&second)?)?;
    assert!(seen.iter().any(|payload| payload == b"precious"), "{:?}", log.why_retained());
    Ok(())
}
