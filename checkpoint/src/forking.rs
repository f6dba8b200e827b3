//! Forking, wired to keypoints and trimming: what is due after a keypoint, what an operator asks
//! for, and what a full log needs.

use crate::engine::Engine;
use crate::lost::Losses;
use crate::open::ForkConfig;
use siding_fork::policy::{
    Candidate, Effect, Hindrance, Plan, Policy, Sealed, Settings, Situation,
};
use siding_fork::pool::Pool;
use siding_fork::{Mover, Order, Pace, Round, Task};
use siding_wal::format::wide;
use siding_wal::seeded;
use siding_wal::units::Unit;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes copied in one round, at most, while nobody waits for it.
const ROUND: u64 = 4 << 20;

/// Background work waits until it may copy this much, or what a quarter of a second brings: a round
/// costs a sync, and that costs a commit the wait for it.
const WORTH: u64 = 2 << 20;

/// Bytes of log that background work scans at a time for directories that are not there, or one
/// segment: commits go first.
const SCANNED: u64 = 2 << 20;

/// Why moves may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Background work is done; as far as the pace allows.
    Now,
    /// A keypoint follows: its sync makes the fork records durable, and trimming passes the
    /// originals at once. As far as the pace allows.
    Keypoint,
    /// The same, while log is written faster than the keeper keeps up: who writes it pays, and no
    /// more than a fraction of what he wrote, for only moves that pay are made.
    Outrun,
    /// The log is full: whatever frees something is due.
    Full,
    /// The same, where only a keypoint that follows frees something.
    FullBeforeKeypoint,
}

/// On what terms moves are planned.
struct Terms {
    free_below: Lsn,
    budget: u64,
    urgent: bool,
    /// Directories that may be made by a scan for it.
    scans: u64,
}

/// What the engine keeps for moves.
#[derive(Debug)]
pub(crate) struct Forking {
    mover: Mover,
    config: ForkConfig,
    policy: Mutex<(Policy, Pace)>,
    /// Units that an operator wants to stay where they are.
    held: Mutex<BTreeSet<u64>>,
    swept: AtomicBool,
    /// Where the log ended when somebody last looked whether moves are due.
    looked: AtomicU64,
    /// What is to be moved has no room on the secondary log.
    no_room: AtomicBool,
    pub(crate) losses: Losses,
}

fn order(plan: &Plan) -> Order {
    let task = match plan.upto {
        Some(upto) => Task::UpTo { upto, next: plan.next },
        None => Task::Whole,
    };
    Order { unit: plan.unit, task }
}

impl Forking {
    pub(crate) fn new(pool: Arc<Pool>, config: ForkConfig) -> Self {
        let ForkConfig { benefit: ratio, idle_ms, .. } = config;
        let settings = Settings { ratio, idle_ms, ..Settings::default() };
        Self {
            mover: Mover::new(pool),
            config,
            policy: Mutex::new((Policy::new(settings), Pace::new(config.rate))),
            held: Mutex::new(BTreeSet::new()),
            swept: AtomicBool::new(false),
            looked: AtomicU64::new(0),
            no_room: AtomicBool::new(false),
            losses: Losses::default(),
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.mover.pool()
    }

    /// Whether the policy would move a unit for what that gains.
    pub(crate) fn pays(&self, effect: &Effect) -> bool {
        let ratio = self.config.benefit;
        effect.gain > 0 && effect.gain >= effect.cost.saturating_mul(ratio)
    }

    /// Whether the last plan found no room on the secondary log for what it would move.
    pub(crate) fn has_no_room(&self) -> bool {
        self.no_room.load(Ordering::Relaxed)
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Moves a unit's records to the secondary log now, whatever it gains. Returns how many
    /// records were moved; none if all of them were. What is lost of those that were is rebuilt,
    /// where it can be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it is not live; what kept it from being moved, or what is lost
    /// of it if nothing was left to move: it stays as it was.
    ///
    /// # Crash
    ///
    /// It was moved, or it was not; its chain is the same.
    pub fn fork_unit(&self, unit: u64) -> Result<u64> {
        if self.stream().core().units.get(unit).is_none_or(Unit::is_blank) {
            let what = format!("no unit {unit:#x} with records is live");
            return Err(Error::new(ErrorKind::NotFound, what).advise("see `siding units`"));
        }
        // What is lost for ever keeps nothing else on the main log.
        let lost = self.rebuild_unit(unit).err();
        // Only what is durable is moved, and only once the fork record is durable is it over.
        if !seeded!(CopyNotDurable) {
            self.stream().flush()?;
        }
        let round = self.round(&[Order { unit, task: Task::Whole }])?;
        if let Some((_, error)) = round.given_up.into_iter().next() {
            return Err(error);
        }
        if round.next > Lsn::ZERO {
            self.stream().ensure_durable(round.next)?;
        }
        match lost {
            Some(error) if round.records == 0 => Err(error),
            _ => Ok(round.records),
        }
    }

    /// Keeps a unit where it is until [`Engine::unhold_unit`], or the next open.
    pub fn hold_unit(&self, unit: u64) {
        self.forking.held().insert(unit);
    }

    /// Lets a unit be moved again.
    pub fn unhold_unit(&self, unit: u64) {
        self.forking.held().remove(&unit);
    }

    pub(crate) fn round(&self, orders: &[Order]) -> Result<Round> {
        // A fork record may need room itself, and must not wait for another round to make it.
        let _working = self.no_reclaim();
        let round = self.forking.mover.round(self.stream(), orders)?;
        self.settle();
        Ok(round)
    }

    /// Moves what is due: units that hold segments which nothing else needs, if that pays. True if
    /// something was moved.
    pub(crate) fn fork_due(&self, why: Why) -> bool {
        self.note_look();
        let free_below = match why {
            Why::Keypoint | Why::Outrun | Why::FullBeforeKeypoint => self.free_below_next(),
            Why::Now | Why::Full => self.free_below(),
        };
        if !self.may_fork(free_below) {
            return false;
        }
        let now = self.stream().clock().monotonic_ms();
        let plans = {
            let mut policy = self.forking.policy.lock().unwrap_or_else(PoisonError::into_inner);
            let (policy, pace) = &mut *policy;
            let budget = match why {
                Why::Now => pace.allowed(now).min(ROUND),
                Why::Keypoint => pace.allowed(now),
                Why::Outrun if pace.rate() == 0 => 0,
                Why::Outrun => pace.allowed(now).max(ROUND),
                Why::Full | Why::FullBeforeKeypoint => u64::MAX,
            };
            let least = if why == Why::Now { WORTH.min(pace.rate() / 4).max(1) } else { 1 };
            if budget < least {
                return false;
            }
            // Who waits wants to know all; else the rest is seen next time.
            let scans = match why {
                Why::Now | Why::Keypoint => self.scans_at_a_time(),
                Why::Outrun | Why::Full | Why::FullBeforeKeypoint => u64::MAX,
            };
            let urgent = matches!(why, Why::Full | Why::FullBeforeKeypoint);
            let terms = Terms { free_below, budget, urgent, scans };
            self.situation(&terms, |situation| policy.round(situation))
        };
        let Ok(planned) = plans else { return false };
        let no_room = matches!(planned.hindrance, Some(Hindrance::NoRoom(_)));
        self.forking.no_room.store(no_room, Ordering::Relaxed);
        let orders: Vec<Order> = planned.plans.iter().map(order).collect();
        if orders.is_empty() {
            return false;
        }
        match self.round(&orders) {
            Ok(round) => {
                let mut policy = self.forking.policy.lock().unwrap_or_else(PoisonError::into_inner);
                policy.1.spend(round.bytes.saturating_add(round.wasted));
                let full = |(_, error): &(u64, Error)| error.kind() == ErrorKind::LogFull;
                if round.given_up.iter().any(full) {
                    self.forking.no_room.store(true, Ordering::Relaxed);
                }
                !round.units.is_empty()
            }
            Err(_) => false,
        }
    }

    /// Compacts the secondary log by a file, if it is much larger than what lives in it.
    pub(crate) fn compact_due(&self) {
        let pool = self.forking.pool();
        if pool.worst().is_none() {
            return;
        }
        let now = self.stream().clock().monotonic_ms();
        let policy = || self.forking.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if policy().1.allowed(now) == 0 {
            return;
        }
        // Of units that have ended the extents stay where they are, for redo.
        let stay: BTreeSet<u64> = {
            let core = self.stream().core();
            let extents = core.units.extents().into_iter();
            let ended = extents.filter(|(unit, _)| core.units.get(*unit).is_none());
            ended.map(|(unit, _)| unit).collect()
        };
        let Some(units) = pool.worst_without(&stay) else { return };
        let orders: Vec<Order> =
            units.into_iter().map(|unit| Order { unit, task: Task::Compact }).collect();
        // What cannot be copied stays where it is.
        if let Ok(round) = self.round(&orders) {
            policy().1.spend(round.bytes.saturating_add(round.wasted));
        }
    }

    /// Whether units are moved by themselves, and there may be something to be gained by it.
    pub(crate) fn may_fork(&self, free_below: Lsn) -> bool {
        self.forking.config.automatic && self.holds_segments(free_below)
    }

    /// Somebody looks whether moves are due.
    pub(crate) fn note_look(&self) {
        let end = self.stream().core().writer.end();
        self.forking.looked.store(end.get(), Ordering::Relaxed);
    }

    /// Bytes of log that came since somebody last looked whether moves are due.
    pub(crate) fn unlooked(&self) -> u64 {
        let end = self.stream().core().writer.end();
        end.get().saturating_sub(self.forking.looked.load(Ordering::Relaxed))
    }

    /// Whether there are sealed segments that nothing but units keeps.
    fn holds_segments(&self, free_below: Lsn) -> bool {
        let segments = self.stream().segments();
        let free_below = segments.number_of(free_below);
        segments.oldest_number().is_some_and(|oldest| free_below > oldest)
    }

    /// What moving each live unit would cost and gain, lowest number first.
    ///
    /// # Errors
    ///
    /// A directory was to be made by a scan, and the log is damaged.
    pub fn fork_effects(&self) -> Result<Vec<Effect>> {
        let policy = self.forking.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let (free_below, scans) = (self.free_below(), u64::MAX);
        let terms = Terms { free_below, budget: u64::MAX, urgent: false, scans };
        self.situation(&terms, |situation| policy.0.effects(situation))
    }

    fn scans_at_a_time(&self) -> u64 {
        SCANNED.checked_div(self.stream().settings().segment_size).unwrap_or(0).max(1)
    }

    fn situation<T>(&self, terms: &Terms, ask: impl FnOnce(&Situation<'_>) -> T) -> Result<T> {
        let directories = self.sealed(terms.free_below, terms.scans)?;
        let segments: Vec<Sealed<'_>> = directories
            .iter()
            .map(|(number, directory)| Sealed { number: *number, directory })
            .collect();
        let stream = self.stream();
        let now = stream.clock().monotonic_ms();
        let segment_size = stream.settings().segment_size;
        let room = self.forking.pool().room();
        let held = self.forking.held().clone();
        let units: Vec<Candidate> = {
            let core = stream.core();
            let live = core.units.iter().filter(|(_, unit)| unit.live_low() < Lsn::MAX);
            live.map(|(number, unit)| Candidate {
                unit: number,
                state: unit.state,
                floor: unit.floor,
                main_bytes: unit.main.1,
                idle_ms: (unit.touched_ms != 0).then(|| now.saturating_sub(unit.touched_ms)),
                held: held.contains(&number),
                moving: unit.is_moving() || core.units.is_forking(number),
            })
            .collect()
        };
        let retained = wide(stream.segments().len()).saturating_mul(segment_size);
        Ok(ask(&Situation {
            segment_size,
            segments: &segments,
            free_below: terms.free_below,
            retained,
            soft_limit: self.forking.config.soft_limit,
            units: &units,
            budget: terms.budget,
            room,
            urgent: terms.urgent,
        }))
    }

    /// Tells the secondary log which extents are needed, once in an open, and frees what has
    /// become free since.
    pub(crate) fn settle_forks(&self) {
        // What a backup has still to copy may be needed by nobody else any more.
        let held = self.stream().core().redo.is_held() && !seeded!(SweepUnderBackup);
        if held && !seeded!(FreeUnderBackup) {
            return;
        }
        if !self.forking.swept.swap(true, Ordering::AcqRel) {
            let live = self.stream().core().units.extents();
            match self.forking.pool().sweep(&live) {
                Ok(found) => self.forking.losses.note_strangers(found.strangers),
                Err(_) => {
                    // Nothing of earlier opens is freed before it is known what is needed.
                    self.forking.swept.store(false, Ordering::Release);
                    return;
                }
            }
        }
        self.settle();
    }

    /// Frees extents that nothing needs; not while a backup may still have to copy them.
    fn settle(&self) {
        if !self.stream().core().redo.is_held() || seeded!(FreeUnderBackup) {
            self.forking.mover.settle(self.stream());
        }
    }
}
