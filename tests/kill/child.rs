//! The child: threads that work on a log and say what was acknowledged, until they are killed.
//!
//! A line goes out in one write, so it is there whole or not at all. A small letter says what is
//! about to be asked, before the call; a capital what a call acknowledged, after it returned.

use crate::model::{Plan, payload};
use crate::options;
use siding::{Backend, CommitError, Decided, InDoubt, Log, Lsn, Outcome, UnitOfWork};
use siding_sim::Rng;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

const WORKERS: u64 = 4;

/// Bytes of commits that redo is left to do.
const LAG: u64 = 192 << 10;

/// Writes one line into the pipe, in one call.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Works until it is killed.
pub(crate) fn work(dir: &Path, backend: Backend, seed: u64) {
    let log = options(backend).open(dir).unwrap().finish().unwrap();
    say("O");
    let committed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..WORKERS {
            let mut worker = Worker {
                log: &log,
                committed: &committed,
                rng: Rng::new(seed ^ thread.wrapping_mul(0x9e37_79b9)),
                thread,
                serial: 0,
                left: 0,
                long: None,
            };
            scope.spawn(move || {
                loop {
                    worker.step();
                }
            });
        }
        let mut rng = Rng::new(!seed);
        loop {
            std::thread::sleep(Duration::from_millis(rng.below(4)));
            move_redo(&log, &committed, rng.chance(1, 4));
        }
    });
}

/// Moves the redo position to a commit that lies some way back.
fn move_redo(log: &Log, committed: &Mutex<Vec<Lsn>>, keypoint: bool) {
    let redo = {
        let mut committed = committed.lock().unwrap();
        let newest = committed.iter().max().copied().unwrap_or_default();
        let old = |lsn: &Lsn| newest.since(*lsn) >= LAG;
        let redo = committed.iter().copied().filter(old).max();
        committed.retain(|lsn| !old(lsn));
        redo
    };
    if let Some(redo) = redo {
        say(&format!("r {}", redo.get()));
        log.redo_from(redo).unwrap();
    }
    if keypoint {
        log.keypoint().unwrap();
        say("K");
    }
}

struct Worker<'a> {
    log: &'a Log,
    /// What all workers committed, redo has not passed it.
    committed: &'a Mutex<Vec<Lsn>>,
    rng: Rng,
    thread: u64,
    serial: u64,
    /// Units left in doubt or decided.
    left: u32,
    /// A unit that takes many steps, and how far it is.
    long: Option<(UnitOfWork, Plan, u64)>,
}

impl Worker<'_> {
    fn step(&mut self) {
        self.go_on_with_the_long_one();
        match self.rng.below(20) {
            0..8 => self.commit_at_once(),
            8..10 => self.submit_several(),
            10..12 => self.commit_much(),
            12..14 => self.roll_back_and_commit(),
            14..17 => self.prepare(),
            17 => self.decide(),
            18 => {
                let (unit, _) = self.written(true);
                let id = unit.id();
                unit.back_out().unwrap();
                say(&format!("B {id}"));
            }
            _ => {
                let (unit, _) = self.written(false);
                let id = unit.id();
                drop(unit);
                say(&format!("B {id}"));
            }
        }
    }

    /// Begins a unit and says what it will write.
    fn begin(&mut self, count: u64, big: bool, plain: bool) -> (UnitOfWork, Plan) {
        let unit = self.log.begin().unwrap();
        let plan = Plan { thread: self.thread, serial: self.serial, count, big, plain };
        self.serial += 1;
        say(&format!("U {} {}", unit.id(), plan.to_line()));
        (unit, plan)
    }

    /// A unit whose records are written.
    fn written(&mut self, plain: bool) -> (UnitOfWork, Plan) {
        let count = 1 + self.rng.below(4);
        let (mut unit, plan) = self.begin(count, false, plain);
        for index in 0..count {
            unit.append(&payload(unit.id(), index, &plan)).unwrap();
        }
        (unit, plan)
    }

    fn acknowledged(&self, unit: u64, commit: Result<Lsn, CommitError>) {
        let lsn = commit.unwrap();
        say(&format!("C {unit} {}", lsn.get()));
        self.committed.lock().unwrap().push(lsn);
    }

    fn commit(&self, unit: UnitOfWork) {
        let id = unit.id();
        say(&format!("c {id}"));
        self.acknowledged(id, unit.commit());
    }

    fn commit_at_once(&mut self) {
        let (unit, _) = self.written(true);
        self.commit(unit);
    }

    fn submit_several(&mut self) {
        let mut tickets = Vec::new();
        for _ in 0..3 {
            let (unit, _) = self.written(true);
            let id = unit.id();
            say(&format!("c {id}"));
            tickets.push((id, unit.submit().unwrap()));
        }
        for (id, ticket) in tickets {
            self.acknowledged(id, ticket.wait());
        }
    }

    fn commit_much(&mut self) {
        let count = 4 + self.rng.below(8);
        let (mut unit, plan) = self.begin(count, true, true);
        for index in 0..count {
            unit.append(&payload(unit.id(), index, &plan)).unwrap();
        }
        self.commit(unit);
    }

    /// What lies behind a savepoint is written under numbers that are not planned.
    fn roll_back_and_commit(&mut self) {
        let (mut unit, plan) = self.begin(3, false, true);
        let id = unit.id();
        for index in 0..3 {
            let savepoint = unit.savepoint();
            for extra in 0..self.rng.below(3) {
                unit.append(&payload(id, 1000 + extra, &plan)).unwrap();
            }
            unit.roll_back_to(&savepoint, |_| Ok(Vec::new())).unwrap();
            unit.append(&payload(id, index, &plan)).unwrap();
        }
        let savepoint = unit.savepoint();
        unit.append(&payload(id, 2000, &plan)).unwrap();
        unit.roll_back_to(&savepoint, |_| Ok(Vec::new())).unwrap();
        self.commit(unit);
    }

    fn in_doubt(&mut self) -> InDoubt {
        let (unit, _) = self.written(false);
        let id = unit.id();
        say(&format!("p {id}"));
        let doubt = unit.prepare(&id.to_le_bytes()).unwrap();
        say(&format!("P {id}"));
        doubt
    }

    fn prepare(&mut self) {
        let doubt = self.in_doubt();
        let id = doubt.id();
        match self.rng.below(3) {
            0 => {
                say(&format!("c {id}"));
                self.acknowledged(id, doubt.commit());
            }
            1 => {
                say(&format!("b {id}"));
                doubt.back_out().unwrap();
                say(&format!("B {id}"));
            }
            _ if self.left < 6 => {
                self.left += 1;
                drop(doubt);
            }
            _ => self.decide_doubt(doubt, Outcome::Commit),
        }
    }

    fn decide(&mut self) {
        if self.rng.chance(1, 2) {
            let (unit, _) = self.written(false);
            let id = unit.id();
            say(&format!("s {id}"));
            say(&format!("c {id}"));
            let decided = unit.decide().unwrap();
            self.acknowledged(id, Ok(decided.lsn().unwrap()));
            self.end(decided);
            return;
        }
        let doubt = self.in_doubt();
        let commit = self.rng.chance(1, 2);
        self.decide_doubt(doubt, if commit { Outcome::Commit } else { Outcome::BackOut });
    }

    fn decide_doubt(&mut self, doubt: InDoubt, outcome: Outcome) {
        let id = doubt.id();
        let commit = outcome == Outcome::Commit;
        say(&format!("s {id}"));
        say(&format!("{} {id}", if commit { "c" } else { "b" }));
        let decided = doubt.decide(outcome).unwrap();
        match decided.lsn() {
            Some(lsn) => self.acknowledged(id, Ok(lsn)),
            None => say(&format!("B {id}")),
        }
        self.end(decided);
    }

    /// Ends a decided unit; leaves some.
    fn end(&mut self, decided: Decided) {
        if self.left < 6 && self.rng.chance(1, 2) {
            self.left += 1;
            return;
        }
        let id = decided.id();
        say(&format!("e {id}"));
        decided.end().unwrap();
        say(&format!("E {id}"));
    }

    fn go_on_with_the_long_one(&mut self) {
        let (mut unit, plan, done) = match self.long.take() {
            Some(long) => long,
            None => {
                let (unit, plan) = self.begin(12, false, false);
                (unit, plan, 0)
            }
        };
        if done == plan.count {
            self.commit(unit);
            return;
        }
        unit.append(&payload(unit.id(), done, &plan)).unwrap();
        self.long = Some((unit, plan, done + 1));
    }
}
