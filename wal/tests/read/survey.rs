//! What a directory can be believed to hold, and what it is refused for.

use crate::support::{Builder, Image, ImageDisk, Outcome, SIZE};
use siding_wal::format::{Kind, segment_file_name};
use siding_wal::read::{Survey, survey};
use siding_wal::{Error, ErrorKind, Lsn};

fn look(image: &Image) -> Result<Survey, Error> {
    survey(&ImageDisk::new(image.clone()))
}

fn refused(image: &Image, kind: ErrorKind, file: &str) {
    let error = look(image).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.path().unwrap().to_str(), Some(file), "{error}");
    assert!(error.advice().is_some());
}

fn seg(number: u64) -> String {
    segment_file_name(number)
}

/// Four segments, a few batches in each; the control file is of the last segment change.
fn four() -> Builder {
    let mut log = Builder::new(512);
    for number in 0..4_u8 {
        log.commit(&[&[number; 100], &[number; 3000]]);
        log.commit(&[&[number; 100]]);
        if number < 3 {
            log.change_segment();
        }
        log.control(false);
    }
    log
}

#[test]
fn nothing_is_nothing() {
    let mut image = Image::default();
    image.file("lock").extend_from_slice(b"4711");
    image.file("lost+found");
    image.file("admin.sock");
    // The secondary log's.
    image.file("0000000100000001.ext");
    let survey = look(&image).unwrap();
    assert!(survey.is_empty() && survey.identity.is_none() && survey.strangers.is_empty());
    image.file("notes.txt");
    image.file("0.seg");
    image.file("000000010000000G.ext");
    image.file("000000000000000G.seg");
    let survey = look(&image).unwrap();
    assert_eq!(
        survey.strangers,
        ["0.seg", "000000000000000G.seg", "000000010000000G.ext", "notes.txt"]
    );
}

#[test]
fn a_creation_cut_short_is_an_empty_log() {
    let created = Builder::without_control(512);
    for len in [0, 100, 512, 4096, 65536] {
        let mut image = Image::default();
        image.file(&seg(0)).resize(len, 0);
        let survey = look(&image).unwrap();
        assert!(survey.is_empty() && survey.identity.is_none(), "blank, {len} bytes");
        assert_eq!(survey.blanks, [(0, len as u64)]);
    }
    for torn in 1..512 {
        let mut image = created.image.clone();
        image.file(&seg(0))[torn..512].fill(0);
        assert!(look(&image).unwrap().is_empty(), "{torn} bytes of the header arrived");
        let mut image = created.image.clone();
        image.file(&seg(0))[..torn].fill(0);
        assert!(look(&image).unwrap().is_empty(), "all but {torn} bytes arrived");
    }
    for control in [0, 512, 8192] {
        let mut image = created.image.clone();
        image.file("control").resize(control, 0);
        let survey = look(&image).unwrap();
        assert!(survey.is_empty() && survey.unfinished);
    }
    let mut used = created;
    used.append(&[(Kind::Data, b"first")]);
    let survey = look(&used.image).unwrap();
    assert!(!survey.is_empty() && !survey.unfinished);
}

#[test]
fn what_is_left_of_a_log_is_no_empty_log() {
    // No control file, and the only header is gone: the batches still stand there.
    let mut log = Builder::without_control(512);
    log.commit(&[b"acknowledged"]);
    log.image.file(&seg(0))[..512].fill(0);
    refused(&log.image, ErrorKind::Corrupt, &seg(0));
    let mut log = Builder::without_control(512);
    log.commit(&[b"acknowledged"]);
    log.image.file(&seg(0))[20] ^= 1;
    refused(&log.image, ErrorKind::Corrupt, &seg(0));
    // Only a spare is left of it.
    let mut image = Image::default();
    image.file(&seg(5)).resize(65536, 0);
    refused(&image, ErrorKind::Missing, &seg(0));
    // Only the control file is.
    let mut image = four().image;
    for number in 0..4 {
        image.files.remove(&seg(number));
    }
    refused(&image, ErrorKind::Missing, &seg(0));
}

#[test]
fn files_that_do_not_belong_here() {
    let log = four();
    let mut image = log.image.clone();
    image.file(&seg(9)).extend_from_slice(&[b'x'; 5000]);
    refused(&image, ErrorKind::ForeignFile, &seg(9));
    // A segment of another log, valid in itself.
    let mut image = log.image.clone();
    let mut header = log.header(2, Lsn::new(SIZE + 512));
    header.log_id = [1; 16];
    image.file(&seg(2))[..512].copy_from_slice(&header.encode());
    refused(&image, ErrorKind::ForeignFile, &seg(2));
    image.files.remove("control");
    refused(&image, ErrorKind::ForeignFile, &seg(2));
    // A copy under another number.
    let mut image = log.image.clone();
    let copy = image.file(&seg(3)).clone();
    *image.file(&seg(4)) = copy;
    refused(&image, ErrorKind::ForeignFile, &seg(4));
    // The control file of another log.
    let mut image = log.image.clone();
    let mut slot = log.slot(false);
    slot.log_id = [1; 16];
    image.file("control").fill(0);
    image.file("control")[..512].copy_from_slice(&slot.encode());
    refused(&image, ErrorKind::ForeignFile, "control");
    // A segment of another size.
    let mut image = log.image.clone();
    let mut header = log.header(3, Lsn::new(2 * SIZE + 512));
    header.segment_size = 2 * SIZE;
    image.file(&seg(3))[..512].copy_from_slice(&header.encode());
    refused(&image, ErrorKind::Corrupt, &seg(3));
}

#[test]
fn segments_below_oldest_may_be_in_any_state() {
    let mut log = four();
    log.oldest = Lsn::new(2 * SIZE + 512);
    log.control(false);
    let mut image = log.image.clone();
    image.file(&seg(0))[..4096].fill(0);
    image.file(&seg(1))[40] ^= 1;
    let survey = look(&image).unwrap();
    assert_eq!(survey.leftovers, [0, 1]);
    assert_eq!(survey.segments.oldest_number(), Some(2));
    assert_eq!(survey.oldest, log.oldest);
    image.files.remove(&seg(1));
    image.bad.push((seg(0), 0..512));
    assert_eq!(look(&image).unwrap().leftovers, [0]);
    // At or above it they are needed.
    image.files.remove(&seg(2));
    refused(&image, ErrorKind::Missing, &seg(2));
    let mut image = log.image.clone();
    image.file(&seg(2))[..512].fill(0);
    refused(&image, ErrorKind::Missing, &seg(2));
    let mut image = log.image.clone();
    image.file(&seg(2))[40] ^= 1;
    refused(&image, ErrorKind::Corrupt, &seg(2));
    let mut image = log.image;
    image.bad.push((seg(2), 0..512));
    refused(&image, ErrorKind::Io, &seg(2));
}

#[test]
fn without_a_control_file_the_headers_answer() {
    let mut log = four();
    log.reopen_clean();
    log.keypoint = (Lsn::new(SIZE + 560), Lsn::new(SIZE + 2000));
    log.change_segment();
    log.commit(&[b"in segment 4"]);
    let mut image = log.image.clone();
    image.files.remove("control");
    let survey = look(&image).unwrap();
    assert!(survey.proven && survey.control.is_none() && survey.clean_end.is_none());
    assert_eq!(survey.segments.len(), 5);
    assert_eq!(survey.known_durable, log.kept_end);
    assert_eq!((survey.keypoint, survey.incarnation, survey.unit_block), (log.keypoint, 2, 2));
    // A gap may be what trimming left; whether it is, the last keypoint says.
    image.files.remove(&seg(1));
    let survey = look(&image).unwrap();
    assert!(!survey.proven);
    assert_eq!((survey.segments.oldest_number(), survey.leftovers), (Some(2), vec![0]));
    assert_eq!((survey.oldest, survey.keypoint.0), (Lsn::new(2 * SIZE), Lsn::ZERO));
}

#[test]
fn an_abandoned_segment_is_free_to_be_taken_again() {
    // An open died while it wrote the header of segment 4.
    let mut log = four();
    let old = log.image.files[&seg(1)].clone();
    let before = log.position;
    log.incarnation += 3;
    log.change_segment();
    let header = log.image.files[&seg(4)][..512].to_vec();
    for torn in 1..512 {
        let mut image = log.image.clone();
        *image.file(&seg(4)) = old.clone();
        image.file(&seg(4))[..512].fill(0);
        image.file(&seg(4))[..torn].copy_from_slice(&header[..torn]);
        let survey = look(&image).unwrap();
        assert_eq!((survey.abandoned, survey.segments.len()), (Some(4), 4), "{torn}");
    }
    // One died after it, with a later batch on the disk and the first not; the next one died
    // while it took the segment again.
    let lost = log.append(&[(Kind::Data, &[1; 800])]);
    log.append(&[(Kind::Data, &[2; 800])]);
    log.bytes_at(lost)[..1024].fill(0);
    log.image.file(&seg(4))[100] ^= 1;
    let survey = look(&log.image).unwrap();
    assert_eq!((survey.abandoned, survey.incarnation), (Some(4), 4));
    assert!(survey.known_durable <= before);
    // The same, where of the first the header came through, and not the rest.
    let mut log = four();
    log.change_segment();
    let torn = log.append(&[(Kind::Data, &[1; 800])]);
    log.bytes_at(torn)[512..1024].fill(0);
    log.image.file(&seg(4))[100] ^= 1;
    assert_eq!(look(&log.image).unwrap().abandoned, Some(4));
    // Had the first arrived whole, the header was durable, and is damaged now.
    let mut log = four();
    log.change_segment();
    log.append(&[(Kind::Data, b"the first")]);
    log.image.file(&seg(4))[100] ^= 1;
    refused(&log.image, ErrorKind::Corrupt, &seg(4));
    // The same if a later one says that the first was durable, or the control file does.
    let mut log = four();
    log.change_segment();
    let first = log.commit(&[&[1; 800]]);
    log.commit(&[&[2; 800]]);
    log.bytes_at(first)[..1024].fill(0);
    log.image.file(&seg(4))[100] ^= 1;
    refused(&log.image, ErrorKind::Corrupt, &seg(4));
    let mut log = four();
    log.change_segment();
    log.control(false);
    log.image.file(&seg(4))[100] ^= 1;
    refused(&log.image, ErrorKind::Corrupt, &seg(4));
}

#[test]
fn spares_are_listed_and_hide_nothing() {
    let mut log = four();
    log.image.file(&seg(4)).resize(65536, 0);
    log.image.file(&seg(5)).resize(700, 0);
    let survey = look(&log.image).unwrap();
    assert_eq!(survey.blanks, [(4, 65536), (5, 700)]);
    let Outcome::Scan(found, verdict) = log.outcome() else { panic!("refused") };
    assert_eq!((found, verdict.row.letter), (log.written.clone(), 'B'));
    log.image.file(&seg(2))[..512].fill(0);
    refused(&log.image, ErrorKind::Missing, &seg(2));
}

#[test]
fn the_scan_starts_at_the_last_keypoint() {
    let mut log = four();
    let begin = log.append(&[(Kind::KeypointBegin, &[0; 8]), (Kind::KeypointEnd, &[0; 56])]);
    log.durable = log.position;
    log.keypoint = (begin.plus(48), begin.plus(88));
    log.control(false);
    log.commit(&[b"after"]);
    let Outcome::Scan(found, verdict) = log.outcome() else { panic!("refused") };
    assert_eq!(found, log.written[log.written.len() - 3..]);
    assert_eq!((verdict.row.letter, verdict.digest), ('B', log.digest));
}

#[test]
fn a_torn_control_slot_leaves_the_other() {
    let mut log = four();
    log.oldest = Lsn::new(SIZE + 512);
    log.control(false);
    let newest = look(&log.image).unwrap();
    assert_eq!(newest.control.as_ref().unwrap().sequence, log.sequence);
    let at = if log.sequence.is_multiple_of(2) { 0 } else { 4096 };
    log.image.file("control")[at + 30] ^= 1;
    let older = look(&log.image).unwrap();
    assert_eq!(older.control.as_ref().unwrap().sequence, log.sequence - 1);
    assert!(older.oldest < newest.oldest);
}

#[test]
fn a_segment_may_be_taken_again_with_a_smaller_unit() {
    let mut log = four();
    log.unit = 4096;
    log.change_segment();
    log.control(false);
    // The next open died between the header and its control slot.
    log.incarnation += 1;
    log.unit = 512;
    let kept_end = log.kept_end;
    log.start_segment(4, kept_end);
    let Outcome::Scan(found, verdict) = log.outcome() else { panic!("refused") };
    assert_eq!((found, verdict.end), (log.written.clone(), log.position));
    assert!(verdict.refusal().is_none(), "{verdict:?}");
}

#[test]
fn damage_counts_from_the_oldest_that_a_header_names() {
    let mut log = four();
    log.oldest = Lsn::new(2 * SIZE + 512);
    log.change_segment();
    log.image.files.remove("control");
    let survey = look(&log.image).unwrap();
    assert_eq!((survey.oldest, survey.segments.len()), (log.oldest, 5));
    // Below, a damaged header ends what is live; at or above, it is one that was needed.
    let mut image = log.image.clone();
    image.file(&seg(1))[40] ^= 1;
    assert_eq!(look(&image).unwrap().segments.oldest_number(), Some(2));
    image.file(&seg(2))[40] ^= 1;
    refused(&image, ErrorKind::Corrupt, &seg(2));
}

#[test]
fn a_damaged_header_out_of_turn_is_nobodys_unfinished_work() {
    for control in [true, false] {
        let mut log = four();
        if !control {
            log.image.files.remove("control");
        }
        let mut header = log.header(6, log.position).encode();
        header[100] ^= 1;
        log.image.file(&seg(6)).extend_from_slice(&header);
        refused(&log.image, ErrorKind::Corrupt, &seg(6));
    }
}

#[test]
fn a_bit_that_changes_in_the_zeros_of_a_spare_is_of_no_consequence() {
    for control in [true, false] {
        let mut log = four();
        for spare in 4..7 {
            log.image.file(&seg(spare)).resize(65536, 0);
        }
        if !control {
            log.image.files.remove("control");
        }
        for byte in 8..520 {
            for spare in 5..7 {
                let mut image = log.image.clone();
                image.file(&seg(spare))[byte] ^= 1 << (byte % 8);
                let survey = look(&image).unwrap();
                assert_eq!(survey.blanks, [(4, 65536), (5, 65536), (6, 65536)], "{byte}");
                assert_eq!(survey.abandoned, None);
            }
        }
        // What stands where a header starts may be another program's.
        log.image.file(&seg(5))[3] ^= 1;
        refused(&log.image, ErrorKind::ForeignFile, &seg(5));
    }
}

#[test]
fn a_sealed_file_that_was_shortened_is_noticed_before_anybody_reads_there() {
    let mut log = four();
    let begin = log.append(&[(Kind::KeypointBegin, &[0; 8]), (Kind::KeypointEnd, &[0; 56])]);
    log.durable = log.position;
    log.keypoint = (begin.plus(48), begin.plus(88));
    log.control(false);
    log.image.file(&seg(1)).truncate(1000);
    refused(&log.image, ErrorKind::Missing, &seg(1));
    assert_eq!(look(&log.image).unwrap_err().lsn(), Some(Lsn::new(SIZE + 1000)));
}
