//! A round of moves: the thin driver between the mover, the main log and the pool.
//!
//! Any number of moves share one sync of the secondary log, and none syncs the main log: fork
//! records ride on the next group commit.

use crate::mover::{Action, Move, Task};
use crate::pool::{Pool, Purpose};
use siding_wal::chain::{Copies as _, Fetch as _};
use siding_wal::format::SPtr;
use siding_wal::read::{Runs, Stretch};
use siding_wal::seeded;
use siding_wal::stream::{RecordBuf, Stream};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One move that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The unit.
    pub unit: u64,
    /// What to do.
    pub task: Task,
}

/// What a round came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Units with a new fork record.
    pub units: Vec<u64>,
    /// Records copied.
    pub records: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes copied for moves that were given up.
    pub wasted: u64,
    /// Behind the newest fork record; zero if there is none. It counts once this is durable.
    pub next: Lsn,
    /// Moves that were given up, and why. The units stay as they were.
    pub given_up: Vec<(u64, Error)>,
}

/// A compaction whose fork record is not durable yet.
#[derive(Debug)]
struct Replacing {
    next: Lsn,
    unit: u64,
    sec: SPtr,
}

/// Makes moves, one round at a time.
#[derive(Debug)]
pub struct Mover {
    pool: Arc<Pool>,
    /// Held for a whole round.
    replacing: Mutex<Vec<Replacing>>,
}

impl Mover {
    /// A mover onto a secondary log.
    #[must_use]
    pub fn new(pool: Arc<Pool>) -> Self {
        Self { pool, replacing: Mutex::new(Vec::new()) }
    }

    /// The secondary log.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn one_round(&self) -> MutexGuard<'_, Vec<Replacing>> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes these moves. Units that end meanwhile, and moves that fail, are left as they were.
    ///
    /// Costs a read of each record that is moved, a write of its copy, and one sync of the
    /// secondary log; on the main log one record of 104 bytes a move.
    ///
    /// # Errors
    ///
    /// The main log failed.
    ///
    /// # Crash
    ///
    /// What has no durable fork record was not moved; the extents are found by the next sweep.
    pub fn round(&self, stream: &Stream, orders: &[Order]) -> Result<Round> {
        let mut replacing = self.one_round();
        let mut round = Round::default();
        let mut moves: Vec<Move> = Vec::new();
        // One for all: what one unit wrote often stands near what the next one did.
        let mut expecting = RecordBuf::expecting(expected(stream, orders));
        // Originals of what was moved lie nobody knows where.
        let mut searching = RecordBuf::new();
        for order in orders {
            let Some(mut one) = self.begin(stream, *order) else { continue };
            let rebuilds = order.task == Task::Rebuild;
            let buf = if rebuilds { &mut searching } else { &mut expecting };
            match self.copy(stream, &mut one, buf) {
                Ok(true) => moves.push(one),
                Ok(false) => self.give_up(stream, &one, &mut round),
                Err(error) => {
                    self.give_up(stream, &one, &mut round);
                    if !gone(&error) || rebuilds {
                        round.given_up.push((order.unit, error));
                    }
                }
            }
        }
        if moves.is_empty() {
            return Ok(round);
        }
        // Barrier 1: the copies are durable before a fork record exists.
        if !seeded!(ForkBeforeSync)
            && let Err(error) = self.pool.sync()
        {
            for one in &moves {
                self.give_up(stream, one, &mut round);
                round.given_up.push((one.unit(), error.duplicate()));
            }
            return Ok(round);
        }
        for mut one in moves {
            one.synced();
            self.fork(stream, &mut one, &mut round, &mut replacing)?;
        }
        Ok(round)
    }

    fn begin(&self, stream: &Stream, order: Order) -> Option<Move> {
        let mut core = stream.core();
        let durable = core.writer.durable();
        let moving = core.units.begin_move(order.unit)?;
        Some(Move::new(order.task, moving, durable))
    }

    /// Walks and copies. True if there is something to fork.
    fn copy(&self, stream: &Stream, one: &mut Move, buf: &mut RecordBuf) -> Result<bool> {
        loop {
            match one.next_action() {
                Action::Read(lsn) => match stream.fetch(lsn, buf) {
                    Ok(header) => one.record(lsn, &header, buf.record())?,
                    Err(_) if one.unreadable() => {}
                    Err(error) => return Err(error),
                },
                Action::ReadExtent(at) => match self.pool.extent(one.unit(), at) {
                    Ok(extent) => one.extent(&extent)?,
                    Err(error) => {
                        let head = self.pool.head_of(one.unit(), at);
                        if !one.lost(head.as_ref())? {
                            return Err(error);
                        }
                    }
                },
                Action::ReadHead(at) => one.head(self.pool.head_of(one.unit(), at).as_ref()),
                Action::Append(packer) => {
                    let purpose = match one.task() {
                        Task::Whole | Task::UpTo { .. } => Purpose::Move,
                        Task::Compact => Purpose::Compact,
                        Task::Rebuild => Purpose::Rebuild,
                    };
                    let at = self.pool.append(*packer, purpose)?;
                    one.appended(at);
                }
                Action::Sync | Action::Fork(_) => return Ok(true),
                Action::Nothing => return Ok(false),
            }
        }
    }

    fn fork(
        &self,
        stream: &Stream,
        one: &mut Move,
        round: &mut Round,
        replacing: &mut Vec<Replacing>,
    ) -> Result<()> {
        let Action::Fork(forked) = one.next_action() else {
            self.give_up(stream, one, round);
            return Ok(());
        };
        let unit = one.unit();
        match stream.fork(unit, &forked) {
            Ok(Some(placed)) => {
                let (records, bytes) = one.copied();
                round.units.push(unit);
                round.records = round.records.saturating_add(records);
                round.bytes = round.bytes.saturating_add(bytes);
                round.next = placed.next;
                self.pool.went_on(unit, forked.sec);
                if matches!(one.task(), Task::Compact | Task::Rebuild) {
                    let next = placed.next;
                    replacing.push(Replacing { next, unit, sec: forked.sec });
                }
                Ok(())
            }
            Ok(None) => {
                self.give_up(stream, one, round);
                Ok(())
            }
            Err(error) => {
                self.give_up(stream, one, round);
                if stream.failure().is_some() {
                    return Err(error);
                }
                round.given_up.push((unit, error));
                Ok(())
            }
        }
    }

    /// The unit stays where it is; its new extents are orphans.
    fn give_up(&self, stream: &Stream, one: &Move, round: &mut Round) {
        round.wasted = round.wasted.saturating_add(one.copied().1);
        for at in one.appended_extents() {
            self.pool.discard(one.unit(), *at);
        }
        stream.core().units.end_move(one.unit());
    }

    /// Frees what has become free: extents that a durable fork record replaced, and those of
    /// units that are over.
    pub fn settle(&self, stream: &Stream) {
        let mut replacing = self.one_round();
        let (durable, freed) = {
            let mut core = stream.core();
            (core.writer.durable(), core.units.take_freed())
        };
        replacing.retain(|it| {
            if it.next > durable && !seeded!(CompactFreeEarly) {
                return true;
            }
            self.pool.replaced(it.unit, it.sec);
            false
        });
        for unit in freed {
            self.pool.free(unit);
        }
    }
}

/// Where the originals of a round stand: a unit's records lie between its floor and its head, as
/// close together as its number of them says.
fn expected(stream: &Stream, orders: &[Order]) -> Runs {
    let core = stream.core();
    let stretch = |order: &Order| {
        let upto = match order.task {
            Task::Whole => Lsn::MAX,
            Task::UpTo { upto, .. } => upto,
            Task::Compact | Task::Rebuild => return None,
        };
        let unit = core.units.get(order.unit)?;
        let (records, bytes) = unit.main;
        let newest = upto.min(unit.head);
        // Nobody knows how long the newest one is: as long as the others.
        let to = newest.plus(bytes.checked_div(records)?);
        let part = to.since(unit.floor).max(1);
        let whole = unit.head.since(unit.floor).max(part);
        let share = u128::from(records) * u128::from(part) / u128::from(whole);
        let records = u64::try_from(share).unwrap_or(records);
        (newest >= unit.floor).then_some(Stretch { from: unit.floor, to, records })
    };
    Runs::of(orders.iter().filter_map(stretch))
}

/// Whether the unit, and its records with it, went away under the move.
fn gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Trimmed | ErrorKind::UnitEnded)
}
