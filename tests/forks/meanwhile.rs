//! A unit is decided while it is being moved.

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

/// A disk on which something else happens once, behind a listing.
#[derive(Clone)]
struct Busy(SimDisk, Arc<Mutex<Option<Act>>>);

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
        let act = self.1.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        listed
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
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
    let busy = Busy(disk.clone(), Arc::clone(&act));
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
