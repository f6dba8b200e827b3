//! Any calls in any order, with the invariants asked after each.

use super::session::{Result, Session, Setup, Work};
use super::{asked, check, ended, invariants};
use crate::disk::Crash;
use crate::oracle::{Model, Seen};
use crate::{SimDisk, Sweep, Trouble};
use siding::{Discipline, Durability, Kind, Lsn, Outcome, Savepoint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A call. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// A unit begins, with a record of this length.
    Begin(u16),
    /// A unit writes so many bytes.
    Append(u8, u16),
    /// A unit marks a position.
    Savepoint(u8),
    /// A unit goes back to its last mark.
    RollBack(u8),
    /// A unit commits.
    Commit(u8),
    /// A unit is in doubt.
    Prepare(u8),
    /// A unit is backed out; true: by being dropped.
    BackOut(u8, bool),
    /// A unit in doubt is decided, true: to commit; and ended, true.
    Resolve(u8, bool, bool),
    /// A decided unit ends.
    End(u8),
    /// A live unit is moved.
    Fork(u8),
    /// A live unit is held, or let go.
    Hold(u8, bool),
    /// Units that fill a segment come and go.
    Fill,
    /// What is committed is stored, and the log is told.
    Store,
    /// A keypoint.
    Keypoint,
    /// So many milliseconds pass, and the background works.
    Tick(u16),
    /// Everything is made durable.
    Flush,
    /// The process is killed, all being durable.
    Restart,
    /// The log is closed.
    Close,
    /// The power goes; what is pending survives as this seed has it.
    PowerCut(u64),
}

/// What a restart answers, without positions: what an embedder can tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What redo hands out, in order.
    pub redo: Vec<(u64, Vec<u8>)>,
    /// The live units.
    pub live: BTreeMap<u64, Unit>,
}

/// What a restart says of a live unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    outcome: Option<Outcome>,
    gid: Option<Vec<u8>>,
    /// Newest to oldest.
    kinds: Vec<Kind>,
    /// Oldest to newest.
    effects: Vec<Vec<u8>>,
}

/// A unit that is written, its last mark, and its last record.
struct Written {
    work: Work,
    mark: Option<(Savepoint, Lsn)>,
    last: Lsn,
}

/// A history of a log.
#[derive(Clone, Debug)]
pub struct History {
    /// What happens.
    pub ops: Vec<Op>,
    /// The discipline.
    pub discipline: Discipline,
    /// Whether units are moved.
    pub moves: bool,
}

/// What a history came to.
#[derive(Debug, Default)]
pub struct Told {
    /// What each restart answered, that at the end included.
    pub answers: Vec<Answer>,
    /// Bytes of main log that are kept at the end, once everything is stored and a keypoint says
    /// so.
    pub retained: u64,
    /// Orders to move.
    pub moves: u64,
}

/// A history under way.
struct Life<'a> {
    session: &'a mut Session,
    works: Vec<Written>,
    told: Told,
    /// Power cuts are made here; else they are for a sweep to make.
    cuts: bool,
}

impl History {
    fn setup(&self) -> Setup {
        Setup {
            discipline: self.discipline,
            durability: Durability::Durable,
            segment: 64 << 10,
            ring: 64 << 10,
            max_log: None,
            moves: self.moves,
        }
    }

    /// Runs it on a healthy disk, with the invariants asked after each call.
    ///
    /// # Errors
    ///
    /// What is broken.
    pub fn run(&self) -> std::result::Result<Told, Trouble> {
        let disk = Arc::new(SimDisk::new(1));
        let mut session = Session::new(disk, self.setup(), Model::new(self.discipline));
        let mut life =
            Life { session: &mut session, works: Vec::new(), told: Told::default(), cuts: true };
        for (index, op) in [Op::Restart].iter().chain(&self.ops).enumerate() {
            life.step(*op).map_err(|trouble| at(index, *op, trouble))?;
        }
        life.step(Op::Restart)?;
        life.l1()?;
        let told = life.told;
        check::check(&mut session)?;
        Ok(told)
    }

    /// A sweep that crashes it at every boundary.
    #[must_use]
    pub fn sweep(&self, seed: u64) -> Sweep<'_, Model> {
        let setup = self.setup();
        let run = move |disk| {
            let mut session = Session::new(disk, setup, Model::new(self.discipline));
            let mut life = Life {
                session: &mut session,
                works: Vec::new(),
                told: Told::default(),
                cuts: false,
            };
            let ops = [Op::Restart].into_iter().chain(self.ops.iter().copied());
            let result = ops.into_iter().try_for_each(|op| life.step(op));
            drop(life.works);
            ended(session, result)
        };
        let check = move |disk, model: &mut Model| asked(disk, setup, model, check::check);
        Sweep::new("history", SimDisk::new(seed), run, check).seed(seed)
    }
}

fn at(index: usize, op: Op, trouble: Trouble) -> Trouble {
    let (Trouble::Broken(what) | Trouble::Refused(what)) = trouble;
    Trouble::Broken(format!("{index}: {op:?}: {what}"))
}

fn answer(seen: &Seen) -> Answer {
    let redo = seen.redo.iter().map(|it| (it.unit, it.payload.clone())).collect();
    let live = seen.live.iter().map(|(unit, live)| {
        let kinds = live.chain.iter().flatten().map(|(_, kind)| *kind).collect();
        let effects = live.effects.iter().flatten().map(|(_, bytes)| bytes.clone()).collect();
        let (outcome, gid) = (live.outcome, live.gid.clone());
        (*unit, Unit { outcome, gid, kinds, effects })
    });
    Answer { redo, live: live.collect() }
}

impl Life<'_> {
    fn step(&mut self, op: Op) -> Result<()> {
        self.apply(op)?;
        invariants::hold(self.session)
    }

    fn place(&self, number: u8) -> Option<usize> {
        usize::from(number).checked_rem(self.works.len())
    }

    fn live(&self, number: u8) -> Result<Option<u64>> {
        let units = self.session.log()?.units();
        let live: Vec<u64> =
            units.iter().filter(|it| !it.head.is_zero()).map(|it| it.unit).collect();
        Ok(usize::from(number).checked_rem(live.len()).and_then(|place| live.get(place).copied()))
    }

    fn apply(&mut self, op: Op) -> Result<()> {
        match op {
            Op::Begin(len) if self.works.len() < 6 => {
                let mut work = self.session.begin()?;
                let lsn = self.session.append(&mut work, usize::from(len))?;
                self.works.push(Written { work, mark: None, last: lsn });
            }
            Op::Begin(_) => {}
            Op::Append(unit, len) => {
                if let Some(place) = self.place(unit) {
                    let Written { work, last, .. } = &mut self.works[place];
                    *last = self.session.append(work, usize::from(len))?;
                }
            }
            Op::Savepoint(unit) => {
                if let Some(place) = self.place(unit) {
                    let Written { work, mark, last } = &mut self.works[place];
                    *mark = work.savepoint().map(|save| (save, *last));
                }
            }
            Op::RollBack(unit) => {
                if let Some(place) = self.place(unit)
                    && let Written { work, mark: Some((save, at)), .. } = &mut self.works[place]
                {
                    self.session.roll_back(work, save, *at)?;
                }
            }
            Op::Commit(_) | Op::Prepare(_) | Op::BackOut(..) => self.finish(op)?,
            Op::Resolve(..) | Op::End(_) => self.resolve(op)?,
            Op::Fork(unit) => {
                if let Some(unit) = self.live(unit)? {
                    self.session.fork(unit)?;
                    self.told.moves += 1;
                }
            }
            Op::Hold(unit, hold) => {
                let (unit, log) = (self.live(unit)?, self.session.log()?);
                match (unit, hold) {
                    (Some(unit), true) => log.hold(unit),
                    (Some(unit), false) => log.unhold(unit),
                    (None, _) => {}
                }
            }
            Op::Fill => {
                for _ in 0..2 {
                    self.session.transact(&[11_000, 11_000, 11_000])?;
                }
            }
            Op::Store => {
                // A move makes durable what it moves: with it and without, the same is stored.
                self.session.flush()?;
                self.session.store(self.session.model.durable());
                self.session.redo_from()?;
            }
            Op::Keypoint => self.session.keypoint()?,
            Op::Tick(ms) => self.session.tick(u64::from(ms))?,
            Op::Flush => self.session.flush()?,
            Op::Restart | Op::Close | Op::PowerCut(_) => self.reopen(op)?,
        }
        Ok(())
    }

    fn finish(&mut self, op: Op) -> Result<()> {
        let (Op::Commit(unit) | Op::Prepare(unit) | Op::BackOut(unit, _)) = op else {
            return Ok(());
        };
        let Some(place) = self.place(unit) else { return Ok(()) };
        let Written { work, .. } = self.works.swap_remove(place);
        match op {
            Op::Commit(_) => drop(self.session.commit(work)?),
            Op::Prepare(_) => drop(self.session.prepare(work)?),
            Op::BackOut(_, true) => {
                drop(work);
                self.session.heed();
            }
            _ => self.session.back_out(work)?,
        }
        Ok(())
    }

    fn resolve(&mut self, op: Op) -> Result<()> {
        let log = self.session.log()?;
        let (mut doubts, mut decided) = (log.in_doubt(), log.decided());
        match op {
            Op::Resolve(unit, commit, end) if !doubts.is_empty() => {
                let doubt = doubts.swap_remove(usize::from(unit) % doubts.len());
                let outcome = if commit { Outcome::Commit } else { Outcome::BackOut };
                match end {
                    true => self.session.resolve(doubt, outcome)?,
                    // Under repeat history the rest of it is the next restart's.
                    false => drop(self.session.decide(doubt, outcome)?),
                }
            }
            Op::End(unit) if !decided.is_empty() => {
                let decided = decided.swap_remove(usize::from(unit) % decided.len());
                self.session.end_unit(decided)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn reopen(&mut self, op: Op) -> Result<()> {
        if self.session.is_open() {
            match op {
                Op::Close => {
                    self.works.clear();
                    self.session.heed();
                    self.session.close()?;
                }
                Op::PowerCut(seed) if self.cuts => {
                    self.session.power_cut(Crash::Random(seed));
                }
                _ => {
                    self.session.flush()?;
                    let (units, tail) = {
                        let log = self.session.log()?;
                        (log.units(), log.positions().oldest)
                    };
                    self.session.kill();
                    if self.cuts {
                        invariants::i7_restart_rebuilds_the_table(self.session, &units, tail)?;
                    }
                }
            }
        }
        self.works.clear();
        if self.cuts {
            invariants::i12_older_records_never_validate(self.session)?;
        }
        let seen = self.session.look(Some(self.session.model.snapshot))?;
        self.told.answers.push(answer(&seen));
        self.session.open()
    }

    /// L1, and what has to be done for it.
    fn l1(&mut self) -> Result<()> {
        let units = self.session.log()?.units();
        for unit in units.iter().filter(|unit| !unit.head.is_zero()) {
            self.session.fork(unit.unit)?;
        }
        self.session.store(self.session.model.durable());
        self.session.redo_from()?;
        self.session.keypoint()?;
        let positions = self.session.log()?.positions();
        self.told.retained = positions.end.get() - positions.oldest.get();
        if !self.session.setup.moves {
            return Ok(());
        }
        invariants::l1_moved_units_hold_nothing(self.session)
    }
}
