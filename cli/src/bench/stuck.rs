//! Log that is kept while units are stuck for ever.

use super::{Effort, Measured};
use siding::{Durability, Options, Result};

/// Bytes of a segment, and of log between keypoints.
const SEGMENT: u64 = 8 << 20;

/// Units in doubt that nobody resolves.
const STUCK: u64 = 100;

/// Bytes of log that pass them by.
const PASSING: u64 = 1 << 30;

/// The most segments kept, once the first of the passing work is behind the stuck units.
pub(super) fn retained(effort: &Effort) -> Result<Measured> {
    let log = Options::new()
        .segment_size(SEGMENT)
        .keypoint_bytes(SEGMENT)
        .durability(Durability::Relaxed)
        .open(&effort.dir)?
        .finish()?;
    for number in 0..STUCK {
        let mut unit = log.begin()?;
        for _ in 0..10 {
            unit.append(&[7; 128])?;
        }
        drop(unit.prepare(format!("stuck-{number}").as_bytes())?);
    }
    let (start, passing) = (log.positions().end, PASSING / effort.divisor);
    let mut most = 0;
    loop {
        for _ in 0..64 {
            log.write(&[1; 16_000])?;
        }
        let positions = log.positions();
        log.redo_from(positions.durable)?;
        let passed = positions.end.since(start);
        if passed > 8 * SEGMENT {
            most = most.max(positions.end.since(positions.oldest));
        }
        if passed >= passing.max(10 * SEGMENT) {
            break;
        }
    }
    log.close()?;
    let tenths = most * 10 / SEGMENT;
    Ok(Measured { value: f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0, floor: None })
}
