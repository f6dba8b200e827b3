//! One disturbance and how it ended: what a failure is named and repeated by.

use crate::disk::{Call, Crash, Fault, Lasts, Torn};
use crate::{Rng, SimDisk};
use std::collections::{BTreeSet, HashSet};

/// What befalls a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing: it ends by itself.
    Nothing,
    /// The power goes in the middle of a call.
    Cut {
        /// The call's number.
        call: u64,
    },
    /// A call that changes something fails.
    Fail {
        /// The call's number.
        call: u64,
        /// How.
        fault: Fault,
        /// How long.
        lasts: Lasts,
    },
    /// A read fails.
    FailRead {
        /// The read's number.
        read: u64,
        /// How long.
        lasts: Lasts,
    },
}

impl Disturbance {
    pub(super) fn arm(self, disk: &SimDisk) {
        match self {
            Self::Nothing => {}
            Self::Cut { call } => disk.cut_at(call),
            Self::Fail { call, fault, lasts } => disk.fail(call, fault, lasts),
            Self::FailRead { read, lasts } => disk.fail_read(read, lasts),
        }
    }

    /// Every cut of a run that made these calls.
    pub(super) fn cuts(calls: u64) -> Vec<Self> {
        (0..calls).map(|call| Self::Cut { call }).collect()
    }

    /// Every failure of a run that made these calls and so many reads.
    pub(super) fn failures(trace: &[Call], reads: u64, faults: &[Fault]) -> Vec<Self> {
        let mut all = Vec::new();
        for lasts in [Lasts::Once, Lasts::ForEver] {
            for (call, made) in (0..).zip(trace) {
                let hits = faults.iter().filter(|fault| fault.hits(made.op));
                all.extend(hits.map(|fault| Self::Fail { call, fault: *fault, lasts }));
            }
            all.extend((0..reads).map(|read| Self::FailRead { read, lasts }));
        }
        all
    }

    /// In words, given the calls of the run it befell.
    pub(super) fn describe(self, trace: &[Call]) -> String {
        let name = |call: u64| {
            let made = usize::try_from(call).ok().and_then(|call| trace.get(call));
            made.map_or_else(|| "never made".to_owned(), Call::to_string)
        };
        match self {
            Self::Nothing => "it ends".to_owned(),
            Self::Cut { call } => format!("power goes in call {call} ({})", name(call)),
            Self::Fail { call, fault, lasts } => {
                format!("call {call} ({}) fails, {fault:?} {lasts:?}", name(call))
            }
            Self::FailRead { read, lasts } => format!("read {read} fails, {lasts:?}"),
        }
    }
}

/// How the run's process ends, and what the next one finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power goes, or went.
    Crash(Crash),
    /// The process dies, and the page cache still has everything.
    Kill,
    /// The process dies, and everything is read from the device again; the seed says what of
    /// failed syncs and writes got there nevertheless.
    KillAndEvict(u64),
}

impl End {
    /// The disk that the next process finds; none if `seen` has it.
    pub(super) fn reach(self, disk: &SimDisk, seen: &mut HashSet<u64>) -> Option<SimDisk> {
        match self {
            Self::Crash(choice) => disk.crash_unseen(choice, seen),
            Self::Kill => Some(disk.fork()),
            Self::KillAndEvict(seed) => Some(disk.fork_evicted(seed)),
        }
    }

    /// The column of a report it counts in.
    pub(super) fn column(self) -> usize {
        match self {
            Self::Crash(Crash::DropAll) => 0,
            Self::Crash(Crash::KeepAll) => 1,
            Self::Crash(Crash::KeepOnly(_)) => 2,
            Self::Crash(Crash::DropOnly(_)) => 3,
            Self::Crash(Crash::Random(_)) => 4,
            Self::Crash(Crash::Tear(..) | Crash::Shorn(_)) => 5,
            Self::Kill | Self::KillAndEvict(_) => 6,
        }
    }

    /// In words, given the disk it happened to.
    pub(super) fn describe(self, disk: &SimDisk) -> String {
        match self {
            Self::Crash(choice) => disk.describe(choice),
            Self::Kill => "the process is killed".to_owned(),
            Self::KillAndEvict(seed) => {
                format!("the process is killed, clean pages are evicted, seed {seed:#x}")
            }
        }
    }
}

/// The columns of a report, in the order of [`End::column`].
pub(super) const COLUMNS: [&str; 7] =
    ["all dropped", "all kept", "one kept", "one dropped", "random", "torn", "killed"];

/// A disturbance of a run and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What befell the run.
    pub disturbance: Disturbance,
    /// How its process ended.
    pub end: End,
}

/// Which ends are tried after each disturbance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// The process is killed too; after a failure, clean pages are evicted then.
    pub kill: bool,
    /// After a failure the process is killed too with no page evicted: reads show what is on no
    /// disk (fact M8). Code that reads past the page cache, as the contract of `read_at` has it,
    /// never meets that.
    pub ghosts: bool,
    /// Of the pending changes, how many at most survive alone, and are missing alone, in turn;
    /// if more are pending, chance picks so many of them.
    pub each_max: usize,
    /// How many random subsets.
    pub random: u64,
    /// How many torn writes.
    pub tears: u64,
    /// How many writes that leave a write unit of garbage where the power went; headers are
    /// exempt.
    pub shorn: u64,
}

impl Default for Choices {
    /// All dropped, all kept, each one kept, each one dropped, 8 random subsets, 4 tears, killed.
    fn default() -> Self {
        Self { kill: true, ghosts: false, each_max: usize::MAX, random: 8, tears: 4, shorn: 0 }
    }
}

impl Choices {
    /// All dropped, all kept, 2 random subsets, 1 tear, killed: for the inside of loops.
    pub fn few() -> Self {
        Self { kill: true, ghosts: false, each_max: 0, random: 2, tears: 1, shorn: 0 }
    }

    /// The ends to try on this disk.
    pub(super) fn ends(&self, disk: &SimDisk, seed: u64, disturbance: Disturbance) -> Vec<End> {
        let mut rng = Rng::new(seed);
        let mut choices = vec![Crash::DropAll, Crash::KeepAll];
        for place in self.places(disk.pending_count(), &mut rng) {
            choices.extend([Crash::KeepOnly(place), Crash::DropOnly(place)]);
        }
        choices.extend((0..self.random).map(|_| Crash::Random(rng.next_u64())));
        let kinds = [Torn::Head, Torn::Tail, Torn::Hole, Torn::Lone];
        let tears = kinds.iter().cycle().zip(0..self.tears);
        choices.extend(tears.map(|(torn, _)| Crash::Tear(*torn, rng.next_u64())));
        // The headers of segments and extent files are exempt: where one is garbage an open refuses
        // it by name and loses nothing. The control file is not.
        let header = |seed: &u64| {
            let place = disk.shorn(*seed);
            place.is_none_or(|(name, at)| at == 0 && name.contains('.'))
        };
        let shorn: Vec<u64> = (0..self.shorn).map(|_| rng.next_u64()).collect();
        choices.extend(shorn.into_iter().filter(|seed| !header(seed)).map(Crash::Shorn));
        let mut ends: Vec<End> = choices.into_iter().map(End::Crash).collect();
        let failed = matches!(disturbance, Disturbance::Fail { .. });
        if self.kill && failed {
            ends.push(End::KillAndEvict(rng.next_u64()));
        }
        if if failed { self.ghosts } else { self.kill } {
            ends.push(End::Kill);
        }
        ends
    }

    fn places(&self, count: usize, rng: &mut Rng) -> BTreeSet<usize> {
        if count <= self.each_max {
            return (0..count).collect();
        }
        let mut places = BTreeSet::new();
        while places.len() < self.each_max {
            places.insert(rng.index(count));
        }
        places
    }
}
