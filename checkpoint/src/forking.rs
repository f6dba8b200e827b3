//! Forking, wired to keypoints and trimming: what is due after a keypoint, what an operator asks
//! for, and what a full log needs.

use crate::engine::Engine;
use crate::open::ForkConfig;
use siding_fork::pool::Pool;
use siding_fork::{Mover, Order, Round, Task};
use siding_wal::units::Unit;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the engine keeps for moves.
#[derive(Debug)]
pub(crate) struct Forking {
    mover: Mover,
    config: ForkConfig,
    /// Units that an operator wants to stay where they are.
    held: Mutex<BTreeSet<u64>>,
    swept: AtomicBool,
}

impl Forking {
    pub(crate) fn new(pool: Arc<Pool>, config: ForkConfig) -> Self {
        Self {
            mover: Mover::new(pool),
            config,
            held: Mutex::new(BTreeSet::new()),
            swept: AtomicBool::new(false),
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.mover.pool()
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Moves a unit's records to the secondary log now, whatever it gains. Returns how many
    /// records were moved; none if all of them were.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it is not live; what kept it from being moved: it stays as it
    /// was.
    ///
    /// # Crash
    ///
    /// It was moved, or it was not; its chain is the same.
    pub fn fork_unit(&self, unit: u64) -> Result<u64> {
        if self.stream().core().units.get(unit).is_none_or(Unit::is_blank) {
            let what = format!("no unit {unit:#x} with records is live");
            return Err(Error::new(ErrorKind::NotFound, what).advise("see `siding units`"));
        }
        // Only what is durable is moved, and only once the fork record is durable is it over.
        self.stream().flush()?;
        let round = self.round(&[Order { unit, task: Task::Whole }])?;
        if let Some((_, error)) = round.given_up.into_iter().next() {
            return Err(error);
        }
        if round.next > Lsn::ZERO {
            self.stream().ensure_durable(round.next)?;
        }
        Ok(round.records)
    }

    /// Keeps a unit where it is until [`Engine::unhold_unit`], or the next open.
    pub fn hold_unit(&self, unit: u64) {
        self.forking.held().insert(unit);
    }

    /// Lets a unit be moved again.
    pub fn unhold_unit(&self, unit: u64) {
        self.forking.held().remove(&unit);
    }

    fn round(&self, orders: &[Order]) -> Result<Round> {
        let round = self.forking.mover.round(self.stream(), orders)?;
        self.forking.mover.settle(self.stream());
        Ok(round)
    }

    /// Tells the secondary log which extents are needed, once in an open, and frees what has
    /// become free since.
    pub(crate) fn settle_forks(&self) {
        if !self.forking.swept.swap(true, Ordering::AcqRel) {
            let live = self.stream().core().units.extents();
            if self.forking.pool().sweep(&live).is_err() {
                // Nothing of earlier opens is freed before it is known what is needed.
                self.forking.swept.store(false, Ordering::Release);
                return;
            }
        }
        self.forking.mover.settle(self.stream());
    }
}
