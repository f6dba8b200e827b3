//! Backups that go on from another one: log and extents alone.

use crate::support::{open, quiet, recover, redone};
use crate::world::sink;
use siding::archive::Inventory;
use siding::disk::{Disk, MemoryDisk};
use siding::{BackupOptions, ErrorKind, FileKind, Log, ObjectFile, Result};
use siding_sim::SimDisk;
use std::sync::Arc;

fn object(files: &MemoryDisk) -> ObjectFile {
    let file = files.create("file").unwrap();
    file.write_at(0, &[&[1; 4096]], true).unwrap();
    ObjectFile { object: 1, name: "file".into(), file }
}

/// What lies above what a redo position would trim.
fn trim(log: &Log) -> Result<()> {
    log.redo_from(log.positions().durable)?;
    for _ in 0..3 {
        log.keypoint()?;
        log.tick();
    }
    Ok(())
}

#[test]
fn a_chain_of_backups_restores_each_of_its_ends() -> Result<()> {
    let log = open(&SimDisk::new(3))?;
    let (files, disk) = (MemoryDisk::new(), Arc::new(MemoryDisk::new()));
    let sink = sink(&disk);
    log.write(b"before")?;
    trim(&log)?;
    let mut manifests = vec![log.backup_to(&sink, &[object(&files)], &BackupOptions::new())?];
    let mut unit = log.begin()?;
    unit.append(b"in doubt")?;
    let doubt = unit.prepare(b"gid")?;
    log.fork(doubt.id())?;
    for round in 0..3_u8 {
        for _ in 0..20 {
            log.write(&[round; 8_000])?;
        }
        let last = manifests.last().unwrap();
        let options = BackupOptions::new().after(last.id);
        let manifest = log.backup_to(&sink, &[], &options)?;
        assert_eq!(manifest.parent, Some(last.id));
        assert_eq!((manifest.floor, manifest.recovery_point), (last.end, last.end));
        assert!(manifest.files.iter().all(|file| file.kind == FileKind::Extents));
        manifests.push(manifest);
        trim(&log)?;
    }
    log.abandon();
    for (count, manifest) in manifests.iter().enumerate() {
        assert_eq!(siding::verify_backup(&sink, Some(manifest.id), &|_| {})?, *manifest);
        let into = SimDisk::new(9);
        let name = format!("back-{count}");
        let target = |_: &siding::BackupFile| files.create(&name).unwrap();
        let plan = crate::world::restore_end(&sink, Some(manifest.id), &into, &target)?;
        assert_eq!((plan.backup, plan.increments.len()), (manifests[0].id, count));
        assert_eq!(plan.target, manifest.end);
        let recovery = recover(&into)?;
        assert_eq!(redone(&recovery)?.len(), 20 * count);
        assert_eq!(recovery.in_doubt().len(), usize::from(count > 0));
        for doubt in recovery.in_doubt() {
            assert_eq!(doubt.effects()?.owned().count(), 1);
        }
    }
    // Without what they go on from they are nothing.
    let found = Inventory::of(&sink)?;
    let root = found.backups.iter().find(|it| it.1.id == manifests[0].id).unwrap();
    disk.remove(&root.0).unwrap();
    let error = siding::verify_backup(&sink, Some(manifests[2].id), &|_| {}).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Missing | ErrorKind::NotFound), "{error}");
    Ok(())
}

#[test]
fn a_backup_goes_on_from_its_own_history_alone_and_while_the_log_is_there() -> Result<()> {
    let simulated = SimDisk::new(3);
    let log = open(&simulated)?;
    let (files, disk) = (MemoryDisk::new(), Arc::new(MemoryDisk::new()));
    let sink = sink(&disk);
    log.write(b"before")?;
    let root = log.backup_to(&sink, &[], &BackupOptions::new())?;
    let go_on = |log: &Log| {
        let options = BackupOptions::new().after(root.id);
        log.backup_to(&sink, &[], &options)
    };
    // No objects.
    let options = BackupOptions::new().after(root.id);
    let error = log.backup_to(&sink, &[object(&files)], &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // Nothing to go on from.
    let error = log.backup_to(&sink, &[], &BackupOptions::new().after([7; 16])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // Another log.
    let other = quiet().open_on(Arc::new(SimDisk::new(8)))?.finish()?;
    let error = go_on(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("another log"), "{error}");
    // Another history of this one: a restore that went on.
    let into = SimDisk::new(9);
    let early = crate::world::restore_end(&sink, None, &into, &|_| panic!("no object"))?;
    assert_eq!(early.target, root.end);
    log.write(b"behind the root")?;
    let second = log.backup_to(&sink, &[], &BackupOptions::new())?;
    let restored = open(&into)?;
    for _ in 0..40 {
        restored.write(&[9; 3_000])?;
    }
    let error = restored.backup_to(&sink, &[], &BackupOptions::new().after(second.id)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("cannot go on"), "{error}");
    // But from the root both go on.
    go_on(&restored)?;
    go_on(&log)?;
    // Trimmed.
    for _ in 0..40 {
        log.write(&[1; 8_000])?;
    }
    trim(&log)?;
    let error = go_on(&log).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trimmed, "{error}");
    log.close()
}
