//! Fields under a good checksum that still cannot be, and some that look odd and can.

use crate::samples::{
    RECORD_LSN, batch_of, control_slot, data_header, resealed, seed, segment_header,
};
use siding_wal::Lsn;
use siding_wal::format::{
    BatchHeader, Cause, ControlSlot, Decision, HeaderError, Malformed, RecordHeader, SPtr,
    SegmentHeader, VERSION, padded_record_len,
};

fn changed_header(change: impl FnOnce(&mut [u8])) -> Result<SegmentHeader, HeaderError> {
    SegmentHeader::decode(&resealed(segment_header().encode().to_vec(), change))
}

fn changed_slot(change: impl FnOnce(&mut [u8])) -> Result<ControlSlot, Malformed> {
    ControlSlot::decode(&resealed(control_slot().encode().to_vec(), change))
}

fn header_field(name: &'static str) -> Result<SegmentHeader, HeaderError> {
    Err(HeaderError::Malformed(Malformed::Field(name)))
}

#[test]
fn a_segment_header_of_version_0_is_refused() {
    assert_eq!(changed_header(|bytes| bytes[8..12].fill(0)), header_field("version"));
    let newer = VERSION + 1;
    let result = changed_header(|bytes| bytes[8..12].copy_from_slice(&newer.to_le_bytes()));
    assert_eq!(result, Err(HeaderError::Version(newer)));
}

#[test]
fn a_segment_header_of_another_length_is_refused() {
    assert_eq!(changed_header(|bytes| bytes[12] = 4), header_field("len"));
}

#[test]
fn an_unknown_feature_is_named_even_if_it_uses_reserved_fields() {
    let result = changed_header(|bytes| {
        bytes[24] = 0x40;
        // What a feature of a later version may do: another discipline, a compression code.
        bytes[64..66].fill(9);
    });
    assert_eq!(result, Err(HeaderError::Feature(0x40)));
}

#[test]
fn reserved_codes_without_a_feature_are_refused() {
    for at in 65..68 {
        assert_eq!(changed_header(|bytes| bytes[at] = 1), header_field("reserved"));
    }
}

#[test]
fn a_first_lsn_that_is_not_number_times_size_is_refused() {
    assert_eq!(changed_header(|bytes| bytes[96] ^= 8), header_field("first_lsn"));
}

#[test]
fn a_segment_that_would_end_beyond_the_last_lsn_is_refused() {
    let size = segment_header().segment_size;
    let last = u64::MAX / size - 1;
    let header = SegmentHeader { number: last, ..segment_header() };
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    let header = SegmentHeader { number: last + 1, ..segment_header() };
    assert_eq!(SegmentHeader::decode(&header.encode()), header_field("number"));
}

#[test]
fn a_write_unit_is_a_power_of_two_that_leaves_room_for_a_batch() {
    let decode = |write_unit, segment_size| {
        let header = SegmentHeader { write_unit, segment_size, ..segment_header() };
        let slot = ControlSlot { write_unit, segment_size, ..control_slot() };
        let (header, slot) =
            (SegmentHeader::decode(&header.encode()), ControlSlot::decode(&slot.encode()));
        // The two are told the same sizes and must agree on what can be.
        match slot {
            Ok(_) => assert!(header.is_ok()),
            Err(malformed) => assert_eq!(header, Err(HeaderError::Malformed(malformed))),
        }
        header.map(|_| ())
    };
    let bad = |name| Err(HeaderError::Malformed(Malformed::Field(name)));
    for unit in [512, 4096, 32 << 10] {
        assert_eq!(decode(unit, 64 << 10), Ok(()));
    }
    // A page cache may work in folios of 64 KiB and more.
    assert_eq!(decode(64 << 10, 64 << 20), Ok(()));
    assert_eq!(decode(2 << 20, 64 << 20), Ok(()));
    for unit in [0, 1, 256, 513, 4095, u32::MAX] {
        assert_eq!(decode(unit, 64 << 20), bad("write_unit"));
    }
    assert_eq!(decode(64 << 10, 64 << 10), bad("write_unit"));
    for size in [0, 4096, (64 << 10) - 512, (64 << 10) + 512, u64::MAX] {
        assert_eq!(decode(4096, size), bad("segment_size"));
    }
}

#[test]
fn a_control_slot_is_clean_or_not() {
    assert_eq!(changed_slot(|bytes| bytes[57] = 0).map(|slot| slot.clean), Ok(false));
    assert_eq!(changed_slot(|bytes| bytes[57] = 2), Err(Malformed::Field("clean")));
}

#[test]
fn a_control_slot_of_another_length_is_refused() {
    assert_eq!(changed_slot(|bytes| bytes[12] = 4), Err(Malformed::Field("len")));
}

#[test]
fn a_batch_has_no_more_records_than_its_bytes_can_hold() {
    let decode = |count, records| {
        let header = batch_of(count, records);
        BatchHeader::decode(&header.encode(&super::samples::LOG_ID), &super::samples::LOG_ID)
            .map(|read| assert_eq!(read, header))
    };
    assert_eq!(decode(2, 64), Ok(()));
    assert_eq!(decode(3, 64), Err(Malformed::Field("count")));
    assert_eq!(decode(u32::MAX, 64), Err(Malformed::Field("count")));
    assert_eq!(decode(0, 64), Err(Malformed::Field("count")));
    assert_eq!(decode(0, 0), Err(Malformed::Field("count")));
}

#[test]
fn a_chain_never_points_forward() {
    let at = |prev| {
        let header = RecordHeader { prev, ..data_header(b"") };
        RecordHeader::decode(&header.encode(seed(), RECORD_LSN), seed(), RECORD_LSN)
            .map(|read| assert_eq!(read, header))
    };
    assert_eq!(at(Lsn::ZERO), Ok(()));
    assert_eq!(at(Lsn::new(RECORD_LSN.get() - 8)), Ok(()));
    assert_eq!(at(RECORD_LSN), Err(Malformed::Field("prev")));
    assert_eq!(at(RECORD_LSN.plus(8)), Err(Malformed::Field("prev")));
    assert_eq!(at(Lsn::MAX), Err(Malformed::Field("prev")));
}

#[test]
fn the_room_a_record_takes_is_known_for_any_length() {
    assert_eq!([0, 1, 8, 9].map(padded_record_len), [32, 40, 40, 48]);
    assert!(padded_record_len(usize::MAX) >= usize::MAX - 7);
}

#[test]
fn a_name_that_is_too_long_is_cut_between_characters() {
    let decision = Decision {
        oldest: Lsn::new(8),
        sec: SPtr::NONE,
        cause: Cause::Operator,
        who: "é".repeat(200),
    };
    let read = Decision::decode(&decision.encode()).unwrap();
    assert_eq!(read.who, "é".repeat(127));
}
