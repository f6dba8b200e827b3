//! Any number of units, stuck for ever, while far more log passes them by than is kept.

use crate::support::{StillClock, quiet};
use siding::disk::{Disk, MemoryDisk};
use siding::{Log, Options, Result};
use std::sync::Arc;

const SEGMENT: u64 = 4 << 20;

/// Log between keypoints.
const INTERVAL: u64 = 8 << 20;

/// What a keypoint of so many units takes.
fn keypoint(units: usize) -> u64 {
    400 * units as u64
}

fn options(clock: &Arc<StillClock>) -> Options {
    quiet()
        .segment_size(SEGMENT)
        .ring_size(4 << 20)
        .keypoint_bytes(INTERVAL)
        .without_threads(Arc::<StillClock>::clone(clock))
}

/// Lets so many bytes pass; returns the most that was kept, behind the first 48 MiB.
fn pass(log: &Log, clock: &StillClock, bytes: u64, ticks: bool) -> Result<u64> {
    let start = log.positions().end.get();
    let mut most = 0;
    loop {
        for _ in 0..16 {
            log.write(&[1; 32_000])?;
        }
        log.redo_from(log.positions().durable)?;
        if ticks {
            clock.advance(20);
            log.tick();
        }
        let positions = log.positions();
        let passed = positions.end.get() - start;
        if passed > 48 << 20 {
            most = most.max(positions.end.get() - positions.oldest.get());
        }
        if passed > bytes {
            return Ok(most);
        }
    }
}

fn stuck(log: &Log, count: usize) -> Result<()> {
    for number in 0..count {
        let mut unit = log.begin()?;
        unit.append(&[7; 200])?;
        unit.append(&[8; 60])?;
        // Dropping it decides nothing.
        drop(unit.submit_prepare(format!("stuck-{number}").as_bytes())?);
    }
    log.ensure_durable(log.positions().end)
}

fn extent_bytes(disk: &MemoryDisk) -> u64 {
    let names = disk.list().unwrap();
    names.iter().filter(|(name, _)| name.ends_with(".ext")).map(|(_, len)| *len).sum()
}

#[test]
fn units_that_are_stuck_for_ever_keep_nothing_and_cost_no_restart() -> Result<()> {
    for count in [1, 100, 10_000] {
        let disk = Arc::new(MemoryDisk::new());
        let clock = StillClock::new();
        let log = options(&clock).open_on(Arc::<MemoryDisk>::clone(&disk))?.finish()?;
        stuck(&log, count)?;
        let live: u64 = log.units().iter().map(|unit| unit.bytes).sum();
        let most = pass(&log, &clock, 200 << 20, true)?;
        let bound = 3 * SEGMENT + INTERVAL + keypoint(count);
        assert!(most <= bound, "{count} units: {most} bytes were kept");
        let extents = extent_bytes(&disk);
        let bound = live * 5 / 4 + 128 * count as u64 + SEGMENT;
        assert!(extents <= bound, "{count} units: {extents} bytes of extents for {live}");
        log.abandon();
        drop(log);
        let recovery = options(&clock).open_on(disk)?;
        let scanned = recovery.report().scanned_bytes;
        assert!(scanned <= INTERVAL + SEGMENT + keypoint(count), "{count} units: {scanned}");
        let doubts = recovery.in_doubt();
        assert_eq!(doubts.len(), count);
        for doubt in doubts.iter().step_by(97) {
            assert_eq!(doubt.effects()?.owned().count(), 2);
        }
    }
    Ok(())
}

#[test]
fn who_writes_faster_than_the_keeper_keeps_up_does_its_work() -> Result<()> {
    let clock = StillClock::new();
    let log = options(&clock).open_on(Arc::new(MemoryDisk::new()))?.finish()?;
    stuck(&log, 100)?;
    // Nobody else does anything.
    let most = pass(&log, &clock, 100 << 20, false)?;
    assert!(most <= 3 * SEGMENT + INTERVAL, "{most} bytes were kept");
    assert_eq!(log.in_doubt().len(), 100);
    Ok(())
}
