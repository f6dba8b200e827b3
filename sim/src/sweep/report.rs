//! What a sweep found, in numbers and in words.

use super::step::{COLUMNS, End, Step};
use std::fmt;

/// How many violations are kept in words; the others are counted.
const KEPT: usize = 10;

/// A promise that was not kept, and the way there.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What [`Sweep::replay`](super::Sweep::replay) takes to come here again.
    pub steps: Vec<Step>,
    /// The steps in words, each with what survived.
    pub way: Vec<String>,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        self.way.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
        write!(f, "    replay: {:?}", self.steps)
    }
}

/// The counts of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// Calls of the undisturbed scenario that change something.
    pub boundaries: u64,
    /// Runs of the scenario.
    pub runs: u64,
    /// Ends that were tried, those that came to a disk already seen included.
    pub tried: u64,
    /// Disks that were checked, each another one than those after the same disturbance.
    pub states: u64,
    /// Those of them that lie behind a second disturbance, or a third.
    pub nested: u64,
    /// Disks by the kind of end: all dropped, all kept, one kept, one dropped, random subsets,
    /// torn, killed.
    pub by_end: [u64; COLUMNS.len()],
    /// Checks that found a promise broken.
    pub broken: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
    /// Whether two undisturbed runs made the same calls.
    pub deterministic: bool,
}

impl Report {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), deterministic: true, ..Self::default() }
    }

    pub(super) fn count(&mut self, end: End, level: usize) {
        self.states += 1;
        self.nested += u64::from(level > 0);
        self.by_end[end.column()] += 1;
    }

    pub(super) fn add(&mut self, violation: impl FnOnce() -> Violation) {
        self.broken += 1;
        if self.violations.len() < KEPT {
            self.violations.push(violation());
        }
    }

    /// Adds another sweep's counts to these; the name stays.
    pub fn merge(&mut self, other: Self) {
        self.boundaries += other.boundaries;
        self.runs += other.runs;
        self.tried += other.tried;
        self.states += other.states;
        self.nested += other.nested;
        self.by_end.iter_mut().zip(other.by_end).for_each(|(sum, more)| *sum += more);
        self.broken += other.broken;
        let room = KEPT - self.violations.len().min(KEPT);
        self.violations.extend(other.violations.into_iter().take(room));
        self.deterministic &= other.deterministic;
    }

    /// Fails the test if a promise was broken, with the ways there.
    ///
    /// # Panics
    ///
    /// If there are violations.
    pub fn assert_clean(&self) {
        let ways: Vec<String> = self.violations.iter().map(Violation::to_string).collect();
        assert!(self.broken == 0, "{self}{}", ways.join("\n"));
    }

    /// A table of several sweeps, one line each.
    pub fn table(reports: &[Self]) -> String {
        let width = reports.iter().map(|report| report.name.len()).max().unwrap_or(0);
        let mut table = format!("{:width$} {:>7} {:>9} {:>9}", "", "calls", "states", "nested");
        table.extend(COLUMNS.iter().map(|column| format!(" {column:>11}")));
        table.push_str("    broken\n");
        for report in reports {
            let Self { name, boundaries, states, nested, broken, .. } = report;
            table.push_str(&format!("{name:width$} {boundaries:7} {states:9} {nested:9}"));
            table.extend(report.by_end.iter().map(|count| format!(" {count:11}")));
            table.push_str(&format!(" {broken:9}\n"));
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::table(std::slice::from_ref(self)))
    }
}
