//! Appending: checksum outside the lock, one short critical section, and what to do when there
//! is no room. Nobody waits for room while holding a lock.

use super::Stream;
use crate::format::{COMPENSATION_HEAD, Kind, MAX_GID};
use crate::units::Forked;
use crate::write::{Class, Core, Done, Draft, Placed, Refusal, Verdict};
use crate::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// How a call gets on when the reserve is what it lives from.
type Step<'a, T> = &'a mut dyn FnMut(&mut Core) -> std::result::Result<T, Refusal>;

/// A record that was placed, and the word of its batch.
#[derive(Debug)]
pub struct Pending {
    /// Where it stands.
    pub placed: Placed,
    /// Who is told when it is durable.
    pub done: Option<Arc<Done>>,
}

impl Stream {
    /// Begins a unit of work.
    ///
    /// # Errors
    ///
    /// The log failed.
    pub fn begin(&self) -> Result<u64> {
        let now = self.clock.wall_ms();
        loop {
            {
                let mut core = self.core();
                if let Some(error) = core.writer.failure() {
                    return Err(error);
                }
                if let Some(unit) = core.begin(now) {
                    return Ok(unit);
                }
            }
            self.next_block(self.unit_block())?;
        }
    }

    /// Appends DATA or CLR of a unit. Returns where it stands; nothing is durable yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`], [`ErrorKind::UnitEnded`], [`ErrorKind::LogFull`], or the log
    /// failed. Nothing was appended.
    pub fn append(&self, unit: u64, kind: Kind, resource: u16, payload: &[u8]) -> Result<Placed> {
        if kind == Kind::Data {
            return self.append_data(unit, resource, payload, &mut |_, _| ());
        }
        // A compensation carries as much as the record it undoes, and says what is undone next:
        // what could be written can be undone.
        let more = if kind == Kind::Compensation { COMPENSATION_HEAD } else { 0 };
        let max = self.settings.max_record.saturating_add(more);
        self.check_len(payload, max)?;
        let new = Draft::new(kind, resource, payload);
        self.in_room(&mut |core| core.append(unit, &new, Class::Reserved))
    }

    fn append_data(
        &self,
        unit: u64,
        resource: u16,
        payload: &[u8],
        note: &mut dyn FnMut(&mut Core, Placed),
    ) -> Result<Placed> {
        self.check_len(payload, self.settings.max_record)?;
        let new = Draft::new(Kind::Data, resource, payload);
        self.in_room(&mut |core| {
            if core.writer.end() >= self.wall() {
                return Err(Refusal::Outrun);
            }
            let placed = core.append(unit, &new, Class::Ordinary)?;
            note(core, placed);
            Ok(placed)
        })
    }

    fn check_len(&self, payload: &[u8], max: usize) -> Result<()> {
        if payload.len() <= max {
            return Ok(());
        }
        let what = format!("the record has {} bytes, the limit is {max}", payload.len());
        Err(Error::new(ErrorKind::TooLarge, what)
            .advise("split it, or open the log with a larger max_record"))
    }

    /// Appends DATA of a unit that updates `object`, and takes note in the same step that the
    /// update is in progress.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn update(&self, unit: u64, object: u16, payload: &[u8]) -> Result<Placed> {
        if seeded!(UpdateRegisteredLate) {
            let placed = self.append_data(unit, object, payload, &mut |_, _| ())?;
            self.core().redo.begin(placed.lsn, object, unit);
            return Ok(placed);
        }
        self.append_data(unit, object, payload, &mut |core, placed| {
            core.redo.begin(placed.lsn, object, unit);
        })
    }

    /// Appends END of a unit and asks for durability.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn end_unit(&self, unit: u64) -> Result<Pending> {
        let new = Draft::new(Kind::End, 0, &[]);
        self.forced(true, &mut |core| core.append(unit, &new, Class::Reserved))
    }

    /// Appends PREPARE and asks for durability.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DuplicateGid`], [`ErrorKind::Invalid`], or as [`Stream::append`].
    pub fn prepare(&self, unit: u64, gid: &[u8]) -> Result<Pending> {
        if gid.is_empty() || gid.len() > MAX_GID {
            let what = format!("a gid has 1 to {MAX_GID} bytes, this one has {}", gid.len());
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        let (wall, now) = (self.clock.wall_ms(), self.now());
        loop {
            let held = self.core().units.gid_holder(gid);
            if let Some(crate::units::GidHolder::Ending(next)) = held {
                self.ensure_durable(next)?;
                continue;
            }
            return self.forced(true, &mut |core| core.prepare(unit, gid, wall, now));
        }
    }

    /// Appends COMMIT or ABORT; `force` asks for durability.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyDecided`], or as [`Stream::append`]. Nothing was decided.
    pub fn decide(&self, unit: u64, how: &Verdict, force: bool) -> Result<Pending> {
        let now = self.now();
        self.forced(force, &mut |core| core.decide(unit, how, now))
    }

    /// One unit in one step: begun, DATA, COMMIT with END.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`]. Nothing was appended that would ever count.
    pub fn write(&self, resource: u16, payload: &[u8], force: bool) -> Result<Pending> {
        let unit = self.begin()?;
        let result = self.append(unit, Kind::Data, resource, payload).and_then(|_| {
            let how = Verdict { commit: true, end: true, ..Verdict::default() };
            self.decide(unit, &how, force)
        });
        if result.is_err() {
            self.give_up(unit);
        }
        result
    }

    /// Ends a unit that nobody will go on with: forgotten if it wrote nothing, else ABORT with
    /// END under deferred apply, undo to come under repeat history. Never waits, never fails; if
    /// there is no room now the unit stays, marked.
    pub fn give_up(&self, unit: u64) {
        let now = self.now();
        self.core().give_up(unit, now);
    }

    /// Restart ends a unit that was in flight: ABORT, with END under deferred apply.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn give_up_at_restart(&self, unit: u64) -> Result<()> {
        let end = !self.core().repeats_history();
        let cause = crate::format::Cause::Restart;
        self.decide(unit, &Verdict { end, cause, ..Verdict::default() }, false)?;
        Ok(())
    }

    /// Appends a record of the log itself.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn append_of_log(&self, kind: Kind, payload: &[u8]) -> Result<Placed> {
        self.in_room(&mut |core| core.append_of_log(kind, payload))
    }

    /// The same, as the first record of a batch.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn append_first(&self, kind: Kind, payload: &[u8]) -> Result<Placed> {
        self.in_room(&mut |core| {
            core.writer.close_batch();
            core.append_of_log(kind, payload)
        })
    }

    /// The same, as the last record of its batch. Returns where that batch ends, too.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn append_last(&self, kind: Kind, payload: &[u8]) -> Result<(Placed, Lsn)> {
        self.in_room(&mut |core| {
            let placed = core.append_of_log(kind, payload)?;
            core.writer.close_batch();
            Ok((placed, core.writer.end()))
        })
    }

    /// Appends the fork record of a move whose copies are durable. It rides on the next flush.
    /// None, and nothing was appended, if the unit has ended meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub fn fork(&self, unit: u64, forked: &Forked) -> Result<Option<Placed>> {
        self.in_room(&mut |core| core.fork(unit, forked))
    }

    fn now(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    fn forced(&self, force: bool, step: Step<'_, Placed>) -> Result<Pending> {
        self.in_room(&mut |core| {
            let placed = step(core)?;
            if force {
                core.writer.want(placed.next);
            }
            Ok(Pending { done: core.writer.done(placed.lsn), placed })
        })
    }

    /// Runs a step under the lock until there is room for it.
    fn in_room<T>(&self, step: Step<'_, T>) -> Result<T> {
        loop {
            let (refusal, blocked, hard) = {
                let mut core = self.core();
                match step(&mut core) {
                    Ok(value) => {
                        let bulk = core.writer.has_closed();
                        drop(core);
                        if bulk && self.settings.threads {
                            self.kick();
                        }
                        return Ok(value);
                    }
                    Err(refusal) => (refusal, core.writer.oldest_pending(), core.hard_limit()),
                }
            };
            match refusal {
                Refusal::Error(error) => return Err(error),
                Refusal::Ring => self.wait_for_ring(blocked)?,
                Refusal::Outrun => self.take_part(),
                Refusal::Segment(class) => {
                    self.may_wait()?;
                    let full = |error| self.failure().unwrap_or_else(|| no_space(error, class));
                    self.make_space(hard).map_err(full)?;
                }
            }
        }
    }

    /// Does the work that keeps the log small, if it can be done here.
    fn take_part(&self) {
        let wall = self.wall();
        if self.may_wait().is_ok()
            && let Some(upkeep) = self.upkeep()
        {
            upkeep.catch_up();
        }
        // Nothing could be done: nobody is kept from writing, and the next keypoint sets another.
        if self.wall() == wall {
            self.set_wall(Lsn::MAX);
        }
    }

    /// Waits until the oldest batch in memory is durable.
    fn wait_for_ring(&self, oldest: Option<(Lsn, Arc<Done>)>) -> Result<()> {
        let Some((upto, done)) = oldest else { return Ok(()) };
        self.may_wait()?;
        self.core().writer.want(upto);
        self.wait_durable(upto, Some(&done))
    }
}

fn no_space(error: Error, class: Class) -> Error {
    let what = match class {
        Class::Ordinary => "the log is full for new work; units that exist can still be ended",
        Class::Reserved => "the log is full, its reserve used up",
    };
    Error::new(ErrorKind::LogFull, what)
        .caused_by(error)
        .advise("end units, report a redo position, free disk space, or raise max_log_bytes")
}
