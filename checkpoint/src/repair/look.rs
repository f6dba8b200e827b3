//! What stands in a directory and in an archive, read from end to end.

use super::decide::decide;
use super::{Copies, Diagnosis, Found, Mend, Take};
use crate::archive::{Indexer, SegmentIndex};
use crate::open::Progress;
use crate::reader::{ReadOnly, Usage};
use crate::restore::{Piece, Source};
use crate::verify::{Finding, verify};
use siding_wal::disk::{AlignedBuf, Clock, Disk, LogFile};
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, ControlSlot, LogId, RECORD_HEADER_LEN, SegmentHeader, size, wide,
};
use siding_wal::read::{ControlState, HeaderState, Inventory, inventory};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of a read.
const BLOCK: usize = 1 << 20;

/// Says what is wrong with a closed log, and what a repair would do. Writes nothing.
///
/// Costs a verification, a read of every segment, and of what the archive has of those that are
/// not whole.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is no log; [`ErrorKind::Locked`] if somebody has it open;
/// [`ErrorKind::Missing`] if what is left says too little to go on, or does not reach back to what
/// an open needs; [`ErrorKind::UnsupportedVersion`] of a newer log, [`ErrorKind::ForeignFile`] of
/// files of another: those are not damage; what a disk or the archive says.
pub fn diagnose(
    disk: &Arc<dyn Disk>,
    secondary: Option<&Arc<dyn Disk>>,
    clock: &Arc<dyn Clock>,
    copies: &Copies<'_>,
    progress: &dyn Fn(&Progress),
) -> Result<Diagnosis> {
    let seen = verify(disk, secondary.cloned(), clock, progress)?;
    if seen.usage != Usage::Closed {
        return Err(Error::new(ErrorKind::Locked, "somebody has the log open, or it is not known")
            .advise("close it first: what is written meanwhile cannot be mended"));
    }
    let findings = seen.findings;
    refuse(&findings)?;
    let files = inventory(&**disk)?;
    let found = look(&files, copies, progress)?;
    let Some(decision) = decide(&found, &findings) else {
        let what = format!("segment {:016x}, which an open needs, is nowhere whole", found.lowest);
        return Err(Error::new(ErrorKind::Missing, what)
            .advise("name an archive that has it, or restore a backup into another directory"));
    };
    // What an open does not read is no reason to cut what it does.
    let opens = ReadOnly::open(Arc::clone(disk), Arc::clone(clock))
        .is_ok_and(|log| log.trouble().is_none());
    let mut steps = decision.steps;
    if opens {
        steps.retain(|step| !matches!(step, Mend::Cut(_)));
    }
    let extents: BTreeSet<u64> = findings.iter().filter_map(|it| it.extent).collect();
    for number in extents {
        let longest = copies.extents.iter().enumerate();
        let longest = longest.filter(|(_, it)| (it.0, it.1) == (found.log_id, number));
        if let Some((copy, _)) = longest.max_by_key(|(_, it)| it.2) {
            let cut = steps.iter().position(|step| matches!(step, Mend::Cut(_)));
            steps.insert(cut.unwrap_or(steps.len()), Mend::Extents { number, copy });
        }
    }
    let end = decision.end;
    let sound = findings.is_empty();
    Ok(Diagnosis {
        findings,
        steps: if sound { Vec::new() } else { steps },
        end,
        gap: decision.gap,
        opens,
        slot: found.slot,
        control: found.control,
    })
}

/// What is no damage is not repaired.
fn refuse(findings: &[Finding]) -> Result<()> {
    let newer = findings.iter().find(|it| it.letter == Some('N'));
    if let Some(finding) = newer {
        return Err(Error::new(ErrorKind::UnsupportedVersion, finding.what.clone())
            .file(finding.file().unwrap_or_default())
            .advise("repair it with the version that wrote it, or a newer one"));
    }
    match findings.iter().find(|it| it.letter.is_none() && it.name == "foreign file") {
        None => Ok(()),
        Some(finding) => Err(Error::new(ErrorKind::ForeignFile, finding.what.clone())
            .file(finding.file().unwrap_or_default())
            .advise("move it out of the directory first: nothing of another log is touched")),
    }
}

/// Headers that are whole, by number.
fn headers(files: &Inventory) -> BTreeMap<u64, &SegmentHeader> {
    let valid = |number: &u64, header: &SegmentHeader| header.number == *number;
    let all = files.numbered.iter();
    let all = all.filter_map(|(number, file)| match &file.header {
        HeaderState::Valid(header) if valid(number, header) => Some((*number, header)),
        _ => None,
    });
    all.collect()
}

fn look(files: &Inventory, copies: &Copies<'_>, progress: &dyn Fn(&Progress)) -> Result<Found> {
    let headers = headers(files);
    let slot = match &files.control {
        ControlState::Slot(slot) => Some(slot.clone()),
        _ => None,
    };
    let control = !matches!(files.control, ControlState::Absent);
    let ours = slot.as_ref().map(|slot| slot.log_id);
    let log_id = ours.or_else(|| headers.values().next_back().map(|header| header.log_id));
    let model = headers.values().rfind(|header| Some(header.log_id) == log_id);
    let (Some(log_id), Some(slot)) = (log_id, slot.or_else(|| model.map(|it| slot_of(it)))) else {
        return Err(Error::new(ErrorKind::Missing, "no header and no control file is whole")
            .advise("restore a backup into another directory"));
    };
    let headers: BTreeMap<u64, &SegmentHeader> =
        headers.into_iter().filter(|(_, header)| header.log_id == log_id).collect();
    let ours = |index: &SegmentIndex| index.log_id == log_id;
    let archived: Vec<&SegmentIndex> = copies.segments.iter().filter(|it| ours(it)).collect();
    // Where a history may go on or end, the pieces must tell their digest.
    let mut wanted: Vec<Lsn> = headers.values().map(|header| header.kept_end).collect();
    wanted.extend(archived.iter().flat_map(|index| [index.kept.end, index.last.end]));
    let total = files.numbered.values().map(|file| file.len).sum();
    let (mut done, mut pieces, mut highest) = (0_u64, Vec::new(), 0);
    for (number, file) in &files.numbered {
        let header = headers.get(number);
        if let (Some(opened), Some(header)) = (&file.file, header) {
            let piece = here(&**opened, log_id, &wanted);
            let end = piece.as_ref().map_or(0, |it| it.index.last.end.since(header.first_lsn()));
            highest = highest.max(behind(&**opened, header, end));
            highest = highest.max(piece.as_ref().map_or(0, |it| it.index.highest()));
            pieces.extend(piece);
        }
        done = done.saturating_add(file.len);
        progress(&Progress { step: "read", done, total });
    }
    wanted.extend(pieces.iter().map(|piece| piece.index.last.end));
    let mut merged = vec![None; pieces.len()];
    for (copy, index) in copies.segments.iter().enumerate().filter(|(_, it)| ours(it)) {
        let here = |it: &&Piece| it.source == Source::Directory && it.index.number == index.number;
        let local = pieces.iter().find(here).map(|piece| &piece.index);
        // What goes on otherwise than what stands here is of another history.
        let strange = local.is_some_and(|it| !it.same_start(index));
        if strange || local.is_some_and(|it| it.covers(index)) {
            continue;
        }
        let rest = files.numbered.get(&index.number).and_then(|it| it.file.as_deref());
        let piece = put_together(copies, index, rest, &wanted)?;
        let piece = piece.filter(|it| local.is_none_or(|local| it.index.covers(local)));
        pieces.extend(piece);
        merged.resize(pieces.len(), Some((copy, rest.is_some())));
    }
    let mut bounds = bounds(&headers, &slot, &archived);
    bounds.slot.incarnation = bounds.slot.incarnation.max(highest);
    Ok(Found { log_id, pieces, copies: merged, control, ..bounds })
}

/// A slot as the open that wrote a header would have written it.
fn slot_of(header: &SegmentHeader) -> ControlSlot {
    ControlSlot {
        sequence: 0,
        log_id: header.log_id,
        path_id: header.path_id,
        discipline: header.discipline,
        clean: false,
        incarnation: header.incarnation,
        epoch: header.epoch,
        write_unit: header.write_unit,
        segment_size: header.segment_size,
        unit_block: header.unit_block,
        oldest: header.oldest,
        keypoint_begin: header.keypoint_begin,
        keypoint_end: header.keypoint_end,
        durable: header.kept_end,
        written_ms: header.created_ms,
    }
}

/// What headers and control file say, together: the highest of all.
fn bounds(
    headers: &BTreeMap<u64, &SegmentHeader>,
    slot: &ControlSlot,
    archived: &[&SegmentIndex],
) -> Found {
    let mut slot = slot.clone();
    for header in headers.values() {
        slot.incarnation = slot.incarnation.max(header.incarnation);
        slot.epoch = slot.epoch.max(header.epoch);
        slot.unit_block = slot.unit_block.max(header.unit_block);
        slot.oldest = slot.oldest.max(header.oldest);
        slot.durable = slot.durable.max(header.kept_end);
        if header.keypoint_end > slot.keypoint_end {
            (slot.keypoint_begin, slot.keypoint_end) = (header.keypoint_begin, header.keypoint_end);
        }
    }
    for index in archived {
        slot.incarnation = slot.incarnation.max(index.highest());
    }
    let size = slot.segment_size.max(1);
    let behind = slot.keypoint_end.plus(wide(RECORD_HEADER_LEN));
    let keypoint = if slot.keypoint_end.is_zero() { Lsn::ZERO } else { behind };
    // An empty segment has a header alone: nothing in it was durable.
    let first = Lsn::new(slot.durable.get().checked_div(size).unwrap_or(0).saturating_mul(size));
    let empty = slot.durable.since(first) <= u64::from(slot.write_unit);
    let durable = if empty { first } else { slot.durable };
    Found {
        log_id: slot.log_id,
        lowest: slot.oldest.get().checked_div(size).unwrap_or(0),
        known_durable: durable.max(keypoint),
        pieces: Vec::new(),
        copies: Vec::new(),
        control: false,
        slot,
    }
}

/// A segment here, as far as it is whole; none if not even its header is.
fn here(file: &dyn LogFile, log_id: LogId, wanted: &[Lsn]) -> Option<Piece> {
    let mut indexer = Indexer::new(Some(log_id), wanted.to_vec());
    // Where it is not whole any more it ends.
    let _ = from(file, 0, &mut |block| indexer.feed(block));
    let index = indexer.so_far()?;
    Some(Piece { index, source: Source::Directory })
}

/// The highest incarnation of a batch header behind what is whole: what is cut away must not be
/// written again under the same number.
fn behind(file: &dyn LogFile, header: &SegmentHeader, end: u64) -> u32 {
    let unit = size(header.write_unit.max(512));
    let (mut held, mut highest) = (Vec::new(), 0);
    let _ = from(file, end, &mut |block| {
        held.extend_from_slice(block);
        let units = held.chunks_exact(unit);
        let rest = units.remainder().to_vec();
        for front in units.filter(|it| it.len() >= BATCH_HEADER_LEN) {
            if let Ok(batch) = BatchHeader::decode(front, &header.log_id) {
                highest = highest.max(batch.incarnation);
            }
        }
        held = rest;
        Ok(())
    });
    highest
}

/// A segment as the archive has it, and what stands here behind it; none if the archive's cannot
/// be read.
fn put_together(
    copies: &Copies<'_>,
    index: &SegmentIndex,
    rest: Option<&dyn LogFile>,
    wanted: &[Lsn],
) -> Result<Option<Piece>> {
    let mut indexer = Indexer::new(Some(index.log_id), wanted.to_vec());
    match (copies.segment)(index, &mut |block| indexer.feed(block)) {
        Ok(()) => {}
        // Another copy may do; if none does, the gap is named.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    if let Some(file) = rest {
        let _ = from(file, index.plain.len, &mut |block| indexer.feed(block));
    }
    Ok(indexer.so_far().map(|index| Piece { index, source: Source::Archive }))
}

/// What a file holds from a position on, up to where it cannot be read.
pub(super) fn from(file: &dyn LogFile, at: u64, take: &mut Take<'_>) -> Result<()> {
    let mut buf = AlignedBuf::zeroed(BLOCK);
    // Reads begin at whole pages; what is before the position is left out.
    let mut next = at.checked_div(4096).unwrap_or(0).saturating_mul(4096);
    let mut skip = usize::try_from(at.saturating_sub(next)).unwrap_or(0);
    loop {
        let read = file
            .read_at(next, buf.as_mut_slice())
            .map_err(|cause| Error::io("a segment cannot be read", cause))?;
        if read == 0 {
            return Ok(());
        }
        take(buf.as_slice().get(skip.min(read)..read).unwrap_or_default())?;
        skip = 0;
        next = next.saturating_add(wide(read));
    }
}
