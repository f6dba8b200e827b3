//! Disks that tell late, wrongly or not at all; mapped files; larger sectors; files that are cut.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use siding_sim::disk::{Crash, FailedSync, Fault, Lasts, STALL_MS, Torn};
use siding_sim::{Clock, SimDisk};
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use support::{sectors, stamps, with_file};

/// A disk whose next call has this fault.
fn failing(count: usize, fault: Fault) -> (SimDisk, Arc<dyn LogFile>) {
    let (disk, file) = with_file(count);
    disk.fail(disk.calls(), fault, Lasts::Once);
    (disk, file)
}

#[test]
fn a_signal_leaves_everything_as_it_was() {
    let (disk, file) = failing(2, Fault::Eintr);
    assert!(file.write_at(0, &[&sectors(2, 1)], true).is_err());
    assert_eq!(stamps(&disk, "a"), [1, 1]);
    file.write_at(0, &[&sectors(2, 1)], false).unwrap();
    disk.fail(disk.calls(), Fault::Eintr, Lasts::Once);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [2, 1]);
}

#[test]
fn a_call_that_stalls_goes_well_and_takes_its_time() {
    let (disk, file) = failing(1, Fault::Stall);
    let clock = Clock::new(7);
    disk.set_clock(&clock);
    file.write_at(0, &[&sectors(2, 1)], true).unwrap();
    assert_eq!((clock.monotonic_ms(), disk.troubles(), disk.stalls()), (STALL_MS, 0, 1));
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [2]);
    // Another process has its own clock.
    assert_eq!(disk.fork().stalls(), 0);
}

#[test]
fn a_late_write_lands_over_what_was_written_since() {
    let (disk, file) = failing(2, Fault::Late);
    file.write_at(0, &[&sectors(2, 1)], true).unwrap_err();
    file.write_at(0, &[&sectors(3, 1)], true).unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [3, 1]);
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [2, 1], "it may land with the crash");
    assert_eq!(stamps(&disk.fork(), "a"), [2, 1], "a process ends when all is done");
    for _ in 0..10 {
        file.write_at(512, &[&sectors(4, 1)], true).unwrap();
    }
    assert_eq!(stamps(&disk, "a"), [2, 4]);
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [2, 4]);
}

#[test]
fn lies_are_told_with_a_straight_face() {
    let (disk, file) = failing(2, Fault::Lost);
    file.write_at(0, &[&sectors(2, 1)], true).unwrap();
    assert_eq!(stamps(&disk, "a"), [1, 1]);
    assert_eq!(disk.troubles(), 1);

    let (disk, file) = failing(2, Fault::Lying);
    file.write_at(0, &[&sectors(2, 1)], true).unwrap();
    assert_eq!(stamps(&disk, "a"), [2, 1]);
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1]);
    disk.fail(disk.calls(), Fault::Lying, Lasts::Once);
    file.sync().unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1]);
    file.sync().unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [2, 1], "it was the flush that lied");
    disk.create("b").unwrap();
    disk.fail(disk.calls(), Fault::Lying, Lasts::Once);
    disk.sync_dir().unwrap();
    assert!(disk.crash(Crash::DropAll).contents("b").is_none());
}

#[test]
fn a_misdirected_write_lands_anywhere_but_where_it_should() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        for name in ["a", "b"] {
            let file = disk.create(name).unwrap();
            file.write_at(0, &[&sectors(1, 3)], true).unwrap();
        }
        disk.sync_dir().unwrap();
        disk.fail(disk.calls(), Fault::Misdirected, Lasts::Once);
        disk.open("a").unwrap().write_at(512, &[&sectors(2, 1)], true).unwrap();
        let after = disk.crash(Crash::DropAll);
        found.insert((stamps(&after, "a"), stamps(&after, "b")));
    }
    let whole = || vec![1, 1, 1];
    let due = [
        (vec![2, 1, 1], whole()),
        (vec![1, 1, 2], whole()),
        (whole(), vec![2, 1, 1]),
        (whole(), vec![1, 2, 1]),
        (whole(), vec![1, 1, 2]),
    ];
    assert_eq!(found, BTreeSet::from(due));
}

/// Modes C and D.
#[test]
fn a_failed_sync_is_told_one_call_late_or_to_nobody() {
    for (how, next) in [(FailedSync::ToldLate, false), (FailedSync::Untold, true)] {
        let (disk, file) = failing(2, Fault::Eio);
        disk.set_failed_sync(how);
        // The write fails as one of a mapped file does: not before the sync.
        file.write_at(0, &[&sectors(2, 1)], true).unwrap();
        assert_eq!(stamps(&disk, "a"), [2, 1]);
        assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1]);
        assert_eq!(file.sync().is_ok(), next, "{how:?}");
        file.sync().unwrap();
        assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1], "it stays lost");
        file.write_at(512, &[&sectors(3, 1)], false).unwrap();
        disk.fail(disk.calls(), Fault::Enospc, Lasts::Once);
        file.sync().unwrap();
        assert_eq!(file.sync().is_ok(), next, "{how:?}");
        // Nobody owes the next process anything.
        disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
        file.sync().unwrap();
        disk.fork().open("a").unwrap().sync().unwrap();
    }
}

#[test]
fn stale_sectors_are_what_they_were_before() {
    let (disk, file) = with_file(3);
    file.write_at(0, &[&sectors(2, 2)], true).unwrap();
    file.write_at(0, &[&sectors(3, 1)], true).unwrap();
    file.write_at(1024, &[&sectors(4, 1)], false).unwrap();
    file.sync().unwrap();
    disk.revert("a", 0, 512).unwrap();
    assert_eq!(stamps(&disk, "a"), [2, 2, 4]);
    disk.revert("a", 700, 400).unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [2, 1, 1]);
    assert_eq!(disk.revert("a", 2048, 512).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_bit_is_flipped_on_its_way_and_not_at_rest() {
    let (disk, file) = with_file(1);
    let mut buf = AlignedBuf::zeroed(1024);
    disk.flip_read(1, 8 * 511 + 3);
    let mut read = || {
        file.read_at(0, &mut buf).unwrap();
        (buf[510], buf[511])
    };
    assert_eq!([read(), read(), read()], [(1, 1), (1, 9), (1, 1)]);
    assert_eq!(disk.troubles(), 1);
}

#[test]
fn mapped_files_are_written_in_whole_folios() {
    let disk = SimDisk::new(1).with_folio(4096);
    let file = disk.create("a").unwrap();
    disk.sync_dir().unwrap();
    file.write_at(0, &[&sectors(1, 12)], true).unwrap();
    file.write_at(512, &[&sectors(2, 1)], false).unwrap();
    file.write_at(6 * 512, &[&sectors(3, 1)], false).unwrap();
    let pending: Vec<String> = disk.pending().iter().map(ToString::to_string).collect();
    assert_eq!(pending, ["4096 bytes at 0 of a", "4096 bytes at 0 of a"]);
    // The later one carries the earlier; and a durable one carries what stands around it.
    let later = disk.crash(Crash::KeepOnly(1));
    assert_eq!(stamps(&later, "a"), [1, 2, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1]);
    file.write_at(11 * 512, &[&sectors(4, 1)], true).unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4]);
    file.write_at(0, &[&sectors(5, 1)], true).unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [5, 2, 1, 1, 1, 1, 3, 1, 1, 1, 1, 4]);
    assert_eq!(disk.pending_count(), 0);
}

#[test]
fn garbage_takes_a_whole_write_unit_with_what_was_durable_in_it() {
    let (disk, file) = with_file(24);
    let disk = disk.with_write_unit(4096);
    file.write_at(9 * 512, &[&sectors(2, 12)], false).unwrap();
    let mut places = BTreeSet::new();
    for seed in 0..100 {
        let found = stamps(&disk.crash(Crash::Shorn(seed)), "a");
        assert_eq!(found[..8], [1; 8]);
        let wrong = |range: std::ops::Range<usize>| found[range].iter().any(|byte| *byte > 2);
        assert!(wrong(8..16) != wrong(16..24), "{found:?}");
        let at = if wrong(16..24) { 8192 } else { 4096 };
        assert_eq!(disk.shorn(seed), Some(("a".to_owned(), at)));
        places.insert(at);
        if wrong(16..24) {
            assert_eq!(found[8..16], [1, 2, 2, 2, 2, 2, 2, 2], "what was written before it");
        } else {
            assert_eq!(found[16..24], [1; 8], "what was not written yet");
        }
    }
    assert_eq!(places.len(), 2);
}

#[test]
fn a_device_of_larger_sectors_tears_between_them_and_takes_nothing_else() {
    let disk = SimDisk::new(1).with_sector(4096);
    let geometry = disk.geometry();
    assert_eq!((geometry.min_write_unit, geometry.write_unit), (4096, 4096));
    let file = disk.create("a").unwrap();
    disk.sync_dir().unwrap();
    let refused = file.write_at(0, &[&sectors(1, 1)], false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let refused = file.write_at(512, &[&sectors(1, 8)], false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    file.write_at(0, &[&sectors(1, 24)], true).unwrap();
    file.write_at(0, &[&sectors(2, 24)], false).unwrap();
    let mut found = BTreeSet::new();
    for seed in 0..300 {
        let torn = [Torn::Head, Torn::Tail, Torn::Hole, Torn::Lone];
        let choices = torn.map(|torn| Crash::Tear(torn, seed)).into_iter();
        for choice in choices.chain([Crash::Random(seed)]) {
            let stamps = stamps(&disk.crash(choice), "a");
            assert!(stamps.chunks(8).all(|sector| sector.iter().all(|it| *it == sector[0])));
            found.insert(stamps);
        }
    }
    assert_eq!(found.len(), 8);
}

#[test]
fn a_cut_is_pending_apart_and_what_stood_behind_it_does_not_come_back() {
    let (disk, file) = with_file(4);
    file.cut(1024).unwrap();
    file.write_at(1536, &[&sectors(2, 1)], false).unwrap();
    assert_eq!(stamps(&disk, "a"), [1, 1, 0, 2]);
    let found: BTreeSet<Vec<u8>> =
        (0..300).map(|seed| stamps(&disk.crash(Crash::Random(seed)), "a")).collect();
    let due: [&[u8]; 6] =
        [&[1, 1, 1, 1], &[1, 1, 1, 2], &[1, 1], &[1, 1, 0, 0], &[1, 1, 0, 2], &[1, 1, 0]];
    assert!(found.iter().all(|stamps| due.contains(&&stamps[..])), "{found:?}");
    assert_eq!(found.len(), 5, "{found:?}");
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1, 1, 1]);
    assert_eq!(stamps(&disk.crash(Crash::KeepAll), "a"), [1, 1, 0, 2]);
    file.sync().unwrap();
    assert_eq!(stamps(&disk.crash(Crash::DropAll), "a"), [1, 1, 0, 2]);
}
