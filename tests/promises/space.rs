//! A full log: new work is refused, work that exists can be ended, and then it goes on.

use crate::support::{StillClock, quiet, recover, redone};
use siding::disk::Disk;
use siding::{
    Discipline, Durability, Error, ErrorKind, Log, Lsn, Options, Outcome, Result, UnitOfWork,
};
use siding_sim::SimDisk;
use std::sync::Arc;

const DISCIPLINES: [Discipline; 2] = [Discipline::DeferredApply, Discipline::RepeatHistory];

/// A log of at most so many segments.
fn bounded(segments: u64, discipline: Discipline) -> Options {
    quiet()
        .max_log_bytes(segments * (64 << 10))
        .discipline(discipline)
        .undo(|record| Ok(record.payload().to_vec()))
}

/// Begins units that have written a record of `len` bytes each.
fn live(log: &Log, count: u16, len: usize) -> Result<Vec<UnitOfWork>> {
    let begin = |number: u16| {
        let mut unit = log.begin()?;
        let mut payload = vec![0; len];
        payload[..2].copy_from_slice(&number.to_le_bytes());
        unit.append(&payload)?;
        Ok(unit)
    };
    (0..count).map(begin).collect()
}

/// Appends to a unit, kept open, until there is no room for more.
fn fill(log: &Log, len: usize) -> Result<(UnitOfWork, Error)> {
    let mut bulk = log.begin()?;
    loop {
        if let Err(error) = bulk.append(&vec![1; len]) {
            return Ok((bulk, error));
        }
        log.tick();
    }
}

/// Fills a log by units that are committed, so that only the redo position holds it.
fn fill_with_commits(log: &Log) -> Lsn {
    let mut last = Lsn::ZERO;
    loop {
        match log.write(&[1; 900]) {
            Ok(lsn) => last = lsn,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
                return last;
            }
        }
        log.tick();
    }
}

fn assert_full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::LogFull, "{error}");
    let text = error.to_string();
    assert!(text.contains("full for new work") && error.advice().is_some(), "{text}");
}

/// Ends a unit in one of five ways, each record forced, in a batch of its own.
fn end(unit: UnitOfWork, way: usize) -> Result<()> {
    let gid = unit.id().to_le_bytes();
    match way % 5 {
        0 => drop(unit.commit()?),
        1 => unit.prepare(&gid)?.decide(Outcome::Commit)?.end()?,
        2 => unit.back_out()?,
        3 => drop(unit.prepare(&gid)?.commit()?),
        _ => unit.prepare(&gid)?.back_out()?,
    }
    Ok(())
}

#[test]
fn every_live_unit_of_a_full_log_can_be_ended() -> Result<()> {
    for discipline in DISCIPLINES {
        for (write_unit, units) in [(512, 1), (512, 60), (4096, 1), (4096, 10), (4096, 40)] {
            let disk = SimDisk::new(1).with_write_unit(write_unit);
            let log = bounded(24, discipline).open_on(Arc::new(disk.clone()))?.finish()?;
            let live = live(&log, units, 300)?;
            let (bulk, error) = fill(&log, 3000)?;
            assert_full(&error);
            assert!(log.keypoint().is_ok(), "a keypoint has room");
            let fresh = log.begin()?.append(&[2; 3000]);
            assert_full(&fresh.expect_err("it is full for others too"));
            for (way, unit) in live.into_iter().enumerate() {
                end(unit, way).unwrap_or_else(|error| panic!("{write_unit} {way}: {error}"));
            }
            bulk.back_out()?;
            assert!(log.is_failed().is_none());
            let end = log.positions().end;
            log.ensure_durable(end)?;
            log.redo_from(end)?;
            log.keypoint()?;
            for _ in 0..200 {
                log.write(&[3; 900])?;
            }
            log.close()?;
        }
    }
    Ok(())
}

#[test]
fn asking_for_room_again_and_again_takes_nothing_from_the_reserve() -> Result<()> {
    let disk = SimDisk::new(1).with_write_unit(4096);
    let clock = StillClock::new();
    let deferred = bounded(8, Discipline::DeferredApply);
    let log = deferred.without_threads(clock.clone()).open_on(Arc::new(disk.clone()))?.finish()?;
    let live = live(&log, 10, 100)?;
    let (mut bulk, error) = fill(&log, 3000)?;
    assert_full(&error);
    for _ in 0..300 {
        assert_full(&bulk.append(&[1; 3000]).expect_err("it is full"));
        log.keypoint()?;
        let blank = log.begin()?;
        assert_full(blank.commit().expect_err("new work, too").error());
        let refused = log.begin()?.prepare(b"new").expect_err("new work, too");
        assert_full(&refused.error);
        // Idle for hours: marks and keypoints by time come due.
        clock.advance(61_000);
        log.tick();
    }
    for (way, unit) in live.into_iter().enumerate() {
        end(unit, way)?;
    }
    bulk.back_out()?;
    log.close()?;
    Ok(())
}

#[test]
fn backing_out_has_room_for_compensations_of_everything() -> Result<()> {
    for (write_unit, len) in [(512, 40), (4096, 40), (512, 900), (4096, 16_000)] {
        let disk = SimDisk::new(1).with_write_unit(write_unit);
        let log =
            bounded(40, Discipline::RepeatHistory).open_on(Arc::new(disk.clone()))?.finish()?;
        let live = live(&log, 8, 1000)?;
        let (bulk, error) = fill(&log, len)?;
        assert_full(&error);
        bulk.back_out()?;
        for unit in live {
            unit.back_out()?;
        }
        log.close()?;
    }
    Ok(())
}

#[test]
fn rolling_back_has_room_when_the_log_is_full() -> Result<()> {
    for discipline in DISCIPLINES {
        let disk = SimDisk::new(1);
        let log = bounded(8, discipline).open_on(Arc::new(disk.clone()))?.finish()?;
        let mut unit = log.begin()?;
        let start = unit.savepoint();
        while unit.append(&[1; 300]).is_ok() {}
        let mut undone = 0_u32;
        unit.roll_back_to(&start, |record| {
            undone += 1;
            Ok(record.payload().to_vec())
        })?;
        assert!(undone > 100);
        unit.commit()?;
        log.close()?;
        if discipline == Discipline::DeferredApply {
            assert!(redone(&recover(&disk)?)?.is_empty());
        }
    }
    Ok(())
}

#[test]
fn a_full_log_goes_on_once_the_redo_position_moves() -> Result<()> {
    for discipline in DISCIPLINES {
        let disk = SimDisk::new(1);
        let log = bounded(8, discipline).open_on(Arc::new(disk.clone()))?.finish()?;
        for _ in 0..5 {
            let last = fill_with_commits(&log);
            log.redo_from(last)?;
            // No keypoint by hand: whoever needs the room takes one.
            for _ in 0..40 {
                log.write(&[2; 900])?;
            }
            assert!(log.positions().oldest > Lsn::new(64 << 10));
        }
        let files = siding::disk::Disk::list(&disk).unwrap();
        let bytes: u64 = files.iter().filter(|(name, _)| name.ends_with(".seg")).map(|f| f.1).sum();
        assert!(bytes <= 8 * (64 << 10), "{files:?}");
        log.close()?;
    }
    Ok(())
}

#[test]
fn a_full_disk_at_preparation_is_a_full_log_and_not_a_failed_one() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = quiet().open_on(Arc::new(disk.clone()))?.finish()?;
    disk.set_capacity(Some(6 * (64 << 10)));
    let live = live(&log, 5, 100)?;
    let (bulk, error) = fill(&log, 3000)?;
    assert_full(&error);
    assert!(error.to_string().contains("prepare"), "{error}");
    assert!(log.is_failed().is_none());
    for (way, unit) in live.into_iter().enumerate() {
        end(unit, way)?;
    }
    disk.set_capacity(None);
    let mut bulk = bulk;
    bulk.append(&[1; 3000])?;
    bulk.commit()?;
    log.close()?;
    let seen = redone(&recover(&disk)?)?;
    assert_eq!(seen.iter().filter(|payload| payload.len() == 100).count(), 3);
    assert!(seen.iter().filter(|payload| payload.len() == 3000).count() > 50);
    Ok(())
}

#[test]
fn a_limit_that_leaves_no_room_for_work_is_refused() {
    let disk = SimDisk::new(1);
    let options = quiet().max_log_bytes(3 * (64 << 10));
    let error = options.open_on(Arc::new(disk.clone())).expect_err("too small");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(siding::disk::Disk::list(&disk).unwrap().iter().all(|(name, _)| name == "lock"));
}

#[test]
fn a_relaxed_commit_on_a_full_log_is_durable_a_second_later() -> Result<()> {
    let disk = SimDisk::new(1).with_write_unit(4096);
    let clock = StillClock::new();
    let options = bounded(8, Discipline::DeferredApply).durability(Durability::Relaxed);
    let log = options.without_threads(clock.clone()).open_on(Arc::new(disk.clone()))?.finish()?;
    let mut kept = log.begin()?;
    kept.append(b"kept")?;
    let (mut bulk, error) = fill(&log, 3000)?;
    assert_full(&error);
    clock.advance(1_000);
    log.tick();
    let lsn = kept.commit()?;
    // It gave some of the reserve back; now that is used, too.
    while bulk.append(&[1; 100]).is_ok() {}
    assert!(log.positions().durable < lsn);
    clock.advance(1_000);
    log.tick();
    assert!(log.positions().durable >= lsn, "{:?}", log.positions());
    // The same while a keypoint is due that would free nothing.
    clock.advance(60_000);
    log.tick();
    drop(bulk);
    let end = log.positions().end;
    clock.advance(1_000);
    log.tick();
    assert!(log.positions().durable >= end, "{:?}", log.positions());
    Ok(())
}

#[test]
fn crashes_do_not_take_a_full_log_beyond_its_limit() -> Result<()> {
    let (size, limit) = (256 << 10, 1 << 20);
    let disk = SimDisk::new(1);
    for crash in 0..12 {
        let options = quiet().segment_size(size).max_log_bytes(limit);
        let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
        let mut refused = None;
        while refused.is_none() {
            refused = log.write(&[1; 3000]).err();
        }
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::LogFull));
        let files = disk.list().map_err(|cause| Error::io("list", cause))?;
        let bytes: u64 = files.iter().filter(|file| file.0.ends_with(".seg")).map(|it| it.1).sum();
        assert!(bytes <= limit, "crash {crash}: {bytes} bytes");
        log.abandon();
    }
    // And it comes back to life.
    let log = quiet().max_log_bytes(limit).open_on(Arc::new(disk.clone()))?.finish()?;
    log.redo_from(log.positions().end)?;
    log.keypoint()?;
    for _ in 0..500 {
        log.redo_from(log.write(&[1; 3000])?)?;
    }
    log.close()
}
