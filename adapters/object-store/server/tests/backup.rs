//! End to end: a log that is written to is backed up into an S3 server, and put back from there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::cast_possible_truncation, reason = "a test")]

mod support;

use siding::archive::{Target, Wanted};
use siding::disk::open_dir;
use siding::sink::Sink;
use siding::{
    Backend, BackupFile, BackupOptions, ErrorKind, Log, Manifest, Options, RestoreOptions,
    object_file, plan_restore, restore_to, verify_backup,
};
use siding_object_store_server::Fault;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{bytes, place};
use tempfile::TempDir;

const FOR_EVER: usize = usize::MAX;

/// A log whose units are numbers that count up, and the embedder's file.
struct World {
    temp: TempDir,
    log: Log,
    pages: PathBuf,
    /// The number of units that are acknowledged.
    acknowledged: AtomicU64,
}

fn options() -> Options {
    Options::new().segment_size(1 << 20).ring_size(1 << 20)
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let log = options().open(temp.path().join("log")).unwrap().finish().unwrap();
        let pages = temp.path().join("pages");
        // Long enough for several parts.
        std::fs::write(&pages, bytes(21, 11 << 20)).unwrap();
        Self { temp, log, pages, acknowledged: AtomicU64::new(0) }
    }

    fn commit_next(&self) {
        let number = self.acknowledged.load(Ordering::Relaxed);
        let mut unit = self.log.begin().unwrap();
        unit.append(&[&number.to_le_bytes()[..], &[7; 3_000]].concat()).unwrap();
        unit.commit().unwrap();
        self.acknowledged.store(number + 1, Ordering::Relaxed);
    }

    fn back_up(&self, sink: &dyn Sink) -> siding::Result<Manifest> {
        let objects = [object_file(1, &self.pages).unwrap()];
        self.log.backup_to(sink, &objects, &BackupOptions::new().full_speed())
    }

    /// While somebody commits all the time; returns how many were acknowledged before it began.
    fn back_up_under_load(&self, sink: &dyn Sink) -> (Manifest, u64) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        let over = AtomicBool::new(false);
        let manifest = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.commit_next();
                }
            });
            let made = self.back_up(sink);
            over.store(true, Ordering::Relaxed);
            made.unwrap()
        });
        (manifest, before)
    }
}

/// The numbers, the gids in doubt, and the file, as a restore of the newest backup has them.
fn put_back(sink: &dyn Sink, into: &Path) -> (Vec<u64>, Vec<Vec<u8>>, Vec<u8>) {
    let disk = open_dir(&into.join("log"), Backend::Buffered, true).unwrap();
    let files = open_dir(&into.join("files"), Backend::Buffered, true).unwrap();
    let target = |file: &BackupFile| Ok(Some(files.create(&file.name).unwrap()));
    let plan = plan_restore(sink, &Wanted::from(Target::BackupEnd(None))).unwrap();
    restore_to(sink, &plan, &disk, &target, &RestoreOptions::new()).unwrap();
    drop(disk);
    let recovery = options().open(into.join("log")).unwrap();
    let mut numbers = Vec::new();
    let mut committed = recovery.committed().unwrap();
    while let Some(record) = committed.next().unwrap() {
        numbers.push(u64::from_le_bytes(record.payload()[..8].try_into().unwrap()));
    }
    let in_doubt = recovery.in_doubt().iter().map(|unit| unit.gid().to_vec()).collect();
    (numbers, in_doubt, std::fs::read(into.join("files/pages")).unwrap())
}

fn commit(world: &World, count: u64) {
    (0..count).for_each(|_| world.commit_next());
}

#[test]
fn what_was_backed_up_under_load_comes_back_from_the_store() {
    let (place, world) = (place(), World::new());
    commit(&world, 500);
    let mut doubt = world.log.begin().unwrap();
    doubt.append(b"perhaps").unwrap();
    drop(doubt.prepare(b"transfer-7").unwrap());
    // The network is not what it should be.
    for method in ["PUT", "POST", "GET", "HEAD"] {
        place.proxy.spoil(&[method], Fault::Answer(503, ""), 2);
    }
    place.proxy.spoil(&["PUT", "partNumber"], Fault::CutRequest(1 << 20), 1);
    place.proxy.spoil(&["PUT"], Fault::CutRequest(10_000), 1);
    let sink = place.through_proxy();
    let (manifest, before) = world.back_up_under_load(&*sink);
    assert!(before >= 500);
    assert_eq!(verify_backup(&*sink, Some(manifest.id), &|_| {}).unwrap(), manifest);
    place.proxy.spoil(&["GET"], Fault::CutAnswer(50_000), 2);
    let (numbers, in_doubt, pages) = put_back(&*sink, &world.temp.path().join("back"));
    assert!(numbers.len() as u64 >= before, "{} of {before}", numbers.len());
    assert!(numbers.len() as u64 <= world.acknowledged.load(Ordering::Relaxed) + 1);
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "each once, in order");
    assert_eq!(in_doubt, [b"transfer-7".to_vec()]);
    assert!(pages == bytes(21, 11 << 20));
}

#[test]
fn what_came_behind_a_backup_goes_to_the_store_alone() {
    let (place, world) = (place(), World::new());
    commit(&world, 400);
    let sink = place.sink();
    let (first, _) = world.back_up_under_load(&*sink);
    let sent = place.names();
    commit(&world, 800);
    let due = world.acknowledged.load(Ordering::Relaxed);
    let options = BackupOptions::new().full_speed().after(first.id);
    let second = world.log.backup_to(&*sink, &[], &options).unwrap();
    assert_eq!(second.parent, Some(first.id));
    let more = place.names();
    assert!(sent.iter().all(|name| more.contains(name)), "nothing went");
    let (numbers, _, pages) = put_back(&*sink, &world.temp.path().join("back"));
    assert!(numbers.into_iter().eq(0..due));
    assert!(pages == bytes(21, 11 << 20));
}

#[test]
fn a_backup_that_the_store_cuts_off_is_none_and_the_next_one_is_whole() {
    let (place, world) = (place(), World::new());
    commit(&world, 300);
    let sink = place.through_proxy();
    let spoiled: [&[&str]; 3] = [&["PUT", "manifest"], &["PUT", "seg"], &["PUT", "partNumber=2"]];
    for words in spoiled {
        place.proxy.spoil(words, Fault::CutRequest(100), FOR_EVER);
        let error = world.back_up(&*sink).unwrap_err();
        assert!(error.to_string().contains("went away in the middle"), "{error}");
        place.proxy.heal();
        assert!(!place.names().iter().any(|name| name.ends_with(".manifest")));
        let none = verify_backup(&*sink, None, &|_| {}).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::NotFound, "{none}");
    }
    let manifest = world.back_up(&*sink).unwrap();
    verify_backup(&*sink, Some(manifest.id), &|_| {}).unwrap();
    let (numbers, _, _) = put_back(&*sink, &world.temp.path().join("back"));
    assert!(numbers.into_iter().eq(0..300));
}
