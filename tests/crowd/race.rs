//! Several resolve what is in doubt, at the same time and each as it likes.

use crate::notes::{Notes, Said};
use crate::worker::payload;
use crate::{Run, THREADS};
use siding::{CommitError, Decided, Discipline, ErrorKind, Log, Lsn, Outcome};
use siding_sim::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Who won, by unit: the position of its COMMIT, or none.
type Won = Mutex<BTreeMap<u64, Option<Lsn>>>;

/// All that is in doubt is resolved: once each, and those who come late are told how.
pub(crate) fn resolve_all(run: &Run, log: &Log, notes: &Notes) {
    let (doubts, won) = (log.in_doubt().len(), Won::default());
    let lost = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (won, lost) = (&won, &lost);
            scope.spawn(move || {
                let rng = Rng::new(run.seed.wrapping_mul(7).wrapping_add(thread as u64));
                one(run, log, notes, thread, rng, (won, lost));
            });
        }
    });
    let won = won.into_inner().unwrap();
    assert_eq!(won.len(), doubts, "{run:?}: each unit is decided");
    for (unit, told) in lost.into_inner().unwrap() {
        let committed = won[&unit].is_some();
        let right = told.is_none_or(|told: bool| told == committed);
        assert!(right, "{run:?}: {unit:#x}: who lost was told {told:?}, it is {committed}");
    }
    let left = log.decided();
    let ended: BTreeSet<u64> = left.iter().map(Decided::id).chain(won.into_keys()).collect();
    for unit in &ended {
        notes.say(0, *unit, Said::AsksToEnd);
    }
    left.into_iter().for_each(|decided| decided.end().unwrap());
    for unit in &ended {
        notes.say(0, *unit, Said::Ended);
    }
}

type Lost = Mutex<Vec<(u64, Option<bool>)>>;

fn one(
    run: &Run,
    log: &Log,
    notes: &Notes,
    thread: usize,
    mut rng: Rng,
    (won, lost): (&Won, &Lost),
) {
    // There a unit is backed out only once it is undone.
    let repeats = run.discipline == Discipline::RepeatHistory;
    let mut doubts = log.in_doubt();
    while !doubts.is_empty() {
        let doubt = doubts.swap_remove(rng.index(doubts.len()));
        let id = doubt.id();
        let (commit, stays) = (rng.chance(1, 2), rng.chance(1, 3) && !repeats);
        let asks = match commit {
            true => Said::AsksToCommit { stays },
            false => Said::AsksToBackOut { stays },
        };
        notes.say(thread, id, asks);
        let told = match (commit, stays) {
            (true, true) => doubt.decide(Outcome::Commit).map(|decided| decided.lsn()),
            (false, true) => doubt.decide(Outcome::BackOut).map(|_| None),
            (true, false) => doubt.commit().map(Some),
            (false, false) => doubt.back_out().map(|()| None).map_err(CommitError::BackedOut),
        };
        match told {
            Ok(at) => {
                let before = won.lock().unwrap().insert(id, at);
                assert!(before.is_none(), "{id:#x} was decided twice");
                notes.say(thread, id, at.map_or(Said::BackedOut, Said::Committed));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::AlreadyDecided, "{error}");
                lost.lock().unwrap().push((id, error.error().committed()));
            }
        }
        // Others work meanwhile, if there is room.
        let mut unit = log.begin().unwrap();
        let id = unit.id();
        notes.say(thread, id, Said::Begun);
        if unit.append(&payload(id, 0, 1)).is_ok() {
            notes.say(thread, id, Said::AsksToCommit { stays: false });
            notes.say(thread, id, Said::Committed(unit.commit().unwrap()));
        }
    }
}
