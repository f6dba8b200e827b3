//! What of a unit is lost, when somebody is about to rely on it.

use super::ledger::Known;
use super::{Pool, Problem};
use siding_wal::format::{
    EXTENT_ALIGN, ExtentHead, SPtr, extent_file_name, parse_extent_name, wide,
};
use siding_wal::{Error, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

impl Pool {
    /// The extents of a live unit that cannot be read, as far as this can be known without
    /// reading all of them; `newest` is the newest. What was lost when somebody looked last is
    /// looked at again: a file that was put back counts at once.
    ///
    /// Costs a listing of the directory; before the sweep a read of one block for each extent;
    /// and a read of what was lost.
    pub fn lost(&self, unit: u64, newest: SPtr) -> Vec<Problem> {
        self.look_again(unit);
        self.follow(unit, newest);
        self.look_for_files(unit);
        self.problems().into_iter().filter(|problem| problem.unit == unit).collect()
    }

    /// The names of the files with the newest extents of these units that cannot be read as this
    /// log's. Costs the opening of each file, and a read of its header.
    #[must_use]
    pub fn missing(&self, live: &[(u64, SPtr)]) -> Vec<String> {
        let files: BTreeSet<u64> = live.iter().map(|(_, newest)| newest.extent).collect();
        let gone = files.into_iter().filter(|number| self.file(*number).is_err());
        gone.map(extent_file_name).collect()
    }

    /// The head of an extent, if it can be read.
    pub(crate) fn head_of(&self, unit: u64, at: SPtr) -> Option<ExtentHead> {
        self.read_head(unit, at).ok()
    }

    /// The unit was moved on, to this extent: says anew what of it is lost, if anything is.
    pub(crate) fn went_on(&self, unit: u64, newest: SPtr) {
        if self.problems().iter().any(|problem| problem.unit == unit) {
            self.follow(unit, newest);
        }
    }

    fn look_again(&self, unit: u64) {
        for problem in self.problems().into_iter().filter(|problem| problem.unit == unit) {
            // Another file may have the name by now.
            self.files().remove(&problem.at.extent);
            if self.whole(unit, problem.at).is_ok() {
                let mut state = self.state();
                state.problems.retain(|it| (it.unit, it.at) != (unit, problem.at));
                state.ledger.healed(unit);
            }
        }
    }

    /// Whether the files are there, as long as they must be: a reader may have them open and see
    /// what the next open will miss.
    fn look_for_files(&self, unit: u64) {
        // Before the listing: what is appended while it is made is not in it.
        let extents = self.state().ledger.on_disk(unit);
        // A directory that cannot be listed says nothing about what is lost.
        let Ok(names) = self.disk.list() else { return };
        let there: BTreeMap<u64, u64> = names
            .into_iter()
            .filter_map(|(name, len)| Some((parse_extent_name(&name)?, len)))
            .collect();
        let mut gone = BTreeSet::new();
        for (at, len) in extents {
            let end = (u64::from(at.offset) * wide(EXTENT_ALIGN)).saturating_add(len);
            let what = match there.get(&at.extent) {
                Some(have) if *have >= end => continue,
                Some(_) => "its file is shorter than it was",
                None => "its file is missing",
            };
            // Freed meanwhile, and its file with it.
            if !self.state().ledger.holds(unit, at) {
                continue;
            }
            // Read while it is still open: it says which records these are.
            let head = self.read_head(unit, at).ok();
            let error = Error::new(ErrorKind::Missing, what);
            let error = self.located(error, unit, at, head.as_ref());
            self.note(unit, at, &error, head.as_ref());
            gone.insert(at.extent);
        }
        for number in gone {
            self.files().remove(&number);
            let mut state = self.state();
            let ours = state.open.iter().chain(&state.full).any(|file| file.number() == number);
            if ours {
                // What is written to it from here on would be on no disk.
                let cause = io::Error::from(io::ErrorKind::NotFound);
                self.fail(&mut state, number, cause);
            }
        }
    }

    /// Which of these units has a copy of the record at `lsn`. Costs a read of each extent with
    /// copies on both sides of it, one a unit; before the sweep of a block for each extent that is
    /// newer.
    ///
    /// # Errors
    ///
    /// None: an extent that cannot be read has no copy that anybody could be shown.
    pub fn holder(&self, units: &[(u64, SPtr)], lsn: siding_wal::Lsn) -> Option<u64> {
        use siding_wal::chain::Copies as _;
        units.iter().map(|(unit, newest)| (*unit, *newest)).find_map(|(unit, newest)| {
            let mut at = newest;
            while at != SPtr::NONE {
                let known = self.state().ledger.known(unit, at);
                let head = match known {
                    Some(known) => known,
                    None => Known::from(&self.read_head(unit, at).ok()?),
                };
                if head.oldest <= lsn {
                    let inside = head.newest >= lsn;
                    let extent = inside.then(|| self.extent(unit, at).ok()).flatten()?;
                    let mut copies = (0..extent.len()).filter_map(|index| extent.get(index));
                    return copies.any(|copied| copied.lsn == lsn).then_some(unit);
                }
                at = head.parent;
            }
            None
        })
    }
}

impl Problem {
    /// Which records are lost, of `moved` that were moved.
    #[must_use]
    pub fn lost(&self, moved: u64) -> String {
        let count = self.records.unwrap_or(moved);
        let plural = if count == 1 { "record" } else { "records" };
        let range = match (self.from, self.upto) {
            (Some(from), Some(upto)) => format!("from {from} to {upto}"),
            (_, Some(upto)) => format!("up to {upto}"),
            _ => "all that were moved".to_owned(),
        };
        let file = extent_file_name(self.at.extent);
        format!("{count} {plural}, {range}, in {file}")
    }
}
