//! Power goes at each call of a backup, and of a restore: all of it is there, or nothing.

use crate::support::{open, recover};
use crate::world::{backed_up, sink};
use siding::archive::Inventory;
use siding::disk::{Disk, MemoryDisk};
use siding::sink::{DirectorySink, Sink as _};
use siding::{BackupOptions, ErrorKind, ObjectFile, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

/// Each step of a backup into a sink whose power goes. None: it restores, or it is none.
pub(crate) fn at_each_step() -> Result<Option<String>> {
    let log = open(&SimDisk::new(5))?;
    let mut unit = log.begin()?;
    unit.append(b"moved")?;
    let doubt = unit.prepare(b"gid")?;
    log.fork(doubt.id())?;
    let files = MemoryDisk::new();
    let file = files.create("file").unwrap();
    file.write_at(0, &[&[7; 8192]], true).unwrap();
    file.cut(5000).unwrap();
    let object = ObjectFile { object: 1, name: "file".into(), file };
    for cut in 0.. {
        log.write(b"something")?;
        let disk = SimDisk::new(cut);
        let into = DirectorySink::new(Arc::new(disk.clone()));
        disk.cut_at(cut);
        let objects = std::slice::from_ref(&object);
        let done = log.backup_to(&into, objects, &BackupOptions::new()).is_ok();
        let mut crashes = vec![Crash::DropAll, Crash::KeepAll];
        crashes.extend((0..4).map(Crash::Random));
        for crash in crashes {
            let left = DirectorySink::new(Arc::new(disk.crash(crash)));
            let target = |_: &siding::BackupFile| MemoryDisk::new().create("back").unwrap();
            let restored = SimDisk::new(9);
            let put_back = crate::world::restore_end(&left, None, &restored, &target);
            match siding::verify_backup(&left, None, &|_| {}) {
                Ok(_) if put_back.is_err() => return Ok(Some(format!("cut {cut}: {put_back:?}"))),
                Ok(_) => assert_eq!(recover(&restored)?.in_doubt().len(), 1),
                Err(error) if done || error.kind() != ErrorKind::NotFound => {
                    return Ok(Some(format!("cut {cut}, {crash:?}: {error}")));
                }
                Err(_) => {
                    assert!(restored.list().unwrap().is_empty(), "nothing was begun");
                    swept(&left)?;
                }
            }
        }
        if done {
            assert!(cut > 20, "{cut}");
            return Ok(None);
        }
    }
    Ok(None)
}

/// What a backup that was broken off left is named, and can be removed: then only log is there.
fn swept(left: &DirectorySink) -> Result<()> {
    left.remove_unfinished().unwrap();
    for name in Inventory::of(left)?.unfinished {
        left.remove(&name).unwrap();
    }
    let found = Inventory::of(left)?;
    assert!(found.unfinished.is_empty() && found.strangers.is_empty());
    for (name, _) in left.list("").unwrap() {
        assert!(name.starts_with("log-"), "{name}");
    }
    Ok(())
}

#[test]
fn a_power_cut_leaves_a_whole_backup_or_none() -> Result<()> {
    match at_each_step()? {
        None => Ok(()),
        Some(what) => panic!("{what}"),
    }
}

/// Power goes at each call that the log makes while it is backed up: the log is as it was, and
/// the sink, elsewhere, has a whole backup or none.
#[test]
fn a_power_cut_under_a_backup_harms_neither_log_nor_sink() -> Result<()> {
    for cut in 0.. {
        let simulated = SimDisk::new(cut);
        let log = open(&simulated)?;
        let mut unit = log.begin()?;
        unit.append(b"moved")?;
        let doubt = unit.prepare(b"gid")?;
        log.fork(doubt.id())?;
        for _ in 0..20 {
            log.write(&[1; 8_000])?;
        }
        simulated.cut_at(simulated.calls() + cut);
        let disk = Arc::new(MemoryDisk::new());
        let done = log.backup_to(&sink(&disk), &[], &BackupOptions::new()).is_ok();
        drop(doubt);
        for crash in [Crash::DropAll, Crash::KeepAll, Crash::Random(1), Crash::Random(2)] {
            let recovery = recover(&simulated.crash(crash))?;
            assert_eq!(recovery.in_doubt().len(), 1, "cut {cut}");
            assert_eq!(recovery.in_doubt()[0].effects()?.owned().count(), 1, "cut {cut}");
            assert_eq!(crate::support::redone(&recovery)?.len(), 20, "cut {cut}");
        }
        match siding::verify_backup(&sink(&disk), None, &|_| {}) {
            Ok(_) => {}
            Err(error) => {
                assert!(!done, "cut {cut}: {error}");
                assert_eq!(error.kind(), ErrorKind::NotFound, "cut {cut}: {error}");
            }
        }
        if done {
            assert!(cut >= 2, "the keypoint, and the slot that names it: {cut}");
            break;
        }
    }
    Ok(())
}

/// A backup that fails while its log goes on takes back what it put.
#[test]
fn a_backup_that_fails_leaves_log_alone() -> Result<()> {
    let log = open(&SimDisk::new(5))?;
    log.write(b"something")?;
    let files = MemoryDisk::new();
    let file = files.create("file").unwrap();
    file.write_at(0, &[&[7; 4096]], true).unwrap();
    let object = ObjectFile { object: 1, name: "file".into(), file };
    let disk = SimDisk::new(1);
    let into = DirectorySink::new(Arc::new(disk.clone()));
    // No room for the log.
    disk.set_capacity(Some(16 << 10));
    for _ in 0..10 {
        log.write(&[1; 8_000])?;
    }
    let redo = siding::Lsn::ZERO;
    assert_eq!(log.positions().redo, redo);
    let error = log.backup_to(&into, &[object], &BackupOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
    assert!(error.to_string().contains("copy cannot be written"), "{error}");
    assert!(disk.list().unwrap().iter().all(|(name, _)| !name.starts_with("backup-")));
    log.close()
}

#[test]
fn a_power_cut_leaves_a_whole_restore_or_none() -> Result<()> {
    let (_, whole, manifest) = backed_up(5)?;
    let from = sink(&whole);
    let files = MemoryDisk::new();
    for cut in 0.. {
        let disk = SimDisk::new(cut);
        disk.cut_at(cut);
        let name = format!("pages-{cut}");
        let target = |_: &siding::BackupFile| files.create(&name).unwrap();
        let done = crate::world::restore_end(&from, None, &disk, &target).is_ok();
        for crash in [Crash::DropAll, Crash::KeepAll, Crash::Random(1), Crash::Random(2)] {
            let left = disk.crash(crash);
            let names = left.list().unwrap();
            match recover(&left) {
                Ok(recovery) if names.is_empty() => assert!(recovery.report().created),
                Ok(recovery) => {
                    assert_eq!(recovery.in_doubt().len(), manifest.in_doubt().len());
                }
                Err(error) => {
                    assert!(!done, "cut {cut}: {error}");
                    assert!(error.to_string().contains("broken off"), "cut {cut}: {error}");
                }
            }
        }
        if done {
            break;
        }
    }
    Ok(())
}
