//! A log that is only looked at: closed, left by a crash, damaged, and in use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use siding::disk::{DirLock, Disk, Geometry, LockError, LogFile, MemoryDisk, SystemClock};
use siding::{
    ErrorKind, Kind, Log, Lsn, Options, Owner, ReadOnly, Result, SegmentState, UnitState, Usage,
};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn small() -> Options {
    Options::new().segment_size(64 << 10).ring_size(256 << 10)
}

/// Every file of a directory, byte for byte.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

/// What a crash at this moment would leave, if everything handed to the system survived it.
fn copy(from: &Path, to: &Path) {
    for (name, bytes) in contents(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

/// A log with a unit in doubt, one in flight, one committed, one decided.
fn make(path: &Path) -> Result<Log> {
    let log = small().open(path)?.finish()?;
    log.write(b"committed")?;
    let mut doubt = log.begin()?;
    doubt.append(b"debit")?;
    doubt.append(b"credit")?;
    drop(doubt.prepare(b"gid-1").unwrap());
    let mut decided = log.begin()?;
    decided.append(b"decided")?;
    drop(decided.decide()?);
    Ok(log)
}

#[test]
fn a_closed_log_is_shown_to_its_end_and_nothing_is_written() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = make(dir.path())?;
    let (units, pins) = (log.units(), log.why_retained());
    log.close()?;
    let before = contents(dir.path());
    let seen = Log::open_read_only(dir.path())?;
    assert_eq!(seen.usage(), Usage::Closed);
    assert!(seen.is_clean());
    assert_eq!(seen.row().unwrap().letter, 'A');
    assert!(seen.trouble().is_none());
    let states: Vec<_> = seen.units().iter().map(|unit| (unit.unit, unit.state)).collect();
    assert_eq!(states, units.iter().map(|unit| (unit.unit, unit.state)).collect::<Vec<_>>());
    assert_eq!(seen.units()[0].gid, b"gid-1");
    assert_eq!((seen.units()[0].records, seen.units()[0].bytes), (3, units[0].bytes));
    let named = |pins: &[siding::Pin]| -> Vec<_> {
        pins.iter().map(|pin| (pin.kind, pin.owner.clone(), pin.lsn)).collect()
    };
    assert_eq!(named(&seen.why_retained()), named(&pins));
    let mut kinds = Vec::new();
    let mut chain = seen.unit_records(units[0].unit)?;
    while let Some(record) = chain.next()? {
        kinds.push((record.kind(), record.payload().len()));
    }
    assert_eq!(kinds[1..], [(Kind::Data, 6), (Kind::Data, 5)]);
    assert_eq!(kinds[0].0, Kind::Prepare);
    let records: Vec<_> = seen.records(Lsn::ZERO)?.owned().collect::<Result<_>>()?;
    assert_eq!(records.last().unwrap().kind(), Kind::Close);
    assert_eq!(seen.read(records[0].lsn())?.payload(), b"committed");
    let segments = seen.segments()?;
    assert_eq!(segments[0].state, SegmentState::Open);
    assert_eq!(segments[0].kept_end, Some(seen.positions().end));
    assert_eq!(contents(dir.path()), before, "looking changed something");
    Ok(())
}

#[test]
fn what_a_crash_leaves_is_shown_with_its_letter() -> Result<()> {
    let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = make(dir.path())?;
    let mut flying = log.begin()?;
    flying.append(b"in flight")?;
    log.ensure_durable(log.positions().end)?;
    copy(dir.path(), left.path());
    let seen = Log::open_read_only(left.path())?;
    assert_eq!((seen.usage(), seen.row().unwrap().letter), (Usage::Closed, 'B'));
    assert!(!seen.is_clean());
    let states: Vec<_> = seen.units().iter().map(|unit| unit.state).collect();
    assert_eq!(states, [UnitState::InDoubt, UnitState::Committed, UnitState::InFlight]);
    assert_eq!(seen.positions().end, log.positions().durable);
    flying.back_out()?;
    log.close()
}

#[test]
fn a_damaged_log_is_shown_up_to_the_damage() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = make(dir.path())?;
    let hole = log.positions().end;
    log.write(b"this one rots")?;
    log.write(b"and this one proves that it was durable")?;
    log.close()?;
    let file = dir.path().join("0000000000000000.seg");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(13).position(|window| window == b"this one rots").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let seen = Log::open_read_only(dir.path())?;
    let trouble = seen.trouble().expect("damage below what was durable");
    assert_eq!((trouble.kind(), trouble.letter()), (ErrorKind::Corrupt, Some('H')));
    assert_eq!(seen.row().unwrap().letter, 'H');
    assert_eq!(trouble.lsn(), Some(hole));
    assert_eq!(seen.units().len(), 2);
    let read: Vec<_> = seen.records(Lsn::ZERO)?.owned().collect();
    let (last, good) = read.split_last().unwrap();
    assert!(good.iter().all(Result::is_ok) && !good.is_empty());
    assert_eq!(last.as_ref().unwrap_err().letter(), Some('H'));
    Ok(())
}

#[test]
fn no_log_is_not_found_and_a_foreign_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Log::open_read_only(dir.path()).unwrap_err().kind(), ErrorKind::NotFound);
    let nowhere = dir.path().join("nowhere");
    assert_eq!(Log::open_read_only(nowhere).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(dir.path().join("0000000000000000.seg"), vec![7; 8192]).unwrap();
    let error = Log::open_read_only(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignFile);
    assert!(error.to_string().contains("0000000000000000.seg"), "{error}");
}

#[test]
fn a_log_in_use_is_shown_below_what_was_durable() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = make(dir.path())?;
    let seen = Log::open_read_only(dir.path())?;
    assert!(matches!(seen.usage(), Usage::Open(owner) if owner.pid == Some(std::process::id())));
    assert!(seen.row().is_none() && seen.trouble().is_none());
    // The last batch is proved durable by none behind it.
    assert!(seen.positions().end < log.positions().durable);
    let mut flying = log.begin()?;
    flying.append(b"not durable")?;
    let mut seen = Log::open_read_only(dir.path())?;
    assert_eq!(seen.units().len(), 1);
    log.write(b"makes what stands before it known")?;
    seen.refresh()?;
    log.write(b"and this the one before")?;
    seen.refresh()?;
    assert_eq!(seen.units().len(), 3);
    flying.back_out()?;
    log.close()
}

/// A writer commits, reports redo positions and takes keypoints, so that segments are trimmed and
/// recycled all the time; readers look again and again. They see a stretch without a gap, or are
/// told that it was trimmed under them; never damage.
#[test]
fn readers_of_a_log_that_is_trimmed_under_them_see_no_damage() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path())?.finish()?;
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let looks = AtomicU64::new(0);
    let trimmed = AtomicU64::new(0);
    std::thread::scope(|scope| -> Result<()> {
        let reader = || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let seen = Log::open_read_only(dir.path())?;
                assert!(seen.trouble().is_none(), "{:?}", seen.trouble());
                let mut records = seen.records(Lsn::ZERO)?;
                let mut last: Option<u64> = None;
                loop {
                    match records.next() {
                        Ok(None) => break,
                        Ok(Some(record)) if record.kind() == Kind::Data => {
                            let number =
                                u64::from_le_bytes(record.payload()[..8].try_into().unwrap());
                            assert!(
                                last.is_none_or(|last| last + 1 == number),
                                "{last:?} {number}"
                            );
                            last = Some(number);
                        }
                        Ok(Some(_)) => {}
                        Err(error) if error.kind() == ErrorKind::Trimmed => {
                            trimmed.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        let until = Instant::now() + Duration::from_secs(4);
        let mut number = 0_u64;
        let result = (|| -> Result<()> {
            while Instant::now() < until && !readers.iter().any(|reader| reader.is_finished()) {
                let mut payload = vec![0; 3000];
                payload[..8].copy_from_slice(&number.to_le_bytes());
                let lsn = log.write(&payload)?;
                number += 1;
                acknowledged.store(number, Ordering::Relaxed);
                if number.is_multiple_of(40) {
                    log.redo_from(lsn)?;
                    log.keypoint()?;
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap()?;
        }
        result
    })?;
    assert!(looks.load(Ordering::Relaxed) > 3, "{looks:?} looks");
    log.close()?;
    eprintln!("{looks:?} looks, {trimmed:?} trimmed under them, {acknowledged:?} commits");
    Ok(())
}

/// A directory whose owner writes more than a segment whenever somebody looks at anything.
#[derive(Debug)]
struct Racing {
    files: Arc<dyn Disk>,
    owner: Log,
    looks: AtomicU64,
    opens: AtomicU64,
    /// Opens of files before the owner moves on.
    quiet: u64,
}

impl Racing {
    fn move_on(&self) {
        let quiet = self.opens.load(Ordering::Relaxed) < self.quiet;
        if !quiet && self.looks.load(Ordering::Relaxed) < 3 {
            for _ in 0..8 {
                self.owner.write(&[7; 15_000]).unwrap();
            }
        }
    }
}

impl Disk for Racing {
    fn name(&self) -> &'static str {
        self.files.name()
    }

    fn geometry(&self) -> Geometry {
        self.files.geometry()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.move_on();
        let names = self.files.list();
        self.move_on();
        names
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.files.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        self.move_on();
        self.files.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.files.sync_dir()
    }

    fn lock(&self) -> std::result::Result<Box<dyn DirLock>, LockError> {
        self.files.lock()
    }

    fn owner(&self) -> io::Result<Option<Owner>> {
        Ok(Some(Owner { pid: None }))
    }

    fn free_bytes(&self) -> Option<u64> {
        self.files.free_bytes()
    }

    fn path(&self) -> Option<PathBuf> {
        self.files.path()
    }
}

#[test]
fn a_log_that_changes_with_every_look_is_still_whole() -> Result<()> {
    for quiet in 0..8 {
        let files: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let owner = small().open_on(Arc::clone(&files))?.finish()?;
        let first = owner.write(b"first")?;
        let clock = Arc::new(SystemClock::new());
        let (looks, opens) = (AtomicU64::new(0), AtomicU64::new(0));
        let racing = Arc::new(Racing { files, owner: owner.clone(), looks, opens, quiet });
        let seen = ReadOnly::open_on(Arc::<Racing>::clone(&racing), clock)?;
        assert_eq!(racing.looks.load(Ordering::Relaxed), 1, "one look is enough");
        assert!(seen.trouble().is_none(), "{:?}", seen.trouble());
        assert!(seen.positions().end >= first);
        owner.close()?;
    }
    Ok(())
}

#[test]
fn extents_are_told_oldest_behind_newest_as_far_as_they_can_be_read() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = small().forks(false).open(dir.path())?.finish()?;
    let mut unit = log.begin()?;
    for round in 1..=3 {
        for _ in 0..round {
            unit.append(b"to be moved")?;
        }
        log.fork(unit.id())?;
    }
    // Of a log in use only what a later batch calls durable is shown.
    log.write(b"later")?;
    let other = log.begin()?;
    let seen = Log::open_read_only(dir.path())?;
    let (extents, broken) = seen.extents_of(unit.id());
    assert!(broken.is_none(), "{broken:?}");
    let moves: Vec<_> = extents.iter().map(|extent| (extent.moves, extent.records)).collect();
    assert_eq!(moves, [(3, 3), (2, 2), (1, 1)]);
    let records = seen.unit_records(unit.id())?.owned().collect::<Result<Vec<_>>>()?;
    let lsns: Vec<_> = records.iter().map(|record| record.lsn()).collect();
    let mut told: Vec<_> = extents.iter().flat_map(|it| [it.newest, it.oldest]).collect();
    told.dedup();
    assert_eq!([told[0], told[1], told[2], told[3]], [lsns[0], lsns[2], lsns[3], lsns[4]]);
    let files = seen.extent_files()?;
    let whole: u64 = extents.iter().map(|extent| extent.bytes).sum();
    assert!(files.len() == 1 && files[0].1 >= whole && files[0].0 == extents[0].file);
    // A unit that is not live has none, and says why.
    let (none, why) = seen.extents_of(other.id());
    assert_eq!((none.len(), why.unwrap().kind()), (0, ErrorKind::NotFound));
    // The file is cut in front of the newest extent: nothing is told that cannot be read.
    let file = dir.path().join(&files[0].0);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..usize::try_from(extents[0].offset).unwrap()]).unwrap();
    let (left, broken) = Log::open_read_only(dir.path())?.extents_of(unit.id());
    assert_eq!(left.len(), 0);
    assert!(broken.unwrap().to_string().contains(&files[0].0));
    unit.back_out()?;
    log.close()
}
