//! What a worker says to the demo, one line each, as soon as it is true and never before.

use super::bank::Transfer;
use super::retained::Sample;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The database is open.
    Open,
    /// This transfer is committed.
    Committed(Transfer),
    /// This one is prepared, and stays in doubt.
    Prepared(Transfer),
    /// This one was backed out.
    BackedOut(u64),
    /// One was turned away, as a unit in doubt holds a lock.
    TurnedAway,
    /// A snapshot was taken.
    Snapshot,
    /// So much log is kept.
    Kept(Sample),
    /// The worker cannot go on.
    Failed(String),
}

impl Said {
    fn line(&self) -> String {
        match self {
            Self::Open => "open\n".to_owned(),
            Self::Committed(transfer) => format!("committed {transfer}\n"),
            Self::Prepared(transfer) => format!("prepared {transfer}\n"),
            Self::BackedOut(id) => format!("backed-out {id:016x}\n"),
            Self::TurnedAway => "turned-away\n".to_owned(),
            Self::Snapshot => "snapshot\n".to_owned(),
            Self::Kept(sample) => format!("kept {sample}\n"),
            Self::Failed(why) => {
                let why: String = why.chars().filter(|it| *it != '\n').take(800).collect();
                format!("failed {why}\n")
            }
        }
    }

    /// A line without its end; none if it is none of these, as one that a kill cut off.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "open" => Self::Open,
            "committed" => Self::Committed(rest.parse().ok()?),
            "prepared" => Self::Prepared(rest.parse().ok()?),
            "backed-out" => Self::BackedOut(u64::from_str_radix(rest, 16).ok()?),
            "turned-away" => Self::TurnedAway,
            "snapshot" => Self::Snapshot,
            "kept" => Self::Kept(rest.parse().ok()?),
            "failed" => Self::Failed(rest.to_owned()),
            _ => return None,
        })
    }
}

/// The way to the demo: standard output, without a buffer. A line is one write, and shorter than
/// what a pipe takes in one piece, so lines of several threads do not mix and a kill leaves none
/// in half.
#[derive(Debug)]
pub(super) struct Voice(File);

impl Voice {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    /// Says something; an error means that nobody listens any more.
    pub(super) fn say(&self, said: &Said) -> io::Result<()> {
        (&self.0).write_all(said.line().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood_whole_or_not_at_all() {
        let transfer = Transfer { id: 0xabc, account: 1, teller: 2, branch: 3, delta: -45 };
        let all = [
            Said::Open,
            Said::Committed(transfer),
            Said::Prepared(transfer),
            Said::BackedOut(7),
            Said::TurnedAway,
            Said::Snapshot,
            Said::Kept(Sample::default()),
            Said::Failed("the disk is full".into()),
        ];
        for said in all {
            let line = said.line();
            assert_eq!(Said::parse(line.trim_end_matches('\n')), Some(said));
            assert!(line.len() < 4096);
        }
        for line in ["", "commit", "committed 1 2 3", "committed 1 2 3 4 5 6", "backed-out x"] {
            assert_eq!(Said::parse(line), None, "{line}");
        }
    }
}
