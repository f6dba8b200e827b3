//! The forward scan finds every record, whole and once, and the end where it is.

use crate::support::{Builder, Written, drain};
use siding_wal::Lsn;
use siding_wal::format::Kind;
use siding_wal::read::{Forward, Step, Verdict, survey};

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
