//! What commits pay while units are moved at the default rate.
//!
//! Log after log is made, of sealed segments that nothing keeps but stuck units, an eighth of what
//! there is; and opened again and again, with the mover on and off in turns. Each time, once the
//! open's own work is done, one thread commits a record of 128 bytes after the other for half a
//! second. With the mover on, units are read, copied and synced meanwhile, fork records appended,
//! segments trimmed, removed and used again. All else is the same: log, keypoints, sweep.
//!
//! So short, and so often: on a machine of few processors a commit takes half as long again if it
//! is made on another processor than the one that the disk interrupts, and the scheduler leaves a
//! thread on one for seconds. Longer runs told more of that than of moves.
//!
//! A batch is padded to 512 bytes in both, by name. With the mover off nothing is freed, so the
//! segments it goes on in are made anew and filled with zeros; padded to 4096, 40 MB of them a
//! second, beside the commits that are held against those of a log that uses its segments again.

use super::{Effort, Measured, median, rate, timed};
use siding::{Durability, Log, Options, Result};
use std::path::Path;
use std::time::Duration;

const SEGMENT: u64 = 8 << 20;

/// Bytes of log that a backlog is spread over: an eighth of it must last for a round.
const BACKLOG: u64 = 512 << 20;

/// How long commits are counted in a run.
const WHILE: Duration = Duration::from_millis(500);

/// Runs of either kind in a round.
const TURNS: u32 = 8;

/// Time for what an open has still to do: the sweep, the next segment, what it may move at once.
const SETTLING: Duration = Duration::from_millis(250);

fn options() -> Options {
    Options::new().segment_size(SEGMENT).write_unit(512)
}

/// A log whose segments nothing keeps but units that are stuck, an eighth of what there is.
fn backlog(dir: &Path, bytes: u64) -> Result<()> {
    let log = options().forks(false).durability(Durability::Relaxed).open(dir)?.finish()?;
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

/// Opens the log, commits for a while, and closes it. Returns what each commit took, and the bytes
/// moved meanwhile.
fn run(dir: &Path, forks: bool, effort: &Effort) -> Result<(Vec<Duration>, u64)> {
    let log = options().forks(forks).open(dir)?.finish()?;
    let moved = |log: &Log| log.units().iter().map(|unit| unit.secondary_bytes).sum::<u64>();
    std::thread::sleep(SETTLING);
    let before = moved(&log);
    let took = commits(&log, WHILE / u32::try_from(effort.divisor).unwrap_or(1))?;
    let after = moved(&log);
    log.close()?;
    Ok((took, after.saturating_sub(before)))
}

fn commits(log: &Log, time: Duration) -> Result<Vec<Duration>> {
    let (mut took, mut latencies) = (Duration::ZERO, Vec::new());
    while took < time {
        let (_, latency) = timed(|| Ok(log.write(&[7; 128])?))?;
        took += latency;
        latencies.push(latency);
    }
    Ok(latencies)
}

/// One round: commits of a log with the mover on and off, in turns.
fn round(dir: &Path, effort: &Effort) -> Result<[Vec<Duration>; 2]> {
    backlog(dir, BACKLOG / effort.divisor)?;
    let ([mut on, mut off], mut all) = ([Vec::new(), Vec::new()], 0);
    for turn in 0..TURNS {
        // Each is the first of a pair as often as the other.
        for forks in [turn % 2 == 0, turn % 2 == 1] {
            let (took, moved) = run(dir, forks, effort)?;
            if forks { &mut on } else { &mut off }.extend(took);
            all += moved;
        }
    }
    // A round in which nothing was moved, or all of it before commits were counted, says nothing.
    if all == 0 && effort.divisor == 1 {
        let what = "nothing was moved while commits were counted";
        return Err(siding::Error::new(siding::ErrorKind::Invalid, what));
    }
    let gone = |cause| siding::Error::io("the backlog cannot be removed", cause).file(dir);
    std::fs::remove_dir_all(dir).map_err(gone)?;
    Ok([on, off])
}

fn both(effort: &Effort, of: impl Fn(&mut [Duration]) -> f64) -> Result<Measured> {
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for number in 0..effort.rounds.min(5) {
        let [mut on, mut off] = round(&effort.dir.join(number.to_string()), effort)?;
        values.push(of(&mut on));
        floors.push(of(&mut off));
    }
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Durable commits a second.
pub(super) fn rates(effort: &Effort) -> Result<Measured> {
    both(effort, |took| {
        let count = u64::try_from(took.len()).unwrap_or(u64::MAX);
        rate(count, took.iter().sum())
    })
}

/// One over the 99th percentile of their latency.
pub(super) fn p99(effort: &Effort) -> Result<Measured> {
    both(effort, |took| {
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        1.0 / p99.as_secs_f64().max(1e-9)
    })
}
