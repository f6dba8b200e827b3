//! Histories of a log, put together from pieces: which segment follows on which. Pure.
//!
//! The header of a segment says where the history before it ends, and the digest of the last batch
//! there. The segment before it is whichever has a batch that ends there with that digest: its
//! number alone says nothing, for after a restore two histories go on from one position.

use crate::archive::{Joint, MarkAt, SegmentIndex};
use siding_wal::Lsn;
use std::collections::BTreeMap;
use std::fmt;

/// Where a piece of log lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In the archive, under the name that its index says.
    Archive,
    /// In a directory that is only read: a log.
    Directory,
}

/// A segment, or the first part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What is in it.
    pub index: SegmentIndex,
    /// Where it lies.
    pub source: Source,
}

/// Log that is needed and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The segment that is missing, or too short.
    pub segment: u64,
    /// Where what is missing begins.
    pub from: Lsn,
    /// Where it ends, and the digest that it must end with.
    pub to: Joint,
    /// The incarnation of the segment behind it.
    pub incarnation: u32,
    /// There are segments with this number, of other histories.
    pub others: bool,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, from, to, incarnation, others } = self;
        write!(
            f,
            "segment {segment:016x}, which incarnation {incarnation} goes on from, is not there: \
             gap from LSN {from} to LSN {}",
            to.end
        )?;
        if *others {
            write!(f, "; what is there under its number is of another history")?;
        }
        Ok(())
    }
}

/// One history, as far as it can be followed back from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its pieces by their place in the list, oldest first, each with where the next one goes on;
    /// the last with its own end.
    pub pieces: Vec<(usize, Lsn)>,
    /// What is missing below; none if it reaches back to the start of the log.
    pub gap: Option<Gap>,
}

/// Pieces, by number.
#[derive(Debug)]
pub struct Histories<'a> {
    pieces: &'a [Piece],
    numbers: BTreeMap<u64, Vec<usize>>,
}

impl<'a> Histories<'a> {
    /// Sorts pieces of one log.
    #[must_use]
    pub fn new(pieces: &'a [Piece]) -> Self {
        let mut numbers: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, piece) in pieces.iter().enumerate() {
            numbers.entry(piece.index.number).or_default().push(at);
        }
        // Of several that serve, the archive's is taken, and the longest.
        for all in numbers.values_mut() {
            let key = |at: &usize| {
                let piece = pieces.get(*at);
                piece.map(|it| (it.source, std::cmp::Reverse(it.index.end())))
            };
            all.sort_by_key(key);
        }
        Self { pieces, numbers }
    }

    /// A piece by its place in the list.
    #[must_use]
    pub fn piece(&self, at: usize) -> Option<&'a Piece> {
        self.pieces.get(at)
    }

    /// Every piece.
    #[must_use]
    pub fn all(&self) -> &'a [Piece] {
        self.pieces
    }

    fn numbered(&self, number: u64) -> impl Iterator<Item = (usize, &'a SegmentIndex)> {
        let all = self.numbers.get(&number).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(|at| Some((*at, &self.pieces.get(*at)?.index)))
    }

    /// The piece that `index` goes on from.
    fn before(&self, index: &SegmentIndex) -> Option<usize> {
        let number = index.number.checked_sub(1)?;
        self.numbered(number).find(|(_, it)| it.holds(index.kept)).map(|(at, _)| at)
    }

    /// Whether nothing goes on from the end of a piece, nor holds more of the same history.
    fn is_last(&self, at: usize, index: &SegmentIndex) -> bool {
        let mut next = index.number.checked_add(1).into_iter().flat_map(|it| self.numbered(it));
        if next.any(|(_, it)| it.kept == index.last) {
            return false;
        }
        // Of two that hold the same, the first in the list stands for both.
        let order = |wanted: usize| {
            let all = self.numbers.get(&index.number).map(Vec::as_slice).unwrap_or_default();
            all.iter().position(|at| *at == wanted)
        };
        !self.numbered(index.number).any(|(of, other)| {
            let more = other.end() > index.end() || order(of) < order(at);
            of != at && other.covers(index) && more
        })
    }

    /// Every history, the newest first: that whose last batch has the highest incarnation.
    #[must_use]
    pub fn branches(&self) -> Vec<Branch> {
        let lasts = self.pieces.iter().enumerate().filter(|(at, it)| self.is_last(*at, &it.index));
        let mut lasts: Vec<(usize, &SegmentIndex)> =
            lasts.map(|(at, it)| (at, &it.index)).collect();
        lasts.sort_by_key(|(at, it)| (std::cmp::Reverse((it.highest(), it.end())), *at));
        lasts.into_iter().map(|(at, index)| self.back(at, index)).collect()
    }

    fn back(&self, at: usize, index: &'a SegmentIndex) -> Branch {
        let mut pieces = vec![(at, index.end())];
        let mut index = index;
        while let Some(at) = self.before(index) {
            pieces.push((at, index.kept.end));
            match self.pieces.get(at) {
                Some(piece) => index = &piece.index,
                None => break,
            }
        }
        pieces.reverse();
        let start = index.kept.end.is_zero() && index.number == 0;
        Branch { pieces, gap: (!start).then(|| self.gap(index)) }
    }

    fn gap(&self, index: &SegmentIndex) -> Gap {
        let segment = index.number.saturating_sub(1);
        let below =
            |it: &SegmentIndex| it.end() < index.kept.end && it.highest() <= index.incarnation;
        let lower = self.numbers.range(..=segment).rev();
        let ends = lower.filter_map(|(number, _)| {
            self.numbered(*number).filter(|(_, it)| below(it)).map(|(_, it)| it.end()).max()
        });
        Gap {
            segment,
            from: ends.into_iter().next().unwrap_or(Lsn::ZERO),
            to: index.kept,
            incarnation: index.incarnation,
            others: self.numbered(segment).any(|(_, it)| it.end() >= index.kept.end),
        }
    }

    /// The pieces of a history.
    pub fn of<'b>(&self, branch: &'b Branch) -> impl Iterator<Item = (&'a Piece, Lsn)> + 'b
    where
        'a: 'b,
    {
        let pieces = self.pieces;
        branch.pieces.iter().filter_map(move |(at, upto)| Some((pieces.get(*at)?, *upto)))
    }

    /// The piece of a history in which the byte below `end` lies, with its place in the history.
    #[must_use]
    pub fn at(&self, branch: &Branch, end: Lsn) -> Option<(usize, &'a Piece)> {
        let first = self.piece(branch.pieces.first()?.0)?;
        let size = first.index.segment_size;
        let number = end.get().saturating_sub(1).checked_div(size)?;
        let place = usize::try_from(number.checked_sub(first.index.number)?).ok()?;
        Some((place, self.piece(branch.pieces.get(place)?.0)?))
    }

    /// Whether a batch of this history ends there, with this digest.
    #[must_use]
    pub fn passes(&self, branch: &Branch, joint: Joint) -> bool {
        let Some((place, piece)) = self.at(branch, joint.end) else { return false };
        let upto = branch.pieces.get(place).map_or(Lsn::ZERO, |(_, upto)| *upto);
        joint.end <= upto && piece.index.holds(joint)
    }

    /// The marks of a history, in order; their times never go back, whatever the clock did.
    #[must_use]
    pub fn marks(&self, branch: &Branch) -> Vec<MarkAt> {
        let mut highest = 0;
        let marks = self.of(branch).flat_map(|(piece, upto)| {
            piece.index.marks.iter().filter(move |mark| mark.lsn <= upto)
        });
        let forward = |mark: &MarkAt| {
            highest = mark.time_ms.max(highest);
            MarkAt { time_ms: highest, ..*mark }
        };
        marks.map(forward).collect()
    }

    /// Where the name was given last.
    #[must_use]
    pub fn label(&self, branch: &Branch, name: &str) -> Option<Lsn> {
        let labels = self.of(branch).flat_map(|(piece, upto)| {
            piece.index.labels.iter().filter(move |label| label.lsn <= upto)
        });
        labels.filter(|label| label.name == name).map(|label| label.lsn).last()
    }

    /// Where what this incarnation and those before it wrote in a history ends; none if it wrote
    /// nothing.
    #[must_use]
    pub fn end_of(&self, branch: &Branch, incarnation: u32) -> Option<Lsn> {
        let of_piece = |(piece, upto): (&Piece, Lsn)| {
            let mut from = piece.index.first_batch();
            piece.index.written.iter().find_map(|it| {
                let found = it.incarnation == incarnation && from < upto;
                from = it.end;
                found.then_some(it.end.min(upto))
            })
        };
        self.of(branch).filter_map(of_piece).last()
    }
}
