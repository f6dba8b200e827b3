//! The worked example of `docs/FORMAT.md`: what the encoders write and the decoders read.

use crate::hex;
use crate::image::{Image, walk};
use crate::tables::{name, section, table};
use siding_wal::Lsn;
use siding_wal::format::{
    Cause, Decision, Discipline, Kind, RecordHeader, SPtr, SegmentHeader, flags,
};

/// The log of the worked example.
fn example() -> Image {
    let sequence = |first: u8| std::array::from_fn(|at| first + u8::try_from(at).unwrap());
    let mut image = Image::new(SegmentHeader {
        compatible: 0,
        incompatible: 0,
        log_id: sequence(0xA0),
        path_id: sequence(0xB0),
        discipline: Discipline::DeferredApply,
        incarnation: 1,
        epoch: 1,
        write_unit: 512,
        segment_size: 65536,
        number: 0,
        kept_end: Lsn::ZERO,
        kept_digest: 0,
        oldest: Lsn::ZERO,
        keypoint_begin: Lsn::ZERO,
        keypoint_end: Lsn::ZERO,
        unit_block: 1,
        created_ms: 1_800_000_000_000,
    });
    let (first, second): (&[u8], &[u8]) = (b"alice -30", b"bob +30");
    let oldest = image.lsn_behind(&[]);
    let decision = Decision { oldest, sec: SPtr::NONE, cause: Cause::Program, who: String::new() };
    let commit = decision.encode();
    let unit = 1 << 40 | 1;
    let data = |payload, prev| RecordHeader {
        unit,
        prev,
        resource: 7,
        ..RecordHeader::of_log(Kind::Data, payload)
    };
    let records = [
        (data(first, Lsn::ZERO), first),
        (data(second, oldest), second),
        (
            RecordHeader {
                unit,
                prev: image.lsn_behind(&[first.len()]),
                flags: flags::END,
                ..RecordHeader::of_log(Kind::Commit, &commit)
            },
            commit.as_slice(),
        ),
    ];
    image.batch(1, image.end(), &records);
    image
}

/// The dump in the document.
fn documented_dump() -> String {
    let lines = section("A worked example").into_iter();
    let block =
        lines.skip_while(|line| *line != "```hex").skip(1).take_while(|line| *line != "```");
    block.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_worked_example_is_what_the_encoders_write() {
    let image = example();
    let written = hex::dump(image.bytes());
    assert!(documented_dump() == written, "the encoders write\n{written}");
    assert!(hex::parse(&written) == image.bytes());
}

#[test]
fn the_worked_example_is_what_the_decoders_read() {
    let found = walk(&hex::parse(&documented_dump())).unwrap();
    assert_eq!(found.header, example().header);
    assert_eq!(found.end, Lsn::new(1024));
    let kinds: Vec<_> = found.records.iter().map(|record| record.header.kind).collect();
    assert_eq!(kinds, [Kind::Data, Kind::Data, Kind::Commit]);
    assert_eq!(found.records[0].payload, b"alice -30");
    assert_eq!(found.records[1].header.prev, found.records[0].lsn);
    let commit = Decision::decode(&found.records[2].payload).unwrap();
    assert_eq!(commit.oldest, found.records[0].lsn);
}

#[test]
fn the_worked_example_explains_every_byte_that_is_not_zero() {
    let image = example();
    let mut explained = vec![false; image.bytes().len()];
    for row in table("A worked example", "at") {
        let at: usize = row[0].parse().unwrap();
        let bytes = name(&row[1]);
        let len = bytes.split(' ').count();
        let stored = hex::pairs(&image.bytes()[at..at + len]);
        assert_eq!(bytes, stored, "the bytes at {at} ({})", row[2]);
        explained[at..at + len].fill(true);
    }
    for (at, byte) in image.bytes().iter().enumerate() {
        assert!(*byte == 0 || explained[at], "the byte {byte:02x} at {at} has no explanation");
    }
}
