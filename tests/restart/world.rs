//! Runs operations against a log on a simulated disk, and remembers what it promised.

use crate::ops::{Op, Shape};
use crate::reference::{Rec, Replayed, replay};
use crate::support::StillClock;
use siding::{
    CommitError, Decided, Discipline, Durability, Error, ErrorKind, Follower, InDoubt, Log, Lsn,
    Options, Outcome, PrepareError, Savepoint, UnitOfWork,
};
use siding_sim::disk::{Crash, Lasts};
use siding_sim::{Rng, SimDisk};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What is wrong, for people.
pub(crate) type Broken = String;

/// A DATA record that some call was asked to append.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Its unit and place, if the call told.
    pub(crate) place: Option<(u64, Lsn)>,
    pub(crate) resource: u16,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Live {
    pub(crate) unit: UnitOfWork,
    pub(crate) savepoints: Vec<Savepoint>,
}

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<StillClock>,
    pub(crate) log: Option<Log>,
    pub(crate) units: Vec<Live>,
    pub(crate) doubts: Vec<InDoubt>,
    pub(crate) decided: Vec<Decided>,
    pub(crate) follower: Option<Follower>,
    /// Every record that was seen durable.
    pub(crate) archive: BTreeMap<Lsn, Rec>,
    /// By serial number, which every payload starts with.
    pub(crate) said: Vec<Said>,
    /// Commits that were acknowledged: the unit, and the position behind its COMMIT.
    pub(crate) commits: Vec<(Option<u64>, Lsn)>,
    /// All below was acknowledged as durable.
    pub(crate) promised: Lsn,
    pub(crate) oldest: Lsn,
    /// The redo position that was reported last, and the one a keypoint carried for sure.
    pub(crate) redo_told: Lsn,
    pub(crate) redo_kept: Lsn,
    /// What the undo handler saw, newest first for each unit.
    pub(crate) undone: Arc<Mutex<Vec<(u64, Lsn)>>>,
    /// Whether a call may fail because the test made one fail.
    pub(crate) trouble: bool,
    pub(crate) rng: Rng,
}

/// Whether a refusal is one that the operation may meet.
fn expected(error: &Error, kinds: &[ErrorKind]) -> bool {
    kinds.contains(&error.kind())
}

impl World {
    pub(crate) fn new(shape: &Shape) -> Self {
        let mut world = Self {
            shape: shape.clone(),
            disk: SimDisk::new(7).with_write_unit(shape.write_unit),
            clock: StillClock::new(),
            log: None,
            units: Vec::new(),
            doubts: Vec::new(),
            decided: Vec::new(),
            follower: None,
            archive: BTreeMap::new(),
            said: Vec::new(),
            commits: Vec::new(),
            promised: Lsn::ZERO,
            oldest: Lsn::ZERO,
            redo_told: Lsn::ZERO,
            redo_kept: Lsn::ZERO,
            undone: Arc::default(),
            trouble: false,
            rng: Rng::new(11),
        };
        let log = world.options().open_on(Arc::new(world.disk.clone())).and_then(|it| it.finish());
        world.follower = log.as_ref().ok().and_then(|log| log.follow(Lsn::ZERO).ok());
        world.log = log.ok();
        world
    }

    pub(crate) fn options(&self) -> Options {
        let undone = Arc::clone(&self.undone);
        let options = Options::new()
            .segment_size(64 << 10)
            .ring_size(64 << 10)
            .discipline(self.shape.discipline)
            .durability(self.shape.durability)
            .keypoint_bytes(self.shape.keypoint_bytes)
            // What is trimmed when is held against a model that knows no moves.
            .forks(false)
            .undo(move |record| {
                undone.lock().unwrap().push((record.unit(), record.lsn()));
                Ok(record.payload().to_vec())
            })
            .without_threads(self.clock.clone());
        match self.shape.segments_max {
            Some(segments) => options.max_log_bytes(segments * (64 << 10)),
            None => options,
        }
    }

    pub(crate) fn log(&self) -> Result<Log, Broken> {
        self.log.clone().ok_or_else(|| "the log is not open".to_owned())
    }

    /// A payload of about `len` bytes that no other record has.
    fn payload(&mut self, len: usize) -> Vec<u8> {
        let serial = u64::try_from(self.said.len()).unwrap();
        let mut payload = serial.to_le_bytes().to_vec();
        payload.resize(len.max(8), u8::try_from(serial % 251).unwrap());
        let resource = u16::try_from(serial % 5).unwrap();
        self.said.push(Said { place: None, resource, payload: payload.clone() });
        payload
    }

    /// A refusal must be one of `kinds`, or follow from trouble that the test made.
    fn allow(&self, error: &Error, kinds: &[ErrorKind]) -> Result<(), Broken> {
        let failed = self.log.as_ref().is_none_or(|log| log.is_failed().is_some());
        if expected(error, kinds) || (self.trouble && (failed || self.disk.is_off())) {
            return Ok(());
        }
        // A disk that refuses once may keep a segment from being prepared.
        if self.trouble && error.kind() == ErrorKind::LogFull {
            return Ok(());
        }
        Err(format!("refused: {error:?}"))
    }

    fn take_unit(&mut self, index: usize) -> Option<Live> {
        let count = self.units.len();
        (count > 0).then(|| self.units.swap_remove(index % count))
    }

    /// Does one thing, and looks whether every promise holds.
    pub(crate) fn step(&mut self, op: &Op) -> Result<(), Broken> {
        match op {
            Op::Begin => self.begin(),
            Op::Append { unit, len } => self.append(*unit, *len),
            Op::Savepoint { unit } => self.savepoint(*unit),
            Op::RollBack { unit, to, fail_at } => self.roll_back(*unit, *to, *fail_at),
            Op::Commit { unit } => self.commit(*unit),
            Op::Submit { unit } => self.submit(*unit),
            Op::Prepare { unit, gid } => self.prepare(*unit, *gid),
            Op::Decide { unit } => self.decide(*unit),
            Op::BackOut { unit } => self.back_out(*unit),
            Op::Drop { unit } => {
                drop(self.take_unit(*unit));
                Ok(())
            }
            Op::Resolve { doubt, commit, end } => self.resolve(*doubt, *commit, *end),
            Op::Forget { doubt } => {
                if !self.doubts.is_empty() {
                    let index = doubt % self.doubts.len();
                    drop(self.doubts.swap_remove(index));
                }
                Ok(())
            }
            Op::Note { decided } => self.note(*decided),
            Op::End { decided } => self.end(*decided),
            Op::Write { len } => self.write(*len),
            Op::Traffic { units, len } => (0..*units).try_for_each(|_| self.write(*len)),
            Op::Flush => self.flush(),
            Op::Tick { ms } => {
                self.clock.advance(*ms);
                self.log()?.tick();
                Ok(())
            }
            Op::Redo { back } => self.redo(*back),
            Op::Keypoint => self.keypoint(),
            Op::Check => self.check_live(),
            Op::Close => self.close(),
            Op::Crash { choice, again } => self.crash(*choice, *again),
            Op::Cut { after } => {
                self.trouble = true;
                self.disk.cut_at(self.disk.calls() + after);
                Ok(())
            }
            Op::Fail { after, fault } => {
                self.trouble = true;
                self.disk.fail(self.disk.calls() + after, *fault, Lasts::Once);
                Ok(())
            }
        }?;
        self.observe()
    }

    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        self.crash(Crash::DropAll, None)?;
        self.check_live()?;
        self.close()
    }

    fn begin(&mut self) -> Result<(), Broken> {
        match self.log()?.begin() {
            Ok(unit) => self.units.push(Live { unit, savepoints: Vec::new() }),
            Err(error) => self.allow(&error, &[])?,
        }
        Ok(())
    }

    fn append(&mut self, unit: usize, len: usize) -> Result<(), Broken> {
        if self.units.is_empty() {
            return self.begin();
        }
        let payload = self.payload(len);
        let index = unit % self.units.len();
        let said = self.said.last_mut().unwrap();
        let live = &mut self.units[index];
        match live.unit.append_to(said.resource, &payload) {
            Ok(lsn) => said.place = Some((live.unit.id(), lsn)),
            Err(error) => self.allow(&error, &[ErrorKind::LogFull])?,
        }
        Ok(())
    }

    fn savepoint(&mut self, unit: usize) -> Result<(), Broken> {
        if !self.units.is_empty() {
            let index = unit % self.units.len();
            let save = self.units[index].unit.savepoint();
            self.units[index].savepoints.push(save);
        }
        Ok(())
    }

    fn roll_back(&mut self, unit: usize, to: usize, fail_at: Option<usize>) -> Result<(), Broken> {
        if self.units.is_empty() {
            return Ok(());
        }
        let index = unit % self.units.len();
        let live = &mut self.units[index];
        if live.savepoints.is_empty() {
            return Ok(());
        }
        let save = live.savepoints[to % live.savepoints.len()];
        let mut calls = 0;
        let result = live.unit.roll_back_to(&save, |record| {
            calls += 1;
            if Some(calls) == fail_at.map(|at| at + 1) {
                return Err(Error::new(ErrorKind::Callback, "not this one"));
            }
            Ok(record.payload().to_vec())
        });
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.allow(&error, &[ErrorKind::Callback]),
        }
    }

    /// A commit was acknowledged; under durable commits it is durable now.
    fn acknowledged(&mut self, unit: Option<u64>, next: Lsn, forced: bool) -> Result<(), Broken> {
        self.commits.push((unit, next));
        let log = self.log()?;
        if forced && log.positions().durable < next {
            return Err(format!("{next} was acknowledged, and {:?}", log.positions()));
        }
        Ok(())
    }

    fn committed(
        &mut self,
        unit: Option<u64>,
        blank: bool,
        result: Result<Lsn, CommitError>,
    ) -> Result<(), Broken> {
        let forced = self.shape.durability == Durability::Durable;
        match result {
            Ok(next) => self.acknowledged(unit, next, forced),
            Err(CommitError::BackedOut(error)) if blank => {
                self.allow(&error, &[ErrorKind::LogFull])
            }
            Err(error) => self.allow(error.error(), &[]),
        }
    }

    fn commit(&mut self, unit: usize) -> Result<(), Broken> {
        let Some(live) = self.take_unit(unit) else { return Ok(()) };
        let blank = self.is_blank(live.unit.id())?;
        let id = live.unit.id();
        self.committed(Some(id), blank, live.unit.commit())
    }

    fn is_blank(&self, unit: u64) -> Result<bool, Broken> {
        Ok(!self.log()?.units().iter().any(|info| info.unit == unit))
    }

    fn submit(&mut self, unit: usize) -> Result<(), Broken> {
        let Some(live) = self.take_unit(unit) else { return Ok(()) };
        let blank = self.is_blank(live.unit.id())?;
        let id = live.unit.id();
        match live.unit.submit() {
            Ok(ticket) => {
                let lsn = ticket.lsn();
                let told = ticket.wait();
                if told.as_ref().is_ok_and(|told| *told != lsn) {
                    return Err("the ticket tells another position".to_owned());
                }
                self.committed(Some(id), blank, told)
            }
            Err(error) => self.committed(Some(id), blank, Err(error)),
        }
    }

    fn prepare(&mut self, unit: usize, gid: u8) -> Result<(), Broken> {
        let Some(live) = self.take_unit(unit) else { return Ok(()) };
        let gid = vec![gid; usize::from(gid) * 60 + 1];
        let taken = self.log()?.units().iter().any(|info| info.gid == gid);
        let blank = self.is_blank(live.unit.id())?;
        let savepoints = live.savepoints;
        match live.unit.prepare(&gid) {
            Ok(_) if taken => Err("two live units have one gid".to_owned()),
            Ok(doubt) => {
                self.doubts.push(doubt);
                Ok(())
            }
            Err(PrepareError { unit, error }) => {
                self.units.extend(unit.map(|unit| Live { unit, savepoints }));
                let full: &[ErrorKind] = if blank { &[ErrorKind::LogFull] } else { &[] };
                let kinds = if taken { &[ErrorKind::DuplicateGid] } else { full };
                self.allow(&error, kinds)
            }
        }
    }

    fn decide(&mut self, unit: usize) -> Result<(), Broken> {
        let Some(live) = self.take_unit(unit) else { return Ok(()) };
        let blank = self.is_blank(live.unit.id())?;
        let id = live.unit.id();
        match live.unit.decide() {
            Ok(decided) => {
                let next = decided.lsn().ok_or("a COMMIT has a position")?;
                self.decided.push(decided);
                self.acknowledged(Some(id), next, true)
            }
            Err(error) => self.committed(Some(id), blank, Err(error)),
        }
    }

    fn back_out(&mut self, unit: usize) -> Result<(), Broken> {
        let Some(live) = self.take_unit(unit) else { return Ok(()) };
        live.unit.back_out().or_else(|error| self.allow(&error, &[]))
    }

    fn resolve(&mut self, doubt: usize, commit: bool, end: bool) -> Result<(), Broken> {
        if self.doubts.is_empty() {
            return Ok(());
        }
        let index = doubt % self.doubts.len();
        let doubt = self.doubts.swap_remove(index);
        let id = doubt.id();
        let outcome = if commit { Outcome::Commit } else { Outcome::BackOut };
        match (commit, end) {
            (true, true) => match doubt.commit() {
                Ok(next) => self.acknowledged(Some(id), next, true),
                Err(error) => self.allow(error.error(), &[]),
            },
            (false, true) => doubt.back_out().or_else(|error| self.allow(&error, &[])),
            // Under repeat history nobody is left to end it but undo.
            (false, false) if self.shape.discipline == Discipline::RepeatHistory => {
                drop(doubt);
                Ok(())
            }
            (_, false) => match doubt.decide(outcome) {
                Ok(decided) => {
                    let next = decided.lsn();
                    self.decided.push(decided);
                    next.map_or(Ok(()), |next| self.acknowledged(Some(id), next, true))
                }
                Err(error) => self.allow(error.error(), &[]),
            },
        }
    }

    fn note(&mut self, decided: usize) -> Result<(), Broken> {
        if self.decided.is_empty() {
            return Ok(());
        }
        let payload = self.payload(20);
        let index = decided % self.decided.len();
        let id = self.decided[index].id();
        match self.decided[index].append(&payload) {
            Ok(lsn) => {
                let said = self.said.last_mut().unwrap();
                (said.place, said.resource) = (Some((id, lsn)), 0);
                Ok(())
            }
            Err(error) => self.allow(&error, &[ErrorKind::LogFull]),
        }
    }

    fn end(&mut self, decided: usize) -> Result<(), Broken> {
        if self.decided.is_empty() {
            return Ok(());
        }
        let index = decided % self.decided.len();
        self.decided.swap_remove(index).end().or_else(|error| self.allow(&error, &[]))
    }

    fn write(&mut self, len: usize) -> Result<(), Broken> {
        let payload = self.payload(len);
        self.said.last_mut().unwrap().resource = 0;
        let result = self.log()?.write(&payload);
        self.committed(None, true, result)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        let log = self.log()?;
        log.ensure_durable(log.positions().end).or_else(|error| self.allow(&error, &[]))
    }

    fn redo(&mut self, back: usize) -> Result<(), Broken> {
        let log = self.log()?;
        let durable = log.positions().durable;
        let commits = self.commits.iter().rev().map(|(_, next)| *next);
        let Some(redo) = commits.filter(|next| *next <= durable).nth(back) else { return Ok(()) };
        match log.redo_from(redo) {
            Ok(()) => self.redo_told = self.redo_told.max(redo),
            Err(error) => self.allow(&error, &[])?,
        }
        Ok(())
    }

    fn keypoint(&mut self) -> Result<(), Broken> {
        let log = self.log()?;
        let told = self.redo_told;
        match log.keypoint() {
            Ok(begin) => {
                self.redo_kept = self.redo_kept.max(told);
                self.observe()?;
                self.check_trim(begin)
            }
            Err(error) => self.allow(&error, &[]),
        }
    }

    /// Takes in what became durable, and holds the positions to their promises.
    pub(crate) fn observe(&mut self) -> Result<(), Broken> {
        let Some(log) = self.log.clone() else { return Ok(()) };
        if self.disk.is_off() || log.is_failed().is_some() {
            let seed = self.rng.next_u64();
            let choice = [Crash::DropAll, Crash::KeepAll, Crash::Random(seed)];
            let choice = choice[self.rng.index(3)];
            return self.crash(choice, None);
        }
        let positions = log.positions();
        if positions.oldest < self.oldest || positions.durable < self.promised {
            return Err(format!("{positions:?} went back ({} {})", self.oldest, self.promised));
        }
        (self.oldest, self.promised) = (positions.oldest, positions.durable);
        while let Some(follower) = &mut self.follower {
            match follower.next() {
                Ok(Some(record)) => {
                    let record = Rec::of(&record);
                    self.admit(record)?;
                }
                Ok(None) => break,
                Err(error) => return self.allow(&error, &[]),
            }
        }
        Ok(())
    }

    /// What the archive says up to `end`.
    pub(crate) fn replayed(&self, end: Lsn) -> Result<Replayed, Broken> {
        replay(self.archive.range(..end).map(|(_, record)| record), self.shape.discipline)
    }
}
