//! What a restart gives back, as the oracle wants it.

use crate::oracle::{Live, Redo, Seen};
use crate::{SimDisk, Trouble};
use siding::disk::Disk as _;
use siding::{Kind, Lsn, OwnedRecord, Record, Recovery, Result};
use siding_wal::format::{HEADER_LEN, SegmentHeader, parse_segment_name};
use std::collections::BTreeMap;

/// Looks at everything that a recovery, told to redo from `from`, has to say.
pub(super) fn look(
    recovery: &Recovery,
    disk: &SimDisk,
    from: Option<Lsn>,
    repeats: bool,
) -> std::result::Result<Seen, Trouble> {
    Ok(Seen {
        end: recovery.report().end,
        voids: voids(disk)?,
        from,
        redo: if repeats { history(recovery)? } else { committed(recovery)? },
        live: live(recovery)?,
    })
}

/// The stretches that segment headers call void: behind what was kept, up to the header's own.
fn voids(disk: &SimDisk) -> std::result::Result<Vec<(Lsn, Lsn)>, Trouble> {
    let mut voids = Vec::new();
    for (name, _) in disk.list()? {
        let mut bytes = [0; HEADER_LEN];
        disk.peek(&name, 0, &mut bytes);
        if parse_segment_name(&name).is_some()
            && let Ok(header) = SegmentHeader::decode(&bytes)
        {
            voids.push((header.kept_end, header.first_lsn()));
        }
    }
    Ok(voids)
}

fn redo(record: &Record<'_>) -> Redo {
    Redo {
        unit: record.unit(),
        lsn: record.lsn(),
        payload: record.payload().to_vec(),
        commit: record.commit(),
    }
}

fn committed(recovery: &Recovery) -> Result<Vec<Redo>> {
    let (mut records, mut all) = (recovery.committed()?, Vec::new());
    while let Some(record) = records.next()? {
        all.push(redo(&record));
    }
    Ok(all)
}

fn history(recovery: &Recovery) -> Result<Vec<Redo>> {
    let (mut records, mut all) = (recovery.history()?, Vec::new());
    while let Some(record) = records.next()? {
        if record.kind() == Kind::Data {
            all.push(redo(&record));
        }
    }
    Ok(all)
}

fn live(recovery: &Recovery) -> std::result::Result<BTreeMap<u64, Live>, Trouble> {
    let mut all = BTreeMap::new();
    let mut add = |unit, live| {
        let twice = all.insert(unit, live).is_some();
        Trouble::unless(!twice, || format!("unit {unit:#x} is listed twice"))
    };
    for unit in recovery.in_flight() {
        let records = unit.records_backward()?.owned().collect::<Result<Vec<_>>>()?;
        add(unit.id(), known(&records, None))?;
    }
    for doubt in recovery.in_doubt() {
        let records = doubt.records_backward()?.owned().collect::<Result<Vec<_>>>()?;
        let live = known(&records, Some(doubt.gid()));
        let effects = doubt.effects()?.owned().collect::<Result<Vec<_>>>()?;
        let effects = effects.iter().map(|it| (it.lsn(), it.payload().to_vec())).collect();
        Trouble::unless(live.effects.as_ref() == Some(&effects), || {
            format!("unit {:#x} has the effects {effects:?}, and is {live:?}", doubt.id())
        })?;
        add(doubt.id(), live)?;
    }
    for decided in recovery.decided() {
        let outcome = Some(decided.outcome());
        add(decided.id(), Live { outcome, gid: None, chain: None, effects: None })?;
    }
    Ok(all)
}

/// A unit that is not decided, by its records, newest to oldest.
fn known(records: &[OwnedRecord], gid: Option<&[u8]>) -> Live {
    let mut effects = Vec::new();
    let mut taken_back = Lsn::MAX;
    for record in records {
        if record.lsn() > taken_back {
            continue;
        }
        match record.as_record().undo_next() {
            Some(next) => taken_back = next.min(taken_back),
            None if record.kind() == Kind::Data => {
                effects.push((record.lsn(), record.payload().to_vec()));
            }
            None => {}
        }
    }
    effects.reverse();
    Live {
        outcome: None,
        gid: gid.map(<[u8]>::to_vec),
        chain: Some(records.iter().map(|record| (record.lsn(), record.kind())).collect()),
        effects: Some(effects),
    }
}
