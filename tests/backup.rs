//! Backup under way while work goes on, and what a restore of it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use siding::disk::{Disk, LogFile, MemoryDisk};
use siding::{ErrorKind, InDoubt, Log, Lsn, Manifest, ObjectFile, Result, UnitState, Update};
use siding_sim::disk::Crash;
use siding_sim::{Rng, SimDisk};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

mod support;
use support::{open, recover};

/// Bytes of a page, and how many there are.
const PAGE: usize = 4096;
const PAGES: u64 = 6;

type Pages = BTreeMap<u64, u64>;

/// A change of a page: which, and the value it gets.
fn change(payload: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

/// Updates in progress, each with what it writes to which page.
type Guards = Vec<(Update, u64, u64)>;

/// Pages and what is written to them, in order.
type Changes = Vec<(u64, u64)>;

/// What happened to a unit, as the log acknowledged it.
#[derive(Clone, Debug)]
enum Fate {
    Committed(Lsn),
    InDoubt(Vec<u8>),
}

/// A small database of pages, and everything that was done to it.
struct World {
    rng: Rng,
    log: Log,
    file: Arc<dyn LogFile>,
    next: u64,
    doubts: Vec<(InDoubt, Guards)>,
    /// Committed changes that are not in the file yet, in the order in which they go there.
    pending: Guards,
    /// What each unit did, and what became of it.
    history: Vec<(u64, Changes, Fate)>,
}

impl World {
    fn new(seed: u64, log: Log, disk: &MemoryDisk) -> Self {
        let file = disk.create("pages").unwrap();
        file.write_at(0, &[&vec![0; PAGE * usize::try_from(PAGES).unwrap()]], true).unwrap();
        let (doubts, pending, history) = (Vec::new(), Vec::new(), Vec::new());
        Self { rng: Rng::new(seed), log, file, next: 1, doubts, pending, history }
    }

    fn write(&self, page: u64, value: u64) {
        let mut bytes = [0; PAGE];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        self.file.write_at(page * PAGE as u64, &[&bytes], true).unwrap();
    }

    /// So many of the updates that are in progress go into the file.
    fn apply(&mut self, count: usize) {
        for (guard, page, value) in self.pending.drain(..count).collect::<Vec<_>>() {
            self.write(page, value);
            guard.done();
        }
    }

    /// A unit committed: its updates are in progress, or, without guards, in the file at once.
    fn committed(&mut self, guards: Guards, changes: &[(u64, u64)]) {
        if guards.is_empty() {
            self.apply(self.pending.len());
            changes.iter().for_each(|(page, value)| self.write(*page, *value));
        }
        self.pending.extend(guards);
    }

    fn unit(&mut self, in_doubt: bool) -> Result<()> {
        let guarded = self.rng.below(2) == 0;
        let mut unit = self.log.begin()?;
        let (id, mut changes, mut guards) = (unit.id(), Vec::new(), Vec::new());
        for _ in 0..=self.rng.below(2) {
            let (page, value) = (self.rng.below(PAGES), self.next);
            self.next += 1;
            let mut payload = vec![7; 16 + usize::try_from(self.rng.below(3_000)).unwrap()];
            payload[..8].copy_from_slice(&page.to_le_bytes());
            payload[8..16].copy_from_slice(&value.to_le_bytes());
            if guarded {
                guards.push((unit.update(7, &payload)?, page, value));
            } else {
                unit.append(&payload)?;
            }
            changes.push((page, value));
        }
        if in_doubt {
            let gid = format!("gid-{id}").into_bytes();
            self.doubts.push((unit.prepare(&gid)?, guards));
            self.history.push((id, changes, Fate::InDoubt(gid)));
        } else {
            let end = unit.commit()?;
            self.committed(guards, &changes);
            self.history.push((id, changes, Fate::Committed(end)));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        match self.rng.below(12) {
            0..4 => self.unit(false)?,
            4 => self.unit(true)?,
            5..8 => {
                let done = self.rng.below(self.pending.len() as u64 + 1);
                self.apply(usize::try_from(done).unwrap());
            }
            8 if !self.doubts.is_empty() => {
                let which = usize::try_from(self.rng.below(self.doubts.len() as u64)).unwrap();
                let (doubt, guards) = self.doubts.swap_remove(which);
                let id = doubt.id();
                let end = doubt.commit()?;
                let at = self.history.iter().position(|it| it.0 == id).unwrap();
                let (id, changes, _) = self.history.remove(at);
                self.committed(guards, &changes);
                self.history.push((id, changes, Fate::Committed(end)));
            }
            9 if !self.doubts.is_empty() => {
                let which = usize::try_from(self.rng.below(self.doubts.len() as u64)).unwrap();
                self.log.fork(self.doubts[which].0.id())?;
            }
            10 => {
                self.log.redo_from(self.log.positions().durable)?;
                self.log.keypoint()?;
            }
            _ => self.log.tick(),
        }
        Ok(())
    }

    /// What the pages hold once all that was committed below `end` is there, and who is in doubt.
    fn at(&self, end: Lsn) -> (Pages, Vec<Vec<u8>>) {
        let mut committed: Vec<(Lsn, &Changes)> = Vec::new();
        let mut doubts = Vec::new();
        for (_, changes, fate) in &self.history {
            match fate {
                Fate::Committed(at) if *at <= end => committed.push((*at, changes)),
                Fate::InDoubt(gid) => doubts.push(gid.clone()),
                Fate::Committed(_) => {}
            }
        }
        committed.sort_by_key(|(at, _)| *at);
        let mut pages: Pages = (0..PAGES).map(|page| (page, 0)).collect();
        for (page, value) in committed.into_iter().flat_map(|(_, changes)| changes) {
            pages.insert(*page, *value);
        }
        doubts.sort_unstable();
        (pages, doubts)
    }
}

/// The embedder's file, changing under the hands of who reads it, page by page.
#[derive(Clone)]
struct Busy(Arc<dyn LogFile>, Arc<Mutex<World>>);

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

impl LogFile for Busy {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        self.0.write_at(offset, bufs, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..4 {
            self.1.lock().unwrap().step().map_err(|error| io::Error::other(error.to_string()))?;
        }
        let len = buf.len().min(PAGE);
        self.0.read_at(offset, &mut buf[..len])
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.0.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A backup of a world in motion, and the world.
fn backed_up(seed: u64) -> Result<(Arc<Mutex<World>>, MemoryDisk, Manifest)> {
    let log = open(&SimDisk::new(seed))?;
    let files = MemoryDisk::new();
    let world = Arc::new(Mutex::new(World::new(seed, log.clone(), &files)));
    for _ in 0..60 {
        world.lock().unwrap().step()?;
    }
    let file = Busy(files.open("pages").unwrap(), Arc::clone(&world));
    let object = ObjectFile { object: 7, name: "pages".into(), file: Arc::new(file) };
    let sink = MemoryDisk::new();
    let manifest = log.backup_on(&sink, &[object], &|_| {})?;
    for _ in 0..20 {
        world.lock().unwrap().step()?;
    }
    log.abandon();
    Ok((world, sink, manifest))
}

/// Restores, and compares with what was acknowledged by the end of the backup.
fn check(world: &World, sink: &MemoryDisk) -> std::result::Result<(), String> {
    let told = |error: siding::Error| error.to_string();
    let (disk, files) = (SimDisk::new(9), MemoryDisk::new());
    let target = |_: &siding::BackupFile| Ok(files.create("pages").unwrap());
    let manifest = siding::restore_on(sink, &disk, &target, &|_| {}).map_err(told)?;
    let file = files.open("pages").unwrap();
    let mut pages = Pages::new();
    for page in 0..PAGES {
        let mut bytes = [0; PAGE];
        assert_eq!(file.read_at(page * PAGE as u64, &mut bytes).unwrap(), PAGE);
        pages.insert(page, u64::from_le_bytes(bytes[..8].try_into().unwrap()));
    }
    assert_eq!(file.len().unwrap(), PAGE as u64 * PAGES);
    let recovery = recover(&disk).map_err(told)?;
    let mut committed = recovery.committed().map_err(told)?;
    while let Some(record) = committed.next().map_err(told)? {
        let (page, value) = change(record.payload());
        pages.insert(page, value);
    }
    let (expected, doubts) = world.at(manifest.end);
    if pages != expected {
        return Err(format!("{pages:?} and not {expected:?}"));
    }
    let mut seen = Vec::new();
    for doubt in recovery.in_doubt() {
        let gid = doubt.gid().to_vec();
        let whole = world.history.iter().find(|it| it.0 == doubt.id()).unwrap();
        let effects = doubt.effects().map_err(told)?.owned();
        let effects: Vec<_> = effects
            .map(|it| it.map(|it| change(it.payload())))
            .collect::<Result<_>>()
            .map_err(told)?;
        if effects != whole.1 {
            return Err(format!("unit {:#x}: {effects:?} and not {:?}", doubt.id(), whole.1));
        }
        seen.push(gid);
    }
    seen.sort_unstable();
    // One that was committed behind the end of the backup is in doubt in it.
    let missing: Vec<_> = doubts
        .iter()
        .filter(|gid| manifest.in_doubt().iter().any(|it| it.1 == **gid) && !seen.contains(gid))
        .collect();
    if !missing.is_empty() || seen.len() != manifest.in_doubt().len() {
        return Err(format!("{missing:?} are not in doubt, but {seen:?}"));
    }
    Ok(())
}

#[test]
fn a_backup_under_load_restores_what_was_acknowledged_by_its_end() -> Result<()> {
    let mut doubts = 0;
    for seed in 0..150 {
        let (world, sink, manifest) = backed_up(seed)?;
        doubts += manifest.in_doubt().len();
        assert!(manifest.floor <= manifest.recovery_point);
        check(&world.lock().unwrap(), &sink).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(doubts > 100, "{doubts}");
    Ok(())
}

/// Wrong decisions of a backup are seen by the same test.
#[cfg(feature = "seeded-bugs")]
#[test]
fn wrong_backups_are_found() {
    use siding_wal::seeded::{Bug, with};
    for bug in Bug::OF_BACKUP {
        let found = (0..2_000).any(|seed| {
            with(bug, || match backed_up(seed) {
                Ok((world, sink, _)) => check(&world.lock().unwrap(), &sink).is_err(),
                Err(_) => true,
            })
        });
        assert!(found, "{bug:?} is not found");
    }
}

#[test]
fn a_backup_holds_the_log_until_it_is_over() -> Result<()> {
    let (_, sink, _) = backed_up(1)?;
    // Into a directory that is not empty there is no backup, nor a restore.
    let log = open(&SimDisk::new(1))?;
    assert_eq!(log.backup_on(&sink, &[], &|_| {}).unwrap_err().kind(), ErrorKind::Invalid);
    let pass = || -> Result<()> {
        for _ in 0..40 {
            log.write(&[1; 8_000])?;
        }
        log.redo_from(log.positions().durable)?;
        log.keypoint()?;
        log.tick();
        Ok(())
    };
    let doubt = |gid: &[u8]| -> Result<InDoubt> {
        let mut unit = log.begin()?;
        unit.append(&[7; 100])?;
        Ok(unit.prepare(gid)?)
    };
    let (moved, stays) = (doubt(b"moved")?, doubt(b"stays")?);
    log.hold(stays.id());
    log.fork(moved.id())?;
    pass()?;
    let oldest = log.positions().oldest;
    // Behind the stop keypoint, before the log is copied, one whose records that needs ends.
    let ends = Mutex::new(Some(stays));
    let sink = MemoryDisk::new();
    let manifest = log.backup_on(&sink, &[], &|copying| {
        if copying.name.ends_with(".ext")
            && let Some(stays) = ends.lock().unwrap().take()
        {
            stays.back_out().unwrap();
            pass().unwrap();
            assert_eq!(log.positions().oldest, oldest, "it is held");
        }
    })?;
    assert!(ends.lock().unwrap().is_none() && manifest.in_doubt().len() == 2);
    let disk = SimDisk::new(9);
    siding::restore_on(&sink, &disk, &|_| panic!("no object was copied"), &|_| {})?;
    for doubt in recover(&disk)?.in_doubt() {
        assert_eq!(doubt.effects()?.owned().count(), 1);
    }
    pass()?;
    assert!(log.positions().oldest > oldest, "no backup runs: it is trimmed");
    log.close()
}

/// What a plan of a restore goes by: where each object's recovery starts, which batch ends the
/// backup, who had not ended.
#[test]
fn a_manifest_says_where_each_object_starts_and_which_batch_ends_it() -> Result<()> {
    let log = open(&SimDisk::new(2))?;
    let files = MemoryDisk::new();
    let object = |object: u16| -> Result<ObjectFile> {
        let file = files.create(&format!("file-{object}")).unwrap();
        file.write_at(0, &[&[1; PAGE]], true).unwrap();
        Ok(ObjectFile { object, name: "file".into(), file })
    };
    let mut unit = log.begin()?;
    let (first, second) = (unit.update(1, b"first")?, unit.update(2, b"second")?);
    let (third, other) = (unit.update(1, b"third")?, unit.update(9, b"not copied")?);
    let (one, two) = (first.lsn(), third.lsn());
    first.done();
    second.done();
    other.done();
    let end = log.positions().end;
    let sink = MemoryDisk::new();
    let manifest = log.backup_on(&sink, &[object(3)?, object(1)?, object(2)?], &|_| {})?;
    assert_eq!(manifest.objects, [(1, two), (2, end), (3, end)]);
    assert!(one < two && manifest.recovery_point == two && two < end);
    assert_eq!(manifest.units.len(), 1);
    assert_eq!((manifest.units[0].unit, manifest.units[0].state), (unit.id(), UnitState::InFlight));
    assert!(manifest.in_doubt().is_empty());
    third.done();
    log.write(b"behind it")?;
    let disk = SimDisk::new(9);
    let target = |file: &siding::BackupFile| Ok(files.create(&file.stored).unwrap());
    siding::restore_on(&sink, &disk, &target, &|_| {})?;
    let mut scan = siding_wal::read::survey(&disk)?.scan()?;
    while let siding_wal::read::Step::Batch(_) = scan.next_batch()? {}
    assert_eq!((scan.position(), scan.digest()), (manifest.end, Some(manifest.end_digest)));
    unit.back_out()?;
    Ok(())
}

/// Each file damaged or gone is named; a backup or a restore that was broken off is none.
#[test]
fn what_is_damaged_or_broken_off_restores_nothing() -> Result<()> {
    let (_, sink, manifest) = backed_up(3)?;
    siding::verify_backup(&sink, &|_| {})?;
    for file in &manifest.files {
        let whole = sink.open(&file.stored).unwrap();
        let mut byte = [0; PAGE];
        whole.read_at(0, &mut byte).unwrap();
        byte[40] ^= 1;
        whole.write_at(0, &[&byte], true).unwrap();
        let error = siding::verify_backup(&sink, &|_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&file.stored), "{error}");
        // A restore of it is no log, and says so.
        let (disk, files) = (SimDisk::new(9), MemoryDisk::new());
        let target = |_: &siding::BackupFile| Ok(files.create("pages").unwrap());
        assert!(siding::restore_on(&sink, &disk, &target, &|_| {}).is_err());
        let refused = recover(&disk).unwrap_err();
        assert!(refused.to_string().contains("broken off"), "{refused}");
        byte[40] ^= 1;
        whole.write_at(0, &[&byte], true).unwrap();
    }
    sink.remove(&manifest.files[0].stored).unwrap();
    let error = siding::verify_backup(&sink, &|_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    Ok(())
}

/// Power goes at each call of a backup, and of a restore: all of it is there, or nothing.
#[test]
fn a_power_cut_leaves_a_whole_backup_or_none_and_a_whole_restore_or_none() -> Result<()> {
    let (_, whole, manifest) = backed_up(5)?;
    let log = open(&SimDisk::new(5))?;
    log.write(b"something")?;
    for cut in 0.. {
        let sink = SimDisk::new(cut);
        sink.cut_at(cut);
        let done = log.backup_on(&sink, &[], &|_| {}).is_ok();
        for crash in [Crash::DropAll, Crash::KeepAll] {
            let left = sink.crash(crash);
            match siding::verify_backup(&left, &|_| {}) {
                Ok(_) => {}
                Err(error) => {
                    assert!(!done, "cut {cut}: {error}");
                    assert_eq!(error.kind(), ErrorKind::NotFound, "cut {cut}: {error}");
                }
            }
        }
        if done {
            break;
        }
    }
    let files = MemoryDisk::new();
    for cut in 0.. {
        let disk = SimDisk::new(cut);
        disk.cut_at(cut);
        let name = format!("pages-{cut}");
        let target = |_: &siding::BackupFile| Ok(files.create(&name).unwrap());
        let done = siding::restore_on(&whole, &disk, &target, &|_| {}).is_ok();
        for crash in [Crash::DropAll, Crash::KeepAll] {
            let left = disk.crash(crash);
            let names = left.list().unwrap();
            match recover(&left) {
                Ok(recovery) if names.is_empty() => assert!(recovery.report().created),
                Ok(recovery) => {
                    assert_eq!(recovery.in_doubt().len(), manifest.in_doubt().len());
                }
                Err(error) => {
                    assert!(!done, "cut {cut}: {error}");
                    assert!(error.to_string().contains("broken off"), "cut {cut}: {error}");
                }
            }
        }
        if done {
            break;
        }
    }
    Ok(())
}
