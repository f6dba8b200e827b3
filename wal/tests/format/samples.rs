//! One value of each structure, every field with a value of its own.

use siding_wal::Lsn;
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, ControlSlot, Discipline, Kind, LogId, RecordHeader, Seed,
    SegmentHeader,
};

pub(crate) const LOG_ID: LogId = *b"siding-log-id-01";
pub(crate) const PATH_ID: [u8; 16] = *b"siding-path-id-1";
pub(crate) const INCARNATION: u32 = 0x0102_0304;

/// Where the sample of a record stands.
pub(crate) const RECORD_LSN: Lsn = Lsn::new(0x0011_2233_4455_6600);

pub(crate) fn seed() -> Seed {
    Seed::new(&LOG_ID, INCARNATION)
}

pub(crate) fn segment_header() -> SegmentHeader {
    SegmentHeader {
        compatible: 0x1112_1314_1516_1718,
        incompatible: 0,
        log_id: LOG_ID,
        path_id: PATH_ID,
        discipline: Discipline::RepeatHistory,
        incarnation: INCARNATION,
        epoch: 0x2122_2324,
        write_unit: 4096,
        segment_size: 0x0400_0000,
        number: 0x31_3233_3435,
        kept_end: Lsn::new(0x4142_4344_4546_4748),
        kept_digest: 0x5152_5354,
        oldest: Lsn::new(0x6162_6364_6566_6768),
        keypoint_begin: Lsn::new(0x7172_7374_7576_7778),
        keypoint_end: Lsn::new(0x8182_8384_8586_8788),
        unit_block: 0x9192_9394,
        created_ms: 0xA1A2_A3A4_A5A6_A7A8,
    }
}

pub(crate) fn control_slot() -> ControlSlot {
    ControlSlot {
        sequence: 0x1112_1314_1516_1719,
        log_id: LOG_ID,
        path_id: PATH_ID,
        discipline: Discipline::RepeatHistory,
        clean: true,
        incarnation: INCARNATION,
        epoch: 0x2122_2324,
        write_unit: 4096,
        segment_size: 0x0400_0000,
        unit_block: 0x9192_9394,
        oldest: Lsn::new(0x6162_6364_6566_6768),
        keypoint_begin: Lsn::new(0x7172_7374_7576_7778),
        keypoint_end: Lsn::new(0x8182_8384_8586_8788),
        durable: Lsn::new(0x9192_9394_9596_9798),
        written_ms: 0xA1A2_A3A4_A5A6_A7A8,
    }
}

pub(crate) fn batch_header() -> BatchHeader {
    BatchHeader {
        incarnation: INCARNATION,
        epoch: 0x2122_2324,
        lsn: Lsn::new(0x3132_3334_3536_3738),
        len: 0x0041_4240,
        count: 0x0000_5152,
        prev_digest: 0x6162_6364,
        digest: 0x7172_7374,
        durable_before: Lsn::new(0x1132_3334_3536_3738),
    }
}

/// The header of a DATA record with this payload.
pub(crate) fn data_header(payload: &[u8]) -> RecordHeader {
    RecordHeader {
        resource: 0x2122,
        unit: 0x3132_3334_3536_3738,
        prev: Lsn::new(0x0011_2233_4455_6500),
        ..RecordHeader::of_log(Kind::Data, payload)
    }
}

/// Bytes that end with the checksum over all before it, after `change` was made to them.
pub(crate) fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let at = bytes.len() - 4;
    change(&mut bytes[..at]);
    let crc = crc32c::crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A batch header with this count, in a batch that has `len` bytes.
pub(crate) fn batch_of(count: u32, records: u32) -> BatchHeader {
    let len = u32::try_from(BATCH_HEADER_LEN).unwrap() + records;
    BatchHeader { count, len, ..batch_header() }
}
