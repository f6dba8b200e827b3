//! Every fuzz function fed for a few seconds: any bytes, valid ones changed, valid ones cut. The
//! seed is fixed unless `SIDING_FUZZ_SEED` is another one; `SIDING_FUZZ_TIMES` runs longer.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use siding::archive::Indexer;
use siding::{BackupFile, ControlSlot, Discipline, FileKind, Manifest, StopUnit, UnitState};
use siding_fuzz::{
    IMAGES, batch, extent, image, manifest, ops, payloads, record, segment_index, segment_recovery,
};
use siding_sim::Rng;
use siding_wal::Lsn;
use siding_wal::format::{ExtentPlace, Kind, Packer, RecordHeader, SPtr, Seed};

/// More address space than this is not asked for, whatever the bytes say. The threads of the
/// tests take some hundred megabytes of it unasked.
const MOST_KIB: u64 = 2 << 20;

fn any_bytes(rng: &mut Rng, most: usize) -> Vec<u8> {
    let len = rng.index(most);
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(len).collect();
    // Small numbers are what lengths and counts are made of.
    if rng.chance(1, 2) {
        for byte in &mut bytes {
            *byte = if rng.chance(2, 3) { *byte % 4 } else { *byte };
        }
    }
    bytes
}

/// A few changes: a bit, a byte, a number; or the end is cut.
fn change(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.below(4) {
        let at = rng.index(bytes.len());
        match rng.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.below(8)),
            _ => {
                let number = match rng.below(4) {
                    0 => rng.next_u64(),
                    1 => u64::MAX - rng.below(64),
                    _ => rng.below(512),
                };
                let bytes = bytes.iter_mut().skip(at).zip(number.to_le_bytes());
                bytes.take(1 << rng.below(4)).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}

fn feed(times: u32, target: fn(&[u8]), valid: impl Fn(&mut Rng) -> Vec<u8>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut rng = Rng::new(number("SIDING_FUZZ_SEED").unwrap_or(0x51d1_4600));
    for _ in 0..u64::from(times) * number("SIDING_FUZZ_TIMES").unwrap_or(1) {
        target(&any_bytes(&mut rng, 400));
        let mut bytes = valid(&mut rng);
        target(&bytes);
        change(&mut rng, &mut bytes);
        target(&bytes);
        bytes.truncate(rng.index(bytes.len() + 1));
        target(&bytes);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap_or("0 kB");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MOST_KIB, "{peak} KiB were asked for");
}

/// A piece of a file of a sound log: `from` is a multiple of a record's alignment.
fn piece(rng: &mut Rng, len: usize) -> Vec<u8> {
    let files = image(rng.index(IMAGES));
    let (_, bytes) = &files[rng.index(files.len())];
    let from = rng.index(bytes.len().min(8192)) / 8 * 8;
    bytes.iter().skip(from).take(len).copied().collect()
}

/// The batches of a sound segment, without its header.
fn batches(rng: &mut Rng) -> Vec<u8> {
    let files = image(rng.index(IMAGES));
    let segments: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".seg")).collect();
    let (_, bytes) = segments[rng.index(segments.len())];
    bytes.iter().skip(512).take(512 << rng.below(6)).copied().collect()
}

#[test]
fn manifests() {
    feed(40_000, manifest, |rng| {
        let file = |rng: &mut Rng| {
            let blocks = rng.below(4);
            BackupFile {
                kind: if rng.chance(1, 2) { FileKind::Extents } else { FileKind::Object(7) },
                name: "a name".into(),
                stored: format!("stored-{}", rng.below(9)),
                len: blocks << 20,
                blocks: (0..blocks).map(|_| 7).collect(),
            }
        };
        let control = ControlSlot {
            sequence: 1,
            log_id: [2; 16],
            path_id: [3; 16],
            discipline: Discipline::DeferredApply,
            clean: false,
            incarnation: 3,
            epoch: 1,
            write_unit: 512,
            segment_size: 64 << 10,
            unit_block: 1,
            oldest: Lsn::ZERO,
            keypoint_begin: Lsn::new(200),
            keypoint_end: Lsn::new(250),
            durable: Lsn::new(300),
            written_ms: 2,
        };
        let unit = |unit: u64| StopUnit { unit, state: UnitState::InDoubt, gid: b"gid".into() };
        let increment = rng.chance(1, 4);
        let mut files: Vec<_> = (0..rng.below(4)).map(|_| file(rng)).collect();
        files.retain(|it| !increment || it.kind == FileKind::Extents);
        let valid = Manifest {
            id: [1; 16],
            parent: increment.then_some([4; 16]),
            log_id: [2; 16],
            incarnation: 3,
            recovery_point: Lsn::new(rng.below(100) + 50),
            objects: if increment { Vec::new() } else { vec![(7, Lsn::new(150))] },
            floor: Lsn::new(rng.below(50)),
            stop: Lsn::new(200),
            end: Lsn::new(300),
            end_digest: 5,
            time_ms: (1, 2),
            units: (0..rng.below(3)).map(unit).collect(),
            control,
            files,
        };
        assert!(Manifest::decode(&valid.encode()).is_ok());
        let mut bytes = vec![u8::from(rng.chance(1, 2))];
        bytes.extend(valid.encode());
        bytes
    });
}

/// The index of a segment of a sound log, as far as that has batches; or the segment.
fn indexed(rng: &mut Rng) -> Vec<u8> {
    let files = image(rng.index(IMAGES));
    let segments: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".seg")).collect();
    let (_, bytes) = segments[rng.index(segments.len())];
    let how = u8::try_from(rng.below(9)).unwrap();
    let len = 512 * (1 + rng.index(40));
    if how % 3 == 2 {
        return [vec![how], bytes.iter().take(len).copied().collect()].concat();
    }
    let (mut index, mut from) = (Vec::new(), 0);
    let mut indexer = Indexer::new(None, vec![Lsn::new(2048)]);
    // As far as whole batches go.
    while indexer.feed(bytes.get(from..from + 512).unwrap_or_default()).is_ok() && from < len {
        from += 512;
        let mut again = Indexer::new(None, Vec::new());
        if again.feed(&bytes[..from]).is_ok()
            && let Ok(made) = again.finish(true)
        {
            index = made.encode();
        }
    }
    [vec![how], index].concat()
}

#[test]
fn segment_indexes() {
    feed(1_500, segment_index, indexed);
}

#[test]
fn records() {
    feed(40_000, record, |rng| {
        let mut bytes = any_bytes(rng, 1);
        bytes.resize(13, 1);
        let unit = batches(rng);
        bytes.extend(unit.iter().skip(48).take(40 + rng.index(400)));
        bytes
    });
}

#[test]
fn batch_by_batch() {
    feed(1500, batch, |rng| {
        let mut bytes = vec![1, u8::try_from(rng.below(8)).unwrap()];
        bytes.extend(batches(rng));
        bytes
    });
}

#[test]
fn every_payload() {
    feed(40_000, payloads, |rng| {
        let len = 16 + rng.index(560);
        piece(rng, len)
    });
}

/// An extent with a few copies; its checksums are put right behind what is changed.
fn copies(rng: &mut Rng) -> Vec<u8> {
    let number = (1_u64 << 32) | (1 + rng.below(3));
    let behind = rng.chance(1, 2).then_some((SPtr { extent: number, offset: 8 }, 1, 7));
    let mut packer = Packer::new(1 + rng.below(3), 1, behind);
    let unit = 1 + rng.below(3);
    for lsn in 1..=1 + rng.below(6) {
        let payload = any_bytes(rng, 60);
        let header = RecordHeader { unit, ..RecordHeader::of_log(Kind::Data, &payload) };
        let mut record = header.encode(Seed::new(&[1; 16], 1), Lsn::new(lsn * 512)).to_vec();
        record.extend_from_slice(&payload);
        packer.push(Lsn::new(lsn * 512), &record);
    }
    let place = ExtentPlace { log_id: [1; 16], at: SPtr { extent: number, offset: 64 } };
    let mut bytes = vec![1];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend(packer.seal(&place).1);
    bytes
}

#[test]
fn extents_anywhere() {
    feed(10_000, extent, copies);
}

#[test]
fn recovery_of_any_directory() {
    feed(250, segment_recovery, |rng| any_bytes(rng, 4000));
}

/// The images that are changed have a secondary log, with units that were moved more than once.
#[test]
fn half_of_the_images_have_extents() {
    for which in 0..IMAGES {
        let extents = image(which).iter().filter(|(name, _)| name.ends_with(".ext"));
        assert_eq!(extents.count() > 0, which >= 4, "{which}");
    }
}

#[test]
fn calls_in_any_order() {
    feed(250, ops, |rng| any_bytes(rng, 6000));
}
