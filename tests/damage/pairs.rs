//! Two wounds at once.

use crate::disk::{Copied, Files};
use crate::history::{DISCIPLINES, End, one_segment, several_segments};
use crate::witness::{Counts, Outcome, Whole};
use siding_sim::Rng;
use std::sync::Arc;

/// A place in a file, and what happens there.
#[derive(Debug)]
struct Wound {
    name: String,
    at: usize,
    how: How,
}

#[derive(Debug)]
enum How {
    Flip(u8),
    Zeroes,
    Garbage(u8),
    /// The sector takes the contents of another one of the same file.
    Misdirected(usize),
    CutShort,
    Gone,
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(u64::try_from(bound).unwrap())).unwrap()
}

fn wound(rng: &mut Rng, files: &Files) -> Wound {
    let name = files.keys().nth(below(rng, files.len())).unwrap().clone();
    let bytes = &files[&name];
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = below(rng, used);
    let how = match rng.below(16) {
        0..6 => How::Flip(1 << rng.below(8)),
        6..9 => How::Zeroes,
        9..12 => How::Garbage(u8::try_from(rng.below(255)).unwrap() | 1),
        12..14 => How::Misdirected(below(rng, used)),
        14 => How::CutShort,
        _ => How::Gone,
    };
    Wound { name, at, how }
}

fn inflict(wound: &Wound, files: &mut Files) {
    if matches!(wound.how, How::Gone) {
        files.remove(&wound.name);
        return;
    }
    let Some(bytes) = files.get_mut(&wound.name).map(Arc::make_mut) else { return };
    if bytes.len() <= wound.at {
        return;
    }
    let len = bytes.len();
    let sector = |at: usize| at / 512 * 512..(at / 512 * 512 + 512).min(len);
    match wound.how {
        How::Flip(mask) => bytes[wound.at] ^= mask,
        How::Zeroes => bytes[sector(wound.at)].fill(0),
        How::Garbage(with) => {
            let range = sector(wound.at);
            bytes[range].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31) ^ with);
        }
        How::Misdirected(from) if sector(from).len() == sector(wound.at).len() => {
            let to = sector(wound.at).start;
            bytes.copy_within(sector(from), to);
        }
        How::Misdirected(_) | How::Gone => {}
        How::CutShort => bytes.truncate(wound.at),
    }
}

/// A tail may be lost in silence only where both were hit: it, and the control file that
/// vouches for it.
fn unprotected(wounds: &[Wound]) -> bool {
    let control = wounds.iter().filter(|wound| wound.name == "control").count();
    control == 1
}

fn two_wounds(whole: &Whole, pairs: u64, seed: u64) {
    let mut counts = Counts::new();
    let mut rng = Rng::new(seed);
    for pair in 0..pairs {
        let wounds = [wound(&mut rng, &whole.files), wound(&mut rng, &whole.files)];
        let mut files = whole.files.clone();
        wounds.iter().for_each(|wound| inflict(wound, &mut files));
        let outcome = whole.judge(&Arc::new(Copied::of(&files)));
        let outcome = outcome.unwrap_or_else(|what| panic!("{pair}: {wounds:?}: {what}"));
        if matches!(outcome, Outcome::CloseCut | Outcome::TailCut) {
            assert!(unprotected(&wounds), "{pair}: {wounds:?}: {outcome:?}");
        }
        *counts.entry(outcome).or_default() += 1;
    }
    println!("{counts:#?}");
}

#[test]
fn two_wounds_in_one_segment() {
    for (seed, discipline) in (1..).zip(DISCIPLINES) {
        let whole = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
        two_wounds(&whole, 1_500, seed);
    }
}

#[test]
fn two_wounds_in_several_segments() {
    for (seed, discipline) in (3..).zip(DISCIPLINES) {
        let whole = Whole::of(several_segments(discipline), discipline, End::Close);
        two_wounds(&whole, 700, seed);
    }
}
