//! A closed log that holds every kind of record that can be written.

use crate::disk::{Copied, Files};
use crate::support::StillClock;
use siding::{Discipline, InDoubt, Log, Options, Outcome, Recovery, Result, UnitOfWork};
use std::sync::Arc;

/// The log opened with the smallest options.
pub(crate) fn recover(disk: &Arc<Copied>, clock: &Arc<StillClock>) -> Result<Recovery> {
    Options::new()
        .segment_size(64 << 10)
        .ring_size(64 << 10)
        .write_unit(512)
        .without_threads(Arc::<StillClock>::clone(clock))
        .open_on(Arc::<Copied>::clone(disk))
}

/// The files of a closed log with so many rounds of history: some of it below the redo position,
/// some behind the last keypoint but one, in several opens.
pub(crate) fn closed(discipline: Discipline, rounds: usize) -> Files {
    let disk = Arc::new(Copied::default());
    let clock = StillClock::new();
    for round in 0..rounds {
        let log = start(&disk, &clock, discipline).unwrap();
        let redo = busy(&log, discipline, round).unwrap();
        clock.advance(2_000);
        log.tick();
        if round == rounds / 2 {
            log.redo_from(redo).unwrap();
            log.keypoint().unwrap();
        }
        late(&log, round).unwrap();
        log.close().unwrap();
    }
    let mut files = disk.files();
    // Prepared files that were never used: a log is whole without them.
    files.retain(|_, bytes| bytes.iter().any(|byte| *byte != 0));
    files
}

fn start(disk: &Arc<Copied>, clock: &Arc<StillClock>, discipline: Discipline) -> Result<Log> {
    Options::new()
        .segment_size(64 << 10)
        .ring_size(64 << 10)
        .write_unit(512)
        .discipline(discipline)
        .undo(|record| Ok(record.payload().to_vec()))
        .without_threads(Arc::<StillClock>::clone(clock))
        .open_on(Arc::<Copied>::clone(disk))?
        .finish()
}

/// Bytes that differ from unit to unit, of some length.
fn bytes(tag: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((tag * 31 + at * 7) % 251).unwrap()).collect()
}

/// A unit of several records, the middle one taken back.
fn unit(log: &Log, tag: usize) -> Result<UnitOfWork> {
    let mut unit = log.begin()?;
    unit.append(&bytes(tag, 40))?;
    let save = unit.savepoint();
    unit.append_to(3, &bytes(tag + 1, 90))?;
    unit.roll_back_to(&save, |record| Ok(record.payload()[..8].to_vec()))?;
    unit.append_to(4, &bytes(tag + 2, 17))?;
    Ok(unit)
}

fn busy(log: &Log, discipline: Discipline, round: usize) -> Result<siding::Lsn> {
    let tag = round * 100;
    let name = |what: &str| format!("{what}-{round}").into_bytes();
    let prepared =
        |what: &str, tag| -> Result<InDoubt> { Ok(unit(log, tag)?.prepare(&name(what))?) };
    log.write(&bytes(tag, 300))?;
    let redo = unit(log, tag + 1)?.commit()?;
    unit(log, tag + 2)?.back_out()?;
    drop(prepared("doubt", tag + 3)?);
    drop(unit(log, tag + 4)?.decide()?);
    unit(log, tag + 5)?.decide()?.end()?;
    let mut decided = prepared("decided", tag + 6)?.decide(Outcome::Commit)?;
    decided.append(b"told the first of two")?;
    drop(decided);
    prepared("commit", tag + 7)?.commit()?;
    prepared("back-out", tag + 8)?.back_out()?;
    if discipline == Discipline::DeferredApply {
        // Under repeat history it would be in flight, and nothing could be closed.
        drop(prepared("aborted", tag + 9)?.decide(Outcome::BackOut)?);
    }
    Ok(redo)
}

/// What comes behind a keypoint: decisions of older units, and units across it.
fn late(log: &Log, round: usize) -> Result<()> {
    let tag = round * 100 + 50;
    if round > 0 {
        let gid = format!("doubt-{}", round - 1).into_bytes();
        let older = log.in_doubt().into_iter().find(|doubt| doubt.gid() == gid);
        older.unwrap().commit()?;
    }
    log.write(&bytes(tag, 500))?;
    unit(log, tag + 1)?.commit()?;
    Ok(())
}
