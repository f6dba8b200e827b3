//! Memory, as the operating system counts it.

use super::{Effort, Measured, median};
use siding::{Error, ErrorKind, Log, Options, Result};

const RING: u32 = 32 << 20;

/// Bytes of this process in memory.
fn resident() -> Result<f64> {
    let io = |cause| Error::io("the memory of this process cannot be known", cause);
    let status = std::fs::read_to_string("/proc/self/status").map_err(io)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kib = kib.and_then(|kib| kib.trim().parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "the memory of this process cannot be known")
    })
}

fn open(effort: &Effort) -> Result<Log> {
    let ring = usize::try_from(RING).unwrap_or(usize::MAX);
    Options::new().ring_size(ring).open(&effort.dir)?.finish()
}

/// Fills the ring, so that what comes later is not the ring.
fn fill(log: &Log) -> Result<()> {
    for _ in 0..200 {
        let mut unit = log.begin()?;
        for _ in 0..1_000 {
            unit.append(&[7; 256])?;
        }
        unit.commit()?;
        log.redo_from(log.positions().durable)?;
    }
    log.keypoint()?;
    Ok(())
}

/// What a unit that has written one record takes.
pub(super) fn unit(effort: &Effort) -> Result<Measured> {
    let log = open(effort)?;
    fill(&log)?;
    let before = resident()?;
    let count = 50_000;
    let mut units = Vec::with_capacity(count);
    for _ in 0..count {
        let mut unit = log.begin()?;
        unit.append(&[1; 32])?;
        units.push(unit);
    }
    let after = resident()?;
    drop(units);
    log.close()?;
    Ok(Measured { value: (after - before) / 50_000.0, floor: None })
}

/// What a log takes that has been busy for a while.
pub(super) fn ring(effort: &Effort) -> Result<Measured> {
    let mut values = Vec::new();
    let before = resident()?;
    let log = open(effort)?;
    for _ in 0..effort.rounds.min(3) {
        fill(&log)?;
        values.push(resident()? - before);
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(f64::from(RING)) })
}
