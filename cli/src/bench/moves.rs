//! What commits pay while units are moved at the default rate.

use super::{Effort, Measured, median, rate, timed};
use siding::{Durability, Log, Options, Result};
use std::path::Path;
use std::time::Duration;

const SEGMENT: u64 = 8 << 20;

/// Bytes of log that a backlog is spread over.
const BACKLOG: u64 = 512 << 20;

/// How long commits are counted: what there is to move must last for it.
const WHILE: Duration = Duration::from_secs(3);

/// One run: commits a second, and the slowest of a hundred in seconds.
struct Run {
    rate: f64,
    p99: f64,
}

/// A log whose segments nothing keeps but units that are stuck, an eighth of what there is.
fn backlog(dir: &Path, bytes: u64) -> Result<()> {
    let log = Options::new()
        .segment_size(SEGMENT)
        .forks(false)
        .durability(Durability::Relaxed)
        .open(dir)?
        .finish()?;
    let mut number = 0_u64;
    while log.positions().end.get() < bytes {
        let mut unit = log.begin()?;
        for _ in 0..4 {
            unit.append(&[7; 4_000])?;
        }
        drop(unit.submit_prepare(format!("stuck-{number}").as_bytes())?);
        number += 1;
        for _ in 0..7 {
            log.write(&[1; 16_000])?;
        }
    }
    log.ensure_durable(log.positions().end)?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    log.close()
}

fn run(dir: &Path, forks: bool, effort: &Effort) -> Result<(Run, u64)> {
    backlog(dir, BACKLOG / effort.divisor)?;
    let log = Options::new().segment_size(SEGMENT).forks(forks).open(dir)?.finish()?;
    let run = commits(&log, WHILE / u32::try_from(effort.divisor).unwrap_or(1))?;
    let moved = log.units().iter().map(|unit| unit.secondary_bytes).sum();
    log.close()?;
    let gone = |cause| siding::Error::io("the backlog cannot be removed", cause).file(dir);
    std::fs::remove_dir_all(dir).map_err(gone)?;
    Ok((run, moved))
}

fn commits(log: &Log, time: Duration) -> Result<Run> {
    let (mut took, mut latencies) = (Duration::ZERO, Vec::new());
    while took < time {
        let (_, latency) = timed(|| Ok(log.write(&[7; 128])?))?;
        took += latency;
        latencies.push(latency);
    }
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
    let count = u64::try_from(latencies.len()).unwrap_or(u64::MAX);
    Ok(Run { rate: rate(count, took), p99: p99.as_secs_f64() })
}

fn both(effort: &Effort, of: impl Fn(&Run) -> f64) -> Result<Measured> {
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds.min(5) {
        // Each is the first of a pair as often as the other.
        for forks in [round % 2 == 0, round % 2 == 1] {
            let dir = effort.dir.join(if forks { "on" } else { "off" });
            let (run, moved) = run(&dir, forks, effort)?;
            // A run in which nothing was moved would say nothing.
            if forks && moved == 0 && effort.divisor == 1 {
                let what = "nothing was moved while commits were counted";
                return Err(siding::Error::new(siding::ErrorKind::Invalid, what));
            }
            if forks { &mut values } else { &mut floors }.push(of(&run));
        }
    }
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Durable commits a second.
pub(super) fn rates(effort: &Effort) -> Result<Measured> {
    both(effort, |run| run.rate)
}

/// One over the 99th percentile of their latency.
pub(super) fn p99(effort: &Effort) -> Result<Measured> {
    both(effort, |run| 1.0 / run.p99.max(1e-9))
}
