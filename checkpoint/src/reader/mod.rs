//! A log that is only looked at: no lock, nothing written, while its owner may be at work.
//!
//! Of a closed log everything up to its end is shown, and the letter of the table says what kind
//! of end that is. Of a log in use only what lies below a `durable_before` that was read: what
//! stands above may be half written, and may never have been acknowledged. What is shown is the
//! moment of the look; [`ReadOnly::refresh`] looks again.

mod cursor;
mod effects;
mod look;
mod secondary;

pub use cursor::Reading;
pub use look::Usage;
pub use secondary::ExtentInfo;

use crate::engine::Positions;
use crate::live::{self, UnitInfo};
use crate::open::note;
use crate::retain::Facts;
use look::{View, look};
use siding_fork::pool::Pool;
use siding_wal::chain::ChainStart;
use siding_wal::disk::{Clock, Disk};
use siding_wal::format::{Discipline, UnitEntry, parse_segment_name};
use siding_wal::read::{Identity, Row, Survey};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentState {
    /// Records go here.
    Open,
    /// Full, or ended by a later open.
    Sealed,
    /// Prepared, not used.
    Spare,
    /// A header was torn while it was written; the next open takes the file again.
    Abandoned,
    /// Trimmed; the file will be used again or removed.
    Leftover,
}

impl SegmentState {
    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Spare => "spare",
            Self::Abandoned => "abandoned",
            Self::Leftover => "leftover",
        }
    }
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub state: SegmentState,
    /// Its first LSN.
    pub first: Lsn,
    /// Bytes of the file.
    pub bytes: u64,
    /// The open that wrote its header, if it has one that counts.
    pub incarnation: Option<u32>,
    /// Where what was kept in it ends: what stands behind is void, or not yet written. None if
    /// it is not in use.
    pub kept_end: Option<Lsn>,
}

/// A log that is only read. Cheap to clone; a clone shows the same moment.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    view: Arc<View>,
    /// The secondary log.
    pool: Arc<Pool>,
}

impl ReadOnly {
    /// Looks at the log in a directory.
    ///
    /// A log that an open would refuse because of what stands behind its headers is shown as far
    /// as it can be read; [`ReadOnly::trouble`] says what is wrong.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no log; what the survey of the files refuses it for.
    pub fn open(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Self> {
        let view = Arc::new(look(&*disk)?);
        let pool = Pool::open_for_reading(Arc::clone(&disk), *view.found.segments.id());
        Ok(Self { disk, clock, view, pool: Arc::new(pool) })
    }

    /// The same look, with its secondary log on another disk.
    #[must_use]
    pub fn with_secondary(mut self, disk: Arc<dyn Disk>) -> Self {
        let id = *self.view.found.segments.id();
        self.pool = Arc::new(Pool::open_for_reading(disk, id));
        self
    }

    /// Looks again.
    ///
    /// # Errors
    ///
    /// As [`ReadOnly::open`]; then what was seen before stays.
    pub fn refresh(&mut self) -> Result<()> {
        self.view = Arc::new(look(&*self.disk)?);
        Ok(())
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn survey(&self) -> &Survey {
        &self.view.found
    }

    /// Whether somebody has the log open.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.view.usage
    }

    /// Whether the log was read as one in use: only below what was durable.
    #[must_use]
    pub fn in_use(&self) -> bool {
        self.view.usage != Usage::Closed
    }

    /// Where the directory lies.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.disk.path()
    }

    /// Which log this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let found = &self.view.found;
        found.identity.unwrap_or(Identity {
            log_id: *found.segments.id(),
            path_id: [0; 16],
            discipline: Discipline::default(),
            segment_size: found.segments.size(),
        })
    }

    /// The largest incarnation seen, that of the last open.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        let seen = self.view.verdict.as_ref().map_or(0, |verdict| verdict.incarnation);
        self.view.found.incarnation.max(seen)
    }

    /// The epoch it was written under last.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.view.found.epoch
    }

    /// The write unit of the last segment.
    #[must_use]
    pub fn write_unit(&self) -> u32 {
        self.view.found.segments.last().map_or(0, |last| last.header.write_unit)
    }

    /// Whether the log was closed cleanly, and its end says so too.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let end = self.view.verdict.as_ref().filter(|_| self.view.trouble.is_none());
        end.is_some_and(|verdict| self.view.found.clean_end == Some(verdict.end))
    }

    /// The row of the table that says how the log ends or why an open refuses it; none of a log
    /// in use.
    #[must_use]
    pub fn row(&self) -> Option<&'static Row> {
        self.view.row()
    }

    /// What an open would refuse the log for, if it would.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        self.view.trouble.as_ref().map(Error::duplicate)
    }

    /// Where the analysis began, how many bytes and records it read.
    #[must_use]
    pub fn scanned(&self) -> (Lsn, u64, u64) {
        let seen = &self.view.analysis;
        (seen.scanned_from, seen.scanned_bytes, seen.scanned_records)
    }

    /// The positions. What is durable, written and the end cannot be told apart from outside:
    /// all three are where what can be believed ends.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let bounds = &self.view.analysis.bounds;
        Positions {
            oldest: bounds.oldest,
            redo: bounds.redo,
            keypoint_begin: bounds.keypoint_begin,
            keypoint_end: bounds.keypoint_end,
            durable: self.view.end,
            written: self.view.end,
            end: self.view.end,
        }
    }

    /// Every live unit that has written something, lowest number first.
    #[must_use]
    pub fn units(&self) -> Vec<UnitInfo> {
        live::list(&self.view.analysis.units, self.clock.wall_ms(), 0)
    }

    /// Units that have ended, and whose moved records redo may have to read.
    pub(crate) fn needed_by_redo(&self) -> Vec<UnitEntry> {
        self.view.analysis.units.needed_by_redo().cloned().collect()
    }

    fn facts(&self) -> Facts<'_> {
        let seen = &self.view.analysis;
        Facts {
            units: &seen.units,
            bounds: seen.bounds,
            commits_need: seen.pinned_by_commits(),
            end: self.view.end,
            archive: Lsn::MAX,
            wall_ms: self.clock.wall_ms(),
        }
    }

    /// What was odd, or what the answers rest on.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let found = &self.view.found;
        let mut notes = Vec::new();
        if self.disk.name() == "buffered" {
            let what = "read through the page cache, which may remember what no disk holds";
            notes.push(what.to_owned());
        }
        if !found.strangers.is_empty() {
            notes.push(format!("not of the log, and left alone: {}", found.strangers.join(", ")));
        }
        match note::noted(&*self.disk, found.segments.id()) {
            Ok(note::Note::At(place)) if place != note::BESIDE => {
                notes.push(format!("its secondary log lies {}", note::shown(&place)));
            }
            Ok(note::Note::Damaged) => {
                notes.push("the note of where its secondary log lies is damaged".into());
            }
            _ => {}
        }
        if found.control.is_none() {
            notes.push("the control file is lost; the segment headers answer instead".into());
        }
        if self.view.usage == Usage::Unknown {
            notes
                .push("whether the log is in use cannot be known; it is read as if it were".into());
        }
        notes
    }

    /// Every file of the log, lowest number first.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        let names = self.disk.list().map_err(|cause| {
            let error = Error::io("the directory cannot be listed", cause);
            self.disk.path().map_or_else(|| error.duplicate(), |path| error.duplicate().file(path))
        })?;
        let lengths: BTreeMap<u64, u64> = names
            .iter()
            .filter_map(|(name, len)| Some((parse_segment_name(name)?, *len)))
            .collect();
        let found = &self.view.found;
        let len = |number: u64| lengths.get(&number).copied().unwrap_or(0);
        let idle = |number: u64, state, bytes| SegmentInfo {
            number,
            state,
            first: found.segments.first_lsn(number),
            bytes,
            incarnation: None,
            kept_end: None,
        };
        let last = found.segments.last().map(|last| last.number);
        let mut list: Vec<SegmentInfo> = Vec::new();
        for segment in found.segments.iter() {
            let open = Some(segment.number) == last;
            let state = if open { SegmentState::Open } else { SegmentState::Sealed };
            list.push(SegmentInfo {
                incarnation: Some(segment.header.incarnation),
                kept_end: found.segments.kept_end_of(segment.number).or(Some(self.view.end)),
                ..idle(segment.number, state, len(segment.number))
            });
        }
        let leftovers = found.leftovers.iter();
        list.extend(leftovers.map(|number| idle(*number, SegmentState::Leftover, len(*number))));
        let blanks = found.blanks.iter();
        list.extend(blanks.map(|(number, bytes)| idle(*number, SegmentState::Spare, *bytes)));
        let torn = found.abandoned.iter();
        list.extend(torn.map(|number| idle(*number, SegmentState::Abandoned, len(*number))));
        list.sort_by_key(|segment| segment.number);
        Ok(list)
    }

    /// Every record from `from` on, as far as what can be believed reaches. Zero stands for the
    /// oldest position kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] below the oldest position kept.
    pub fn records(&self, from: Lsn) -> Result<Reading> {
        Reading::new(self, from)
    }

    /// Where the chain of a live unit begins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if no such unit is live.
    pub fn chain_of(&self, unit: u64) -> Result<ChainStart> {
        let entry = self.view.analysis.units.get(unit).filter(|entry| !entry.is_blank());
        entry
            .map(|entry| entry.chain(unit))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no unit {unit:#x} is live")))
    }
}
