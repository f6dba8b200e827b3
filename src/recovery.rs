//! An opened log that is not yet in use: what restart hands back.

use crate::admin::Operators;
use crate::inner::Inner;
use crate::{Backward, Committed, Decided, Durability, InDoubt, Log, Record, Records};
use siding_checkpoint::{Engine, Report};
use siding_wal::format::UnitState;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// An opened log, before it is used: redo, undo, resolve, then [`Recovery::finish`].
#[derive(Debug)]
#[must_use = "a log is in use once recovery is finished"]
pub struct Recovery {
    log: Arc<Inner>,
    from: Lsn,
}

impl Recovery {
    pub(crate) fn new(
        engine: Arc<Engine>,
        threads: bool,
        durability: Durability,
        operators: Operators,
    ) -> Result<Self> {
        let from = engine.stream().bounds().redo;
        let log = Inner::start(engine, threads, durability, operators)?;
        Ok(Self { log, from })
    }

    /// What the open found and did.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.log.engine().report()
    }

    /// Starts redo at the position that the embedder stored with its own snapshot: nothing
    /// committed below it is delivered again. Without it, redo starts where the last keypoint
    /// says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] if records that redo would need are gone, [`ErrorKind::Invalid`]
    /// above the end of the log.
    pub fn from(mut self, lsn: Lsn) -> Result<Self> {
        self.log.engine().check_redo(lsn)?;
        self.from = lsn;
        Ok(self)
    }

    /// The committed units that redo must apply.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] under repeat history; durable data that is damaged or gone.
    pub fn committed(&self) -> Result<Committed> {
        if self.log.engine().stream().core().repeats_history() {
            let what = "the log repeats history: redo is `history`, then undo";
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        Ok(Committed(self.log.engine().committed(self.from)?))
    }

    /// Every record from the redo position on, for a log that repeats history.
    ///
    /// # Errors
    ///
    /// Durable data that is damaged or gone.
    pub fn history(&self) -> Result<Records> {
        Ok(Records::of_log(self.log.engine().history(self.from)?))
    }

    /// Units that were neither prepared nor decided, or are not yet undone. Under repeat history
    /// each must be undone before [`Recovery::finish`]; under deferred apply that ends them.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight> {
        let units = self.log.engine().in_flight();
        units.into_iter().map(|unit| InFlight { log: Arc::clone(&self.log), unit }).collect()
    }

    /// Units that were prepared and not decided.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        self.log.in_doubt()
    }

    /// Units that were decided and not ended.
    pub fn decided(&self) -> Vec<Decided> {
        self.log.decided()
    }

    /// Hands the records of all committed units to `f`, in order, and finishes.
    ///
    /// # Errors
    ///
    /// As [`Recovery::committed`] and [`Recovery::finish`], or what `f` says: then nothing has
    /// changed, and the log can be opened again.
    pub fn recover(self, mut f: impl FnMut(Record<'_>) -> Result<()>) -> Result<Log> {
        let mut committed = self.committed()?;
        while let Some(record) = committed.next()? {
            f(record)?;
        }
        self.finish()
    }

    /// Stops without closing, as a crash would: the next open does the same again.
    pub fn abandon(self) {
        self.log.abandon();
    }

    /// The log is in use from here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`], naming them, while units of a log that repeats history have not
    /// been undone; or the log failed.
    ///
    /// # Crash
    ///
    /// Before: nothing has changed. After: what was in flight may be in flight once more.
    pub fn finish(self) -> Result<Log> {
        let engine = self.log.engine();
        let stream = engine.stream();
        let busy = engine.in_flight();
        if stream.core().repeats_history() {
            if !busy.is_empty() {
                let named: Vec<String> =
                    busy.iter().take(8).map(|unit| format!("{unit:#x}")).collect();
                let what = format!("{} units are not undone: {}", busy.len(), named.join(", "));
                return Err(Error::new(ErrorKind::InUse, what)
                    .advise("undo what `in_flight` gives, then finish"));
            }
        } else {
            for unit in busy {
                stream.give_up_at_restart(unit)?;
            }
        }
        engine.start_undo();
        self.log.in_use();
        Ok(Log::new(self.log))
    }
}

/// A unit that was in flight when the log stopped.
#[derive(Debug)]
#[must_use = "under repeat history it must be undone"]
pub struct InFlight {
    log: Arc<Inner>,
    unit: u64,
}

impl InFlight {
    /// The unit's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.unit
    }

    /// Its records, newest to oldest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnitEnded`] if it has ended.
    pub fn records_backward(&self) -> Result<Backward> {
        let core = self.log.engine().stream().core();
        let unit = core.units.get(self.unit).map(|unit| unit.chain(self.unit));
        drop(core);
        let chain = unit.ok_or_else(|| {
            Error::new(ErrorKind::UnitEnded, format!("unit {:#x} has ended", self.unit))
        })?;
        Ok(Backward::of_log(&self.log, chain))
    }

    /// Undoes it: `undo` sees each record that no compensation has undone, newest first, undoes
    /// it in the embedder's files, and returns what a compensation record shall carry. Then END,
    /// durably. Under deferred apply there is nothing to undo, and `undo` is not called.
    ///
    /// # Errors
    ///
    /// What `undo` says, or the log failed; the unit stays in flight.
    ///
    /// # Crash
    ///
    /// What a durable compensation record covers is not undone again.
    pub fn undo(self, undo: impl Fn(&Record<'_>) -> Result<Vec<u8>> + Send + Sync) -> Result<()> {
        let engine = self.log.engine();
        if engine
            .stream()
            .core()
            .units
            .get(self.unit)
            .is_some_and(|unit| unit.state == UnitState::InFlight)
        {
            engine.stream().give_up_at_restart(self.unit)?;
        }
        if !engine.stream().core().repeats_history() {
            return Ok(());
        }
        engine
            .undo_unit(self.unit, &|lsn, header, payload| undo(&Record::new(lsn, *header, payload)))
    }
}
