//! Durable commits in flight, on a busy machine, and what they cost beside time.

use super::commit::{Floor, at_once, batch_bytes, commits, keep_small};
use super::{Effort, Measured, median, rate, timed};
use siding::{Error, Log, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

const RECORD: usize = 128;

/// One thread submits, and waits for the oldest once `window` are in flight.
fn submit(log: &Log, count: u64, window: usize) -> Result<u64> {
    let mut flying = VecDeque::new();
    for _ in 0..count {
        let mut unit = log.begin()?;
        unit.append(&[7; RECORD])?;
        flying.push_back(unit.submit()?);
        if flying.len() >= window
            && let Some(oldest) = flying.pop_front()
        {
            oldest.wait()?;
        }
    }
    for ticket in flying {
        ticket.wait()?;
    }
    Ok(count)
}

/// Two threads with `window` commits in flight between them; the floor is bare durable writes, one
/// at a time.
pub(super) fn tickets(effort: &Effort, window: usize) -> Result<Measured> {
    let count = 200_000 / effort.divisor;
    let mut floor = Floor::new(&effort.dir.join("floor"))?;
    let log = effort.open_log(&effort.dir.join("log"))?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        floors.push(floor.writes(2_000 / effort.divisor, batch_bytes(RECORD))?);
        let work = |count: &u64| submit(&log, *count, window / 2);
        let (done, took) = timed(|| at_once(&[count / 2, count / 2], work))?;
        values.push(rate(done, took));
        keep_small(&log)?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// One committer while as many threads as there are processors do nothing but count.
pub(super) fn busy(effort: &Effort) -> Result<Measured> {
    let count = 2_000 / effort.divisor;
    let mut floor = Floor::new(&effort.dir.join("floor"))?;
    let log = effort.open_log(&effort.dir.join("log"))?;
    let payload = [7; RECORD];
    commits(&log, count, &payload)?;
    keep_small(&log)?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    while_busy(|| {
        for _ in 0..effort.rounds {
            floors.push(floor.writes(count, batch_bytes(RECORD))?);
            values.push(commits(&log, count, &payload)?);
            keep_small(&log)?;
        }
        Ok(())
    })?;
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Does `work` while all processors are busy.
pub(crate) fn while_busy<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    super::commit::beside(
        &|| {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                count = std::hint::black_box(count.wrapping_add(1));
            }
        },
        || {
            let result = work();
            stop.store(true, Ordering::Relaxed);
            result
        },
    )
}

/// Processor time of all threads of this process, in microseconds.
fn processor_time() -> Result<f64> {
    let io = |cause| Error::io("processor time cannot be known", cause);
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").map_err(io)? {
        let path = task.map_err(io)?.path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = text.split(' ').next().and_then(|number| number.parse().ok());
        total += first.unwrap_or(0_u64);
    }
    Ok(micros(total))
}

#[allow(clippy::cast_precision_loss, reason = "a time of some seconds")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Microseconds of processor time a commit; the floor is a bare durable write.
pub(super) fn cpu(effort: &Effort) -> Result<Measured> {
    let count = 3_000 / effort.divisor;
    let mut floor = Floor::new(&effort.dir.join("floor"))?;
    let log = effort.open_log(&effort.dir.join("log"))?;
    let payload = [7; RECORD];
    commits(&log, count, &payload)?;
    keep_small(&log)?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    let each = |work: &mut dyn FnMut() -> Result<f64>| {
        let before = processor_time()?;
        work()?;
        Ok::<f64, Error>((processor_time()? - before) / micros(1_000 * count))
    };
    for _ in 0..effort.rounds {
        floors.push(each(&mut || floor.writes(count, batch_bytes(RECORD)))?);
        values.push(each(&mut || commits(&log, count, &payload))?);
        keep_small(&log)?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Bytes this process has had written, as the operating system counts them.
fn written() -> Result<u64> {
    let io = |cause| Error::io("what was written cannot be known", cause);
    let text = std::fs::read_to_string("/proc/self/io").map_err(io)?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// Bytes that reach the device for a byte of payload, with a write unit of 512 asked for by name.
pub(super) fn device_bytes(effort: &Effort) -> Result<Measured> {
    let count = 20_000 / effort.divisor;
    let options = effort.options().segment_size(16 << 20).write_unit(512);
    let log = options.open(&effort.dir)?.finish()?;
    // Once around, so that segments are used again.
    for _ in 0..2 {
        commits(&log, count, &[7; RECORD])?;
        keep_small(&log)?;
    }
    let before = written()?;
    commits(&log, count, &[7; RECORD])?;
    let bytes = written()?.saturating_sub(before);
    log.close()?;
    let payload = count * u64::try_from(RECORD).unwrap_or(1);
    Ok(Measured { value: micros(bytes) / micros(payload), floor: None })
}
