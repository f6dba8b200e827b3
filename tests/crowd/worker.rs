//! What the threads do.

use crate::notes::{Mark, Notes, Said};
use crate::{Run, THREADS};
use siding::{
    CommitError, Decided, Discipline, Error, ErrorKind, InDoubt, Log, Lsn, Outcome, Ticket,
    UnitOfWork,
};
use siding_sim::disk::Crash;
use siding_sim::{Rng, SimDisk};
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The disk as a power cut would have left it, and what had been said before.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) mark: Mark,
    pub(crate) disk: SimDisk,
}

/// A record of a unit; no two are alike.
pub(crate) fn payload(unit: u64, index: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [unit, index, count] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let hash = (unit ^ (index << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
    let len = if hash.is_multiple_of(8) { hash % 9_000 } else { hash % 300 };
    bytes.extend(hash.to_le_bytes().iter().cycle().take(usize::try_from(len).unwrap()));
    bytes
}

/// Work that goes no further: the log failed, or the power is off.
struct Over;

type Step = Result<(), Over>;

/// What a call says that could not be done: over, or only refused.
fn refused(notes: &Notes, error: &Error) -> Step {
    notes.note_refusal(error.kind());
    match error.kind() {
        // Refused for now; the unit is backed out.
        ErrorKind::LogFull | ErrorKind::DuplicateGid => Ok(()),
        ErrorKind::Failed | ErrorKind::Io | ErrorKind::ReadOnly => Err(Over),
        kind => panic!("{kind:?}: {error}"),
    }
}

/// All threads work, until they have done enough or the log failed. Returns copies of the disk.
pub(crate) fn crowd(run: &Run, log: &Log, disk: &SimDisk, notes: &Notes) -> Vec<Copy> {
    let copies = Mutex::new(Vec::new());
    let working = AtomicUsize::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut rng = Rng::new(run.seed ^ (thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a));
            let (copies, working) = (&copies, &working);
            scope.spawn(move || {
                let mut worker = Worker { run, log, notes, rng: rng.clone(), thread, left: 0 };
                for _ in 0..run.steps {
                    if rng.chance(1, 80) {
                        let mark = notes.mark();
                        let disk = disk.crash(Crash::Random(rng.next_u64()));
                        copies.lock().unwrap().push(Copy { mark, disk });
                    }
                    if worker.step().is_err() {
                        break;
                    }
                }
                working.fetch_sub(1, Ordering::AcqRel);
            });
        }
        keep(run, log, notes, &working);
    });
    copies.into_inner().unwrap()
}

/// Moves the redo position, takes keypoints, reads, and looks at the ladder of positions.
fn keep(run: &Run, log: &Log, notes: &Notes, working: &AtomicUsize) {
    let mut rng = Rng::new(!run.seed);
    let mut before = log.positions();
    while working.load(Ordering::Acquire) > 0 {
        let now = log.positions();
        assert!(before.durable <= now.durable && before.oldest <= now.oldest, "{before:?} {now:?}");
        assert!(now.durable <= now.written && now.written <= now.end, "{now:?}");
        assert!(now.oldest <= now.keypoint_begin && now.redo <= now.durable, "{now:?}");
        before = now;
        // Under repeat history all of it is kept, to be replayed from the beginning.
        let newest = notes.newest().get();
        let lag = if run.segments.is_some() { 0 } else { rng.below(256 << 10) };
        let redo = Lsn::new(newest.saturating_sub(lag));
        if run.discipline == Discipline::DeferredApply && log.redo_from(redo).is_err() {
            break;
        }
        let looked = match rng.below(4) {
            0 => log.keypoint().map(drop),
            1 => log.ensure_durable(Lsn::new(rng.below(log.positions().end.get()))),
            2 => read(log),
            _ => {
                let _ = (log.units(), log.why_retained());
                Ok(())
            }
        };
        match looked {
            Err(error) if error.kind() == ErrorKind::Trimmed => {}
            other => drop(other.map_err(|error| refused(notes, &error))),
        }
        std::thread::yield_now();
    }
}

/// Reads some of the log, while it is written and trimmed.
fn read(log: &Log) -> siding::Result<()> {
    let mut records = log.records(Lsn::ZERO)?;
    let mut before = Lsn::ZERO;
    for _ in 0..200 {
        let Some(record) = records.next()? else { break };
        assert!(record.lsn() > before, "{} behind {before}", record.lsn());
        before = record.lsn();
    }
    Ok(())
}

struct Worker<'a> {
    run: &'a Run,
    log: &'a Log,
    notes: &'a Notes,
    rng: Rng,
    thread: usize,
    /// Units left in doubt or decided.
    left: u32,
}

impl Worker<'_> {
    fn refused(&self, error: &Error) -> Step {
        refused(self.notes, error)
    }

    fn say(&self, unit: u64, said: Said) {
        self.notes.say(self.thread, unit, said);
    }

    fn step(&mut self) -> Step {
        let Some((mut unit, index, count)) = self.some()? else { return Ok(()) };
        match self.rng.below(10) {
            // Records that are taken back, then the rest of those that count.
            0 | 1 => {
                let savepoint = unit.savepoint();
                for extra in 0..self.rng.below(3) {
                    let wrong = payload(unit.id(), 1_000 + extra, count);
                    if let Err(error) = unit.append(&wrong) {
                        return self.refused(&error);
                    }
                }
                let undo = |record: &siding::Record<'_>| Ok(record.payload().to_vec());
                if let Err(error) = unit.roll_back_to(&savepoint, undo) {
                    return self.refused(&error);
                }
            }
            2 => return self.give_up(unit),
            _ => {}
        }
        for index in index..count {
            if let Err(error) = unit.append(&payload(unit.id(), index, count)) {
                return self.refused(&error);
            }
        }
        match self.rng.below(12) {
            0..4 => self.commit(unit),
            4..6 => self.submit(unit),
            6..10 => self.prepare(unit),
            10 => self.decide(unit),
            _ => self.give_up(unit),
        }
    }

    /// A unit that has written some of its records; how many, and of how many.
    fn some(&mut self) -> Result<Option<(UnitOfWork, u64, u64)>, Over> {
        let mut unit = match self.log.begin() {
            Ok(unit) => unit,
            Err(error) => return self.refused(&error).map(|()| None),
        };
        self.say(unit.id(), Said::Begun);
        let count = 1 + self.rng.below(5);
        let first = self.rng.below(count);
        for index in 0..first {
            if let Err(error) = unit.append(&payload(unit.id(), index, count)) {
                return self.refused(&error).map(|()| None);
            }
        }
        Ok(Some((unit, first, count)))
    }

    fn give_up(&mut self, unit: UnitOfWork) -> Step {
        let id = unit.id();
        self.say(id, Said::AsksToBackOut { stays: false });
        if self.rng.chance(1, 2) {
            drop(unit);
        } else if let Err(error) = unit.back_out() {
            return self.refused(&error);
        }
        self.say(id, Said::BackedOut);
        Ok(())
    }

    /// Takes note of how a commit ended.
    fn told(&self, unit: u64, told: Result<Lsn, CommitError>) -> Step {
        match told {
            Ok(lsn) => self.say(unit, Said::Committed(lsn)),
            Err(CommitError::BackedOut(error)) => {
                self.say(unit, Said::BackedOut);
                return self.refused(&error);
            }
            Err(CommitError::Unknown(_)) => return Err(Over),
        }
        Ok(())
    }

    /// The same for a unit in doubt: where nothing was decided it stays in doubt.
    fn told_of_doubt(&self, unit: u64, told: Result<Lsn, CommitError>) -> Step {
        match told {
            Err(CommitError::BackedOut(error)) => self.refused(&error),
            told => self.told(unit, told),
        }
    }

    fn commit(&self, unit: UnitOfWork) -> Step {
        let id = unit.id();
        self.say(id, Said::AsksToCommit { stays: false });
        self.told(id, unit.commit())
    }

    fn submit(&mut self, unit: UnitOfWork) -> Step {
        let id = unit.id();
        self.say(id, Said::AsksToCommit { stays: false });
        let ticket = match unit.submit() {
            Ok(ticket) => ticket,
            Err(error) => return self.told(id, Err(error)),
        };
        match self.rng.below(4) {
            0 => self.told(id, ticket.wait()),
            1 => self.told(id, block_on(ticket)),
            2 => {
                let (send, told) = std::sync::mpsc::channel();
                ticket.on_durable(move |told| drop(send.send(told)));
                self.told(id, told.recv().expect("a callback is called"))
            }
            // Nobody waits for it, and it happens all the same.
            _ => Ok(()),
        }
    }

    fn prepare(&mut self, unit: UnitOfWork) -> Step {
        let id = unit.id();
        // Some names are wanted by all threads.
        let gid = match self.rng.below(4) {
            0 => self.rng.below(3).to_le_bytes(),
            _ => id.to_le_bytes(),
        };
        self.say(id, Said::AsksToPrepare);
        let doubt = match unit.prepare(&gid) {
            Ok(doubt) => doubt,
            Err(refusal) => {
                let Some(unit) = refusal.unit else { return Err(Over) };
                self.refused(&refusal.error)?;
                return self.commit(unit);
            }
        };
        self.say(id, Said::Prepared);
        self.resolve(doubt)
    }

    fn resolve(&mut self, doubt: InDoubt) -> Step {
        let id = doubt.id();
        match self.rng.below(6) {
            0 | 1 => {
                self.say(id, Said::AsksToCommit { stays: false });
                self.told_of_doubt(id, doubt.commit())
            }
            2 => {
                self.say(id, Said::AsksToBackOut { stays: false });
                if let Err(error) = doubt.back_out() {
                    return self.refused(&error);
                }
                self.say(id, Said::BackedOut);
                Ok(())
            }
            3 if self.left < self.run.leaves() => {
                self.left += 1;
                drop(doubt);
                Ok(())
            }
            4 if self.run.discipline == Discipline::DeferredApply => {
                self.say(id, Said::AsksToBackOut { stays: true });
                match doubt.decide(Outcome::BackOut) {
                    Ok(decided) => {
                        self.say(id, Said::BackedOut);
                        self.end(decided)
                    }
                    Err(error) => self.refused(error.error()),
                }
            }
            _ => {
                self.say(id, Said::AsksToCommit { stays: true });
                match doubt.decide(Outcome::Commit) {
                    Ok(decided) => self.decided(id, Ok(decided)),
                    Err(error) => self.told_of_doubt(id, Err(error)),
                }
            }
        }
    }

    fn decide(&mut self, unit: UnitOfWork) -> Step {
        let id = unit.id();
        self.say(id, Said::AsksToCommit { stays: true });
        self.decided(id, unit.decide())
    }

    fn decided(&mut self, id: u64, told: Result<Decided, CommitError>) -> Step {
        match told {
            Ok(decided) => {
                self.say(id, Said::Committed(decided.lsn().unwrap()));
                self.end(decided)
            }
            Err(error) => self.told(id, Err(error)),
        }
    }

    fn end(&mut self, mut decided: Decided) -> Step {
        if self.rng.chance(1, 3) && self.left < self.run.leaves() {
            self.left += 1;
            return Ok(());
        }
        let id = decided.id();
        if self.rng.chance(1, 2) {
            // Work that remains; never delivered.
            drop(decided.append(b"told the others").map_err(|error| self.refused(&error)));
        }
        self.say(id, Said::AsksToEnd);
        match decided.end() {
            Ok(()) => self.say(id, Said::Ended),
            Err(error) => return self.refused(&error),
        }
        Ok(())
    }
}

/// Waits for a ticket as a runtime does.
fn block_on(ticket: Ticket) -> Result<Lsn, CommitError> {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut ticket = pin!(ticket);
    loop {
        match ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(told) => return told,
            Poll::Pending => std::thread::park(),
        }
    }
}
