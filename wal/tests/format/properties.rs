//! Round trips of any value, and decoders on any bytes.

use crate::samples::{self, LOG_ID, RECORD_LSN, resealed, seed};
use proptest::array::uniform16;
use proptest::collection::vec;
use proptest::prelude::*;
use siding_wal::Lsn;
use siding_wal::format::{
    BatchHeader, Cause, Compensation, ControlSlot, Decision, DirectoryChunk, DirectoryEntry,
    Discipline, ForkPayload, KeypointBegin, KeypointChunk, KeypointEnd, Kind, Malformed,
    MarkPayload, PreparePayload, RecordHeader, SPtr, SegmentEntry, SegmentHeader, UnitEntry,
    UnitState, decode_record, flags, newest_slot,
};

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn::new)
}

fn sptr() -> impl Strategy<Value = SPtr> {
    (any::<u64>(), any::<u32>()).prop_map(|(extent, offset)| SPtr { extent, offset })
}

fn id() -> impl Strategy<Value = [u8; 16]> {
    uniform16(any::<u8>())
}

fn discipline() -> impl Strategy<Value = Discipline> {
    prop_oneof![Just(Discipline::DeferredApply), Just(Discipline::RepeatHistory)]
}

/// A write unit and a segment size that go together.
fn sizes() -> impl Strategy<Value = (u32, u64)> {
    (9..22_u32, 2..1000_u64).prop_map(|(power, units)| {
        let unit = 1 << power;
        (unit, (u64::from(unit) * units).max(65536).next_multiple_of(unit.into()))
    })
}

prop_compose! {
    fn segment_header()(
        (write_unit, segment_size) in sizes(),
        (compatible, created_ms, number) in (any::<u64>(), any::<u64>(), 0..1_u64 << 30),
        (log_id, path_id, discipline) in (id(), id(), discipline()),
        (incarnation, epoch, kept_digest, unit_block) in any::<(u32, u32, u32, u32)>(),
        (kept_end, oldest, keypoint_begin, keypoint_end) in (lsn(), lsn(), lsn(), lsn()),
    ) -> SegmentHeader {
        SegmentHeader {
            compatible, incompatible: 0, log_id, path_id, discipline, incarnation, epoch,
            write_unit, segment_size, number, kept_end, kept_digest, oldest, keypoint_begin,
            keypoint_end, unit_block, created_ms,
        }
    }
}

prop_compose! {
    fn control_slot()(
        (write_unit, segment_size) in sizes(),
        (sequence, written_ms, clean) in any::<(u64, u64, bool)>(),
        (log_id, path_id, discipline) in (id(), id(), discipline()),
        (incarnation, epoch, unit_block) in any::<(u32, u32, u32)>(),
        (oldest, keypoint_begin, keypoint_end, durable) in (lsn(), lsn(), lsn(), lsn()),
    ) -> ControlSlot {
        ControlSlot {
            sequence, log_id, path_id, discipline, clean, incarnation, epoch, write_unit,
            segment_size, unit_block, oldest, keypoint_begin, keypoint_end, durable, written_ms,
        }
    }
}

prop_compose! {
    fn batch_header()(
        (incarnation, epoch, prev_digest, digest) in any::<(u32, u32, u32, u32)>(),
        (count, room) in (1..5000_u32, 0..5000_u32),
        (at, below) in any::<(u64, u64)>(),
    ) -> BatchHeader {
        BatchHeader {
            incarnation, epoch, lsn: Lsn::new(at.max(below)), len: 48 + 32 * count + 8 * room,
            count, prev_digest, digest, durable_before: Lsn::new(at.min(below)),
        }
    }
}

prop_compose! {
    fn record()(
        code in 1..=18_u8,
        bits in 0..=flags::KNOWN,
        (resource, unit) in any::<(u16, u64)>(),
        (at, prev) in (1..u64::MAX, any::<u64>()),
        payload in vec(any::<u8>(), 0..300),
    ) -> (Lsn, RecordHeader, Vec<u8>) {
        let header = RecordHeader {
            kind: Kind::from_code(code).unwrap(),
            flags: bits,
            resource,
            unit,
            prev: Lsn::new(prev % at),
            ..RecordHeader::of_log(Kind::Data, &payload)
        };
        (Lsn::new(at), header, payload)
    }
}

prop_compose! {
    fn unit_entry()(
        state in prop::sample::select(vec![
            UnitState::InFlight, UnitState::InDoubt, UnitState::Committed, UnitState::Aborted,
            UnitState::BackingOut, UnitState::Ended,
        ]),
        (unit, started_ms, in_doubt_ms, moves) in any::<(u64, u64, u64, u32)>(),
        (main, secondary) in any::<((u64, u64), (u64, u64))>(),
        (head, floor, commit, first, sec) in (lsn(), lsn(), lsn(), lsn(), sptr()),
        gid in vec(any::<u8>(), 0..=255),
    ) -> UnitEntry {
        UnitEntry {
            unit, state, head, floor, sec, moves, commit, first, started_ms, in_doubt_ms, main,
            secondary, gid,
        }
    }
}

fn segment_entry() -> impl Strategy<Value = SegmentEntry> {
    (any::<u64>(), lsn(), lsn()).prop_map(|(number, directory, commit_low)| SegmentEntry {
        number,
        directory,
        commit_low,
    })
}

prop_compose! {
    fn keypoint_chunk()(
        (begin, index) in (lsn(), any::<u32>()),
        units in vec(unit_entry(), 0..20),
        segments in vec(segment_entry(), 0..20),
    ) -> KeypointChunk {
        KeypointChunk { begin, index, units, segments }
    }
}

prop_compose! {
    fn directory()(
        (segment, index, chunks) in any::<(u64, u32, u32)>(),
        units in vec((any::<u64>(), lsn(), lsn(), any::<u64>(), any::<u64>()), 0..40),
    ) -> DirectoryChunk {
        let entry = |(unit, oldest, newest, count, bytes)| {
            DirectoryEntry { unit, oldest, newest, count, bytes }
        };
        DirectoryChunk { segment, index, chunks, units: units.into_iter().map(entry).collect() }
    }
}

/// A payload reads back, whatever follows it; and no shorter part of it is a payload.
fn whole_or_nothing<T: PartialEq + std::fmt::Debug>(
    value: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
) {
    assert_eq!(decode(bytes).as_ref(), Ok(value));
    assert_eq!(decode(&[bytes, b"of a later version"].concat()).as_ref(), Ok(value));
    for len in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len]), Err(Malformed::Short), "{len} of {}", bytes.len());
    }
}

proptest! {
    #[test]
    fn headers_read_back(
        header in segment_header(),
        slot in control_slot(),
        batch in batch_header(),
    ) {
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header.clone()));
        prop_assert_eq!(ControlSlot::decode(&slot.encode()), Ok(slot));
        let bytes = batch.encode(&header.log_id);
        prop_assert_eq!(BatchHeader::decode(&bytes, &header.log_id), Ok(batch));
    }

    #[test]
    fn records_read_back((at, header, payload) in record()) {
        let mut bytes = header.encode(seed(), at).to_vec();
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(decode_record(&bytes, seed(), at), Ok((header, payload.as_slice())));
        prop_assert_eq!(header.padded_len(), bytes.len().next_multiple_of(8));
        bytes.pop();
        prop_assert!(decode_record(&bytes, seed(), at).is_err());
    }

    #[test]
    fn payloads_of_units_read_back(
        (oldest, sec, floor, first) in (lsn(), sptr(), lsn(), lsn()),
        (started_ms, prepared_ms, moves) in (any::<u64>(), any::<u64>(), 1..u32::MAX),
        (moved_count, moved_bytes, chain_hash) in any::<(u64, u64, u64)>(),
        (gid, who) in (vec(any::<u8>(), 1..=255), ".{0,60}"),
        cause in prop::sample::select(vec![
            Cause::Program, Cause::Operator, Cause::Timer, Cause::Drop, Cause::Restart,
            Cause::Coordinator,
        ]),
    ) {
        let prepare = PreparePayload { gid, first, started_ms, prepared_ms };
        whole_or_nothing(&prepare, &prepare.encode(), PreparePayload::decode);
        let decision = Decision { oldest, sec, cause, who };
        whole_or_nothing(&decision, &decision.encode(), Decision::decode);
        let fork = ForkPayload {
            sec, floor, moves, moved_count, moved_bytes, first, started_ms, chain_hash,
        };
        whole_or_nothing(&fork, &fork.encode(), ForkPayload::decode);
    }

    #[test]
    fn a_compensation_reads_back(undo_next in lsn(), body in vec(any::<u8>(), 0..100)) {
        let clr = Compensation { undo_next, body: &body };
        let bytes = clr.encode();
        prop_assert_eq!(Compensation::decode(&bytes), Ok(clr));
        prop_assert_eq!(Compensation::decode(&bytes[..7]), Err(Malformed::Short));
    }

    #[test]
    fn payloads_of_the_log_read_back(
        (begin, redo, oldest, chunk, directory) in
            (lsn(), lsn(), lsn(), keypoint_chunk(), directory()),
        (chunks, table_crc, secondary_digest, backup_id) in any::<(u32, u32, u64, [u8; 16])>(),
        (time_ms, wall_ms) in any::<(u64, u64)>(),
    ) {
        let start = KeypointBegin { redo };
        whole_or_nothing(&start, &start.encode(), KeypointBegin::decode);
        let end =
            KeypointEnd { begin, chunks, table_crc, redo, oldest, secondary_digest, backup_id };
        whole_or_nothing(&end, &end.encode(), KeypointEnd::decode);
        let mark =
            MarkPayload { time_ms, wall_ms, oldest, keypoint_begin: begin, keypoint_end: redo };
        whole_or_nothing(&mark, &mark.encode(), MarkPayload::decode);
        whole_or_nothing(&chunk, &chunk.encode(), KeypointChunk::decode);
        let entries: usize = chunk.units.iter().map(UnitEntry::encoded_len).sum();
        prop_assert_eq!(chunk.encode().len(), 20 + entries + 24 * chunk.segments.len());
        whole_or_nothing(&directory, &directory.encode(), DirectoryChunk::decode);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..1200), at in lsn()) {
        let _ = SegmentHeader::decode(&bytes);
        let _ = ControlSlot::decode(&bytes);
        let _ = newest_slot(&bytes);
        let _ = BatchHeader::decode(&bytes, &LOG_ID);
        let _ = RecordHeader::decode(&bytes, seed(), at);
        let _ = RecordHeader::parse(&bytes);
        let _ = decode_record(&bytes, seed(), at);
        let _ = PreparePayload::decode(&bytes);
        let _ = Decision::decode(&bytes);
        let _ = ForkPayload::decode(&bytes);
        let _ = Compensation::decode(&bytes);
        let _ = KeypointBegin::decode(&bytes);
        let _ = KeypointEnd::decode(&bytes);
        let _ = MarkPayload::decode(&bytes);
        chunks_stay_small(&bytes);
    }

    /// The same with good checksums, so that every field is looked at.
    #[test]
    fn any_fields_are_survived(
        start in 8..508_usize,
        noise in vec(any::<u8>(), 1..40),
        head in any::<[u8; 28]>(),
    ) {
        let over = |bytes: &mut [u8]| {
            let end = bytes.len().min(start + noise.len());
            bytes[start..end].copy_from_slice(&noise[..end - start]);
        };
        let _ = SegmentHeader::decode(&resealed(samples::segment_header().encode().into(), over));
        let _ = ControlSlot::decode(&resealed(samples::control_slot().encode().into(), over));
        let mut bytes = head.to_vec();
        bytes[4] = head[4] % 20;
        bytes[5] = head[5] % 10;
        if let Ok(header) = RecordHeader::parse(&bytes) {
            let bytes = header.encode(seed(), RECORD_LSN);
            let read = RecordHeader::decode(&bytes, seed(), RECORD_LSN);
            prop_assert_eq!(read.is_ok(), header.prev < RECORD_LSN);
            prop_assert!(header.padded_len() >= header.payload_len());
            let _ = decode_record(&bytes, seed(), RECORD_LSN);
        }
    }

    #[test]
    fn chunks_with_any_counts_allocate_no_more_than_they_hold(
        chunk in keypoint_chunk(),
        directory in directory(),
        (units, segments) in any::<(u32, u32)>(),
    ) {
        let mut bytes = chunk.encode();
        bytes[12..16].copy_from_slice(&units.to_le_bytes());
        chunks_stay_small(&bytes);
        bytes[16..20].copy_from_slice(&segments.to_le_bytes());
        chunks_stay_small(&bytes);
        let mut bytes = directory.encode();
        bytes[16..20].copy_from_slice(&units.to_le_bytes());
        chunks_stay_small(&bytes);
    }
}

/// Decodes `bytes` as each kind of chunk and weighs what came out against what went in.
fn chunks_stay_small(bytes: &[u8]) {
    // A vector grows by doubling, from four elements on; an entry with an empty gid is half again
    // as large in memory as on disk.
    let bound = 4 * bytes.len() + 4 * size_of::<UnitEntry>();
    if let Ok(chunk) = KeypointChunk::decode(bytes) {
        let gids: usize = chunk.units.iter().map(|unit| unit.gid.capacity()).sum();
        let units = chunk.units.capacity() * size_of::<UnitEntry>();
        let segments = chunk.segments.capacity() * size_of::<SegmentEntry>();
        assert!(gids + units + segments <= bound, "{gids} + {units} + {segments} > {bound}");
    }
    if let Ok(chunk) = DirectoryChunk::decode(bytes) {
        assert!(chunk.units.capacity() * size_of::<DirectoryEntry>() <= bound);
    }
}

/// A count that nobody checks before allocating would ask for hundreds of gigabytes here.
#[test]
fn the_largest_counts_are_refused_at_once() {
    let mut bytes = samples::keypoint_chunk().encode();
    bytes[12..20].fill(0xFF);
    // The segment entry reads as a unit, and no unit is in such a state.
    assert_eq!(KeypointChunk::decode(&bytes), Err(Malformed::Field("state")));
    bytes[12..16].fill(0);
    assert_eq!(KeypointChunk::decode(&bytes), Err(Malformed::Short));
    let mut bytes = samples::directory().encode();
    bytes[16..20].fill(0xFF);
    assert_eq!(DirectoryChunk::decode(&bytes), Err(Malformed::Short));
}

/// No `who` of 60 characters is longer than its field; the strategy above relies on it.
#[test]
fn sixty_characters_fit_a_who() {
    assert!(60 * char::MAX.len_utf8() <= 255);
}
