//! Files that end elsewhere, or are not there.

use crate::disk::{Copied, Files};
use crate::history::closed;
use crate::witness::{Counts, Outcome, Whole};
use siding::Discipline;
use std::sync::Arc;

/// Rounds of history that take two segments of 64 KiB.
const TWO_SEGMENTS: usize = 8;

fn cut(files: &Files, name: &str, len: usize) -> Files {
    let mut files = files.clone();
    let cut = files[name][..len].to_vec();
    files.insert(name.to_owned(), Arc::new(cut));
    files
}

/// Cuts each file to each of the lengths, and counts what it comes to.
fn cut_all(whole: &Whole, lens: impl Fn(usize) -> bool) -> Counts {
    let mut counts = Counts::new();
    for (name, bytes) in &whole.files {
        for len in (0..bytes.len()).filter(|len| lens(*len)) {
            let outcome = whole.judge(Copied::of(&cut(&whole.files, name, len)));
            let outcome = outcome.unwrap_or_else(|what| panic!("{name} cut to {len}: {what}"));
            // The control file says where the log ended: nothing is ever taken for a torn tail.
            let fine = matches!(outcome, Outcome::Unchanged | Outcome::Named(..));
            assert!(fine, "{name} cut to {len}: {outcome:?}");
            if name == "control" {
                assert_eq!(outcome, Outcome::Unchanged, "{name} cut to {len}");
            }
            *counts.entry(outcome).or_default() += 1;
        }
    }
    counts
}

#[test]
fn every_length_of_every_file() {
    for discipline in [Discipline::DeferredApply, Discipline::RepeatHistory] {
        let whole = Whole::of(closed(discipline, 2), discipline);
        println!("{discipline:?}: {:#?}", cut_all(&whole, |_| true));
    }
}

#[test]
fn lengths_of_two_segments() {
    let whole = Whole::of(closed(Discipline::DeferredApply, TWO_SEGMENTS), Discipline::default());
    assert_eq!(whole.segments().len(), 2);
    let near = |len: usize| (len + 1) % 64 < 3;
    println!("{:#?}", cut_all(&whole, near));
}

#[test]
fn every_file_gone() {
    for discipline in [Discipline::DeferredApply, Discipline::RepeatHistory] {
        let whole = Whole::of(closed(discipline, TWO_SEGMENTS), discipline);
        for name in whole.files.keys() {
            let mut files = whole.files.clone();
            files.remove(name);
            let outcome = whole.judge(Copied::of(&files)).unwrap();
            match &**name {
                "control" => assert_eq!(outcome, Outcome::Unchanged),
                _ => assert!(matches!(outcome, Outcome::Named(..)), "{name}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn every_file_of_twice_its_length() {
    for discipline in [Discipline::DeferredApply, Discipline::RepeatHistory] {
        let whole = Whole::of(closed(discipline, TWO_SEGMENTS), discipline);
        for (name, bytes) in &whole.files {
            let garbage = (0..bytes.len()).map(|at| u8::try_from(at * 37 % 255).unwrap() + 1);
            for more in [garbage.collect(), bytes.to_vec(), vec![0; bytes.len()]] {
                let mut files = whole.files.clone();
                files.insert(name.clone(), Arc::new([&**bytes, &*more].concat()));
                let outcome = whole.judge(Copied::of(&files)).unwrap();
                assert_eq!(outcome, Outcome::Unchanged, "{name}");
            }
        }
    }
}
