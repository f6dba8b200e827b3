//! A log of several segments, what it shows, copies of it, and what can happen to it.

use crate::support::{StillClock, open, recover};
use siding::archive::{Indexer, SegmentIndex};
use siding::disk::{Clock, Disk, MemoryDisk};
use siding::repair::{Copies, Diagnosis, diagnose, mend};
use siding::{ErrorKind, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

/// Bytes of a segment.
pub(crate) const SIZE: u64 = 64 << 10;

/// What a log shows: every record's payload, and what is in doubt.
pub(crate) type Shown = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// The file of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// A log that nobody has open: a unit in doubt, one more that was moved, a keypoint in its first
/// segments, records of 3000 bytes, and the machine stops.
pub(crate) fn made() -> Result<SimDisk> {
    let disk = SimDisk::new(3);
    let log = open(&disk)?;
    let mut doubt = log.begin()?;
    doubt.append(b"in doubt")?;
    drop(doubt.prepare(b"gid-1").unwrap());
    let mut other = log.begin()?;
    other.append(b"moved")?;
    let other = other.prepare(b"gid-2").unwrap();
    log.fork(other.id())?;
    for number in 0..120_u8 {
        log.write(&[number; 3000])?;
        if number == 30 {
            log.keypoint()?;
        }
    }
    Ok(disk.crash(Crash::DropAll))
}

/// What the log on a disk shows; the disk stays as it is.
pub(crate) fn shown(disk: &SimDisk) -> Result<Shown> {
    let disk = disk.fork();
    let recovery = recover(&disk)?;
    let mut doubts: Vec<Vec<u8>> = recovery.in_doubt().iter().map(|it| it.gid().to_vec()).collect();
    doubts.sort_unstable();
    let log = recovery.finish()?;
    let mut payloads = Vec::new();
    let mut records = log.records(log.positions().oldest)?;
    while let Some(record) = records.next()? {
        if record.kind() == siding::Kind::Data {
            payloads.push(record.payload().to_vec());
        }
    }
    Ok((payloads, doubts))
}

/// Copies of segments, each up to its end or less.
pub(crate) struct Archived(pub(crate) Vec<(SegmentIndex, Vec<u8>)>);

impl Archived {
    /// Of every segment, of which `upto` bytes or more.
    pub(crate) fn of(disk: &SimDisk, upto: impl Fn(u64) -> usize) -> Self {
        let mut all = Vec::new();
        for number in 0.. {
            let Some(bytes) = disk.contents(&name(number)) else { break };
            let mut indexer = Indexer::new(None, Vec::new());
            let len = upto(number).min(bytes.len());
            let _ = indexer.feed(&bytes[..len]);
            let Some(index) = indexer.so_far() else { break };
            let end = usize::try_from(index.last.end.get() - number * SIZE).unwrap();
            let mut indexer = Indexer::new(None, Vec::new());
            indexer.feed(&bytes[..end]).unwrap();
            all.push((indexer.finish(false).unwrap(), bytes[..end].to_vec()));
        }
        Self(all)
    }

    /// Runs something with the copies.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&Copies<'_>) -> T) -> T {
        let read = |index: &SegmentIndex, take: &mut siding::repair::Take<'_>| {
            let found = self.0.iter().find(|(it, _)| it == index).unwrap();
            found.1.chunks(5_000).try_for_each(take)
        };
        run(&Copies {
            segments: self.0.iter().map(|(index, _)| index.clone()).collect(),
            extents: Vec::new(),
            segment: &read,
            extent: &|_, _| Ok(()),
        })
    }
}

/// Looks at a damaged log.
pub(crate) fn look(disk: &SimDisk, copies: &Copies<'_>) -> Result<Diagnosis> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock: Arc<dyn Clock> = StillClock::new();
    diagnose(&disk, None, &clock, copies, &|_| {})
}

/// Mends it; what was changed is returned.
pub(crate) fn mended(disk: &SimDisk, archive: &Archived, cut: bool) -> Result<MemoryDisk> {
    let aside = MemoryDisk::new();
    archive.with(|copies| {
        let diagnosis = look(disk, copies)?;
        mend(&diagnosis, (disk, disk), &aside, copies, cut, &|_| {})
    })?;
    Ok(aside)
}

/// Something that happens to a log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    /// A byte of a segment is changed.
    Flip(u64, u64),
    /// A segment is gone.
    Gone(u64),
    /// A segment's header is overwritten.
    Header(u64),
    /// A stretch of a segment is zeros.
    Zeros(u64, u64),
}

impl Harm {
    pub(crate) fn segment(self) -> u64 {
        match self {
            Self::Flip(number, _) | Self::Gone(number) => number,
            Self::Header(number) | Self::Zeros(number, _) => number,
        }
    }

    pub(crate) fn happen(self, disk: &SimDisk) {
        match self {
            Self::Flip(number, at) => {
                let byte = disk.contents(&name(number)).unwrap()[at as usize];
                disk.overwrite(&name(number), at, &[byte ^ 4]).unwrap();
            }
            Self::Gone(number) => {
                disk.remove(&name(number)).unwrap();
                disk.sync_dir().unwrap();
            }
            Self::Header(number) => disk.overwrite(&name(number), 0, &[0xee; 512]).unwrap(),
            Self::Zeros(number, at) => {
                disk.overwrite(&name(number), at, &[0; 8192]).unwrap();
            }
        }
    }
}

/// Harms that leave something to mend.
pub(crate) fn harms(disk: &SimDisk) -> Vec<Harm> {
    let mut all = Vec::new();
    for number in 0..Archived::of(disk, |_| usize::MAX).0.len() as u64 {
        all.extend([Harm::Gone(number), Harm::Header(number)]);
        all.extend([5_000, 30_000].map(|at| Harm::Flip(number, at)));
        all.extend([8_192, 16_384].map(|at| Harm::Zeros(number, at)));
    }
    let none = Archived(Vec::new());
    all.retain(|harm| {
        let damaged = disk.fork();
        harm.happen(&damaged);
        none.with(|copies| look(&damaged, copies)).map_or(true, |it| !it.is_sound())
    });
    let flips = all.iter().filter(|it| matches!(it, Harm::Flip(..))).count();
    assert!(all.len() > 30 && flips > 8, "{all:?}");
    all
}

/// Those of them that an open refuses the log for.
pub(crate) fn refused(disk: &SimDisk) -> Vec<Harm> {
    let mut all = harms(disk);
    all.retain(|harm| {
        let damaged = disk.fork();
        harm.happen(&damaged);
        recover(&damaged).is_err()
    });
    let flips = all.iter().filter(|it| matches!(it, Harm::Flip(..))).count();
    assert!(all.len() > 20 && flips > 5, "{all:?}");
    all
}

/// Whether an error says that a cut is needed.
pub(crate) fn wants_cut(error: &siding::Error) -> bool {
    error.kind() == ErrorKind::Invalid && error.to_string().contains("cut")
}
