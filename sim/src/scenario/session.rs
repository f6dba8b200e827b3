//! One embedder of a log on a simulated disk: does what it is told, and tells the oracle.

use super::invariants::{self, Watch};
use super::look::look;
use super::plug::Plug;
use crate::disk::Crash;
use crate::oracle::{Kept, Model, Seen, What};
use crate::{Clock, SimDisk, Trouble};
use siding::{
    CommitError, Decided, Discipline, Durability, InDoubt, Log, Lsn, Options, Outcome, Recovery,
    Savepoint, Ticket, UnitOfWork,
};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) type Result<T> = std::result::Result<T, Trouble>;

/// How a log is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) discipline: Discipline,
    pub(super) durability: Durability,
    pub(super) segment: u64,
    pub(super) ring: usize,
    pub(super) max_log: Option<u64>,
    /// Whether units are moved to the secondary log.
    pub(super) moves: bool,
}

/// A unit of work, and how many records it has.
pub(super) struct Work {
    pub(super) unit: Option<UnitOfWork>,
    pub(super) id: u64,
    pub(super) records: u32,
    process: Process,
}

/// The process that a unit lives in, and the units that were dropped while it lived.
#[derive(Clone)]
struct Process {
    disk: Arc<SimDisk>,
    plug: Plug,
    log: Log,
    dropped: Arc<Mutex<Vec<u64>>>,
}

impl Work {
    /// The unit, for a call that consumes it.
    fn take(mut self) -> (u64, Option<UnitOfWork>) {
        (self.id, self.unit.take())
    }

    fn handle(&mut self) -> Result<&mut UnitOfWork> {
        self.unit.as_mut().ok_or_else(|| Trouble::broken("the unit is gone"))
    }

    pub(super) fn savepoint(&self) -> Option<Savepoint> {
        self.unit.as_ref().map(UnitOfWork::savepoint)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Process { disk, plug, log, dropped } = &self.process;
        let dead = disk.is_off() || plug.is_pulled() || log.is_failed().is_some();
        if self.unit.is_some() && !dead {
            dropped.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        }
    }
}

/// An embedder.
pub(super) struct Session {
    disk: Arc<SimDisk>,
    pub(super) setup: Setup,
    pub(super) clock: Clock,
    pub(super) plug: Plug,
    log: Option<Log>,
    dropped: Arc<Mutex<Vec<u64>>>,
    /// What other threads told units, and behind which position that stands.
    pub(super) late: Arc<Mutex<Vec<(u64, Lsn, What)>>>,
    pub(super) model: Model,
    /// What invariants compare with.
    pub(super) watch: Watch,
}

impl Session {
    pub(super) fn new(disk: Arc<SimDisk>, setup: Setup, model: Model) -> Self {
        let (plug, clock) = (Plug::new(&disk), Clock::new(1_700_000_000_000));
        disk.set_clock(&clock);
        let (dropped, late) = Default::default();
        Self { disk, setup, clock, plug, log: None, dropped, late, model, watch: Watch::default() }
    }

    pub(super) fn disk(&self) -> &Arc<SimDisk> {
        &self.disk
    }

    fn repeats(&self) -> bool {
        self.setup.discipline == Discipline::RepeatHistory
    }

    pub(super) fn options(&self) -> Options {
        let options = Options::new()
            .segment_size(self.setup.segment)
            .ring_size(self.setup.ring)
            .discipline(self.setup.discipline)
            .durability(self.setup.durability)
            .forks(self.setup.moves)
            .undo(|record| Ok(record.payload().to_vec()))
            .without_threads(Arc::new(self.clock.clone()));
        match self.setup.max_log {
            Some(bytes) => options.max_log_bytes(bytes),
            None => options,
        }
    }

    /// Starts the log, holds what it gives back against the model, and goes to work.
    pub(super) fn open(&mut self) -> Result<()> {
        let (recovery, seen) = self.start(Some(self.model.snapshot))?;
        self.finish(recovery, &seen)
    }

    /// Starts the log only to look at it, and kills it; `from`: where redo is to start.
    pub(super) fn look(&mut self, from: Option<Lsn>) -> Result<Seen> {
        let (recovery, seen) = self.start(from)?;
        self.kill();
        drop(recovery);
        Ok(seen)
    }

    fn start(&mut self, from: Option<Lsn>) -> Result<(Recovery, Seen)> {
        self.kill();
        self.plug = Plug::new(&self.disk);
        let closed = std::mem::take(&mut self.model.closed);
        let recovery = self.options().open_on(Arc::new(self.plug.clone()))?;
        invariants::i8_restart_reads_no_copies(&self.plug)?;
        let at = (self.model.kept.keypoint, self.setup.segment);
        invariants::l3_restart_scans_from_the_keypoint(at, &recovery)?;
        Trouble::unless(!closed || recovery.report().clean, || {
            format!("the log was closed, and the open says {:?}", recovery.report())
        })?;
        let recovery = match from {
            Some(lsn) => recovery.from(lsn)?,
            None => recovery,
        };
        let seen = look(&recovery, &self.disk, from, self.repeats())?;
        self.model.hold(&seen).map_err(Trouble::Broken)?;
        Ok((recovery, seen))
    }

    fn finish(&mut self, recovery: Recovery, seen: &Seen) -> Result<()> {
        let mut undone = Vec::new();
        if self.repeats() {
            for unit in recovery.in_flight() {
                undone.push(unit.id());
                let due = seen.live.get(&unit.id()).and_then(|live| live.effects.clone());
                self.undo(unit, due.unwrap_or_default())?;
            }
        }
        let log = recovery.finish()?;
        let durable = log.positions().durable;
        self.log = Some(log);
        for unit in undone {
            self.model.note(unit, durable, What::End);
        }
        self.keep()
    }

    /// Undoes a unit, newest record first; `due` is what is to be undone, oldest first.
    fn undo(&mut self, unit: siding::InFlight, due: Vec<(Lsn, Vec<u8>)>) -> Result<()> {
        self.model.note(unit.id(), self.model.durable(), What::Undoing);
        let (id, left) = (unit.id(), Mutex::new(due));
        unit.undo(|record| {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match next
                .is_some_and(|(lsn, payload)| lsn == record.lsn() && payload == record.payload())
            {
                true => Ok(record.payload().to_vec()),
                false => Err(siding::Error::new(siding::ErrorKind::Callback, "out of turn")),
            }
        })
        .map_err(|error| match error.kind() {
            siding::ErrorKind::Callback => {
                Trouble::broken(format!("unit {id:#x} is undone out of turn: {error}"))
            }
            _ => error.into(),
        })?;
        let left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        Trouble::unless(left.is_empty(), || format!("unit {id:#x} was not undone: {left:?}"))
    }

    pub(super) fn log(&self) -> Result<&Log> {
        self.log.as_ref().ok_or_else(|| Trouble::Refused("the log is not open".to_owned()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.log.is_some()
    }

    pub(super) fn end(&self) -> Lsn {
        self.log.as_ref().map_or(Lsn::ZERO, |log| log.positions().end)
    }

    /// Takes the log at its word about what is durable, and about its positions.
    pub(super) fn keep(&mut self) -> Result<()> {
        self.learn();
        let now = self.log()?.positions();
        self.model.acknowledge(now.durable);
        let kept = Kept { oldest: now.oldest, redo: now.redo, keypoint: now.keypoint_begin };
        self.model.keep(kept).map_err(Trouble::Broken)?;
        // I5: what a live unit needs is kept.
        let mut low = self.log()?.units().into_iter();
        let low = low.find(|unit| unit.floor.is_some_and(|floor| floor < now.oldest));
        Trouble::unless(low.is_none(), || format!("trimmed under {low:?}: {now:?}"))?;
        // I6: nothing is trimmed that the last durable keypoint does not replace.
        let trimmed = now.oldest.get() >= self.setup.segment;
        Trouble::unless(!trimmed || now.keypoint_begin >= now.oldest, || {
            format!("trimmed past the keypoint: {now:?}")
        })
    }

    /// What the log says is durable now.
    pub(super) fn heed(&mut self) {
        self.learn();
        if let Some(log) = &self.log {
            self.model.acknowledge(log.positions().durable);
        }
    }

    /// The process is killed. What it wrote stays as it is.
    pub(super) fn kill(&mut self) {
        self.plug.pull();
        self.learn();
        self.log = None;
        self.watch = Watch::default();
    }

    /// The process is killed and the power goes.
    pub(super) fn power_cut(&mut self, survives: Crash) {
        self.kill();
        self.disk = Arc::new(self.disk.crash(survives));
        self.disk.set_clock(&self.clock);
    }

    /// Closes the log cleanly.
    pub(super) fn close(&mut self) -> Result<()> {
        self.log()?.close()?;
        self.heed();
        self.model.closed = true;
        self.log = None;
        Ok(())
    }

    pub(super) fn begin(&mut self) -> Result<Work> {
        let unit = self.log()?.begin()?;
        let id = unit.id();
        self.model.issue(id).map_err(Trouble::Broken)?;
        let process = Process {
            disk: Arc::clone(&self.disk),
            plug: self.plug.clone(),
            log: self.log()?.clone(),
            dropped: Arc::clone(&self.dropped),
        };
        Ok(Work { unit: Some(unit), id, records: 0, process })
    }

    /// Adds a record of `len` bytes.
    pub(super) fn append(&mut self, work: &mut Work, len: usize) -> Result<Lsn> {
        work.records += 1;
        let payload = payload(work.id, work.records, len);
        let lsn = work.handle()?.append(&payload)?;
        let what = What::Data { lsn, payload: payload.into() };
        self.model.note(work.id, self.end(), what);
        self.heed();
        Ok(lsn)
    }

    /// A unit of records of these lengths, not ended.
    pub(super) fn unit(&mut self, lens: &[usize]) -> Result<Work> {
        let mut work = self.begin()?;
        for len in lens {
            self.append(&mut work, *len)?;
        }
        Ok(work)
    }

    pub(super) fn roll_back(&mut self, work: &mut Work, to: &Savepoint, at: Lsn) -> Result<()> {
        let before = self.end();
        let rolled = work.handle()?.roll_back_to(to, |_| Ok(Vec::new()));
        if self.end() > before {
            let what = if rolled.is_ok() { What::RollBack(at) } else { What::Undoing };
            self.model.note(work.id, self.end(), what);
        }
        Ok(rolled?)
    }

    /// Notes what a decision led to, and passes its answer on.
    fn decided<T>(
        &mut self,
        unit: u64,
        what: What,
        answer: std::result::Result<(T, Lsn), CommitError>,
    ) -> Result<T> {
        match answer {
            Ok((value, next)) => {
                self.model.note(unit, next, what);
                self.heed();
                Ok(value)
            }
            Err(CommitError::Unknown(error)) => {
                self.model.note(unit, self.end(), what);
                Err(error.into())
            }
            Err(CommitError::BackedOut(error)) => {
                // A unit in doubt stays so; one that ran was dropped.
                if self.repeats() && !self.model.is_prepared(unit) {
                    self.model.note(unit, Lsn::ZERO, What::Undoing);
                }
                Err(error.into())
            }
        }
    }

    pub(super) fn commit(&mut self, work: Work) -> Result<Lsn> {
        let (id, unit) = self.take(work)?;
        let durable = self.setup.durability == Durability::Durable;
        let answer = unit.commit().map(|next| (next, next));
        let next = self.decided(id, What::Decide(Outcome::Commit, true), answer)?;
        if durable {
            self.model.acknowledge(next);
        }
        Ok(next)
    }

    /// Takes note of what other threads did, and of what was dropped.
    pub(super) fn learn(&mut self) {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner).split_off(0);
        for (unit, next, what) in late {
            self.model.note(unit, next, what);
        }
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner).split_off(0);
        for unit in dropped {
            self.model.note(unit, Lsn::ZERO, What::Undoing);
        }
    }

    /// A whole unit of records of these lengths.
    pub(super) fn transact(&mut self, lens: &[usize]) -> Result<Lsn> {
        let work = self.unit(lens)?;
        self.commit(work)
    }

    pub(super) fn submit(&mut self, work: Work) -> Result<Ticket> {
        let (id, unit) = self.take(work)?;
        let answer = unit.submit().map(|ticket| {
            let next = ticket.lsn();
            (ticket, next)
        });
        self.decided(id, What::Decide(Outcome::Commit, true), answer)
    }

    pub(super) fn wait(&mut self, ticket: Ticket) -> Result<()> {
        let next = ticket.wait().map_err(siding::Error::from)?;
        self.model.acknowledge(next);
        Ok(())
    }

    pub(super) fn take(&self, work: Work) -> Result<(u64, UnitOfWork)> {
        let (id, unit) = work.take();
        Ok((id, unit.ok_or_else(|| Trouble::broken("the unit is gone"))?))
    }

    pub(super) fn back_out(&mut self, work: Work) -> Result<()> {
        if self.repeats() {
            self.model.note(work.id, self.end(), What::Undoing);
        }
        let (id, unit) = self.take(work)?;
        unit.back_out()?;
        self.model.note(id, self.end(), What::End);
        self.heed();
        Ok(())
    }

    pub(super) fn prepare(&mut self, work: Work) -> Result<InDoubt> {
        let (id, unit) = self.take(work)?;
        let gid = format!("gid-{id:x}").into_bytes();
        let before = self.end();
        let prepared = unit.prepare(&gid);
        if self.end() > before && prepared.as_ref().is_err_and(|error| error.unit.is_none()) {
            self.model.note(id, self.end(), What::Prepare(gid.into()));
        } else if prepared.is_ok() {
            self.model.note(id, self.end(), What::Prepare(gid.into()));
            self.model.acknowledge(self.end());
        }
        Ok(prepared.map_err(siding::Error::from)?)
    }

    pub(super) fn decide(&mut self, doubt: InDoubt, outcome: Outcome) -> Result<Decided> {
        let id = doubt.id();
        let answer = doubt.decide(outcome);
        let what = What::Decide(outcome, false);
        let end = self.end();
        let decided = self.decided(id, what, answer.map(|decided| (decided, end)))?;
        self.model.acknowledge(end);
        if self.repeats() && outcome == Outcome::BackOut {
            // The log undoes it when it comes to that.
            self.model.note(id, end, What::Undoing);
        }
        Ok(decided)
    }

    /// Decides and ends.
    pub(super) fn resolve(&mut self, doubt: InDoubt, outcome: Outcome) -> Result<()> {
        let id = doubt.id();
        let what = What::Decide(outcome, true);
        if outcome == Outcome::Commit {
            let answer = doubt.commit().map(|next| ((), next));
            return self.decided(id, what, answer);
        }
        let before = self.end();
        if self.repeats() {
            self.model.note(id, before, What::Undoing);
        }
        let answer = doubt.back_out();
        if self.end() > before && (answer.is_ok() || !self.repeats()) {
            self.model.note(id, self.end(), what);
        }
        self.heed();
        Ok(answer?)
    }

    pub(super) fn end_unit(&mut self, decided: Decided) -> Result<()> {
        let (id, before) = (decided.id(), self.end());
        let answer = decided.end();
        if self.end() > before {
            self.model.note(id, self.end(), What::End);
        }
        self.heed();
        Ok(answer?)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        let end = self.end();
        self.log()?.ensure_durable(end)?;
        self.model.acknowledge(end);
        Ok(())
    }

    /// The embedder's files hold everything that is committed up to `upto`, durably.
    pub(super) fn store(&mut self, upto: Lsn) {
        self.model.snapshot = self.model.snapshot.max(upto);
    }

    /// Tells the log what is stored.
    pub(super) fn redo_from(&mut self) -> Result<()> {
        Ok(self.log()?.redo_from(self.model.snapshot)?)
    }

    pub(super) fn keypoint(&mut self) -> Result<()> {
        self.log()?.keypoint()?;
        self.keep()
    }

    /// Moves a unit. A disk that fails may keep it where it is; the log goes on.
    pub(super) fn fork(&mut self, unit: u64) -> Result<()> {
        if !self.setup.moves {
            return Ok(());
        }
        let log = self.log()?;
        match log.fork(unit) {
            Ok(_) => Ok(()),
            Err(_)
                if log.is_failed().is_none() && self.disk.troubles() > 0 && !self.disk.is_off() =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets time pass, and the background work be done.
    pub(super) fn tick(&mut self, ms: u64) -> Result<()> {
        self.clock.advance(ms);
        self.log()?.tick();
        self.heed();
        Ok(())
    }
}

/// Bytes that no other record has.
pub(super) fn payload(unit: u64, number: u32, len: usize) -> Vec<u8> {
    let seed = unit ^ (u64::from(number) << 48);
    let mut bytes: Vec<u8> = seed.to_le_bytes().to_vec();
    bytes.extend((8..len).map(|place| u8::try_from((seed + place as u64) % 251).unwrap_or(0)));
    bytes.truncate(len);
    bytes
}
