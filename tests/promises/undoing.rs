//! Repeat history: nothing ends before it is undone.

use crate::support::quiet;
use siding::{Discipline, ErrorKind, Log, Options, Outcome, Result};
use siding_sim::SimDisk;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A log whose handler gives every record back as its compensation, and counts.
fn repeating(options: Options, disk: &SimDisk, undone: &Arc<AtomicUsize>) -> Result<Log> {
    let undone = Arc::clone(undone);
    options
        .discipline(Discipline::RepeatHistory)
        .undo(move |record| {
            undone.fetch_add(1, Ordering::Relaxed);
            Ok(record.payload().to_vec())
        })
        .open_on(Arc::new(disk.clone()))?
        .finish()
}

#[test]
fn a_unit_that_was_decided_to_be_backed_out_is_undone_before_it_ends() -> Result<()> {
    let (disk, undone) = (SimDisk::new(1), Arc::default());
    let log = repeating(quiet(), &disk, &undone)?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    unit.append(b"2")?;
    unit.prepare(b"gid")?.decide(Outcome::BackOut)?.end()?;
    assert_eq!(undone.load(Ordering::Relaxed), 2);
    assert!(log.units().is_empty());
    log.close()
}

#[test]
fn without_a_handler_it_stays() -> Result<()> {
    let disk = SimDisk::new(1);
    let options = quiet().discipline(Discipline::RepeatHistory);
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    let decided = unit.prepare(b"gid")?.decide(Outcome::BackOut)?;
    assert_eq!(decided.end().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(log.units().len(), 1, "nothing undid it");
    Ok(())
}

#[test]
fn the_largest_record_can_be_undone() -> Result<()> {
    let (disk, undone) = (SimDisk::new(1), Arc::default());
    let log = repeating(quiet(), &disk, &undone)?;
    let mut unit = log.begin()?;
    unit.append(&[7; 16 << 10])?;
    assert_eq!(unit.append(&[7; (16 << 10) + 1]).unwrap_err().kind(), ErrorKind::TooLarge);
    let start = unit.savepoint();
    unit.append(&[8; 16 << 10])?;
    unit.roll_back_to(&start, |record| Ok(record.payload().to_vec()))?;
    unit.back_out()?;
    assert_eq!(undone.load(Ordering::Relaxed), 1);
    log.close()
}

#[test]
fn back_out_returns_once_the_unit_is_undone_also_when_memory_was_full() -> Result<()> {
    let disk = SimDisk::new(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let undone = Arc::clone(&seen);
    let options = quiet().discipline(Discipline::RepeatHistory).undo(move |record| {
        if let Ok(mut undone) = undone.lock() {
            undone.push(record.unit());
        }
        Ok(Vec::new())
    });
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    let mut last = log.begin()?;
    last.append(b"last")?;
    let id = last.id();
    // Nobody flushes here: drop small units until one finds no room for its ABORT.
    loop {
        let mut unit = log.begin()?;
        unit.append(&[4; 300])?;
        let (id, end) = (unit.id(), log.positions().end);
        drop(unit);
        if log.positions().end == end {
            assert!(log.units().iter().any(|unit| unit.unit == id));
            break;
        }
        assert!(end < siding::Lsn::new(1 << 20), "memory never was full");
    }
    last.back_out()?;
    assert!(seen.lock().is_ok_and(|seen| seen.contains(&id)), "it was not undone");
    assert!(log.units().iter().all(|unit| unit.unit != id));
    Ok(())
}

#[test]
fn units_that_were_dropped_are_undone_before_a_close() -> Result<()> {
    let (disk, undone) = (SimDisk::new(1), Arc::default());
    let log = repeating(quiet(), &disk, &undone)?;
    for number in 0..3_u8 {
        let mut unit = log.begin()?;
        unit.append(&[number])?;
        unit.append(&[number])?;
        drop(unit);
    }
    log.close()?;
    assert_eq!(undone.load(Ordering::Relaxed), 6);
    let recovery = quiet().open_on(Arc::new(disk.clone()))?;
    assert!(recovery.report().clean && recovery.in_flight().is_empty());
    Ok(())
}

/// What a handler is told that uses the log it undoes: it runs once, for a unit that is backed
/// out.
fn told_inside(
    call: impl Fn(&Log) -> Option<ErrorKind> + Send + Sync + 'static,
) -> Result<Option<ErrorKind>> {
    let disk = SimDisk::new(1);
    let (handle, said) = (Arc::new(Mutex::new(None::<Log>)), Arc::new(Mutex::new(None)));
    let (inner, heard) = (Arc::clone(&handle), Arc::clone(&said));
    let options = quiet().discipline(Discipline::RepeatHistory).undo(move |record| {
        let log = inner.lock().ok().and_then(|mut log| log.take());
        if let (Some(log), Ok(mut heard)) = (log, heard.lock()) {
            *heard = call(&log);
        }
        Ok(record.payload().to_vec())
    });
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    drop(handle.lock().map(|mut handle| handle.replace(log.clone())));
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    unit.back_out()?;
    log.close()?;
    let said = said.lock().map(|said| *said);
    Ok(said.unwrap_or_default())
}

#[test]
fn a_handler_that_asks_for_a_close_is_told_what_is_in_flight() -> Result<()> {
    let said = told_inside(|log| log.close().err().map(|error| error.kind()))?;
    assert_eq!(said, Some(ErrorKind::InUse));
    Ok(())
}

#[test]
fn a_handler_that_would_wait_for_itself_is_told_so() -> Result<()> {
    let said = told_inside(|log| {
        let mut unit = log.begin().ok()?;
        unit.append(b"2").ok()?;
        unit.back_out().err().map(|error| error.kind())
    })?;
    assert_eq!(said, Some(ErrorKind::WouldBlock));
    Ok(())
}
