//! The reserve: whatever lives in a log that is full can be ended, in any order and any way.

use crate::files::start;
use crate::ops::Shape;
use proptest::prelude::*;
use siding_wal::Lsn;
use siding_wal::format::{COMPENSATION_HEAD, Discipline, Kind, UnitState};
use siding_wal::units::Units;
use siding_wal::write::{Class, Core, Draft, Placed, Refusal, Verdict, Writer};
use std::collections::BTreeMap;

const SEGMENT: u64 = 64 << 10;

/// What happens while there is room, and when there is none any more.
#[derive(Clone, Debug)]
enum Op {
    Begin,
    /// Many units, each brought to the same state.
    Many {
        count: usize,
        len: usize,
        state: u8,
    },
    Append {
        unit: usize,
        len: usize,
    },
    /// Undoes the newest record that nothing has undone, or, under deferred apply, all from it on.
    Undo {
        unit: usize,
    },
    Prepare {
        unit: usize,
    },
    Decide {
        unit: usize,
        commit: bool,
        end: bool,
    },
    End {
        unit: usize,
    },
    GiveUp {
        unit: usize,
    },
    Flush,
}

/// The core of a log, and the lengths of the records of each unit that can be undone.
struct World {
    core: Core,
    discipline: Discipline,
    undo: BTreeMap<u64, Vec<usize>>,
}

type Broken = String;

impl World {
    fn new(write_unit: u32, segments: u64, discipline: Discipline) -> Self {
        let shape = Shape {
            write_unit,
            segment_size: SEGMENT,
            ring_size: 64 << 10,
            number: 0,
            recycled: false,
        };
        let writer = Writer::new(&start(&shape, 1, 0, 0));
        let mut core = Core::new(writer, Units::default(), discipline, SEGMENT);
        core.use_block(1);
        core.set_terms(write_unit, segments as usize);
        core.set_hard_limit(Lsn::new(segments * SEGMENT), false);
        Self { core, discipline, undo: BTreeMap::new() }
    }

    /// Does all that the writer wants done.
    fn flush(&mut self) {
        let end = self.core.writer.end();
        self.core.writer.want(end);
        while let Some(action) = self.core.writer.next_action() {
            let _ = self.core.writer.complete(&action);
        }
        let durable = self.core.writer.durable();
        self.core.units.settle(durable);
    }

    /// A step that is tried until memory has room. False: the log is full for new work.
    fn room(
        &mut self,
        mut step: impl FnMut(&mut Core) -> Result<Placed, Refusal>,
    ) -> Result<bool, Broken> {
        for _ in 0..3 {
            match step(&mut self.core) {
                Ok(_) => return Ok(true),
                Err(Refusal::Ring) => self.flush(),
                Err(Refusal::Segment(Class::Ordinary)) => return Ok(false),
                Err(refusal) => {
                    let left = self.core.hard_limit().since(self.core.writer.end());
                    let owed = self.core.units.owed();
                    return Err(format!("{refusal:?}: {left} bytes left for {owed:?}"));
                }
            }
        }
        Err("a flush makes no room".into())
    }

    /// Of those in one of the states, the one this index picks.
    fn pick(&self, unit: usize, states: &[UnitState]) -> Option<u64> {
        let is = |unit: &u64| {
            self.core.units.get(*unit).is_some_and(|entry| states.contains(&entry.state))
        };
        let numbers: Vec<u64> = self.core.units.numbers().into_iter().filter(is).collect();
        numbers.get(unit % numbers.len().max(1)).copied()
    }

    fn step(&mut self, op: &Op) -> Result<(), Broken> {
        use UnitState::{Aborted, BackingOut, Committed, InDoubt, InFlight};
        match op {
            Op::Begin => drop(self.core.begin(0)),
            Op::Many { count, len, state } => {
                for _ in 0..*count {
                    self.one_of_many(*len, *state)?;
                }
            }
            Op::Append { unit, len } => {
                let Some(unit) = self.pick(*unit, &[InFlight, Committed]) else { return Ok(()) };
                self.append(unit, *len)?;
            }
            Op::Undo { unit } => {
                let Some(unit) = self.pick(*unit, &[InFlight]) else { return Ok(()) };
                self.undo_one(unit)?;
            }
            Op::Prepare { unit } => {
                let Some(unit) = self.pick(*unit, &[InFlight]) else { return Ok(()) };
                self.room(|core| core.prepare(unit, &unit.to_le_bytes(), 0, 0))?;
                self.flush();
            }
            Op::Decide { unit, commit, end } => {
                let states = [InFlight, InDoubt];
                let Some(unit) = self.pick(*unit, &states) else { return Ok(()) };
                self.decide(unit, *commit, *end)?;
            }
            Op::End { unit } => {
                let states = [Committed, Aborted, BackingOut];
                let Some(unit) = self.pick(*unit, &states) else { return Ok(()) };
                self.end(unit)?;
            }
            Op::GiveUp { unit } => {
                let Some(unit) = self.pick(*unit, &[InFlight]) else { return Ok(()) };
                self.core.give_up(unit, 0);
                self.flush();
                self.core.retry_dropped(0);
                if self.core.dropped() > 0 {
                    return Err("a unit that is dropped finds no room".into());
                }
            }
            Op::Flush => self.flush(),
        }
        Ok(())
    }

    /// False: the log is full for it.
    fn append(&mut self, unit: u64, len: usize) -> Result<bool, Broken> {
        let payload = vec![1; len];
        let draft = Draft::new(Kind::Data, 0, &payload);
        let live = self.core.units.get(unit).map(|it| it.state) == Some(UnitState::InFlight);
        let taken = self.room(|core| core.append(unit, &draft, Class::Ordinary))?;
        if taken && live {
            self.undo.entry(unit).or_default().push(len);
        }
        Ok(taken)
    }

    fn one_of_many(&mut self, len: usize, state: u8) -> Result<(), Broken> {
        let unit = self.core.begin(0).unwrap_or_default();
        if !self.append(unit, len)? {
            self.core.give_up(unit, 0);
            return Ok(());
        }
        if matches!(state, 1 | 2) {
            self.room(|core| core.prepare(unit, &unit.to_le_bytes(), 0, 0))?;
            self.flush();
        }
        if state >= 2 { self.decide(unit, state == 3, false) } else { Ok(()) }
    }

    /// New work takes all the room that it may, to the last bytes: one unit's, or that of many
    /// of which all but the last are committed.
    fn fill(&mut self, len: usize, committed: bool) -> Result<(), Broken> {
        let mut unit = self.core.begin(0).unwrap_or_default();
        while self.append(unit, len)? {
            if committed && self.core.writer.ahead() > len as u64 {
                self.decide(unit, true, true)?;
                unit = self.core.begin(0).unwrap_or_default();
            }
        }
        while self.append(unit, 0)? {}
        Ok(())
    }

    /// Units whose first record ends them: new work, that a full log refuses.
    fn blank(&mut self, count: usize, ways: &[u8]) -> Result<(), Broken> {
        for index in 0..count {
            let unit = self.core.begin(0).unwrap_or_default();
            if ways[index % ways.len()] & 1 == 0 {
                self.decide(unit, true, true)?;
            } else {
                self.room(|core| core.prepare(unit, &unit.to_le_bytes(), 0, 0))?;
            }
            self.flush();
            self.core.give_up(unit, 0);
        }
        Ok(())
    }

    fn undo_one(&mut self, unit: u64) -> Result<(), Broken> {
        let records = self.undo.entry(unit).or_default();
        let Some(len) = records.pop() else { return Ok(()) };
        let len = match self.discipline {
            Discipline::RepeatHistory => COMPENSATION_HEAD + len,
            // One record says from where on all is taken back.
            Discipline::DeferredApply => {
                records.clear();
                COMPENSATION_HEAD
            }
        };
        let payload = vec![0; len];
        let draft = Draft::new(Kind::Compensation, 0, &payload);
        let taken = self.room(|core| core.append(unit, &draft, Class::Reserved))?;
        if taken { Ok(()) } else { Err("a compensation counts as new work".into()) }
    }

    fn decide(&mut self, unit: u64, commit: bool, end: bool) -> Result<(), Broken> {
        let undo = self.discipline == Discipline::RepeatHistory && !commit;
        let how = Verdict { commit, end: end && !undo, ..Verdict::default() };
        let blank = self.core.units.get(unit).is_some_and(|unit| unit.is_blank());
        if !self.room(|core| core.decide(unit, &how, 0))? {
            // The only record of a unit is new work.
            return if blank { Ok(()) } else { Err("a decision counts as new work".into()) };
        }
        self.flush();
        Ok(())
    }

    /// Ends a unit that is decided; one that is backing out is undone before.
    fn end(&mut self, unit: u64) -> Result<(), Broken> {
        let state = self.core.units.get(unit).map(|entry| entry.state);
        while state == Some(UnitState::BackingOut)
            && self.undo.get(&unit).is_some_and(|it| !it.is_empty())
        {
            self.undo_one(unit)?;
        }
        let draft = Draft::new(Kind::End, 0, &[]);
        self.room(|core| core.append(unit, &draft, Class::Reserved))?;
        self.flush();
        Ok(())
    }

    /// Every unit is ended, each record alone in its batch; a keypoint comes in between.
    fn end_all(&mut self, ways: &[u8]) -> Result<(), Broken> {
        let mut numbers = self.core.units.numbers();
        numbers.sort_by_key(|unit| ways[*unit as usize % ways.len()].reverse_bits());
        for (index, unit) in numbers.iter().enumerate() {
            if index == numbers.len() / 2 {
                self.keypoint()?;
            }

            let Some(entry) = self.core.units.get(*unit) else { continue };
            if entry.is_blank() {
                self.core.give_up(*unit, 0);
                continue;
            }
            let way = ways[*unit as usize % ways.len()];
            if entry.state == UnitState::InFlight && way & 1 != 0 {
                self.room(|core| core.prepare(*unit, &unit.to_le_bytes(), 0, 0))?;
                self.flush();
            }
            let state = self.core.units.get(*unit).map(|entry| entry.state);
            if matches!(state, Some(UnitState::InFlight | UnitState::InDoubt)) {
                self.decide(*unit, way & 2 != 0, way & 4 != 0)?;
            }
            if self.core.units.get(*unit).is_some() {
                self.end(*unit)?;
            }
        }
        if self.core.units.is_empty() { Ok(()) } else { Err("units are left".into()) }
    }

    /// Its records, as long as they are for so many units.
    fn keypoint(&mut self) -> Result<(), Broken> {
        // Units without a record are not listed.
        let mut rest = 400 * self.core.units.iter().filter(|(_, unit)| !unit.is_blank()).count();
        let begin = vec![0; 8];
        self.room(|core| core.append_of_log(Kind::KeypointBegin, &begin))?;
        self.flush();
        loop {
            let chunk = vec![0; rest.min(1638)];
            self.room(|core| core.append_of_log(Kind::KeypointChunk, &chunk))?;
            rest -= chunk.len();
            if rest == 0 {
                break;
            }
        }
        self.room(|core| core.append_of_log(Kind::KeypointEnd, &[0; 64]))?;
        self.flush();
        Ok(())
    }
}

fn many() -> impl Strategy<Value = Op> {
    let count = prop_oneof![1_usize..60, 40_usize..60];
    let len = prop_oneof![0_usize..100, 0_usize..2_000];
    (count, len, 0_u8..4).prop_map(|(count, len, state)| Op::Many { count, len, state })
}

fn op() -> impl Strategy<Value = Op> {
    let unit = 0_usize..16;
    let len = prop_oneof![3 => 0_usize..200, 2 => 200_usize..4_000, 1 => 4_000_usize..16_385];
    prop_oneof![
        4 => Just(Op::Begin),
        2 => many(),
        12 => (unit.clone(), len).prop_map(|(unit, len)| Op::Append { unit, len }),
        2 => unit.clone().prop_map(|unit| Op::Undo { unit }),
        1 => unit.clone().prop_map(|unit| Op::Prepare { unit }),
        1 => (unit.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(unit, commit, end)| Op::Decide { unit, commit, end }),
        1 => unit.clone().prop_map(|unit| Op::End { unit }),
        1 => unit.prop_map(|unit| Op::GiveUp { unit }),
        1 => Just(Op::Flush),
    ]
}

fn discipline() -> impl Strategy<Value = Discipline> {
    prop_oneof![Just(Discipline::DeferredApply), Just(Discipline::RepeatHistory)]
}

/// How units are ended: a bit for PREPARE, one for COMMIT, one for END in the same record.
fn ways() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 1..20),
        // What takes most: three records, each alone.
        1 => Just(vec![1]),
        1 => Just(vec![3]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(1500)
    })]

    #[test]
    fn whatever_lives_in_a_full_log_can_be_ended(
        write_unit in prop::sample::select(vec![512_u32, 4096]),
        segments in 3_u64..6,
        discipline in discipline(),
        ops in prop::collection::vec(op(), 0..40),
        fill in prop::option::of((0_usize..16_385, any::<bool>())),
        blank in 0_usize..60,
        ways in ways(),
    ) {
        let mut world = World::new(write_unit, segments, discipline);
        for (index, op) in ops.iter().enumerate() {
            let step = world.step(op);
            step.map_err(|broken| TestCaseError::fail(format!("{index}: {op:?}: {broken}")))?;
        }
        let full = fill.map_or(Ok(()), |(len, committed)| world.fill(len, committed));
        let blank = full.and_then(|()| world.blank(blank, &ways));
        let end = blank.and_then(|()| world.end_all(&ways));
        end.map_err(|broken| TestCaseError::fail(format!("at the end: {broken}")))?;
    }
}
