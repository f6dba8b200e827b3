//! What a restore to a position must be, from the records up to there alone: no keypoint, no
//! fork record, no redo position is looked at.

use crate::archive::Entry;
use siding::Lsn;
use siding_wal::format::{Kind, PreparePayload};
use std::collections::BTreeMap;

/// What each page holds.
pub(crate) type Pages = BTreeMap<u64, u64>;

/// Pages of the world's files.
pub(crate) const PAGES: u64 = 6;

/// A change of a page: which, what it gets, what it held.
pub(crate) fn change(payload: &[u8]) -> (u64, u64, u64) {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    (number(0), number(8), number(16))
}

/// What is in doubt: the gid, and page and value of each change that is not rolled back.
pub(crate) type Doubts = BTreeMap<Vec<u8>, Vec<(u64, u64)>>;

#[derive(Default)]
struct Unit {
    /// Changes that count, oldest first: where, page, value, what it held.
    changes: Vec<(Lsn, (u64, u64, u64))>,
    gid: Option<Vec<u8>>,
    committed: bool,
    aborted: bool,
}

/// What stands once the records that end at or below `to` are all there is.
pub(crate) fn oracle(records: &[Entry], to: Lsn, repeats: bool) -> (Pages, Doubts) {
    let mut pages: Pages = (0..PAGES).map(|page| (page, 0)).collect();
    let mut units: BTreeMap<u64, Unit> = BTreeMap::new();
    for record in records.iter().filter(|record| record.end <= to) {
        if !record.kind.has_unit() || record.unit == 0 || record.kind == Kind::Fork {
            continue;
        }
        let unit = units.entry(record.unit).or_default();
        match record.kind {
            Kind::Data => {
                let change = change(&record.payload);
                unit.changes.push((record.lsn, change));
                if repeats {
                    pages.insert(change.0, change.1);
                }
            }
            Kind::Compensation => {
                unit.changes.retain(|(lsn, _)| *lsn <= record.undo_next);
                if repeats {
                    let (page, value, _) = change(&record.payload);
                    pages.insert(page, value);
                }
            }
            Kind::Prepare => {
                unit.gid = Some(PreparePayload::decode(&record.payload).unwrap().gid);
            }
            Kind::Commit => {
                unit.committed = true;
                if !repeats {
                    pages.extend(unit.changes.iter().map(|(_, (page, value, _))| (*page, *value)));
                }
            }
            Kind::Abort => unit.aborted = true,
            _ => {}
        }
        if record.ends {
            units.remove(&record.unit);
        }
    }
    let mut doubts = Doubts::new();
    for unit in units.into_values().filter(|unit| !unit.committed) {
        match unit.gid.filter(|_| !unit.aborted) {
            Some(gid) => {
                let changes = unit.changes.iter().map(|(_, (page, value, _))| (*page, *value));
                doubts.insert(gid, changes.collect());
            }
            // Pages are locked until a unit ends, so the order between units does not matter.
            None if repeats => {
                for (_, (page, _, before)) in unit.changes.iter().rev() {
                    pages.insert(*page, *before);
                }
            }
            None => {}
        }
    }
    (pages, doubts)
}
