//! What moves ask of the disk beside what they copy: few bytes, few syncs.

use crate::support::StillClock;
use siding::disk::{DirLock, Disk, Geometry, LockError, LogFile};
use siding::{Durability, Log, Options, PinKind, Result};
use siding_sim::SimDisk;
use siding_sim::disk::{Crash, Op};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SEGMENT: u64 = 1 << 20;

/// A disk that counts the bytes that are read of it.
#[derive(Clone, Debug)]
struct Counting {
    disk: SimDisk,
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn LogFile>,
    read: Arc<AtomicU64>,
}

impl Counting {
    fn new(disk: SimDisk) -> Self {
        Self { disk, read: Arc::default() }
    }

    /// Bytes read since this was asked last.
    fn take(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }

    fn file(&self, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(CountingFile { file, read: Arc::clone(&self.read) })
    }
}

impl LogFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        self.file.write_at(offset, bufs, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.file.read_at(offset, buf)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Disk for Counting {
    fn name(&self) -> &'static str {
        self.disk.name()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.file(self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.file(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self) -> std::result::Result<Box<dyn DirLock>, LockError> {
        self.disk.lock()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes()
    }

    fn path(&self) -> Option<PathBuf> {
        self.disk.path()
    }
}

fn options(clock: &Arc<StillClock>) -> Options {
    Options::new()
        .segment_size(SEGMENT)
        .ring_size(1 << 20)
        .durability(Durability::Relaxed)
        .without_threads(Arc::<StillClock>::clone(clock))
}

/// A log of so many segments that nothing keeps but stuck units: an eighth of what there is, in
/// pieces of 16,000 bytes.
fn backlog(log: &Log, segments: u64) -> Result<()> {
    let mut number = 0_u64;
    while log.positions().end.get() < segments * SEGMENT {
        let mut unit = log.begin()?;
        for _ in 0..4 {
            unit.append(&[7; 4_000])?;
        }
        drop(unit.submit_prepare(format!("stuck-{number}").as_bytes())?);
        number += 1;
        for _ in 0..7 {
            log.write(&[1; 16_000])?;
        }
        log.tick();
    }
    log.ensure_durable(log.positions().end)?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    Ok(())
}

fn moved(log: &Log) -> u64 {
    log.units().iter().map(|unit| unit.secondary_bytes).sum()
}

#[test]
fn what_is_moved_is_read_and_little_else() -> Result<()> {
    let (disk, clock) = (Counting::new(SimDisk::new(1)), StillClock::new());
    let log = options(&clock).forks(false).open_on(Arc::new(disk.clone()))?.finish()?;
    backlog(&log, 12)?;
    log.close()?;
    let log = options(&clock).open_on(Arc::new(disk.clone()))?.finish()?;
    disk.take();
    for _ in 0..100 {
        clock.advance(50);
        log.tick();
        log.write(&[1; 100])?;
        log.ensure_durable(log.positions().end)?;
    }
    let (moved, read) = (moved(&log), disk.take());
    assert!(moved > 1_300_000, "{moved}");
    // A block before and one behind each unit, and a directory of two blocks for each segment.
    let directories = 12 * 2 * 4_096;
    assert!(read <= moved * 3 / 2 + directories, "{read} bytes were read for {moved}");
    log.close()
}

#[test]
fn directories_that_are_not_there_are_made_a_few_at_a_time() -> Result<()> {
    let (disk, clock) = (SimDisk::new(1), StillClock::new());
    let log = options(&clock).forks(false).open_on(Arc::new(disk.clone()))?.finish()?;
    // What a crash leaves of a log that takes no keypoints: the scan knows no directories of the
    // segment that it began in.
    let mut unit = log.begin()?;
    for _ in 0..4 {
        unit.append(&[7; 4_000])?;
    }
    drop(unit.submit_prepare(b"stuck")?);
    let torn = |log: &Log| {
        // Written, and never sealed by a tick: nobody writes the directory.
        let end = log.positions().end.get() + 4 * SEGMENT;
        while log.positions().end.get() < end {
            log.write(&[1; 16_000])?;
        }
        log.ensure_durable(log.positions().end)
    };
    torn(&log)?;
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    let disk = Counting::new(left);
    let log = options(&clock).open_on(Arc::new(disk.clone()))?.finish()?;
    let (mut most, mut all) = (0, 0);
    disk.take();
    for _ in 0..40 {
        clock.advance(50);
        log.tick();
        log.write(&[1; 100])?;
        log.ensure_durable(log.positions().end)?;
        let read = disk.take();
        (most, all) = (most.max(read), all + read);
    }
    assert!(moved(&log) > 16_000);
    assert!(all > 3 * SEGMENT, "{all}: the directories were there");
    // Two segments, and what was read of the unit.
    assert!(most <= 2 * SEGMENT + (256 << 10), "{most} bytes were read in one go");
    log.close()
}

#[test]
fn a_round_waits_until_it_is_worth_a_sync() -> Result<()> {
    let (disk, clock) = (SimDisk::new(1), StillClock::new());
    let log = options(&clock).forks(false).open_on(Arc::new(disk.clone()))?.finish()?;
    backlog(&log, 24)?;
    log.close()?;
    let log = options(&clock).fork_rate(1 << 20).open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let before = usize::try_from(disk.calls()).unwrap();
    for _ in 0..100 {
        clock.advance(20);
        log.tick();
        log.write(&[1; 100])?;
        log.ensure_durable(log.positions().end)?;
    }
    let synced =
        |call: &&siding_sim::disk::Call| call.op == Op::Sync && call.name.ends_with(".ext");
    let syncs = disk.trace()[before..].iter().filter(synced).count();
    // Two seconds, four rounds in each, and files that became full.
    assert!((6..=12).contains(&syncs), "{syncs} syncs of the secondary log");
    let moved = moved(&log);
    assert!(moved > 2_000_000, "{moved} bytes in two seconds at 1 MiB, half a MiB before");
    log.close()
}

#[test]
fn commits_below_the_redo_position_hold_no_log_that_it_does_not_need() -> Result<()> {
    let (disk, clock) = (SimDisk::new(1), StillClock::new());
    let log = options(&clock).forks(false).open_on(Arc::new(disk.clone()))?.finish()?;
    backlog(&log, 4)?;
    log.close()?;
    let log = options(&clock).forks(false).open_on(Arc::new(disk))?.finish()?;
    // No redo position is reported meanwhile: what each COMMIT needs is remembered coarsely.
    for _ in 0..20_000 {
        log.write(&[1; 16])?;
    }
    let pins = log.why_retained();
    let commits = pins.iter().find(|pin| pin.kind == PinKind::Commits);
    assert!(commits.is_none(), "{commits:?}");
    log.close()
}
