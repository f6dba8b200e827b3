//! `docs/FORMAT.md` against the code: every layout, every code, every limit.

use crate::samples::{self, INCARNATION, LOG_ID, PATH_ID, RECORD_LSN};
use crate::tables::{DOCUMENT, name, section, table};
use siding_wal::Lsn;
use siding_wal::format::{
    self, Decision, Discipline, KeypointChunk, Kind, RecordHeader, SPtr, UnitEntry, flags,
};

/// Compares the layout table under `title` with `bytes`, in which the fields are as given.
pub(crate) fn check_layout(title: &str, bytes: &[u8], fields: &[(&str, Vec<u8>)]) {
    let rows = table(title, "offset");
    let documented: Vec<&str> = rows.iter().map(|row| name(&row[2])).collect();
    let coded: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(documented, coded, "{title}: the fields, in order");
    let mut next = 0;
    for (row, (field, value)) in rows.iter().zip(fields) {
        assert_eq!(row[0], next.to_string(), "{title}: the offset of `{field}`");
        if row[1] == "*" {
            assert_eq!(next + value.len(), bytes.len(), "{title}: `{field}` takes the rest");
        } else {
            assert_eq!(row[1], value.len().to_string(), "{title}: the size of `{field}`");
        }
        let stored = bytes.get(next..next + value.len());
        assert_eq!(stored, Some(value.as_slice()), "{title}: the bytes of `{field}`");
        next += value.len();
    }
    assert_eq!(next, bytes.len(), "{title}: the sizes add up to the encoded length");
    // Two fields with the same bytes could stand in each other's place unseen.
    for (index, (field, value)) in fields.iter().enumerate() {
        let same = fields[..index].iter().find(|(_, other)| other == value);
        if value.iter().any(|byte| *byte != 0) {
            assert_eq!(same, None, "{title}: `{field}` has a sample value of its own");
        }
    }
}

/// CRC32C as the document's pseudo-code says it.
fn crc(parts: &[&[u8]]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in parts.concat() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc % 2 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    (!crc).to_le_bytes().to_vec()
}

fn u32s(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn u64s(value: u64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn lsn(value: Lsn) -> Vec<u8> {
    u64s(value.get())
}

fn sptr(value: SPtr) -> Vec<u8> {
    [u64s(value.extent), u32s(value.offset)].concat()
}

#[test]
fn the_checksum_is_the_one_of_the_document() {
    assert_eq!(crc(&[b"123456789"]), u32s(0xE306_9283));
    assert!(DOCUMENT.contains("`123456789` give 0xE3069283"));
    assert_eq!(crc(&[b"12345", b"6789"]), u32s(crc32c::crc32c(b"123456789")));
}

#[test]
fn the_segment_header_is_as_documented() {
    let header = samples::segment_header();
    let bytes = header.encode();
    let fields = [
        ("magic", b"SIDINGLG".to_vec()),
        ("version", u32s(1)),
        ("len", u32s(512)),
        ("compatible", u64s(header.compatible)),
        ("incompatible", u64s(0)),
        ("log_id", LOG_ID.to_vec()),
        ("path_id", PATH_ID.to_vec()),
        ("discipline", vec![2]),
        ("compression", vec![0]),
        ("encryption", vec![0]),
        ("reserved", vec![0]),
        ("incarnation", u32s(header.incarnation)),
        ("epoch", u32s(header.epoch)),
        ("write_unit", u32s(header.write_unit)),
        ("segment_size", u64s(header.segment_size)),
        ("number", u64s(header.number)),
        ("first_lsn", u64s(header.number * header.segment_size)),
        ("kept_end", lsn(header.kept_end)),
        ("kept_digest", u32s(header.kept_digest)),
        ("unit_block", u32s(header.unit_block)),
        ("oldest", lsn(header.oldest)),
        ("keypoint_begin", lsn(header.keypoint_begin)),
        ("keypoint_end", lsn(header.keypoint_end)),
        ("created_ms", u64s(header.created_ms)),
        ("reserved", vec![0; 356]),
        ("crc", crc(&[&bytes[..508]])),
    ];
    check_layout("Segment header", &bytes, &fields);
}

#[test]
fn the_control_slot_is_as_documented() {
    let slot = samples::control_slot();
    let bytes = slot.encode();
    let fields = [
        ("magic", b"SIDINGCT".to_vec()),
        ("version", u32s(1)),
        ("len", u32s(512)),
        ("sequence", u64s(slot.sequence)),
        ("log_id", LOG_ID.to_vec()),
        ("path_id", PATH_ID.to_vec()),
        ("discipline", vec![2]),
        ("clean", vec![1]),
        ("reserved", vec![0; 2]),
        ("incarnation", u32s(slot.incarnation)),
        ("epoch", u32s(slot.epoch)),
        ("write_unit", u32s(slot.write_unit)),
        ("segment_size", u64s(slot.segment_size)),
        ("unit_block", u32s(slot.unit_block)),
        ("reserved", vec![0; 4]),
        ("oldest", lsn(slot.oldest)),
        ("keypoint_begin", lsn(slot.keypoint_begin)),
        ("keypoint_end", lsn(slot.keypoint_end)),
        ("durable", lsn(slot.durable)),
        ("written_ms", u64s(slot.written_ms)),
        ("reserved", vec![0; 380]),
        ("crc", crc(&[&bytes[..508]])),
    ];
    check_layout("Control slot", &bytes, &fields);
    for sequence in 0..4 {
        assert_eq!(format::slot_offset(sequence), sequence % 2 * 4096);
    }
}

#[test]
fn the_note_of_a_restore_is_as_documented() {
    let note = samples::restored();
    let bytes = note.encode();
    let fields = [
        ("magic", b"SIDINGRS".to_vec()),
        ("version", u32s(1)),
        ("len", u32s(128)),
        ("log_id", LOG_ID.to_vec()),
        ("backup_id", note.backup_id.to_vec()),
        ("keypoint_begin", lsn(note.keypoint_begin)),
        ("keypoint_end", lsn(note.keypoint_end)),
        ("target", lsn(note.target)),
        ("redo", lsn(note.redo)),
        ("incarnation", u32s(note.incarnation)),
        ("reserved", vec![0; 40]),
        ("crc", crc(&[&bytes[..124]])),
    ];
    check_layout("Restored log", &bytes, &fields);
}

#[test]
fn the_batch_header_is_as_documented() {
    let header = samples::batch_header();
    let bytes = header.encode(&LOG_ID);
    let fields = [
        ("magic", b"SdBt".to_vec()),
        ("incarnation", u32s(header.incarnation)),
        ("epoch", u32s(header.epoch)),
        ("lsn", lsn(header.lsn)),
        ("len", u32s(header.len)),
        ("count", u32s(header.count)),
        ("prev_digest", u32s(header.prev_digest)),
        ("digest", u32s(header.digest)),
        ("durable_before", lsn(header.durable_before)),
        ("crc", crc(&[&LOG_ID, &bytes[..44]])),
    ];
    check_layout("Batch header", &bytes, &fields);
    assert_eq!(header.next(4096), header.lsn.plus(u64::from(header.len).div_ceil(4096) * 4096));
}

#[test]
fn the_record_header_is_as_documented() {
    let header = samples::data_header(b"payload");
    let bytes = header.encode(samples::seed(), RECORD_LSN);
    let bound = [LOG_ID.to_vec(), u32s(INCARNATION), lsn(RECORD_LSN), bytes[..28].to_vec()];
    let fields = [
        ("len", u32s(32 + 7)),
        ("kind", vec![1]),
        ("flags", vec![0]),
        ("resource", header.resource.to_le_bytes().to_vec()),
        ("unit", u64s(header.unit)),
        ("prev", lsn(header.prev)),
        ("payload_crc", crc(&[b"payload"])),
        ("header_crc", crc(&[&bound.concat()])),
    ];
    check_layout("Record header", &bytes, &fields);
    let flagged = RecordHeader { flags: flags::END | flags::HEURISTIC, ..header };
    assert_eq!(flagged.encode(samples::seed(), RECORD_LSN)[5], 3);
}

#[test]
fn the_payloads_of_units_are_as_documented() {
    let clr = samples::compensation();
    let fields = [("undo_next", lsn(clr.undo_next)), ("body", clr.body.to_vec())];
    check_layout("CLR", &clr.encode(), &fields);

    let prepare = samples::prepare();
    let fields = [
        ("first", lsn(prepare.first)),
        ("started_ms", u64s(prepare.started_ms)),
        ("prepared_ms", u64s(prepare.prepared_ms)),
        ("gid_len", vec![10]),
        ("gid", b"transfer-7".to_vec()),
    ];
    check_layout("PREPARE", &prepare.encode(), &fields);

    let decision = samples::decision();
    let fields = [
        ("oldest", lsn(decision.oldest)),
        ("sec", sptr(decision.sec)),
        ("cause", vec![1]),
        ("who_len", vec![19]),
        ("who", "Zoë at the console".as_bytes().to_vec()),
    ];
    check_layout("COMMIT and ABORT", &decision.encode(), &fields);

    let fork = samples::fork();
    let fields = [
        ("sec", sptr(fork.sec)),
        ("moves", u32s(fork.moves)),
        ("floor", lsn(fork.floor)),
        ("moved_count", u64s(fork.moved_count)),
        ("moved_bytes", u64s(fork.moved_bytes)),
        ("first", lsn(fork.first)),
        ("started_ms", u64s(fork.started_ms)),
        ("chain_hash", u64s(fork.chain_hash)),
    ];
    check_layout("FORK", &fork.encode(), &fields);
}

#[test]
fn the_payloads_of_a_keypoint_are_as_documented() {
    let begin = samples::keypoint_begin();
    check_layout("KP_BEGIN", &begin.encode(), &[("redo", lsn(begin.redo))]);

    let (unit, segment) = (samples::unit_entry(), samples::segment_entry());
    let chunk = KeypointChunk {
        units: vec![unit.clone()],
        segments: vec![segment, segment],
        ..samples::keypoint_chunk()
    };
    let bytes = chunk.encode();
    let (in_units, in_segments) = (20..20 + unit.encoded_len(), 20 + unit.encoded_len()..);
    let fields = [
        ("begin", lsn(chunk.begin)),
        ("index", u32s(chunk.index)),
        ("unit_count", u32s(1)),
        ("segment_count", u32s(2)),
        ("entries", bytes[20..].to_vec()),
    ];
    check_layout("KP_CHUNK", &bytes, &fields);
    check_layout("Unit entry", &bytes[in_units], &unit_fields(&unit));
    let fields = [
        ("number", u64s(segment.number)),
        ("directory", lsn(segment.directory)),
        ("commit_low", lsn(segment.commit_low)),
    ];
    let segments = &bytes[in_segments];
    check_layout("Segment entry", &segments[..24], &fields);
    check_layout("Segment entry", &segments[24..], &fields);

    let end = samples::keypoint_end();
    let fields = [
        ("begin", lsn(end.begin)),
        ("chunks", u32s(end.chunks)),
        ("table_crc", u32s(end.table_crc)),
        ("redo", lsn(end.redo)),
        ("oldest", lsn(end.oldest)),
        ("secondary_digest", u64s(end.secondary_digest)),
        ("backup_id", b"siding-backup-01".to_vec()),
    ];
    check_layout("KP_END", &end.encode(), &fields);
}

fn unit_fields(unit: &UnitEntry) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("unit", u64s(unit.unit)),
        ("state", vec![4]),
        ("sec", sptr(unit.sec)),
        ("moves", u32s(unit.moves)),
        ("head", lsn(unit.head)),
        ("floor", lsn(unit.floor)),
        ("commit", lsn(unit.commit)),
        ("first", lsn(unit.first)),
        ("started_ms", u64s(unit.started_ms)),
        ("in_doubt_ms", u64s(unit.in_doubt_ms)),
        ("main_records", u64s(unit.main.0)),
        ("main_bytes", u64s(unit.main.1)),
        ("secondary_records", u64s(unit.secondary.0)),
        ("secondary_bytes", u64s(unit.secondary.1)),
        ("gid_len", vec![10]),
        ("gid", b"transfer-7".to_vec()),
    ]
}

#[test]
fn the_payloads_of_the_log_itself_are_as_documented() {
    let mark = samples::mark();
    let fields = [
        ("time_ms", u64s(mark.time_ms)),
        ("wall_ms", u64s(mark.wall_ms)),
        ("oldest", lsn(mark.oldest)),
        ("keypoint_begin", lsn(mark.keypoint_begin)),
        ("keypoint_end", lsn(mark.keypoint_end)),
    ];
    check_layout("MARK", &mark.encode(), &fields);

    let directory = samples::directory();
    let bytes = directory.encode();
    let fields = [
        ("segment", u64s(directory.segment)),
        ("index", u32s(directory.index)),
        ("chunks", u32s(directory.chunks)),
        ("unit_count", u32s(2)),
        ("entries", bytes[20..].to_vec()),
    ];
    check_layout("DIRECTORY", &bytes, &fields);
    let entry = samples::directory_entry();
    let fields = [
        ("unit", u64s(entry.unit)),
        ("oldest", lsn(entry.oldest)),
        ("newest", lsn(entry.newest)),
        ("count", u64s(entry.count)),
        ("bytes", u64s(entry.bytes)),
    ];
    check_layout("Directory entry", &bytes[20..60], &fields);
}

#[test]
fn the_secondary_log_is_as_documented() {
    let header = samples::extent_file_header();
    let bytes = header.encode();
    let fields = [
        ("magic", b"SIDINGXT".to_vec()),
        ("version", u32s(1)),
        ("write_unit", u32s(header.write_unit)),
        ("log_id", LOG_ID.to_vec()),
        ("number", u64s(header.number)),
        ("reserved", vec![0; 20]),
        ("crc", crc(&[&bytes[..60]])),
    ];
    check_layout("Extent file header", &bytes, &fields);

    let (head, bytes) = samples::extent();
    let at = samples::extent_place().at;
    let bound = [LOG_ID.to_vec(), sptr(at), bytes[..92].to_vec()].concat();
    let fields = [
        ("magic", b"XTNT".to_vec()),
        ("moves", u32s(head.moves)),
        ("unit", u64s(head.unit)),
        ("parent", sptr(head.parent)),
        ("count", u32s(3)),
        ("len", u32s(u32::try_from(bytes.len()).unwrap())),
        ("body_crc", crc(&[&bytes[96..]])),
        ("oldest", lsn(head.oldest)),
        ("newest", lsn(head.newest)),
        ("total_count", u64s(0x4142_4344_4546_4748 + 3)),
        ("chain_hash", u64s(head.chain_hash)),
        ("reserved", vec![0; 20]),
        ("crc", crc(&[&bound])),
    ];
    check_layout("Extent", &bytes[..96], &fields);

    // The copies, with payloads of 9, 0 and 18 bytes; the table, and its padding.
    let (starts, ends) = ([96, 152, 192], [145, 192, 250]);
    let mut hash = 0x5152_5354;
    for ((start, end), payload) in starts.into_iter().zip(ends).zip(samples::COPIES) {
        let copy = &bytes[start..end];
        let fields = [
            ("lsn", copy[..8].to_vec()),
            ("header", copy[8..40].to_vec()),
            ("payload", payload.to_vec()),
        ];
        check_layout("Copy", copy, &fields);
        let header = RecordHeader::parse(&copy[8..40]).unwrap();
        assert_eq!(
            (header.unit, header.len),
            (head.unit, 32 + u32::try_from(payload.len()).unwrap())
        );
        let crc = crc(&[&u64s(hash), &copy[..8], &copy[36..40]]);
        hash = u32::from_le_bytes(crc.try_into().unwrap()).into();
    }
    assert_eq!(hash, head.chain_hash);
    let table = [u32s(96), u32s(152), u32s(192), u32s(0)].concat();
    assert_eq!(bytes[256..], table);
    assert_eq!((&bytes[8 + 96..12 + 96], head.oldest), (&u32s(41)[..], RECORD_LSN.plus(256)));
}

/// The table of codes and names under `title`.
fn codes(title: &str) -> Vec<(u8, String)> {
    let rows = table(title, "code");
    rows.into_iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect()
}

#[test]
fn kinds_and_disciplines_have_the_documented_codes() {
    let coded: Vec<_> = (0..=u8::MAX)
        .filter_map(|code| Kind::from_code(code).map(|kind| (kind.code(), kind)))
        .map(|(code, kind)| (code, kind.name().to_owned()))
        .collect();
    assert_eq!(codes("Kinds"), coded);
    for row in table("Kinds", "code") {
        let kind = Kind::from_name(&row[1]).unwrap();
        assert_eq!(row[2] == "yes", kind.has_unit(), "{}", row[1]);
    }
    let coded: Vec<_> = (0..=u8::MAX)
        .filter_map(Discipline::from_code)
        .map(|discipline| (discipline.code(), discipline.name().to_owned()))
        .collect();
    assert_eq!(codes("Disciplines"), coded);
}

#[test]
fn flags_have_the_documented_bits() {
    let coded = [
        (flags::END, "END"),
        (flags::HEURISTIC, "HEURISTIC"),
        (flags::WAS_PREPARED, "WAS_PREPARED"),
    ];
    let documented: Vec<_> = table("Flags", "bit")
        .into_iter()
        .map(|row| {
            (u8::from_str_radix(row[0].trim_start_matches("0x"), 16).unwrap(), row[1].clone())
        })
        .collect();
    assert_eq!(documented, coded.map(|(bit, name)| (bit, name.to_owned())));
    assert_eq!(documented.iter().fold(0, |all, (bit, _)| all | bit), flags::KNOWN);
}

#[test]
fn causes_have_the_documented_codes() {
    let mut bytes = samples::decision().encode();
    for (code, name) in codes("Causes") {
        bytes[20] = code;
        let decision = Decision::decode(&bytes).unwrap();
        assert_eq!((decision.cause.name(), decision.encode()), (name.as_str(), bytes.clone()));
    }
    bytes[20] = u8::try_from(codes("Causes").len()).unwrap();
    assert_eq!(Decision::decode(&bytes), Err(format::Malformed::Field("cause")));
}

#[test]
fn states_have_the_documented_codes() {
    let mut bytes = samples::keypoint_chunk().encode();
    for (code, name) in codes("States") {
        bytes[28] = code;
        let chunk = KeypointChunk::decode(&bytes).unwrap();
        assert_eq!((chunk.units[0].state.name(), chunk.encode()), (name.as_str(), bytes.clone()));
    }
    bytes[28] = u8::try_from(codes("States").len()).unwrap();
    assert_eq!(KeypointChunk::decode(&bytes), Err(format::Malformed::Field("state")));
}

#[test]
fn limits_and_file_names_are_as_documented() {
    let coded: [(&str, u64); 13] = [
        ("VERSION", format::VERSION.into()),
        ("HEADER_LEN", format::HEADER_LEN.try_into().unwrap()),
        ("CONTROL_LEN", format::CONTROL_LEN.try_into().unwrap()),
        ("CONTROL_SLOT_LEN", format::CONTROL_SLOT_LEN.try_into().unwrap()),
        ("BATCH_HEADER_LEN", format::BATCH_HEADER_LEN.try_into().unwrap()),
        ("RECORD_HEADER_LEN", format::RECORD_HEADER_LEN.try_into().unwrap()),
        ("RECORD_ALIGN", format::RECORD_ALIGN.try_into().unwrap()),
        ("MIN_SEGMENT_SIZE", format::MIN_SEGMENT_SIZE),
        ("MIN_WRITE_UNIT", format::MIN_WRITE_UNIT.into()),
        ("MAX_GID", format::MAX_GID.try_into().unwrap()),
        ("EXTENT_FILE_HEADER_LEN", format::EXTENT_FILE_HEADER_LEN.try_into().unwrap()),
        ("EXTENT_HEAD_LEN", format::EXTENT_HEAD_LEN.try_into().unwrap()),
        ("EXTENT_ALIGN", format::EXTENT_ALIGN.try_into().unwrap()),
    ];
    let documented: Vec<_> = table("Limits", "name")
        .into_iter()
        .map(|row| (name(&row[0]).to_owned(), row[1].parse::<u64>().unwrap()))
        .collect();
    assert_eq!(documented, coded.map(|(name, value)| (name.to_owned(), value)));

    let files = section("Files").join(" ");
    assert!(files.contains(&format!("`{}` is number 42", format::segment_file_name(42))));
    assert_eq!(format::parse_segment_name("000000000000002a.seg"), Some(42));
    assert_eq!(format::parse_segment_name("000000000000002A.seg"), None);
    assert!(files.contains("`%016x.ext`"));
    assert_eq!(format::extent_file_name(3 << 32 | 42), "000000030000002a.ext");
    assert_eq!(format::parse_extent_name("000000030000002a.ext"), Some(3 << 32 | 42));
    assert_eq!(format::parse_extent_name("000000030000002A.ext"), None);
}
