//! Every single bit of a closed log, flipped.

use crate::history::closed;
use crate::witness::{Counts, Outcome, Whole, kinds};
use siding::{Discipline, Kind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Rounds of history that fit into one segment of 64 KiB.
const ROUNDS: usize = 2;

/// Bytes of one file that a thread takes at a time.
const PORTION: usize = 256;

/// Flips each bit of each file, one at a time, and counts what it comes to.
fn every_bit(whole: &Whole) -> Counts {
    let mut portions = Vec::new();
    for (name, bytes) in &whole.files {
        portions.extend((0..bytes.len()).step_by(PORTION).map(|from| (name, bytes.len(), from)));
    }
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(Counts::new());
    let wrong = Mutex::new(Vec::new());
    let work = || {
        let mut mine = Counts::new();
        while let Some((name, len, from)) = portions.get(next.fetch_add(1, Ordering::Relaxed)) {
            for at in *from..(*from + PORTION).min(*len) {
                for bit in 0..8 {
                    let copy = whole.copy();
                    copy.flip(name, at, 1 << bit);
                    match whole.judge(copy) {
                        Ok(outcome) => *mine.entry(outcome).or_default() += 1,
                        Err(what) => {
                            wrong.lock().unwrap().push(format!("{name} {at} bit {bit}: {what}"));
                        }
                    }
                }
            }
        }
        let mut counts = counts.lock().unwrap();
        mine.into_iter().for_each(|(outcome, count)| *counts.entry(outcome).or_default() += count);
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

fn flip_all(discipline: Discipline) {
    let whole = Whole::of(closed(discipline, ROUNDS), discipline);
    let names: Vec<_> = whole.files.iter().map(|(name, bytes)| (name, bytes.len())).collect();
    println!("{discipline:?}: {names:?}, {} bytes shown", whole.shown.records.len());
    let started = Instant::now();
    let counts = every_bit(&whole);
    let flips: usize = counts.values().sum();
    println!("{discipline:?}: {flips} flips in {:?}: {counts:#?}", started.elapsed());
    let bits: usize = whole.files.values().map(|bytes| bytes.len() * 8).sum();
    assert_eq!(flips, bits);
    // The control file vouches for CLOSE: one flip never takes that away.
    let fine = |outcome: &Outcome| matches!(outcome, Outcome::Unchanged | Outcome::Named(..));
    assert!(counts.keys().all(fine), "{counts:?}");
}

#[test]
fn every_bit_of_a_log_that_defers() {
    flip_all(Discipline::DeferredApply);
}

#[test]
fn every_bit_of_a_log_that_repeats() {
    flip_all(Discipline::RepeatHistory);
}

#[test]
fn the_log_holds_every_kind_there_is() {
    let both = [
        (Kind::Data, false),
        (Kind::Compensation, false),
        (Kind::Prepare, false),
        (Kind::Commit, false),
        (Kind::Commit, true),
        (Kind::End, false),
        (Kind::KeypointBegin, false),
        (Kind::KeypointChunk, false),
        (Kind::KeypointEnd, false),
        (Kind::Mark, false),
        (Kind::Close, false),
    ];
    for discipline in [Discipline::DeferredApply, Discipline::RepeatHistory] {
        let whole = Whole::of(closed(discipline, ROUNDS), discipline);
        let found = kinds(&whole);
        // Under repeat history ABORT never ends a unit: its undo is still to come.
        let ending = discipline == Discipline::DeferredApply;
        let aborts = [(Kind::Abort, false), (Kind::Abort, ending)];
        for kind in both.iter().chain(&aborts) {
            assert!(found.contains(kind), "{discipline:?} {kind:?} in {found:?}");
        }
    }
}
