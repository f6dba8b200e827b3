//! Every row of the decision table is reached by a disk that can really come about.

use crate::support::{Builder, Outcome, SIZE};
use siding_wal::format::{Kind, segment_file_name};
use siding_wal::read::{Decision, ROWS};
use siding_wal::{ErrorKind, Lsn};
use std::collections::BTreeMap;

/// Three commits; the third is the last, and nothing protects it.
fn three() -> (Builder, [Lsn; 3]) {
    let mut log = Builder::new(512);
    let places = [1_u8, 2, 3].map(|byte| log.commit(&[&[byte; 700], &[byte; 20]]));
    (log, places)
}

/// Three commits, the open segment changed, and two more.
fn two_segments() -> (Builder, [Lsn; 3]) {
    let (mut log, places) = three();
    log.change_segment();
    log.commit(&[b"four"]);
    log.commit(&[b"five"]);
    (log, places)
}

/// The file of segment 1 was segment 0 before, and the open segment is 1.
fn recycled() -> Builder {
    let mut log = Builder::new(512);
    for round in 0..50_u8 {
        log.commit(&[&[round; 700]]);
    }
    let old = log.image.file(&segment_file_name(0)).clone();
    *log.image.file(&segment_file_name(1)) = old;
    log.change_segment();
    log
}

/// A case of the table: which letter, why it is that one, and the disk.
type Disk = (char, &'static str, Builder);

fn stops() -> Vec<Disk> {
    let mut disks = Vec::new();
    let (mut log, _) = three();
    log.close();
    disks.push(('A', "closed", log.clone()));
    let end = log.position;
    log.bytes_at(end)[..900].fill(77);
    disks.push(('A', "closed, rubbish behind", log));
    disks.push(('B', "never used", Builder::new(4096)));
    disks.push(('B', "crashed between commits", three().0));
    disks.push(('C', "nothing written over what the file held before", recycled()));
    let mut log = recycled();
    log.commit(&[&[1; 200]]);
    disks.push(('C', "one batch written over it, shorter than an old one", log));
    let (mut log, _) = three();
    log.change_segment();
    let lost = log.append(&[(Kind::Data, &[1; 700])]);
    log.append(&[(Kind::Data, b"came first")]);
    log.bytes_at(lost)[..1024].fill(0);
    log.incarnation += 1;
    let kept_end = log.kept_end;
    log.digest = log.batches[2].digest;
    log.start_segment(1, kept_end);
    disks.push(('C', "a segment taken again over what never came to count", log));
    let (mut log, [.., last]) = three();
    log.bytes_at(last)[400] ^= 1;
    disks.push(('D', "the last batch is torn", log));
    let mut log = recycled();
    let at = log.append(&[(Kind::Data, &[3; 2000])]);
    log.bytes_at(at)[1024..2048].fill(9);
    disks.push(('D', "the last batch is torn, old ones behind", log));
    let (mut log, _) = three();
    let lost = log.append(&[(Kind::Data, &[4; 3000])]);
    log.append(&[(Kind::Data, b"came first")]);
    log.bytes_at(lost)[..3072].fill(0);
    disks.push(('E', "the device turned the order round", log));
    let (mut log, _) = three();
    let torn = log.append(&[(Kind::Data, &[4; 3000])]);
    log.append(&[(Kind::Data, b"came first")]);
    log.bytes_at(torn)[..512].fill(0);
    disks.push(('E', "the same, half of the first is there", log));
    disks
}

fn losses() -> Vec<Disk> {
    let mut disks = Vec::new();
    let (mut log, [_, second, third]) = three();
    let len = usize::try_from(third.since(second)).unwrap();
    log.bytes_at(second)[..len].fill(0);
    disks.push(('G', "a lost write below one that says it was durable", log.clone()));
    log.bytes_at(third)[..1024].fill(0);
    log.control(false);
    disks.push(('G', "lost writes below what the control file says", log));
    let (mut log, [.., third]) = two_segments();
    log.bytes_at(third)[..1024].fill(0);
    disks.push(('G', "a lost write in a sealed segment", log));
    let (mut log, [.., third]) = two_segments();
    let short = usize::try_from(third.get() + 600).unwrap();
    log.image.file(&segment_file_name(0)).truncate(short);
    disks.push(('G', "a sealed segment's file was cut short", log));
    let (mut log, [.., third]) = three();
    let short = usize::try_from(third.get() + 600).unwrap();
    log.image.file(&segment_file_name(0)).truncate(short);
    disks.push(('G', "the last file was cut short within a batch", log));
    let mut log = recycled();
    let first = log.commit(&[&[1; 700]]);
    let old = log.image.files[&segment_file_name(0)][512..1536].to_vec();
    log.commit(&[&[2; 700]]);
    log.bytes_at(first)[..1024].copy_from_slice(&old);
    disks.push(('G', "a write lost over old batches", log));
    let (mut log, [first, ..]) = three();
    log.bytes_at(first)[100] ^= 8;
    disks.push(('H', "rot below a batch that says it was durable", log));
    let (mut log, [.., third]) = two_segments();
    log.bytes_at(third)[47] ^= 8;
    disks.push(('H', "rot in a sealed segment's last header", log));
    let (mut log, _) = three();
    log.close();
    let close = log.batches.last().unwrap().lsn;
    log.bytes_at(close)[60] ^= 8;
    disks.push(('H', "rot of CLOSE below the control file's end", log));
    disks
}

fn contradictions() -> Vec<Disk> {
    let mut disks = Vec::new();
    let (mut log, _) = three();
    let (header, bytes, _) = log.form(&[(Kind::Data, b"astray")]);
    log.put(&bytes, header.lsn.plus(8192));
    disks.push(('I', "the last batch landed further on", log));
    let (mut log, [first, ..]) = three();
    let bytes = log.bytes_at(first)[..1024].to_vec();
    let end = log.position;
    log.put(&bytes, end);
    disks.push(('I', "an earlier batch was written where the next belongs", log));
    let (mut log, [_, second, third]) = three();
    let bytes = log.bytes_at(third)[..1024].to_vec();
    log.put(&bytes, second);
    disks.push(('I', "a batch was written over a durable one", log));
    let (mut log, _) = three();
    log.digest ^= 1;
    log.commit(&[b"of a copy that went its own way"]);
    disks.push(('J', "files of two copies", log));
    let (mut log, _) = two_segments();
    log.digest ^= 1;
    let kept_end = log.kept_end;
    log.start_segment(1, kept_end);
    disks.push(('O', "the next header has another digest", log));
    let (mut log, [.., third]) = two_segments();
    log.digest = log.batches[1].digest;
    log.start_segment(1, third.plus(512));
    disks.push(('O', "the next header ends in the middle of a batch", log));
    type Change = fn(&mut Builder);
    let changes: [(&str, Change); 3] = [
        ("the next header goes back in incarnation", |log| log.incarnation = 1),
        ("the next header goes back in epoch", |log| log.epoch = 0),
        ("the next header ends in its own segment", |log| log.position = Lsn::new(SIZE + 512)),
    ];
    for (why, change) in changes {
        let (mut log, _) = three();
        log.reopen_clean();
        log.commit(&[b"of incarnation 2"]);
        change(&mut log);
        log.change_segment();
        disks.push(('O', why, log));
    }
    let (mut log, _) = two_segments();
    log.image.file(&segment_file_name(1))[300] ^= 1;
    disks.push(('P', "rot in the header of the open segment", log));
    let (mut log, _) = two_segments();
    log.image.file(&segment_file_name(0))[0] ^= 1;
    disks.push(('P', "rot in the magic of a sealed segment", log));
    disks
}

fn refusals() -> Vec<Disk> {
    let mut disks = Vec::new();
    let bad = |log: &mut Builder, at: u64| {
        let name = segment_file_name(at / SIZE);
        log.image.bad.push((name, at % SIZE..at % SIZE + 1));
    };
    let (mut log, _) = three();
    let far = log.commit(&[&[4; 9000]]);
    log.change_segment();
    bad(&mut log, far.get() + 8000);
    disks.push(('K', "a sealed segment cannot be read", log));
    let (mut log, _) = three();
    let far = log.commit(&[&[4; 9000]]);
    log.control(false);
    bad(&mut log, far.get() + 8000);
    disks.push(('K', "nor what the control file says was durable", log));
    let (mut log, _) = three();
    log.commit(&[&[4; 9000]]);
    let end = log.position.get();
    bad(&mut log, end + 4096);
    log.append(&[(Kind::Data, &[5; 9000])]);
    disks.push(('L', "the end cannot be read", log));
    let (mut log, _) = three();
    bad(&mut log, SIZE - 1);
    disks.push(('L', "nor the rest of the segment", log));
    let (mut log, _) = two_segments();
    bad(&mut log, SIZE);
    disks.push(('L', "nor the header of the last segment", log));
    let (mut log, _) = three();
    log.image.bad.push(("control".into(), 0..1));
    disks.push(('L', "nor the control file", log));
    let (mut log, _) = two_segments();
    log.change_segment();
    log.image.files.remove(&segment_file_name(1));
    disks.push(('M', "a segment in the middle is gone", log));
    let (mut log, _) = two_segments();
    log.control(false);
    log.image.files.remove(&segment_file_name(1));
    disks.push(('M', "the last segment is gone", log));
    let (mut log, _) = two_segments();
    newer(&mut log.image.file(&segment_file_name(1))[..512], 8);
    disks.push(('N', "a segment of a newer version", log));
    let (mut log, _) = three();
    newer(&mut log.image.file("control")[4096..4608], 8);
    disks.push(('N', "a control file of a newer version", log));
    let (mut log, _) = three();
    newer(&mut log.image.file(&segment_file_name(0))[..512], 24);
    disks.push(('N', "a feature", log));
    let (log, _) = three();
    disks.push(('N', "a record of an unknown kind", unknown_kind(log)));
    disks
}

/// Raises a number in a checksummed block of 512 bytes.
fn newer(block: &mut [u8], at: usize) {
    block[at] += 1;
    let crc = crc32c::crc32c(&block[..508]);
    block[508..].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the log's last record one of kind 200, checksums right.
fn unknown_kind(mut log: Builder) -> Builder {
    let (header, mut bytes, _) = log.form(&[(Kind::Data, b"from the future")]);
    bytes[48 + 4] = 200;
    let mut crc = crc32c::crc32c(&crate::support::ID);
    crc = crc32c::crc32c_append(crc, &header.incarnation.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &header.lsn.plus(48).get().to_le_bytes());
    crc = crc32c::crc32c_append(crc, &bytes[48..76]);
    bytes[76..80].copy_from_slice(&crc.to_le_bytes());
    log.put(&bytes, header.lsn);
    log
}

#[test]
fn every_row_is_reached_by_a_disk() {
    let mut reached: BTreeMap<char, usize> = BTreeMap::new();
    for disks in [stops(), losses(), contradictions(), refusals()] {
        for (letter, why, log) in disks {
            let outcome = log.outcome();
            assert_eq!(outcome.letter(), letter, "{why}: {outcome:?}");
            *reached.entry(letter).or_default() += 1;
            if let Outcome::Scan(found, verdict) = &outcome {
                let kept: Vec<_> =
                    log.written.iter().filter(|record| record.lsn < verdict.end).collect();
                assert_eq!(found.iter().collect::<Vec<_>>(), kept, "{why}");
            }
            if let Some(error) = outcome.refusal() {
                let row = ROWS.iter().find(|row| row.letter == letter).unwrap();
                assert_eq!(row.decision, Decision::Refuse(error.kind()), "{why}");
                assert_eq!(error.advice(), Some(row.advice), "{why}");
                assert!(error.path().is_some(), "{why}");
            }
        }
    }
    // The scan goes on by itself where the table says so.
    let (log, _) = two_segments();
    let Outcome::Scan(found, _) = log.outcome() else { unreachable!() };
    assert_eq!(found, log.written);
    reached.insert('F', 1);
    let letters: String = reached.keys().collect();
    assert_eq!(letters, ROWS.iter().map(|row| row.letter).collect::<String>());
}

#[test]
fn the_largest_incarnation_is_found_behind_the_end() {
    let (mut log, _) = three();
    log.close();
    log.reopen_clean();
    // The slot of that open is lost with the control file; its only batch is torn.
    log.image.files.remove("control");
    let torn = log.append(&[(Kind::Data, &[1; 2000])]);
    log.bytes_at(torn)[1000] ^= 1;
    let Outcome::Scan(_, verdict) = log.outcome() else { unreachable!() };
    assert_eq!((verdict.row.letter, verdict.end, verdict.incarnation), ('D', torn, 2));
    // The same, where only a later batch of it arrived.
    log.append(&[(Kind::Data, b"later")]);
    log.bytes_at(torn)[..2560].fill(0);
    let Outcome::Scan(_, verdict) = log.outcome() else { unreachable!() };
    assert_eq!((verdict.row.letter, verdict.end, verdict.incarnation), ('E', torn, 2));
}

#[test]
fn a_clean_slot_that_a_later_open_outlived_ends_nothing() {
    let (mut log, _) = three();
    log.close();
    // The write that takes the mark away never reached the device, the batches did.
    let slot = log.image.files["control"].clone();
    log.reopen_clean();
    log.image.files.insert("control".into(), slot);
    log.commit(&[b"a later open"]);
    let Outcome::Scan(found, verdict) = log.outcome() else { unreachable!() };
    assert_eq!(found, log.written);
    assert_eq!((verdict.row.letter, verdict.incarnation), ('B', 2));
    assert_eq!(verdict.refusal().map(|error| error.kind()), None::<ErrorKind>);
}
