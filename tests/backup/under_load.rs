//! What a backup under load restores, and what its manifest says.

use crate::support::open;
use crate::world::{PAGE, backed_up, check, sink};
use siding::archive::Inventory;
use siding::disk::{Disk, MemoryDisk};
use siding::{BackupOptions, FileKind, ObjectFile, Result, UnitState};
use siding_sim::SimDisk;
use std::sync::Arc;

#[test]
fn a_backup_under_load_restores_what_was_acknowledged_by_its_end() -> Result<()> {
    let (mut doubts, mut extents, mut later) = (0, 0, 0);
    for seed in 0..150 {
        let (world, disk, manifest) = backed_up(seed)?;
        doubts += manifest.in_doubt().len();
        extents += manifest.files.iter().filter(|it| it.kind == FileKind::Extents).count();
        later += usize::from(manifest.control.keypoint_begin > manifest.recovery_point);
        assert!(manifest.floor <= manifest.recovery_point);
        let found = Inventory::of(&sink(&disk))?;
        assert!(found.unfinished.is_empty() && found.damaged.is_empty());
        assert!(found.strangers.is_empty(), "{:?}", found.strangers);
        siding::verify_backup(&sink(&disk), Some(manifest.id), &|_| {})?;
        check(&world.lock().unwrap(), &sink(&disk))
            .unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(doubts > 100 && extents > 50 && later > 100, "{doubts} {extents} {later}");
    Ok(())
}

/// Many backups in one sink: the log lies there once, and each restores.
#[test]
fn the_log_of_several_backups_is_put_once() -> Result<()> {
    let log = open(&SimDisk::new(4))?;
    let disk = Arc::new(MemoryDisk::new());
    let options = BackupOptions::new();
    let mut unit = log.begin()?;
    unit.append(&[1; 100])?;
    let doubt = unit.prepare(b"holds it")?;
    let mut ids = Vec::new();
    for round in 0..3 {
        for _ in 0..20 {
            log.write(&[round; 8_000])?;
        }
        ids.push(log.backup_to(&sink(&disk), &[], &options)?.id);
    }
    let found = Inventory::of(&sink(&disk))?;
    assert_eq!(found.backups.len(), 3);
    let mut numbers: Vec<u64> = found.segments.iter().map(|it| it.number).collect();
    numbers.dedup();
    // Each backup put the end of the log as it was then; what was sealed lies there once.
    assert!(found.segments.len() <= numbers.len() + 2, "{:?}", found.segments.len());
    assert!(numbers.len() > 6);
    for id in ids {
        siding::verify_backup(&sink(&disk), Some(id), &|_| {})?;
        let into = SimDisk::new(9);
        crate::world::restore_end(&sink(&disk), Some(id), &into, &|_| panic!("no object"))?;
        assert_eq!(crate::support::recover(&into)?.in_doubt().len(), 1);
    }
    doubt.back_out()?;
    log.close()
}

/// A unit that lasts does not lengthen the log of a backup once it was moved, nor does a redo
/// position that nobody reports.
#[test]
fn what_lasts_does_not_lengthen_the_log_of_a_backup() -> Result<()> {
    let log = open(&SimDisk::new(4))?;
    let mut unit = log.begin()?;
    unit.append(&[1; 100])?;
    let doubt = unit.prepare(b"lasts")?;
    log.fork(doubt.id())?;
    for _ in 0..60 {
        let mut unit = log.begin()?;
        let update = unit.update(3, &[2; 8_000])?;
        unit.commit()?;
        update.done();
    }
    let disk = Arc::new(MemoryDisk::new());
    let manifest = log.backup_to(&sink(&disk), &[], &BackupOptions::new())?;
    assert_eq!(log.positions().redo, siding::Lsn::ZERO);
    // The minima of COMMITs are kept by segment.
    let segment = |lsn: siding::Lsn| lsn.get() / (64 << 10);
    assert!(segment(manifest.recovery_point) > 7, "{manifest:?}");
    assert_eq!(segment(manifest.floor), segment(manifest.recovery_point), "{manifest:?}");
    let into = SimDisk::new(9);
    crate::world::restore_end(&sink(&disk), None, &into, &|_| panic!("no object"))?;
    let recovery = crate::support::recover(&into)?;
    assert_eq!(recovery.in_doubt()[0].effects()?.owned().count(), 1);
    doubt.back_out()?;
    log.close()
}

/// What a plan of a restore goes by: where each object's recovery starts, which batch ends the
/// backup, who had not ended.
#[test]
fn a_manifest_says_where_each_object_starts_and_which_batch_ends_it() -> Result<()> {
    let log = open(&SimDisk::new(2))?;
    let files = MemoryDisk::new();
    let object = |object: u16| -> Result<ObjectFile> {
        let file = files.create(&format!("file-{object}")).unwrap();
        file.write_at(0, &[&[1; PAGE]], true).unwrap();
        Ok(ObjectFile { object, name: "file".into(), file })
    };
    let mut unit = log.begin()?;
    let (first, second) = (unit.update(1, b"first")?, unit.update(2, b"second")?);
    let (third, other) = (unit.update(1, b"third")?, unit.update(9, b"not copied")?);
    let (one, two) = (first.lsn(), third.lsn());
    first.done();
    second.done();
    other.done();
    let end = log.positions().end;
    let disk = Arc::new(MemoryDisk::new());
    let objects = [object(3)?, object(1)?, object(2)?];
    let manifest = log.backup_to(&sink(&disk), &objects, &BackupOptions::new())?;
    assert_eq!(manifest.objects, [(1, two), (2, end), (3, end)]);
    assert!(one < two && manifest.recovery_point == two && two < end);
    assert_eq!(manifest.units.len(), 1);
    assert_eq!((manifest.units[0].unit, manifest.units[0].state), (unit.id(), UnitState::InFlight));
    assert!(manifest.in_doubt().is_empty());
    third.done();
    log.write(b"behind it")?;
    let into = SimDisk::new(9);
    let target = |file: &siding::BackupFile| files.create(&file.stored).unwrap();
    crate::world::restore_end(&sink(&disk), None, &into, &target)?;
    let mut scan = siding_wal::read::survey(&into)?.scan()?;
    while let siding_wal::read::Step::Batch(_) = scan.next_batch()? {}
    assert_eq!((scan.position(), scan.digest()), (manifest.end, Some(manifest.end_digest)));
    unit.back_out()?;
    Ok(())
}
