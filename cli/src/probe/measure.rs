//! One measurement: as many calls as fit into a stretch of time, on a file that was written once.

use super::Cell;
use super::advice::What;
use crate::bench::flight::while_busy;
use crate::bench::{rate, timed};
use siding::disk::{AlignedBuf, Disk, Geometry, LogFile, open_dir, open_dir_at_depth};
use siding::{Backend, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the file: as a segment of a log.
const LEN: u64 = 64 << 20;

/// Bytes of a long transfer, of which several make a call.
pub(super) const PIECE: u32 = 1 << 20;
const PIECES: usize = 16;

/// A directory of one backend with a file in it.
pub(super) struct Scratch {
    path: PathBuf,
    backend: Backend,
    disk: Arc<dyn Disk>,
    file: Arc<dyn LogFile>,
    at: u64,
}

fn io(cause: std::io::Error) -> Error {
    Error::io("the disk cannot be measured", cause)
}

impl Scratch {
    pub(super) fn new(path: &Path, backend: Backend) -> Result<Self> {
        let disk = open_dir(path, backend, true).map_err(io)?;
        let file = disk.create("file").map_err(io)?;
        let block = AlignedBuf::zeroed(1 << 20);
        // Of one that is another backend in truth nothing is measured.
        let len = if disk.name() == backend.name() { LEN } else { 0 };
        for at in (0..len).step_by(1 << 20) {
            file.write_at(at, &[&block], false).map_err(io)?;
        }
        file.sync().map_err(io)?;
        Ok(Self { path: path.to_owned(), backend, disk, file, at: 0 })
    }

    pub(super) fn backend(&self) -> Backend {
        self.backend
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.disk.geometry().notes
    }

    /// Whether it is what was asked for, and not what stands in for it.
    pub(super) fn is_itself(&self) -> bool {
        self.disk.name() == self.backend.name()
    }

    pub(super) fn free(&self) -> Option<u64> {
        self.disk.free_bytes()
    }

    /// Value and 99th percentile of a call in microseconds.
    pub(super) fn measure(&mut self, cell: &Cell, time: Duration) -> Result<(f64, f64)> {
        let disk = open_dir_at_depth(&self.path, self.backend, false, cell.depth).map_err(io)?;
        self.file = disk.open("file").map_err(io)?;
        let file = Arc::clone(&self.file);
        match cell.what {
            What::Durable => {
                let block = AlignedBuf::from(vec![0xa5; size(cell.unit)].as_slice());
                let at = &mut self.at;
                let mut write = || {
                    *at = if *at + u64::from(cell.unit) > LEN { 0 } else { *at };
                    file.write_at(*at, &[&block], true).map_err(io)?;
                    *at += u64::from(cell.unit);
                    Ok(1)
                };
                match cell.busy {
                    true => while_busy(|| calls(time, &mut write)),
                    false => calls(time, &mut write),
                }
            }
            What::Write => {
                let block = AlignedBuf::from(vec![0xa5; size(PIECE)].as_slice());
                let slices = [block.as_slice(); PIECES];
                let bytes = u64::from(PIECE) * 16;
                let mut at = 0;
                calls(time, &mut || {
                    file.write_at(at, &slices, false).map_err(io)?;
                    at = (at + bytes) % LEN;
                    Ok(bytes)
                })
            }
            What::Read => reads(&file, cell.depth, time),
        }
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(4096)
}

/// Calls until the time is over, at least three; how much they did a second, and the 99th
/// percentile of one in microseconds.
fn calls(time: Duration, call: &mut dyn FnMut() -> Result<u64>) -> Result<(f64, f64)> {
    let (mut latencies, mut done, mut total) = (Vec::new(), 0, Duration::ZERO);
    while total < time || latencies.len() < 3 {
        let (count, took) = timed(&mut *call)?;
        done += count;
        total += took;
        latencies.push(took);
    }
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
    Ok((rate(done, total), p99.as_secs_f64() * 1e6))
}

/// Through the pipe where there is one, else a piece at a time.
fn reads(file: &Arc<dyn LogFile>, depth: usize, time: Duration) -> Result<(f64, f64)> {
    let mut at = 0;
    let mut next = || {
        let here = at;
        at = (at + u64::from(PIECE)) % LEN;
        here
    };
    let Some(mut pipe) = file.pipe(depth, size(PIECE)) else {
        let mut buf = AlignedBuf::zeroed(size(PIECE));
        return calls(time, &mut || {
            let count = file.read_at(next(), buf.as_mut_slice()).map_err(io)?;
            Ok(u64::try_from(count).unwrap_or(0))
        });
    };
    for _ in 0..depth {
        pipe.ask(file, next()).map_err(io)?;
    }
    calls(time, &mut || {
        let count = pipe.next().map_err(io)?;
        pipe.ask(file, next()).map_err(io)?;
        Ok(u64::try_from(count).unwrap_or(0))
    })
}
