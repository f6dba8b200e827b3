//! A history: what happens to the table and to the model alike.

use crate::model::{Extents, Keypoint, Record, Records, SEGMENT};
use proptest::prelude::*;
use siding_wal::Lsn;
use siding_wal::format::{
    Kind, PreparePayload, RECORD_HEADER_LEN, RecordHeader, SPtr, UnitEntry, UnitState, flags,
};
use siding_wal::units::{Applied, Forked, Moving, Units};
use std::collections::{BTreeMap, BTreeSet};

/// What happens next. Small numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Begin,
    /// A record of a unit, and how long it is.
    Data(u8, u8),
    Compensate(u8),
    Prepare(u8),
    Commit(u8),
    Abort(u8),
    CommitEnd(u8),
    AbortEnd(u8),
    End(u8),
    /// A move of a unit begins, of so much of it.
    Move(u8, u8),
    /// A compaction begins.
    Compact(u8),
    /// A running move appends its fork record.
    Fork(u8),
    /// A running move is given up.
    GiveUp(u8),
    /// So much of what is not durable becomes so.
    Sync(u8),
    /// The next step of a keypoint.
    Keypoint(u8),
    /// A redo position is reported.
    Redo(u8),
    Trim,
    /// Directories below a segment are written.
    Forget(u8),
    /// So much of what is not durable is there afterwards.
    Crash(u8),
}

pub(crate) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let n = any::<u8>;
    let op = prop_oneof![
        8 => Just(Op::Begin),
        25 => (n(), n()).prop_map(|(unit, len)| Op::Data(unit, len)),
        3 => n().prop_map(Op::Compensate),
        4 => n().prop_map(Op::Prepare),
        4 => n().prop_map(Op::Commit),
        2 => n().prop_map(Op::Abort),
        3 => n().prop_map(Op::CommitEnd),
        3 => n().prop_map(Op::AbortEnd),
        4 => n().prop_map(Op::End),
        14 => (n(), n()).prop_map(|(unit, part)| Op::Move(unit, part)),
        4 => n().prop_map(Op::Compact),
        18 => n().prop_map(Op::Fork),
        2 => n().prop_map(Op::GiveUp),
        12 => n().prop_map(Op::Sync),
        16 => n().prop_map(Op::Keypoint),
        6 => n().prop_map(Op::Redo),
        6 => Just(Op::Trim),
        2 => n().prop_map(Op::Forget),
        4 => n().prop_map(Op::Crash),
    ];
    prop::collection::vec(op, 1..most)
}

/// A move that has begun.
#[derive(Clone, Debug)]
struct Running {
    moving: Moving,
    /// What it copies; none: it is a compaction.
    records: Option<Vec<Lsn>>,
    successor: Option<Lsn>,
}

/// A keypoint that is being written.
#[derive(Clone, Debug)]
struct Writing {
    begin: Lsn,
    redo: Lsn,
    todo: Option<Vec<u64>>,
    entries: Vec<UnitEntry>,
}

/// The table, and all that the model knows.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) table: Units,
    pub(crate) records: Records,
    pub(crate) extents: Extents,
    /// Units that began and have no record.
    pub(crate) blank: BTreeSet<u64>,
    pub(crate) end: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) oldest: Lsn,
    pub(crate) keypoints: Vec<Keypoint>,
    /// The table knows what is in segments from this one on.
    pub(crate) spans_from: u64,
    /// Units whose extents were freed.
    pub(crate) freed: BTreeSet<u64>,
    /// What was last seen of each unit.
    pub(crate) seen: BTreeMap<u64, (u32, Lsn, SPtr)>,
    redo: Lsn,
    moves: BTreeMap<u64, Running>,
    /// Behind the fork record of a compaction: extents that it replaced.
    replaced: Vec<(Lsn, Vec<SPtr>)>,
    writing: Option<Writing>,
    last_unit: u64,
}

impl History {
    pub(crate) fn new(repeat: bool) -> Self {
        let start = Lsn::new(64);
        let mut table = Units::default();
        table.set_segment_size(SEGMENT);
        Self {
            table,
            records: Records { all: Vec::new(), repeat },
            extents: Extents::default(),
            blank: BTreeSet::new(),
            end: start,
            durable: start,
            oldest: start,
            keypoints: Vec::new(),
            spans_from: 0,
            freed: BTreeSet::new(),
            seen: BTreeMap::new(),
            redo: Lsn::ZERO,
            moves: BTreeMap::new(),
            replaced: Vec::new(),
            writing: None,
            last_unit: 0,
        }
    }

    /// Does it, and compares.
    pub(crate) fn apply(&mut self, op: Op) -> Result<(), String> {
        use UnitState::{Aborted, BackingOut, Committed, InDoubt, InFlight};
        let open = [InFlight, Committed, Aborted].as_slice();
        let undecided = [InFlight, InDoubt].as_slice();
        match op {
            Op::Begin => {
                self.last_unit += 1;
                self.table.begin(self.last_unit, 7);
                self.blank.insert(self.last_unit);
            }
            Op::Data(n, len) => self.append(n, open, Kind::Data, 0, u64::from(len) % 64 * 8),
            Op::Compensate(n) => {
                self.append(n, &[InFlight, BackingOut], Kind::Compensation, 0, 8);
            }
            Op::Prepare(n) => self.append(n, &[InFlight], Kind::Prepare, 0, 40),
            Op::Commit(n) => self.append(n, undecided, Kind::Commit, 0, 32),
            Op::Abort(n) => self.append(n, undecided, Kind::Abort, 0, 32),
            Op::CommitEnd(n) => self.append(n, undecided, Kind::Commit, flags::END, 32),
            Op::AbortEnd(n) => self.append(n, undecided, Kind::Abort, flags::END, 32),
            Op::End(n) => {
                self.append(n, &[Committed, Aborted, BackingOut], Kind::End, 0, 0);
            }
            Op::Move(n, part) => self.begin_move(n, part)?,
            Op::Compact(n) => self.begin_compaction(n),
            Op::Fork(n) => self.fork(n)?,
            Op::GiveUp(n) => {
                let units: Vec<u64> = self.moves.keys().copied().collect();
                if let Some(unit) = choose(&units, n) {
                    self.moves.remove(&unit);
                    self.table.end_move(unit);
                }
            }
            Op::Sync(part) => self.sync(part)?,
            Op::Keypoint(n) => self.keypoint(n),
            Op::Redo(n) => {
                let below: Vec<Lsn> = self.records.all.iter().map(|it| it.next).collect();
                let below: Vec<Lsn> = below.into_iter().filter(|it| *it <= self.durable).collect();
                self.redo = self.redo.max(choose(&below, n).unwrap_or(self.redo));
            }
            Op::Trim => self.trim(),
            Op::Forget(n) => {
                let segment = u64::from(n) % (self.end.get() / SEGMENT + 1);
                self.table.forget_spans(segment);
                self.spans_from = self.spans_from.max(segment + 1);
                if !self.table.directory(segment).is_empty() {
                    return Err(format!("the table remembers segment {segment}"));
                }
            }
            Op::Crash(part) => self.crash(part)?,
        }
        self.check()
    }

    fn live(&self) -> Vec<u64> {
        let mut live: Vec<u64> = self.table.iter().map(|(unit, _)| unit).collect();
        live.sort_unstable();
        live
    }

    fn append(&mut self, n: u8, states: &[UnitState], kind: Kind, flags: u8, len: u64) {
        let mut units = self.live();
        units.retain(|unit| states.contains(&self.table.get(*unit).unwrap().state));
        let Some(unit) = choose(&units, n) else { return };
        let entry = self.table.get(unit).unwrap();
        let lsn = self.end;
        let next = lsn.plus(u64::try_from(RECORD_HEADER_LEN).unwrap().next_multiple_of(8) + len);
        let gid = unit.to_le_bytes().to_vec();
        let gid = if kind == Kind::Prepare { gid } else { Vec::new() };
        let first = if entry.first.is_zero() { lsn } else { entry.first };
        let payload = match kind {
            Kind::Prepare => PreparePayload { gid: gid.clone(), first, ..Default::default() },
            _ => PreparePayload::default(),
        };
        let record = Record {
            lsn,
            next,
            unit,
            kind,
            flags,
            prev: entry.head,
            payload: payload.encode(),
            fork: None,
            decision: (entry.live_low().min(lsn), entry.sec),
        };
        let repeat_history = self.records.repeat;
        let applied = Applied { lsn, next, kind, flags, gid: &gid, repeat_history };
        self.table.appended(unit, &applied, 1);
        if record.ends() {
            self.moves.remove(&unit);
        }
        self.blank.remove(&unit);
        self.records.all.push(record);
        self.end = next;
    }

    fn append_of_log(&mut self, kind: Kind) -> (Lsn, Lsn) {
        let (lsn, next) = (self.end, self.end.plus(56));
        self.end = next;
        self.records.all.push(Record {
            lsn,
            next,
            unit: 0,
            kind,
            flags: 0,
            prev: Lsn::ZERO,
            payload: Vec::new(),
            fork: None,
            decision: (Lsn::MAX, SPtr::NONE),
        });
        (lsn, next)
    }

    fn begin_move(&mut self, n: u8, part: u8) -> Result<(), String> {
        let Some(unit) = choose(&self.live(), n) else { return Ok(()) };
        let may = !self.blank.contains(&unit) && !self.moves.contains_key(&unit);
        let moving = self.table.begin_move(unit);
        if moving.is_some() != may {
            return Err(format!("a move of {unit} may begin: {may}"));
        }
        let Some(moving) = moving else { return Ok(()) };
        let told = self.records.tell(unit, self.end);
        let there: Vec<Lsn> = told.records.into_iter().filter(|lsn| *lsn >= told.low).collect();
        let durable = there.iter().filter(|lsn| **lsn < self.durable).count();
        let take = (durable * (usize::from(part) + 1)).div_ceil(256);
        if take == 0 {
            self.table.end_move(unit);
            return Ok(());
        }
        let records = Some(there[..take].to_vec());
        self.moves.insert(unit, Running { moving, records, successor: there.get(take).copied() });
        Ok(())
    }

    fn begin_compaction(&mut self, n: u8) {
        let mut units = self.live();
        units.retain(|unit| self.table.get(*unit).unwrap().sec != SPtr::NONE);
        let Some(unit) = choose(&units, n) else { return };
        if let Some(moving) = self.table.begin_move(unit) {
            self.moves.insert(unit, Running { moving, records: None, successor: None });
        }
    }

    fn fork(&mut self, n: u8) -> Result<(), String> {
        let units: Vec<u64> = self.moves.keys().copied().collect();
        let Some(unit) = choose(&units, n) else { return Ok(()) };
        let running = self.moves.remove(&unit).unwrap();
        let before = running.moving.start.sec;
        let moves_floor = running.records.is_some();
        let (parent, copies) = match running.records {
            Some(records) => (before, records),
            None => {
                let mut all = self.extents.copies(unit, before)?;
                all.reverse();
                (SPtr::NONE, all)
            }
        };
        let bytes: u64 = copies.iter().map(|lsn| self.records.at(*lsn).unwrap().bytes()).sum();
        let count = u64::try_from(copies.len()).unwrap();
        let (had, had_bytes) = if moves_floor { running.moving.secondary } else { (0, 0) };
        let old = if moves_floor { Vec::new() } else { self.extents.chain(unit, before)? };
        let sec = self.extents.add(unit, parent, copies);
        let forked = Forked {
            sec,
            successor: running.successor,
            moves_floor,
            original: None,
            secondary: (had + count, had_bytes + bytes),
            chain_hash: 0,
        };
        let fork = self.table.fork(unit, &forked).ok_or("no fork record for a live unit")?;
        let (lsn, next) = (self.end, self.end.plus(104));
        let prev = self.table.get(unit).unwrap().head;
        self.table.forked(unit, (lsn, next), &fork, None);
        self.end = next;
        self.replaced.push((next, old));
        self.records.all.push(Record {
            lsn,
            next,
            unit,
            kind: Kind::Fork,
            flags: 0,
            prev,
            payload: fork.encode(),
            fork: Some(fork),
            decision: (Lsn::MAX, SPtr::NONE),
        });
        Ok(())
    }

    /// The boundary of a record that lies so far into what is not durable.
    fn boundary(&self, part: u8) -> Lsn {
        let open: Vec<Lsn> =
            self.records.all.iter().map(|it| it.next).filter(|it| *it > self.durable).collect();
        let index = open.len() * usize::from(part) / 255;
        index.checked_sub(1).map_or(self.durable, |index| open[index])
    }

    /// The last keypoint that is durable.
    pub(crate) fn keypoint_at(&self, durable: Lsn) -> Option<&Keypoint> {
        self.keypoints.iter().rev().find(|it| it.next <= durable)
    }

    fn sync(&mut self, part: u8) -> Result<(), String> {
        let before = self.keypoint_at(self.durable).map(|it| it.next);
        self.durable = self.boundary(part);
        self.table.settle(self.durable);
        let after = self.keypoint_at(self.durable).map(|it| (it.next, it.redo));
        if let Some((next, redo)) = after
            && Some(next) != before
        {
            self.table.redo_carried(redo, self.durable);
        }
        let durable = self.durable;
        for (_, old) in self.replaced.extract_if(.., |(next, _)| *next <= durable) {
            self.extents.all.retain(|at, _| !old.contains(at));
        }
        self.free()
    }

    fn keypoint(&mut self, n: u8) {
        match self.writing.take() {
            None => {
                let redo = self.redo;
                let (begin, _) = self.append_of_log(Kind::KeypointBegin);
                self.writing = Some(Writing { begin, redo, todo: None, entries: Vec::new() });
            }
            Some(mut writing) => {
                let mut todo = writing.todo.unwrap_or_else(|| self.table.numbers());
                let rest = todo.split_off(todo.len().min(usize::from(n) % 4));
                let capture = |unit: u64| self.table.entry(unit, 1, writing.redo);
                writing.entries.extend(todo.into_iter().filter_map(capture));
                if rest.is_empty() {
                    let (_, next) = self.append_of_log(Kind::KeypointEnd);
                    let Writing { begin, redo, entries, .. } = writing;
                    self.keypoints.push(Keypoint { begin, next, redo, entries });
                } else {
                    self.writing = Some(Writing { todo: Some(rest), ..writing });
                }
            }
        }
    }

    fn trim(&mut self) {
        let Some(keypoint) = self.keypoint_at(self.durable) else { return };
        let low = self.table.low().map_or(Lsn::MAX, |(low, _)| low);
        let commits = self.commits_need(keypoint.redo);
        let point = keypoint.begin.min(keypoint.redo).min(low).min(commits);
        self.oldest = self.oldest.max(point);
    }

    /// What committed units at or above this redo position need.
    fn commits_need(&self, redo: Lsn) -> Lsn {
        let commits = self.records.all.iter().filter(|it| it.kind == Kind::Commit);
        let above = commits.filter(|it| it.next > redo && !self.records.repeat);
        above.map(|it| it.decision.0).min().unwrap_or(Lsn::MAX)
    }

    fn crash(&mut self, part: u8) -> Result<(), String> {
        let cut = self.boundary(part);
        self.records.all.retain(|it| it.next <= cut);
        (self.end, self.durable) = (cut, cut);
        self.keypoints.retain(|it| it.next <= cut);
        self.moves.clear();
        self.replaced.clear();
        self.seen.clear();
        self.blank.clear();
        self.writing = None;
        self.table = Units::default();
        self.table.set_segment_size(SEGMENT);
        let keypoint = self.keypoint_at(cut).cloned();
        let (mut from, mut redo) = (Lsn::ZERO, Lsn::ZERO);
        if let Some(keypoint) = keypoint {
            (from, redo) = (keypoint.begin, keypoint.redo);
            self.table.redo_carried(redo, Lsn::ZERO);
            for entry in keypoint.entries {
                self.table.restore(entry);
            }
        }
        self.redo = redo;
        self.spans_from = if from.is_zero() { 0 } else { from.get() / SEGMENT + 1 };
        if from < self.oldest && !from.is_zero() {
            return Err(format!("the keypoint at {from} was trimmed"));
        }
        let scan: Vec<Record> =
            self.records.all.iter().filter(|it| it.lsn >= from).cloned().collect();
        for record in scan {
            let len = u32::try_from(record.bytes()).unwrap();
            let Record { kind, flags, unit, prev, .. } = record;
            let header = RecordHeader { len, kind, flags, resource: 0, unit, prev, payload_crc: 0 };
            self.table.replay(record.lsn, &header, &record.payload, self.records.repeat);
        }
        self.table.recount(self.records.repeat);
        self.free()?;
        // The sweep: what nobody needs is gone.
        let mut needed = Vec::new();
        for (unit, sec) in self.table.extents() {
            needed.extend(self.extents.chain(unit, sec)?);
        }
        self.extents.all.retain(|at, _| needed.contains(at));
        Ok(())
    }
}

pub(crate) fn choose<T: Copy>(among: &[T], n: u8) -> Option<T> {
    among.get(usize::from(n).checked_rem(among.len())?).copied()
}
