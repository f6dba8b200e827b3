//! What is damaged or gone is named, and restores nothing.

use crate::support::recover;
use crate::world::{PAGE, backed_up, restored, sink};
use siding::archive::Inventory;
use siding::disk::{Disk, MemoryDisk};
use siding::{ErrorKind, Result};
use siding_sim::SimDisk;
use std::sync::Arc;

/// The bytes of a file in the sink.
fn bytes_of(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let len = usize::try_from(file.len().unwrap()).unwrap();
    let mut bytes = vec![0; len.next_multiple_of(PAGE)];
    file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// Writes them.
fn write(file: &dyn siding::disk::LogFile, mut bytes: Vec<u8>) {
    let len = bytes.len();
    bytes.resize(len.next_multiple_of(PAGE), 0);
    file.write_at(0, &[&bytes], true).unwrap();
    file.cut(len as u64).unwrap();
}

/// A byte of a file in the sink, changed.
fn flip(disk: &MemoryDisk, name: &str, at: usize) {
    let mut bytes = bytes_of(disk, name);
    bytes[at] ^= 1;
    write(&*disk.open(name).unwrap(), bytes);
}

#[test]
fn each_file_that_is_damaged_or_gone_is_named() -> Result<()> {
    let (_, disk, manifest) = backed_up(3)?;
    let sink = sink(&disk);
    siding::verify_backup(&sink, None, &|_| {})?;
    let names: Vec<String> = disk.list().unwrap().into_iter().map(|(name, _)| name).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in &names {
        flip(&disk, name, 40);
        let error = siding::verify_backup(&sink, None, &|_| {}).unwrap_err();
        // Without a manifest there is no backup, without an index no piece of log.
        assert_ne!(error.kind(), ErrorKind::Io, "{error}");
        let named = error.to_string().contains(name.as_str());
        assert!(named || name.ends_with(".index"), "{name}: {error}");
        let found = Inventory::of(&sink)?;
        if name.ends_with(".index") || name.ends_with(".manifest") {
            assert_eq!(found.damaged.len(), 1, "{name}");
            assert_eq!(found.damaged[0].0, *name);
        }
        let into = SimDisk::new(9);
        let refused = restored(&sink, &into).unwrap_err();
        assert_ne!(refused.kind(), ErrorKind::Io, "{refused}");
        // What was begun opens as no log, and says so; what was refused before is empty.
        match recover(&into) {
            Ok(recovery) => assert!(recovery.report().created, "{name}"),
            Err(error) => assert!(error.to_string().contains("broken off"), "{name}: {error}"),
        }
        flip(&disk, name, 40);
    }
    for name in &names {
        let bytes = bytes_of(&disk, name);
        disk.remove(name).unwrap();
        let error = siding::verify_backup(&sink, None, &|_| {}).unwrap_err();
        let kinds = [ErrorKind::Missing, ErrorKind::NotFound];
        assert!(kinds.contains(&error.kind()), "{name}: {error}");
        write(&*disk.create(name).unwrap(), bytes);
    }
    siding::verify_backup(&sink, Some(manifest.id), &|_| {})?;
    Ok(())
}

/// Every bit of a manifest, every byte of every other file.
#[test]
fn no_bit_of_a_backup_changes_unseen() -> Result<()> {
    let (_, disk, _) = backed_up(6)?;
    let sink = sink(&disk);
    for (name, len) in disk.list().unwrap() {
        let len = usize::try_from(len).unwrap();
        let whole = name.ends_with(".manifest") || name.ends_with(".index");
        for at in (0..len).step_by(if whole { 1 } else { 997 }) {
            flip(&disk, &name, at);
            assert!(siding::verify_backup(&sink, None, &|_| {}).is_err(), "{name}: byte {at}");
            flip(&disk, &name, at);
        }
        // A file that lost its end.
        let bytes = bytes_of(&disk, &name);
        disk.open(&name).unwrap().cut(len as u64 - 1).unwrap();
        assert!(siding::verify_backup(&sink, None, &|_| {}).is_err(), "{name}: cut");
        write(&*disk.open(&name).unwrap(), bytes);
    }
    siding::verify_backup(&sink, None, &|_| {})?;
    Ok(())
}

#[test]
fn nothing_is_no_backup() {
    let sink = sink(&Arc::new(MemoryDisk::new()));
    let error = siding::verify_backup(&sink, None, &|_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = siding::verify_backup(&sink, Some([1; 16]), &|_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = restored(&sink, &SimDisk::new(9)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
