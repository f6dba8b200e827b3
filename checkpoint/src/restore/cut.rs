//! A log that ends inside a batch: the batch, encoded anew with fewer records. Pure.
//!
//! The records keep their bytes and their places, for their checksums know position and
//! incarnation and nothing of their neighbours. Length, count, digest and checksum of the batch are
//! made anew; what was known durable when it was formed is as true as before.

use siding_wal::Lsn;
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, LogId, Malformed, RECORD_HEADER_LEN, RecordHeader, disk_len,
    size, wide,
};

/// What is kept of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Header and records, then zeros up to the write unit.
    pub(crate) bytes: Vec<u8>,
    /// Where the next batch would start.
    pub(crate) end: Lsn,
}

/// Why there is no cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncut {
    /// Nothing of the batch lies below the position.
    Nothing,
    /// All of it does.
    Whole,
    /// No record begins or ends there.
    NoBoundary,
    /// These are not the bytes of a whole batch.
    Malformed,
}

impl From<Malformed> for Uncut {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Cuts the batch in front of `bytes`, which was verified, at `to`: what is kept are its records
/// that end at or below `to`.
pub(crate) fn batch(bytes: &[u8], id: &LogId, unit: u32, to: Lsn) -> Result<Kept, Uncut> {
    let header = BatchHeader::decode(bytes, id)?;
    let first = header.lsn.plus(wide(BATCH_HEADER_LEN));
    if to == header.lsn || to == first {
        return Err(Uncut::Nothing);
    }
    let end = header.lsn.plus(u64::from(header.len));
    if to == end || to == header.next(unit) {
        return Err(Uncut::Whole);
    }
    let whole = bytes.get(..size(header.len)).ok_or(Uncut::Malformed)?;
    let (mut at, mut count) = (BATCH_HEADER_LEN, 0_u32);
    let mut digest = crc32c::crc32c(&header.prev_digest.to_le_bytes());
    while header.lsn.plus(wide(at)) < to {
        let record = whole.get(at..).filter(|rest| !rest.is_empty()).ok_or(Uncut::NoBoundary)?;
        let len = RecordHeader::parse(record)?.padded_len();
        let sum = record.get(RECORD_HEADER_LEN - 4..RECORD_HEADER_LEN).unwrap_or_default();
        digest = crc32c::crc32c_append(digest, sum);
        at = at.saturating_add(len);
        count = count.saturating_add(1);
    }
    if header.lsn.plus(wide(at)) != to || count == 0 {
        return Err(Uncut::NoBoundary);
    }
    let header = BatchHeader { len: disk_len(at), count, digest, ..header };
    let mut kept = header.encode(id).to_vec();
    kept.extend_from_slice(whole.get(BATCH_HEADER_LEN..at).ok_or(Uncut::Malformed)?);
    kept.resize(at.next_multiple_of(size(unit.max(1))), 0);
    Ok(Kept { bytes: kept, end: header.next(unit) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siding_wal::disk::{Disk, MemoryDisk};
    use siding_wal::format::{Discipline, Kind, Seed, SegmentHeader};
    use siding_wal::read::{Forward, Segment, Segments, Step};

    const ID: LogId = [7; 16];
    const UNIT: u32 = 512;
    const SIZE: u64 = 64 << 10;

    /// A batch at `lsn` with these payloads, and where each record ends.
    fn made(lsn: u64, prev_digest: u32, payloads: &[Vec<u8>]) -> (BatchHeader, Vec<u8>, Vec<u64>) {
        let (mut bytes, mut ends) = (vec![0; BATCH_HEADER_LEN], Vec::new());
        let mut digest = crc32c::crc32c(&prev_digest.to_le_bytes());
        for payload in payloads {
            let header = RecordHeader::of_log(Kind::Mark, payload);
            let at = lsn + bytes.len() as u64;
            let head = header.encode(Seed::new(&ID, 3), Lsn::new(at));
            digest = crc32c::crc32c_append(digest, &head[28..]);
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(payload);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            ends.push(lsn + bytes.len() as u64);
        }
        let header = BatchHeader {
            incarnation: 3,
            epoch: 1,
            lsn: Lsn::new(lsn),
            len: disk_len(bytes.len()),
            count: disk_len(payloads.len()),
            prev_digest,
            digest,
            durable_before: Lsn::new(512),
        };
        bytes[..BATCH_HEADER_LEN].copy_from_slice(&header.encode(&ID));
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        (header, bytes, ends)
    }

    /// What the scan reads of a segment that holds these bytes behind its header.
    fn scanned(batches: &[u8]) -> (Vec<(Lsn, Vec<u8>)>, Lsn, u32) {
        let header = SegmentHeader {
            compatible: 0,
            incompatible: 0,
            log_id: ID,
            path_id: [1; 16],
            discipline: Discipline::DeferredApply,
            incarnation: 3,
            epoch: 1,
            write_unit: UNIT,
            segment_size: SIZE,
            number: 0,
            kept_end: Lsn::ZERO,
            kept_digest: 0,
            oldest: Lsn::ZERO,
            keypoint_begin: Lsn::ZERO,
            keypoint_end: Lsn::ZERO,
            unit_block: 1,
            created_ms: 0,
        };
        let file = MemoryDisk::new().create("segment").unwrap();
        file.write_at(0, &[&vec![0; usize::try_from(SIZE).unwrap()]], true).unwrap();
        file.write_at(512, &[batches], true).unwrap();
        let mut segments = Segments::new(ID, SIZE);
        segments.insert(Segment { number: 0, header, file });
        let mut scan = Forward::from_segment(&segments, 0).unwrap();
        let mut records = Vec::new();
        while let Step::Batch(_) = scan.next_batch().unwrap() {
            records.extend(scan.records().map(|(lsn, _, payload)| (lsn, payload.to_vec())));
        }
        (records, scan.position(), scan.digest().unwrap())
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8)
    }

    proptest! {
        /// Two batches, the second one cut: what is kept reads back as the same records, all
        /// below the position and nothing else, and a batch behind it would continue.
        #[test]
        fn what_is_kept_reads_back(first in payloads(), second in payloads(), which in 0_usize..8) {
            let (before, mut bytes, _) = made(512, 0, &first);
            let start = before.next(UNIT).get();
            let (header, rest, ends) = made(start, before.digest, &second);
            let to = Lsn::new(ends[which.min(ends.len() - 1)]);
            let whole = scanned(&[bytes.clone(), rest.clone()].concat());
            match batch(&rest, &ID, UNIT, to) {
                Ok(kept) => {
                    prop_assert_eq!(kept.bytes.len() % 512, 0);
                    let end = kept.end;
                    bytes.extend_from_slice(&kept.bytes);
                    // Behind it stood more once; a batch that continues the cut one goes on.
                    let (records, position, digest) = scanned(&bytes);
                    let all = whole.0.iter();
                    let below: Vec<_> = all.filter(|(lsn, _)| *lsn < to).cloned().collect();
                    prop_assert_eq!(&records, &below);
                    prop_assert_eq!(position, end);
                    let (_, next, _) = made(end.get(), digest, &first);
                    bytes.extend_from_slice(&next);
                    prop_assert_eq!(scanned(&bytes).0.len(), below.len() + first.len());
                }
                Err(Uncut::Whole) => prop_assert_eq!(to, header.lsn.plus(u64::from(header.len))),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }

        /// Positions at which no record begins or ends are refused, the others are not.
        #[test]
        fn only_boundaries_are_cut_at(payloads in payloads(), off in 0_u64..3_000) {
            let (header, bytes, ends) = made(1024, 9, &payloads);
            let to = header.lsn.plus(off);
            let expected = match to.get() {
                1024 | 1072 => Some(Uncut::Nothing),
                at if at == *ends.last().unwrap() || to == header.next(UNIT) => Some(Uncut::Whole),
                at if ends.contains(&at) => None,
                _ => Some(Uncut::NoBoundary),
            };
            prop_assert_eq!(batch(&bytes, &ID, UNIT, to).err(), expected);
        }
    }
}
