//! A crowd: many threads on one small log, on a disk that is watched.
//!
//! Eight threads do all that units of work can do, with the smallest memory and segments, while
//! keypoints run and the redo position moves. What they asked for and what was acknowledged is
//! noted. In the middle the disk is copied as a power cut would leave it, calls of it fail, or
//! the power goes; then each copy is opened and held against the notes: what was acknowledged
//! before the copy was made is there, and nothing is there by half.
//!
//! `SIDING_CROWD_SEED` takes another seed, `SIDING_CROWD_ROUNDS` goes on for longer. A seed
//! repeats the calls of each thread, not how the threads meet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

mod check;
mod notes;
mod race;
mod worker;

use check::{check, picture};
use notes::Notes;
use siding::{Discipline, Log, Options, Recovery};
use siding_sim::SimDisk;
use siding_sim::disk::{Crash, Fault, Lasts};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use worker::Copy;

const THREADS: usize = 8;

/// What befalls a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// The call of this number fails, and perhaps all behind it.
    Fails(u64, Fault, Lasts),
    /// The power goes in the middle of the call of this number.
    Cut(u64),
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    seed: u64,
    discipline: Discipline,
    /// The most the log may take, in segments.
    segments: Option<u64>,
    trouble: Trouble,
    steps: u32,
}

impl Run {
    fn options(&self) -> Options {
        let options = Options::new()
            .segment_size(64 << 10)
            .ring_size(64 << 10)
            .keypoint_bytes(256 << 10)
            .discipline(self.discipline)
            .undo(|record| Ok(record.payload().to_vec()));
        match self.segments {
            Some(segments) => options.max_log_bytes(segments * (64 << 10)),
            None => options,
        }
    }

    /// How many units each thread may leave as they are. Such a unit keeps all log behind it.
    fn leaves(&self) -> u32 {
        if self.segments.is_some() { 0 } else { 8 }
    }

    /// The log on this disk, with threads of its own, not in use yet.
    fn open(&self, disk: &SimDisk) -> Recovery {
        self.options().open_on(Arc::new(disk.clone())).unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }

    /// The same in use; what was in flight is undone.
    fn log(&self, disk: &SimDisk) -> Log {
        let recovery = self.open(disk);
        for unit in recovery.in_flight() {
            unit.undo(|record| Ok(record.payload().to_vec())).unwrap();
        }
        recovery.finish().unwrap()
    }
}

/// Runs `work` on a thread; panics if it does not end: a call that is never woken.
fn ends<T: Send + 'static>(what: String, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel::<T>();
    let thread = std::thread::spawn(move || done.send(work()));
    match wait.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: a thread waits for ever"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => panic!("{what}: no result"),
        },
    }
}

/// Two lives of a log. In the second all that is in doubt is resolved, by several at once.
fn two_lives(run: Run) {
    let disk = SimDisk::new(run.seed);
    let log = run.log(&disk);
    let born = disk.calls();
    match run.trouble {
        Trouble::None => {}
        Trouble::Fails(call, fault, lasts) => disk.fail(born + call, fault, lasts),
        Trouble::Cut(call) => disk.cut_at(born + call),
    }
    let mut notes = Notes::new(THREADS + 1);
    let copies = worker::crowd(&run, &log, &disk, &notes);
    let clean = run.trouble == Trouble::None && run.seed.is_multiple_of(2);
    if clean {
        log.close().unwrap_or_else(|error| panic!("{run:?}: {error}"));
    } else {
        log.abandon();
    }
    drop(log);
    let troubled = run.trouble != Trouble::None;
    // A sync cannot be short.
    let always = troubled && !matches!(run.trouble, Trouble::Fails(_, Fault::Short, _));
    assert!(disk.troubles() > 0 || !always, "{run:?}: nothing happened");
    let committed = notes.committed();
    println!("{run:?}: {committed} committed, {} copies, {:?}", copies.len(), notes.refused());
    assert!(troubled || committed > 100, "{run:?}: {committed} were committed");
    let may_be_full = troubled || run.segments.is_some();
    assert!(may_be_full || notes.refused().full == 0, "{run:?}: {:?}", notes.refused());
    for copy in &copies {
        check(&run, &notes, &copy.mark, &copy.disk);
    }
    let left = match clean {
        true => disk.fork(),
        false => disk.crash(Crash::Random(run.seed)),
    };
    let last = Copy { mark: notes.mark(), disk: left };
    assert_eq!(run.open(&last.disk.fork()).report().clean, clean, "{run:?}");
    check(&run, &notes, &last.mark, &last.disk);
    notes.settle(&picture(&run, &last.disk));

    // The second life begins with what the first one left.
    let disk = last.disk;
    let log = run.log(&disk);
    race::resolve_all(&run, &log, &notes);
    log.abandon();
    let disk = disk.crash(Crash::Random(!run.seed));
    check(&run, &notes, &notes.mark(), &disk);
    assert!(picture(&run, &disk).in_doubt.is_empty(), "{run:?}: all was resolved");
}

fn rounds() -> u64 {
    std::env::var("SIDING_CROWD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn seed() -> u64 {
    std::env::var("SIDING_CROWD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn go(run: Run) {
    for round in 0..rounds() {
        let run = Run { seed: run.seed.wrapping_add(round.wrapping_mul(0x9e37_79b9)), ..run };
        ends(format!("{run:?}"), move || two_lives(run));
    }
}

const PLAIN: Run = Run {
    seed: 0,
    discipline: Discipline::DeferredApply,
    segments: None,
    trouble: Trouble::None,
    steps: 120,
};

#[test]
fn what_a_crowd_was_told_is_there_after_a_power_cut_at_any_time() {
    for index in 0..2 {
        go(Run { seed: seed() * 2 + index, ..PLAIN });
    }
}

#[test]
fn it_is_there_where_history_is_repeated() {
    for index in 0..2 {
        let discipline = Discipline::RepeatHistory;
        go(Run { seed: seed() * 10 + index, discipline, ..PLAIN });
    }
}

#[test]
fn a_log_that_is_full_every_now_and_then_refuses_and_loses_nothing() {
    for index in 0..2 {
        go(Run { seed: seed() * 20 + index, segments: Some(12), ..PLAIN });
    }
}

#[test]
fn when_calls_of_the_disk_fail_every_thread_is_told_and_nothing_is_lost() {
    let mut rng = siding_sim::Rng::new(seed());
    for fault in [Fault::Eio, Fault::Enospc, Fault::Short] {
        for lasts in [Lasts::Once, Lasts::ForEver] {
            let trouble = Trouble::Fails(rng.below(250), fault, lasts);
            go(Run { seed: rng.next_u64(), trouble, ..PLAIN });
        }
    }
}

#[test]
fn when_the_power_goes_in_the_middle_of_a_call_nothing_is_lost() {
    let mut rng = siding_sim::Rng::new(seed());
    for _ in 0..6 {
        let trouble = Trouble::Cut(rng.below(250));
        go(Run { seed: rng.next_u64(), trouble, ..PLAIN });
    }
}
