//! Shipping: all that is written gets there, whatever fails, and nothing is trimmed before.

use crate::support::{StillClock, quiet};
use siding::archive::{
    ArchiveOptions, Compression, Histories, Indexer, Inventory, Piece, SegmentIndex, Source,
    archive_log, gaps_of, read_segment,
};
use siding::disk::{Clock, Disk};
use siding::sink::{DirectorySink, Put, Sink, Stored};
use siding::{ErrorKind, Log, Lsn, PinKind, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A log in small segments, its clock, its archive.
pub(crate) struct Rig {
    pub(crate) clock: Arc<StillClock>,
    pub(crate) disk: SimDisk,
    pub(crate) archive: SimDisk,
    pub(crate) log: Log,
    written: u8,
}

impl Rig {
    /// Opens the log, archived from the first moment on, but by nobody yet.
    pub(crate) fn open(disk: &SimDisk, archive: &SimDisk) -> Result<Self> {
        let clock = StillClock::new();
        let options = quiet().without_threads(Arc::clone(&clock) as Arc<dyn Clock>);
        let options = options.keypoint_bytes(64 << 10).archived(true);
        let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
        Ok(Self { clock, disk: disk.clone(), archive: archive.clone(), log, written: 0 })
    }

    pub(crate) fn new() -> Result<Self> {
        Self::open(&SimDisk::new(1), &SimDisk::new(2))
    }

    pub(crate) fn sink(&self) -> Arc<DirectorySink> {
        Arc::new(DirectorySink::new(Arc::new(self.archive.clone())))
    }

    pub(crate) fn start(&self) -> Result<()> {
        self.log.archive_to(self.sink(), ArchiveOptions::default())
    }

    /// Writes records for so many segments; all of it is applied at once.
    pub(crate) fn write(&mut self, segments: u64) -> Result<()> {
        let upto = Lsn::new(self.log.positions().end.get() + segments * (64 << 10));
        while self.log.positions().end < upto {
            self.written = self.written.wrapping_add(1);
            let lsn = self.log.write(&vec![self.written; 3_000])?;
            self.log.redo_from(lsn)?;
            self.clock.advance(300);
            self.log.tick();
        }
        Ok(())
    }

    pub(crate) fn inventory(&self) -> Result<Inventory> {
        Inventory::of(&*self.sink())
    }

    fn oldest(&self) -> u64 {
        self.log.positions().oldest.get() / (64 << 10)
    }
}

/// Whether each segment can be read as its index says; where the archive of one history ends.
pub(crate) fn whole(sink: &dyn Sink, found: &Inventory) -> Result<Lsn> {
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    for index in &found.segments {
        let told = index.joints.iter().map(|it| it.end).collect();
        let mut indexer = Indexer::new(Some(index.log_id), told);
        read_segment(sink, index, &mut |block| indexer.feed(block))?;
        let read = indexer.finish(index.sealed)?;
        let (stored, compression) = (index.stored.clone(), index.compression);
        assert_eq!(SegmentIndex { stored, compression, ..read }, *index);
    }
    Ok(found.segments.iter().map(SegmentIndex::end).max().unwrap_or(Lsn::ZERO))
}

/// The numbers of the segments of the newest history, from the start of the log or of a gap.
pub(crate) fn chain(found: &Inventory) -> Vec<u64> {
    let pieces: Vec<Piece> = found
        .segments
        .iter()
        .map(|index| Piece { index: index.clone(), source: Source::Archive })
        .collect();
    let histories = Histories::new(&pieces);
    let branch = histories.branches().into_iter().next().unwrap();
    histories.of(&branch).map(|(piece, _)| piece.index.number).collect()
}

#[test]
fn what_is_sealed_is_shipped_and_trimmed_only_then() -> Result<()> {
    let mut rig = Rig::new()?;
    rig.write(4)?;
    assert_eq!(rig.oldest(), 0, "an archive is to come: nothing is trimmed");
    rig.start()?;
    rig.write(3)?;
    rig.log.tick();
    assert!(rig.oldest() > 4, "{:?}", rig.log.why_retained());
    let found = rig.inventory()?;
    whole(&*rig.sink(), &found)?;
    let chained = chain(&found);
    assert_eq!(chained, (0..chained.len() as u64).collect::<Vec<_>>());
    assert!(found.segments.iter().all(|it| it.sealed) && chained.len() as u64 >= rig.oldest());
    // The open segment is shipped when it is asked for, as far as it is written; again if it grew.
    let mut pieces = found.segments.len();
    for _ in 0..3 {
        rig.log.write(&[9; 100])?;
        let shipped = rig.log.archive_now()?;
        assert_eq!((shipped.segments, shipped.failures, shipped.gaps.len()), (0, 0, 0));
        let found = rig.inventory()?;
        let end = whole(&*rig.sink(), &found)?;
        assert_eq!((end, shipped.upto), (rig.log.positions().durable, end));
        assert_eq!(found.superfluous().0.len(), found.segments.len() - chain(&found).len());
        assert!(found.segments.len() > pieces);
        pieces = found.segments.len();
    }
    Ok(())
}

#[test]
fn an_idle_log_is_marked_each_second_while_an_archiver_runs() -> Result<()> {
    let mut rig = Rig::new()?;
    rig.write(1)?;
    rig.start()?;
    let from = rig.clock.wall_ms();
    for _ in 0..100 {
        rig.clock.advance(100);
        rig.log.tick();
    }
    rig.log.archive_now()?;
    let found = rig.inventory()?;
    let marks = found.segments.last().unwrap().marks.iter().filter(|it| it.time_ms > from);
    assert!((9..=13).contains(&marks.count()), "{found:?}");
    Ok(())
}

#[test]
fn a_closed_log_is_shipped_to_its_end_and_again_only_what_is_new() -> Result<()> {
    let (disk, archive) = (SimDisk::new(1), SimDisk::new(2));
    let mut pieces = 0;
    for _ in 0..3 {
        let mut rig = Rig::open(&disk, &archive)?;
        rig.write(2)?;
        rig.log.close()?;
        let clock: Arc<dyn Clock> = Arc::<StillClock>::clone(&rig.clock);
        let log = siding::ReadOnly::open_on(Arc::new(disk.clone()), clock)?;
        let (sink, options) = (rig.sink(), ArchiveOptions::default());
        let shipped = archive_log(&log, &*sink, options.clone())?;
        assert_eq!(shipped.upto, log.positions().end);
        let found = rig.inventory()?;
        assert_eq!(whole(&*sink, &found)?, log.positions().end);
        assert!(found.segments.len() >= pieces + 2);
        pieces = found.segments.len();
        archive_log(&log, &*sink, options)?;
        assert_eq!(rig.inventory()?.segments.len(), pieces, "nothing is shipped twice");
        let marks = found.segments.last().unwrap().marks.last().unwrap();
        assert!(marks.lsn <= log.positions().end, "CLOSE tells the time");
    }
    Ok(())
}

/// A sink that fails when it is told to, and counts what is begun.
#[derive(Debug)]
struct Moody {
    inner: DirectorySink,
    down: AtomicBool,
    begun: AtomicU64,
}

impl Sink for Moody {
    fn put(&self, name: &str) -> io::Result<Box<dyn Put>> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        match self.down.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the place is down")),
            false => self.inner.put(name),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Stored>> {
        self.inner.open(name)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        self.inner.list(prefix)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn place(&self) -> String {
        "elsewhere".into()
    }
}

fn moody(rig: &Rig) -> Arc<Moody> {
    let inner = DirectorySink::new(Arc::new(rig.archive.clone()));
    Arc::new(Moody { inner, down: AtomicBool::new(false), begun: AtomicU64::new(0) })
}

#[test]
pub(crate) fn what_fails_is_tried_again_later_and_later_and_the_log_is_kept() -> Result<()> {
    let mut rig = Rig::new()?;
    let sink = moody(&rig);
    let options = ArchiveOptions { owner: "the vault".into(), ..ArchiveOptions::default() };
    rig.log.archive_to(Arc::<Moody>::clone(&sink), options)?;
    rig.log.tick();
    sink.down.store(true, Ordering::Relaxed);
    rig.write(6)?;
    assert_eq!(rig.oldest(), 0);
    let pins = rig.log.why_retained();
    let pin = pins.iter().find(|pin| pin.kind == PinKind::Archive).unwrap();
    assert!(pin.owner.contains("the vault, to elsewhere") && pin.lsn.is_zero(), "{pin:?}");
    let status = rig.log.archive_status()?.unwrap();
    assert_eq!((status.shipped.segments, status.let_go), (6, false));
    assert!(status.shipped.trouble.is_some_and(|it| it.contains("the place is down")));
    assert!(status.held_bytes >= 6 << 16);
    let error = rig.log.archive_now().unwrap_err();
    assert!(error.to_string().contains("the place is down"), "{error}");
    // The longer it is down, the less often it is asked, but once a minute it is.
    let (mut tries, mut begun) = (Vec::new(), sink.begun.load(Ordering::Relaxed));
    for _ in 0..4_000 {
        rig.clock.advance(50);
        rig.log.tick();
        if sink.begun.load(Ordering::Relaxed) > begun {
            begun = sink.begun.load(Ordering::Relaxed);
            tries.push(rig.clock.wall_ms());
        }
    }
    let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.is_sorted() && waits.last() == Some(&60_000), "{waits:?}");
    sink.down.store(false, Ordering::Relaxed);
    rig.clock.advance(60_000);
    rig.log.tick();
    rig.write(2)?;
    assert!(rig.oldest() >= 5, "{:?}", rig.log.why_retained());
    let found = rig.inventory()?;
    whole(&*sink, &found)?;
    let numbers: Vec<u64> = (0..chain(&found).len() as u64).collect();
    assert_eq!(chain(&found), numbers);
    Ok(())
}

#[test]
pub(crate) fn beyond_its_quota_the_pin_lets_go_and_the_gap_is_named() -> Result<()> {
    let mut rig = Rig::new()?;
    let sink = moody(&rig);
    let options = ArchiveOptions { quota: 4 * (64 << 10), ..ArchiveOptions::default() };
    rig.log.archive_to(Arc::<Moody>::clone(&sink), options)?;
    rig.write(2)?;
    sink.down.store(true, Ordering::Relaxed);
    rig.write(3)?;
    let oldest = rig.oldest();
    assert!(!rig.log.archive_status()?.unwrap().let_go);
    rig.write(8)?;
    let status = rig.log.archive_status()?.unwrap();
    assert!(rig.oldest() > oldest + 3, "the log is not full for the archive");
    let pins = rig.log.why_retained();
    let pin = pins.iter().find(|pin| pin.kind == PinKind::Archive).unwrap();
    assert!(pin.owner.contains("more than its quota"), "{pin:?}");
    assert!(pin.bytes <= status.quota && status.held_bytes <= status.quota);
    let [gap] = status.shipped.gaps.as_slice() else { panic!("{status:?}") };
    assert_eq!(gap.segment, rig.oldest() - 1);
    // It goes on behind the gap, and the gap stays named, by the next open too.
    sink.down.store(false, Ordering::Relaxed);
    rig.clock.advance(60_000);
    rig.write(2)?;
    let now = rig.log.archive_now()?;
    assert_eq!((now.segments, now.gaps.as_slice()), (0, std::slice::from_ref(gap)));
    rig.log.close()?;
    let rig = Rig::open(&rig.disk, &rig.archive)?;
    rig.start()?;
    assert_eq!(rig.log.archive_now()?.gaps.as_slice(), std::slice::from_ref(gap));
    Ok(())
}

#[test]
fn an_open_that_trims_before_it_archives_is_found_out() -> Result<()> {
    let mut rig = Rig::new()?;
    rig.start()?;
    rig.write(3)?;
    rig.log.archive_now()?;
    rig.log.close()?;
    // Somebody opens it without a word of the archive, and a lot goes by.
    let clock = StillClock::new();
    let options = quiet().without_threads(Arc::clone(&clock) as Arc<dyn Clock>);
    let log = options.keypoint_bytes(64 << 10).open_on(Arc::new(rig.disk.clone()))?.finish()?;
    let mut other = Rig { clock, log, ..rig };
    other.write(6)?;
    other.log.close()?;
    let rig = Rig::open(&other.disk, &other.archive)?;
    rig.start()?;
    let shipped = rig.log.archive_now()?;
    assert_eq!(shipped.gaps.len(), 1, "{shipped:?}");
    assert!(shipped.gaps[0].to_string().contains("gap from LSN"), "{}", shipped.gaps[0]);
    let found = rig.inventory()?;
    assert!(!chain(&found).contains(&0));
    let pieces = found.segments.iter().cloned();
    let pieces: Vec<Piece> = pieces.map(|index| Piece { index, source: Source::Archive }).collect();
    assert_eq!(gaps_of(&Histories::new(&pieces)), shipped.gaps);
    Ok(())
}

/// The power goes at every step of the archive's disk, and at every step of the log's.
#[test]
pub(crate) fn whenever_the_power_goes_nothing_that_was_trimmed_is_missing() -> Result<()> {
    let mut cuts = 0;
    for (of_archive, step) in [(true, 1), (false, 7)] {
        for cut in (0..).step_by(step) {
            let mut rig = Rig::new()?;
            rig.start()?;
            rig.write(1)?;
            let disk = if of_archive { &rig.archive } else { &rig.disk };
            disk.cut_at(disk.trace().len() as u64 + cut);
            let trouble = rig.write(5).and_then(|()| rig.log.archive_now().map(drop));
            let over = !rig.archive.is_off() && !rig.disk.is_off();
            rig.log.abandon();
            if over {
                trouble?;
                break;
            }
            cuts += 1;
            for survives in [Crash::DropAll, Crash::KeepAll, Crash::Random(cut)] {
                let (disk, archive) = (rig.disk.crash(survives), rig.archive.crash(survives));
                let after = Rig::open(&disk, &archive)?;
                let found = after.inventory()?;
                whole(&*after.sink(), &found)?;
                after.start()?;
                let shipped = after.log.archive_now()?;
                assert_eq!(shipped.gaps.len(), 0, "cut {cut}: {shipped:?}");
                let found = after.inventory()?;
                assert_eq!(whole(&*after.sink(), &found)?, after.log.positions().durable);
                let numbers: Vec<u64> = (0..chain(&found).len() as u64).collect();
                assert_eq!(chain(&found), numbers, "cut {cut}");
            }
        }
    }
    assert!(cuts > 60, "{cuts}");
    Ok(())
}

#[test]
fn a_damaged_segment_is_not_shipped_and_the_others_are() -> Result<()> {
    let mut rig = Rig::new()?;
    rig.write(3)?;
    rig.disk.overwrite("0000000000000001.seg", 20_000, &[0x55; 64]).unwrap();
    rig.start()?;
    let error = rig.log.archive_now().unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    for _ in 0..5 {
        rig.log.tick();
    }
    let numbers: Vec<u64> = rig.inventory()?.segments.iter().map(|it| it.number).collect();
    assert!(numbers.contains(&0) && numbers.contains(&2) && !numbers.contains(&1), "{numbers:?}");
    assert!(rig.inventory()?.unfinished.is_empty());
    Ok(())
}

#[test]
fn threads_ship_while_others_write() -> Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(siding::disk::MemoryDisk::new());
    let archive: Arc<dyn Disk> = Arc::new(siding::disk::MemoryDisk::new());
    let options = siding::Options::new().segment_size(256 << 10).ring_size(1 << 20);
    let log = options.keypoint_bytes(256 << 10).archived(true).open_on(disk)?.finish()?;
    let sink = Arc::new(DirectorySink::new(archive));
    let options = ArchiveOptions { parallel: 3, ..ArchiveOptions::default() };
    log.archive_to(Arc::<DirectorySink>::clone(&sink), options.clone())?;
    let twice = log.archive_to(Arc::<DirectorySink>::clone(&sink), options).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::InUse);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let log = log.clone();
            scope.spawn(move || {
                for round in 0..400_u32 {
                    let lsn = log.write(&vec![thread; 5_000]).unwrap();
                    log.redo_from(lsn).unwrap();
                    if round % 100 == 99 {
                        log.archive_now().unwrap();
                    }
                }
            });
        }
    });
    let shipped = log.archive_now()?;
    assert_eq!((shipped.segments, shipped.gaps.len()), (0, 0));
    let found = Inventory::of(&*sink)?;
    assert_eq!(whole(&*sink, &found)?, shipped.upto);
    let numbers: Vec<u64> = (0..chain(&found).len() as u64).collect();
    assert_eq!(chain(&found), numbers);
    assert!(numbers.len() > 20, "{}", numbers.len());
    log.close()
}

#[test]
fn files_are_compressed_if_the_build_can() -> Result<()> {
    let mut rig = Rig::new()?;
    let options = ArchiveOptions { compression: Compression::Zstd, ..ArchiveOptions::default() };
    let begun = rig.log.archive_to(rig.sink(), options);
    if cfg!(not(feature = "zstd")) {
        assert_eq!(begun.unwrap_err().kind(), ErrorKind::Invalid);
        return Ok(());
    }
    begun?;
    rig.write(3)?;
    rig.log.archive_now()?;
    let found = rig.inventory()?;
    assert_eq!(whole(&*rig.sink(), &found)?, rig.log.positions().durable);
    assert!(found.segments.iter().all(|it| it.stored.len < it.plain.len / 4));
    Ok(())
}
