//! What a backup holds while it runs, for how long, and what is said of it.

use crate::support::{open, quiet, recover};
use crate::world::sink;
use siding::disk::{Disk, MemoryDisk};
use siding::{BackupOptions, ErrorKind, InDoubt, Log, PinKind, Result};
use siding_sim::SimDisk;
use std::sync::{Arc, Mutex};

/// Work that would have everything below it trimmed.
fn pass(log: &Log) -> Result<()> {
    for _ in 0..40 {
        log.write(&[1; 8_000])?;
    }
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    log.tick();
    Ok(())
}

fn doubt(log: &Log, gid: &[u8]) -> Result<InDoubt> {
    let mut unit = log.begin()?;
    unit.append(&[7; 100])?;
    Ok(unit.prepare(gid)?)
}

#[test]
fn a_backup_holds_the_log_until_it_is_over() -> Result<()> {
    let log = open(&SimDisk::new(1))?;
    let (moved, stays) = (doubt(&log, b"moved")?, doubt(&log, b"stays")?);
    log.hold(stays.id());
    log.fork(moved.id())?;
    pass(&log)?;
    let oldest = log.positions().oldest;
    // Behind the stop keypoint, before the log is copied, one whose records that needs ends.
    let ends = Mutex::new(Some(stays));
    let told = |copying: &siding::Copying<'_>| {
        if copying.name.ends_with(".ext")
            && let Some(stays) = ends.lock().unwrap().take()
        {
            stays.back_out().unwrap();
            pass(&log).unwrap();
            assert_eq!(log.positions().oldest, oldest, "it is held");
            let pins = log.why_retained();
            let pin = pins.iter().find(|pin| pin.kind == PinKind::Backup).expect("it is named");
            assert!(pin.owner.starts_with("backup ") && pin.lsn >= oldest);
            assert!(pin.bytes > 200_000 && pin.age_ms.is_some());
        }
    };
    let disk = Arc::new(MemoryDisk::new());
    let options = BackupOptions::new().progress(&told);
    let manifest = log.backup_to(&sink(&disk), &[], &options)?;
    assert!(ends.lock().unwrap().is_none() && manifest.in_doubt().len() == 2);
    let into = SimDisk::new(9);
    crate::world::restore_end(&sink(&disk), None, &into, &|_| panic!("no object"))?;
    for doubt in recover(&into)?.in_doubt() {
        assert_eq!(doubt.effects()?.owned().count(), 1);
    }
    assert!(log.why_retained().iter().all(|pin| pin.kind != PinKind::Backup));
    pass(&log)?;
    assert!(log.positions().oldest > oldest, "no backup runs: it is trimmed");
    moved.back_out()?;
    log.close()
}

/// Units end whose records the stop keypoint says are on the secondary log, when the first file of
/// that is copied. `earlier`: an earlier open moved them, and nobody has looked yet which of its
/// files are needed.
pub(crate) fn ends_under_it(earlier: bool) -> Result<()> {
    let disk = SimDisk::new(1);
    let mut log = open(&disk)?;
    let mut doubts = Vec::new();
    for gid in 0..3_u8 {
        let mut unit = log.begin()?;
        // More than a file takes.
        for _ in 0..10 {
            unit.append(&[gid; 8_000])?;
        }
        doubts.push(unit.prepare(&[gid])?);
        log.fork(doubts[usize::from(gid)].id())?;
    }
    pass(&log)?;
    if earlier {
        drop(doubts);
        log.abandon();
        let recovery = recover(&disk)?;
        doubts = recovery.in_doubt();
        log = recovery.finish()?;
    }
    let ends = Mutex::new(Some(doubts));
    let told = |copying: &siding::Copying<'_>| {
        if copying.name.ends_with(".ext")
            && let Some(doubts) = ends.lock().unwrap().take()
        {
            for doubt in doubts {
                doubt.back_out().unwrap();
            }
            pass(&log).unwrap();
        }
    };
    let backup = Arc::new(MemoryDisk::new());
    let options = BackupOptions::new().progress(&told);
    log.backup_to(&sink(&backup), &[], &options)?;
    let into = SimDisk::new(9);
    crate::world::restore_end(&sink(&backup), None, &into, &|_| panic!("no object"))?;
    let recovery = recover(&into)?;
    assert_eq!(recovery.in_doubt().len(), 3);
    for doubt in recovery.in_doubt() {
        if doubt.effects()?.owned().filter(|it| it.is_ok()).count() != 10 {
            return Err(siding::Error::new(ErrorKind::Missing, "records are lost"));
        }
    }
    Ok(())
}

#[test]
fn extents_stay_while_a_backup_runs_whoever_ends() -> Result<()> {
    ends_under_it(false)?;
    ends_under_it(true)
}

/// A backup that holds too much is given up: it, and not the log.
#[test]
fn a_backup_is_given_up_beyond_its_quota() -> Result<()> {
    let options = [(quiet(), Some(300 << 10)), (quiet().max_log_bytes(1 << 20), None)];
    for (opening, quota) in options {
        let log = opening.open_on(Arc::new(SimDisk::new(1)))?.finish()?;
        pass(&log)?;
        let files = MemoryDisk::new();
        let file = files.create("file").unwrap();
        file.write_at(0, &[&vec![1; 4 << 20]], true).unwrap();
        let object = siding::ObjectFile { object: 1, name: "file".into(), file };
        let seen = Mutex::new(Vec::new());
        let told = |copying: &siding::Copying<'_>| {
            let pins = log.why_retained();
            let pin = pins.into_iter().find(|pin| pin.kind == PinKind::Backup);
            seen.lock().unwrap().push((copying.done, pin.map(|pin| pin.owner)));
            pass(&log).unwrap();
        };
        let mut backup = BackupOptions::new().progress(&told);
        if let Some(bytes) = quota {
            backup = backup.max_log_bytes(bytes);
        }
        let disk = Arc::new(MemoryDisk::new());
        let error = log.backup_to(&sink(&disk), &[object], &backup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
        assert!(error.to_string().contains("given up"), "{error}");
        let seen = seen.into_inner().unwrap();
        assert!(seen.len() < 4, "it goes on with {} blocks", seen.len());
        assert!(seen[0].1.as_ref().is_some_and(|owner| owner.contains("given up after")));
        // The log goes on, and nothing of the backup is left, in the log or in the sink.
        let oldest = log.positions().oldest;
        pass(&log)?;
        assert!(log.positions().oldest > oldest);
        assert!(disk.list().unwrap().is_empty(), "{:?}", disk.list());
        log.close()?;
    }
    Ok(())
}
