//! Units that are stuck for ever while others pass: the log stays small, by itself.

use crate::support::{StillClock, quiet};
use siding::disk::Disk as _;
use siding::{InDoubt, Log, Options, Result, UnitOfWork};
use siding_sim::SimDisk;
use siding_sim::disk::{Crash, Op};
use std::sync::Arc;

const SEGMENT: u64 = 64 << 10;

fn options(clock: &Arc<StillClock>) -> Options {
    quiet().keypoint_bytes(SEGMENT).without_threads(Arc::<StillClock>::clone(clock))
}

/// Other units pass: so many segments of them.
fn pass(log: &Log, clock: &StillClock, segments: u64) -> Result<u64> {
    let mut most = 0;
    for _ in 0..segments * 8 {
        log.write(&[1; 8_000])?;
        log.redo_from(log.positions().durable)?;
        clock.advance(20);
        log.tick();
        let positions = log.positions();
        most = most.max(positions.end.get() - positions.oldest.get());
    }
    Ok(most)
}

fn stuck(log: &Log, count: usize) -> Result<Vec<InDoubt>> {
    let mut stuck = Vec::new();
    for number in 0..count {
        let mut unit = log.begin()?;
        unit.append(&[7; 200])?;
        unit.append(&[8; 60])?;
        stuck.push(unit.prepare(format!("stuck-{number}").as_bytes())?);
    }
    Ok(stuck)
}

fn extent_bytes(disk: &SimDisk) -> u64 {
    let names = disk.list().unwrap();
    names.iter().filter(|(name, _)| name.ends_with(".ext")).map(|(_, len)| *len).sum()
}

#[test]
fn one_stuck_unit_keeps_the_log_small() -> Result<()> {
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let log = options(&clock).open_on(Arc::new(disk.clone()))?.finish()?;
    let doubt = stuck(&log, 1)?.pop().unwrap();
    let most = pass(&log, &clock, 40)?;
    // Three segments and one keypoint interval.
    assert!(most <= 4 * SEGMENT, "{most}");
    assert_eq!(doubt.effects()?.owned().count(), 2);
    let left = disk.crash(Crash::DropAll);
    log.abandon();
    let recovery = options(&clock).open_on(Arc::new(left))?;
    assert!(recovery.report().scanned_bytes <= 3 * SEGMENT, "{:?}", recovery.report());
    assert_eq!(recovery.in_doubt()[0].effects()?.owned().count(), 2);
    Ok(())
}

#[test]
fn a_thousand_stuck_units_keep_the_log_small() -> Result<()> {
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let open = |disk| options(&clock).keypoint_bytes(8 * SEGMENT).open_on(Arc::new(disk));
    let log = open(disk.clone())?.finish()?;
    let doubts = stuck(&log, 1_000)?;
    let live: u64 = log.units().iter().map(|unit| unit.bytes).sum();
    pass(&log, &clock, 20)?;
    let most = pass(&log, &clock, 80)?;
    // A keypoint of a thousand units is five segments long itself.
    assert!(most <= 20 * SEGMENT, "{most}");
    let bytes = extent_bytes(&disk);
    assert!(bytes <= live * 5 / 4 + 128 * 1_000 + SEGMENT, "{bytes} for {live}");
    for doubt in doubts {
        assert_eq!(doubt.effects()?.owned().count(), 2);
        doubt.commit()?;
    }
    pass(&log, &clock, 20)?;
    assert!(extent_bytes(&disk) <= SEGMENT, "{}", extent_bytes(&disk));
    Ok(())
}

#[test]
fn a_busy_unit_that_never_ends_is_moved_piece_by_piece() -> Result<()> {
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let log = options(&clock).open_on(Arc::new(disk.clone()))?.finish()?;
    let mut unit: UnitOfWork = log.begin()?;
    let mut written = Vec::new();
    let mut most = 0;
    for number in 0..400_u32 {
        unit.append(&number.to_le_bytes())?;
        written.push(number.to_le_bytes().to_vec());
        for _ in 0..2 {
            log.write(&[1; 6_000])?;
        }
        log.redo_from(log.positions().durable)?;
        clock.advance(20);
        log.tick();
        let positions = log.positions();
        most = most.max(positions.end.get() - positions.oldest.get());
    }
    assert!(most <= 5 * SEGMENT, "{most}");
    let doubt = unit.prepare(b"at last")?;
    let effects: Vec<Vec<u8>> = doubt
        .effects()?
        .owned()
        .map(|record| Ok(record?.payload().to_vec()))
        .collect::<Result<_>>()?;
    assert_eq!(effects, written);
    doubt.commit()?;
    Ok(())
}

/// Copies are written in large pieces and synced once for all units of a round; the fork records
/// ride on whatever flush comes next.
#[test]
fn a_round_of_moves_syncs_the_secondary_log_once_and_the_main_log_never() -> Result<()> {
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let options = options(&clock).keypoint_bytes(1 << 40);
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    log.tick();
    stuck(&log, 20)?;
    for _ in 0..40 {
        log.write(&[1; 8_000])?;
    }
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    let before = disk.trace().len();
    let live: u64 = log.units().iter().map(|unit| unit.bytes).sum();
    log.tick();
    assert!(log.units().iter().all(|unit| unit.moves == 1), "{:?}", log.units());
    let calls = disk.trace().split_off(before);
    let of = |ending: &str, op: Op| -> Vec<u64> {
        let those = calls.iter().filter(|call| call.op == op && call.name.ends_with(ending));
        those.map(|call| call.len).collect()
    };
    assert_eq!(of(".ext", Op::Sync).len(), 1, "{calls:?}");
    let copied: u64 = of(".ext", Op::Write).iter().sum();
    assert!(copied <= live * 5 / 4 + 4096, "{copied} bytes written for {live}");
    // A segment that is made meanwhile is none that a fork record could lie in.
    let made = |name: &str| calls.iter().any(|call| call.op == Op::Create && &*call.name == name);
    let of_main = calls.iter().filter(|call| call.name.ends_with(".seg") && !made(&call.name));
    let forced = of_main.filter(|call| matches!(call.op, Op::Sync | Op::DurableWrite));
    assert_eq!(forced.count(), 0, "{calls:?}");
    Ok(())
}

#[test]
fn a_held_unit_stays_and_a_full_quota_fails_no_commit() -> Result<()> {
    let disk = SimDisk::new(1);
    let clock = StillClock::new();
    let log = options(&clock).max_secondary_bytes(1).open_on(Arc::new(disk.clone()))?.finish()?;
    let doubt = stuck(&log, 1)?.pop().unwrap();
    assert!(pass(&log, &clock, 10)? >= 9 * SEGMENT, "there was no room for it to be moved");
    let pins = log.why_retained();
    let pin = pins.iter().find(|pin| pin.unit == Some(doubt.id())).expect("it keeps the log");
    assert!(pin.action.contains("max_secondary_bytes"), "{}", pin.action);
    assert_eq!(log.fork(doubt.id()).unwrap_err().kind(), siding::ErrorKind::LogFull);
    doubt.commit()?;
    log.close()?;
    let log = options(&clock).open_on(Arc::new(disk))?.finish()?;
    let doubt = stuck(&log, 1)?.pop().unwrap();
    log.hold(doubt.id());
    assert!(pass(&log, &clock, 10)? >= 9 * SEGMENT, "it was held");
    log.unhold(doubt.id());
    pass(&log, &clock, 3)?;
    let positions = log.positions();
    assert!(positions.end.get() - positions.oldest.get() <= 4 * SEGMENT);
    doubt.commit()?;
    log.close()
}
