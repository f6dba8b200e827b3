//! Golden files: the bytes of v1, stored. What was written once is read for ever.
//!
//! `SIDING_REGENERATE_GOLDEN=1 cargo test -p siding-wal --test format golden` writes them anew; a
//! change of an existing file is a change of the format and needs a new version.

use crate::hex;
use crate::image::{every_kind, walk};
use crate::samples::{self, LOG_ID, RECORD_LSN, seed};
use siding_wal::format::{
    BatchHeader, CONTROL_LEN, Compensation, ControlSlot, Decision, DirectoryChunk, Extent,
    ExtentFileHeader, ForkPayload, KeypointBegin, KeypointChunk, KeypointEnd, Kind, Malformed,
    MarkPayload, PreparePayload, RecordHeader, RestoredNote, SegmentHeader, decode_record, flags,
    label_of, newest_slot, slot_offset,
};
use std::fs;
use std::path::PathBuf;

/// One file: what the encoders write now, and whether the decoders read a value back from bytes.
struct Golden {
    name: String,
    about: &'static str,
    bytes: Vec<u8>,
    reads: Box<Reads>,
}

type Reads = dyn Fn(&[u8]) -> bool;

impl Golden {
    fn new(
        name: &str,
        about: &'static str,
        bytes: impl Into<Vec<u8>>,
        reads: impl Fn(&[u8]) -> bool + 'static,
    ) -> Self {
        Self { name: name.to_owned(), about, bytes: bytes.into(), reads: Box::new(reads) }
    }

    fn path(&self) -> PathBuf {
        folder().join(&self.name).with_extension("hex")
    }

    fn check(&self) {
        let path = self.path();
        if std::env::var_os("SIDING_REGENERATE_GOLDEN").is_some() {
            fs::write(&path, format!("# {}\n{}", self.about, hex::dump(&self.bytes))).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let stored = hex::parse(&text);
        assert!((self.reads)(&stored), "{path:?}: the decoders read another value from it");
        let written = hex::dump(&self.bytes);
        assert!(hex::dump(&stored) == written, "{path:?}: the encoders now write\n{written}");
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn structures() -> Vec<Golden> {
    let (header, slot, batch) =
        (samples::segment_header(), samples::control_slot(), samples::batch_header());
    let newer = ControlSlot { sequence: slot.sequence + 1, clean: false, ..slot.clone() };
    let mut control = vec![0; CONTROL_LEN];
    for slot in [&slot, &newer] {
        let at = usize::try_from(slot_offset(slot.sequence)).unwrap();
        control[at..at + 512].copy_from_slice(&slot.encode());
    }
    let file = samples::extent_file_header();
    let (head, extent) = samples::extent();
    vec![
        Golden::new("extent_file_header", "the header of an extent file", file.encode(), {
            move |bytes| ExtentFileHeader::decode(bytes).as_ref() == Ok(&file)
        }),
        Golden::new("extent", "an extent with three copies and a parent", extent, move |bytes| {
            let read = Extent::decode(bytes.to_vec(), &samples::extent_place());
            read.is_ok_and(|read| read.head == head && payloads(&read) == samples::COPIES)
        }),
        Golden::new("segment_header", "a segment header", header.encode(), move |bytes| {
            SegmentHeader::decode(bytes).as_ref() == Ok(&header)
        }),
        Golden::new("control_slot", "a control slot", slot.encode(), move |bytes| {
            ControlSlot::decode(bytes).as_ref() == Ok(&slot)
        }),
        Golden::new("control_file", "a control file; its first slot counts", control, {
            move |bytes| newest_slot(bytes).as_ref() == Ok(&Some(newer.clone()))
        }),
        Golden::new("restored", "the note of a restore", samples::restored().encode(), |bytes| {
            RestoredNote::decode(bytes).as_ref() == Ok(&samples::restored())
        }),
        Golden::new("label", "what a MARK with a name carries", samples::label(), |bytes| {
            label_of(bytes) == Some("before the import")
                && MarkPayload::decode(bytes).as_ref() == Ok(&samples::mark())
        }),
        Golden::new("batch_header", "a batch header", batch.encode(&LOG_ID), move |bytes| {
            BatchHeader::decode(bytes, &LOG_ID) == Ok(batch)
        }),
        Golden::new(
            "segment",
            "a whole segment with every kind of record that v1 writes, and two incarnations",
            every_kind().whole(),
            |bytes| {
                let now = walk(&every_kind().whole()).unwrap();
                bytes.len() == 65536 && walk(bytes).as_ref() == Ok(&now)
            },
        ),
    ]
}

fn payloads(extent: &Extent) -> Vec<&[u8]> {
    (0..extent.len()).map(|index| extent.payload(extent.get(index).unwrap())).collect()
}

/// A record of this kind with this payload, as it stands at [`RECORD_LSN`].
fn record(kind: Kind, bits: u8, payload: &[u8], reads: impl Fn(&[u8]) -> bool + 'static) -> Golden {
    let header = match kind.has_unit() {
        true => RecordHeader { kind, flags: bits, ..samples::data_header(payload) },
        false => RecordHeader::of_log(kind, payload),
    };
    let mut bytes = header.encode(seed(), RECORD_LSN).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(header.padded_len(), 0);
    let name = format!("record_{}", kind.name().to_lowercase());
    Golden::new(&name, "a record, with its payload and its padding", bytes, move |bytes| {
        let read = decode_record(bytes, seed(), RECORD_LSN);
        read.is_ok_and(|(read, payload)| read == header && reads(payload))
    })
}

/// Whether `decode` reads `value` from a payload.
fn is<T: PartialEq + 'static>(
    value: T,
    decode: impl Fn(&[u8]) -> Result<T, Malformed> + 'static,
) -> impl Fn(&[u8]) -> bool + 'static {
    move |payload| decode(payload).as_ref() == Ok(&value)
}

fn records() -> Vec<Golden> {
    use samples as of;
    let clr = of::compensation();
    let decision = of::decision().encode();
    let mark = of::mark().encode();
    let mut all = vec![
        record(Kind::Data, 0, b"alice -30", |payload| payload == b"alice -30"),
        record(Kind::Compensation, 0, &clr.encode(), move |payload| {
            Compensation::decode(payload) == Ok(clr)
        }),
        record(Kind::Prepare, 0, &of::prepare().encode(), {
            is(of::prepare(), PreparePayload::decode)
        }),
        record(Kind::Commit, flags::END, &decision, is(of::decision(), Decision::decode)),
        record(Kind::Abort, flags::KNOWN, &decision, is(of::decision(), Decision::decode)),
        record(Kind::End, 0, &[], <[u8]>::is_empty),
        record(Kind::Fork, 0, &of::fork().encode(), is(of::fork(), ForkPayload::decode)),
        record(Kind::KeypointBegin, 0, &of::keypoint_begin().encode(), {
            is(of::keypoint_begin(), KeypointBegin::decode)
        }),
        record(Kind::KeypointChunk, 0, &of::keypoint_chunk().encode(), {
            is(of::keypoint_chunk(), KeypointChunk::decode)
        }),
        record(Kind::KeypointEnd, 0, &of::keypoint_end().encode(), {
            is(of::keypoint_end(), KeypointEnd::decode)
        }),
        record(Kind::Directory, 0, &of::directory().encode(), {
            is(of::directory(), DirectoryChunk::decode)
        }),
        record(Kind::Mark, 0, &mark, is(of::mark(), MarkPayload::decode)),
        record(Kind::Close, 0, &mark, is(of::mark(), MarkPayload::decode)),
    ];
    // The reserved kinds are known by name and read as any record.
    for kind in
        [Kind::Savepoint, Kind::BackupBegin, Kind::BackupStop, Kind::PathSwitch, Kind::EpochStart]
    {
        all.push(record(kind, 0, b"reserved", |payload| payload == b"reserved"));
    }
    all
}

#[test]
fn structures_are_what_they_were() {
    structures().iter().for_each(Golden::check);
}

#[test]
fn records_are_what_they_were() {
    let records = records();
    assert_eq!(records.len(), Kind::ALL.len(), "a file for each kind");
    records.iter().for_each(Golden::check);
}

#[test]
fn every_golden_file_is_read_by_a_test() {
    let mut known: Vec<_> = structures().iter().chain(&records()).map(Golden::path).collect();
    let mut found: Vec<_> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    known.sort();
    found.sort();
    assert_eq!(found, known);
}
