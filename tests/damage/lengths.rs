//! Files that end elsewhere, or are not there.

use crate::disk::Copied;
use crate::flips::{USED, keep_memory};
use crate::history::{
    DISCIPLINES, End, SEGMENT, UNIT, batches, kept, one_segment, several_segments,
};
use crate::witness::{Counts, ErrorName, Outcome, Whole};
use siding::{Discipline, Kind, Lsn};
use siding_wal::format::{BATCH_HEADER_LEN, HEADER_LEN, RecordHeader};
use std::sync::Arc;

/// Cuts each file to each of the lengths, and counts what it comes to. A segment is missed below
/// the end of what was kept in it, and nothing else is: the control file says where the log ended,
/// so nothing is ever taken for a torn tail.
fn cut_all(whole: &Whole, lens: impl Fn(usize) -> bool) -> Counts {
    keep_memory();
    let kept = kept(&whole.files, whole.oldest, whole.end);
    let mut counts = Counts::new();
    for (name, bytes) in whole.main() {
        let kept = kept.get(name).copied().unwrap_or(0);
        for len in (0..bytes.len()).filter(|len| lens(*len)) {
            let copy = Arc::new(whole.copy());
            copy.cut(name, len);
            let outcome = whole.judge(&copy);
            let outcome = outcome.unwrap_or_else(|what| panic!("{name} cut to {len}: {what}"));
            let named = matches!(outcome, Outcome::Named(..));
            let fine = if len < kept { named } else { outcome == Outcome::Unchanged };
            assert!(fine, "{name}, {kept} bytes kept, cut to {len}: {outcome:?}");
            if len.is_multiple_of(USED) && !named {
                whole.use_it(&copy).unwrap_or_else(|why| panic!("{name} at {len}: {why:?}"));
            }
            *counts.entry(outcome).or_default() += 1;
        }
    }
    counts
}

#[test]
fn every_length_of_every_file_of_a_closed_log() {
    for discipline in DISCIPLINES {
        let whole = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
        let counts = cut_all(&whole, |_| true);
        let end = usize::try_from(whole.end.get()).unwrap() % SEGMENT;
        let named = |name, letter| counts[&Outcome::Named(name, Some(letter))];
        assert_eq!(named(ErrorName::Missing, 'G'), end - HEADER_LEN);
        // Half a header; and of an empty file it is the control file that knows better.
        assert_eq!(named(ErrorName::Corrupt, 'P'), HEADER_LEN - 1);
        assert_eq!(named(ErrorName::Missing, 'M'), 1);
    }
}

#[test]
fn lengths_of_files_of_several_segments() {
    for discipline in DISCIPLINES {
        let whole = Whole::of(several_segments(discipline), discipline, End::Close);
        // Around the beginning of every eleventh unit.
        println!("{:#?}", cut_all(&whole, |len| (len + 1) % (11 * UNIT) < 3));
    }
}

/// Without a control file nothing says where the log ended: a last file that ends between two
/// batches is then a shorter log. Within a batch it is damage all the same.
#[test]
fn without_a_control_file_a_cut_between_batches_goes_unseen() {
    let discipline = Discipline::DeferredApply;
    let whole = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
    let name = whole.segments()[0];
    let mut files = whole.files.clone();
    files.remove("control");
    let mut counts = Counts::new();
    // Without a whole keypoint nothing makes up for the segment that was trimmed.
    let bytes = &whole.files[name];
    let all = batches(bytes, Lsn::MAX);
    let keypoint = all.iter().position(|batch| holds_keypoint(&bytes[batch.clone()])).unwrap();
    assert!(keypoint > 0 && keypoint < 10);
    for batch in all.into_iter().skip(keypoint + 1) {
        let end = batch.start + batch.len().next_multiple_of(UNIT);
        let header = batch.start + BATCH_HEADER_LEN;
        // What is left of a header tells nothing; neither does padding that is gone.
        let seen = header..batch.end;
        for len in (batch.start..end).filter(|len| len % 7 < 2 || len.abs_diff(header) < 3) {
            let copy = Arc::new(Copied::of(&files));
            copy.cut(name, len);
            let outcome = whole.judge(&copy).unwrap_or_else(|what| panic!("{len}: {what}"));
            let named = matches!(outcome, Outcome::Named(..));
            assert_eq!(named, seen.contains(&len), "cut to {len}, in {batch:?}: {outcome:?}");
            *counts.entry(outcome).or_default() += 1;
        }
    }
    assert!(counts.contains_key(&Outcome::TailCut), "what the manual says no longer holds");
    println!("{counts:#?}");
}

/// Whether a keypoint is complete with this batch.
fn holds_keypoint(batch: &[u8]) -> bool {
    let mut at = BATCH_HEADER_LEN;
    while at < batch.len() {
        let record = RecordHeader::parse(&batch[at..]).unwrap();
        if record.kind == Kind::KeypointEnd {
            return true;
        }
        at += record.padded_len();
    }
    false
}

#[test]
fn every_file_gone() {
    for discipline in DISCIPLINES {
        let one = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
        let several = Whole::of(several_segments(discipline), discipline, End::Close);
        for whole in [one, several] {
            let kept = kept(&whole.files, whole.oldest, whole.end);
            for (name, _) in whole.main() {
                let mut files = whole.files.clone();
                files.remove(name);
                let copy = Arc::new(Copied::of(&files));
                let outcome = whole.judge(&copy).unwrap_or_else(|what| panic!("{name}: {what}"));
                if kept.contains_key(name) {
                    assert_eq!(outcome, Outcome::Named(ErrorName::Missing, Some('M')), "{name}");
                } else {
                    assert_eq!(outcome, Outcome::Unchanged, "{name}");
                    whole.use_it(&copy).unwrap();
                }
            }
        }
    }
}

#[test]
fn every_file_of_twice_its_length() {
    for discipline in DISCIPLINES {
        let one = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
        let several = Whole::of(several_segments(discipline), discipline, End::Close);
        for whole in [one, several] {
            for (name, bytes) in whole.main() {
                let garbage = (0..bytes.len()).map(|at| u8::try_from(at * 37 % 255).unwrap() + 1);
                for more in [garbage.collect(), bytes.to_vec(), vec![0; bytes.len()]] {
                    let mut files = whole.files.clone();
                    files.insert(name.clone(), Arc::new([&**bytes, &*more].concat()));
                    let copy = Arc::new(Copied::of(&files));
                    let outcome = whole.judge(&copy);
                    assert_eq!(outcome, Ok(Outcome::Unchanged), "{name}");
                    whole.use_it(&copy).unwrap();
                }
            }
        }
    }
}
