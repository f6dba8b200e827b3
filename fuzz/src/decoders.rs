//! Single structures: bytes in, values out, and the same bytes again.

use crate::files::disk;
use crate::seal;
use siding_wal::Lsn;
use siding_wal::format::{
    Compensation, ControlSlot, Decision, DirectoryChunk, Discipline, ForkPayload, KeypointBegin,
    KeypointChunk, KeypointEnd, MarkPayload, PreparePayload, RecordHeader, Seed, SegmentHeader,
    decode_record, newest_slot, parse_segment_name, segment_file_name,
};
use siding_wal::read::{Step, survey};

const ID: [u8; 16] = *b"siding fuzz log.";

/// Up to eight bytes in front as a number.
fn take(data: &mut &[u8], len: usize) -> u64 {
    let (front, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    front.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A record anywhere: its checksums as given, or put right.
pub fn record(mut data: &[u8]) {
    let sealed = take(&mut data, 1) % 2 == 1;
    let incarnation = u32::try_from(take(&mut data, 4)).unwrap_or(0);
    let lsn = take(&mut data, 8);
    let mut bytes = data.to_vec();
    if sealed {
        seal::record(&mut bytes, &ID, incarnation, lsn);
    }
    let seed = Seed::new(&ID, incarnation);
    let _ = RecordHeader::parse(&bytes);
    let Ok((header, payload)) = decode_record(&bytes, seed, Lsn::new(lsn)) else { return };
    assert_eq!(header.payload_len(), payload.len());
    assert!(header.prev.is_zero() || header.prev < Lsn::new(lsn), "a chain goes back");
    assert_eq!(header.encode(seed, Lsn::new(lsn)), bytes[..32]);
    assert!(header.padded_len() >= 32 + payload.len() && header.padded_len() % 8 == 0);
}

/// Batches in an otherwise sound segment, by the scan that restart makes.
pub fn batch(mut data: &[u8]) {
    const UNIT: usize = 512;
    const SIZE: u64 = 64 << 10;
    let sealed = take(&mut data, 1) % 2 == 1;
    let number = take(&mut data, 1);
    let first = number * SIZE;
    let header = SegmentHeader {
        compatible: 0,
        incompatible: 0,
        log_id: ID,
        path_id: ID,
        discipline: Discipline::DeferredApply,
        incarnation: 1,
        epoch: 1,
        write_unit: 512,
        segment_size: SIZE,
        number,
        kept_end: Lsn::new(first),
        kept_digest: 0,
        oldest: Lsn::new(first),
        keypoint_begin: Lsn::ZERO,
        keypoint_end: Lsn::ZERO,
        unit_block: 1,
        created_ms: 0,
    };
    let mut segment = header.encode().to_vec();
    segment.resize(UNIT, 0);
    segment.extend_from_slice(data);
    segment.resize(64 << 10, 0);
    if sealed {
        seal::batches(&mut segment, &ID, first, UNIT, 0);
    }
    let disk = disk(&[(segment_file_name(number), segment)]).expect("a directory in memory");
    let Ok(found) = survey(&disk) else { return };
    let Ok(mut scan) = found.scan() else { return };
    let mut position = Lsn::ZERO;
    while let Ok(Step::Batch(batch)) = scan.next_batch() {
        assert!(batch.lsn >= position, "a scan goes on");
        position = batch.next(512);
        let records: Vec<_> = scan.records().collect();
        assert_eq!(records.len(), usize::try_from(batch.count).unwrap_or(usize::MAX));
    }
}

/// Decodes, and what was decoded must survive being written.
macro_rules! both_ways {
    ($data:expr, $($kind:ty),*) => {$(
        if let Ok(value) = <$kind>::decode($data) {
            let bytes = value.encode();
            assert_eq!(<$kind>::decode(&bytes).as_ref(), Ok(&value));
            assert!(bytes.len() <= $data.len() * 4 + 64, "no more than its bytes account for");
        }
    )*};
}

/// What control records, control slots and segment headers carry.
pub fn payloads(data: &[u8]) {
    both_ways!(
        data,
        PreparePayload,
        ForkPayload,
        MarkPayload,
        KeypointBegin,
        KeypointChunk,
        KeypointEnd,
        DirectoryChunk,
        ControlSlot
    );
    if let Ok(value) = Decision::decode(data) {
        let again = Decision::decode(&value.encode()).expect("it was written here");
        // A name that is no text is shown as well as it can be, and may be longer so.
        assert!(value.who.starts_with(&again.who), "{again:?}");
        assert_eq!(again, Decision { who: again.who.clone(), ..value });
    }
    if let Ok(value) = Compensation::decode(data) {
        assert_eq!(value.encode(), data);
    }
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
    let _ = newest_slot(data);
    if let Some(number) = std::str::from_utf8(data).ok().and_then(parse_segment_name) {
        assert_eq!(segment_file_name(number).as_bytes(), data);
    }
    let mut sealed = data.to_vec();
    seal::control(&mut sealed);
    seal::segment(&mut sealed);
    both_ways!(&sealed[..], ControlSlot);
    if let Ok(header) = SegmentHeader::decode(&sealed) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
}
