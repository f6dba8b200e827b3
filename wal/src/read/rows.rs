//! The end of the log, decided by a lettered table.
//!
//! Every combination of [`Facts`] matches exactly one row of [`ROWS`], and a row is one letter
//! and one decision. The same letters stand in `docs/RECOVERY.md`, in error messages and in the
//! findings of `siding verify`. Read a case as: these facts, whatever the others are.

use super::verdict::{After, At, Facts, Next};
use crate::ErrorKind;
use std::fmt;

use At::{CutShort, Damaged, Elsewhere, Leftover, Newer, Nothing, OtherHistory, Unreadable};
use Decision::{GoOn, Refuse, Stop};

/// What to do at the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The log ends here.
    Stop,
    /// The log goes on in the next segment.
    GoOn,
    /// The log must not be opened: what is missing may have been acknowledged.
    Refuse(ErrorKind),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop => f.write_str("stop"),
            GoOn => f.write_str("go on"),
            Refuse(kind) => write!(f, "refuse: {kind:?}"),
        }
    }
}

/// A set of facts. An empty list, and none, stand for any value.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What stands there.
    pub at: &'static [At],
    /// What stands behind it.
    pub after: &'static [After],
    /// What the next segment says.
    pub next: &'static [Next],
    /// Whether it lies below what is known durable.
    pub below_known_durable: Option<bool>,
    /// Whether the log was closed cleanly here.
    pub clean: Option<bool>,
}

impl Case {
    /// Whether the set holds these facts.
    #[must_use]
    pub fn holds(&self, facts: &Facts) -> bool {
        (self.at.is_empty() || self.at.contains(&facts.at))
            && (self.after.is_empty() || self.after.contains(&facts.after))
            && (self.next.is_empty() || self.next.contains(&facts.next))
            && self.below_known_durable.is_none_or(|below| below == facts.below_known_durable)
            && self.clean.is_none_or(|clean| clean == facts.clean)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its letter, the same everywhere and for ever.
    pub letter: char,
    /// What operators call it.
    pub name: &'static str,
    /// The facts it covers; no two cases of the table share a combination.
    pub cases: &'static [Case],
    /// What to do.
    pub decision: Decision,
    /// Why.
    pub why: &'static str,
    /// What somebody who meets it can do now.
    pub advice: &'static str,
}

/// Any facts about the next segment's own trouble: what stands here no longer matters.
const fn by_next(next: &'static [Next]) -> Case {
    Case { at: &[], after: &[], next, below_known_durable: None, clean: None }
}

/// The position was durable, as the next segment's header proves.
const fn kept(at: &'static [At]) -> Case {
    Case { at, after: &[], next: &[Next::Above], below_known_durable: None, clean: None }
}

/// In the last segment, below what is known durable.
const fn below(at: &'static [At]) -> Case {
    Case { at, after: &[], next: &[Next::Last], below_known_durable: Some(true), clean: None }
}

/// In the last segment, not known durable, and nobody closed the log here.
const fn open_end(at: &'static [At], after: &'static [After]) -> Case {
    Case { at, after, next: &[Next::Last], below_known_durable: Some(false), clean: Some(false) }
}

/// What a torn or unfinished write can leave.
const UNFINISHED: &[At] = &[Nothing, Damaged, Leftover];

/// The table. The order is that of the letters; it decides nothing.
pub const ROWS: &[Row] = &[
    Row {
        letter: 'A',
        name: "clean close",
        cases: &[Case {
            at: &[Nothing, Damaged, CutShort, Leftover, Elsewhere, Unreadable],
            after: &[],
            next: &[Next::Last],
            below_known_durable: Some(false),
            clean: Some(true),
        }],
        decision: Stop,
        why: "the control file was synced after CLOSE and names this end; \
              what stands behind was never part of the log",
        advice: "",
    },
    Row {
        letter: 'B',
        name: "clean end",
        cases: &[open_end(&[Nothing], &[After::Nothing])],
        decision: Stop,
        why: "no batch was written here, nor behind",
        advice: "",
    },
    Row {
        letter: 'C',
        name: "leftover",
        cases: &[
            open_end(&[Nothing], &[After::Leftover]),
            open_end(&[Leftover], &[After::Nothing, After::Leftover]),
        ],
        decision: Stop,
        why: "only an earlier use of the file, or an open that failed here, left batches behind",
        advice: "",
    },
    Row {
        letter: 'D',
        name: "torn last write",
        cases: &[open_end(&[Damaged], &[After::Nothing, After::Leftover])],
        decision: Stop,
        why: "a batch that is not whole, and nothing says that it ever was",
        advice: "",
    },
    Row {
        letter: 'E',
        name: "out-of-order flush",
        cases: &[open_end(UNFINISHED, &[After::Later])],
        decision: Stop,
        why: "later batches reached the device first, and none was formed when this one was known \
              durable: what a crash before their common sync leaves",
        advice: "",
    },
    Row {
        letter: 'F',
        name: "segment change",
        cases: &[by_next(&[Next::Change])],
        decision: GoOn,
        why: "the next segment's header ends what was kept here, and carries its digest; \
              what stands behind is void",
        advice: "",
    },
    Row {
        letter: 'G',
        name: "durable data gone",
        cases: &[
            kept(&[Nothing, CutShort, Leftover]),
            below(&[Nothing, CutShort, Leftover]),
            open_end(&[Nothing, Leftover], &[After::Proof]),
            open_end(&[CutShort], &[]),
        ],
        decision: Refuse(ErrorKind::Missing),
        why: "a later header, a later batch, the control file or a length says that more was \
              here; a write was lost, or a file was shortened or replaced",
        advice: "restore the file from a copy of the directory, or run `siding repair` \
                 to cut the log here and lose what stood behind",
    },
    Row {
        letter: 'H',
        name: "durable data damaged",
        cases: &[kept(&[Damaged]), below(&[Damaged]), open_end(&[Damaged], &[After::Proof])],
        decision: Refuse(ErrorKind::Corrupt),
        why: "as G, but bytes stand here: the batch was whole once and has rotted",
        advice: "restore the file from a copy of the directory, or run `siding repair` \
                 to cut the log here and lose what stood behind",
    },
    Row {
        letter: 'I',
        name: "misdirected write",
        cases: &[
            kept(&[Elsewhere]),
            below(&[Elsewhere]),
            open_end(&[Elsewhere], &[]),
            open_end(UNFINISHED, &[After::Elsewhere]),
        ],
        decision: Refuse(ErrorKind::Corrupt),
        why: "the device put a batch where it does not belong; \
              the place it belongs to, or the one it covers, may have been acknowledged",
        advice: "distrust the device; copy the directory, then run `siding verify` on the copy",
    },
    Row {
        letter: 'J',
        name: "another history",
        cases: &[
            kept(&[OtherHistory]),
            Case {
                at: &[OtherHistory],
                after: &[],
                next: &[Next::Last],
                below_known_durable: None,
                clean: None,
            },
        ],
        decision: Refuse(ErrorKind::Corrupt),
        why: "the batch is whole and in its place, but does not follow the one before it: \
              files of two copies of this log were mixed",
        advice: "put back the files of one copy; never mix files of two",
    },
    Row {
        letter: 'K',
        name: "durable data unreadable",
        cases: &[kept(&[Unreadable]), below(&[Unreadable])],
        decision: Refuse(ErrorKind::Io),
        why: "the device does not give back what was durable",
        advice: "copy the directory to a healthy device, then open the copy",
    },
    Row {
        letter: 'L',
        name: "unreadable, perhaps durable",
        cases: &[
            by_next(&[Next::Unreadable]),
            open_end(&[Unreadable], &[]),
            open_end(UNFINISHED, &[After::Unreadable]),
        ],
        decision: Refuse(ErrorKind::Io),
        why: "the device does not say whether the log goes on here, or was durable here",
        advice: "copy the directory to a healthy device, then open the copy",
    },
    Row {
        letter: 'M',
        name: "missing segment",
        cases: &[by_next(&[Next::Missing])],
        decision: Refuse(ErrorKind::Missing),
        why: "a segment is not there, and a later one proves that it was durable",
        advice: "put the file back; without it `siding repair` can only cut the log here",
    },
    Row {
        letter: 'N',
        name: "newer version",
        cases: &[
            by_next(&[Next::Newer]),
            kept(&[Newer]),
            Case {
                at: &[Newer],
                after: &[],
                next: &[Next::Last],
                below_known_durable: None,
                clean: None,
            },
        ],
        decision: Refuse(ErrorKind::UnsupportedVersion),
        why: "what this version does not understand is not damage",
        advice: "open the log with the version of Siding that wrote it, or a newer one",
    },
    Row {
        letter: 'O',
        name: "contradicting segment",
        cases: &[by_next(&[Next::Contradicts])],
        decision: Refuse(ErrorKind::Corrupt),
        why: "the next segment's header does not continue what stands here: \
              one of the two is damaged, or comes from another copy of this log",
        advice: "put back the files of one copy; never mix files of two",
    },
    Row {
        letter: 'P',
        name: "damaged segment header",
        cases: &[by_next(&[Next::Damaged])],
        decision: Refuse(ErrorKind::Corrupt),
        why: "batches stand behind a header that is not valid, so it was valid once",
        advice: "restore the file from a copy of the directory, or run `siding repair`",
    },
];

/// The row these facts match; none only if the table has a hole, which its test excludes.
#[must_use]
pub fn judge(facts: &Facts) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.cases.iter().any(|case| case.holds(facts)))
}

/// The row with this letter.
#[must_use]
pub fn row(letter: char) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.letter == letter)
}
