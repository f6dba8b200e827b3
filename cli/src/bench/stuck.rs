//! Log that is kept while units are stuck for ever, and what that costs a restart.

use super::{Effort, Measured, median, rate, timed};
use siding::{Durability, Error, Log, Options, Result};
use std::path::Path;

/// Bytes of a segment, and of log between keypoints.
const SEGMENT: u64 = 8 << 20;

/// Bytes of log that pass the stuck units by.
const PASSING: u64 = 10 << 30;

fn open(dir: &Path) -> Result<Log> {
    Options::new()
        .segment_size(SEGMENT)
        .keypoint_bytes(SEGMENT)
        .durability(Durability::Relaxed)
        .open(dir)?
        .finish()
}

/// Units in doubt that nobody resolves, of ten records each.
fn stick(log: &Log, units: u64) -> Result<()> {
    for number in 0..units {
        let mut unit = log.begin()?;
        for _ in 0..10 {
            unit.append(&[7; 128])?;
        }
        // Dropping it decides nothing.
        drop(unit.submit_prepare(format!("stuck-{number}").as_bytes())?);
    }
    log.ensure_durable(log.positions().end)
}

/// Lets other units pass. Returns the most that was kept meanwhile, once what was stuck had the
/// time to be moved: eight segments, and four bytes for each of its own.
fn pass(log: &Log, bytes: u64) -> Result<u64> {
    let start = log.positions().end;
    let warm = 8 * SEGMENT + 4 * log.units().iter().map(|unit| unit.bytes).sum::<u64>();
    let mut most = 0;
    loop {
        for _ in 0..64 {
            log.write(&[1; 16_000])?;
        }
        let positions = log.positions();
        log.redo_from(positions.durable)?;
        let passed = positions.end.since(start);
        if passed > warm {
            most = most.max(positions.end.since(positions.oldest));
        }
        if passed >= bytes.max(warm + 2 * SEGMENT) {
            return Ok(most);
        }
    }
}

fn small(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The most segments kept.
pub(super) fn retained(effort: &Effort, units: u64) -> Result<Measured> {
    let log = open(&effort.dir)?;
    stick(&log, units)?;
    let most = pass(&log, PASSING / effort.divisor)?;
    log.close()?;
    Ok(Measured { value: small(most * 10 / SEGMENT) / 10.0, floor: None })
}

/// Bytes of the secondary log for a live byte of the stuck units, without 128 bytes a unit and
/// one file that is being filled.
pub(super) fn secondary(effort: &Effort) -> Result<Measured> {
    let units = 10_000;
    let log = open(&effort.dir)?;
    stick(&log, units)?;
    let live: u64 = log.units().iter().map(|unit| unit.bytes).sum();
    pass(&log, (1 << 30) / effort.divisor)?;
    log.close()?;
    let (mut bytes, mut largest) = (0, 0);
    let io = |cause| Error::io("the secondary log cannot be listed", cause).file(&effort.dir);
    for entry in std::fs::read_dir(&effort.dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.path().extension().is_some_and(|extension| extension == "ext") {
            let len = entry.metadata().map_err(io)?.len();
            (bytes, largest) = (bytes + len, largest.max(len));
        }
    }
    let counted = bytes.saturating_sub(largest).saturating_sub(128 * units);
    Ok(Measured { value: small(counted / 1024) / small(live / 1024).max(1.0), floor: None })
}

/// Restarts a second while 1,000 units have been stuck for ten times as much log as in the floor.
pub(super) fn restart(effort: &Effort) -> Result<Measured> {
    let (young, old) = (effort.dir.join("young"), effort.dir.join("old"));
    for (dir, bytes) in [(&young, 256 << 20), (&old, 2560 << 20)] {
        let log = open(dir)?;
        stick(&log, 1_000)?;
        pass(&log, bytes / effort.divisor)?;
        log.close()?;
    }
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        for (dir, rates) in [(&young, &mut floors), (&old, &mut values)] {
            let (log, took) = timed(|| open(dir))?;
            rates.push(rate(1, took));
            log.close()?;
        }
    }
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}
