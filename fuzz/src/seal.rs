//! Checksums put right: what stands behind them is reached only if they hold.

use siding_wal::format::{
    BATCH_HEADER_LEN, CONTROL_LEN, CONTROL_SLOT_LEN, EXTENT_FILE_HEADER_LEN, EXTENT_HEAD_LEN,
    ExtentFileHeader, ExtentPlace, HEADER_LEN, LogId, RESTORED_LEN, SPtr,
};

const RECORD_HEADER_LEN: usize = 32;

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

/// The checksum behind the first `len` bytes.
fn seal_front(bytes: &mut [u8], len: usize) {
    if let Some(front) = bytes.get(..len) {
        let crc = crc32c::crc32c(front);
        put(bytes, len, crc);
    }
}

/// Both slots of a control file.
pub(crate) fn control(bytes: &mut [u8]) {
    seal_front(bytes, CONTROL_SLOT_LEN - 4);
    if let Some(second) = bytes.get_mut(CONTROL_LEN / 2..) {
        seal_front(second, CONTROL_SLOT_LEN - 4);
    }
}

/// The note of a restore.
pub(crate) fn note(bytes: &mut [u8]) {
    seal_front(bytes, RESTORED_LEN - 4);
}

/// The header of a segment.
pub(crate) fn segment(bytes: &mut [u8]) {
    seal_front(bytes, HEADER_LEN - 4);
}

/// The header of an extent file.
pub(crate) fn extent_file(bytes: &mut [u8]) {
    seal_front(bytes, EXTENT_FILE_HEADER_LEN - 4);
}

/// The extent in front of `bytes`, its copies and its table, as it would stand at `place`.
pub(crate) fn extent(bytes: &mut [u8], place: &ExtentPlace) {
    let mut table = Vec::new();
    let mut at = EXTENT_HEAD_LEN;
    for _ in 0..number(bytes, 28).unwrap_or(0).min(1000) {
        table.extend_from_slice(&u32::try_from(at).unwrap_or(0).to_le_bytes());
        let Some(end) = copy(bytes, at) else { break };
        at = end;
    }
    table.resize(table.len().next_multiple_of(8), 0);
    if let Some(stands) = bytes.get_mut(at..at + table.len()) {
        stands.copy_from_slice(&table);
        put(bytes, 32, u32::try_from(at + table.len()).unwrap_or(0));
    }
    let len = usize::try_from(number(bytes, 32).unwrap_or(0)).unwrap_or(0);
    if let Some(body) = bytes.get(EXTENT_HEAD_LEN..len) {
        let crc = crc32c::crc32c(body);
        put(bytes, 36, crc);
    }
    let crc = crc32c::crc32c(&place.log_id);
    let crc = crc32c::crc32c_append(crc, &place.at.extent.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &place.at.offset.to_le_bytes());
    if let Some(head) = bytes.get(..EXTENT_HEAD_LEN - 4) {
        let crc = crc32c::crc32c_append(crc, head);
        put(bytes, EXTENT_HEAD_LEN - 4, crc);
    }
}

/// Where extents start in their file, as far as lengths lead.
pub(crate) fn extents(file: &[u8]) -> Vec<usize> {
    let unit = number(file, 12).and_then(|unit| usize::try_from(unit).ok()).unwrap_or(512);
    let mut places = Vec::new();
    let mut at = unit.clamp(512, 1 << 16);
    while at < file.len() {
        let len = number(file, at + 32).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        if file.get(at..at + 4) == Some(b"XTNT") {
            places.push(at);
            at = at.saturating_add(len.max(EXTENT_HEAD_LEN).next_multiple_of(8));
        } else {
            // A sync pads.
            at = (at + 1).next_multiple_of(512);
        }
    }
    places
}

/// The header and every extent of a file of this number.
pub(crate) fn all_extents(file: &mut [u8], number: u64) {
    extent_file(file);
    let Ok(header) = ExtentFileHeader::decode(file) else { return };
    for start in extents(file) {
        let at = SPtr { extent: number, offset: u32::try_from(start / 8).unwrap_or(0) };
        if let Some(bytes) = file.get_mut(start..) {
            extent(bytes, &ExtentPlace { log_id: header.log_id, at });
        }
    }
}

/// The copy at `at`; returns where it ends.
fn copy(bytes: &mut [u8], at: usize) -> Option<usize> {
    let record = at.checked_add(8)?;
    let len = usize::try_from(number(bytes, record)?).ok()?;
    let end = record.checked_add(len)?;
    let crc = crc32c::crc32c(bytes.get(record + RECORD_HEADER_LEN..end)?);
    put(bytes, record + 24, crc);
    Some(record + len.next_multiple_of(8))
}

/// The record in front of `bytes` as it would stand at `lsn`; returns the bytes it takes.
pub(crate) fn record(bytes: &mut [u8], id: &LogId, incarnation: u32, lsn: u64) -> Option<usize> {
    let len = usize::try_from(number(bytes, 0)?).ok()?;
    let crc = crc32c::crc32c(bytes.get(RECORD_HEADER_LEN..len)?);
    put(bytes, 24, crc);
    let crc = crc32c::crc32c_append(crc32c::crc32c(id), &incarnation.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &lsn.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, bytes.get(..28)?);
    put(bytes, 28, crc);
    Some(len.next_multiple_of(8))
}

/// The batch in front of `bytes` and its records as they would stand at `lsn`, behind a batch
/// with the digest `before`; returns its digest and its length without padding.
pub(crate) fn batch(bytes: &mut [u8], id: &LogId, lsn: u64, before: u32) -> Option<(u32, usize)> {
    let incarnation = number(bytes, 4)?;
    let len = usize::try_from(number(bytes, 20)?).ok()?;
    let mut digest = crc32c::crc32c(&before.to_le_bytes());
    let mut at = BATCH_HEADER_LEN;
    let mut count = 0;
    while at < len {
        let stands = lsn.wrapping_add(u64::try_from(at).ok()?);
        let record = bytes.get_mut(at..len)?;
        let padded = self::record(record, id, incarnation, stands)?;
        digest = crc32c::crc32c_append(digest, record.get(28..32)?);
        at = at.checked_add(padded)?;
        count += 1;
    }
    bytes.get_mut(12..20)?.copy_from_slice(&lsn.to_le_bytes());
    put(bytes, 24, count);
    put(bytes, 28, before);
    put(bytes, 32, digest);
    let crc = crc32c::crc32c_append(crc32c::crc32c(id), bytes.get(..44)?);
    put(bytes, 44, crc);
    Some((digest, len))
}

/// Every batch of a segment that starts at `first`, one behind the other, as far as they go.
pub(crate) fn batches(segment: &mut [u8], id: &LogId, first: u64, unit: usize, before: u32) {
    let mut at = unit;
    let mut digest = before;
    while let Some(rest) = segment.get_mut(at..) {
        let lsn = first.wrapping_add(u64::try_from(at).unwrap_or(0));
        let Some((next, len)) = batch(rest, id, lsn, digest) else { break };
        digest = next;
        at += len.max(1).next_multiple_of(unit.max(512));
    }
}

/// Where batches and records start in a segment, as far as lengths lead; `own`: batches and the
/// records that the log itself wrote.
pub(crate) fn places(segment: &[u8], own: bool) -> Vec<usize> {
    const DATA: u8 = 1;
    let mut places = Vec::new();
    let mut at = 512;
    while let Some(len) = number(segment, at + 20).and_then(|len| usize::try_from(len).ok()) {
        let end = at + len.clamp(BATCH_HEADER_LEN, 1 << 20);
        places.push(at);
        let mut record = at + BATCH_HEADER_LEN;
        while let (Some(len), Some(kind)) = (number(segment, record), segment.get(record + 4)) {
            if record >= end {
                break;
            }
            if !own || *kind != DATA {
                places.push(record);
            }
            record += usize::try_from(len).unwrap_or(0).clamp(8, 1 << 20).next_multiple_of(8);
        }
        at = end.next_multiple_of(512);
        if len == 0 {
            break;
        }
    }
    places
}
