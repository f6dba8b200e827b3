//! Extents that are lost: rebuilt from originals where they are still there, named where not, and
//! nothing is decided that needs them.

use crate::support::{StillClock, quiet};
use siding::disk::{AlignedBuf, Disk as _};
use siding::{
    Discipline, ErrorKind, InDoubt, Kind, Log, Lsn, Options, OwnedRecord, Rebuilt, Recovery, Result,
};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::sync::Arc;

pub(crate) type Chain = Vec<(Lsn, Kind, Vec<u8>)>;

fn options() -> Options {
    quiet().without_threads(StillClock::new()).forks(false)
}

fn recover(disk: &SimDisk) -> Result<Recovery> {
    options().open_on(Arc::new(disk.clone()))
}

pub(crate) fn open(disk: &SimDisk) -> Result<Log> {
    recover(disk)?.finish()
}

pub(crate) fn chain(log: &Log, unit: u64) -> Result<Chain> {
    let mut records = log.unit_records(unit)?;
    let mut all = Vec::new();
    while let Some(record) = records.next()? {
        all.push((record.lsn(), record.kind(), record.payload().to_vec()));
    }
    Ok(all)
}

/// Other units fill a few segments, and all that nobody needs is trimmed.
pub(crate) fn pass(log: &Log) -> Result<()> {
    for _ in 0..20 {
        log.write(&[1; 8_000])?;
    }
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    Ok(())
}

pub(crate) fn extents(disk: &SimDisk) -> Vec<String> {
    let names = disk.list().unwrap().into_iter().map(|(name, _)| name);
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".ext")).collect();
    names.sort_unstable();
    names
}

pub(crate) fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk.create(name).unwrap();
    file.write_at(0, &[&AlignedBuf::from(bytes)], true).unwrap();
    disk.sync_dir().unwrap();
}

pub(crate) fn take(disk: &SimDisk, name: &str) -> Vec<u8> {
    let bytes = disk.contents(name).unwrap();
    disk.remove(name).unwrap();
    disk.sync_dir().unwrap();
    bytes
}

/// A unit in doubt with twenty records, moved; what its chain is.
pub(crate) fn moved(log: &Log) -> Result<(u64, Chain)> {
    let mut unit = log.begin()?;
    for number in 0..20_u8 {
        unit.append(&[number; 500])?;
    }
    let id = unit.id();
    drop(unit.prepare(b"stuck")?);
    let chain = chain(log, id)?;
    assert_eq!(log.fork(id)?, 21);
    Ok((id, chain))
}

pub(crate) fn doubt(log: &Log) -> InDoubt {
    log.in_doubt().pop().unwrap()
}

#[test]
fn what_is_lost_is_rebuilt_while_the_originals_are_there() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let (unit, before) = moved(&log)?;
    log.close()?;
    let name = extents(&disk).pop().unwrap();
    take(&disk, &name);
    let log = open(&disk)?;
    log.tick();
    assert_eq!(log.rebuilt(), [Rebuilt { unit, records: 21 }]);
    assert_eq!(chain(&log, unit)?, before);
    log.ensure_durable(log.positions().end)?;
    log.tick();
    assert_eq!(log.units()[0].problem, None);
    assert_eq!(log.units()[0].moves, 2);
    // From here on the new copies are all there is.
    pass(&log)?;
    assert!(log.positions().oldest > before[0].0);
    let disk = disk.crash(Crash::DropAll);
    let log = open(&disk)?;
    assert_eq!(chain(&log, unit)?, before);
    log.tick();
    assert!(log.rebuilt().is_empty() && extents(&disk).len() == 1);
    doubt(&log).commit()?;
    let disk = disk.crash(Crash::DropAll);
    let redone: Vec<OwnedRecord> = recover(&disk)?.committed()?.owned().collect::<Result<_>>()?;
    assert_eq!(redone.len(), 20);
    Ok(())
}

#[test]
fn what_is_lost_is_rebuilt_behind_copies_whose_originals_are_gone() -> Result<()> {
    // A file is gone, and so are the heads of its extents; or a bit of a body.
    for rot in [false, true] {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        let mut unit = log.begin()?;
        for number in 0..20_u8 {
            unit.append(&[number; 500])?;
        }
        let doubt_of = unit.prepare(b"stuck")?;
        let unit = doubt_of.id();
        drop(doubt_of);
        pass(&log)?;
        // The fork record stands behind what is trimmed, and says where the older copies are.
        assert_eq!(log.fork(unit)?, 21);
        log.keypoint()?;
        log.close()?;
        // A decided unit may write on.
        let log = open(&disk)?;
        log.tick();
        let mut decided = doubt(&log).decide(siding::Outcome::Commit)?;
        for number in 0..9_u8 {
            decided.append(&[number; 300])?;
        }
        assert_eq!(log.fork(unit)?, 10, "with COMMIT");
        decided.append(b"stays")?;
        let before = chain(&log, unit)?;
        drop(decided);
        log.close()?;
        let newer = extents(&disk).pop().unwrap();
        assert_eq!(extents(&disk).len(), 2);
        if rot {
            disk.overwrite(&newer, 512 + 200, &[0xff; 3]).unwrap();
        } else {
            take(&disk, &newer);
        }
        let log = open(&disk)?;
        log.tick();
        if rot {
            // Whoever reads it finds it, and has it rebuilt.
            assert_eq!((log.rebuilt(), chain(&log, unit)?), (Vec::new(), before.clone()));
            let problem = log.units()[0].problem.clone().unwrap();
            assert!(problem.contains("lost: 10 records, from"), "{problem}");
        }
        assert_eq!(log.rebuilt(), [Rebuilt { unit, records: 31 }], "{rot}");
        assert_eq!(chain(&log, unit)?, before);
        log.ensure_durable(log.positions().end)?;
        log.tick();
        assert_eq!(extents(&disk).len(), 1, "the old ones are not needed any more");
        let disk = disk.crash(Crash::DropAll);
        let log = open(&disk)?;
        assert_eq!(chain(&log, unit)?, before);
        log.decided().pop().unwrap().end()?;
    }
    Ok(())
}

#[test]
fn a_unit_is_not_committed_without_its_records() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let (unit, before) = moved(&log)?;
    pass(&log)?;
    log.close()?;
    let name = extents(&disk).pop().unwrap();
    let bytes = take(&disk, &name);
    for swept in [false, true] {
        let log = open(&disk)?;
        if swept {
            log.tick();
            let problem = log.units()[0].problem.clone().unwrap();
            assert!(problem.contains(&format!("21 records, all that were moved, in {name}")));
            assert!(problem.contains("not rebuilt: their originals are gone"), "{problem}");
            assert_eq!(log.fork(unit).unwrap_err().kind(), ErrorKind::Missing);
        }
        let error = doubt(&log).commit().unwrap_err();
        assert!(matches!(error, siding::CommitError::BackedOut(_)));
        let (kind, text) = (error.kind(), error.to_string());
        assert_eq!(kind, ErrorKind::Missing, "{text}");
        for words in ["of its 21 moved records", "21 records", &name, "put the file back"] {
            assert!(text.contains(words), "{text}");
        }
        let error = doubt(&log).decide(siding::Outcome::Commit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert_eq!(log.in_doubt().len(), 1, "nothing was decided");
        log.close()?;
    }
    // Nothing of it was applied: it can be backed out.
    let copy = disk.fork();
    let log = open(&copy)?;
    doubt(&log).back_out()?;
    log.tick();
    log.close()?;
    assert!(open(&copy)?.units().is_empty());
    // The file is put back: it counts at once.
    let log = open(&disk)?;
    log.tick();
    assert!(doubt(&log).commit().is_err());
    put(&disk, &name, &bytes);
    assert_eq!(chain(&log, unit)?, before);
    doubt(&log).commit()?;
    assert!(log.units().is_empty());
    let disk = disk.crash(Crash::DropAll);
    let redone: Vec<OwnedRecord> = recover(&disk)?.committed()?.owned().collect::<Result<_>>()?;
    assert_eq!(redone.len(), 20);
    Ok(())
}

#[test]
fn a_file_that_goes_while_the_log_is_open_is_missed() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let (unit, before) = moved(&log)?;
    take(&disk, &extents(&disk)[0]);
    assert_eq!(chain(&log, unit)?, before, "who has it open can read it");
    // But the next open could not. The originals are there: the commit sees to it.
    doubt(&log).commit()?;
    assert_eq!(log.rebuilt(), [Rebuilt { unit, records: 21 }]);
    let disk = disk.crash(Crash::DropAll);
    let redone: Vec<OwnedRecord> = recover(&disk)?.committed()?.owned().collect::<Result<_>>()?;
    assert_eq!(redone.len(), 20);

    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    unit.append(b"moved")?;
    log.ensure_durable(log.positions().end)?;
    log.fork(unit.id())?;
    pass(&log)?;
    take(&disk, &extents(&disk)[0]);
    let refused = unit.prepare(b"gid").unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Missing, "{refused}");
    let error = refused.unit.unwrap().commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(log.units().is_empty(), "it was backed out");
    log.close()
}

#[test]
fn a_full_quota_keeps_no_unit_from_being_rebuilt_and_committed() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let (unit, before) = moved(&log)?;
    log.close()?;
    take(&disk, &extents(&disk)[0]);
    let full = options().max_secondary_bytes(1);
    let log = full.open_on(Arc::new(disk.clone()))?.finish()?;
    assert_eq!(chain(&log, unit)?, before);
    doubt(&log).commit()?;
    let mut unit = log.begin()?;
    unit.append(b"has no room to go to")?;
    log.ensure_durable(log.positions().end)?;
    assert_eq!(log.fork(unit.id()).unwrap_err().kind(), ErrorKind::LogFull);
    unit.commit()?;
    log.close()?;
    let redone: Vec<OwnedRecord> = recover(&disk)?.committed()?.owned().collect::<Result<_>>()?;
    assert_eq!(redone.len(), 21);
    Ok(())
}

#[test]
fn under_repeat_history_undo_needs_the_records_and_a_commit_does_not() -> Result<()> {
    let disk = SimDisk::new(1);
    let open = |disk: &SimDisk| {
        let options = options().discipline(Discipline::RepeatHistory);
        options.undo(|_| Ok(Vec::new())).open_on(Arc::new(disk.clone()))?.finish()
    };
    let log = open(&disk)?;
    moved(&log)?;
    pass(&log)?;
    log.close()?;
    let name = extents(&disk).pop().unwrap();
    take(&disk, &name);
    let log = open(&disk)?;
    let error = doubt(&log).back_out().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(error.to_string().contains("cannot be backed out") && error.advice().is_some());
    assert_eq!(log.in_doubt().len(), 1, "no ABORT was written");
    doubt(&log).commit()?;
    log.close()
}

#[test]
fn a_read_of_a_moved_record_names_its_unit() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let first = log.write(b"nobody needs it")?;
    let (unit, chain) = moved(&log)?;
    let lsn = chain[4].0;
    assert_eq!(log.read(lsn)?.payload(), chain[4].2, "the original is still there");
    pass(&log)?;
    let check = |log: &Log| {
        let error = log.read(lsn).unwrap_err();
        assert_eq!((error.kind(), error.lsn()), (ErrorKind::Moved, Some(lsn)), "{error}");
        assert!(error.to_string().contains(&format!("unit {unit:#x}")), "{error}");
        // Before the unit, between two of its records, behind the newest.
        for other in [first, lsn.plus(8), chain[0].0.plus(8)] {
            let error = log.read(other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Trimmed, "{other}: {error}");
        }
    };
    check(&log);
    log.close()?;
    let log = open(&disk)?;
    check(&log);
    log.close()
}

/// Who asks for a position that is trimmed is answered from memory, however many units were moved,
/// unless one may have a record there.
#[test]
fn a_read_of_a_trimmed_position_looks_into_few_extents() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut asked = Vec::new();
    for number in 0..40_u8 {
        let free = log.write(b"nobody needs it")?;
        let mut unit = log.begin()?;
        for part in 0..3 {
            unit.append(&[number; 200])?;
            log.fork(unit.id())?;
            if part == 1 {
                asked.push((free, unit.id(), log.write(b"between two of its records")?));
            }
        }
        let id = unit.id();
        drop(unit.prepare(&[number]).unwrap());
        assert_eq!(log.fork(id)?, 1);
    }
    pass(&log)?;
    let asks = |log: &Log, most: u64| -> Result<()> {
        for (free, unit, inside) in &asked {
            let before = disk.reads();
            for lsn in [*free, *inside] {
                assert_eq!(log.read(lsn).unwrap_err().kind(), ErrorKind::Trimmed);
            }
            assert!(disk.reads() - before <= most, "{} reads", disk.reads() - before);
            let lsn = chain(log, *unit)?[1].0;
            let before = disk.reads();
            assert_eq!(log.read(lsn).unwrap_err().kind(), ErrorKind::Moved);
            assert!(disk.reads() - before <= most + 2, "{} reads", disk.reads() - before);
        }
        Ok(())
    };
    asks(&log, 0)?;
    log.close()?;
    let log = open(&disk)?;
    // Before the sweep heads have to be read, of one unit; a file is opened by its header.
    asks(&log, 8)?;
    log.tick();
    asks(&log, 0)?;
    log.close()
}

#[test]
fn a_foreign_extent_file_is_refused_by_name() -> Result<()> {
    let (disk, other) = (SimDisk::new(1), SimDisk::new(2));
    for disk in [&disk, &other] {
        let log = open(disk)?;
        moved(&log)?;
        pass(&log)?;
        log.close()?;
    }
    let (name, foreign) = (extents(&disk).pop().unwrap(), extents(&other).pop().unwrap());
    assert_eq!(name, foreign);
    take(&disk, &name);
    put(&disk, &name, &other.contents(&foreign).unwrap());
    let log = open(&disk)?;
    log.tick();
    assert_eq!(log.strangers(), [format!("{name}: file belongs to another log")]);
    let error = doubt(&log).commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignFile, "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    doubt(&log).back_out()?;
    log.tick();
    assert_eq!(extents(&disk), [name], "left alone");
    log.close()?;

    // A file that somebody has edited.
    let name = extents(&other).pop().unwrap();
    let mut bytes = take(&other, &name);
    bytes[12] ^= 1;
    put(&other, &name, &bytes);
    let log = open(&other)?;
    log.tick();
    assert!(log.strangers()[0].contains("checksum"), "{:?}", log.strangers());
    let error = doubt(&log).commit().unwrap_err();
    assert_eq!((error.kind(), log.in_doubt().len()), (ErrorKind::Corrupt, 1), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    log.close()
}
