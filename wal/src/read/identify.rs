//! Which log stands in a directory, and how a survey refuses one.

use super::inventory::{CONTROL_NAME, HeaderState, Inventory};
use super::rows::{Decision, row};
use super::survey::Identity;
use crate::format::{ControlSlot, LogId, SegmentHeader};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// The refusal of the row with this letter.
pub(super) fn lettered(letter: char, inventory: &Inventory, what: &str, name: &str) -> Error {
    let Some(row) = row(letter) else {
        return inventory.error(ErrorKind::Corrupt, what.to_owned(), name);
    };
    let kind = match row.decision {
        Decision::Refuse(kind) => kind,
        Decision::Stop | Decision::GoOn => ErrorKind::Corrupt,
    };
    let what = format!("{} [{letter}]: {what}", row.name);
    inventory.error(kind, what, name).advise(row.advice).by_row(letter)
}

/// Which log this is: the one of the control file, else the one most headers name.
pub(super) fn identify(
    inventory: &Inventory,
    control: Option<&ControlSlot>,
) -> Result<Option<Identity>> {
    let mut votes: BTreeMap<LogId, (usize, &SegmentHeader)> = BTreeMap::new();
    for numbered in inventory.numbered.values() {
        if let HeaderState::Valid(header) = &numbered.header {
            votes.entry(header.log_id).and_modify(|vote| vote.0 += 1).or_insert((1, header));
        }
    }
    let winner = votes.values().max_by_key(|vote| vote.0);
    let Some(slot) = control else {
        return Ok(winner.map(|(_, header)| Identity {
            log_id: header.log_id,
            path_id: header.path_id,
            discipline: header.discipline,
            segment_size: header.segment_size,
        }));
    };
    let alone = !votes.contains_key(&slot.log_id);
    if alone && winner.is_some_and(|(count, _)| *count > 1) {
        return Err(inventory
            .error(
                ErrorKind::ForeignFile,
                "the control file is of another log than the segments".into(),
                CONTROL_NAME,
            )
            .advise("put the files of one log into a directory, and of no other"));
    }
    Ok(Some(Identity {
        log_id: slot.log_id,
        path_id: slot.path_id,
        discipline: slot.discipline,
        segment_size: slot.segment_size,
    }))
}
