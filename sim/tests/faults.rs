//! Calls that fail, full disks, lost pages, rot.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use siding_sim::SimDisk;
use siding_sim::disk::{Crash, FailedSync, Fault, Lasts};
use siding_wal::disk::{AlignedBuf, Disk};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use support::{names, sectors, stamps, with_file};

#[test]
fn a_fault_hits_its_call_once_or_all_from_it_on() {
    for (lasts, due) in [(Lasts::Once, [true, false, true]), (Lasts::ForEver, [true, false, false])]
    {
        let (disk, _) = with_file(1);
        let disk = disk.fork();
        disk.fail(1, Fault::Eio, lasts);
        let file = disk.open("a").unwrap();
        assert_eq!([0; 3].map(|_| file.sync().is_ok()), due);
        let (disk, mut buf) = (disk.fork(), AlignedBuf::zeroed(512));
        disk.fail_read(1, lasts);
        let file = disk.open("a").unwrap();
        assert_eq!([0; 3].map(|_| file.read_at(0, &mut buf).is_ok()), due);
    }
}

#[test]
fn every_fault_gives_the_error_an_operating_system_gives() {
    for (fault, due) in [
        (Fault::Enospc, ErrorKind::StorageFull),
        (Fault::Edquot, ErrorKind::QuotaExceeded),
        (Fault::Erofs, ErrorKind::ReadOnlyFilesystem),
        (Fault::Short, ErrorKind::WriteZero),
        (Fault::Zero, ErrorKind::WriteZero),
        (Fault::Eintr, ErrorKind::Interrupted),
        (Fault::Late, ErrorKind::TimedOut),
    ] {
        let (disk, _) = with_file(1);
        let disk = disk.fork();
        disk.fail(0, fault, Lasts::ForEver);
        let file = disk.open("a").unwrap();
        assert_eq!(file.write_at(0, &[&sectors(2, 1)], true).unwrap_err().kind(), due);
        let writes_alone = matches!(due, ErrorKind::WriteZero | ErrorKind::TimedOut);
        assert_eq!(disk.create("b").is_ok(), writes_alone);
        let all = matches!(due, ErrorKind::ReadOnlyFilesystem | ErrorKind::Interrupted);
        assert_eq!(disk.remove("a").is_ok(), !all);
    }
    assert_eq!(Fault::Eio.error().raw_os_error(), Some(5));
}

/// Fact M7: the next sync succeeds over lost data, and reads show what is on no disk.
#[test]
fn a_failed_sync_loses_what_it_was_to_write() {
    let (disk, file) = with_file(4);
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    file.write_at(512, &[&sectors(2, 1)], false).unwrap();
    file.write_at(2048, &[&sectors(2, 1)], false).unwrap();
    disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
    file.sync().unwrap_err();
    file.write_at(512, &[&sectors(3, 1)], false).unwrap();
    file.sync().unwrap();
    assert_eq!(stamps(&disk, "a"), [2, 3, 1, 1, 2]);
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 3, 1, 1]);
    // Nobody knows: it may have got there.
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [2, 3, 1, 1, 2]);
    let found: BTreeSet<Vec<u8>> = (0..200)
        .map(|seed| {
            let next = disk.fork();
            next.evict(seed);
            // Once reads tell, a sync makes it so.
            next.open("a").unwrap().sync().unwrap();
            assert_eq!(stamps(&next.crash(Crash::DropAll), "a"), stamps(&next, "a"));
            stamps(&next, "a")
        })
        .collect();
    let due = [[1_u8, 3, 1, 1], [2, 3, 1, 1]];
    let mut due: BTreeSet<Vec<u8>> = due.iter().map(|stamps| stamps.to_vec()).collect();
    for longer in [[1_u8, 3, 1, 1, 0], [1, 3, 1, 1, 2], [2, 3, 1, 1, 0], [2, 3, 1, 1, 2]] {
        due.insert(longer.to_vec());
    }
    assert_eq!(found, due);
}

#[test]
fn other_file_systems_fail_a_sync_otherwise() {
    let run = |how| {
        let (disk, file) = with_file(2);
        disk.set_failed_sync(how);
        file.write_at(512, &[&sectors(2, 2)], false).unwrap();
        disk.fail(disk.calls(), Fault::Enospc, Lasts::Once);
        assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::StorageFull);
        (stamps(&disk, "a"), stamps(&disk.crash(Crash::DropAll), "a"))
    };
    assert_eq!(run(FailedSync::Lost), (vec![1, 2, 2], vec![1, 1]));
    assert_eq!(run(FailedSync::Reverted), (vec![1, 1], vec![1, 1]));
    assert_eq!(run(FailedSync::Kept), (vec![1, 2, 2], vec![1, 2, 2]));
    // Reads tell at once; what they show is still not flushed.
    let found: BTreeSet<Vec<u8>> = (0..100)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            disk.set_failed_sync(FailedSync::Scattered);
            let file = disk.create("a").unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, &[&sectors(1, 2)], true).unwrap();
            file.write_at(0, &[&sectors(2, 2)], false).unwrap();
            disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
            file.sync().unwrap_err();
            assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1]);
            assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), stamps(&disk, "a"));
            stamps(&disk, "a")
        })
        .collect();
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_failed_directory_sync_loses_the_changes() {
    let (disk, _file) = with_file(1);
    disk.create("b").unwrap();
    disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
    disk.sync_dir().unwrap_err();
    disk.create("c").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(names(&disk), ["a", "b", "c"]);
    assert_eq!(names(&disk.crash(Crash::DropAll)), ["a", "c"]);
    assert_eq!(names(&disk.crash(Crash::KeepAll)), ["a", "b", "c"]);
}

#[test]
fn a_change_that_was_lost_does_not_come_back_over_a_newer_one() {
    let (disk, _file) = with_file(1);
    disk.create("b").unwrap();
    disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
    disk.sync_dir().unwrap_err();
    disk.remove("b").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(names(&disk.crash(Crash::KeepAll)), ["a"]);
    assert_eq!(disk.pending_count(), 0);
}

#[test]
fn another_process_sees_lost_names_or_not_and_can_make_them_durable() {
    let (disk, _file) = with_file(1);
    disk.create("b").unwrap();
    disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
    disk.sync_dir().unwrap_err();
    disk.create("c").unwrap();
    let next = disk.fork();
    next.sync_dir().unwrap();
    assert_eq!(names(&next.crash(Crash::DropAll)), ["a", "b", "c"]);
    let found: BTreeSet<Vec<String>> = (0..50)
        .map(|seed| {
            let next = disk.fork_evicted(seed);
            let seen = names(&next);
            assert_eq!(names(&next.crash(Crash::DropAll)), ["a"]);
            next.sync_dir().unwrap();
            assert_eq!(names(&next.crash(Crash::DropAll)), seen);
            seen
        })
        .collect();
    let due = [vec!["a", "b", "c"], vec!["a", "c"]];
    assert!(found.iter().eq(&due), "{found:?}");
}

#[test]
fn a_failed_write_is_not_saved_by_a_later_sync() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_at(0, &[&sectors(1, 4)], true).unwrap();
        disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
        file.write_at(0, &[&sectors(2, 4)], false).unwrap_err();
        file.sync().unwrap();
        assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1, 1, 1]);
    }
}

#[test]
fn a_failed_durable_write_leaves_nothing_known() {
    let found: BTreeSet<Vec<u8>> = (0..300)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, &[&sectors(1, 3)], true).unwrap();
            file.write_at(1024, &[&sectors(4, 1)], false).unwrap();
            disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
            file.write_at(0, &[&sectors(2, 2)], true).unwrap_err();
            // The un-synced neighbour is lost with it: no later sync brings it back.
            file.sync().unwrap();
            assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1, 1]);
            stamps(&disk.crash(Crash::Random(seed)), "a")
        })
        .collect();
    assert!(found.contains(&vec![1, 1, 1]) && found.contains(&vec![2, 2, 4]), "{found:?}");
    assert!(found.contains(&vec![1, 2, 1]) && found.contains(&vec![2, 1, 4]), "{found:?}");
}

#[test]
fn short_writes_move_a_part_and_zero_writes_nothing() {
    for (fault, due) in [(Fault::Short, 1..4), (Fault::Zero, 0..1), (Fault::Erofs, 0..1)] {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            disk.fail(1, fault, Lasts::Once);
            file.write_at(0, &[&sectors(2, 4)], false).unwrap_err();
            assert!(due.contains(&stamps(&disk, "a").len()), "{fault:?}");
            // It is a write as any other: a sync makes it durable.
            file.sync().unwrap();
            disk.sync_dir().unwrap();
            assert_eq!(disk.pending_count(), 0);
        }
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_room_back() {
    let (disk, file) = with_file(2);
    disk.set_capacity(Some(2048));
    assert_eq!(disk.free_bytes(), Some(1024));
    let full = file.write_at(512, &[&sectors(2, 6)], false).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(stamps(&disk, "a"), [1, 2, 2, 2]);
    assert_eq!(disk.free_bytes(), Some(0));
    file.write_at(0, &[&sectors(3, 4)], true).unwrap();
    assert_eq!(disk.create("b").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove("a").unwrap();
    assert!(disk.create("b").is_ok());
    assert_eq!(disk.crash(Crash::DropAll).free_bytes(), Some(0));
}

#[test]
fn spoilt_sectors_stay_so_until_they_are_written() {
    let (disk, _file) = with_file(4);
    disk.spoil("a", 512, 1024).unwrap();
    let disk = disk.crash(Crash::KeepAll);
    let file = disk.open("a").unwrap();
    let mut buf = AlignedBuf::zeroed(4 * 512);
    let mut read = |at: u64, len: usize| file.read_at(at, &mut buf[..len]).is_ok();
    assert!(read(0, 512) && read(1536, 512) && read(4096, 512));
    assert!(!read(0, 1024) && !read(512, 512) && !read(1024, 1024));
    file.write_at(512, &[&sectors(2, 1)], true).unwrap();
    assert!(read(0, 1024) && !read(0, 1536));
    file.write_at(1024, &[&sectors(2, 1)], false).unwrap();
    assert!(read(0, 2048));
}

#[test]
fn rot_survives_crashes_and_is_no_call() {
    let (disk, _file) = with_file(2);
    let calls = disk.calls();
    disk.overwrite("a", 510, &[7, 8, 9]).unwrap();
    assert_eq!(disk.calls(), calls);
    let found = disk.crash(Crash::DropAll).contents("a").unwrap();
    assert_eq!(found, disk.contents("a").unwrap());
    assert_eq!(found[508..516], [1, 1, 7, 8, 9, 1, 1, 1]);
    let beyond = disk.overwrite("a", 1023, &[7, 7]).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::InvalidInput);
    assert_eq!(disk.overwrite("b", 0, &[7]).unwrap_err().kind(), ErrorKind::NotFound);
}
