//! What is known where a scan ends, and the verdict. Pure: facts in, one row out.
//!
//! The scan reaches a position where no batch goes on, and gathers [`Facts`]: what stands there,
//! what stands behind it, what the next segment says, and what is known to have been durable.
//! The table in `rows` has exactly one row for every combination.

use super::rows::{Decision, Row};
use crate::format::segment_file_name;
use crate::{Error, Lsn};
use std::io;
use std::sync::Arc;

/// What stands at the position where the next batch would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Zeros, or the file or the segment ends here.
    Nothing,
    /// Bytes that are no batch, or a batch with a record that is not valid.
    Damaged,
    /// The header of a batch that goes on here, of which the file holds less than its length.
    /// Files are filled and synced before they are written to, so this one was shortened.
    CutShort,
    /// A batch of an older incarnation or epoch, or of the segment the file was recycled from.
    Leftover,
    /// A batch of this segment or a later one that says it belongs to another position.
    Elsewhere,
    /// A batch that belongs here, but does not continue the batch before it.
    OtherHistory,
    /// A batch or record, checksum right, of a kind or with a value this version does not know.
    Newer,
    /// The device did not give the bytes.
    Unreadable,
}

impl At {
    /// Every value.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Damaged,
        Self::CutShort,
        Self::Leftover,
        Self::Elsewhere,
        Self::OtherHistory,
        Self::Newer,
        Self::Unreadable,
    ];

    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Damaged => "damaged",
            Self::CutShort => "cut short",
            Self::Leftover => "leftover",
            Self::Elsewhere => "elsewhere",
            Self::OtherHistory => "other history",
            Self::Newer => "newer",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What the rest of the segment holds behind that position, at multiples of the write unit: the
/// strongest of what was found, later ones being stronger. Not searched counts as nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum After {
    /// No header of a batch.
    Nothing,
    /// Only batches of older incarnations, or of the segment the file was recycled from.
    Leftover,
    /// A later batch that does not claim the position before it was durable.
    Later,
    /// Some of it could not be read.
    Unreadable,
    /// A batch that belongs at the position or behind it, and stands elsewhere.
    Elsewhere,
    /// A later batch that was formed when the position was known durable.
    Proof,
}

impl After {
    /// Every value, weakest first.
    pub const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Leftover,
        Self::Later,
        Self::Unreadable,
        Self::Elsewhere,
        Self::Proof,
    ];

    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Leftover => "leftover",
            Self::Later => "later",
            Self::Unreadable => "unreadable",
            Self::Elsewhere => "elsewhere",
            Self::Proof => "proof",
        }
    }
}

/// What the next segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// There is no next segment, or only a prepared or abandoned one.
    Last,
    /// What was kept ends at this position, with the digest of the last batch read.
    Change,
    /// What was kept ends above this position: all below was durable.
    Above,
    /// What was kept ends inside a batch, or has another digest; or incarnation or epoch go back.
    Contradicts,
    /// The next segment is missing, one above it exists.
    Missing,
    /// The next segment was written by a newer version.
    Newer,
    /// The header of the next segment is damaged, and the segment holds batches.
    Damaged,
    /// The header of the next segment cannot be read.
    Unreadable,
}

impl Next {
    /// Every value.
    pub const ALL: [Self; 8] = [
        Self::Last,
        Self::Change,
        Self::Above,
        Self::Contradicts,
        Self::Missing,
        Self::Newer,
        Self::Damaged,
        Self::Unreadable,
    ];

    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Change => "change",
            Self::Above => "above",
            Self::Contradicts => "contradicts",
            Self::Missing => "missing",
            Self::Newer => "newer",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What is known about a position at which no batch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// What stands there.
    pub at: At,
    /// What stands behind it.
    pub after: After,
    /// What the next segment says.
    pub next: Next,
    /// Whether it lies below what the control file or a header says was durable.
    pub below_known_durable: bool,
    /// Whether the newest control slot says that the log was closed cleanly, ending just here.
    pub clean: bool,
}

impl Facts {
    /// Every combination there is, possible on a disk or not.
    pub fn all() -> impl Iterator<Item = Self> {
        let pairs = [(false, false), (false, true), (true, false), (true, true)];
        At::ALL.into_iter().flat_map(move |at| {
            After::ALL.into_iter().flat_map(move |after| {
                Next::ALL.into_iter().flat_map(move |next| {
                    pairs.into_iter().map(move |(below_known_durable, clean)| Self {
                        at,
                        after,
                        next,
                        below_known_durable,
                        clean,
                    })
                })
            })
        })
    }
}

/// Where and how a scan ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The row of the table.
    pub row: &'static Row,
    /// The facts that chose it.
    pub facts: Facts,
    /// The position: the end of the log, if the decision is to stop.
    pub end: Lsn,
    /// Digest of the last batch before the end.
    pub digest: u32,
    /// The segment the end lies in.
    pub segment: u64,
    /// The largest incarnation seen, in headers, batches and leftovers; the next open takes one
    /// above it.
    pub incarnation: u32,
    /// The largest epoch seen in what was kept.
    pub epoch: u32,
    /// Where the batch or header stands that decided, if another than the end.
    pub evidence: Option<Lsn>,
    /// What the operating system said, if a read failed.
    pub cause: Option<Arc<io::Error>>,
}

impl Verdict {
    /// The error to refuse the log with; none if the decision is to stop or to go on.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        let Decision::Refuse(kind) = self.row.decision else { return None };
        let mut what = format!("{} [{}]: {}", self.row.name, self.row.letter, self.row.why);
        if let Some(lsn) = self.evidence {
            what.push_str(&format!(" (see LSN {lsn})"));
        }
        let error = Error::new(kind, what)
            .at(self.end)
            .file(segment_file_name(self.segment))
            .advise(self.row.advice)
            .by_row(self.row.letter);
        Some(match &self.cause {
            Some(cause) => error.caused_by(Arc::clone(cause)),
            None => error,
        })
    }
}
