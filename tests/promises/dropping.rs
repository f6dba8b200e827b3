//! Dropping handles, in any order and at any time.

use crate::support::{open, recover, redone};
use siding::{Lsn, Result};
use siding_sim::SimDisk;

#[test]
fn units_dropped_when_memory_was_full_do_not_keep_a_log_from_closing() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut bulk = log.begin()?;
    while log.positions().end < Lsn::new(62 << 10) {
        bulk.append(&[3; 1000])?;
    }
    // Nobody flushes here, so at some point a dropped unit finds no room for its ABORT.
    while log.units().len() < 3 {
        let mut unit = log.begin()?;
        unit.append(&[4; 300])?;
        drop(unit);
        assert!(log.positions().end < Lsn::new(1 << 20), "memory never was full");
    }
    drop(bulk);
    log.close()?;
    let recovery = recover(&disk)?;
    assert!(recovery.report().clean && recovery.in_flight().is_empty());
    assert!(redone(&recovery)?.is_empty());
    Ok(())
}
