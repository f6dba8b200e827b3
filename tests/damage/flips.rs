//! Every single bit of a log, flipped.

use crate::history::{DISCIPLINES, End, batches, covered, one_segment, several_segments};
use crate::witness::{Counts, ErrorName, Outcome, Whole};
use siding::Discipline;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Bits that a thread takes at a time.
const PORTION: usize = 2048;

/// Of every so many bytes one, the log that opens is used as well.
pub(crate) const USED: usize = 257;

/// What the flips of each file came to.
type ByFile = BTreeMap<String, Counts>;

/// Whether this is what a flip in this byte of this file must come to.
type Rule<'a> = &'a (dyn Fn(&str, usize, Outcome) -> bool + Sync);

/// Flips each `step`th bit of all files, one at a time.
fn flip_all(whole: &Whole, step: usize, rule: Rule<'_>) -> ByFile {
    let files: Vec<_> = whole.main().map(|(name, bytes)| (name, bytes.len() * 8)).collect();
    let bits: usize = files.iter().map(|(_, bits)| bits).sum();
    keep_memory();
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(ByFile::new());
    let wrong = Mutex::new(Vec::new());
    let work = || {
        let mut mine = ByFile::new();
        loop {
            let from = next.fetch_add(PORTION * step, Ordering::Relaxed);
            if from >= bits {
                break;
            }
            for bit in (from..bits.min(from + PORTION * step)).step_by(step) {
                let (name, bit) = place(&files, bit);
                match flip(whole, name, bit, rule) {
                    Ok(outcome) => {
                        let counts = mine.entry(name.clone()).or_default();
                        *counts.entry(outcome).or_default() += 1;
                    }
                    Err(why) => {
                        let (byte, bit) = (bit / 8, bit % 8);
                        wrong.lock().unwrap().push(format!("{name} {byte} bit {bit}: {why}"));
                    }
                }
            }
        }
        let mut all = counts.lock().unwrap();
        for (name, counts) in mine {
            let sums = all.entry(name).or_default();
            counts.into_iter().for_each(|(outcome, n)| *sums.entry(outcome).or_default() += n);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let wrong = wrong.into_inner().unwrap();
    let shown = wrong.len().min(40);
    assert!(wrong.is_empty(), "{} flips, among them {:#?}", wrong.len(), &wrong[..shown]);
    counts.into_inner().unwrap()
}

/// The file that holds this bit of all bits, and which of its bits it is.
fn place<'a>(files: &[(&'a String, usize)], mut bit: usize) -> (&'a String, usize) {
    for (name, bits) in files {
        if bit < *bits {
            return (name, bit);
        }
        bit -= bits;
    }
    panic!("a bit behind the last file")
}

fn flip(whole: &Whole, name: &str, bit: usize, rule: Rule<'_>) -> Result<Outcome, String> {
    let copy = Arc::new(whole.copy());
    copy.flip(name, bit / 8, 1 << (bit % 8));
    let outcome = whole.judge(&copy)?;
    if !rule(name, bit / 8, outcome) {
        return Err(format!("{outcome:?}"));
    }
    if (bit / 8).is_multiple_of(USED) && !matches!(outcome, Outcome::Named(..)) {
        whole.use_it(&copy).map_err(|error| format!("it cannot be used: {error:?}"))?;
    }
    Ok(outcome)
}

fn named(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Named(..))
}

/// Every bit that a checksum covers is missed, by name, and no other changes anything. The other
/// slot of the control file makes up for one that is damaged, and what stands in `lock` is a
/// courtesy. Nothing is cut: the control file vouches for CLOSE.
fn bits_of_a_closed_log(discipline: Discipline) {
    let whole = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
    let covered = covered(&whole.files, whole.oldest, whole.end);
    let counts = flip_all(&whole, 1, &|name, byte, outcome| match covered[name][byte] {
        true => named(outcome),
        false => outcome == Outcome::Unchanged,
    });
    let flips: usize = counts.values().flat_map(Counts::values).sum();
    let bits: usize = whole.main().map(|(_, bytes)| bytes.len() * 8).sum();
    assert_eq!(flips, bits);
    println!("{discipline:?}: {counts:#?}");
}

#[test]
fn every_bit_of_a_closed_log_that_defers() {
    bits_of_a_closed_log(Discipline::DeferredApply);
}

#[test]
fn every_bit_of_a_closed_log_that_repeats() {
    bits_of_a_closed_log(Discipline::RepeatHistory);
}

/// Nothing vouches for the last batch of a log that crashed, so damage in it passes for a torn
/// write: then just that batch is gone.
#[test]
fn bits_of_a_log_that_crashed() {
    for discipline in DISCIPLINES {
        let whole = Whole::of(one_segment(discipline, End::Crash), discipline, End::Crash);
        let covered = covered(&whole.files, whole.oldest, whole.end);
        let name = whole.segments()[0].clone();
        let last = batches(&whole.files[&name], whole.end).pop().unwrap();
        let counts = flip_all(&whole, 97, &|name, byte, outcome| match (
            covered[name][byte],
            name.ends_with(".seg") && last.contains(&byte),
        ) {
            (true, true) => outcome == Outcome::LastCut,
            (true, false) => named(outcome),
            (false, _) => outcome == Outcome::Unchanged,
        });
        assert!(counts[&name].contains_key(&Outcome::LastCut), "{counts:#?}");
    }
}

/// What stands where the header of a prepared segment would start is taken for another program's;
/// else nothing that is prepared, void or left over matters.
#[test]
fn bits_of_logs_of_several_segments() {
    for discipline in DISCIPLINES {
        let whole = Whole::of(several_segments(discipline), discipline, End::Close);
        let covered = covered(&whole.files, whole.oldest, whole.end);
        let blank = |name: &str| whole.files[name][..8].iter().all(|byte| *byte == 0);
        flip_all(&whole, 797, &|name, byte, outcome| match covered[name][byte] {
            true => named(outcome),
            false if byte < 8 && blank(name) && name.ends_with(".seg") => {
                outcome == Outcome::Named(ErrorName::ForeignFile, None)
            }
            false => outcome == Outcome::Unchanged,
        });
    }
}

/// Makes the usual allocator keep what it is given back: else every copy of the log costs page
/// faults, a sixth of the time. It goes by the largest piece that was freed so far.
pub(crate) fn keep_memory() {
    drop(std::hint::black_box(vec![0_u8; 16 << 20]));
}
