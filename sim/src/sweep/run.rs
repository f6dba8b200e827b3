//! The loops of a sweep: disturbances, ends, and checks that are disturbed in their turn.

use super::report::{Report, Violation};
use super::step::{Disturbance, End, Step};
use super::{Sweep, Trouble};
use crate::disk::Fault;
use crate::rng::fold;
use crate::{Rng, SimDisk};
use std::collections::HashSet;

/// Which disturbances a sweep is about.
#[derive(Clone, Copy)]
pub(super) enum Plan<'f> {
    Cuts,
    Failures(&'f [Fault]),
}

impl Plan<'_> {
    /// What may befall a run that, undisturbed, left this disk.
    fn disturbances(self, plain: &SimDisk) -> Vec<Disturbance> {
        match self {
            Self::Cuts => Disturbance::cuts(plain.calls()),
            Self::Failures(faults) => Disturbance::failures(&plain.trace(), plain.reads(), faults),
        }
    }
}

/// A sweep under way.
pub(super) struct Run<'r, 's, O> {
    pub(super) sweep: &'r Sweep<'s, O>,
    pub(super) plan: Plan<'r>,
    pub(super) report: Report,
}

/// The way to a disk: the disturbed disk it came from, the step, and the way there.
struct Way<'w> {
    before: Option<&'w Way<'w>>,
    disk: &'w SimDisk,
    step: Step,
    level: usize,
}

impl<'w> Way<'w> {
    fn new(before: Option<&'w Way<'w>>, disk: &'w SimDisk, of: Disturbance, end: End) -> Self {
        let level = before.map_or(0, |way| way.level + 1);
        Self { before, disk, step: Step { disturbance: of, end }, level }
    }

    fn violation(&self, what: String) -> Violation {
        let (mut steps, mut way) = (Vec::new(), Vec::new());
        let mut place = Some(self);
        while let Some(Way { before, disk, step, .. }) = place {
            let befell = step.disturbance.describe(&disk.trace());
            way.push(format!("{befell}; {}", step.end.describe(disk)));
            steps.push(*step);
            place = *before;
        }
        steps.reverse();
        way.reverse();
        Violation { steps, way, what }
    }
}

impl<O: Clone> Run<'_, '_, O> {
    pub(super) fn go(mut self) -> Report {
        let (plain, again) = (self.sweep.start.fork(), self.sweep.start.fork());
        let outcome = self.sweep.play(&plain);
        // The second run is for this question alone; what it promised is the same.
        let _ = self.sweep.play(&again);
        self.report.deterministic = plain.trace_hash() == again.trace_hash();
        self.report.boundaries = plain.calls();
        for (number, disturbance) in (1..).zip(self.plan.disturbances(&plain)) {
            if self.is_over() {
                break;
            }
            let disk = self.sweep.start.fork();
            disturbance.arm(&disk);
            let outcome = self.sweep.play(&disk);
            self.scenario_ended(&disk, outcome, disturbance, fold(self.sweep.seed, number));
        }
        // Last, so that the first violation has the shortest way.
        self.scenario_ended(&plain, outcome, Disturbance::Nothing, self.sweep.seed);
        self.report
    }

    fn is_over(&self) -> bool {
        self.report.broken >= self.sweep.broken_max
    }

    fn scenario_ended(
        &mut self,
        disk: &SimDisk,
        outcome: Result<O, String>,
        disturbance: Disturbance,
        seed: u64,
    ) {
        self.report.runs += 1;
        match outcome {
            Ok(promised) => self.explore(disk, &promised, disturbance, None, seed),
            Err(what) => {
                let way = Way::new(None, disk, disturbance, End::Kill);
                self.report.add(|| way.violation(what));
            }
        }
    }

    /// Lets a disturbed run end in each way, and judges what is left.
    fn explore(
        &mut self,
        disk: &SimDisk,
        promised: &O,
        disturbance: Disturbance,
        before: Option<&Way<'_>>,
        seed: u64,
    ) {
        let choices = if before.is_none() { &self.sweep.outer } else { &self.sweep.inner };
        let mut seen = HashSet::new();
        for (number, end) in (0..).zip(choices.ends(disk, seed, disturbance)) {
            if self.is_over() {
                return;
            }
            self.report.tried += 1;
            let Some(found) = end.reach(disk, &mut seen) else { continue };
            let way = Way::new(before, disk, disturbance, end);
            self.report.count(end, way.level);
            self.judge(&found, promised, &way, fold(seed, number));
        }
    }

    /// Checks a disk, and disturbs the check as deep as was asked.
    fn judge(&mut self, found: &SimDisk, promised: &O, way: &Way<'_>, seed: u64) {
        let plain = found.fork();
        let (seen, answer) = self.sweep.ask(&plain, promised);
        if let Err(trouble) = answer {
            self.report.add(|| way.violation(trouble.into_words()));
            return;
        }
        if way.level >= self.sweep.depth {
            return;
        }
        let mut rng = Rng::new(seed);
        for disturbance in self.plan.disturbances(&plain) {
            let seed = rng.next_u64();
            if self.is_over() || !rng.chance(1, self.sweep.one_in) {
                continue;
            }
            let disk = found.fork();
            disturbance.arm(&disk);
            match self.sweep.ask(&disk, promised) {
                // To give up is its right, as long as what it promised before holds.
                (seen, Ok(()) | Err(Trouble::Refused(_))) => {
                    self.explore(&disk, &seen, disturbance, Some(way), seed);
                }
                (_, Err(Trouble::Broken(what))) => {
                    let way = Way::new(Some(way), &disk, disturbance, End::Kill);
                    self.report.add(|| way.violation(what));
                }
            }
        }
        self.explore(&plain, &seen, Disturbance::Nothing, Some(way), seed);
    }
}
