//! Durable commits, and the threads that make them.

use super::{Effort, Measured, median, rate, timed};
use siding::disk::{AlignedBuf, Disk, LogFile, open_dir};
use siding::{Backend, Error, ErrorKind, Log, Result};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a commit of one record of this size, before padding: batch header, DATA, COMMIT.
pub(super) fn batch_bytes(record: usize) -> usize {
    48 + (32 + record).next_multiple_of(8) + (32 + 22_usize).next_multiple_of(8)
}

/// A file that was written once, and is written again and again: as a recycled segment is.
pub(super) struct Floor {
    disk: Arc<dyn Disk>,
    file: Arc<dyn LogFile>,
    at: u64,
    len: u64,
}

impl Floor {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let io = |cause| Error::io("the floor cannot be measured", cause).file(dir);
        let disk = open_dir(dir, Backend::Direct, true).map_err(io)?;
        let file = disk.create("floor").map_err(io)?;
        let len = 16 << 20;
        let block = AlignedBuf::zeroed(1 << 20);
        for at in (0..len).step_by(1 << 20) {
            file.write_at(at, &[&block], false).map_err(io)?;
        }
        file.sync().map_err(io)?;
        disk.sync_dir().map_err(io)?;
        Ok(Self { disk, file, at: 0, len })
    }

    pub(super) fn writes(&mut self, count: u64, bytes: usize) -> Result<f64> {
        let unit = usize::try_from(self.disk.geometry().write_unit).unwrap_or(4096);
        let mut block = AlignedBuf::zeroed(bytes.next_multiple_of(unit));
        block.as_mut_slice().fill(0xa5);
        let step = u64::try_from(block.len()).unwrap_or(4096);
        let ((), took) = timed(|| {
            for _ in 0..count {
                if self.at + step > self.len {
                    self.at = 0;
                }
                self.file
                    .write_at(self.at, &[&block], true)
                    .map_err(|cause| Error::io("the floor cannot be measured", cause))?;
                self.at += step;
            }
            Ok(())
        })?;
        Ok(rate(count, took))
    }
}

/// Keeps what a log retains small, so that segments are recycled as in a log that lives long.
pub(super) fn keep_small(log: &Log) -> Result<()> {
    let durable = log.positions().durable;
    log.redo_from(durable)?;
    log.keypoint()?;
    Ok(())
}

pub(super) fn commits(log: &Log, count: u64, payload: &[u8]) -> Result<f64> {
    let (_, took) = timed(|| write_many(log, count, payload))?;
    Ok(rate(count, took))
}

/// One thread, one record a commit; the floor writes the same padded bytes to a written file.
pub(super) fn single(effort: &Effort, record: usize) -> Result<Measured> {
    let count = 3_000 / effort.divisor;
    let mut floor = Floor::new(&effort.dir.join("floor"))?;
    let log = effort.open_log(&effort.dir.join("log"))?;
    let payload = vec![7; record];
    // Once around, so that segments are recycled and not new.
    commits(&log, count, &payload)?;
    keep_small(&log)?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        floors.push(floor.writes(count, batch_bytes(record))?);
        values.push(commits(&log, count, &payload)?);
        keep_small(&log)?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

fn write_many(log: &Log, count: u64, payload: &[u8]) -> Result<()> {
    for _ in 0..count {
        log.write(payload)?;
    }
    Ok(())
}

/// Does `work` with every item, each in a thread of its own; the sum of what they say.
pub(super) fn at_once<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<u64> + Sync,
) -> Result<u64> {
    std::thread::scope(|scope| {
        let work = &work;
        let start = |item| scope.spawn(move || work(item));
        let workers: Vec<_> = items.iter().map(start).collect();
        let gone = || Error::new(ErrorKind::Invalid, "a thread of the bench ended early");
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(gone()))).sum()
    })
}

/// Does `work` while a thread for each processor does `load`, which `work` must make an end of.
pub(super) fn beside<T>(load: &(impl Fn() + Sync), work: impl FnOnce() -> T) -> T {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(load);
        }
        work()
    })
}

fn grouped(log: &Log, threads: u64, each: u64, payload: &[u8]) -> Result<f64> {
    let ((), took) = timed(|| {
        std::thread::scope(|scope| {
            let start = || scope.spawn(|| write_many(log, each, payload));
            let workers: Vec<_> = (0..threads).map(|_| start()).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        })
    })?;
    Ok(rate(threads * each, took))
}

/// Many threads, one record a commit; the floor is one thread of the same log.
pub(super) fn group(effort: &Effort, threads: u64, record: usize) -> Result<Measured> {
    let log = effort.open_log(&effort.dir)?;
    let payload = vec![7; record];
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    commits(&log, 1_000 / effort.divisor, &payload)?;
    for _ in 0..effort.rounds {
        floors.push(commits(&log, 2_000 / effort.divisor, &payload)?);
        values.push(grouped(&log, threads, 2_000 / effort.divisor, &payload)?);
        keep_small(&log)?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Prepare and commit of one unit: two forced writes; the floor is single commits.
pub(super) fn prepare_commit(effort: &Effort) -> Result<Measured> {
    let log = effort.open_log(&effort.dir)?;
    let payload = vec![7; 128];
    let count = 1_500 / effort.divisor;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    commits(&log, count, &payload)?;
    for _ in 0..effort.rounds {
        floors.push(commits(&log, count, &payload)?);
        let ((), took) = timed(|| {
            for number in 0..count {
                let mut unit = log.begin()?;
                unit.append(&payload)?;
                unit.prepare(&number.to_le_bytes())?.commit()?;
            }
            Ok(())
        })?;
        values.push(rate(count, took));
        keep_small(&log)?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}
