//! What the simulated disk keeps and what it may lose.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use siding_sim::SimDisk;
use siding_sim::disk::{Crash, PendingKind, Torn};
use siding_wal::disk::{AlignedBuf, Disk, LockError, conformance};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{names, sectors, stamps, with_file};

#[test]
fn it_is_a_disk_as_any_other() {
    for unit in [512, 4096] {
        let make = || Ok(Arc::new(SimDisk::new(7).with_write_unit(unit)) as Arc<dyn Disk>);
        conformance::check(&make).unwrap();
    }
}

#[test]
fn buffers_must_lie_as_direct_io_has_it() {
    let (_disk, file) = with_file(4);
    let mut buf = AlignedBuf::zeroed(2048);
    let refused = file.read_at(0, &mut buf[8..520]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let refused = file.write_at(0, &[&buf[8..520]], false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_durable_write_makes_nothing_else_durable() {
    let (disk, file) = with_file(4);
    file.write_at(0, &[&sectors(2, 2)], false).unwrap();
    file.write_at(1024, &[&sectors(3, 1)], true).unwrap();
    assert_eq!(stamps(&disk, "a"), [2, 2, 3, 1]);
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1, 3, 1]);
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [2, 2, 3, 1]);
}

#[test]
fn what_a_durable_write_replaced_never_comes_back() {
    let (disk, file) = with_file(4);
    file.write_at(0, &[&sectors(2, 4)], false).unwrap();
    file.write_at(512, &[&sectors(3, 2)], true).unwrap();
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [2, 3, 3, 2]);
    for seed in 0..200 {
        let found = stamps(&disk.crash(Crash::Random(seed)), "a");
        assert_eq!(found[1..3], [3, 3], "seed {seed}");
    }
}

#[test]
fn a_sync_makes_the_file_durable_and_not_its_name() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_at(0, &[&sectors(2, 2)], false).unwrap();
    file.sync().unwrap();
    assert!(names(&disk.crash(Crash::DropAll)).is_empty());
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [2, 2]);
    disk.sync_dir().unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [2, 2]);
    assert_eq!(disk.pending_count(), 0);
}

#[test]
fn size_and_bytes_survive_apart() {
    let (disk, file) = with_file(1);
    file.write_at(512, &[&sectors(2, 1)], false).unwrap();
    file.write_at(1024, &[&sectors(3, 1)], false).unwrap();
    let found: BTreeSet<Vec<u8>> =
        (0..500).map(|seed| stamps(&disk.crash(Crash::Random(seed)), "a")).collect();
    let due: [&[u8]; 7] = [&[1], &[1, 0], &[1, 2], &[1, 0, 0], &[1, 0, 3], &[1, 2, 0], &[1, 2, 3]];
    assert_eq!(found, due.iter().map(|stamps| stamps.to_vec()).collect());
}

#[test]
fn each_sector_ends_with_any_of_its_versions_whatever_the_others_do() {
    let (disk, file) = with_file(2);
    for byte in [2, 3] {
        file.write_at(0, &[&sectors(byte, 2)], false).unwrap();
    }
    let mut found: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for seed in 0..2000 {
        *found.entry(stamps(&disk.crash(Crash::Random(seed)), "a")).or_default() += 1;
    }
    assert_eq!(found.len(), 9, "{found:?}");
    assert!(found.values().all(|count| *count > 10), "{found:?}");
}

#[test]
fn one_kept_comes_with_what_it_takes_to_see_it() {
    let disk = SimDisk::new(1);
    disk.create("old").unwrap();
    let file = disk.create("a").unwrap();
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    file.write_at(512, &[&sectors(3, 1)], false).unwrap();
    disk.rename("a", "b").unwrap();
    let pending = disk.pending();
    let kinds: Vec<_> = pending.iter().map(|pending| pending.kind).collect();
    use PendingKind::{Data, Entry, Size};
    assert_eq!(kinds, [Entry, Entry, Size, Data, Size, Data, Entry], "{pending:?}");
    let only = |place| {
        let found = disk.crash(Crash::KeepOnly(place));
        let name = names(&found).pop();
        (name.clone(), name.map_or_else(Vec::new, |name| stamps(&found, &name)))
    };
    let named = |name: &str, stamps: &[u8]| (Some(name.to_owned()), stamps.to_vec());
    assert_eq!(only(0), named("old", &[]));
    assert_eq!(only(1), named("a", &[]));
    assert_eq!(only(2), named("a", &[0]));
    assert_eq!(only(3), named("a", &[2]));
    assert_eq!(only(4), named("a", &[0, 0]));
    assert_eq!(only(5), named("a", &[0, 3]));
    assert_eq!(only(6), named("b", &[]));
    assert_eq!(only(7), (None, Vec::new()));
}

#[test]
fn one_dropped_takes_with_it_what_rests_on_it() {
    let (disk, file) = with_file(1);
    file.write_at(512, &[&sectors(2, 1)], false).unwrap();
    file.write_at(1024, &[&sectors(3, 1)], false).unwrap();
    disk.rename("a", "b").unwrap();
    disk.rename("b", "c").unwrap();
    disk.create("d").unwrap();
    let but = |place| disk.crash(Crash::DropOnly(place));
    assert_eq!(disk.pending()[0].kind, PendingKind::Size);
    assert_eq!(stamps(&but(0), "c"), [1]);
    assert_eq!(stamps(&but(1), "c"), [1, 0, 3]);
    assert_eq!(stamps(&but(2), "c"), [1, 2]);
    assert_eq!(stamps(&but(3), "c"), [1, 2, 0]);
    assert_eq!(names(&but(4)), ["a", "d"]);
    assert_eq!(names(&but(5)), ["b", "d"]);
    assert_eq!(names(&but(6)), ["c"]);
    assert_eq!(stamps(&but(7), "c"), [1, 2, 3]);
}

#[test]
fn tears_leave_what_their_names_say() {
    let (disk, file) = with_file(6);
    file.write_at(0, &[&sectors(2, 6)], false).unwrap();
    for seed in 0..100 {
        let torn = |how| stamps(&disk.crash(Crash::Tear(how, seed)), "a");
        let (head, tail) = (torn(Torn::Head), torn(Torn::Tail));
        assert!(head.is_sorted_by(|one, two| one >= two) && head[0] == 2 && head[5] == 1);
        assert!(tail.is_sorted() && tail[0] == 1 && tail[5] == 2);
        let count = |stamps: Vec<u8>| stamps.iter().filter(|stamp| **stamp == 2).count();
        assert_eq!((count(torn(Torn::Hole)), count(torn(Torn::Lone))), (5, 1));
    }
}

#[test]
fn names_of_different_files_survive_in_any_combination() {
    let (disk, _file) = with_file(1);
    disk.create("b").unwrap();
    disk.rename("a", "c").unwrap();
    disk.create("d").unwrap();
    let found: BTreeSet<Vec<String>> =
        (0..500).map(|seed| names(&disk.crash(Crash::Random(seed)))).collect();
    assert_eq!(found.len(), 8, "{found:?}");
    // A rename is one step: there is always one of its names, and never both.
    let one = |names: &Vec<String>| {
        names.iter().filter(|name| ["a", "c"].contains(&name.as_str())).count() == 1
    };
    assert!(found.iter().all(one), "{found:?}");
}

#[test]
fn a_removed_file_comes_back_as_it_was_durable() {
    let (disk, file) = with_file(2);
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    disk.remove("a").unwrap();
    assert!(names(&disk).is_empty());
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1]);
    assert!(names(&disk.crash(Crash::KeepAll)).is_empty());
    disk.sync_dir().unwrap();
    assert!(names(&disk.crash(Crash::DropAll)).is_empty());
    // Nothing of it can matter any more.
    assert_eq!(disk.pending_count(), 0);
}

#[test]
fn a_recycled_name_is_never_half_recycled() {
    let (disk, file) = with_file(1);
    let other = disk.create("b").unwrap();
    other.write_at(0, &[&sectors(9, 1)], true).unwrap();
    disk.sync_dir().unwrap();
    drop(file);
    disk.rename("a", "b").unwrap();
    disk.create("a").unwrap();
    for seed in 0..200 {
        let found = disk.crash(Crash::Random(seed));
        match (found.contents("a"), found.contents("b")) {
            (Some(a), Some(b)) if !a.is_empty() => assert_eq!((a[0], b[0]), (1, 9)),
            (Some(_) | None, Some(b)) => assert_eq!(b[0], 1),
            (_, None) => panic!("b is gone, seed {seed}"),
        }
    }
}

#[test]
fn a_cut_leaves_the_call_pending_and_fails_all_that_comes_after() {
    let (disk, _file) = with_file(2);
    let run = |call| {
        let disk = disk.fork();
        disk.cut_at(call);
        let file = disk.open("a").unwrap();
        let done = [
            file.write_at(0, &[&sectors(2, 1)], true).is_ok(),
            file.sync().is_ok(),
            disk.rename("a", "b").is_ok(),
            disk.sync_dir().is_ok(),
            disk.create("c").is_ok(),
        ];
        let looks = [
            file.read_at(0, &mut AlignedBuf::zeroed(512)).is_ok(),
            file.len().is_ok(),
            disk.list().is_ok(),
            disk.open("b").is_ok(),
            disk.lock().is_ok(),
        ];
        assert_eq!(looks, [!disk.is_off(); 5]);
        (done.iter().filter(|done| **done).count(), disk)
    };
    for call in 0..=5 {
        let (done, disk) = run(call);
        assert_eq!((done as u64, disk.is_off()), (call, call < 5));
        assert_eq!(disk.calls(), (call + 1).min(5));
    }
    let after = |call, choice| run(call).1.crash(choice);
    assert_eq!(stamps(&after(0, Crash::DropAll), "a"), [1, 1]);
    assert_eq!(stamps(&after(0, Crash::KeepAll), "a"), [2, 1]);
    assert_eq!(stamps(&after(1, Crash::DropAll), "a"), [2, 1]);
    assert_eq!(names(&after(2, Crash::DropAll)), ["a"]);
    assert_eq!(names(&after(2, Crash::KeepAll)), ["b"]);
    assert_eq!(names(&after(3, Crash::DropAll)), ["a"]);
    assert_eq!(names(&after(4, Crash::DropAll)), ["b"]);
    assert_eq!(names(&after(4, Crash::KeepAll)), ["b", "c"]);
}

#[test]
fn copies_go_their_own_ways() {
    let (disk, file) = with_file(2);
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    let _guard = disk.lock().unwrap();
    assert!(matches!(disk.lock(), Err(LockError::Held { .. })));
    let (copy, after) = (disk.fork(), disk.crash(Crash::DropAll));
    file.write_at(512, &[&sectors(3, 1)], true).unwrap();
    copy.open("a").unwrap().write_at(512, &[&sectors(4, 1)], false).unwrap();
    assert_eq!(stamps(&disk, "a"), [2, 3]);
    assert_eq!(stamps(&copy, "a"), [2, 4]);
    assert_eq!(stamps(&after, "a"), [1, 1]);
    assert_eq!((copy.calls(), after.calls()), (1, 0));
    assert!(copy.lock().is_ok() && after.lock().is_ok());
    // What was pending in the original still is in the copy.
    assert_eq!(stamps(&copy.crash(Crash::DropAll), "a"), [1, 1]);
    copy.open("a").unwrap().sync().unwrap();
    assert_eq!(stamps(&copy.crash(Crash::DropAll), "a"), [2, 4]);
}

#[test]
fn equal_outcomes_are_seen_once() {
    let (disk, file) = with_file(3);
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    // Bytes as they are on the device already make no difference.
    file.write_at(512, &[&sectors(1, 2)], false).unwrap();
    let mut seen = HashSet::new();
    let mut new = |choice| disk.crash_unseen(choice, &mut seen).is_some();
    assert!(new(Crash::DropAll) && new(Crash::KeepAll));
    assert!(!new(Crash::KeepOnly(0)) && !new(Crash::KeepOnly(1)) && !new(Crash::DropOnly(1)));
    assert!((0..50).all(|seed| !new(Crash::Random(seed))));

    // A size alone is a difference; and bytes back as they were are none.
    let (disk, file) = with_file(1);
    file.write_at(512, &[&sectors(0, 1)], false).unwrap();
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    file.write_at(0, &[&sectors(1, 1)], false).unwrap();
    let mut seen = HashSet::new();
    let mut new = |choice| disk.crash_unseen(choice, &mut seen).is_some();
    assert!(new(Crash::DropAll) && new(Crash::KeepAll) && !new(Crash::KeepOnly(0)));
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [1, 0]);
}

#[test]
fn the_trace_names_runs() {
    let run = |byte, name: &str| {
        let disk = SimDisk::new(1);
        let file = disk.create(name).unwrap();
        file.write_at(0, &[&sectors(byte, 1), &sectors(byte, 1)], false).unwrap();
        file.sync().unwrap();
        disk.rename(name, "z").unwrap();
        let words: Vec<String> = disk.trace().iter().map(ToString::to_string).collect();
        (disk.trace_hash(), words)
    };
    assert_eq!(run(1, "a"), run(1, "a"));
    assert_ne!(run(1, "a").0, run(2, "a").0);
    assert_ne!(run(1, "a").0, run(1, "b").0);
    assert_eq!(
        run(1, "a").1,
        ["create a", "write 1024 bytes at 0 of a", "sync a", "rename a to z"]
    );
}

/// So that a sweep of a quarter of a million states takes seconds.
#[test]
fn a_crash_state_costs_microseconds() {
    let disk = SimDisk::new(1);
    let files: Vec<_> = (0..4).map(|number| disk.create(&format!("{number}")).unwrap()).collect();
    for (byte, file) in (1..).zip(&files) {
        file.write_at(0, &[&sectors(byte, 128)], true).unwrap();
    }
    disk.sync_dir().unwrap();
    // A segment zero-filled, and ten batches, all pending.
    files[0].write_at(0, &[&sectors(0, 128)], false).unwrap();
    for place in 0..10 {
        files[1].write_at(place * 4096, &[&sectors(9, 8)], false).unwrap();
    }
    let batch = |first: u64| {
        let start = Instant::now();
        let mut seen = HashSet::new();
        for seed in first..first + 200 {
            let found = disk.crash_unseen(Crash::Random(seed), &mut seen);
            let Some(found) = found else { continue };
            found.open("1").unwrap().write_at(0, &[&sectors(7, 8)], true).unwrap();
        }
        start.elapsed() / 200
    };
    // The best of many: the machine may be busy.
    let best = (0..20).map(|round| batch(round * 200)).min().unwrap();
    println!("{best:?} a crash state");
    // What the gate's budget allows; 30 to 50 were seen.
    assert!(best < Duration::from_micros(500), "{best:?}");
}
