//! The sweep after an open: what is needed stays, what is not goes, nothing goes before it.

use crate::world::{FILE_SIZE, LOG_ID, World};
use siding_fork::pool::{Pool, PoolConfig, Purpose};
use siding_sim::SimDisk;
use siding_wal::chain::Copies as _;
use siding_wal::disk::{DirLock, Disk, Geometry, LockError, LogFile};
use siding_wal::format::{Packer, SPtr, extent_file_name};
use siding_wal::{ErrorKind, Lsn};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

fn config(incarnation: u32) -> PoolConfig {
    let (file_size, max_bytes) = (FILE_SIZE, None);
    PoolConfig { log_id: LOG_ID, incarnation, write_unit: 512, file_size, max_bytes }
}

/// Units 1 and 2 in a first file, 3 in a second one, orphans in a third; opened anew.
fn world() -> World {
    let mut world = World::new(SimDisk::new(2));
    world.append(1, &[100]).unwrap();
    world.append(2, &[40_000]).unwrap();
    world.sync().unwrap();
    world.append(3, &[40_000]).unwrap();
    world.sync().unwrap();
    world.append(4, &[40_000]).unwrap();
    world.sync_alone().unwrap();
    let disk = world.disk.fork();
    world.reopen(disk);
    assert_eq!(world.files().len(), 3);
    world
}

#[test]
fn nothing_of_earlier_opens_goes_before_the_sweep() {
    let mut world = world();
    // The ends of units are told in any order, some before the sweep.
    world.free(2);
    world.free(3);
    world.append(5, &[100]).unwrap();
    world.sync().unwrap();
    world.free(5);
    world.append(6, &[100]).unwrap();
    world.sync().unwrap();
    assert_eq!(world.files().len(), 4);
    assert!(world.pool.worst().is_none() && !world.pool.stats().swept);
    let found = world.sweep();
    assert_eq!((found.units, found.removed, found.problems), (2, 2, 0), "{found:?}");
    world.check_reads();
    world.check_bytes();
    assert_eq!(world.files().len(), 2);
    // Once more, as another keypoint may ask.
    assert_eq!(world.sweep().removed, 0);
    world.check_bytes();
}

#[test]
fn a_unit_that_ends_while_the_sweep_runs_takes_no_other_with_it() {
    // The list of live units is old when the sweep gets it: unit 2 has ended since, and the
    // first file is known by unit 1 alone when unit 1 ends, too.
    let mut world = world();
    let live = world.newest();
    world.free(2);
    let found = world.pool.sweep(&live).unwrap();
    assert_eq!((found.units, found.problems), (2, 0));
    world.swept();
    world.check_reads();
    world.check_bytes();
    world.free(1);
    world.check_bytes();
    assert_eq!(world.files().len(), 1);
}

/// A disk on which something else happens when a file is opened for the second time.
#[derive(Debug)]
struct Meanwhile {
    disk: SimDisk,
    opened: AtomicU32,
    pool: OnceLock<Arc<Pool>>,
    frees: u64,
}

impl Disk for Meanwhile {
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
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        if self.opened.fetch_add(1, Ordering::Relaxed) == 1 {
            self.pool.get().unwrap().free(self.frees);
        }
        self.disk.open(name)
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

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        self.disk.lock()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes()
    }

    fn path(&self) -> Option<PathBuf> {
        self.disk.path()
    }
}

#[test]
fn a_unit_that_ends_in_the_middle_of_the_sweep_takes_no_other_with_it() {
    // Units 1 and 3 share the first file, unit 2 has the second one. When the sweep comes to
    // unit 2, unit 1 ends, or unit 2 itself; of the first file it knows nothing else so far.
    for frees in [1, 2, 3] {
        let mut world = World::new(SimDisk::new(2));
        world.append(1, &[100]).unwrap();
        world.append(3, &[40_000]).unwrap();
        world.sync().unwrap();
        world.append(2, &[40_000]).unwrap();
        world.sync().unwrap();
        let (opened, pool) = (AtomicU32::new(0), OnceLock::new());
        let disk = Arc::new(Meanwhile { disk: world.disk.fork(), opened, pool, frees });
        let pool = Arc::new(Pool::new(Arc::<Meanwhile>::clone(&disk), config(2)));
        disk.pool.set(Arc::clone(&pool)).unwrap();
        let found = pool.sweep(&world.newest()).unwrap();
        assert_eq!(found.problems, 0, "{:?}", pool.problems());
        for (unit, newest) in world.newest().into_iter().filter(|(unit, _)| *unit != frees) {
            pool.extent(unit, newest).unwrap();
        }
        let files = if frees == 2 { 1 } else { 2 };
        assert_eq!((pool.stats().files, pool.stats().extents), (files, 2));
    }
}

#[test]
fn what_a_unit_moved_since_a_compaction_is_not_what_it_replaced() {
    let mut world = World::new(SimDisk::new(2));
    world.append(1, &[100]).unwrap();
    world.sync().unwrap();
    world.compact(1, 9).unwrap();
    world.sync().unwrap();
    let copied = world.newest()[0].1;
    // The fork record of the copies is durable only now, with that of the next move.
    world.append(1, &[50]).unwrap();
    world.sync().unwrap();
    world.sweep();
    world.pool.replaced(1, copied);
    world.check_reads();
    world.check_bytes();
    world.free(1);
    world.check_bytes();
}

#[test]
fn a_unit_that_was_copied_before_the_sweep_leaves_nothing_of_its_old_chain() {
    let mut world = world();
    let live = world.newest();
    world.compact(3, 1).unwrap();
    world.sync().unwrap();
    world.settle();
    // And moved further since.
    world.append(3, &[10]).unwrap();
    world.sync().unwrap();
    // The list may be from before, or from behind all that.
    for live in [live, world.newest()] {
        let found = world.pool.sweep(&live).unwrap();
        assert_eq!(found.problems, 0);
        world.swept();
        world.check_reads();
        world.check_bytes();
    }
}

#[test]
fn a_chain_that_cannot_be_followed_keeps_older_files_until_its_unit_is_over() {
    broken(|world| {
        // Copied anew from what is left, as a rebuilding does: then the old files may go.
        world.compact(1, 9).unwrap();
        world.sync().unwrap();
        world.settle();
        world.check_reads();
        assert_eq!(world.files().len(), 1);
    });
    broken(|world| {
        world.free(1);
        assert!(world.files().is_empty());
    });
}

fn broken(ends: impl FnOnce(&mut World)) {
    // Unit 1: in the first file, in the second, in the third; the middle one rots.
    let mut world = World::new(SimDisk::new(2));
    for _ in 0..3 {
        world.append(1, &[40_000]).unwrap();
        world.sync().unwrap();
    }
    world.append(2, &[40_000]).unwrap();
    world.sync_alone().unwrap();
    let middle = world.live[&1][1].at;
    let disk = world.disk.fork();
    disk.overwrite(&extent_file_name(middle.extent), 512, &[0; 96]).unwrap();
    world.reopen(disk);
    let found = world.sweep();
    // The orphan is newer than the place, so nothing of the unit can stand there.
    assert_eq!((found.problems, found.removed), (1, 1), "{found:?}");
    assert_eq!(world.files().len(), 3);
    world.pool.discard(9, SPtr::NONE);
    assert_eq!(world.files().len(), 3);
    ends(&mut world);
    assert!(world.pool.problems().is_empty());
    world.check_bytes();
}

#[test]
fn a_file_that_cannot_be_removed_is_tried_again() {
    let mut world = world();
    world.disk.fail(
        world.disk.calls(),
        siding_sim::disk::Fault::Eio,
        siding_sim::disk::Lasts::Once,
    );
    assert_eq!(world.sweep().removed, 0);
    assert_eq!((world.files().len(), world.pool.stats().files), (3, 3));
    world.pool.free(77);
    assert_eq!((world.files().len(), world.pool.stats().files), (2, 2));
    world.check_bytes();
}

#[test]
fn an_open_whose_incarnation_was_lost_uses_no_number_again() {
    let mut world = world();
    let disk = world.disk.fork();
    world.incarnation -= 2;
    world.reopen(disk);
    assert_eq!(world.incarnation, 1);
    let at = world.append(7, &[10]).unwrap();
    assert_eq!(at.extent, 1 << 32 | 4);
    world.sync().unwrap();
    world.check_reads();
    world.sweep();
    world.check_bytes();
    assert_eq!(world.files().len(), 3, "the orphan's file is gone");
}

#[test]
fn who_only_looks_changes_nothing() {
    let mut world = world();
    let (files, calls) = (world.files(), world.disk.calls());
    let reader = Pool::open_for_reading(Arc::new(world.disk.clone()), LOG_ID);
    for (unit, newest) in world.newest() {
        reader.extent(unit, newest).unwrap();
    }
    let found = reader.sweep(&world.newest()).unwrap();
    assert_eq!((found.units, found.removed, found.problems), (3, 0, 0));
    assert_eq!(reader.stats().files, 3);
    reader.free(1);
    reader.discard(2, world.live[&2][0].at);
    reader.replaced(3, world.live[&3][0].at);
    reader.sync().unwrap();
    let mut packer = Packer::new(1, 1, None);
    packer.push(Lsn::new(512), &crate::world::record(1, 512, 9));
    let error = reader.append(packer, Purpose::Move).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    assert_eq!((world.files(), world.disk.calls()), (files, calls));
    // Its owner goes on meanwhile.
    world.sweep();
    world.free(3);
    assert!(reader.extent(3, world.newest()[0].1).is_err());
    world.check_reads();
}

#[test]
fn a_pool_touches_nothing_before_it_is_used() {
    let disk = SimDisk::new(1);
    let pool = Pool::new(Arc::new(disk.clone()), config(1));
    pool.sync().unwrap();
    pool.free(1);
    pool.sweep(&[]).unwrap();
    assert!(disk.list().unwrap().is_empty());
    assert_eq!((disk.calls(), disk.reads()), (0, 0));
    let error = pool.append(Packer::new(1, 1, None), Purpose::Move).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
