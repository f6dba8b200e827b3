//! The restart scan, past the page cache.

use super::bulk::read_through;
use super::{Effort, Measured, median, rate, timed};
use siding::disk::{LogFile, open_dir};
use siding::{Backend, Discipline, Error, Options, Result};
use std::path::Path;
use std::sync::Arc;

/// Writes a log that was not closed cleanly, then opens it again and again.
pub(super) fn cold(effort: &Effort) -> Result<Measured> {
    let path = effort.dir.join("log");
    let bytes = (512 << 20) / effort.divisor;
    fill(&path, bytes, options(effort))?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds.clamp(2, 6) {
        // Each is the first of a pair as often as the other: what lies below may remember.
        for log in [round % 2 == 0, round % 2 == 1] {
            if log {
                let (recovery, took) = timed(|| options(effort).open(&path))?;
                values.push(rate(recovery.report().scanned_bytes, took));
                recovery.abandon();
            } else {
                floors.push(bare(&path)?);
            }
        }
    }
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

fn options(effort: &Effort) -> Options {
    of(effort, Discipline::DeferredApply)
}

/// The same, of either discipline.
pub(super) fn of(effort: &Effort, discipline: Discipline) -> Options {
    // Without keypoints the whole log is scanned.
    effort
        .options()
        .discipline(discipline)
        .undo(|record| Ok(record.payload().to_vec()))
        .keypoint_bytes(u64::MAX)
        .keypoint_interval(std::time::Duration::MAX)
}

pub(super) fn fill(path: &Path, bytes: u64, options: Options) -> Result<()> {
    let log = options.open(path)?.finish()?;
    let payload = [7; 256];
    let mut written = 0;
    while written < bytes {
        let mut unit = log.begin()?;
        for _ in 0..10_000 {
            unit.append(&payload)?;
            written += 288;
        }
        unit.commit()?;
    }
    log.abandon();
    Ok(())
}

/// Reads the same files past the page cache, 1 MiB at a time and four in flight, and looks at
/// nothing.
fn bare(path: &Path) -> Result<f64> {
    let io = |cause| Error::io("the floor cannot be measured", cause).file(path);
    let disk = open_dir(path, Backend::Uring, false).map_err(io)?;
    let mut names: Vec<String> = disk.list().map_err(io)?.into_iter().map(|it| it.0).collect();
    names.retain(|name| name.ends_with(".seg"));
    names.sort();
    let (total, took) = timed(|| {
        let files: std::io::Result<Vec<Arc<dyn LogFile>>> =
            names.iter().map(|name| disk.open(name)).collect();
        read_through(&files.map_err(io)?)
    })?;
    Ok(rate(total, took))
}
