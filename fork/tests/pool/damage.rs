//! Extents that rot, go missing or were never ours: an error for exactly the unit concerned.

use crate::world::World;
use siding_sim::{Rng, SimDisk};
use siding_wal::chain::Copies as _;
use siding_wal::disk::{AlignedBuf, Disk as _};
use siding_wal::format::{EXTENT_HEAD_LEN, ExtentFileHeader, SPtr, extent_file_name, wide};
use siding_wal::{Error, ErrorKind, Lsn};
use std::collections::BTreeMap;

/// Three units with two extents each, in one file; opened anew, not swept.
fn world() -> World {
    let mut world = World::new(SimDisk::new(2));
    for lens in [[30, 3], [200, 50]] {
        for unit in [0xa1, 0xa2, 0xa3] {
            world.append(unit, &lens).unwrap();
        }
        world.sync().unwrap();
    }
    let disk = world.disk.fork();
    world.reopen(disk);
    world
}

/// Which unit each byte of the file belongs to, and whether to a head; none: the header, padding.
fn owners(world: &World, len: usize) -> Vec<Option<(u64, bool)>> {
    let mut owners = vec![None; len];
    for (unit, held) in
        world.live.iter().flat_map(|(unit, chain)| chain.iter().map(|it| (*unit, it)))
    {
        let start = usize::try_from(held.at.offset).unwrap() * 8;
        let len = usize::try_from(held.len).unwrap();
        for (at, owner) in owners[start..start + len].iter_mut().enumerate() {
            *owner = Some((unit, at < EXTENT_HEAD_LEN));
        }
    }
    owners
}

fn file(world: &World) -> String {
    extent_file_name(*world.files().keys().next().unwrap())
}

/// What is said of each unit that cannot be read.
fn unreadable(world: &World) -> BTreeMap<u64, Error> {
    let of = |unit: &u64| Some((*unit, world.read(unit).err()?));
    world.live.keys().filter_map(of).collect()
}

#[test]
fn every_flipped_bit_is_an_error_for_exactly_its_unit() {
    let world = world();
    let name = file(&world);
    let bytes = world.disk.contents(&name).unwrap();
    let owners = owners(&world, bytes.len());
    let mut rng = Rng::new(1);
    for (at, byte) in bytes.iter().enumerate() {
        let disk = world.disk.crash(siding_sim::disk::Crash::KeepAll);
        disk.overwrite(&name, at as u64, &[byte ^ (1 << rng.index(8))]).unwrap();
        let mut damaged = World::go_on(disk, &world.promised());
        let found = unreadable(&damaged);
        let units: Vec<u64> = found.keys().copied().collect();
        let expected = match owners[at] {
            Some((unit, _)) => vec![unit],
            None if at < 64 => vec![0xa1, 0xa2, 0xa3],
            None => Vec::new(),
        };
        assert_eq!(units, expected, "byte {at}");
        for (unit, error) in &found {
            let text = error.to_string();
            assert!(text.contains(&format!("{unit:#x}")) && text.contains(&name), "{text}");
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::ForeignFile));
            assert!(error.advice().is_some());
        }
        // The sweep reads heads alone, and says the same of them.
        let sweep = damaged.sweep();
        let problems: Vec<u64> = damaged.pool.problems().into_iter().map(|it| it.unit).collect();
        let expected = match owners[at] {
            Some((_, false)) => Vec::new(),
            _ => expected,
        };
        assert_eq!((&problems, sweep.problems), (&expected, expected.len() as u64), "byte {at}");
        assert_eq!(damaged.files(), world.files(), "and removes nothing");
    }
}

#[test]
fn what_is_lost_is_said() {
    let mut world = world();
    let name = file(&world);
    let (old, new) = (world.live[&0xa2][0].clone(), world.live[&0xa2][1].clone());
    world.sweep();
    // The body of the newer extent: its records are known by its head.
    let body = u64::from(new.at.offset) * 8 + 120;
    world.disk.overwrite(&name, body, &[0xff; 4]).unwrap();
    let error = world.read(&0xa2).unwrap_err();
    let (oldest, newest) = (new.copies[0].0, new.copies[1].0);
    let said = format!("the moved records {oldest} to {newest} of unit 0xa2 cannot be read");
    assert!(error.to_string().starts_with(&said), "{error}");
    let problem = world.pool.problems().remove(0);
    assert_eq!((problem.unit, problem.at, &problem.file), (0xa2, new.at, &name));
    assert_eq!((problem.from, problem.upto), (Some(oldest), Some(newest)));
    assert_eq!(world.pool.problems().len(), 1);
    let _ = world.read(&0xa2).unwrap_err();
    assert_eq!(world.pool.problems().len(), 1, "said once");

    // The head of the older one: all below what stands in the newer one.
    let mut world = self::world();
    world.disk.overwrite(&name, u64::from(old.at.offset) * 8, &[0xff; 4]).unwrap();
    assert_eq!(world.sweep().problems, 1);
    let problem = world.pool.problems().remove(0);
    assert_eq!((problem.unit, problem.at, problem.kind), (0xa2, old.at, ErrorKind::Corrupt));
    assert_eq!((problem.from, problem.upto), (None, Some(Lsn::new(oldest.get() - 1))));

    // A unit that is over has no problems.
    world.free(0xa2);
    assert!(world.pool.problems().is_empty());
}

#[test]
fn a_missing_a_shortened_and_an_unreadable_file_are_named() {
    for (len, kind) in [(None, ErrorKind::Missing), (Some(600), ErrorKind::Missing)] {
        let mut world = world();
        let name = file(&world);
        let bytes = world.disk.contents(&name).unwrap();
        world.disk.remove(&name).unwrap();
        if let Some(len) = len {
            let kept = AlignedBuf::from(&bytes[..512]);
            let file = world.disk.create(&name).unwrap();
            file.write_at(0, &[&kept], true).unwrap();
            assert!(len > 512, "the first extent is cut");
        }
        for (unit, error) in unreadable(&world) {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&name), "{unit:#x}: {error}");
        }
        assert_eq!(world.sweep().problems, 3);
        assert_eq!(world.pool.problems().len(), 3);
    }
    let mut world = world();
    let name = file(&world);
    let at = world.live[&0xa3][1].at;
    world.disk.spoil(&name, u64::from(at.offset) * 8, 8).unwrap();
    assert_eq!(world.read(&0xa3).unwrap_err().kind(), ErrorKind::Io);
    let found = world.sweep();
    let problems = world.pool.problems();
    assert_eq!(found.problems, wide(problems.len()));
    assert!(!problems.is_empty() && problems.iter().all(|it| it.kind == ErrorKind::Io));

    // A disk that fails to answer a reader may answer the next one.
    let mut world = self::world();
    assert_eq!(world.sweep().problems, 0);
    world.disk.spoil(&name, u64::from(at.offset) * 8, 8).unwrap();
    assert_eq!(world.read(&0xa3).unwrap_err().kind(), ErrorKind::Io);
    assert!(world.pool.problems().is_empty());
}

/// A file of this name with this header, and what stood behind it before.
fn put_header(world: &World, name: &str, header: &[u8], like: &str) {
    let mut bytes = world.disk.contents(like).unwrap();
    bytes[..header.len()].copy_from_slice(header);
    let _ = world.disk.remove(name);
    let file = world.disk.create(name).unwrap();
    file.write_at(0, &[&AlignedBuf::from(&bytes[..])], true).unwrap();
    world.disk.sync_dir().unwrap();
}

#[test]
fn files_that_are_not_the_pools_are_refused_by_name_and_left_alone() {
    let (number, log_id) = (1 << 32 | 1, crate::world::LOG_ID);
    let ours = ExtentFileHeader { log_id, number, write_unit: 512 };
    let other = ExtentFileHeader { log_id: [9; 16], ..ours };
    let misnamed = ExtentFileHeader { number: 77, ..ours };
    let mut newer = ours.encode();
    newer[8] = 2;
    let crc = crc32c(&newer[..60]);
    newer[60..].copy_from_slice(&crc.to_le_bytes());
    let mut edited = ours.encode();
    edited[12] ^= 1;
    let cases: [(&[u8], ErrorKind, &str); 5] = [
        (&other.encode(), ErrorKind::ForeignFile, "another log"),
        (&misnamed.encode(), ErrorKind::ForeignFile, "000000000000004d.ext by its header"),
        (b"#!/bin/sh\nrm", ErrorKind::ForeignFile, "not Siding's"),
        (&newer, ErrorKind::UnsupportedVersion, "newer version 2"),
        (&edited, ErrorKind::Corrupt, "checksum"),
    ];
    for (header, kind, words) in cases {
        // In the place of a file that is needed.
        let mut world = world();
        let name = file(&world);
        put_header(&world, &name, header, &name);
        let error = world.read(&0xa1).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains(&name), "{error}");
        let found = world.sweep();
        assert_eq!(found.problems, 3);
        assert!(found.strangers[0].starts_with(&name) && found.strangers[0].contains(words));
        assert!(world.disk.contents(&name).is_some());

        // Beside the files that are needed.
        let mut world = self::world();
        let stray = extent_file_name(1 << 32 | 5);
        put_header(&world, &stray, header, &name);
        let found = world.sweep();
        assert_eq!((found.problems, found.removed, found.strangers.len()), (0, 0, 1));
        assert!(found.strangers[0].starts_with(&stray), "{:?}", found.strangers);
        assert!(world.disk.contents(&stray).is_some(), "left alone");
        assert_eq!(world.pool.stats().files, 1);
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc % 2 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn an_extent_of_another_unit_is_refused() {
    let world = world();
    let at = world.live[&0xa1][0].at;
    let error = world.pool.extent(0xa2, at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("that of unit 0xa1"), "{error}");
    let nowhere = SPtr { offset: at.offset + 1, ..at };
    assert_eq!(world.pool.extent(0xa1, nowhere).unwrap_err().kind(), ErrorKind::Corrupt);
    let behind = SPtr { offset: 1 << 20, ..at };
    assert_eq!(world.pool.extent(0xa1, behind).unwrap_err().kind(), ErrorKind::Missing);
    let beyond = SPtr { extent: 7, offset: 64 };
    assert_eq!(world.pool.extent(0xa1, beyond).unwrap_err().kind(), ErrorKind::Missing);
}
