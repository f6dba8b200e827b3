//! Walks along chains whose records are on the device alone.

use super::{Effort, Measured, median, rate, timed};
use siding::{Durability, InDoubt, Log, Result};

/// Chains, and records of each.
const CHAINS: u64 = 8;
const RECORDS: u64 = 400;

/// A log in which the records of eight prepared units lie far from each other.
fn fill(log: &Log, records: u64) -> Result<()> {
    let mut units = Vec::new();
    for _ in 0..CHAINS {
        units.push(log.begin()?);
    }
    for _ in 0..records {
        for unit in &mut units {
            unit.append(&[7; 1024])?;
        }
        for _ in 0..20 {
            log.write(&[1; 16_000])?;
        }
    }
    for (number, unit) in (0..CHAINS).zip(units) {
        // Dropping it decides nothing.
        drop(unit.prepare(format!("chain-{number}").as_bytes())?);
    }
    log.ensure_durable(log.positions().end)
}

/// Walks one chain to its start; returns its records.
fn walk(unit: &InDoubt) -> Result<u64> {
    let mut records = unit.records_backward()?;
    let mut count = 0;
    while records.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Steps a second of eight walks at once, in as many threads; the floor is one walk at a time.
pub(super) fn cold(effort: &Effort) -> Result<Measured> {
    let options = || effort.options().forks(false).durability(Durability::Relaxed);
    let log = options().open(&effort.dir)?.finish()?;
    fill(&log, RECORDS / effort.divisor)?;
    log.abandon();
    drop(log);
    // From here on nothing of them is in memory.
    let log = options().open(&effort.dir)?.finish()?;
    let units = log.in_doubt();
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (steps, took) = timed(|| units.iter().take(2).map(walk).sum())?;
        floors.push(rate(steps, took));
        let (steps, took) = timed(|| super::commit::at_once(&units, walk))?;
        values.push(rate(steps, took));
    }
    drop(units);
    log.abandon();
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}
