//! What a change of segments adds to the slowest commits.

use super::commit::Floor;
use super::{Effort, Measured, median, timed};
use siding::{Log, Result};
use std::time::Duration;

/// Records of 8 KiB: a segment of 64 MiB is full after some 7,000 of them.
const RECORD: usize = 8 << 10;
const COMMITS: u64 = 20_000;

/// The latency that one in a thousand exceeds, in microseconds.
fn p999(mut latencies: Vec<Duration>) -> f64 {
    latencies.sort_unstable();
    let at = latencies.len() * 999 / 1000;
    latencies.get(at).copied().unwrap_or_default().as_secs_f64() * 1e6
}

fn commits(log: &Log, count: u64) -> Result<f64> {
    let mut latencies = Vec::new();
    for number in 0..count {
        let (_, took) = timed(|| Ok(log.write(&[7; RECORD])?))?;
        latencies.push(took);
        if number % 1_000 == 0 {
            log.redo_from(log.positions().durable)?;
        }
    }
    Ok(p999(latencies))
}

fn floor(floor: &mut Floor, count: u64) -> Result<f64> {
    let mut latencies = Vec::new();
    for _ in 0..count {
        let (_, took) = timed(|| floor.writes(1, RECORD + 200))?;
        latencies.push(took);
    }
    Ok(p999(latencies))
}

/// The 99.9th percentile of a commit over changes of segments; the floor writes as much to one
/// file. `fresh`: segments are made and filled meanwhile, else they are used again.
pub(super) fn p999_of(effort: &Effort, fresh: bool) -> Result<Measured> {
    let count = COMMITS / effort.divisor;
    let mut bare = Floor::new(&effort.dir.join("floor"))?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    let options = || effort.options().keypoint_bytes(64 << 20);
    let log = options().open(effort.dir.join("log"))?.finish()?;
    if !fresh {
        commits(&log, count)?;
    }
    for round in 0..effort.rounds.min(3) {
        floors.push(floor(&mut bare, count)?);
        if fresh {
            let dir = effort.dir.join(format!("log-{round}"));
            let log = options().open(dir)?.finish()?;
            values.push(commits(&log, count)?);
            log.close()?;
        } else {
            values.push(commits(&log, count)?);
        }
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}
