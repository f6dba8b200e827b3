//! Much at once: appends that nobody waits for, and the bare transfers they are held against.

use super::{Effort, Measured, median, rate, timed};
use siding::disk::{AlignedBuf, LogFile, open_dir};
use siding::{Backend, Durability, Error, Log, Result};
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// Bytes of one transfer of the floor, of which so many are in flight.
const PIECE: usize = 1 << 20;
const DEPTH: usize = 4;

fn io(cause: std::io::Error) -> Error {
    Error::io("the floor cannot be measured", cause)
}

/// A file of `len` bytes that was written once, past the page cache, with the ring if there is one.
fn written(dir: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
    let disk = open_dir(dir, Backend::Uring, true).map_err(io)?;
    let file = disk.create("floor").map_err(io)?;
    overwrite(&*file, len)?;
    file.sync().map_err(io)?;
    disk.sync_dir().map_err(io)?;
    Ok(file)
}

/// Writes the whole file again.
fn overwrite(file: &dyn LogFile, len: u64) -> Result<()> {
    let block = AlignedBuf::from(vec![0xa5; PIECE].as_slice());
    let slices = [block.as_slice(); 64];
    let mut at = 0;
    while at < len {
        let count = usize::try_from((len - at) / MIB).unwrap_or(64).min(64);
        file.write_at(at, slices.get(..count).unwrap_or_default(), false).map_err(io)?;
        at += MIB * u64::try_from(count).unwrap_or(64);
    }
    Ok(())
}

/// Reads a file from its start to its end, a few pieces at a time, and looks at nothing.
pub(super) fn read_through(files: &[Arc<dyn LogFile>]) -> Result<u64> {
    let Some(first) = files.first() else { return Ok(0) };
    let Some(mut pipe) = first.pipe(DEPTH, PIECE) else { return read_plainly(files) };
    let mut places = Vec::new();
    for file in files {
        let len = file.len().map_err(io)?;
        places.extend((0..len).step_by(PIECE).map(|at| (file, at)));
    }
    let (mut total, mut asked) = (0, 0);
    for done in 0..places.len() {
        while let Some((file, at)) = places.get(asked).filter(|_| asked < done + DEPTH) {
            pipe.ask(file, *at).map_err(io)?;
            asked += 1;
        }
        total += u64::try_from(pipe.next().map_err(io)?).unwrap_or(0);
    }
    Ok(total)
}

fn read_plainly(files: &[Arc<dyn LogFile>]) -> Result<u64> {
    let mut buf = AlignedBuf::zeroed(PIECE);
    let mut total = 0;
    for file in files {
        let mut at = 0;
        loop {
            match file.read_at(at, buf.as_mut_slice()).map_err(io)? {
                0 => break,
                count => at += u64::try_from(count).unwrap_or(0),
            }
        }
        total += at;
    }
    Ok(total)
}

/// Appends `bytes` of payload in records of 1 KiB, which nobody waits for; what is durable counts
/// as done with, so that segments are used again.
fn append(log: &Log, bytes: u64) -> Result<()> {
    let payload = [7; 1024];
    let mut done = 0;
    while done < bytes {
        let mut unit = log.begin()?;
        for _ in 0..4096 {
            unit.append(&payload)?;
        }
        drop(unit.submit()?);
        done += 4 * MIB;
        log.redo_from(log.positions().durable)?;
    }
    log.ensure_durable(log.positions().end)
}

/// One thread appends records of 1 KiB; the floor overwrites a file in pieces of 1 MiB, four in
/// flight.
pub(super) fn sustained(effort: &Effort) -> Result<Measured> {
    let bytes = 1024 * MIB / effort.divisor;
    let file = written(&effort.dir.join("floor"), 256 * MIB)?;
    let log = effort
        .options()
        .durability(Durability::Relaxed)
        .keypoint_bytes(64 * MIB)
        .open(effort.dir.join("log"))?
        .finish()?;
    // Once around, so that segments are used again and not new.
    append(&log, bytes)?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (written, took) = timed(|| {
            let mut written = 0;
            while written < bytes {
                overwrite(&*file, 256 * MIB)?;
                written += 256 * MIB;
            }
            file.sync().map_err(io)?;
            Ok(written)
        })?;
        floors.push(rate(written, took));
        let start = log.positions().end;
        let ((), took) = timed(|| append(&log, bytes))?;
        values.push(rate(log.positions().end.since(start), took));
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}
