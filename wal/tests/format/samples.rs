//! One value of each structure, every field with a value of its own.

use siding_wal::Lsn;
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, Cause, Compensation, ControlSlot, Decision, DirectoryChunk,
    DirectoryEntry, Discipline, ExtentFileHeader, ExtentHead, ExtentPlace, ForkPayload,
    KeypointBegin, KeypointChunk, KeypointEnd, Kind, LogId, MarkPayload, Packer, PreparePayload,
    RecordHeader, RestoredNote, SPtr, Seed, SegmentEntry, SegmentHeader, UnitEntry, UnitState,
    label_payload,
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

pub(crate) fn restored() -> RestoredNote {
    RestoredNote {
        log_id: LOG_ID,
        backup_id: *b"siding-backup-01",
        keypoint_begin: Lsn::new(0x3132_3334_3536_3738),
        keypoint_end: Lsn::new(0x4142_4344_4546_4748),
        target: Lsn::new(0x6162_6364_6566_6768),
        redo: Lsn::new(0x2122_2324_2526_2728),
        incarnation: INCARNATION,
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

pub(crate) fn compensation() -> Compensation<'static> {
    Compensation { undo_next: Lsn::new(0x1112_1314_1516_1718), body: b"put 30 back" }
}

pub(crate) fn prepare() -> PreparePayload {
    PreparePayload {
        gid: b"transfer-7".to_vec(),
        first: Lsn::new(0x1112_1314_1516_1718),
        started_ms: 0x2122_2324_2526_2728,
        prepared_ms: 0x3132_3334_3536_3738,
    }
}

pub(crate) fn decision() -> Decision {
    Decision {
        oldest: Lsn::new(0x1112_1314_1516_1718),
        sec: SPtr { extent: 0x2122_2324_2526_2728, offset: 0x3132_3334 },
        cause: Cause::Operator,
        who: "Zoë at the console".to_owned(),
    }
}

pub(crate) fn fork() -> ForkPayload {
    ForkPayload {
        sec: SPtr { extent: 0x1112_1314_1516_1718, offset: 0x2122_2324 },
        floor: Lsn::new(0x3132_3334_3536_3738),
        moves: 0x4142_4344,
        moved_count: 0x5152_5354_5556_5758,
        moved_bytes: 0x6162_6364_6566_6768,
        first: Lsn::new(0x7172_7374_7576_7778),
        started_ms: 0x8182_8384_8586_8788,
        chain_hash: 0x9192_9394_9596_9798,
    }
}

pub(crate) fn extent_file_header() -> ExtentFileHeader {
    ExtentFileHeader { log_id: LOG_ID, number: 0x1112_1314_1516_1718, write_unit: 4096 }
}

/// Where the sample of an extent stands.
pub(crate) fn extent_place() -> ExtentPlace {
    let at = SPtr { extent: 0x1112_1314_1516_1718, offset: 0x2122_2324 };
    ExtentPlace { log_id: LOG_ID, at }
}

/// The payloads of the copies in the sample of an extent.
pub(crate) const COPIES: [&[u8]; 3] = [b"alice -30", b"", b"bob +30, and so on"];

/// An extent with older ones behind it: its head and its bytes.
pub(crate) fn extent() -> (ExtentHead, Vec<u8>) {
    let behind = SPtr { extent: 0x0102_0304_0506_0708, offset: 0x3132_3334 };
    let behind = Some((behind, 0x4142_4344_4546_4748, 0x5152_5354));
    let unit = data_header(b"").unit;
    let mut packer = Packer::new(unit, 0x6162_6364, behind);
    for (lsn, payload) in (1..).map(|step| RECORD_LSN.plus(step * 256)).zip(COPIES) {
        let mut record = data_header(payload).encode(seed(), lsn).to_vec();
        record.extend_from_slice(payload);
        packer.push(lsn, &record);
    }
    packer.seal(&extent_place())
}

pub(crate) fn label() -> Vec<u8> {
    label_payload(&mark(), "before the import")
}

pub(crate) fn mark() -> MarkPayload {
    MarkPayload {
        time_ms: 0x1112_1314_1516_1718,
        wall_ms: 0x2122_2324_2526_2728,
        oldest: Lsn::new(0x3132_3334_3536_3738),
        keypoint_begin: Lsn::new(0x4142_4344_4546_4748),
        keypoint_end: Lsn::new(0x5152_5354_5556_5758),
    }
}

pub(crate) fn keypoint_begin() -> KeypointBegin {
    KeypointBegin { redo: Lsn::new(0x1112_1314_1516_1718) }
}

pub(crate) fn unit_entry() -> UnitEntry {
    UnitEntry {
        unit: 0x1112_1314_1516_1718,
        state: UnitState::BackingOut,
        head: Lsn::new(0x2122_2324_2526_2728),
        floor: Lsn::new(0x3132_3334_3536_3738),
        sec: SPtr { extent: 0x4142_4344_4546_4748, offset: 0x5152_5354 },
        moves: 0x6162_6364,
        commit: Lsn::new(0x7172_7374_7576_7778),
        first: Lsn::new(0x8182_8384_8586_8788),
        started_ms: 0x9192_9394_9596_9798,
        in_doubt_ms: 0xA1A2_A3A4_A5A6_A7A8,
        main: (0xB1B2_B3B4_B5B6_B7B8, 0xC1C2_C3C4_C5C6_C7C8),
        secondary: (0xD1D2_D3D4_D5D6_D7D8, 0xE1E2_E3E4_E5E6_E7E8),
        gid: b"transfer-7".to_vec(),
    }
}

pub(crate) fn segment_entry() -> SegmentEntry {
    SegmentEntry {
        number: 0x1112_1314_1516_1718,
        directory: Lsn::new(0x2122_2324_2526_2728),
        commit_low: Lsn::new(0x3132_3334_3536_3738),
    }
}

pub(crate) fn keypoint_chunk() -> KeypointChunk {
    KeypointChunk {
        begin: Lsn::new(0xF1F2_F3F4_F5F6_F7F8),
        index: 0x0809_0A0B,
        units: vec![unit_entry(), UnitEntry { unit: 2, ..UnitEntry::default() }],
        segments: vec![segment_entry()],
    }
}

pub(crate) fn keypoint_end() -> KeypointEnd {
    KeypointEnd {
        begin: Lsn::new(0x1112_1314_1516_1718),
        chunks: 0x2122_2324,
        table_crc: 0x3132_3334,
        redo: Lsn::new(0x4142_4344_4546_4748),
        oldest: Lsn::new(0x5152_5354_5556_5758),
        secondary_digest: 0x6162_6364_6566_6768,
        backup_id: *b"siding-backup-01",
    }
}

pub(crate) fn directory_entry() -> DirectoryEntry {
    DirectoryEntry {
        unit: 0x1112_1314_1516_1718,
        oldest: Lsn::new(0x2122_2324_2526_2728),
        newest: Lsn::new(0x3132_3334_3536_3738),
        count: 0x4142_4344_4546_4748,
        bytes: 0x5152_5354_5556_5758,
    }
}

pub(crate) fn directory() -> DirectoryChunk {
    DirectoryChunk {
        segment: 0x6162_6364_6566_6768,
        index: 0x7172_7374,
        chunks: 0x8182_8384,
        units: vec![directory_entry(), DirectoryEntry { unit: 2, ..directory_entry() }],
    }
}
