//! What must hold at any time.

use crate::history::History;
use crate::model::{SEGMENT, Told};
use siding_wal::Lsn;
use siding_wal::chain::ChainStart;
use siding_wal::format::{DirectoryEntry, Kind, SPtr};
use siding_wal::units::{GidHolder, Unit};

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what} is {is:?}, should be {should:?}")) }
}

impl History {
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.free()?;
        let told: Vec<(u64, Told)> = self
            .records
            .units(self.end)
            .into_iter()
            .map(|unit| (unit, self.records.tell(unit, self.end)))
            .collect();
        for (unit, told) in &told {
            self.check_gid(*unit, told)?;
            match (told.ended, self.table.get(*unit)) {
                (None, None) => return Err(format!("{unit} is missing")),
                (Some(_), Some(_)) => return Err(format!("{unit} has ended, and is there")),
                (Some(_), None) => {}
                (None, Some(entry)) => {
                    check_entry(entry, told).map_err(|what| format!("{unit}: {what}"))?;
                    let chain = self.walk(entry.chain(*unit), Lsn::MAX)?;
                    same(&format!("the chain of {unit}"), &chain, &told.records)?;
                }
            }
        }
        let live = told.iter().filter(|(_, told)| told.ended.is_none()).count();
        same("the number of units", self.table.len(), live + self.blank.len())?;
        let owed = usize::try_from(self.table.owed().units).unwrap();
        same("the number of units that owe something", owed, self.table.len())?;
        self.check_order()?;
        self.check_pins()?;
        self.check_extents()?;
        self.check_redo()?;
        self.check_directories()
    }

    /// A chain, oldest record first.
    fn walk(&self, start: ChainStart, newest: Lsn) -> Result<Vec<Lsn>, String> {
        let mut found = Vec::new();
        let mut lsn = start.head;
        while !lsn.is_zero() && lsn >= start.floor {
            if lsn < self.oldest {
                return Err(format!("{lsn} of {} was trimmed at {}", start.unit, self.oldest));
            }
            let record = self.records.at(lsn).ok_or_else(|| format!("nothing stands at {lsn}"))?;
            if record.unit != start.unit {
                return Err(format!("the chain of {} leads to {}", start.unit, record.unit));
            }
            if record.kind != Kind::Fork {
                found.push(lsn);
            }
            lsn = record.prev;
        }
        found.extend(self.extents.copies(start.unit, start.sec)?);
        found.retain(|lsn| *lsn < newest);
        found.reverse();
        Ok(found)
    }

    fn check_gid(&self, unit: u64, told: &Told) -> Result<(), String> {
        if told.gid.is_empty() {
            return Ok(());
        }
        let holder = match told.ended {
            None => Some(GidHolder::Live(unit)),
            Some(next) if next > self.durable => Some(GidHolder::Ending(next)),
            Some(_) => None,
        };
        same("the holder of a gid", self.table.gid_holder(&told.gid), holder)
    }

    /// I3: nothing goes back, and `sec` changes with a move alone.
    fn check_order(&mut self) -> Result<(), String> {
        for (unit, entry) in self.table.iter() {
            let now = (entry.moves, entry.floor, entry.sec);
            let Some(before) = self.seen.insert(unit, now) else { continue };
            if now.0 < before.0 || now.1 < before.1 {
                return Err(format!("{unit} went back from {before:?} to {now:?}"));
            }
            same("whether sec changed", now.2 != before.2, now.0 != before.0)?;
        }
        Ok(())
    }

    /// I5: whatever a crash now would need is there, and once all is durable nothing more is.
    fn check_pins(&self) -> Result<(), String> {
        let units = self.records.units(self.end);
        let needs = units.iter().map(|unit| self.needs(*unit)).min().unwrap_or(Lsn::MAX);
        let low = self.table.low().map_or(Lsn::MAX, |(low, _)| low);
        if low > needs || (self.durable == self.end && low != needs) {
            return Err(format!("{needs} is needed, {low} is pinned"));
        }
        if needs < self.oldest {
            return Err(format!("{needs} is needed, and trimmed at {}", self.oldest));
        }
        Ok(())
    }

    fn check_extents(&self) -> Result<(), String> {
        let listed: Vec<u64> = self.table.extents().into_iter().map(|(unit, _)| unit).collect();
        let needed = self.keeps_extents();
        if let Some(unit) = needed.iter().find(|unit| !listed.contains(unit)) {
            return Err(format!("extents of {unit} may be needed, and are not listed"));
        }
        for (unit, sec) in self.table.extents() {
            self.extents.chain(unit, sec)?;
        }
        if self.durable == self.end {
            same("what has extents", listed, needed)?;
        }
        Ok(())
    }

    /// A redo now would find every record of every unit that it would deliver.
    fn check_redo(&self) -> Result<(), String> {
        for (unit, lsn) in self.to_redo() {
            let commit = self.records.at(lsn).unwrap();
            let (floor, sec) = commit.decision;
            let chain = match self.table.redo_chain(unit) {
                Some(entry) => entry,
                None if sec == SPtr::NONE => ChainStart { unit, head: lsn, floor, sec },
                None => return Err(format!("redo does not find the moved records of {unit}")),
            };
            let found = self.walk(ChainStart { head: commit.prev, ..chain }, lsn)?;
            let mut records = self.records.tell(unit, commit.next).records;
            records.pop();
            same(&format!("what redo finds of {unit}"), found, records)?;
        }
        Ok(())
    }

    /// The table knows what live units wrote to segments that it saw from their start.
    fn check_directories(&self) -> Result<(), String> {
        for segment in self.spans_from..=self.end.get() / SEGMENT {
            let mut entries = Vec::new();
            for (unit, _) in self.table.iter() {
                let inside = self
                    .records
                    .of(unit, self.end)
                    .filter(|it| it.kind != Kind::Fork && it.lsn.get() / SEGMENT == segment);
                let inside: Vec<_> = inside.collect();
                let (Some(first), Some(last)) = (inside.first(), inside.last()) else { continue };
                entries.push(DirectoryEntry {
                    unit,
                    oldest: first.lsn,
                    newest: last.lsn,
                    count: u64::try_from(inside.len()).unwrap(),
                    bytes: inside.iter().map(|it| it.bytes()).sum(),
                });
            }
            entries.sort_unstable_by_key(|entry| entry.unit);
            let mut found = self.table.directory(segment);
            // What was moved before a keypoint counts for nothing, known or not.
            let counts = |it: &DirectoryEntry| {
                self.table.get(it.unit).is_some_and(|entry| entry.floor <= it.newest)
            };
            entries.retain(counts);
            found.retain(counts);
            same(&format!("the directory of {segment}"), found, entries)?;
        }
        Ok(())
    }
}

/// I7: the entry is what the records say.
fn check_entry(entry: &Unit, told: &Told) -> Result<(), String> {
    same("state", entry.state, told.state)?;
    same("head", entry.head, told.head)?;
    same("floor", entry.floor, told.floor)?;
    same("sec", entry.sec, told.sec)?;
    same("moves", entry.moves, told.moves)?;
    same("commit", entry.commit, told.commit)?;
    same("first", entry.first, told.first)?;
    same("gid", &entry.gid, &told.gid)?;
    same("main", entry.main, told.main)?;
    same("secondary", entry.secondary, told.secondary)?;
    same("live_low", entry.live_low(), told.low)
}
