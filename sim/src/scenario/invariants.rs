//! The invariants of the log and its moves, asked of a log that runs. Those that only the end can
//! show are held by the check behind each crash: I9 and L4.

use super::plug::Plug;
use super::session::{Result, Session};
use crate::Trouble;
use crate::disk::Crash;
use siding::disk::Disk as _;
use siding::{Kind, Lsn, OwnedRecord, Positions, ReadOnly, Recovery, UnitInfo};
use siding_wal::format::{Seed, decode_record, parse_segment_name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was seen before, in this open.
#[derive(Default)]
pub(super) struct Watch {
    units: BTreeMap<u64, UnitInfo>,
    positions: Option<Positions>,
}

/// Everything that can be asked at any time. I5 and I6 are asked by [`Session::keep`].
pub(super) fn hold(session: &mut Session) -> Result<()> {
    if session.log()?.is_failed().is_some() {
        // What it says of its positions it could not write down.
        return Ok(());
    }
    session.keep()?;
    let log = session.log()?;
    let (now, units) = (log.positions(), log.units());
    for unit in &units {
        let records = log.unit_records(unit.unit)?.owned().collect::<siding::Result<Vec<_>>>()?;
        i1_a_chain_is_what_was_told(session, unit, &records)?;
        i2_nothing_below_the_tail_is_read(now.oldest, unit, &records)?;
        l2_each_record_is_in_one_place(unit, &records)?;
        if let Some(before) = session.watch.units.get(&unit.unit) {
            i3_a_unit_never_goes_back(before, unit)?;
        }
    }
    if let Some(before) = session.watch.positions {
        i3_positions_never_go_back(&before, &now)?;
    }
    if units.iter().any(|unit| unit.moves > 0) {
        i4_durable_fork_records_name_durable_copies(session)?;
    }
    session.watch.positions = Some(now);
    session.watch.units = units.into_iter().map(|unit| (unit.unit, unit)).collect();
    Ok(())
}

/// I1: chain(u) is exactly the unit's records, each once, strictly descending by original LSN.
/// I10: the bytes of a copy are those of the original, whatever number of moves.
fn i1_a_chain_is_what_was_told(
    session: &Session,
    unit: &UnitInfo,
    records: &[OwnedRecord],
) -> Result<()> {
    let descends = records.is_sorted_by(|newer, older| newer.lsn() > older.lsn());
    Trouble::unless(descends, || format!("I1: a chain does not descend: {unit:?}"))?;
    let data = records.iter().rev().filter(|record| record.kind() == Kind::Data);
    let told = session.model.told(unit.unit);
    let same = data
        .map(|record| (record.lsn(), record.payload()))
        .eq(told.iter().map(|(lsn, payload)| (*lsn, &**payload)));
    Trouble::unless(same, || {
        let lsns: Vec<_> = records.iter().map(|record| (record.lsn(), record.kind())).collect();
        let told: Vec<_> = told.iter().map(|it| it.0).collect();
        format!("I1, I10: {unit:?} has {lsns:?} and was told {told:?}")
    })
}

/// I2: no traversal reads below the tail, nor a FORK as data.
fn i2_nothing_below_the_tail_is_read(
    oldest: Lsn,
    unit: &UnitInfo,
    records: &[OwnedRecord],
) -> Result<()> {
    let below = records.iter().filter(|record| record.lsn() < oldest).count() as u64;
    let forks = records.iter().any(|record| record.kind() == Kind::Fork);
    Trouble::unless(below <= unit.secondary_records && !forks, || {
        format!("I2: {below} records below {oldest}, forks: {forks}: {unit:?}")
    })
}

/// I3: a unit's epoch and floor never decrease, and its copies change with its epoch alone.
fn i3_a_unit_never_goes_back(before: &UnitInfo, now: &UnitInfo) -> Result<()> {
    let floor = |unit: &UnitInfo| unit.floor.unwrap_or(unit.head.plus(1));
    let copies = before.secondary_records == now.secondary_records || before.moves < now.moves;
    let fine = before.moves <= now.moves && floor(before) <= floor(now) && before.head <= now.head;
    Trouble::unless(fine && copies, || format!("I3: {before:?}, then {now:?}"))
}

/// I3: the tail and what is durable never decrease.
fn i3_positions_never_go_back(before: &Positions, now: &Positions) -> Result<()> {
    let fine = before.oldest <= now.oldest
        && before.durable <= now.durable
        && before.written <= now.written
        && before.end <= now.end;
    Trouble::unless(fine, || format!("I3: {before:?}, then {now:?}"))
}

/// I4: a durable fork record names copies that are durable: if the power goes now, and takes all
/// that is not, each unit has those that the log counts.
fn i4_durable_fork_records_name_durable_copies(session: &Session) -> Result<()> {
    let left = Arc::new(session.disk().crash(Crash::DropAll));
    let found = ReadOnly::open_on(left, Arc::new(session.clock.clone()))?;
    for unit in found.units() {
        let (extents, broken) = found.extents_of(unit.unit);
        let copies: u64 = extents.iter().map(|extent| extent.records).sum();
        Trouble::unless(broken.is_none() && copies == unit.secondary_records, || {
            format!("I4: {copies} copies are durable of {unit:?}: {broken:?}")
        })?;
    }
    Ok(())
}

/// I12: what older opens wrote is no record of this one, wherever it stands: in segments that are
/// kept, behind their ends, and in files that are used again.
///
/// An open writes no record, so none in any file is the new incarnation's.
pub(super) fn i12_older_records_never_validate(session: &Session) -> Result<()> {
    let image = session.disk().fork();
    let recovery = session.options().open_on(Arc::new(image.clone()))?;
    let report = recovery.report();
    let seed = Seed::new(&report.log_id, report.incarnation);
    let mut tried = 0_u64;
    for (name, len) in image.list()? {
        let Some(number) = parse_segment_name(&name) else { continue };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        image.peek(&name, 0, &mut bytes);
        let first = number * session.setup.segment;
        for (place, at) in (first..).step_by(8).zip((0..bytes.len()).step_by(8)) {
            // Most of a file is zeros: no record has that length.
            if bytes[at..].first_chunk().is_none_or(|len| *len == [0; 4]) {
                continue;
            }
            tried += 1;
            let found = decode_record(&bytes[at..], seed, Lsn::new(place));
            Trouble::unless(found.is_err(), || {
                format!("I12: in {name} at byte {at} stands a record of another open: {report:?}")
            })?;
        }
    }
    recovery.abandon();
    Trouble::unless(tried > 0, || "I12: no file of the log was looked at".to_owned())
}

/// I7: the table that a restart rebuilds is the one before, where everything was durable. I8: and
/// without the secondary log.
pub(super) fn i7_restart_rebuilds_the_table(
    session: &Session,
    before: &[UnitInfo],
    tail: Lsn,
) -> Result<()> {
    let image = session.disk().fork();
    for (name, _) in image.list()? {
        if name.ends_with(".ext") {
            image.remove(&name)?;
        }
    }
    let found = ReadOnly::open_on(Arc::new(image), Arc::new(session.clock.clone()))?;
    let fields = |unit: &UnitInfo| {
        let UnitInfo { unit, state, first, head, floor, .. } = unit.clone();
        (unit, state as u8, first, head, floor)
    };
    let more = |unit: &UnitInfo| (unit.records, unit.secondary_records, unit.moves);
    let of = |units: &[UnitInfo]| -> Vec<_> {
        let mut all: Vec<_> = units.iter().map(|unit| (fields(unit), more(unit))).collect();
        all.sort_unstable();
        all
    };
    let (was, is) = (of(before), of(&found.units()));
    let tail_is = found.positions().oldest;
    Trouble::unless(was == is && tail_is >= tail, || {
        format!("I7: {was:?} from {tail}, and a restart says {is:?} from {tail_is}")
    })
}

/// I8: a restart never reads the secondary log.
pub(super) fn i8_restart_reads_no_copies(plug: &Plug) -> Result<()> {
    let reads = plug.extent_reads();
    Trouble::unless(reads == 0, || format!("I8: a restart read the secondary log {reads} times"))
}

/// L3: a restart scans the log from the last durable keypoint on, whatever the age of any unit.
///
/// It starts with the batch, and reads in large pieces, up to the ends of files.
pub(super) fn l3_restart_scans_from_the_keypoint(
    (keypoint, segment): (Lsn, u64),
    recovery: &Recovery,
) -> Result<()> {
    let report = recovery.report();
    let behind = report.end.get().saturating_sub(report.scanned_from.get());
    let fine = report.scanned_from.get() + 4_096 > keypoint.get()
        && report.scanned_bytes <= behind + 2 * segment;
    Trouble::unless(fine, || format!("L3: the keypoint is at {keypoint}: {report:?}"))
}

/// L1: once everything was moved, nothing is kept that the last keypoint and redo do not need.
pub(super) fn l1_moved_units_hold_nothing(session: &Session) -> Result<()> {
    let now = session.log()?.positions();
    let segment = session.setup.segment;
    let needed = now.keypoint_begin.min(now.redo).get() / segment;
    let fine = now.oldest.get() / segment >= needed || session.disk().troubles() > 0;
    Trouble::unless(fine, || format!("L1: units that were moved hold the log: {now:?}"))
}

/// L2: each record is copied at most once: it is on the main log, or on the secondary.
fn l2_each_record_is_in_one_place(unit: &UnitInfo, records: &[OwnedRecord]) -> Result<()> {
    let all = unit.records + unit.secondary_records;
    Trouble::unless(all == records.len() as u64, || {
        format!("L2: {} records are {unit:?}", records.len())
    })
}
