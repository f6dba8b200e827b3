//! The forward scan finds every record, whole and once, and the end where it is.

use crate::support::{Builder, ID, SIZE, Written, drain};
use siding_wal::format::{BatchHeader, Kind, segment_file_name};
use siding_wal::read::{Forward, Next, Segment, Segments, Step, Verdict, survey};
use siding_wal::{ErrorKind, Lsn};

fn scan(log: &Builder) -> (Vec<Written>, Verdict) {
    drain(survey(&log.disk()).unwrap().scan().unwrap())
}

#[test]
fn an_empty_log_ends_at_its_first_batch() {
    let log = Builder::new(512);
    let (found, verdict) = scan(&log);
    assert!(found.is_empty());
    assert_eq!((verdict.row.letter, verdict.end), ('B', Lsn::new(512)));
}

#[test]
fn batches_records_segments_and_incarnations() {
    for unit in [512, 4096] {
        let mut log = Builder::new(unit);
        let big = vec![5; 20_000];
        for round in 0..3_u8 {
            log.commit(&[&[round; 10], &[], &[round; 77]]);
            log.commit(&[&big]);
            log.close();
            log.reopen_clean();
            log.commit(&[&[round; 300]]);
            log.change_segment();
            log.commit(&[b"first in its segment"]);
            log.reopen_unclean();
        }
        log.commit(&[b"last"]);
        let (found, verdict) = scan(&log);
        assert_eq!(found, log.written);
        assert_eq!((verdict.row.letter, verdict.end), ('B', log.position));
        assert_eq!(verdict.digest, log.digest);
        assert_eq!(verdict.incarnation, log.incarnation);
        assert!(verdict.refusal().is_none());
        let ahead = survey(&log.disk()).unwrap().scan().unwrap().read_ahead(3);
        assert_eq!(drain(ahead).0, log.written);
    }
}

#[test]
fn a_full_segment_goes_on_in_the_next() {
    let mut log = Builder::new(512);
    while log.position.get() < crate::support::SIZE {
        log.commit(&[&[1; 400]]);
    }
    assert_eq!(log.position.get(), crate::support::SIZE);
    let (found, verdict) = scan(&log);
    assert_eq!((found.len(), verdict.row.letter), (127, 'B'));
    log.change_segment();
    log.commit(&[b"next"]);
    let (found, verdict) = scan(&log);
    assert_eq!((found.len(), verdict.end), (128, log.position));
}

#[test]
fn from_an_lsn_starts_at_its_batch() {
    let mut log = Builder::new(512);
    for round in 0..40_u8 {
        log.commit(&[&[round; 100], &[round; 700]]);
        if round % 9 == 8 {
            log.reopen_unclean();
        }
    }
    let all = log.written.clone();
    let segments = survey(&log.disk()).unwrap().segments;
    for record in &all {
        for lsn in [record.batch, record.lsn] {
            let (found, _) = drain(Forward::from_lsn(&segments, lsn).unwrap());
            let from = all.iter().position(|other| other.batch == record.batch).unwrap();
            assert_eq!(found, all[from..], "from {lsn}");
        }
        let (found, _) = drain(Forward::from_batch(&segments, record.batch).unwrap());
        assert_eq!(found[0].batch, record.batch);
    }
    // What lies behind the kept part of a segment is void: the scan starts with the next.
    let first = segments.get(1).unwrap().first_batch();
    let (found, _) = drain(Forward::from_lsn(&segments, Lsn::new(first.get() - 2000)).unwrap());
    assert_eq!(found[0].batch, first);
}

#[test]
fn from_an_lsn_passes_batches_of_several_opens() {
    let mut log = Builder::new(512);
    for round in 0..10_u8 {
        log.commit(&[&[round; 100]]);
        if round == 4 {
            log.close();
            log.reopen_clean();
        }
    }
    let all = log.written.clone();
    let segments = survey(&log.disk()).unwrap().segments;
    for record in &all {
        let (found, verdict) = drain(Forward::from_lsn(&segments, record.lsn).unwrap());
        let from = all.iter().position(|other| other.batch == record.batch).unwrap();
        assert_eq!(found, all[from..], "from {}, {verdict:?}", record.lsn);
    }
}

#[test]
fn a_limit_holds_the_scan_until_it_is_raised() {
    let mut log = Builder::new(512);
    let first = log.commit(&[b"one"]);
    let second = log.commit(&[b"two"]);
    let third = log.commit(&[&[3; 5000]]);
    let disk = log.disk();
    let segments = survey(&disk).unwrap().segments;
    let mut scan = Forward::from_segment(&segments, 0).unwrap().limit(second);
    assert!(matches!(scan.next_batch().unwrap(), Step::Batch(batch) if batch.lsn == first));
    assert!(matches!(scan.next_batch().unwrap(), Step::Limit));
    assert_eq!(scan.records().count(), 0);
    // In the middle of a batch, the limit holds before it.
    scan.advance(&segments, third.plus(512));
    assert!(matches!(scan.next_batch().unwrap(), Step::Batch(batch) if batch.lsn == second));
    assert!(matches!(scan.next_batch().unwrap(), Step::Limit));
    // What stood above the limit when it was read is not believed later.
    log.append(&[(Kind::Data, b"four")]);
    disk.change(|image| *image = log.image.clone());
    scan.advance(&segments, log.position);
    assert!(matches!(scan.next_batch().unwrap(), Step::Batch(batch) if batch.lsn == third));
    assert!(matches!(scan.next_batch().unwrap(), Step::Batch(_)));
    assert_eq!(scan.records().next().unwrap().2, b"four");
    assert!(matches!(scan.next_batch().unwrap(), Step::Limit));
    assert_eq!(scan.durable_before(), log.durable);
}

#[test]
fn headers_alone_tell_what_is_durable() {
    let mut log = Builder::new(512);
    log.commit(&[&[1; 3000]]);
    log.change_segment();
    let durable = log.commit(&[&[2; 3000]]);
    let torn = log.append(&[(Kind::Data, &[3; 3000])]);
    let segments = survey(&log.disk()).unwrap().segments;
    let mut headers = Forward::from_segment(&segments, 0).unwrap().headers_alone();
    let Step::End(verdict) = headers.next_batch().unwrap() else { panic!("a batch") };
    assert_eq!((verdict.end, headers.durable_before()), (log.position, torn));
    let scan = Forward::from_segment(&segments, 0).unwrap().limit(headers.durable_before());
    let mut scan = scan;
    let mut last = Lsn::ZERO;
    while let Step::Batch(batch) = scan.next_batch().unwrap() {
        last = batch.lsn;
    }
    assert_eq!((last, scan.position()), (durable, torn));
}

#[test]
fn a_fenced_epoch_is_a_leftover() {
    let mut log = Builder::new(512);
    log.epoch = 5;
    log.start_segment(0, Lsn::ZERO);
    log.commit(&[b"under the right of epoch 5"]);
    let end = log.position;
    log.epoch = 4;
    log.commit(&[b"by one that was fenced"]);
    let (found, verdict) = scan(&log);
    assert_eq!((found.len(), verdict.row.letter, verdict.end), (1, 'C', end));
    assert_eq!(verdict.epoch, 5);
}

#[test]
fn a_header_must_fit_its_records() {
    let mut log = Builder::new(512);
    log.commit(&[b"before"]);
    let (header, bytes, _) = log.form(&[(Kind::Data, &[1; 100]), (Kind::Data, &[2; 100])]);
    let wrong: [fn(&mut BatchHeader); 5] = [
        |header| header.digest ^= 1,
        |header| header.count -= 1,
        |header| header.len -= 8,
        |header| header.len += 32,
        // Far behind the end of the segment, and nothing is allocated for it.
        |header| header.len = u32::MAX - 7,
    ];
    for change in wrong {
        let mut header = header;
        change(&mut header);
        let mut log = log.clone();
        let mut bytes = bytes.clone();
        bytes[..48].copy_from_slice(&header.encode(&ID));
        log.put(&bytes, header.lsn);
        let (found, verdict) = scan(&log);
        assert_eq!((found.len(), verdict.row.letter, verdict.end), (1, 'D', header.lsn));
        // Even in a file that is longer than its segment.
        log.image.file(&segment_file_name(0)).resize(2 * SIZE as usize, 0);
        assert_eq!(scan(&log).1.row.letter, 'D');
    }
    log.put(&bytes, header.lsn);
    assert_eq!(scan(&log).0.len(), 3);
}

#[test]
fn a_batch_beyond_its_segment_is_none_though_it_is_whole() {
    let mut log = Builder::new(512);
    log.commit(&[&[1; 60_000]]);
    let end = log.position;
    log.image.file(&segment_file_name(0)).resize(2 * SIZE as usize, 0);
    log.append(&[(Kind::Data, &[2; 9000])]);
    let (found, verdict) = scan(&log);
    assert_eq!((found.len(), verdict.row.letter, verdict.end), (1, 'D', end));
}

#[test]
fn a_batch_that_the_next_header_cuts_in_two_is_not_delivered() {
    let mut log = Builder::new(512);
    log.commit(&[b"kept"]);
    let cut = log.commit(&[&[1; 3000]]);
    log.position = cut.plus(1024);
    log.change_segment();
    let (found, verdict) = scan(&log);
    assert_eq!((found.len(), verdict.row.letter, verdict.end), (1, 'O', cut));
}

#[test]
fn what_lies_beyond_the_last_segment_is_for_the_caller_to_say() {
    let mut log = Builder::new(512);
    for _ in 0..3 {
        log.commit(&[b"one"]);
        log.change_segment();
    }
    let whole = survey(&log.disk()).unwrap().segments;
    let mut gap = Segments::new(ID, SIZE);
    for segment in whole.iter().filter(|segment| segment.number != 1) {
        gap.insert(Segment::clone(segment));
    }
    let (_, verdict) = drain(Forward::from_segment(&gap, 0).unwrap());
    assert_eq!((verdict.row.letter, verdict.segment), ('M', 0));
    let beyond = [(Next::Newer, 'N'), (Next::Damaged, 'P'), (Next::Unreadable, 'L')];
    for (next, letter) in beyond.into_iter().chain([(Next::Last, 'B')]) {
        let (_, verdict) = drain(Forward::from_segment(&whole, 2).unwrap().beyond(next));
        assert_eq!(verdict.row.letter, letter);
    }
    for (lsn, kind) in [(512, ErrorKind::Trimmed), (9 * SIZE, ErrorKind::NotFound)] {
        let mut segments = whole.clone();
        assert_eq!(segments.remove_below(Lsn::new(SIZE + 600)).len(), 1);
        let error = Forward::from_lsn(&segments, Lsn::new(lsn)).unwrap_err();
        assert_eq!((error.kind(), error.lsn()), (kind, Some(Lsn::new(lsn))));
        assert_eq!(whole.len(), 4);
    }
}
