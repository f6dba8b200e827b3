//! Directories of segments that an earlier open wrote and nobody sealed.

use crate::support::{StillClock, quiet};
use siding::{Kind, Log, Lsn, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use siding_wal::format::{DirectoryChunk, DirectoryEntry};
use std::collections::BTreeMap;
use std::sync::Arc;

const SEGMENT: u64 = 64 << 10;

/// What the directories on the log say, by segment.
fn written(log: &Log) -> Result<BTreeMap<u64, Vec<DirectoryEntry>>> {
    log.ensure_durable(log.positions().end)?;
    let mut records = log.records(Lsn::ZERO)?;
    let mut found: BTreeMap<u64, Vec<DirectoryEntry>> = BTreeMap::new();
    while let Some(record) = records.next()? {
        if record.kind() == Kind::Directory {
            let chunk = DirectoryChunk::decode(record.payload()).unwrap();
            found.entry(chunk.segment).or_default().extend(chunk.units);
        }
    }
    Ok(found)
}

#[test]
fn a_restart_knows_what_lies_in_the_segments_that_it_scanned() -> Result<()> {
    let disk = SimDisk::new(1);
    // Nobody ticks before the crash: no directory is written, and no keypoint.
    let log = quiet().without_threads(StillClock::new()).open_on(Arc::new(disk.clone()))?;
    let log = log.finish()?;
    let mut unit = log.begin()?;
    let mut lsns = Vec::new();
    while log.positions().end.get() < 4 * SEGMENT {
        lsns.push(unit.append(&[7; 3_000])?);
        log.write(&[1; 8_000])?;
    }
    let number = unit.id();
    let _doubt = unit.prepare(b"stuck")?;
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    let log = quiet().without_threads(StillClock::new()).open_on(Arc::new(left))?.finish()?;
    log.tick();
    let written = written(&log)?;
    for segment in 1..4 {
        let inside = lsns.iter().filter(|lsn| lsn.get() / SEGMENT == segment);
        let inside: Vec<Lsn> = inside.copied().collect();
        let found: Vec<(u64, Lsn, Lsn, u64)> = written[&segment]
            .iter()
            .map(|entry| (entry.unit, entry.oldest, entry.newest, entry.count))
            .collect();
        let last = inside.len() - 1;
        assert_eq!(found, [(number, inside[0], inside[last], inside.len() as u64)], "{segment}");
    }
    Ok(())
}
