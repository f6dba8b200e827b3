//! Opening a log with other options than it was created with, and often.

use crate::support::{open, quiet, recover, redone};
use siding::disk::Disk;
use siding::{Discipline, ErrorKind, Lsn, Result};
use siding_sim::SimDisk;
use siding_wal::format::ControlSlot;
use std::sync::Arc;

#[test]
fn a_write_unit_that_leaves_no_room_in_the_log_s_segments_is_refused() -> Result<()> {
    for (unit, fits) in [(16 << 10, true), (32 << 10, false), (64 << 10, false), (128 << 10, false)]
    {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        log.write(b"before")?;
        log.close()?;
        // The segment size that is asked for is that of a new log; this one keeps its own.
        let other = quiet().segment_size(4 << 20).write_unit(unit);
        match other.open_on(Arc::new(disk.clone())) {
            Ok(recovery) => {
                assert!(fits, "a write unit of {unit}");
                recovery.finish()?.close()?;
            }
            Err(error) => {
                assert!(!fits, "{error}");
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                assert!(error.advice().is_some(), "{error}");
            }
        }
        let recovery = recover(&disk)?;
        assert_eq!(redone(&recovery)?, [b"before"]);
    }
    Ok(())
}

#[test]
fn a_log_that_is_opened_for_short_whiles_is_trimmed_too() -> Result<()> {
    let disk = SimDisk::new(1);
    for _ in 0..60 {
        let recovery = recover(&disk)?;
        assert!(recovery.report().scanned_bytes < 512 << 10, "{:?}", recovery.report());
        let log = recovery.finish()?;
        for _ in 0..10 {
            log.redo_from(log.write(&[1; 3000])?)?;
        }
        log.close()?;
    }
    let log = open(&disk)?;
    assert!(log.positions().oldest > Lsn::new(1 << 20), "{:?}", log.positions());
    Ok(())
}

#[test]
fn a_log_without_a_block_of_unit_ids_is_refused() -> Result<()> {
    let disk = SimDisk::new(1);
    open(&disk)?.close()?;
    let file = disk.open("control").map_err(|cause| siding::Error::io("control", cause))?;
    for offset in [0, 4096] {
        let mut bytes = [0; 512];
        disk.peek("control", offset, &mut bytes);
        if let Ok(slot) = ControlSlot::decode(&bytes) {
            let last = ControlSlot { unit_block: (1 << 24) - 1, ..slot };
            siding_wal::stream::write_slot(&*file, &last)?;
        }
    }
    let refused = recover(&disk).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Invalid));
    Ok(())
}

/// The control file is lost, and the oldest segment with it: a keypoint says what redo needs.
#[test]
fn records_that_redo_needs_are_missed_without_a_control_file() -> Result<()> {
    for discipline in [Discipline::DeferredApply, Discipline::RepeatHistory] {
        for reported in [false, true] {
            let disk = SimDisk::new(1);
            let options = quiet().discipline(discipline).undo(|_| Ok(Vec::new()));
            let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
            log.write(&[1; 3_000])?;
            let redo = log.positions().durable;
            while log.positions().end < Lsn::new(70 << 10) {
                let mut unit = log.begin()?;
                unit.append(&[2; 3_000])?;
                unit.back_out()?;
            }
            if reported {
                log.redo_from(redo)?;
            }
            log.keypoint()?;
            log.close()?;
            for name in ["control", "0000000000000000.seg"] {
                disk.remove(name).map_err(|cause| siding::Error::io("a file", cause))?;
            }
            let refused = recover(&disk).err().map(|error| error.kind());
            assert_eq!(refused, Some(ErrorKind::Missing), "{discipline:?}, {reported}");
        }
    }
    Ok(())
}

#[test]
fn redo_reads_blocks_and_not_records() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    for number in 0..3_000_u32 {
        let mut unit = log.begin()?;
        unit.append(&number.to_le_bytes())?;
        unit.submit()?;
    }
    log.close()?;
    let recovery = recover(&disk)?;
    let before = disk.reads();
    assert_eq!(redone(&recovery)?.len(), 3_000);
    let reads = disk.reads() - before;
    assert!(reads < 1_000, "{reads} reads for 3000 units");
    Ok(())
}

#[test]
fn no_log_is_created_beside_the_extents_of_a_lost_one() -> Result<()> {
    let disk = SimDisk::new(1);
    let name = "0000000100000001.ext";
    disk.create(name).map_err(|cause| siding::Error::io("an extent file", cause))?;
    let Err(error) = recover(&disk) else { panic!("a log was created") };
    assert_eq!(error.kind(), ErrorKind::ForeignFile, "{error}");
    assert!(error.to_string().contains(name) && error.advice().is_some(), "{error}");
    assert!(error.path().is_some_and(|path| path.ends_with(name)), "{error:?}");
    Ok(())
}
