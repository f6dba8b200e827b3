//! One move, as a pure state machine: what to do next, and what came of it.
//!
//! The move of GB2301910 in the form that was found to be sound:
//!
//! 1. Walk back to the earliest record that was not moved, noting positions. Crash: nothing
//!    changed. 2. Copy oldest to newest into extents. Crash: orphans, which no fork record names.
//! 3. Sync the extents, once a round. Crash: orphans still. 4. Append the fork record: `prev`
//!    leads to what stays (pointer 970), `sec` to the newest copy (960), `floor` says where the
//!    main log's part of the chain ends. Crash before it is durable: it does not exist, nor does
//!    anything behind it. 5. It is durable: trimming may pass the originals.
//!
//! A compaction copies a unit's extents to new ones by the same steps. So does a rebuilding, with
//! the originals in the place of extents that are lost: nothing old is freed or overwritten before
//! the new fork record is durable, and what is not whole gets none.

use crate::rebuild::{Next, Piece, Rebuild};
use siding_wal::format::{
    Extent, ExtentHead, Kind, Packer, RECORD_HEADER_LEN, RecordHeader, SPtr, wide,
};
use siding_wal::seeded;
use siding_wal::units::{Forked, Moving};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::VecDeque;
use std::sync::Arc;

/// An extent is closed once it is this long: what a reader holds in memory.
pub(crate) const EXTENT_BYTES: usize = 256 << 10;

/// What a move is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Move every record that is durable.
    Whole,
    /// Move the records up to one, oldest first. `next` is the oldest record behind it, if a
    /// segment directory says so, and the first LSN of its segment.
    UpTo {
        /// The newest record to move.
        upto: Lsn,
        /// Where the walk may begin.
        next: Option<(Lsn, Lsn)>,
    },
    /// Copy the unit's extents to new ones.
    Compact,
    /// Copy the unit's extents to new ones, and the originals of those that are lost.
    Rebuild,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Action {
    /// Read the record at this position; answer with [`Move::record`].
    Read(Lsn),
    /// Read this extent; answer with [`Move::extent`].
    ReadExtent(SPtr),
    /// Read the head of this extent; answer with [`Move::head`].
    ReadHead(SPtr),
    /// Append this extent to the secondary log; answer with [`Move::appended`].
    Append(Box<Packer>),
    /// Sync the secondary log; answer with [`Move::synced`].
    Sync,
    /// Append the fork record.
    Fork(Forked),
    /// There is nothing to move.
    Nothing,
}

#[derive(Debug)]
enum State {
    /// Step 1, at this position.
    Walk(Lsn),
    /// Step 1 of a compaction: the extents, newest first, and the next one.
    Trace(SPtr),
    /// Step 1 of a rebuilding.
    Search,
    /// What the older copies come to, before the first new one: the head of the newest says so.
    Behind(SPtr),
    /// Step 2.
    Copy,
    Appending,
    Sync,
    Fork,
    Nothing,
}

/// A move.
#[derive(Debug)]
pub struct Move {
    task: Task,
    moving: Moving,
    /// Only records below are moved: what is not durable may not be there after a crash.
    durable: Lsn,
    state: State,
    /// Where records are still to be read, oldest first.
    lsns: VecDeque<Lsn>,
    /// Extents still to be copied, oldest first.
    old: VecDeque<SPtr>,
    search: Option<Rebuild>,
    /// What comes behind both, oldest first.
    pieces: VecDeque<Piece>,
    /// How many records must come out, and their hash.
    total: Option<(u64, u64)>,
    /// The oldest original that takes the place of a lost copy.
    original: Option<Lsn>,
    successor: Option<Lsn>,
    packer: Packer,
    /// The newest extent, with the copies up to it and their hash.
    behind: Option<(SPtr, u64, u64)>,
    /// Every extent that was appended.
    appended: Vec<SPtr>,
    /// Records and bytes copied.
    copied: (u64, u64),
}

impl Move {
    /// A move of a unit as it stands, of what is durable.
    #[must_use]
    pub fn new(task: Task, moving: Moving, durable: Lsn) -> Self {
        let start = moving.start;
        let state = match task {
            Task::Whole => State::Walk(start.head),
            Task::UpTo { next, .. } => State::Walk(next.map_or(start.head, |(lsn, _)| lsn)),
            Task::Compact | Task::Rebuild if start.sec == SPtr::NONE => State::Nothing,
            Task::Rebuild => State::Search,
            Task::Compact => State::Trace(start.sec),
        };
        Self {
            task,
            moving,
            durable,
            state,
            lsns: VecDeque::new(),
            old: VecDeque::new(),
            search: (task == Task::Rebuild).then(|| Rebuild::new(moving)),
            pieces: VecDeque::new(),
            total: None,
            original: None,
            successor: None,
            packer: Packer::new(start.unit, moving.moves.saturating_add(1), None),
            behind: None,
            appended: Vec::new(),
            copied: (0, 0),
        }
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> u64 {
        self.moving.start.unit
    }

    /// What it is to do.
    #[must_use]
    pub fn task(&self) -> Task {
        self.task
    }

    /// Every extent that it has appended, oldest first.
    #[must_use]
    pub fn appended_extents(&self) -> &[SPtr] {
        &self.appended
    }

    /// Records and bytes that it has copied.
    #[must_use]
    pub fn copied(&self) -> (u64, u64) {
        self.copied
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Action {
        loop {
            match self.state {
                State::Walk(lsn) if self.walked_to_the_end(lsn) => self.collected(),
                State::Walk(lsn) => return Action::Read(lsn),
                State::Trace(at) if at == SPtr::NONE => self.state = State::Copy,
                State::Trace(at) => return Action::ReadExtent(at),
                State::Behind(at) => return Action::ReadHead(at),
                State::Search => match self.search.as_mut().map_or(Next::Done, Rebuild::next) {
                    Next::Extent(at) => return Action::ReadExtent(at),
                    Next::Record(lsn) => return Action::Read(lsn),
                    Next::Done => self.searched(),
                },
                State::Copy => {
                    if self.packer.encoded_len() >= EXTENT_BYTES {
                        return self.append();
                    }
                    if let Some(lsn) = self.lsns.front() {
                        return Action::Read(*lsn);
                    }
                    if let Some(at) = self.old.front() {
                        return Action::ReadExtent(*at);
                    }
                    match self.pieces.pop_front() {
                        Some(Piece::Extent(at)) => {
                            self.old.push_back(at);
                            continue;
                        }
                        Some(Piece::Originals(lsns)) => {
                            self.lsns = lsns;
                            continue;
                        }
                        None if !self.packer.is_empty() => return self.append(),
                        None if !self.is_whole() => {
                            self.state = State::Nothing;
                            continue;
                        }
                        None => {}
                    }
                    self.state = if seeded!(ForkBeforeSync) { State::Fork } else { State::Sync };
                }
                State::Sync => return Action::Sync,
                State::Fork => return self.fork(),
                State::Appending | State::Nothing => return Action::Nothing,
            }
        }
    }

    fn walked_to_the_end(&self, lsn: Lsn) -> bool {
        lsn.is_zero() || lsn < self.moving.start.floor
    }

    /// Step 1 is over.
    fn collected(&mut self) {
        self.state = match (self.moving.start.sec, self.moving.chain_hash) {
            _ if self.lsns.is_empty() => State::Nothing,
            (SPtr::NONE, _) => State::Copy,
            (sec, Some(hash)) => {
                self.start_behind(Some((sec, self.moving.secondary.0, hash)));
                State::Copy
            }
            (sec, None) => State::Behind(sec),
        };
    }

    /// The head that was to be read, if it can be: older copies that are lost keep no record on
    /// the main log. How many they are the table knows; their hash nobody does, and the chain goes
    /// on from zero.
    pub fn head(&mut self, head: Option<&ExtentHead>) {
        let State::Behind(at) = self.state else { return };
        let known = head.map(|head| (head.total_count, head.chain_hash));
        let (count, hash) = known.unwrap_or((self.moving.secondary.0, 0));
        self.start_behind(Some((at, count, hash)));
        self.state = State::Copy;
    }

    /// Step 1 of a rebuilding is over.
    fn searched(&mut self) {
        let needed = self.search.as_ref().is_some_and(Rebuild::is_needed);
        let found = self.search.take().filter(|_| needed).and_then(Rebuild::pieces);
        self.state = match found {
            Some((pieces, total)) => {
                let originals = pieces.iter().filter_map(Piece::oldest_original);
                self.original = originals.min();
                (self.pieces, self.total) = (pieces, Some(total));
                State::Copy
            }
            None => State::Nothing,
        };
    }

    /// Whether what was copied is what the last fork record says was moved.
    fn is_whole(&self) -> bool {
        let copied = self.behind.map(|(_, count, hash)| (count, hash));
        self.total.is_none() || self.total == copied
    }

    /// The record that was to be read, header and payload as they stand; both were verified.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if it is not of the unit, or the chain does not lead backward.
    pub fn record(&mut self, lsn: Lsn, header: &RecordHeader, record: &[u8]) -> Result<()> {
        if header.unit != self.unit() || header.prev >= lsn {
            if let (State::Walk(_), Task::UpTo { upto, next: Some(_) }) = (&self.state, self.task) {
                return self.distrust(upto);
            }
            let what = format!("the chain of unit {:#x} is broken", self.unit());
            return Err(Error::new(ErrorKind::Corrupt, what).at(lsn));
        }
        match self.state {
            State::Walk(_) => self.walked(lsn, header),
            State::Search => {
                let payload = record.get(RECORD_HEADER_LEN..).unwrap_or_default();
                self.search.as_mut().map_or(Ok(()), |it| it.record(lsn, header, payload))
            }
            _ => {
                self.lsns.pop_front();
                self.pack(lsn, header, record);
                Ok(())
            }
        }
    }

    fn walked(&mut self, lsn: Lsn, header: &RecordHeader) -> Result<()> {
        let upto = match self.task {
            Task::UpTo { upto, next } => {
                // What a directory says is believed once the record agrees: it is the unit's
                // oldest in its segment.
                if next.is_some_and(|(at, start)| {
                    at == lsn && (header.kind == Kind::Fork || header.prev >= start)
                }) {
                    return self.distrust(upto);
                }
                upto
            }
            Task::Whole | Task::Compact | Task::Rebuild => Lsn::MAX,
        };
        if header.kind != Kind::Fork {
            let durable = if seeded!(CopyNotDurable) { Lsn::MAX } else { self.durable };
            if lsn <= upto && lsn < durable {
                self.lsns.push_front(lsn);
            } else {
                self.successor = Some(lsn);
            }
        }
        self.state = State::Walk(header.prev);
        Ok(())
    }

    /// The directory was wrong: the walk begins at the newest record.
    fn distrust(&mut self, upto: Lsn) -> Result<()> {
        self.task = Task::UpTo { upto, next: None };
        (self.successor, self.state) = (None, State::Walk(self.moving.start.head));
        self.lsns.clear();
        Ok(())
    }

    fn pack(&mut self, lsn: Lsn, header: &RecordHeader, record: &[u8]) {
        self.packer.push(lsn, record);
        self.copied.0 = self.copied.0.saturating_add(1);
        self.copied.1 = self.copied.1.saturating_add(wide(header.padded_len()));
    }

    /// The extent that was to be read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the extents do not lead backward.
    pub fn extent(&mut self, extent: &Arc<Extent>) -> Result<()> {
        match self.state {
            State::Search => {
                let search = self.search.as_mut();
                return search.map_or(Ok(()), |it| it.extent(Some(&extent.head), true));
            }
            State::Trace(at) => {
                self.old.push_front(at);
                self.state = State::Trace(extent.head.parent);
            }
            _ => {
                self.old.pop_front();
                for index in 0..extent.len() {
                    let Some(copied) = extent.get(index) else { break };
                    self.pack(copied.lsn, &copied.header, extent.record(copied));
                }
            }
        }
        Ok(())
    }

    /// The extent that was to be read is lost, and `head` is its head if that is not: true if
    /// there is another way.
    ///
    /// # Errors
    ///
    /// As [`Move::extent`].
    pub fn lost(&mut self, head: Option<&ExtentHead>) -> Result<bool> {
        match (&self.state, self.search.as_mut()) {
            (State::Search, Some(search)) => search.extent(head, false).map(|()| true),
            _ => Ok(false),
        }
    }

    fn start_behind(&mut self, behind: Option<(SPtr, u64, u64)>) {
        self.behind = behind;
        let linked =
            if seeded!(SecondForkNoLink) && self.appended.is_empty() { None } else { behind };
        let moves = self.moving.moves.saturating_add(1);
        self.packer = Packer::new(self.unit(), moves, linked);
    }

    fn append(&mut self) -> Action {
        self.state = State::Appending;
        let moves = self.moving.moves.saturating_add(1);
        let empty = Packer::new(self.unit(), moves, None);
        let packer = std::mem::replace(&mut self.packer, empty);
        let (count, hash) = packer.total();
        self.behind = Some((SPtr::NONE, count, hash));
        Action::Append(Box::new(packer))
    }

    /// Where the extent was appended.
    pub fn appended(&mut self, at: SPtr) {
        let (_, count, hash) = self.behind.unwrap_or_default();
        self.appended.push(at);
        self.start_behind(Some((at, count, hash)));
        self.state = State::Copy;
    }

    /// The record that was to be read is not there, or damaged: true if there is another way.
    pub fn unreadable(&mut self) -> bool {
        match (&self.state, self.task) {
            (State::Walk(_), Task::UpTo { upto, next: Some(_) }) => self.distrust(upto).is_ok(),
            _ => false,
        }
    }

    /// Every extent is durable.
    pub fn synced(&mut self) {
        self.state = State::Fork;
    }

    fn fork(&self) -> Action {
        let Some((sec, count, chain_hash)) = self.behind else { return Action::Nothing };
        let moves_floor = matches!(self.task, Task::Whole | Task::UpTo { .. });
        let before = if moves_floor { self.moving.secondary.1 } else { 0 };
        let bytes = before.saturating_add(self.copied.1);
        Action::Fork(Forked {
            sec,
            successor: self.successor,
            moves_floor,
            original: self.original,
            secondary: (count, bytes),
            chain_hash,
        })
    }
}
