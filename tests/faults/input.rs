//! Calls that make no sense, or not any more.

use crate::support::{open, quiet, recover, redone};
use siding::{CommitError, Discipline, ErrorKind, Log, Lsn, Options, Outcome, Result};
use siding_sim::SimDisk;
use std::sync::Arc;

/// What is wrong is said, and what to do.
fn says(error: &siding::Error, kind: ErrorKind, tells: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(tells), "{error}: {tells}");
}

#[test]
fn a_record_over_the_limit_is_refused_before_anything_is_reserved() -> Result<()> {
    for (max, limit) in [(1_000, 1_000), (usize::MAX, 16 << 10)] {
        let disk = SimDisk::new(1);
        let log = quiet().max_record(max).open_on(Arc::new(disk.clone()))?.finish()?;
        let mut unit = log.begin()?;
        unit.append(&vec![1; limit])?;
        let (before, ahead) = (log.positions(), log.prepared_ahead());
        for len in [limit + 1, 1 << 20, 17 << 20] {
            let error = unit.append(&vec![2; len]).expect_err("too large");
            says(&error, ErrorKind::TooLarge, &format!("{len} bytes, the limit is {limit}"));
            assert!(error.advice().is_some(), "{error}");
            let written = log.write(&vec![3; len]).expect_err("too large");
            assert!(matches!(written, CommitError::BackedOut(_)), "{written}");
            assert_eq!(written.kind(), ErrorKind::TooLarge);
        }
        assert_eq!((log.positions().end, log.prepared_ahead()), (before.end, ahead));
        unit.append(b"and it goes on")?;
        unit.commit()?;
        log.close()?;
        let seen = redone(&recover(&disk)?)?;
        assert_eq!(seen, [vec![1; limit], b"and it goes on".to_vec()]);
    }
    Ok(())
}

#[test]
fn a_gid_that_is_taken_hands_the_unit_back() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let holder = log.begin()?.prepare(b"transfer-7")?;
    let id = holder.id();
    drop(holder);
    log.close()?;
    // It is taken after a restart too.
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    unit.append(b"kept")?;
    let end = log.positions().end;
    let refused = unit.prepare(b"transfer-7").expect_err("the gid is taken");
    says(&refused.error, ErrorKind::DuplicateGid, &format!("{id:#x}"));
    assert!(refused.error.advice().is_some());
    assert_eq!(log.positions().end, end, "nothing was written");
    let unit = refused.unit.expect("the unit comes back");
    let doubt = unit.prepare(b"transfer-8")?;
    assert_eq!(log.in_doubt().len(), 2);
    doubt.commit()?;
    // It is free again once its unit has ended, and not while it is decided alone.
    let decided = log.in_doubt().remove(0).decide(Outcome::BackOut)?;
    let refused = log.begin()?.prepare(b"transfer-7").expect_err("not ended yet");
    assert_eq!(refused.error.kind(), ErrorKind::DuplicateGid);
    drop(refused);
    decided.end()?;
    log.begin()?.prepare(b"transfer-7")?.commit()?;
    log.close()?;
    assert_eq!(redone(&recover(&disk)?)?, [b"kept"]);
    Ok(())
}

#[test]
fn a_gid_has_1_to_255_bytes() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    for len in [0, 256, 70_000] {
        let refused = unit.prepare(&vec![7; len]).expect_err("no gid has this length");
        says(&refused.error, ErrorKind::Invalid, &format!("this one has {len}"));
        unit = refused.unit.expect("the unit comes back");
    }
    unit.append(b"kept")?;
    let doubt = unit.prepare(&[7; 255])?;
    assert_eq!(doubt.gid(), [7; 255]);
    doubt.commit()?;
    log.begin()?.prepare(&[7])?.commit()?;
    log.close()
}

#[test]
fn a_unit_that_has_ended_takes_nothing_more() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    unit.append(b"kept")?;
    let id = unit.id();
    drop(unit.decide()?);
    let (first, mut second) = (log.decided().remove(0), log.decided().remove(0));
    first.end()?;
    let end = log.positions().end;
    says(&second.append(b"late").unwrap_err(), ErrorKind::UnitEnded, &format!("{id:#x}"));
    let late = second.end().expect_err("it has ended");
    says(&late, ErrorKind::UnitEnded, &format!("{id:#x}"));
    assert!(late.advice().is_some(), "{late}");
    says(&log.unit_records(id).unwrap_err(), ErrorKind::NotFound, &format!("{id:#x}"));
    assert_eq!(log.positions().end, end, "nothing was written");
    log.close()?;
    assert_eq!(redone(&recover(&disk)?)?, [b"kept"]);
    Ok(())
}

#[test]
fn nothing_is_noted_of_a_unit_that_is_being_undone() -> Result<()> {
    let disk = SimDisk::new(1);
    let options = quiet().discipline(Discipline::RepeatHistory).undo(|_| Ok(Vec::new()));
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    let mut decided = unit.prepare(b"gid")?.decide(Outcome::BackOut)?;
    // It would be undone, too.
    says(&decided.append(b"2").unwrap_err(), ErrorKind::UnitEnded, "backing out");
    decided.end()?;
    assert!(log.units().is_empty());
    log.close()
}

#[test]
fn an_in_flight_handle_outlives_its_unit() -> Result<()> {
    for discipline in [Discipline::DeferredApply, Discipline::RepeatHistory] {
        let disk = SimDisk::new(1);
        let options = || quiet().discipline(discipline);
        let log = options().open_on(Arc::new(disk.clone()))?.finish()?;
        let mut unit = log.begin()?;
        unit.append(b"1")?;
        log.ensure_durable(log.positions().end)?;
        log.abandon();
        drop(unit);
        let recovery = options().open_on(Arc::new(disk.clone()))?;
        let (first, second) = (recovery.in_flight().remove(0), recovery.in_flight().remove(0));
        let third = recovery.in_flight().remove(0);
        first.undo(|_| Ok(Vec::new()))?;
        says(&second.records_backward().unwrap_err(), ErrorKind::UnitEnded, "ended");
        let again = second.undo(|_| panic!("it is undone already"));
        let kind = again.err().map(|error| error.kind());
        let repeats = discipline == Discipline::RepeatHistory;
        assert_eq!(kind, repeats.then_some(ErrorKind::UnitEnded));
        let log = recovery.finish()?;
        says(&third.records_backward().unwrap_err(), ErrorKind::UnitEnded, "ended");
        log.close()?;
    }
    Ok(())
}

#[test]
fn a_second_resolver_is_told_the_outcome() -> Result<()> {
    for (commit, ends) in [(true, true), (true, false), (false, true), (false, false)] {
        let disk = SimDisk::new(1);
        let log = open(&disk)?;
        let mut unit = log.begin()?;
        unit.append(b"debit")?;
        drop(unit.prepare(b"gid")?);
        let twins = || log.in_doubt().remove(0);
        let (first, others) = (twins(), [twins(), twins(), twins()]);
        match (commit, ends) {
            (true, true) => first.commit().map(|_| ())?,
            (false, true) => first.back_out()?,
            (true, false) => drop(first.decide(Outcome::Commit)?),
            (false, false) => drop(first.decide(Outcome::BackOut)?),
        }
        let end = log.positions().end;
        let [commits, backs_out, decides] = others;
        let told = [
            commits.commit().map(drop).map_err(siding::Error::from),
            backs_out.back_out(),
            decides.decide(Outcome::Commit).map(drop).map_err(siding::Error::from),
        ];
        for told in told {
            let error = told.expect_err("it is decided");
            says(&error, ErrorKind::AlreadyDecided, if commit { "commit" } else { "back out" });
            assert_eq!(error.committed(), Some(commit));
            assert!(error.advice().is_some());
        }
        assert_eq!(log.positions().end, end, "nothing was written");
        log.close()?;
        assert_eq!(redone(&recover(&disk)?)?.len(), usize::from(commit));
    }
    Ok(())
}

/// Each call that writes or waits, and what it says.
fn calls(log: &Log) -> Vec<(&'static str, Option<ErrorKind>)> {
    let kind = |error: siding::Error| error.kind();
    let in_unit = |f: &dyn Fn(siding::UnitOfWork) -> Result<()>| log.begin().and_then(f);
    vec![
        ("begin", log.begin().err().map(kind)),
        ("append", in_unit(&|mut unit| unit.append(b"x").map(drop)).err().map(kind)),
        ("write", log.write(b"x").err().map(|error| error.kind())),
        ("commit", in_unit(&|unit| Ok(unit.commit().map(drop)?)).err().map(kind)),
        ("prepare", in_unit(&|unit| Ok(unit.prepare(b"x").map(drop)?)).err().map(kind)),
        ("keypoint", log.keypoint().err().map(kind)),
        ("redo_from", log.redo_from(log.positions().durable).err().map(kind)),
    ]
}

#[test]
fn a_closed_log_says_so() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    log.write(b"kept")?;
    let (mut blank, other) = (log.begin()?, log.begin()?);
    log.close()?;
    for (call, said) in calls(&log).into_iter().filter(|(call, _)| *call != "redo_from") {
        assert_eq!(said, Some(ErrorKind::Closed), "{call}");
    }
    says(&blank.append(b"late").unwrap_err(), ErrorKind::Closed, "closed");
    let late = other.commit().expect_err("the log is closed");
    assert!(matches!(late, CommitError::BackedOut(_)), "{late}");
    drop(blank);
    log.close()?;
    assert!(log.is_failed().is_none());
    assert_eq!(redone(&recover(&disk)?)?, [b"kept"]);
    Ok(())
}

#[test]
fn a_failed_log_says_so_at_each_call() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    log.write(b"kept")?;
    disk.fail(disk.calls(), siding_sim::disk::Fault::Eio, siding_sim::disk::Lasts::Once);
    let lost = log.write(b"unknown").expect_err("the disk is broken");
    assert!(matches!(lost, CommitError::Unknown(_)), "{lost}");
    for (call, said) in calls(&log).into_iter().filter(|(call, _)| *call != "redo_from") {
        assert_eq!(said, Some(ErrorKind::Failed), "{call}");
    }
    assert_eq!(log.close().map_err(|error| error.kind()), Err(ErrorKind::Failed));
    assert_eq!(log.is_failed().map(|error| error.kind()), Some(ErrorKind::Failed));
    log.abandon();
    assert!(redone(&recover(&disk)?)?.contains(&b"kept".to_vec()));
    Ok(())
}

#[test]
fn positions_that_are_not_there_are_refused() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let lsn = log.write(b"kept")?;
    let beyond = lsn.plus(1 << 20);
    says(&log.ensure_durable(beyond).unwrap_err(), ErrorKind::Invalid, "does not reach");
    says(&log.redo_from(beyond).unwrap_err(), ErrorKind::Invalid, "");
    says(&log.read(Lsn::new(3)).unwrap_err(), ErrorKind::NotFound, "");
    says(&log.read(beyond).unwrap_err(), ErrorKind::NotFound, "");
    log.close()?;
    let refused = recover(&disk)?.from(beyond).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Invalid));
    Ok(())
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_made() {
    let wrong: [(&str, Options); 6] = [
        ("segment size", quiet().segment_size(60 << 10)),
        ("segment size", quiet().segment_size((64 << 10) + 8)),
        ("write unit", quiet().write_unit(768)),
        ("write unit", quiet().write_unit(256)),
        ("ring", quiet().ring_size(4096)),
        ("max_log_bytes", quiet().max_log_bytes(1)),
    ];
    for (tells, options) in wrong {
        let disk = SimDisk::new(1);
        let error = options.open_on(Arc::new(disk.clone())).expect_err(tells);
        says(&error, ErrorKind::Invalid, tells);
        assert!(disk.contents("control").is_none() && disk.contents(FIRST).is_none(), "{tells}");
    }
}

const FIRST: &str = "0000000000000000.seg";
