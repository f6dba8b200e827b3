//! What quota and disk have room for, and which file to empty for more.

use super::{Pool, PoolConfig, Purpose, State};
use siding_wal::format::parse_extent_name;
use siding_wal::{Error, ErrorKind, Result};
use std::collections::BTreeSet;

impl Pool {
    /// Quota and disk have room for `more` bytes.
    pub(super) fn check_room(&self, state: &mut State, more: u64, purpose: Purpose) -> Result<()> {
        let unit = u64::from(self.config.write_unit);
        if let Some(max) = self.config.max_bytes.filter(|_| purpose != Purpose::Rebuild) {
            self.count(state)?;
            let reserve = if purpose == Purpose::Move { self.config.file_size } else { 0 };
            let most = max.saturating_sub(reserve);
            // The header of a new file, and padding.
            let slack = unit.saturating_mul(2);
            let asked = state.ledger.bytes().saturating_add(more).saturating_add(slack);
            if asked > most {
                let what = format!("the secondary log would take {asked} bytes of {most}");
                return Err(Error::new(ErrorKind::LogFull, what)
                    .advise("resolve units in doubt, or raise the quota of the secondary log"));
            }
        }
        let ahead = state.open.as_ref().map_or(unit, |open| open.ahead(0));
        let asked = ahead.saturating_add(more).saturating_add(unit.saturating_mul(2));
        if self.disk.free_bytes().is_some_and(|free| free < asked) {
            let what = "the disk of the secondary log is full";
            let error = Error::new(ErrorKind::LogFull, what);
            let error = match self.disk.path() {
                Some(path) => error.file(path),
                None => error,
            };
            return Err(error.advise("make room there, or resolve units in doubt"));
        }
        Ok(())
    }

    /// The files of earlier opens count in the quota, whatever lives in them.
    fn count(&self, state: &mut State) -> Result<()> {
        if !state.counted && !state.ledger.is_swept() {
            for (name, len) in self.disk.list().map_err(|cause| self.cannot_list(cause))? {
                if let Some(number) = parse_extent_name(&name)
                    && !state.ledger.is_own(number)
                {
                    state.ledger.file_bytes(number, len);
                }
            }
        }
        state.counted = true;
        Ok(())
    }

    /// Units whose chains to copy, so that a file can go that gives most for what is copied. None
    /// while the pool has no more than one file and a fifth beyond what lives in it, while quota
    /// and disk have no room for the copies, and before the sweep.
    #[must_use]
    pub fn worst(&self) -> Option<Vec<u64>> {
        self.worst_without(&BTreeSet::new())
    }

    /// The same, of files without a unit of `stay`: those cannot be copied.
    #[must_use]
    pub fn worst_without(&self, stay: &BTreeSet<u64>) -> Option<Vec<u64>> {
        let state = self.state();
        let damaged = state.problems.iter().map(|problem| problem.unit);
        let stay = damaged.chain(stay.iter().copied()).collect();
        let room = self.room_beside(state.ledger.bytes(), Purpose::Compact);
        let PoolConfig { file_size, write_unit, .. } = self.config;
        // The header of each new file, and padding.
        let files = room.checked_div(file_size).unwrap_or(0).saturating_add(1);
        let lost = files.saturating_mul(u64::from(write_unit)).saturating_mul(2);
        state.ledger.worst(file_size, room.saturating_sub(lost), &stay)
    }

    /// Bytes that moves still find room for, as far as is known before they are made.
    #[must_use]
    pub fn room(&self) -> u64 {
        let taken = self.state().ledger.bytes();
        self.room_beside(taken, Purpose::Move)
    }

    /// The same, for a purpose, beside files of so many bytes.
    fn room_beside(&self, taken: u64, purpose: Purpose) -> u64 {
        let slack = u64::from(self.config.write_unit).saturating_mul(2);
        let reserve = if purpose == Purpose::Move { self.config.file_size } else { 0 };
        let kept = slack.saturating_add(reserve);
        let quota = self.config.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(kept));
        let free = self.disk.free_bytes().unwrap_or(u64::MAX).saturating_sub(slack);
        quota.saturating_sub(taken).min(free)
    }
}
