//! Updates that are in the log and not yet in the files.

use crate::support::{open, quiet, recover, redone};
use siding::{Lsn, PinKind, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

/// Log that nothing needs any more, but for what is in progress.
fn pass(log: &siding::Log) -> Result<()> {
    for _ in 0..40 {
        log.write(&[1; 8_000])?;
    }
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    Ok(())
}

#[test]
fn an_update_in_progress_holds_redo_and_recovery_point_and_is_named() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    let first = unit.update(7, b"first")?;
    let second = unit.update(9, b"second")?;
    unit.commit()?;
    assert!(first.lsn() < second.lsn() && first.object() == 7);
    pass(&log)?;
    assert_eq!(log.positions().redo, first.lsn());
    assert!(log.positions().oldest <= first.lsn());
    assert_eq!(log.recovery_point(&[]), first.lsn());
    assert_eq!(log.recovery_point(&[9]), second.lsn());
    assert_eq!(log.recovery_point(&[8]), log.positions().end);
    let pins = log.why_retained();
    let pin = pins.iter().find(|pin| pin.kind == PinKind::Update).expect("it is named");
    assert_eq!(pin.lsn, first.lsn());
    assert!(pin.owner.contains("object 7") && pin.owner.contains("in progress"), "{pin:?}");
    // The crash: redo starts below what was in progress, whatever was reported.
    let left = disk.crash(Crash::DropAll);
    assert_eq!(redone(&recover(&left)?)?[..2], [b"first".to_vec(), b"second".to_vec()]);

    first.done();
    assert_eq!(log.recovery_point(&[]), second.lsn());
    second.done();
    assert_eq!(log.recovery_point(&[]), log.positions().end);
    pass(&log)?;
    assert!(log.positions().oldest > Lsn::new(64 << 10), "{:?}", log.positions());
    log.close()
}

#[test]
fn a_guard_that_is_dropped_keeps_its_pin_and_says_so() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    let lsn = unit.update(7, b"lost")?.lsn();
    unit.commit()?;
    pass(&log)?;
    assert!(log.positions().oldest <= lsn);
    let pins = log.why_retained();
    let pin = pins.iter().find(|pin| pin.kind == PinKind::Update).expect("it is named");
    assert!(pin.owner.contains("dropped without done"), "{pin:?}");
    log.abandon();
    let log = quiet().open_on(Arc::new(disk))?.finish()?;
    pass(&log)?;
    assert!(log.positions().oldest > lsn, "redo was done: nothing is in progress any more");
    log.close()
}

#[test]
fn without_guards_the_recovery_point_is_what_was_reported() -> Result<()> {
    let log = open(&SimDisk::new(1))?;
    let committed = log.write(b"one")?;
    assert_eq!(log.recovery_point(&[]), Lsn::ZERO);
    log.redo_from(committed)?;
    assert_eq!(log.recovery_point(&[7]), committed);
    log.close()
}
