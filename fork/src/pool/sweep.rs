//! The sweep: what earlier opens left, held against what is needed.

use super::file::OpenFile;
use super::ledger::Known;
use super::read::Header;
use super::{Pool, State};
use siding_wal::format::{SPtr, extent_file_name, parse_extent_name};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// An extent that a live unit needs and that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The unit.
    pub unit: u64,
    /// The extent.
    pub at: SPtr,
    /// The name of its file.
    pub file: String,
    /// What kind of thing is wrong.
    pub kind: ErrorKind,
    /// What is wrong, where, and what to do now.
    pub what: String,
    /// The oldest record that is lost, by the LSN of the original; none: from the unit's first
    /// record on.
    pub from: Option<Lsn>,
    /// No record above is lost; none: all that were moved may be.
    pub upto: Option<Lsn>,
    /// How many are lost; none: all that were moved.
    pub records: Option<u64>,
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Live extents, and the units that have them.
    pub extents: u64,
    /// Units with live extents.
    pub units: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Extents that cannot be read; [`Pool::problems`] has more about them.
    pub problems: u64,
    /// Files under an extent file's name that are not this log's, or cannot be taken for it.
    /// They are left alone. Each with what is wrong with it.
    pub strangers: Vec<String>,
}

impl State {
    pub(super) fn add_problem(&mut self, problem: Problem) {
        let known = |old: &&mut Problem| (old.unit, old.at) == (problem.unit, problem.at);
        match self.problems.iter_mut().find(known) {
            None => self.problems.push(problem),
            // What was moved since is not lost.
            Some(old) if old.upto.is_none() => *old = problem,
            Some(_) => {}
        }
    }

    /// A file that nothing lives in takes nothing more: it can go.
    pub(super) fn close_empty(&mut self) {
        let State { open, full, ledger, .. } = self;
        let empty = |file: &OpenFile| !ledger.is_lived_in(file.number());
        let open = open.take_if(|file| empty(file));
        let gone: Vec<OpenFile> = full.extract_if(.., |file| empty(file)).chain(open).collect();
        gone.iter().for_each(|file| ledger.closed(file.number()));
    }

    /// What `newest` does not lead to is dead, and so is what was said of it.
    pub(super) fn replaced(&mut self, unit: u64, newest: SPtr) {
        if self.ledger.replaced(unit, newest) {
            let ledger = &self.ledger;
            self.problems.retain(|it| it.unit != unit || ledger.holds(unit, it.at));
        }
    }
}

impl Pool {
    /// Learns what earlier opens left: follows the extents of each live unit, by their heads
    /// alone, and removes the files that none of them needs. `live` has every unit that extents
    /// must be kept for, with the newest of them. Runs beside appends, frees and readers.
    ///
    /// Extents that are missing or damaged are kept for [`Pool::problems`]: what their chain
    /// leads to is not known, and no older file is removed while the unit is live. Until a sweep
    /// has run to its end nothing of earlier opens is removed at all.
    ///
    /// Costs a read of one block for each live extent of earlier opens, and for each file in
    /// which nothing lives.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    ///
    /// # Crash
    ///
    /// The next open's sweep does what is left to do.
    pub fn sweep(&self, live: &[(u64, SPtr)]) -> Result<Sweep> {
        let mut found = Sweep::default();
        for (unit, newest) in live {
            let extents = self.follow(*unit, *newest);
            found.extents = found.extents.saturating_add(extents);
            found.units = found.units.saturating_add(u64::from(extents > 0));
        }
        let names = self.disk.list().map_err(|cause| self.cannot_list(cause))?;
        let mut there = BTreeSet::new();
        for (name, len) in names {
            if let Some(number) = parse_extent_name(&name) {
                there.insert(number);
                found.strangers.extend(self.meet(number, len));
            }
        }
        found.strangers.sort_unstable();
        let mut state = self.state();
        state.ledger.swept(&there);
        found.problems = state.problems.len().try_into().unwrap_or(u64::MAX);
        if live.is_empty() && state.ledger.stats().extents == 0 {
            self.used.store(false, Ordering::Release);
        }
        let orphans_stay = siding_wal::seeded!(SweepLeavesOrphans);
        let dead = if orphans_stay { Vec::new() } else { state.ledger.dead_files() };
        drop(state);
        found.removed = self.remove(&dead);
        Ok(found)
    }

    /// Extents that live units need and that cannot be read: those that the sweep met, and those
    /// that a reader met since.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.state().problems.clone()
    }

    /// Learns the extents of a unit from the newest on; returns how many there are.
    pub(super) fn follow(&self, unit: u64, newest: SPtr) -> u64 {
        let (mut begun, mut at, mut above, mut count) = (newest, newest, None, 0);
        loop {
            while at != SPtr::NONE {
                let Some(parent) = self.meet_extent(unit, at, &mut above) else { break };
                count += 1;
                at = parent;
            }
            // The unit may have been copied since the caller looked, or while this went on.
            let mut state = self.state();
            let Some(newest) = state.ledger.replacement(unit) else { return count };
            state.replaced(unit, newest);
            if newest <= begun {
                return count;
            }
            (begun, at, above, count) = (newest, newest, None, 0);
        }
    }

    /// Learns one extent; returns its parent, unless the unit is over or this is as far as its
    /// chain can be followed. `above` is the extent before.
    fn meet_extent(&self, unit: u64, at: SPtr, above: &mut Option<Known>) -> Option<SPtr> {
        {
            let state = self.state();
            if state.ledger.is_freed(unit) {
                return None;
            }
            if let Some(known) = state.ledger.known(unit, at) {
                *above = Some(known);
                return Some(known.parent);
            }
        }
        let head = self.read_head(unit, at);
        let mut state = self.state();
        if state.ledger.is_freed(unit) {
            return None;
        }
        match head {
            Ok(head) => {
                state.ledger.insert(unit, at, Known::from(&head));
                *above = Some(Known::from(&head));
                Some(head.parent)
            }
            Err(error) => {
                state.ledger.broke(unit, at);
                state.add_problem(Problem {
                    unit,
                    at,
                    file: extent_file_name(at.extent),
                    kind: error.kind(),
                    what: error.to_string(),
                    from: None,
                    upto: above.map(|it| Lsn::new(it.oldest.get().saturating_sub(1))),
                    records: above.map(|it| it.older),
                });
                None
            }
        }
    }

    /// Takes note of a file of an earlier open; says what is wrong if it is not this log's.
    fn meet(&self, number: u64, len: u64) -> Option<String> {
        {
            let mut state = self.state();
            if state.ledger.is_own(number) {
                return None;
            }
            if state.ledger.is_lived_in(number) {
                state.ledger.file_bytes(number, len);
                return None;
            }
        }
        let header = match self.disk.open(&extent_file_name(number)) {
            Ok(file) => self.header(&*file, number),
            Err(cause) => Header::Refused(Error::io("its file cannot be opened", cause)),
        };
        let mut state = self.state();
        if state.ledger.is_own(number) {
            return None;
        }
        match header {
            Header::Ours | Header::Blank => {
                state.ledger.file_bytes(number, len);
                None
            }
            Header::Refused(error) => {
                state.ledger.forget_file(number);
                let what = error.what().trim_start_matches("its ");
                Some(format!("{}: {what}", extent_file_name(number)))
            }
        }
    }
}
