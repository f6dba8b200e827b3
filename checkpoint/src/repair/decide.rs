//! Which pieces make the log that is left. Pure.

use super::{Cut, Found, Mend};
use crate::archive::Joint;
use crate::restore::{Branch, Gap, Histories, Source};
use crate::verify::Finding;
use siding_wal::Lsn;

/// What a repair comes to.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) steps: Vec<Mend>,
    pub(super) end: Lsn,
    pub(super) gap: Option<Gap>,
}

/// Decides; none if nothing reaches back to what an open needs.
pub(super) fn decide(found: &Found, findings: &[Finding]) -> Option<Decision> {
    let histories = Histories::new(&found.pieces);
    let branches = histories.branches();
    let number = |at: &usize| histories.piece(*at).map(|piece| piece.index.number);
    let reaches = |branch: &&Branch| {
        let first = branch.pieces.first().and_then(|(at, _)| number(at));
        first.is_some_and(|first| first <= found.lowest)
    };
    // The newest history that is whole down to what is needed.
    let branch = branches.iter().find(reaches)?;
    let (last, end) = branch.pieces.last()?;
    let last = histories.piece(*last)?;
    let mut steps = Vec::new();
    for (place, (at, upto)) in branch.pieces.iter().enumerate() {
        let piece = histories.piece(*at)?;
        if piece.index.number < found.lowest || piece.source != Source::Archive {
            continue;
        }
        let next = branch.pieces.get(place.saturating_add(1));
        let kept = next.and_then(|(next, _)| histories.piece(*next)).map(|next| next.index.kept);
        let wanted = kept.unwrap_or(Joint { end: *upto, digest: piece.index.last.digest });
        let here = found.pieces.iter().filter(|it| it.source == Source::Directory);
        let whole = |it: &crate::restore::Piece| {
            it.index.same_start(&piece.index) && it.index.holds(wanted)
        };
        if here.into_iter().any(whole) {
            continue;
        }
        let (copy, keeps_rest) = found.copies.get(*at).copied().flatten()?;
        steps.push(Mend::Segment { number: piece.index.number, copy, keeps_rest });
    }
    let at = Joint { end: *end, digest: last.index.last.digest };
    let segment = last.index.number;
    if must_cut(found, findings, &steps, at, segment) {
        let later = found.pieces.iter().map(|it| it.index.number);
        let seen = findings.iter().filter_map(|it| it.segment);
        let mut drops: Vec<u64> = later.chain(seen).filter(|it| *it > segment).collect();
        drops.sort_unstable();
        drops.dedup();
        let loses = found.known_durable.since(at.end.min(found.known_durable));
        steps.push(Mend::Cut(Cut { segment, at, drops, loses }));
    }
    // What lies above, and nothing leads to.
    let above = |branch: &&Branch| branch.gap.as_ref().is_some_and(|gap| gap.to.end > *end);
    let gap = branches.iter().find(above).and_then(|branch| branch.gap.clone());
    Some(Decision { steps, end: *end, gap })
}

/// Whether the log that is left is refused: it ends below what was durable, or something is wrong
/// where it ends or behind.
fn must_cut(found: &Found, findings: &[Finding], steps: &[Mend], at: Joint, segment: u64) -> bool {
    if at.end < found.known_durable {
        return true;
    }
    let put_back = |number: u64| {
        let is = |step: &Mend| matches!(step, Mend::Segment { number: it, .. } if *it == number);
        steps.iter().any(is)
    };
    findings.iter().any(|finding| match (finding.lsn, finding.segment) {
        (Some(lsn), Some(_)) => finding.letter.is_some() && lsn >= at.end,
        (None, Some(number)) => finding.letter.is_some() && number >= segment && !put_back(number),
        _ => false,
    })
}
