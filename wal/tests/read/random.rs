//! Single records at an LSN: found, or the right word for why not.

use crate::support::{Builder, SIZE};
use proptest::prelude::*;
use siding_wal::format::segment_file_name;
use siding_wal::read::{ReadBuf, Runs, Segments, Stretch, read_record, survey};
use siding_wal::{ErrorKind, Lsn};

fn log() -> Builder {
    let mut log = Builder::new(512);
    let big = vec![9; 15_000];
    for round in 0..6_u8 {
        log.commit(&[&[round; 40], &[], &[round + 1; 900]]);
        log.commit(&[&big[usize::from(round)..]]);
        if round % 2 == 0 {
            log.close();
            log.reopen_clean();
        } else {
            log.reopen_unclean();
        }
    }
    log.commit(&[b"the last"]);
    log
}

fn read(segments: &Segments, log: &Builder, lsn: Lsn) -> Result<Vec<u8>, ErrorKind> {
    let mut buf = ReadBuf::new();
    match read_record(segments, log.incarnation, lsn, &mut buf) {
        Ok((header, range)) => {
            assert_eq!(header.payload_len(), range.len());
            Ok(buf.get(range).to_vec())
        }
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn every_record_is_found_and_nothing_else() {
    let log = log();
    let segments = survey(&log.disk()).unwrap().segments;
    for record in &log.written {
        assert_eq!(read(&segments, &log, record.lsn).as_deref(), Ok(&record.payload[..]));
        for lsn in [record.lsn.plus(1), record.lsn.plus(8), record.batch] {
            assert_eq!(read(&segments, &log, lsn), Err(ErrorKind::NotFound), "{lsn}");
        }
    }
    let first = segments.get(1).unwrap().first_batch();
    assert!(segments.is_void(Lsn::new(first.get() - 1)) && !segments.is_void(first));
    let beyond = segments.first_lsn(99);
    for lsn in [Lsn::ZERO, Lsn::MAX, beyond, log.position] {
        assert_eq!(read(&segments, &log, lsn), Err(ErrorKind::NotFound), "{lsn}");
    }
}

#[test]
fn a_walk_asks_the_disk_once_for_neighbours() {
    let log = log();
    let segments = survey(&log.disk()).unwrap().segments;
    let mut buf = ReadBuf::new();
    for record in log.written[..3].iter().rev() {
        read_record(&segments, log.incarnation, record.lsn, &mut buf).unwrap();
    }
    assert_eq!(buf.reads(), 1);
    buf.forget();
    read_record(&segments, log.incarnation, log.written[0].lsn, &mut buf).unwrap();
    assert_eq!(buf.reads(), 2);
}

#[test]
fn what_is_expected_is_read_once_and_what_is_not_by_itself() {
    let mut log = Builder::new(512);
    let body = [5; 4_000];
    for _ in 0..14 {
        log.commit(&[&body]);
    }
    let segments = survey(&log.disk()).unwrap().segments;
    let (first, last) = (log.written[4].lsn, log.written[9].lsn);
    let stretch = Stretch { from: first, to: last.plus(4_000), records: 6 };
    let mut buf = ReadBuf::new();
    buf.expect(Runs::of([stretch]));
    for record in log.written[4..10].iter().rev().chain(&log.written[4..10]) {
        let (_, range) = read_record(&segments, log.incarnation, record.lsn, &mut buf).unwrap();
        assert_eq!(buf.get(range), record.payload);
    }
    // A block before and one behind, and once more if the newest record reaches beyond.
    let len = last.since(first) + 4_000;
    assert!(buf.reads() <= 2 && buf.bytes_read() <= buf.reads() * (len + 2 * 4_096));
    let before = buf.bytes_read();
    for record in [&log.written[13], &log.written[0]] {
        read_record(&segments, log.incarnation, record.lsn, &mut buf).unwrap();
    }
    let read = buf.bytes_read() - before;
    assert!(read <= 2 * (4_096 + 2 * 4_096), "{read} bytes for two records");
}

#[test]
fn a_window_older_than_a_record_does_not_hide_it() {
    let mut log = Builder::new(512);
    log.commit(&[b"first"]);
    let disk = log.disk();
    let segments = survey(&disk).unwrap().segments;
    let mut buf = ReadBuf::new();
    read_record(&segments, 1, log.written[0].lsn, &mut buf).unwrap();
    log.commit(&[b"second"]);
    disk.change(|image| *image = log.image.clone());
    let second = log.written[1].lsn;
    let (_, range) = read_record(&segments, 1, second, &mut buf).unwrap();
    assert_eq!((buf.get(range), buf.reads()), (&b"second"[..], 2));
    // What is not there is asked for once more, and no more than that.
    assert!(read_record(&segments, 1, log.position.plus(48), &mut buf).is_err());
    assert!(buf.reads() <= 3);
}

#[test]
fn void_bytes_are_no_records_however_valid() {
    let mut log = Builder::new(512);
    log.commit(&[b"kept"]);
    let cut = log.position;
    let lost = log.append(&[(siding_wal::format::Kind::Data, b"never synced")]);
    let lsn = log.written.last().unwrap().lsn;
    let segments = survey(&log.disk()).unwrap().segments;
    assert!(read(&segments, &log, lsn).is_ok());
    log.forget(lost);
    assert_eq!(log.position, cut);
    log.reopen_unclean();
    let segments = survey(&log.disk()).unwrap().segments;
    assert!(segments.is_void(lsn));
    assert_eq!(read(&segments, &log, lsn), Err(ErrorKind::NotFound));
}

#[test]
fn no_record_reaches_beyond_what_was_kept() {
    let mut log = Builder::new(512);
    let at = log.commit(&[&[1; 3000]]);
    log.position = at.plus(1024);
    log.change_segment();
    let segments = survey(&log.disk()).unwrap().segments;
    assert_eq!(read(&segments, &log, at.plus(48)), Err(ErrorKind::Corrupt));
}

#[test]
fn damage_is_named() {
    let log = log();
    let name = segment_file_name(0);
    let record = log.written.iter().find(|record| record.payload.len() > 5000).unwrap();
    let at = usize::try_from(record.lsn.get()).unwrap();
    let after = |change: &dyn Fn(&mut crate::support::Image)| {
        let mut damaged = log.clone();
        change(&mut damaged.image);
        let disk = damaged.disk();
        let segments = survey(&log.disk()).unwrap().segments;
        let mut other = Segments::new(*segments.id(), segments.size());
        for segment in segments.iter() {
            let mut segment = siding_wal::read::Segment::clone(segment);
            segment.file =
                siding_wal::disk::Disk::open(&disk, &segment_file_name(segment.number)).unwrap();
            other.insert(segment);
        }
        read(&other, &log, record.lsn).unwrap_err()
    };
    assert_eq!(after(&|image| image.file(&name)[at + 6000] ^= 1), ErrorKind::Corrupt);
    assert_eq!(after(&|image| image.file(&name)[at] ^= 1), ErrorKind::NotFound);
    assert_eq!(after(&|image| image.file(&name).truncate(at + 6000)), ErrorKind::Missing);
    assert_eq!(after(&|image| image.file(&name).truncate(at)), ErrorKind::NotFound);
    let bad = (at as u64 + 8192)..(at as u64 + 8193);
    assert_eq!(after(&|image| image.bad.push((name.clone(), bad.clone()))), ErrorKind::Io);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_flipped_bit_never_gives_another_record(bit in 0..SIZE * 8, lsn in 64_u64..4000) {
        let mut log = log();
        let byte = usize::try_from(bit / 8).unwrap();
        let segments = survey(&log.disk()).unwrap().segments;
        let intact = read(&segments, &log, Lsn::new(lsn * 8));
        log.image.file(&segment_file_name(0))[byte] ^= 1 << (bit % 8);
        if let Ok(survey) = survey(&log.disk()) {
            match read(&survey.segments, &log, Lsn::new(lsn * 8)) {
                Ok(payload) => prop_assert_eq!(Ok(payload), intact),
                Err(kind) => prop_assert!(
                    matches!(kind, ErrorKind::NotFound | ErrorKind::Corrupt)
                ),
            }
        }
    }
}
