//! What another thread does while the disk is busy.

use super::plug::Moment;
use super::session::{Result, Session, Work, payload};
use crate::Trouble;
use crate::oracle::What;
use siding::{Lsn, Outcome, UnitOfWork};
use std::sync::{Arc, Mutex, PoisonError};

impl Session {
    /// Another thread does the background work at that moment.
    pub(super) fn tick_meanwhile(&mut self, moment: Moment) -> Result<()> {
        let log = self.log()?.clone();
        self.plug.meanwhile(moment, Box::new(move || log.tick()));
        Ok(())
    }

    /// Another thread commits the unit, not durably, at that moment.
    pub(super) fn commit_meanwhile(&mut self, moment: Moment, work: Work) -> Result<()> {
        let ((id, unit), late) = (self.take(work)?, Arc::clone(&self.late));
        let commit = move || {
            // What is refused is backed out by the next restart.
            let (next, what) = match unit.commit() {
                Ok(next) => (next, What::Decide(Outcome::Commit, true)),
                Err(_) => (Lsn::ZERO, What::Undoing),
            };
            late.lock().unwrap_or_else(PoisonError::into_inner).push((id, next, what));
        };
        self.plug.meanwhile(moment, Box::new(commit));
        Ok(())
    }

    /// The unit is moved, and writes a record of `len` bytes at that moment of the move. None: the
    /// moment never came.
    pub(super) fn fork_while_appending(
        &mut self,
        moment: Moment,
        mut work: Work,
        len: usize,
    ) -> Result<Option<Work>> {
        let (id, unit) = (work.id, work.unit.take());
        let mut unit = unit.ok_or_else(|| Trouble::broken("the unit is gone"))?;
        work.records += 1;
        let (bytes, late, log) =
            (payload(id, work.records, len), Arc::clone(&self.late), self.log()?.clone());
        let back: Arc<Mutex<Option<UnitOfWork>>> = Arc::default();
        let slot = Arc::clone(&back);
        let append = move || {
            if let Ok(lsn) = unit.append(&bytes) {
                let (next, payload) = (log.positions().end, bytes.into());
                let what = What::Data { lsn, payload };
                late.lock().unwrap_or_else(PoisonError::into_inner).push((id, next, what));
            }
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(unit);
        };
        self.plug.meanwhile(moment, Box::new(append));
        let forked = self.fork(id);
        work.unit = back.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.learn();
        forked?;
        Ok(work.unit.is_some().then_some(work))
    }

    /// The unit is moved; at that moment, everything that was written before must be durable.
    pub(super) fn fork_of_what_is_durable(&mut self, moment: Moment, unit: u64) -> Result<()> {
        let (log, before) = (self.log()?.clone(), self.end());
        let seen: Arc<Mutex<Lsn>> = Arc::new(Mutex::new(Lsn::MAX));
        let slot = Arc::clone(&seen);
        let look = move || {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = log.positions().durable;
        };
        self.plug.meanwhile(moment, Box::new(look));
        let forked = self.fork(unit);
        let durable = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        Trouble::unless(durable >= before, || {
            format!("copies up to {before} were made durable, and the log is only to {durable}")
        })?;
        forked
    }
}
