//! One look at a directory that may be in use: survey, keypoint, and the scan as far as what
//! stands there can be believed.
//!
//! The owner of the log trims, recycles and appends meanwhile, so files that were listed may be
//! gone or hold something else when they are read. Nothing false comes of that, for every byte is
//! held against checksums that know its position; but it looks like damage. What looks so is
//! looked at again, and counts only if it stays.

use crate::open::analysis::{Analysis, base};
use crate::restore::note;
use crate::restore::unfinished;
use siding_wal::disk::{Disk, Owner};
use siding_wal::read::{ControlState, Row, Step, Survey, Verdict, control_state, row, survey};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::time::Duration;

/// Looks at a log that does not change, or changes no more than this often a look.
const LOOKS: u32 = 6;

/// Looks at a log that changes each time.
const LOOKS_AT_MOST: u32 = 60;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether somebody has the log open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nobody has.
    Closed,
    /// Somebody has.
    Open(Owner),
    /// It cannot be known; the log is read as one that is in use.
    Unknown,
}

/// What one look found.
#[derive(Debug)]
pub(super) struct View {
    pub(super) usage: Usage,
    pub(super) found: Survey,
    pub(super) analysis: Analysis,
    /// What is believed ends here.
    pub(super) end: Lsn,
    /// Why it ends there; none of a log in use, and none if there was no scan.
    pub(super) verdict: Option<Verdict>,
    /// What an open would refuse the log for.
    pub(super) trouble: Option<Error>,
}

/// What moves when an owner takes something away, or somebody opens or closes the log.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    usage: Usage,
    sequence: Option<u64>,
}

impl Moment {
    fn now(disk: &dyn Disk) -> Self {
        let usage = match disk.owner() {
            Ok(None) => Usage::Closed,
            Ok(Some(owner)) => Usage::Open(owner),
            Err(_) => Usage::Unknown,
        };
        let sequence = match control_state(disk) {
            ControlState::Slot(slot) => Some(slot.sequence),
            _ => None,
        };
        Self { usage, sequence }
    }
}

/// Looks until what is seen holds together, or does not although nothing moved.
pub(super) fn look(disk: &dyn Disk) -> Result<View> {
    let (mut calm, mut looks) = (0, 0);
    loop {
        let before = Moment::now(disk);
        let seen = View::take(disk, before.usage);
        let moved = Moment::now(disk) != before;
        let used = before.usage != Usage::Closed;
        let sound = seen.as_ref().is_ok_and(|view| view.trouble.is_none());
        // Below what was durable a log in use does not change, whatever moves meanwhile.
        if (sound && used) || (!moved && !used) {
            return seen;
        }
        looks += 1;
        calm += u32::from(!moved);
        if calm >= LOOKS || looks >= LOOKS_AT_MOST {
            return seen;
        }
        std::thread::sleep(PAUSE);
    }
}

impl View {
    fn take(disk: &dyn Disk, usage: Usage) -> Result<Self> {
        unfinished(disk)?;
        // Before the rest: what the note is for is gone before it goes.
        let restored = note::read(disk)?;
        let mut found = survey(disk).map_err(|error| placed(error, disk))?;
        if found.is_empty() {
            let error = Error::new(ErrorKind::NotFound, "there is no log in the directory");
            return Err(placed(error, disk).advise("name the directory of a log"));
        }
        let end = found.known_durable;
        let (analysis, trouble) = match base(&mut found, restored.as_ref()) {
            Ok(analysis) => (analysis, None),
            Err(error) => (Analysis::unknown(&found), Some(error)),
        };
        let mut view = Self { usage, found, analysis, end, verdict: None, trouble };
        if view.trouble.is_none() {
            view.trouble = view.scan()?;
        }
        Ok(view)
    }

    /// Rebuilds the unit table up to the end, and says what keeps that from being whole.
    fn scan(&mut self) -> Result<Option<Error>> {
        let limit = match self.usage {
            Usage::Closed => Lsn::MAX,
            Usage::Open(_) | Usage::Unknown => self.found.scan()?.durable_ahead()?,
        };
        let mut scan = self.found.scan()?.limit(limit);
        self.analysis.scanned_from = scan.position();
        let refused = loop {
            match scan.next_batch()? {
                Step::Batch(_) => {
                    for (lsn, header, payload) in scan.records() {
                        if let Err(error) = self.analysis.apply(lsn, &header, payload) {
                            return Ok(Some(error));
                        }
                    }
                    self.end = scan.position();
                }
                Step::Limit => break None,
                Step::End(verdict) => {
                    let refused = verdict.refusal();
                    self.end = verdict.end;
                    self.verdict = Some(verdict);
                    break refused;
                }
            }
        };
        self.end = self.end.max(scan.position());
        self.analysis.scanned_bytes = scan.bytes_read();
        Ok(refused.or_else(|| self.analysis.whole(&self.found).err()))
    }

    /// The row of the table that says how the log ends, or why it is refused.
    pub(super) fn row(&self) -> Option<&'static Row> {
        let refused = self.trouble.as_ref().and_then(Error::letter).and_then(row);
        refused.or_else(|| self.verdict.as_ref().map(|verdict| verdict.row))
    }
}

fn placed(error: Error, disk: &dyn Disk) -> Error {
    match disk.path() {
        Some(path) if error.path().is_none() => error.file(path),
        _ => error,
    }
}
