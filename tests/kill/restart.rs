//! What a restart gives back, held to what was said.

use crate::model::{Fact, Model, Plan, payload};
use crate::options;
use siding::{Backend, InDoubt, Kind, Log, Lsn, Outcome, Recovery};
use siding_sim::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A unit that redo was handed: its id, behind its COMMIT, its records.
type Redone = (u64, Lsn, Vec<Vec<u8>>);

/// Opens a log whose owner was killed, checks everything, resolves some of it, and lets go of it
/// one way or another.
pub(crate) fn check(dir: &Path, backend: Backend, rng: &mut Rng, model: &mut Model) {
    if rng.chance(1, 2) && model.opened {
        let verification = Log::verify(dir, |_| ()).unwrap();
        assert!(verification.findings.is_empty(), "{:?}", verification.findings);
    }
    let recovery = options(backend).open(dir).unwrap();
    let all = redone(&recovery);
    recovery.abandon();

    let recovery = options(backend).open(dir).unwrap();
    assert_eq!(redone(&recovery), all, "a second restart gives the same");
    let recovery = recovery.from(model.redo).unwrap();
    let above: Vec<_> = all.iter().filter(|(_, commit, _)| *commit > model.redo).collect();
    assert_eq!(redone(&recovery).iter().collect::<Vec<_>>(), above, "from {:?}", model.redo);

    check_redone(&all, model);
    check_live(&recovery, model);
    for unit in recovery.in_flight() {
        let known = model.unit(unit.id());
        assert!(known.committed != Fact::Done && known.prepared != Fact::Done, "{known:?}");
    }
    settle(&all, &recovery, model);
    let log = recovery.finish().unwrap();
    use_it(&log, rng, model);
    model.opened = true;
    model.oldest = log.positions().oldest;
    match rng.below(3) {
        0 => log.close().unwrap(),
        1 => log.abandon(),
        _ => drop(log),
    }
}

fn redone(recovery: &Recovery) -> Vec<Redone> {
    let mut units: Vec<Redone> = Vec::new();
    let mut committed = recovery.committed().unwrap();
    while let Some(record) = committed.next().unwrap() {
        let (unit, commit) = (record.unit(), record.commit().unwrap());
        match units.last_mut() {
            Some((last, at, records)) if *last == unit => {
                assert_eq!(*at, commit);
                records.push(record.payload().to_vec());
            }
            _ => units.push((unit, commit, vec![record.payload().to_vec()])),
        }
    }
    units
}

/// Whole, once, in the order of commits, nothing that was not committed, all that was.
fn check_redone(all: &[Redone], model: &mut Model) {
    let mut seen = BTreeSet::new();
    let mut last = Lsn::ZERO;
    let mut counters = BTreeMap::new();
    for (id, commit, records) in all {
        assert!(seen.insert(*id), "{id:#x} is there twice");
        assert!(*commit > last, "{id:#x} at {commit} is out of order");
        last = *commit;
        let unit = model.unit(*id);
        assert!(unit.committed != Fact::No, "{id:#x} never was committed: {unit:?}");
        assert!(unit.commit.is_none_or(|known| known == *commit), "{id:#x}: {commit} {unit:?}");
        let whole: Vec<_> = (0..unit.plan.count).map(|n| payload(*id, n, &unit.plan)).collect();
        assert!(*records == whole, "{id:#x} is not whole: {} records, {unit:?}", records.len());
        if unit.plan.plain {
            let before = counters.insert((unit.round, unit.plan.thread), unit.plan.serial);
            assert!(before.is_none_or(|before| before < unit.plan.serial), "{before:?} {unit:?}");
        }
    }
    for (id, unit) in &model.units {
        let above = unit.commit.is_some_and(|commit| commit > model.redo);
        assert!(!above || seen.contains(id), "the commit of {id:#x} is lost: {unit:?}");
    }
    model.delivered += u64::try_from(all.len()).unwrap();
}

/// Units in doubt and units that are decided: those that must be there, and no others.
fn check_live(recovery: &Recovery, model: &mut Model) {
    let mut doubts: BTreeMap<u64, InDoubt> =
        recovery.in_doubt().into_iter().map(|doubt| (doubt.id(), doubt)).collect();
    let mut decided: BTreeMap<u64, Outcome> =
        recovery.decided().iter().map(|unit| (unit.id(), unit.outcome())).collect();
    model.in_doubt += u64::try_from(doubts.len()).unwrap();
    model.decided += u64::try_from(decided.len()).unwrap();
    for (id, unit) in &model.units {
        let open = unit.committed == Fact::No && unit.backed_out == Fact::No;
        match doubts.remove(id) {
            Some(doubt) => {
                let over = unit.committed == Fact::Done || unit.backed_out == Fact::Done;
                assert!(unit.prepared != Fact::No && !over, "{id:#x} is in doubt: {unit:?}");
                check_chain(&doubt, &unit.plan);
            }
            None => assert!(
                unit.prepared != Fact::Done || !open,
                "{id:#x} is no longer in doubt: {unit:?}"
            ),
        }
        let done = unit.committed == Fact::Done || unit.backed_out == Fact::Done;
        match decided.remove(id) {
            Some(outcome) => {
                let asked = match outcome {
                    Outcome::Commit => unit.committed,
                    Outcome::BackOut => unit.backed_out,
                };
                let may = unit.stays && asked != Fact::No && unit.ended != Fact::Done;
                assert!(may, "{id:#x} is decided {outcome:?}: {unit:?}");
            }
            None => assert!(
                !(unit.stays && done && unit.ended == Fact::No),
                "{id:#x} is no longer decided: {unit:?}"
            ),
        }
    }
    assert!(doubts.is_empty() && decided.is_empty(), "nobody began {doubts:?} {decided:?}");
}

/// The records of a unit in doubt: all of them, readable from either end.
fn check_chain(doubt: &InDoubt, plan: &Plan) {
    let id = doubt.id();
    assert_eq!(doubt.gid(), id.to_le_bytes());
    let whole: Vec<_> = (0..plan.count).map(|index| payload(id, index, plan)).collect();
    let effects = doubt.effects().unwrap().owned().map(|it| it.unwrap().payload().to_vec());
    assert!(effects.eq(whole.iter().cloned()), "{id:#x} {plan:?}");
    let mut backward = doubt.records_backward().unwrap();
    assert_eq!(backward.next().unwrap().unwrap().kind(), Kind::Prepare);
    for expected in whole.iter().rev() {
        assert_eq!(backward.next().unwrap().unwrap().payload(), expected);
    }
    assert!(backward.next().unwrap().is_none());
}

/// What a restart showed is what happened: from here on it must stay so.
fn settle(all: &[Redone], recovery: &Recovery, model: &mut Model) {
    let doubts: BTreeSet<u64> = recovery.in_doubt().iter().map(InDoubt::id).collect();
    let decided: BTreeMap<u64, Outcome> =
        recovery.decided().iter().map(|unit| (unit.id(), unit.outcome())).collect();
    let redone: BTreeMap<u64, Lsn> = all.iter().map(|(id, commit, _)| (*id, *commit)).collect();
    let fact = |is: bool| if is { Fact::Done } else { Fact::No };
    for (id, unit) in &mut model.units {
        unit.commit = unit.commit.or(redone.get(id).copied());
        let outcome = decided.get(id);
        let committed = unit.commit.is_some() || outcome == Some(&Outcome::Commit);
        let doubt = doubts.contains(id);
        unit.committed = fact(committed);
        unit.prepared = fact(doubt);
        unit.backed_out = fact(!committed && !doubt);
        unit.ended = fact(outcome.is_none());
    }
}

/// Resolves and ends some of what was found, and goes on for a moment.
fn use_it(log: &Log, rng: &mut Rng, model: &mut Model) {
    for doubt in log.in_doubt() {
        let unit = model.unit(doubt.id());
        match rng.below(4) {
            0 => drop(doubt),
            1 => {
                doubt.back_out().unwrap();
                (unit.backed_out, unit.ended) = (Fact::Done, Fact::Done);
            }
            2 => {
                unit.commit = Some(doubt.commit().unwrap());
                (unit.committed, unit.ended) = (Fact::Done, Fact::Done);
            }
            _ => {
                let decided = doubt.decide(Outcome::Commit).unwrap();
                unit.commit = decided.lsn();
                (unit.committed, unit.stays, unit.ended) = (Fact::Done, true, Fact::No);
            }
        }
        if unit.committed == Fact::Done || unit.backed_out == Fact::Done {
            unit.prepared = Fact::No;
        }
    }
    for decided in log.decided() {
        if rng.chance(2, 3) {
            model.unit(decided.id()).ended = Fact::Done;
            decided.end().unwrap();
        }
    }
    for serial in 0..2 {
        let mut unit = log.begin().unwrap();
        let id = unit.id();
        // Rounds of the parent's own never meet those of a child.
        let plan = Plan { thread: u64::MAX, serial, count: 1, big: false, plain: false };
        model.begun(id, u64::MAX, plan.clone());
        unit.append(&payload(id, 0, &plan)).unwrap();
        let known = model.unit(id);
        if serial == 0 {
            known.commit = Some(unit.commit().unwrap());
            known.committed = Fact::Done;
        } else {
            unit.back_out().unwrap();
            known.backed_out = Fact::Done;
        }
    }
}
