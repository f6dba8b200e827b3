//! Moved records that are lost: rebuilt from their originals where those are still on the main
//! log, and named where not.
//!
//! 1. The sweep, or a reader, finds an extent that cannot be read. Crash: the next open's sweep
//!    finds it again. 2. The unit's moved records are copied once more: from the extents that can
//!    be read, and from the originals of the others. Crash: orphans, which no fork record names.
//!    3. The copies are synced. Crash: the same. 4. A fork record names them, with the number and
//!    the hash of the moved records that the fork record before it had. Crash before it is
//!    durable: it does not exist, and the unit is as it was. 5. It is durable: the old extents
//!    are free, and what was said of them is forgotten. Originals are never written.
//!
//! Trimming leaves them until then: before it passes anything, extents are looked at, and what is
//! lost is rebuilt (1 to 4); from 4 to 5 the unit table keeps the originals that were copied. A
//! unit that has ended is not moved any more: its originals are kept as long as redo may need them.

use crate::engine::Engine;
use siding_fork::pool::Problem;
use siding_fork::{Order, Round, StandIn, Task};
use siding_wal::chain::ChainStart;
use siding_wal::format::SPtr;
use siding_wal::stream::Stream;
use siding_wal::units::Unit;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A unit whose moved records were rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The unit.
    pub unit: u64,
    /// Its moved records, those that were not lost included.
    pub records: u64,
}

/// What the engine remembers of lost extents.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rebuilt: Vec<Rebuilt>,
    /// Extents that were looked into, and why the units could not be rebuilt.
    tried: BTreeSet<(u64, SPtr)>,
    refused: BTreeMap<u64, String>,
    /// Files under an extent file's name that are not the log's.
    strangers: Vec<String>,
    /// Units of which copies are lost, and the oldest original that takes the place of one.
    originals: BTreeMap<u64, Lsn>,
}

impl Losses {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Originals that have no copy, by unit.
    pub(crate) fn originals(&self) -> BTreeMap<u64, Lsn> {
        self.kept().originals.clone()
    }

    pub(crate) fn note_strangers(&self, strangers: Vec<String>) {
        self.kept().strangers = strangers;
    }
}

/// What somebody wants of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To commit it, or to prepare it for that: redo must be able to deliver it.
    Effects,
    /// To back it out: under repeat history it is undone.
    Undo,
}

impl Engine {
    /// Whether a unit can be decided this way: refused if moved records that this needs are lost,
    /// and cannot be rebuilt from their originals.
    ///
    /// Costs nothing if no unit was moved, a look at the table if this one was not; else a listing
    /// of the secondary log's directory, before the sweep a read of one block for each extent, and
    /// a rebuilding if records are lost that can be. What rots in an extent that nobody reads is
    /// found by redo alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Missing`], [`ErrorKind::Corrupt`] or what else is wrong with the extents, with
    /// which records are lost, in which file, and what can be done.
    pub fn check_moved(&self, unit: u64, need: Need) -> Result<()> {
        if !self.forking.pool().is_used() {
            return Ok(());
        }
        let moved = {
            let core = self.stream().core();
            let needed = (need == Need::Undo) == core.repeats_history();
            core.units.get(unit).filter(|_| needed).map(|it| (it.sec, it.secondary.0))
        };
        let Some((newest, count)) = moved.filter(|(sec, _)| *sec != SPtr::NONE) else {
            return Ok(());
        };
        let lost = self.forking.pool().lost(unit, newest);
        if lost.is_empty() || self.rebuild(&[unit])?.units.contains(&unit) {
            return Ok(());
        }
        Err(self.refusal(unit, need, count, &lost))
    }

    fn refusal(&self, unit: u64, need: Need, moved: u64, lost: &[Problem]) -> Error {
        let records: Vec<String> = lost.iter().map(|problem| problem.lost(moved)).collect();
        let (verb, advice) = match need {
            Need::Effects => (
                "committed",
                "put the file back from a copy and decide again; or back the unit out: nothing of \
                 it was applied. What it did can be written again in a new unit",
            ),
            Need::Undo => (
                "backed out",
                "put the file back from a copy and decide again: undo reads every record. A \
                 commit reads none",
            ),
        };
        let what = format!(
            "unit {unit:#x} cannot be {verb}: of its {moved} moved records these are lost: {}",
            records.join("; ")
        );
        let kind = lost.first().map_or(ErrorKind::Missing, |problem| problem.kind);
        let error = Error::new(kind, what).advise(advice);
        match lost.first() {
            Some(problem) => error.file(self.forking.pool().path(&problem.file)),
            None => error,
        }
    }

    /// Rebuilds the moved records of a unit from what can be read of them and from originals that
    /// are still on the main log. Returns how many were moved in all; zero if none is lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if no such unit is live; why it cannot be rebuilt: it stays as it
    /// was.
    ///
    /// # Crash
    ///
    /// It was rebuilt, or is as it was.
    pub fn rebuild_unit(&self, unit: u64) -> Result<u64> {
        let (newest, count) = {
            let core = self.stream().core();
            let entry = core.units.get(unit).filter(|it| !it.is_blank());
            entry.map(|it| (it.sec, it.secondary.0)).ok_or_else(|| {
                let what = format!("no unit {unit:#x} with records is live");
                Error::new(ErrorKind::NotFound, what).advise("see `siding units`")
            })?
        };
        if newest == SPtr::NONE || self.forking.pool().lost(unit, newest).is_empty() {
            return Ok(0);
        }
        let round = self.rebuild(&[unit])?;
        if !round.units.contains(&unit) {
            let lost = self.forking.pool().lost(unit, newest);
            return Err(self.refusal(unit, Need::Effects, count, &lost));
        }
        self.stream().ensure_durable(round.next)?;
        self.settle_forks();
        Ok(count)
    }

    /// The chain of a live unit anew, if a reader met `error` in it and what is lost could be
    /// rebuilt.
    ///
    /// # Errors
    ///
    /// What the reader met.
    pub fn mend(&self, unit: u64, error: Error) -> Result<ChainStart> {
        let known = self.forking.pool().problems().iter().any(|problem| problem.unit == unit);
        // A reader that walked before somebody else rebuilt the unit finds what it looked for.
        let lost = known || matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt);
        if !lost || self.stream().may_wait().is_err() {
            return Err(error);
        }
        let rebuilt = self.rebuild(&[unit]).is_ok_and(|round| round.units.contains(&unit));
        let chain = self.stream().core().units.get(unit).map(|entry| entry.chain(unit));
        chain.filter(|_| rebuilt).ok_or(error)
    }

    /// Rebuilds what the sweep and readers found lost since this was asked last. Of units that
    /// have ended it keeps the originals.
    pub(crate) fn rebuild_due(&self) {
        let mut units = BTreeSet::new();
        for problem in self.forking.pool().problems() {
            if self.forking.losses.kept().tried.insert((problem.unit, problem.at)) {
                units.insert(problem.unit);
            }
        }
        if units.is_empty() {
            return;
        }
        let (live, ended): (Vec<u64>, Vec<u64>) = {
            let core = self.stream().core();
            units.into_iter().partition(|unit| core.units.get(*unit).is_some())
        };
        for unit in ended {
            let original = self.stand_in(unit).and_then(|found| found.oldest_original());
            if let Some(original) = original {
                self.forking.losses.kept().originals.insert(unit, original);
            }
        }
        if !live.is_empty() {
            // Said in the unit's problem.
            let _ = self.rebuild(&live);
        }
    }

    /// Nothing keeps the originals of units that are over, or whose extents are read again.
    pub(crate) fn forget_originals(&self) {
        let kept = self.forking.losses.originals();
        if kept.is_empty() {
            return;
        }
        let lost: BTreeSet<u64> =
            self.forking.pool().problems().iter().map(|problem| problem.unit).collect();
        let over: Vec<u64> = {
            let core = self.stream().core();
            let needed = |unit: &u64| core.units.as_moved(*unit).is_some();
            kept.into_keys().filter(|unit| !lost.contains(unit) || !needed(unit)).collect()
        };
        let mut kept = self.forking.losses.kept();
        kept.originals.retain(|unit, _| !over.contains(unit));
    }

    /// What takes the place of a unit's lost extents, if originals can.
    pub(crate) fn stand_in(&self, unit: u64) -> Option<StandIn> {
        let moving = self.stream().core().units.as_moved(unit)?;
        let log = Arc::<Stream>::clone(self.stream());
        StandIn::new(moving, log, self.forking.pool()).ok().flatten()
    }

    /// While units are being rebuilt their originals are kept, from the first record on.
    fn keep_originals(&self, units: &[u64]) {
        let firsts: Vec<(u64, Lsn)> = {
            let core = self.stream().core();
            let first = |unit: &u64| core.units.get(*unit).map(|entry| (*unit, entry.first));
            units.iter().filter_map(first).collect()
        };
        self.forking.losses.kept().originals.extend(firsts);
    }

    fn rebuild(&self, units: &[u64]) -> Result<Round> {
        let orders: Vec<Order> =
            units.iter().map(|unit| Order { unit: *unit, task: Task::Rebuild }).collect();
        self.keep_originals(units);
        let round = self.round(&orders)?;
        let counts: Vec<Rebuilt> = {
            let core = self.stream().core();
            let count = |unit: &u64| core.units.get(*unit).map_or(0, |it: &Unit| it.secondary.0);
            let rebuilt = round.units.iter();
            rebuilt.map(|unit| Rebuilt { unit: *unit, records: count(unit) }).collect()
        };
        let oldest = self.stream().bounds().oldest;
        let mut kept = self.forking.losses.kept();
        kept.rebuilt.extend(counts);
        for unit in units {
            if round.units.contains(unit) {
                kept.refused.remove(unit);
                // From here on the unit table keeps them.
                kept.originals.remove(unit);
                continue;
            }
            let why = round.given_up.iter().find(|(of, _)| of == unit);
            let later = |(_, error): &(u64, Error)| {
                matches!(error.kind(), ErrorKind::LogFull | ErrorKind::Io)
            };
            if why.is_some_and(later) {
                // There may be room, or an answer, next time.
                kept.tried.retain(|(of, _)| of != unit);
            } else {
                kept.originals.remove(unit);
            }
            let why = match why {
                Some((_, error)) if error.kind() != ErrorKind::Trimmed => error.to_string(),
                _ => format!("their originals are gone, the main log begins at {oldest}"),
            };
            kept.refused.insert(*unit, why);
        }
        Ok(round)
    }

    /// Units whose extents cannot all be read, what is lost of them, and why it was not rebuilt.
    pub(crate) fn problems(&self) -> BTreeMap<u64, String> {
        let mut told: BTreeMap<u64, String> = BTreeMap::new();
        for problem in self.forking.pool().problems() {
            let moved = {
                let core = self.stream().core();
                core.units.get(problem.unit).map_or(0, |it| it.secondary.0)
            };
            let one = format!("{}; lost: {}", problem.what, problem.lost(moved));
            told.entry(problem.unit)
                .and_modify(|all| all.push_str(&format!("; {one}")))
                .or_insert(one);
        }
        let kept = self.forking.losses.kept();
        for (unit, text) in &mut told {
            if let Some(why) = kept.refused.get(unit) {
                text.push_str(&format!("; not rebuilt: {why}"));
            }
        }
        told
    }

    /// Units whose moved records were lost and rebuilt since the log was opened, in order.
    #[must_use]
    pub fn rebuilt(&self) -> Vec<Rebuilt> {
        self.forking.losses.kept().rebuilt.clone()
    }

    /// Files under an extent file's name that are not this log's, each with what it is. They are
    /// left alone. Empty before the sweep, which the background does once in an open.
    #[must_use]
    pub fn strangers(&self) -> Vec<String> {
        self.forking.losses.kept().strangers.clone()
    }

    /// The error for a read at `lsn` that the main log no longer has: names the unit whose moved
    /// record this was, if there is one. Costs a look at the table, and a read of one extent for
    /// each unit that moved records from both sides of it.
    pub fn moved(&self, lsn: Lsn, trimmed: Error) -> Error {
        if trimmed.kind() != ErrorKind::Trimmed {
            return trimmed;
        }
        let units: Vec<(u64, SPtr)> = {
            let core = self.stream().core();
            core.units.may_have_moved(lsn)
        };
        match self.forking.pool().holder(&units, lsn) {
            Some(unit) => {
                let what = format!("the record was moved: it is one of unit {unit:#x}");
                Error::new(ErrorKind::Moved, what)
                    .at(lsn)
                    .advise("read the unit's records; they keep their positions")
            }
            None => trimmed,
        }
    }
}
