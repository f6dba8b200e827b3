//! The life of a log, end to end, on each backend.

use siding::{Discipline, ErrorKind, Kind, Lsn, Options, Outcome, Result};
use std::path::Path;

fn small() -> Options {
    Options::new().segment_size(64 << 10).ring_size(256 << 10)
}

fn open(path: &Path) -> Result<siding::Log> {
    small().open(path)?.finish()
}

fn committed(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut seen = Vec::new();
    let log = small().open(path)?.recover(|record| {
        seen.push(record.payload().to_vec());
        Ok(())
    })?;
    log.close()?;
    Ok(seen)
}

#[test]
fn what_was_committed_is_delivered_in_commit_order() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let mut first = log.begin()?;
    first.append(b"a1")?;
    let mut second = log.begin()?;
    second.append(b"b1")?;
    first.append(b"a2")?;
    second.commit()?;
    first.commit()?;
    let mut dropped = log.begin()?;
    dropped.append(b"never")?;
    drop(dropped);
    log.write(b"c1")?;
    log.close()?;
    assert_eq!(committed(dir.path())?, [&b"b1"[..], b"a1", b"a2", b"c1"]);
    assert_eq!(committed(dir.path())?, [&b"b1"[..], b"a1", b"a2", b"c1"]);
    Ok(())
}

#[test]
fn a_prepared_unit_stays_in_doubt_through_reopens() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let mut unit = log.begin()?;
    unit.append(b"debit")?;
    unit.append(b"credit")?;
    let doubt = unit.prepare(b"gid-1").unwrap();
    drop(doubt);
    drop(log);
    for _ in 0..3 {
        let log = open(dir.path())?;
        let doubts = log.in_doubt();
        assert_eq!(doubts.len(), 1);
        assert_eq!(doubts[0].gid(), b"gid-1");
        let kinds: Vec<Kind> = doubts[0]
            .records_backward()?
            .owned()
            .map(|record| record.map(|record| record.kind()))
            .collect::<Result<_>>()?;
        assert_eq!(kinds, [Kind::Prepare, Kind::Data, Kind::Data]);
        log.close()?;
    }
    let log = open(dir.path())?;
    let mut doubts = log.in_doubt();
    let twin = log.in_doubt().pop().unwrap();
    let decided = doubts.pop().unwrap().decide(Outcome::Commit)?;
    assert_eq!(twin.commit().unwrap_err().kind(), ErrorKind::AlreadyDecided);
    drop(decided);
    log.close()?;
    let log = open(dir.path())?;
    let mut decided = log.decided();
    assert_eq!(decided.len(), 1);
    decided.pop().unwrap().end()?;
    log.close()?;
    assert_eq!(committed(dir.path())?, [&b"debit"[..], b"credit"]);
    Ok(())
}

#[test]
fn savepoints_take_back_what_lies_behind_them() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    let save = unit.savepoint();
    unit.append(b"2")?;
    unit.append(b"3")?;
    let mut undone = Vec::new();
    unit.roll_back_to(&save, |record| {
        undone.push(record.payload().to_vec());
        Ok(Vec::new())
    })?;
    unit.append(b"4")?;
    unit.commit()?;
    assert_eq!(undone, [b"3", b"2"]);
    log.close()?;
    assert_eq!(committed(dir.path())?, [b"1", b"4"]);
    Ok(())
}

#[test]
fn the_log_stays_small_when_redo_moves() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path())?;
    let mut last = Lsn::ZERO;
    for round in 0..200_u32 {
        for _ in 0..20 {
            last = log.write(&[7; 400])?;
        }
        log.redo_from(last)?;
        if round % 10 == 0 {
            log.keypoint()?;
        }
    }
    let positions = log.positions();
    assert!(positions.end.since(positions.oldest) < 1 << 20, "{positions:?}");
    assert!(positions.oldest > Lsn::new(64 << 10));
    log.close()?;
    let log = small().open(dir.path())?.from(last)?.recover(|_| panic!("nothing is above"))?;
    log.close()
}

#[test]
fn repeat_history_undoes_what_was_in_flight() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let options = || small().discipline(Discipline::RepeatHistory);
    let log = options().undo(|record| Ok(record.payload().to_vec())).open(dir.path())?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"x")?;
    unit.append(b"y")?;
    unit.back_out()?;
    let mut kept = log.begin()?;
    kept.append(b"kept")?;
    kept.commit()?;
    let mut stuck = log.begin()?;
    stuck.append(b"stuck")?;
    log.ensure_durable(log.positions().end)?;
    assert_eq!(log.close().unwrap_err().kind(), ErrorKind::InUse);
    std::mem::forget(stuck);
    std::mem::forget(log);
    // Another handle in this process may not have it: copy the files, as a crash would leave them.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let recovery = options().open(copy.path())?;
    let mut payloads = Vec::new();
    let mut history = recovery.history()?;
    while let Some(record) = history.next()? {
        if record.kind() == Kind::Data {
            payloads.push(record.payload().to_vec());
        }
    }
    assert_eq!(payloads, [&b"x"[..], b"y", b"kept", b"stuck"]);
    let in_flight = recovery.in_flight();
    assert_eq!(in_flight.len(), 1);
    for unit in in_flight {
        unit.undo(|record| {
            assert_eq!(record.payload(), b"stuck");
            Ok(Vec::new())
        })?;
    }
    recovery.finish()?.close()
}
