//! A program's calls in any order, with crashes between them, held to a model.

use crate::files::options;
use arbitrary::{Arbitrary, Unstructured};
use siding::{Durability, Log, Lsn, Outcome, Recovery, Savepoint, UnitOfWork};
use siding_sim::disk::Crash;
use siding_sim::{Clock, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Arbitrary, Debug)]
enum Op {
    Append {
        unit: u8,
        len: u16,
    },
    AppendMore {
        unit: u8,
        len: u16,
    },
    Savepoint {
        unit: u8,
    },
    RollBack {
        unit: u8,
    },
    Commit {
        unit: u8,
    },
    Submit {
        unit: u8,
        wait: bool,
    },
    Prepare {
        unit: u8,
    },
    Decide {
        unit: u8,
    },
    BackOut {
        unit: u8,
    },
    Drop {
        unit: u8,
    },
    Resolve {
        doubt: u8,
        commit: bool,
        end: bool,
    },
    End {
        decided: u8,
    },
    Redo {
        back: u8,
    },
    Keypoint,
    Fork {
        unit: u8,
    },
    Hold {
        unit: u8,
        hold: bool,
    },
    /// A segment passes, and what nobody needs of it is trimmed.
    Pass,
    Tick {
        ms: u16,
    },
    Stop(Stop),
}

/// How a program ends.
#[derive(Arbitrary, Debug)]
enum Stop {
    Crash { how: u8, seed: u64 },
    Abandon,
    Close,
}

type Payloads = Vec<Vec<u8>>;

/// A unit of work that is written, and what of it counts.
struct Open {
    unit: UnitOfWork,
    payloads: Payloads,
    savepoint: Option<(Savepoint, usize)>,
}

/// A program with its log.
struct Program {
    disk: SimDisk,
    clock: Clock,
    durability: Durability,
    log: Option<Log>,
    open: Vec<Open>,
    ids: BTreeSet<u64>,
    /// By the end of their COMMITs.
    committed: BTreeMap<Lsn, (u64, Payloads)>,
    in_doubt: BTreeMap<u64, Payloads>,
    decided: BTreeMap<u64, Outcome>,
    redo: Lsn,
    written: u64,
}

/// Calls of the front door, and a crash now and then.
pub fn ops(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let (Ok(relaxed), Ok(large)) = (bool::arbitrary(&mut input), bool::arbitrary(&mut input))
    else {
        return;
    };
    let durability = if relaxed { Durability::Relaxed } else { Durability::Durable };
    let disk = SimDisk::new(1).with_write_unit(if large { 4096 } else { 512 });
    let mut program = Program {
        disk,
        clock: Clock::new(1_000_000),
        durability,
        log: None,
        open: Vec::new(),
        ids: BTreeSet::new(),
        committed: BTreeMap::new(),
        in_doubt: BTreeMap::new(),
        decided: BTreeMap::new(),
        redo: Lsn::ZERO,
        written: 0,
    };
    program.restart(Lsn::ZERO);
    for _ in 0..400 {
        if input.is_empty() {
            break;
        }
        let Ok(op) = Op::arbitrary(&mut input) else { break };
        program.step(&op);
    }
    let durable = program.log().positions().durable;
    program.crash(Crash::DropAll, durable);
}

impl Program {
    fn log(&self) -> &Log {
        self.log.as_ref().expect("it is open")
    }

    /// The unit in this place, a new one if there is none.
    fn unit(&mut self, place: u8) -> usize {
        let place = usize::from(place % 8);
        if place < self.open.len() {
            return place;
        }
        let unit = self.log().begin().expect("a unit begins");
        assert!(self.ids.insert(unit.id()), "the unit id {:#x} came twice", unit.id());
        self.open.push(Open { unit, payloads: Payloads::new(), savepoint: None });
        self.open.len() - 1
    }

    fn take(&mut self, place: u8) -> Open {
        let place = self.unit(place);
        self.open.swap_remove(place)
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Append { unit, len } | Op::AppendMore { unit, len } => self.append(unit, len),
            Op::Savepoint { unit } => {
                let place = self.unit(unit);
                let open = &mut self.open[place];
                open.savepoint = Some((open.unit.savepoint(), open.payloads.len()));
            }
            Op::RollBack { unit } => self.roll_back(unit),
            Op::Commit { unit } => {
                let open = self.take(unit);
                let id = open.unit.id();
                let lsn = open.unit.commit().expect("it commits");
                self.is_committed(lsn, id, open.payloads, self.durability);
            }
            Op::Submit { unit, wait } => {
                let open = self.take(unit);
                let id = open.unit.id();
                let ticket = open.unit.submit().expect("it commits");
                let lsn = ticket.lsn();
                if wait {
                    assert_eq!(ticket.wait().expect("it is durable"), lsn);
                }
                let promise = if wait { Durability::Durable } else { Durability::Relaxed };
                self.is_committed(lsn, id, open.payloads, promise);
            }
            Op::Prepare { unit } => {
                let open = self.take(unit);
                let id = open.unit.id();
                let _ = open.unit.prepare(&id.to_le_bytes()).expect("it prepares");
                self.in_doubt.insert(id, open.payloads);
            }
            Op::Decide { unit } => {
                let open = self.take(unit);
                let decided = open.unit.decide().expect("it is decided");
                self.decided.insert(decided.id(), Outcome::Commit);
                let lsn = decided.lsn().expect("it was committed here");
                self.is_committed(lsn, decided.id(), open.payloads, Durability::Durable);
            }
            Op::BackOut { unit } => self.take(unit).unit.back_out().expect("it is backed out"),
            Op::Drop { unit } => drop(self.take(unit)),
            Op::Resolve { doubt, commit, end } => self.resolve(doubt, commit, end),
            Op::End { decided } => {
                let mut all = self.log().decided();
                if !all.is_empty() {
                    let decided = all.swap_remove(usize::from(decided) % all.len());
                    self.decided.remove(&decided.id());
                    decided.end().expect("it ends");
                }
            }
            Op::Redo { back } => self.move_redo(back),
            Op::Fork { unit } => self.fork(unit),
            Op::Hold { unit, hold } => {
                if let Some(unit) = self.live(unit) {
                    if hold { self.log().hold(unit) } else { self.log().unhold(unit) }
                }
            }
            Op::Pass => self.pass(),
            Op::Keypoint => drop(self.log().keypoint().expect("a keypoint")),
            Op::Tick { ms } => {
                self.clock.advance(u64::from(ms));
                self.log().tick();
            }
            Op::Stop(ref stop) => self.stop(stop),
        }
    }

    /// A live unit with records.
    fn live(&self, place: u8) -> Option<u64> {
        let mut units = self.log().units();
        units.retain(|unit| !unit.head.is_zero());
        let place = usize::from(place).checked_rem(units.len())?;
        Some(units[place].unit)
    }

    /// Its chain is the same behind a move, and none of it is on the main log.
    fn fork(&self, unit: u8) {
        let Some(unit) = self.live(unit) else { return };
        let chain = || -> Vec<_> {
            let records = self.log().unit_records(unit).expect("it lives").owned();
            let records = records.map(|it| it.expect("a record"));
            records.map(|it| (it.lsn(), it.kind(), it.payload().to_vec())).collect()
        };
        let before = chain();
        self.log().fork(unit).expect("it is moved");
        assert_eq!(chain(), before, "the chain of a moved unit");
        let units = self.log().units();
        let info = units.iter().find(|it| it.unit == unit).expect("it lives");
        assert!(info.floor.is_none() && info.moves > 0, "{info:?}");
        assert_eq!(info.secondary_records, before.len() as u64, "{info:?}");
    }

    fn pass(&mut self) {
        for _ in 0..4 {
            let mut unit = self.log().begin().expect("a unit begins");
            let id = unit.id();
            assert!(self.ids.insert(id), "the unit id {id:#x} came twice");
            self.written += 1;
            let mut payload = self.written.to_le_bytes().to_vec();
            payload.resize(15_000, 7);
            unit.append(&payload).expect("it is written");
            let lsn = unit.commit().expect("it commits");
            self.is_committed(lsn, id, vec![payload], self.durability);
        }
        self.log().ensure_durable(self.log().positions().end).expect("it is durable");
        self.move_redo(0);
        self.log().keypoint().expect("a keypoint");
    }

    fn stop(&mut self, stop: &Stop) {
        match *stop {
            Stop::Crash { how, seed } => {
                let durable = self.log().positions().durable;
                let how = match how % 4 {
                    0 => Crash::DropAll,
                    1 => Crash::KeepAll,
                    _ => Crash::Random(seed),
                };
                self.crash(how, durable);
            }
            Stop::Abandon => {
                let durable = self.log().positions().durable;
                self.log().abandon();
                self.restart(durable);
            }
            Stop::Close => {
                self.open.clear();
                self.log().close().expect("it closes");
                self.restart(Lsn::MAX);
            }
        }
    }

    fn append(&mut self, unit: u8, len: u16) {
        let place = self.unit(unit);
        self.written += 1;
        let mut payload = self.written.to_le_bytes().to_vec();
        payload.resize(8 + usize::from(len) % 5000, len.to_le_bytes()[0]);
        let open = &mut self.open[place];
        open.unit.append(&payload).expect("it is written");
        open.payloads.push(payload);
    }

    fn roll_back(&mut self, unit: u8) {
        let place = self.unit(unit);
        let open = &mut self.open[place];
        let Some((savepoint, kept)) = open.savepoint else { return };
        let mut undone = Payloads::new();
        let undo = |record: &siding::Record<'_>| {
            undone.push(record.payload().to_vec());
            Ok(Vec::new())
        };
        open.unit.roll_back_to(&savepoint, undo).expect("it rolls back");
        let mut due = open.payloads.split_off(kept);
        due.reverse();
        assert_eq!(undone, due, "what is rolled back");
    }

    fn is_committed(&mut self, lsn: Lsn, unit: u64, payloads: Payloads, promise: Durability) {
        let durable = self.log().positions().durable;
        assert!(promise == Durability::Relaxed || lsn <= durable, "{lsn} above {durable}");
        let last = self.committed.last_key_value().map(|(last, _)| *last);
        assert!(last.is_none_or(|last| last <= lsn), "{lsn} behind {last:?}");
        let before = self.committed.insert(lsn, (unit, payloads));
        assert!(before.is_none(), "two commits end at {lsn}");
    }

    fn resolve(&mut self, doubt: u8, commit: bool, end: bool) {
        let mut all = self.log().in_doubt();
        if all.is_empty() {
            return;
        }
        let doubt = all.swap_remove(usize::from(doubt) % all.len());
        let id = doubt.id();
        let payloads = self.in_doubt.remove(&id).expect("it was prepared");
        let outcome = if commit { Outcome::Commit } else { Outcome::BackOut };
        let lsn = match (commit, end) {
            (true, true) => Some(doubt.commit().expect("it commits")),
            (false, true) => {
                doubt.back_out().expect("it is backed out");
                None
            }
            (_, false) => {
                let decided = doubt.decide(outcome).expect("it is decided");
                self.decided.insert(id, outcome);
                decided.lsn()
            }
        };
        assert_eq!(lsn.is_some(), commit);
        if let Some(lsn) = lsn {
            self.is_committed(lsn, id, payloads, Durability::Durable);
        }
    }

    fn move_redo(&mut self, back: u8) {
        let durable = self.log().positions().durable;
        let mut below = self.committed.range(..=durable).rev();
        let Some((lsn, _)) = below.nth(usize::from(back % 16)) else { return };
        let lsn = *lsn;
        self.log().redo_from(lsn).expect("the redo position moves");
        self.redo = self.redo.max(lsn);
    }

    fn crash(&mut self, how: Crash, durable: Lsn) {
        self.disk = self.disk.crash(how);
        self.restart(durable);
    }

    /// Opens the log anew; all commits up to `durable` are due.
    fn restart(&mut self, durable: Lsn) {
        self.open.clear();
        self.log = None;
        let options = options().durability(self.durability);
        let options = options.without_threads(Arc::new(self.clock.clone()));
        let recovery = options.open_on(Arc::new(self.disk.clone())).expect("the log opens");
        self.hold_redone(&recovery, durable);
        self.hold_live(&recovery);
        let recovery = recovery.from(self.redo).expect("the redo position is kept");
        let seen = redone(&recovery);
        let due = self.committed.range(self.redo.plus(1)..);
        let due: Vec<_> = due.filter(|(_, (_, payloads))| !payloads.is_empty()).collect();
        assert!(seen.iter().eq(due.iter().map(|(_, unit)| *unit)), "from {}", self.redo);
        self.log = Some(recovery.finish().expect("recovery finishes"));
    }

    /// A piece of all commits: it begins no later than redo asks, ends no earlier than what is
    /// durable. What it lacks at the end is lost.
    fn hold_redone(&mut self, recovery: &Recovery, durable: Lsn) {
        let seen = redone(recovery);
        let known: Vec<(Lsn, &(u64, Payloads))> = self
            .committed
            .iter()
            .filter(|(_, (_, payloads))| !payloads.is_empty())
            .map(|(lsn, unit)| (*lsn, unit))
            .collect();
        let owed = known.partition_point(|(lsn, _)| *lsn <= durable);
        let redo = known.partition_point(|(lsn, _)| *lsn <= self.redo);
        let first = seen.first().and_then(|seen| known.iter().position(|it| it.1 == seen));
        let start = if seen.is_empty() { owed } else { first.expect("somebody committed it") };
        let end = start + seen.len();
        assert!(start <= redo || seen.is_empty(), "{redo} is due, redo begins with {start}");
        assert!(end >= owed, "{owed} are owed, redo ends with {end}");
        let given = known.iter().skip(start).map(|(_, unit)| *unit);
        assert!(seen.iter().eq(given.take(seen.len())), "other records than were committed");
        assert!(!seen.is_empty() || owed <= redo, "redo gives nothing");
        // Above it everything is lost, commits of nothing too, but for those nobody can see.
        let lost = known.get(end).map(|(lsn, _)| *lsn);
        if let Some(lost) = lost {
            let gone = self.committed.split_off(&lost);
            assert!(gone.keys().all(|lsn| *lsn > durable), "{gone:?} was durable");
        }
        let end = recovery.report().end;
        self.committed.retain(|lsn, (_, payloads)| !payloads.is_empty() || *lsn <= end);
    }

    fn hold_live(&self, recovery: &Recovery) {
        let mut seen = BTreeMap::new();
        for doubt in recovery.in_doubt() {
            assert_eq!(doubt.gid(), doubt.id().to_le_bytes());
            let effects = doubt.effects().expect("its effects").owned();
            let effects = effects.map(|it| it.expect("an effect").payload().to_vec()).collect();
            seen.insert(doubt.id(), effects);
        }
        assert_eq!(seen, self.in_doubt, "units in doubt");
        let decided = recovery.decided();
        let decided: BTreeMap<_, _> = decided.iter().map(|it| (it.id(), it.outcome())).collect();
        assert_eq!(decided, self.decided, "units that are decided");
        for unit in recovery.in_flight() {
            assert!(self.ids.contains(&unit.id()), "nobody began {:#x}", unit.id());
        }
    }
}

fn redone(recovery: &Recovery) -> Vec<(u64, Payloads)> {
    let mut units: Vec<(u64, Payloads)> = Vec::new();
    let mut committed = recovery.committed().expect("it defers");
    let mut last = Lsn::ZERO;
    while let Some(record) = committed.next().expect("redo goes on") {
        let commit = record.commit().expect("it is committed");
        assert!(commit >= last, "redo goes in the order of commits");
        match units.last_mut() {
            Some((unit, payloads)) if *unit == record.unit() && commit == last => {
                payloads.push(record.payload().to_vec());
            }
            _ => units.push((record.unit(), vec![record.payload().to_vec()])),
        }
        last = commit;
    }
    units
}
