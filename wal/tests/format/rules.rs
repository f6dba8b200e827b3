//! Fields under a good checksum that still cannot be, and some that look odd and can.

use crate::samples::{
    self, LOG_ID, RECORD_LSN, batch_of, control_slot, data_header, resealed, seed, segment_header,
};
use siding_wal::Lsn;
use siding_wal::format::{
    BatchHeader, CONTROL_LEN, Cause, ControlSlot, Decision, ForkPayload, HeaderError, Malformed,
    PreparePayload, RecordHeader, RestoredNote, SPtr, SegmentHeader, VERSION, decode_record,
    newest_slot, padded_record_len,
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
fn a_note_of_a_restore_that_cannot_be_is_refused() {
    let changed = |change: fn(&mut RestoredNote)| {
        let mut note = samples::restored();
        change(&mut note);
        RestoredNote::decode(&note.encode())
    };
    assert_eq!(changed(|_| ()), Ok(samples::restored()));
    let field = |name| Err(Malformed::Field(name));
    assert_eq!(changed(|note| note.target = note.keypoint_end), field("target"));
    assert_eq!(changed(|note| note.keypoint_end = note.keypoint_begin), field("target"));
    assert_eq!(changed(|note| note.redo = note.target.plus(1)), field("redo"));
    let sealed = |at: usize, byte| {
        let bytes = resealed(samples::restored().encode().to_vec(), |bytes| bytes[at] = byte);
        RestoredNote::decode(&bytes)
    };
    assert_eq!(sealed(0, b'X'), field("magic"));
    assert_eq!(sealed(8, 2), Err(Malformed::Version(2)));
    assert_eq!(sealed(8, 0), field("version"));
    assert_eq!(sealed(12, 64), field("len"));
}

#[test]
fn a_control_slot_of_another_length_is_refused() {
    assert_eq!(changed_slot(|bytes| bytes[12] = 4), Err(Malformed::Field("len")));
}

#[test]
fn a_batch_has_no_more_records_than_its_bytes_can_hold() {
    let decode = |count, records| {
        let header = batch_of(count, records);
        BatchHeader::decode(&header.encode(&LOG_ID), &LOG_ID).map(|read| assert_eq!(read, header))
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

#[test]
fn a_discipline_is_known() {
    for code in [0, 3, 255] {
        assert_eq!(changed_header(|bytes| bytes[64] = code), header_field("discipline"));
        assert_eq!(changed_slot(|bytes| bytes[56] = code), Err(Malformed::Field("discipline")));
    }
}

#[test]
fn other_magic_under_a_good_checksum_is_another_format() {
    assert_eq!(changed_header(|bytes| bytes[0] = b'X'), Err(HeaderError::Foreign));
    assert_eq!(changed_slot(|bytes| bytes[0] = b'X'), Err(Malformed::Field("magic")));
    let mut batch = samples::batch_header().encode(&LOG_ID);
    batch[0] = b'X';
    let crc = crc32c::crc32c(&[&LOG_ID, &batch[..44]].concat());
    batch[44..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(BatchHeader::decode(&batch, &LOG_ID), Err(Malformed::Field("magic")));
}

#[test]
fn a_control_file_of_a_newer_version_is_named_and_not_called_torn() {
    assert_eq!(changed_slot(|bytes| bytes[8] = 0), Err(Malformed::Field("version")));
    assert_eq!(changed_slot(|bytes| bytes[8] = 2), Err(Malformed::Version(2)));
    let newer = resealed(control_slot().encode().to_vec(), |bytes| bytes[8] = 2);
    let mut file = vec![0; CONTROL_LEN];
    assert_eq!(newest_slot(&file), Ok(None));
    file[..512].copy_from_slice(&control_slot().encode());
    assert_eq!(newest_slot(&file), Ok(Some(control_slot())));
    file[4096..4608].copy_from_slice(&newer);
    assert_eq!(newest_slot(&file), Err(Malformed::Version(2)));
}

#[test]
fn the_slot_with_the_larger_sequence_counts_wherever_it_stands() {
    let slot = |sequence| ControlSlot { sequence, ..control_slot() };
    for (first, second) in [(1, 2), (2, 1), (7, 0)] {
        let mut file = vec![0; CONTROL_LEN];
        file[..512].copy_from_slice(&slot(first).encode());
        file[4096..4608].copy_from_slice(&slot(second).encode());
        assert_eq!(newest_slot(&file), Ok(Some(slot(first.max(second)))));
    }
}

#[test]
fn a_batch_is_as_long_as_a_header_and_whole_records() {
    let decode = |header: BatchHeader| BatchHeader::decode(&header.encode(&LOG_ID), &LOG_ID);
    for len in [0, 40, 47, 81, 84, 87] {
        let header = BatchHeader { len, ..batch_of(1, 32) };
        assert_eq!(decode(header), Err(Malformed::Field("len")), "{len}");
    }
    let header = batch_of(1, 32);
    let own = BatchHeader { durable_before: header.lsn, ..header };
    assert_eq!(decode(own), Ok(own));
    let beyond = BatchHeader { durable_before: header.lsn.plus(8), ..header };
    assert_eq!(decode(beyond), Err(Malformed::Field("durable_before")));
}

#[test]
fn a_record_has_a_length_a_kind_and_flags_that_can_be() {
    let with = |change: fn(&mut [u8])| {
        let mut bytes = data_header(b"payload").encode(seed(), RECORD_LSN).to_vec();
        change(&mut bytes);
        RecordHeader::parse(&bytes)
    };
    assert_eq!(with(|_| ()), Ok(data_header(b"payload")));
    assert_eq!(with(|bytes| bytes[0] = 31), Err(Malformed::Field("len")));
    assert_eq!(with(|bytes| bytes[4] = 0), Err(Malformed::Field("kind")));
    assert_eq!(with(|bytes| bytes[4] = 19), Err(Malformed::Field("kind")));
    assert_eq!(with(|bytes| bytes[5] = 8), Err(Malformed::Field("flags")));
    assert_eq!(with(|bytes| bytes[5] = 128), Err(Malformed::Field("flags")));
    let zeros = decode_record(&[0; 64], seed(), RECORD_LSN);
    assert_eq!(zeros, Err(Malformed::Checksum));
}

#[test]
fn a_gid_has_a_byte_and_a_fork_has_moved() {
    let prepare = PreparePayload { gid: Vec::new(), ..samples::prepare() };
    assert_eq!(PreparePayload::decode(&prepare.encode()), Err(Malformed::Field("gid")));
    let fork = ForkPayload { moves: 0, ..samples::fork() };
    assert_eq!(ForkPayload::decode(&fork.encode()), Err(Malformed::Field("moves")));
}

#[test]
fn a_header_torn_over_zeros_is_damaged_and_not_foreign() {
    let mut bytes = segment_header().encode();
    // Any part of the magic may have got there, in any order.
    for present in 0..255_u32 {
        let magic: Vec<u8> =
            (0..8).map(|at| if present >> at & 1 == 1 { b"SIDINGLG"[at] } else { 0 }).collect();
        bytes[..8].copy_from_slice(&magic);
        assert_eq!(SegmentHeader::decode(&bytes), header_field("magic"));
        bytes[usize::try_from(present.trailing_ones()).unwrap()] = b'X';
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Foreign));
    }
}
