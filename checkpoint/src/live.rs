//! Live units, as operators see them.

use crate::engine::Engine;
use siding_wal::Lsn;
use siding_wal::format::UnitState;
use siding_wal::units::{Unit, Units};

/// A live unit of work, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitInfo {
    /// Its number.
    pub unit: u64,
    /// Where it stands.
    pub state: UnitState,
    /// The name its coordinator knows it by; empty before PREPARE.
    pub gid: Vec<u8>,
    /// Its first record; zero if it has none.
    pub first: Lsn,
    /// Its newest record; zero if it has none.
    pub head: Lsn,
    /// The oldest record that it still needs on the main log; none if it needs none.
    pub floor: Option<Lsn>,
    /// Records on the main log.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Records that were moved to the secondary log.
    pub secondary_records: u64,
    /// Bytes of them.
    pub secondary_bytes: u64,
    /// How often it was moved.
    pub moves: u32,
    /// Whether an operator keeps it from being moved by itself. A log that is only looked at does
    /// not know.
    pub held: bool,
    /// Why some of its moved records cannot be read, as far as the open log knows.
    pub problem: Option<String>,
    /// Milliseconds since it began. None if that is not known: it was read from the log, and
    /// neither a keypoint nor a PREPARE of it says when.
    pub age_ms: Option<u64>,
    /// Milliseconds it has been in doubt, over all opens.
    pub in_doubt_ms: u64,
}

/// Milliseconds since a unit began, if that is known.
pub(crate) fn age_ms(unit: &Unit, wall_ms: u64) -> Option<u64> {
    (unit.started_ms != 0).then(|| wall_ms.saturating_sub(unit.started_ms))
}

/// Every unit that has written something, lowest number first.
pub(crate) fn list(units: &Units, wall_ms: u64, monotonic_ms: u64) -> Vec<UnitInfo> {
    let mut list: Vec<UnitInfo> = units
        .iter()
        .filter(|(_, unit)| !unit.is_blank())
        .map(|(number, unit)| UnitInfo {
            unit: number,
            state: unit.state,
            gid: unit.gid.clone(),
            first: unit.first,
            head: unit.head,
            floor: Some(unit.live_low()).filter(|low| *low < Lsn::MAX),
            records: unit.main.0,
            bytes: unit.main.1,
            secondary_records: unit.secondary.0,
            secondary_bytes: unit.secondary.1,
            moves: unit.moves,
            held: false,
            problem: None,
            age_ms: age_ms(unit, wall_ms),
            in_doubt_ms: unit.in_doubt_ms(monotonic_ms),
        })
        .collect();
    list.sort_by_key(|unit| unit.unit);
    list
}

impl Engine {
    /// Every live unit that has written something, lowest number first.
    #[must_use]
    pub fn units(&self) -> Vec<UnitInfo> {
        let clock = self.stream().clock();
        let (wall, now) = (clock.wall_ms(), clock.monotonic_ms());
        let mut units = list(&self.stream().core().units, wall, now);
        let held = self.forking.held().clone();
        let mut problems = self.problems();
        for unit in &mut units {
            unit.held = held.contains(&unit.unit);
            unit.problem = problems.remove(&unit.unit);
        }
        units
    }
}
