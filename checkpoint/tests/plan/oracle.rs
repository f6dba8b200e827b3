//! What can be had, reckoned naively: batch by batch, by numbers that the plan does not see.

use crate::world::{Life, SIZE, Segment, Shipped, Taken, World};
use siding_wal::Lsn;

/// Whether a piece has what the segment has, up to a batch.
fn agrees(piece: &Shipped, segment: &Segment, upto: u64) -> bool {
    let Some(at) = segment.batches.iter().position(|it| it.number == upto) else { return false };
    let wanted: Vec<u64> = segment.batches[..=at].iter().map(|it| it.number).collect();
    piece.piece.index.number == segment.number && piece.numbers.starts_with(&wanted)
}

/// Whether the index of a piece tells of the batch.
fn tells(piece: &Shipped, segment: &Segment, upto: u64) -> bool {
    let batch = segment.batches.iter().find(|it| it.number == upto).unwrap();
    agrees(piece, segment, upto)
        && (piece.numbers.last() == Some(&upto) || piece.piece.index.joints.contains(&batch.joint))
}

/// How far the log of a life can be had behind a backup of it; none if the backup is not of this
/// life, or its own log is not whole.
pub fn reach(world: &World, life: &Life, taken: &Taken) -> Option<Lsn> {
    let manifest = &taken.manifest;
    let at =
        life.segments.iter().position(|it| it.batches.iter().any(|b| b.number == taken.last))?;
    let floor = manifest.floor.get() / SIZE;
    if life.segments[0].number > floor && !reaches_down(world, life, floor) {
        return None;
    }
    let mut must = taken.last;
    let mut reach = manifest.end;
    for (place, segment) in life.segments.iter().enumerate().skip(at) {
        let usable: Vec<&Shipped> = world
            .shipped
            .iter()
            .filter(|it| {
                if place == at {
                    tells(it, segment, must)
                } else {
                    it.piece.index.number == segment.number
                        && it.piece.index.incarnation == segment.incarnation
                        && it.piece.index.kept == segment.kept
                }
            })
            .collect();
        // As far as a piece is this life's to its own last batch.
        for piece in &usable {
            let Some(last) = piece.numbers.last() else { continue };
            if let Some(batch) = segment.batches.iter().find(|it| it.number == *last)
                && agrees(piece, segment, *last)
            {
                reach = reach.max(batch.joint.end);
            }
        }
        let Some(next) = life.segments.get(place + 1) else { break };
        let Some(last) = segment.batches.last() else { break };
        assert_eq!(last.joint, next.kept);
        must = last.number;
        if !usable.iter().any(|it| tells(it, segment, must)) {
            break;
        }
        reach = reach.max(last.joint.end);
    }
    Some(reach)
}

/// A life of which the lower part was trimmed: what lies below its lowest segment was shipped.
fn reaches_down(world: &World, life: &Life, floor: u64) -> bool {
    let (mut number, mut kept) = (life.segments[0].number, life.segments[0].kept);
    while number > floor {
        number -= 1;
        let mut there = world.shipped.iter().map(|it| &it.piece.index);
        match there.find(|it| it.number == number && it.holds(kept)) {
            Some(index) => kept = index.kept,
            None => return false,
        }
    }
    true
}
