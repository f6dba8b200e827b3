//! A copy of the disk against the notes.

use crate::Run;
use crate::notes::{Mark, Notes, State, Unit};
use crate::worker::payload;
use siding::disk::SystemClock;
use siding::{Discipline, InDoubt, Kind, Lsn, Outcome, Recovery};
use siding_sim::SimDisk;
use siding_wal::format::padded_record_len;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a restart finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    pub(crate) redo: Lsn,
    /// Units that redo delivers, and the position behind their COMMIT.
    pub(crate) delivered: BTreeMap<u64, Lsn>,
    pub(crate) in_doubt: BTreeSet<u64>,
    pub(crate) decided: BTreeMap<u64, Outcome>,
    in_flight: BTreeSet<u64>,
}

/// The records of a unit: all of them, in their order, as they were written.
fn assert_whole(unit: u64, records: &[Vec<u8>]) {
    let number = |at: usize| u64::from_le_bytes(records[0][at..at + 8].try_into().unwrap());
    assert!(!records.is_empty(), "{unit:#x} has no record");
    let count = number(16);
    assert_eq!(records.len() as u64, count, "{unit:#x} is there by half");
    for (index, record) in (0..).zip(records) {
        assert_eq!(*record, payload(unit, index, count), "{unit:#x} {index}");
    }
}

/// Opens a copy of the disk, and looks.
pub(crate) fn picture(run: &Run, disk: &SimDisk) -> Picture {
    let options = run.options().without_threads(Arc::new(SystemClock::new()));
    let recovery =
        options.open_on(Arc::new(disk.fork())).unwrap_or_else(|e| panic!("{run:?}: {e}"));
    let mut picture = Picture {
        delivered: match run.discipline {
            Discipline::DeferredApply => committed(&recovery),
            Discipline::RepeatHistory => repeated(&recovery),
        },
        in_doubt: in_doubt(&recovery.in_doubt()),
        decided: recovery.decided().iter().map(|unit| (unit.id(), unit.outcome())).collect(),
        in_flight: recovery.in_flight().iter().map(siding::InFlight::id).collect(),
        redo: Lsn::ZERO,
    };
    for unit in recovery.in_flight() {
        unit.undo(|record| Ok(record.payload().to_vec())).unwrap();
    }
    let log = recovery.finish().unwrap();
    picture.redo = log.positions().redo;
    log.abandon();
    picture
}

fn committed(recovery: &Recovery) -> BTreeMap<u64, Lsn> {
    let mut units: Vec<(u64, Lsn, Vec<Vec<u8>>)> = Vec::new();
    let mut committed = recovery.committed().unwrap();
    while let Some(record) = committed.next().unwrap() {
        let (unit, commit) = (record.unit(), record.commit().unwrap());
        if units.last().is_none_or(|(last, ..)| *last != unit) {
            let before = units.last().map_or(Lsn::ZERO, |(_, commit, _)| *commit);
            assert!(before < commit, "{unit:#x} is not in the order of commits");
            units.push((unit, commit, Vec::new()));
        }
        units.last_mut().unwrap().2.push(record.payload().to_vec());
    }
    units.iter().for_each(|(unit, _, records)| assert_whole(*unit, records));
    let delivered: BTreeMap<u64, Lsn> = units.iter().map(|(id, lsn, _)| (*id, *lsn)).collect();
    assert_eq!(delivered.len(), units.len(), "a unit is delivered twice");
    delivered
}

/// All history again; what it comes to is what was committed.
fn repeated(recovery: &Recovery) -> BTreeMap<u64, Lsn> {
    let mut effects: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut delivered = BTreeMap::new();
    let mut history = recovery.history().unwrap();
    while let Some(record) = history.next().unwrap() {
        let unit = record.unit();
        let mine = effects.entry(unit).or_default();
        match record.kind() {
            Kind::Data if !delivered.contains_key(&unit) => mine.push(record.payload().to_vec()),
            // It carries what it undoes.
            Kind::Compensation => assert_eq!(mine.pop().as_deref(), Some(record.payload())),
            Kind::Commit => {
                assert_whole(unit, mine);
                let len = padded_record_len(record.raw().len());
                delivered.insert(unit, record.lsn().plus(len as u64));
            }
            Kind::End if !delivered.contains_key(&unit) => {
                assert!(mine.is_empty(), "{unit:#x} is not undone whole");
            }
            _ => {}
        }
    }
    delivered
}

fn in_doubt(doubts: &[InDoubt]) -> BTreeSet<u64> {
    let mut gids = BTreeSet::new();
    for doubt in doubts {
        let effects = doubt.effects().unwrap().owned();
        let records: Vec<_> = effects.map(|record| record.unwrap().payload().to_vec()).collect();
        assert_whole(doubt.id(), &records);
        assert!(gids.insert(doubt.gid().to_vec()), "two units have the gid {:?}", doubt.gid());
    }
    doubts.iter().map(InDoubt::id).collect()
}

/// Opens the copy and holds it against what was said before it was made.
pub(crate) fn check(run: &Run, notes: &Notes, mark: &Mark, disk: &SimDisk) {
    let found = picture(run, disk);
    let (must, may) = (notes.at(mark), notes.at(&notes.mark()));
    let seen = found.delivered.keys().chain(&found.in_doubt).chain(found.decided.keys());
    for id in seen.chain(&found.in_flight) {
        assert!(may.contains_key(id), "{run:?}: nobody began {id:#x}");
    }
    for (id, must) in &must {
        let may = &may[id];
        if let Err(broken) = judge(&found, *id, must, may) {
            panic!("{run:?}: {id:#x}: {broken}: {must:?}, later {may:?}");
        }
    }
}

/// One unit: what was acknowledged holds, and what was not asked for did not happen.
fn judge(found: &Picture, id: u64, must: &Unit, may: &Unit) -> Result<(), String> {
    let delivered = found.delivered.get(&id).copied();
    let (doubt, decided) = (found.in_doubt.contains(&id), found.decided.get(&id).copied());
    let right = |holds: bool, what: &str| {
        let seen = format!("{what} (delivered {delivered:?}, decided {decided:?})");
        if holds { Ok(()) } else { Err(seen) }
    };
    // A commit that was acknowledged later may have become one that redo is behind.
    let passed = matches!(may.state, State::Committed(lsn) if lsn <= found.redo);
    match must.state {
        State::Committed(lsn) => {
            let due = (lsn > found.redo).then_some(lsn);
            right(delivered == due, "an acknowledged commit is not delivered")?;
            right(!doubt, "what was committed is in doubt")?;
            let stays = must.stays && !must.ended && !may.may_be_ended;
            right(!stays || decided == Some(Outcome::Commit), "it is not to be ended any more")?;
        }
        State::BackedOut => {
            right(delivered.is_none(), "what was backed out is delivered")?;
            right(!doubt, "what was backed out is in doubt")?;
            let stays = must.may_be_backed_out && must.stays && !must.ended && !may.may_be_ended;
            right(!stays || decided == Some(Outcome::BackOut), "it is not to be ended any more")?;
        }
        State::InDoubt => {
            let open = !may.may_be_committed && !may.may_be_backed_out;
            right(!open || doubt, "what is in doubt is forgotten")?;
            right(doubt || delivered.is_some() || passed || may.may_be_backed_out, "it is gone")?;
        }
        State::InFlight => {
            right(!doubt || may.may_be_in_doubt, "nobody prepared it")?;
        }
    }
    right(delivered.is_none() || may.may_be_committed, "nobody committed it")?;
    let ended = must.ended || !may.stays;
    right(decided.is_none() || !ended, "it was ended")?;
    right(decided != Some(Outcome::BackOut) || may.may_be_backed_out, "nobody backed it out")?;
    right(decided != Some(Outcome::Commit) || may.may_be_committed, "nobody decided it")
}
