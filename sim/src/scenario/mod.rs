//! Scenarios of the production log, each a life of a log in a few calls, and the check after.
//!
//! The log runs without threads, so every call of the disk is a boundary, and two runs make the
//! same calls. A scenario tells the oracle all it does; where it is stopped by a failure, it
//! looks whether the log fails as it should.

mod check;
mod forks;
pub mod history;
mod invariants;
mod look;
mod meanwhile;
mod plug;
mod repeat;
mod restart;
mod session;
mod space;
mod writing;

use crate::disk::{Call, Crash, FailedSync};
use crate::oracle::Model;
use crate::sweep::Choices;
use crate::{SimDisk, Sweep, Trouble};
use session::{Result, Session, Setup};
use siding::{Discipline, Durability};
use std::sync::Arc;

type Step = fn(&mut Session) -> Result<()>;

/// A life of a log.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, one word for a test.
    pub name: &'static str,
    setup: Setup,
    write_unit: u32,
    folio: Option<u64>,
    failed_sync: FailedSync,
    before: Step,
    /// What survives of that.
    survives: Crash,
    run: Step,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    [writing::ALL, restart::ALL, space::ALL, repeat::ALL, forks::ALL].concat()
}

/// The scenario of this name.
///
/// # Panics
///
/// If there is none.
#[allow(clippy::panic, reason = "the rig stops where it is asked for what it has not")]
pub fn named(name: &str) -> Scenario {
    let found = all().into_iter().find(|scenario| scenario.name == name);
    found.unwrap_or_else(|| panic!("there is no scenario {name}"))
}

impl Scenario {
    const fn new(name: &'static str, before: Step, run: Step) -> Self {
        let setup = Setup {
            discipline: Discipline::DeferredApply,
            durability: Durability::Durable,
            segment: 64 << 10,
            ring: 64 << 10,
            max_log: None,
            moves: true,
        };
        let (write_unit, failed_sync, survives) = (512, FailedSync::Lost, Crash::KeepAll);
        Self { name, setup, write_unit, folio: None, failed_sync, before, survives, run }
    }

    const fn relaxed(mut self) -> Self {
        self.setup.durability = Durability::Relaxed;
        self
    }

    const fn repeating(mut self) -> Self {
        self.setup.discipline = Discipline::RepeatHistory;
        self
    }

    /// Segments of 8 MiB, and memory for several batches.
    const fn large(mut self) -> Self {
        (self.setup.segment, self.setup.ring) = (8 << 20, 6 << 20);
        self
    }

    const fn after(mut self, survives: Crash) -> Self {
        self.survives = survives;
        self
    }

    const fn at_most(mut self, bytes: u64) -> Self {
        self.setup.max_log = Some(bytes);
        self
    }

    /// The same on a disk with this write unit.
    #[must_use]
    pub fn write_unit(self, bytes: u32) -> Self {
        Self { write_unit: bytes, ..self }
    }

    /// The same on files that are mapped, in pieces of so many bytes.
    #[must_use]
    pub fn mapped(self, folio: u64) -> Self {
        Self { folio: Some(folio), ..self }
    }

    /// The same on a disk whose syncs fail so.
    #[must_use]
    pub fn failed_sync(self, failed_sync: FailedSync) -> Self {
        Self { failed_sync, ..self }
    }

    /// A sweep of the scenario.
    ///
    /// # Panics
    ///
    /// If what comes before the scenario does not go well on a healthy disk.
    #[allow(clippy::panic, reason = "there is nothing to sweep then")]
    pub fn sweep(self, seed: u64) -> Sweep<'static, Model> {
        self.sweep_with(seed, check::check)
    }

    /// The same, with a check that only goes on as an embedder would: it restarts, commits a
    /// unit, reports its redo position and takes a keypoint. What that breaks, the next check
    /// finds: so it is for crashes in a row.
    ///
    /// # Panics
    ///
    /// As [`Scenario::sweep`].
    pub fn restarts(self, seed: u64) -> Sweep<'static, Model> {
        self.sweep_with(seed, check::go_on)
    }

    /// Two crashes in a row, at every pair of boundaries: one of the scenario, one of the restart
    /// that follows.
    ///
    /// # Panics
    ///
    /// As [`Scenario::sweep`].
    pub fn two_crashes(self, seed: u64) -> Sweep<'static, Model> {
        self.restarts(seed).choices(Choices::few()).nested(1)
    }

    #[allow(clippy::panic, reason = "a scenario that cannot start is a broken test")]
    fn sweep_with(self, seed: u64, check: Step) -> Sweep<'static, Model> {
        let (start, model) = self.start(seed).unwrap_or_else(|trouble| {
            panic!("{}: {trouble:?}", self.name);
        });
        let run = move |disk: Arc<SimDisk>| self.play(disk, model.clone());
        let check = move |disk, model: &mut Model| asked(disk, self.setup, model, check);
        Sweep::new(self.name, start, run, check).seed(seed)
    }

    /// The calls that the scenario makes of the disk.
    pub fn trace(self) -> Vec<Call> {
        let Ok((start, model)) = self.start(1) else { return Vec::new() };
        let disk = Arc::new(start.fork());
        self.play(Arc::clone(&disk), model);
        disk.trace()
    }

    /// The disk it starts on, all durable, and what the log there was told.
    fn start(self, seed: u64) -> Result<(SimDisk, Model)> {
        let disk = SimDisk::new(seed).with_write_unit(self.write_unit);
        let disk = Arc::new(match self.folio {
            Some(bytes) => disk.with_folio(bytes),
            None => disk,
        });
        disk.set_failed_sync(self.failed_sync);
        let model = Model::new(self.setup.discipline);
        let mut session = Session::new(Arc::clone(&disk), self.setup, model);
        (self.before)(&mut session)?;
        session.kill();
        Ok((disk.crash(self.survives), session.model))
    }

    fn play(self, disk: Arc<SimDisk>, model: Model) -> Model {
        let mut session = Session::new(disk, self.setup, model);
        let result = (self.run)(&mut session);
        ended(session, result)
    }
}

/// What a run that came to `result` has promised.
fn ended(mut session: Session, result: Result<()>) -> Model {
    let result = result.or_else(|trouble| check::aftermath(&mut session, trouble));
    if let Err(Trouble::Broken(what) | Trouble::Refused(what)) = result {
        session.model.broken = Some(what);
    }
    session.kill();
    session.model
}

/// Asks a disk whether it keeps what was promised.
fn asked(disk: Arc<SimDisk>, setup: Setup, model: &mut Model, check: Step) -> Result<()> {
    let mut session = Session::new(disk, setup, std::mem::take(model));
    let result = match session.model.broken.clone() {
        Some(what) => Err(Trouble::Broken(what)),
        None => check(&mut session),
    };
    session.kill();
    *model = session.model;
    result
}

/// No log yet.
fn nothing(_: &mut Session) -> Result<()> {
    Ok(())
}

/// A log with a few units, closed.
fn young(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100, 200])?;
    let work = session.unit(&[50])?;
    drop(session.prepare(work)?);
    session.transact(&[30])?;
    session.close()
}

/// Commits units until at least so many segments are begun and the end lies `left` bytes, or
/// less, before the next one.
fn fill(session: &mut Session, segments: u64, left: u64) -> Result<()> {
    let target = segments * session.setup.segment - left;
    loop {
        let room = target.saturating_sub(session.end().get());
        match usize::try_from(room).unwrap_or(0) {
            0..=900 => return Ok(()),
            room => session.transact(&[(room - 300).min(12_000)])?,
        };
    }
}
