//! Disturbs a scenario at every call it makes, and asks after each whether its promises hold.
//!
//! A *scenario* runs the code under test on a [`SimDisk`] and returns its *outcome*: what was
//! promised to it (acknowledged) until it ended or was disturbed, and what it had asked for
//! beyond that. A *check* starts the code under test on the disk that was left, compares what it
//! finds with the outcome, and brings the outcome up to date as it goes: what it was shown and
//! what it did then is promised from then on. It is disturbed in its turn ([`Sweep::nested`]),
//! so the outcome must be right whenever it returns.
//!
//! ```
//! use siding_sim::{SimDisk, Sweep, Trouble};
//! use siding_wal::disk::Disk;
//! use std::sync::Arc;
//!
//! // Promises nothing but that the file is there, once that was said.
//! let create = |disk: Arc<SimDisk>| disk.create("a").and_then(|_| disk.sync_dir()).is_ok();
//! let check = |disk: Arc<SimDisk>, promised: &mut bool| {
//!     let there = disk.list()?.iter().any(|(name, _)| name == "a");
//!     Trouble::unless(there || !*promised, || "the file is gone".to_owned())?;
//!     // What is shown is promised: so it is made durable first.
//!     disk.sync_dir()?;
//!     *promised = there;
//!     Ok(())
//! };
//! let report = Sweep::new("create", SimDisk::new(1), create, check).nested(2).power_cuts();
//! report.assert_clean();
//! assert_eq!(report.boundaries, 2);
//! ```
//!
//! A violation names its [`Step`]s, and [`Sweep::replay`] goes there again.

mod report;
mod run;
mod step;

pub use report::{Report, Violation};
pub use step::{Choices, Disturbance, End, Step};

use crate::SimDisk;
use crate::disk::Fault;
use run::{Plan, Run};
use std::any::Any;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Why a check did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The code under test returned an error. Its right when the disk was failing; else a
    /// violation. What `?` makes of any error.
    Refused(String),
    /// A promise was broken: always a violation, and so is a panic.
    Broken(String),
}

impl Trouble {
    /// A promise was broken.
    pub fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }

    /// Nothing if `condition` holds; else a promise was broken.
    ///
    /// # Errors
    ///
    /// [`Trouble::Broken`].
    pub fn unless(condition: bool, what: impl FnOnce() -> String) -> Result<(), Self> {
        if condition { Ok(()) } else { Err(Self::Broken(what())) }
    }

    fn into_words(self) -> String {
        match self {
            Self::Refused(what) => format!("refused on a healthy disk: {what}"),
            Self::Broken(what) => what,
        }
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            words.push_str(&format!(": {source}"));
            cause = source.source();
        }
        Self::Refused(words)
    }
}

type Scenario<'a, O> = Box<dyn Fn(Arc<SimDisk>) -> O + 'a>;
type Check<'a, O> = Box<dyn Fn(Arc<SimDisk>, &mut O) -> Result<(), Trouble> + 'a>;

/// A scenario, its check, and how thoroughly to go through them.
pub struct Sweep<'a, O> {
    name: String,
    start: SimDisk,
    scenario: Scenario<'a, O>,
    check: Check<'a, O>,
    outer: Choices,
    inner: Choices,
    depth: usize,
    one_in: u64,
    seed: u64,
    broken_max: u64,
}

impl<'a, O: Clone> Sweep<'a, O> {
    /// A sweep of `scenario`, each run on a copy of `start`, with `check` after each.
    ///
    /// Both should do the same calls whenever they are run on equal disks; where threads make
    /// that impossible the report says so, and a replay may go elsewhere.
    pub fn new(
        name: &str,
        start: SimDisk,
        scenario: impl Fn(Arc<SimDisk>) -> O + 'a,
        check: impl Fn(Arc<SimDisk>, &mut O) -> Result<(), Trouble> + 'a,
    ) -> Self {
        Self {
            name: name.to_owned(),
            start,
            scenario: Box::new(scenario),
            check: Box::new(check),
            outer: Choices::default(),
            inner: Choices::few(),
            depth: 0,
            one_in: 1,
            seed: 0,
            broken_max: 100,
        }
    }

    /// Which ends to try after the scenario.
    #[must_use]
    pub fn choices(mut self, outer: Choices) -> Self {
        self.outer = outer;
        self
    }

    /// Disturbs the check as well, wherever it begins, and then the next one, so many times in
    /// a row; what the last one found then is checked undisturbed.
    #[must_use]
    pub fn nested(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Which ends to try after a disturbed check.
    #[must_use]
    pub fn nested_choices(mut self, inner: Choices) -> Self {
        self.inner = inner;
        self
    }

    /// Of the disturbances of checks, tries one in so many, as the seed has it.
    #[must_use]
    pub fn nested_one_in(mut self, one_in: u64) -> Self {
        self.one_in = one_in.max(1);
        self
    }

    /// Seeds what is left to chance.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Ends the sweep after so many violations.
    #[must_use]
    pub fn stop_after(mut self, violations: u64) -> Self {
        self.broken_max = violations.max(1);
        self
    }

    /// Cuts the power in every call of the scenario, and after the last.
    pub fn power_cuts(&self) -> Report {
        self.run(Plan::Cuts)
    }

    /// Makes every call of the scenario fail in each of these ways that it can, once and from
    /// then on, and every read; then the process ends with and without a power cut.
    pub fn io_errors(&self, faults: &[Fault]) -> Report {
        self.run(Plan::Failures(faults))
    }

    /// Goes one violation's way again, and says what its last check says.
    ///
    /// # Errors
    ///
    /// The check's trouble, or that of one on the way if a promise is broken there.
    pub fn replay(&self, steps: &[Step]) -> Result<(), Trouble> {
        let mut disk = self.start.fork();
        let mut promised = None;
        for step in steps {
            step.disturbance.arm(&disk);
            promised = Some(match &promised {
                None => self.play(&disk).map_err(Trouble::Broken)?,
                Some(old) => match self.ask(&disk, old) {
                    (_, Err(Trouble::Broken(what))) => return Err(Trouble::Broken(what)),
                    (new, _) => new,
                },
            });
            // Nothing is seen yet, so there is a disk.
            disk = step.end.reach(&disk, &mut HashSet::new()).unwrap_or(disk);
        }
        match promised {
            Some(promised) => self.ask(&disk, &promised).1,
            None => Err(Trouble::broken("there is no step to replay")),
        }
    }

    fn run(&self, plan: Plan<'_>) -> Report {
        Run { sweep: self, plan, report: Report::new(&self.name) }.go()
    }

    /// Runs the scenario; a panic is given in words.
    fn play(&self, disk: &SimDisk) -> Result<O, String> {
        let disk = Arc::new(disk.clone());
        catch_unwind(AssertUnwindSafe(|| (self.scenario)(disk)))
            .map_err(|panic| format!("the scenario panicked: {}", words(&*panic)))
    }

    /// Runs the check, and gives the outcome as it left it; a panic is a broken promise.
    fn ask(&self, disk: &SimDisk, promised: &O) -> (O, Result<(), Trouble>) {
        let disk = Arc::new(disk.clone());
        let mut promised = promised.clone();
        let asked = catch_unwind(AssertUnwindSafe(|| (self.check)(disk, &mut promised)));
        let answer = asked.unwrap_or_else(|panic| {
            Err(Trouble::Broken(format!("the check panicked: {}", words(&*panic))))
        });
        (promised, answer)
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}
