//! What must hold. The letters are those of the protocol's invariants.
//!
//! - I1: a unit's chain is all of its records, once each, newest first;
//! - I3: oldest and durable never go back, whatever crashes;
//! - I5, I6: what is alive, and what redo needs, is never trimmed, nor is the last keypoint;
//! - I7: the table that restart builds is the one all records build;
//! - I8: a restart after a restart finds the same;
//! - I12: nothing but what was appended in this history is ever read as a record.

use crate::reference::{Rec, RefUnit, Replayed};
use crate::world::{Broken, World};
use siding::{
    Backward, Decided, Discipline, ErrorKind, InDoubt, InFlight, Kind, Log, Lsn, Outcome, Recovery,
    UnitState,
};
use siding_sim::SimDisk;
use siding_sim::disk::{Crash, PendingKind};
use std::sync::Arc;

type Siding<T> = siding::Result<T>;

/// Everything a recovery hands back.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    end: Lsn,
    /// Redo: under deferred apply with the position behind the unit's COMMIT.
    redo: Vec<(Rec, Option<Lsn>)>,
    in_doubt: Vec<(u64, Vec<u8>, Vec<Rec>, Vec<Rec>)>,
    decided: Vec<(u64, Outcome)>,
    in_flight: Vec<(u64, Vec<Rec>)>,
}

fn backward(cursor: Siding<Backward>) -> Siding<Vec<Rec>> {
    cursor?.owned().map(|record| Ok(Rec::owned(&record?))).collect()
}

fn picture(recovery: &Recovery, discipline: Discipline) -> Siding<Picture> {
    let mut redo = Vec::new();
    if discipline == Discipline::DeferredApply {
        let mut committed = recovery.committed()?;
        while let Some(record) = committed.next()? {
            redo.push((Rec::of(&record), record.commit()));
        }
    } else {
        let mut history = recovery.history()?;
        while let Some(record) = history.next()? {
            redo.push((Rec::of(&record), None));
        }
    }
    let doubt = |doubt: &InDoubt| -> Siding<_> {
        let effects: Siding<Vec<Rec>> =
            doubt.effects()?.owned().map(|record| Ok(Rec::owned(&record?))).collect();
        let chain = backward(doubt.records_backward())?;
        Ok((doubt.id(), doubt.gid().to_vec(), chain, effects?))
    };
    let flight = |unit: &InFlight| Ok((unit.id(), backward(unit.records_backward())?));
    let decided = |decided: &Decided| (decided.id(), decided.outcome());
    let mut decided: Vec<_> = recovery.decided().iter().map(decided).collect();
    decided.sort_unstable_by_key(|(unit, _)| *unit);
    Ok(Picture {
        end: recovery.report().end,
        redo,
        in_doubt: recovery.in_doubt().iter().map(doubt).collect::<Siding<_>>()?,
        decided,
        in_flight: recovery.in_flight().iter().map(flight).collect::<Siding<_>>()?,
    })
}

fn newest_first(unit: &RefUnit) -> Vec<Rec> {
    unit.chain.iter().rev().cloned().collect()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, right: &T) -> Result<(), Broken> {
    if found == right {
        return Ok(());
    }
    Err(format!("{what}: found\n  {found:?}\nand all records say\n  {right:?}"))
}

impl World {
    /// A record became durable, or stood there after a restart.
    pub(crate) fn admit(&mut self, record: Rec) -> Result<(), Broken> {
        if let Some(known) = self.archive.get(&record.lsn) {
            return same("a record changed", &record, known);
        }
        if record.kind == Kind::Data {
            let serial = u64::from_le_bytes(record.raw[..8].try_into().unwrap());
            let said = usize::try_from(serial).ok().and_then(|serial| self.said.get(serial));
            let said = said.ok_or_else(|| format!("nobody appended {record:?}"))?;
            let right = said.payload == record.raw
                && said.resource == record.resource
                && said.place.is_none_or(|place| place == (record.unit, record.lsn));
            if !right {
                return Err(format!("{record:?} was appended as {said:?}"));
            }
        }
        self.archive.insert(record.lsn, record);
        Ok(())
    }

    /// The power goes, and the log is opened again; `again`: and goes once more while that lasts.
    pub(crate) fn crash(&mut self, choice: Crash, again: Option<u64>) -> Result<(), Broken> {
        let left = self.disk.crash(choice);
        self.forget_session();
        self.disk = left;
        if let Some(after) = again {
            self.disk.cut_at(after);
            let opened = self.options().open_on(Arc::new(self.disk.clone()));
            let finished = opened.and_then(|recovery| {
                self.undo_all(&recovery, None)?;
                recovery.finish()
            });
            let left = self.disk.crash(choice);
            if let Ok(log) = finished {
                log.abandon();
            }
            self.disk = left;
        }
        self.restart()
    }

    /// Closes cleanly, and opens again.
    pub(crate) fn close(&mut self) -> Result<(), Broken> {
        let log = self.log()?;
        self.units.clear();
        log.tick();
        if let Err(error) = log.close() {
            if !self.trouble {
                return Err(format!("it does not close: {error:?}"));
            }
            return self.crash(Crash::KeepAll, None);
        }
        if self.disk.is_off() {
            return self.crash(Crash::KeepAll, None);
        }
        let trouble = self.trouble;
        self.forget_session();
        // The removal of a trimmed segment may be lost; nothing else.
        let mut pending = self.disk.pending();
        pending.retain(|pending| pending.kind != PendingKind::Entry);
        if !pending.is_empty() && !trouble {
            return Err(format!("closed with {pending:?}"));
        }
        self.disk = self.disk.crash(Crash::DropAll);
        self.restart()
    }

    fn forget_session(&mut self) {
        self.follower = None;
        if let Some(log) = self.log.take() {
            log.abandon();
        }
        self.units.clear();
        self.doubts.clear();
        self.decided.clear();
        self.trouble = false;
        self.undone.lock().unwrap().clear();
    }

    fn open(&self, disk: &SimDisk) -> Result<Recovery, Broken> {
        let recovery = self.options().open_on(Arc::new(disk.clone()));
        recovery.map_err(|error| format!("it does not open: {error:?}"))
    }

    fn restart(&mut self) -> Result<(), Broken> {
        let discipline = self.shape.discipline;
        let damaged = |error| format!("recovery: {error:?}");
        let first = self.open(&self.disk)?;
        let found = picture(&first, discipline).map_err(damaged)?;
        let seed = self.rng.next_u64();
        let after = self.disk.crash(Crash::Random(seed));
        first.abandon();
        self.disk = after;
        let recovery = self.open(&self.disk)?;
        let twice = picture(&recovery, discipline).map_err(damaged)?;
        // What is kept ends where the restart before went on, at the same records.
        same("I8", &Picture { end: found.end, ..twice }, &found)?;
        if found.end < self.promised {
            return Err(format!(
                "{} was promised, and the log ends at {}",
                self.promised, found.end
            ));
        }
        self.undo_checked(&recovery, found.end)?;
        let log = recovery.finish().map_err(|error| format!("finish: {error:?}"))?;
        self.take_in(&log, found.end)?;
        let all = self.replayed(found.end)?;
        let redo = self.redo_position(&log)?;
        self.compare(&found, &all, redo)?;
        self.check_from(&log, &all)?;
        self.follower = Some(log.follow(Lsn::ZERO).map_err(damaged)?);
        self.doubts = log.in_doubt();
        self.decided = log.decided();
        self.log = Some(log);
        self.observe()
    }

    fn redo_position(&mut self, log: &Log) -> Result<Lsn, Broken> {
        let redo = log.positions().redo;
        if redo < self.redo_kept || redo > self.redo_told {
            return Err(format!(
                "redo {redo}: {} was kept, {} told",
                self.redo_kept, self.redo_told
            ));
        }
        // A report that no keypoint carried is forgotten.
        (self.redo_told, self.redo_kept) = (redo, redo);
        Ok(redo)
    }

    fn undo_all(&self, recovery: &Recovery, seen: Option<&mut Vec<(u64, Lsn)>>) -> Siding<()> {
        if self.shape.discipline == Discipline::DeferredApply {
            return Ok(());
        }
        let undone = std::sync::Mutex::new(Vec::new());
        for unit in recovery.in_flight() {
            unit.undo(|record| {
                undone.lock().unwrap().push((record.unit(), record.lsn()));
                Ok(record.payload().to_vec())
            })?;
        }
        if let Some(seen) = seen {
            seen.extend(undone.into_inner().unwrap());
        }
        Ok(())
    }

    /// Undoes what was in flight: each record that nothing had undone, newest first.
    fn undo_checked(&mut self, recovery: &Recovery, end: Lsn) -> Result<(), Broken> {
        let mut seen = Vec::new();
        let result = self.undo_all(recovery, Some(&mut seen));
        result.map_err(|error| format!("undo: {error:?}"))?;
        if self.shape.discipline == Discipline::DeferredApply {
            return Ok(());
        }
        // Records that were durable and not seen yet are known only after the take-in; units
        // whose records are all archived can be held against it here.
        let all = self.replayed(end)?;
        for (unit, entry) in &all.units {
            let mine: Vec<Lsn> =
                seen.iter().filter(|(of, _)| of == unit).map(|(_, lsn)| *lsn).collect();
            let known = self.archive.keys().next_back().copied().unwrap_or(Lsn::ZERO);
            let mine: Vec<Lsn> = mine.into_iter().filter(|lsn| *lsn <= known).collect();
            let right: Vec<Lsn> = entry.effects.iter().rev().map(|record| record.lsn).collect();
            let in_flight = matches!(entry.state, UnitState::InFlight | UnitState::BackingOut);
            if in_flight && !mine.iter().all(|lsn| right.contains(lsn)) {
                return Err(format!("undo of {unit:#x} saw {mine:?}, and there is {right:?}"));
            }
        }
        Ok(())
    }

    /// Reads what stands in the log up to `end` into the archive, and misses nothing.
    fn take_in(&mut self, log: &Log, end: Lsn) -> Result<(), Broken> {
        let mut records = log.records(Lsn::ZERO).map_err(|error| format!("{error:?}"))?;
        let mut first = None;
        let mut read = 0;
        while let Some(record) = records.next().map_err(|error| format!("{error:?}"))? {
            if record.lsn() >= end {
                break;
            }
            first.get_or_insert(record.lsn());
            read += 1;
            let record = Rec::of(&record);
            self.admit(record)?;
        }
        let first = first.unwrap_or(end);
        let there = self.archive.range(first..end).count();
        if read != there {
            return Err(format!("{there} records were durable, {read} can be read"));
        }
        // What lies behind was durable too, or had never been seen.
        if let Some((lsn, record)) = self.archive.range(end..).next() {
            return Err(format!("at {lsn}, {record:?} was durable, and the log ends at {end}"));
        }
        for (unit, next) in &self.commits {
            let is = |record: &&Rec| record.kind == Kind::Commit && record.next == *next;
            let found = self.archive.range(..end).rev().map(|(_, record)| record).find(is);
            let right = found.is_some_and(|found| unit.is_none_or(|unit| unit == found.unit));
            if *next <= self.promised && !right {
                return Err(format!("the commit of {unit:?} at {next} is {found:?}"));
            }
        }
        let kept = self.archive.range(..end).map(|(_, record)| record);
        let kept: Vec<Lsn> = kept.filter(|it| it.kind == Kind::Commit).map(|it| it.next).collect();
        self.commits.retain(|(_, next)| kept.binary_search(next).is_ok());
        Ok(())
    }

    fn compare(&self, found: &Picture, all: &Replayed, redo: Lsn) -> Result<(), Broken> {
        let right: Vec<(Rec, Option<Lsn>)> = match self.shape.discipline {
            Discipline::DeferredApply => {
                let above = all.commits.iter().filter(|commit| commit.next > redo);
                let effects = above.flat_map(|commit| {
                    commit.effects.iter().map(|record| (record.clone(), Some(commit.next)))
                });
                effects.collect()
            }
            Discipline::RepeatHistory => {
                let above = self.archive.range(redo..found.end);
                above.map(|(_, record)| (record.clone(), None)).collect()
            }
        };
        let oldest = right.first().map(|(record, _)| record.lsn);
        if self.shape.discipline == Discipline::DeferredApply || oldest >= Some(self.oldest) {
            same("redo", &found.redo, &right)?;
        }
        let in_state = |states: &'static [UnitState]| {
            all.units.iter().filter(move |(_, unit)| states.contains(&unit.state))
        };
        let doubts = in_state(&[UnitState::InDoubt]).map(|(unit, entry)| {
            (*unit, entry.gid.clone(), newest_first(entry), entry.effects.clone())
        });
        same("in doubt", &found.in_doubt, &doubts.collect())?;
        let decided = in_state(&[UnitState::Committed, UnitState::Aborted]);
        let decided = decided.map(|(unit, entry)| {
            let committed = entry.state == UnitState::Committed;
            (*unit, if committed { Outcome::Commit } else { Outcome::BackOut })
        });
        same("decided", &found.decided, &decided.collect())?;
        let flight = in_state(&[UnitState::InFlight, UnitState::BackingOut]);
        let flight = flight.map(|(unit, entry)| (*unit, newest_first(entry)));
        same("in flight", &found.in_flight, &flight.collect())
    }

    /// Redo from an earlier or later position delivers all above it, or says that it cannot.
    fn check_from(&mut self, log: &Log, all: &Replayed) -> Result<(), Broken> {
        if self.shape.discipline != Discipline::DeferredApply || all.commits.is_empty() {
            return Ok(());
        }
        let from = all.commits[self.rng.index(all.commits.len())].next;
        let redo = log.positions().redo;
        let copy = self.disk.crash(Crash::KeepAll);
        let recovery = match self.open(&copy)?.from(from) {
            Ok(recovery) => recovery,
            Err(error) if error.kind() == ErrorKind::Trimmed && from < redo => return Ok(()),
            Err(error) => return Err(format!("redo from {from}: {error:?}")),
        };
        let mut committed = recovery.committed().map_err(|error| format!("{error:?}"))?;
        let mut seen = Vec::new();
        loop {
            match committed.next() {
                Ok(Some(record)) => seen.push((record.lsn(), record.commit())),
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Trimmed && from < redo => return Ok(()),
                Err(error) => return Err(format!("redo from {from}: {error:?}")),
            }
        }
        let above = all.commits.iter().filter(|commit| commit.next > from);
        let right = above
            .flat_map(|commit| commit.effects.iter().map(|record| (record.lsn, Some(commit.next))));
        same("redo from a position", &seen, &right.collect())
    }

    /// The running log's own table, its chains and its handles say what all records say.
    pub(crate) fn check_live(&mut self) -> Result<(), Broken> {
        let log = self.log()?;
        if log.ensure_durable(log.positions().end).is_err() {
            return Ok(());
        }
        self.observe()?;
        let log = self.log()?;
        let all = self.replayed(Lsn::MAX)?;
        let infos = log.units();
        let found: Vec<_> = infos
            .iter()
            .map(|info| (info.unit, info.state, info.first, info.head, info.records))
            .collect();
        let right = all.units.iter().map(|(unit, entry)| {
            let records = u64::try_from(entry.chain.len()).unwrap();
            (*unit, entry.state, entry.first(), entry.head(), records)
        });
        same("I7", &found, &right.collect())?;
        for info in &infos {
            let entry = &all.units[&info.unit];
            same("gid", &info.gid, &entry.gid)?;
            let chain = backward(log.unit_records(info.unit)).map_err(|e| format!("I5: {e:?}"))?;
            same("I1", &chain, &newest_first(entry))?;
        }
        Ok(())
    }

    /// A keypoint that began at `begin` trims all that nothing needs, and nothing else.
    pub(crate) fn check_trim(&mut self, begin: Lsn) -> Result<(), Broken> {
        let Some(log) = self.log.clone() else { return Ok(()) };
        let positions = log.positions();
        if positions.keypoint_begin != begin || log.is_failed().is_some() {
            return Ok(());
        }
        let all = self.replayed(Lsn::MAX)?;
        let point = all.trim_point(begin, positions.redo, self.shape.discipline);
        let number = |lsn: Lsn| lsn.get() / (64 << 10);
        if number(positions.oldest) > number(point) {
            return Err(format!("I5: {point} is needed, and the oldest is {}", positions.oldest));
        }
        if number(positions.oldest) < number(point) {
            let why = log.why_retained();
            return Err(format!("{point} suffices, kept from {}: {why:?}", positions.oldest));
        }
        Ok(())
    }
}
