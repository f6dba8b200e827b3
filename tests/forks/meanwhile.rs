//! A unit is decided while it is being moved.

use crate::lost::{doubt, extents, moved, pass};
use crate::support::{StillClock, quiet, redone};
use siding::disk::{DirLock, Disk, Geometry, LockError, LogFile};
use siding::{Log, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

type Act = Box<dyn FnOnce() + Send>;

/// A disk on which something else happens once: behind a listing, or before a file is opened.
#[derive(Clone)]
struct Busy(SimDisk, Arc<Mutex<Option<Act>>>, &'static str);

impl Busy {
    fn act(&self, at: &str) {
        let act = if at == self.2 { self.1.lock().unwrap().take() } else { None };
        if let Some(act) = act {
            act();
        }
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Disk for Busy {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let listed = self.0.list();
        self.act("list");
        listed
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        if name.ends_with(".ext") {
            self.act("open");
        }
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn lock(&self) -> std::result::Result<Box<dyn DirLock>, LockError> {
        self.0.lock()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.free_bytes()
    }

    fn path(&self) -> Option<PathBuf> {
        self.0.path()
    }
}

#[test]
fn a_unit_that_is_moved_while_it_commits_is_not_called_lost() -> Result<()> {
    let (disk, act) = (SimDisk::new(1), Arc::new(Mutex::new(None)));
    let busy = Busy(disk.clone(), Arc::clone(&act), "list");
    let options = || quiet().without_threads(StillClock::new()).forks(false);
    let log: Log = options().open_on(Arc::new(busy))?.finish()?;
    log.tick();
    let mut unit = log.begin()?;
    unit.append(&[1; 500])?;
    assert_eq!(log.fork(unit.id())?, 1);
    unit.append(&[2; 12_000])?;
    let (mover, id) = (log.clone(), unit.id());
    *act.lock().unwrap() = Some(Box::new(move || assert_eq!(mover.fork(id).unwrap(), 1)));
    unit.commit().map_err(siding::Error::from)?;
    assert!(act.lock().unwrap().is_none(), "it was moved meanwhile");
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    assert_eq!(redone(&options().open_on(Arc::new(left))?)?.len(), 2);
    Ok(())
}

/// Copies in the place of copies: who reads the old ones goes on with the new.
#[test]
fn who_reads_a_unit_while_it_is_copied_once_more_misses_nothing() -> Result<()> {
    let disk = SimDisk::new(1);
    let options = quiet().without_threads(StillClock::new()).forks(false);
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let mut unit = log.begin()?;
    for number in 0..6_u8 {
        unit.append(&[number; 400])?;
        log.fork(unit.id())?;
        let mut gone = log.begin()?;
        for _ in 0..10 {
            gone.append(&[9; 6_000])?;
        }
        log.fork(gone.id())?;
    }
    let mut records = unit.records_backward()?;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(records.next()?.map(|record| record.payload()[0]));
    }
    for _ in 0..20 {
        log.write(b"flushes")?;
        log.tick();
    }
    assert!(log.units()[0].moves > 6, "{:?}", log.units());
    while let Some(record) = records.next()? {
        seen.push(Some(record.payload()[0]));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1, 0].map(Some));
    Ok(())
}

/// A unit in flight with six records that were moved as they stand, and one that is not there any
/// more once everything is trimmed.
fn unit(log: &Log) -> Result<siding::UnitOfWork> {
    let mut unit = log.begin()?;
    for number in 0..6_u8 {
        unit.append(&[number; 400])?;
    }
    Ok(unit)
}

/// Moves a unit, and trims where it was.
fn move_and_trim(log: &Log, unit: u64) -> Result<()> {
    let oldest = log.positions().oldest;
    assert_eq!(log.fork(unit)?, 6);
    pass(log)?;
    assert!(log.positions().oldest > oldest);
    Ok(())
}

#[test]
fn who_reads_a_unit_while_it_is_moved_and_its_originals_trimmed_misses_nothing() -> Result<()> {
    let options = quiet().without_threads(StillClock::new()).forks(false);
    let log = options.open_on(Arc::new(SimDisk::new(1)))?.finish()?;
    log.tick();
    let first = unit(&log)?;
    let mut records = first.records_backward()?;
    let mut seen = vec![records.next()?.unwrap().payload()[0]];
    move_and_trim(&log, first.id())?;
    while let Some(record) = records.next()? {
        seen.push(record.payload()[0]);
    }
    assert_eq!(seen, [5, 4, 3, 2, 1, 0]);
    let second = unit(&log)?;
    let id = second.id();
    let doubt = second.prepare(b"doubt")?;
    let mut effects = doubt.effects()?;
    let mut seen = vec![effects.next()?.unwrap().payload()[0]];
    assert_eq!(log.fork(id)?, 7);
    pass(&log)?;
    // Committed meanwhile, and what comes behind is nothing that was asked for.
    let mut decided = doubt.decide(siding::Outcome::Commit)?;
    decided.append(b"later")?;
    while let Some(record) = effects.next()? {
        seen.push(record.payload()[0]);
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    Ok(())
}

#[test]
fn a_unit_that_is_moved_while_it_is_rolled_back_is_rolled_back_whole() -> Result<()> {
    let disk = SimDisk::new(1);
    let options = || quiet().without_threads(StillClock::new()).forks(false);
    let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    let mut unit = log.begin()?;
    let (mover, id) = (log.clone(), unit.id());
    let savepoint = unit.savepoint();
    for number in 0..6_u8 {
        unit.append(&[number; 400])?;
    }
    let mut seen = Vec::new();
    unit.roll_back_to(&savepoint, |record| {
        seen.push(record.payload()[0]);
        if seen.len() == 2 {
            move_and_trim(&mover, id)?;
        }
        Ok(Vec::new())
    })?;
    assert_eq!(seen, [5, 4, 3, 2, 1, 0]);
    unit.append(b"stays")?;
    let doubt = unit.prepare(b"doubt")?;
    assert_eq!(doubt.effects()?.owned().count(), 1);
    Ok(())
}

/// Lost records are rebuilt, and the old extents let go, while somebody who is about to commit
/// follows those: what he cannot find is not lost.
#[test]
fn a_unit_that_is_rebuilt_while_it_commits_is_not_called_lost() -> Result<()> {
    let (disk, act) = (SimDisk::new(1), Arc::new(Mutex::new(None)));
    let options = || quiet().without_threads(StillClock::new()).forks(false);
    let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
    moved(&log)?;
    log.close()?;
    disk.remove(&extents(&disk)[0]).unwrap();
    let busy = Busy(disk.clone(), Arc::clone(&act), "open");
    let log: Log = options().open_on(Arc::new(busy))?.finish()?;
    let other = log.clone();
    *act.lock().unwrap() = Some(Box::new(move || {
        other.tick();
        other.ensure_durable(other.positions().end).unwrap();
        other.tick();
        assert_eq!(other.rebuilt().len(), 1);
    }));
    doubt(&log).commit()?;
    assert!(act.lock().unwrap().is_none(), "it was rebuilt meanwhile");
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    assert_eq!(redone(&options().open_on(Arc::new(left))?)?.len(), 20);
    Ok(())
}
