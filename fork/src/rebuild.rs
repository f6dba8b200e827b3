//! Which copies of a unit can still be read, and which originals take the place of the rest.
//!
//! The extents are followed from the newest on. Where one is lost and its head is not, the head
//! says which originals to look for, and where the chain goes on. Where the head is lost too, the
//! chain goes on among the originals: back to where an older fork record says what it led to when
//! that record was written, or to the unit's first record. What comes out counts only if it has
//! the number of records, and the hash, that the last fork record says.

use siding_wal::format::{ExtentHead, ForkPayload, Kind, RecordHeader, SPtr};
use siding_wal::units::Moving;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::VecDeque;

/// A piece of a chain of moved records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// An extent that can be read.
    Extent(SPtr),
    /// Originals on the main log, oldest first.
    Originals(VecDeque<Lsn>),
}

impl Piece {
    /// The oldest original in it.
    pub(crate) fn oldest_original(&self) -> Option<Lsn> {
        match self {
            Self::Originals(lsns) => lsns.front().copied(),
            Self::Extent(_) => None,
        }
    }
}

/// What is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Extent(SPtr),
    Record(Lsn),
    /// Nothing: the pieces are together.
    Done,
}

/// A piece, and the originals that it stands for: from the first to the second.
#[derive(Debug)]
struct Found {
    piece: Piece,
    from: Lsn,
    upto: Lsn,
}

/// The search.
#[derive(Debug)]
pub(crate) struct Rebuild {
    moving: Moving,
    /// The extent that is followed now.
    trace: Option<SPtr>,
    /// Where the walk along the main log stands; zero: it is over.
    walk: Lsn,
    /// Newest first.
    found: Vec<Found>,
    /// The first piece that the walk has not passed.
    cursor: usize,
    /// Moved records above are found.
    bound: Lsn,
    /// Whether the last piece reaches to the unit's first record.
    open: bool,
    /// What older fork records say, newest first: all records below were moved, to the extent.
    older: VecDeque<(Lsn, SPtr)>,
    /// What the last fork record says of all moved records.
    total: Option<(u64, u64)>,
    lost: bool,
}

fn before(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.get().saturating_sub(1))
}

impl Rebuild {
    pub(crate) fn new(moving: Moving) -> Self {
        Self {
            moving,
            trace: Some(moving.start.sec),
            walk: moving.start.head,
            found: Vec::new(),
            cursor: 0,
            bound: before(moving.start.floor),
            open: false,
            older: VecDeque::new(),
            total: None,
            lost: false,
        }
    }

    pub(crate) fn next(&mut self) -> Next {
        // What leads to records that are found already is of no use.
        while self.older.front().is_some_and(|(floor, _)| before(*floor) > self.bound) {
            self.older.pop_front();
        }
        if self.open
            && let Some((floor, _)) = self.older.front()
            && !self.walk.is_zero()
            && self.walk < *floor
        {
            self.turn_off();
        }
        match self.trace {
            Some(at) if at != SPtr::NONE => return Next::Extent(at),
            _ => self.trace = None,
        }
        let wanted = |found: &Found| matches!(found.piece, Piece::Originals(_));
        let lowest = self.found.iter().rev().find(|found| wanted(found));
        match lowest {
            Some(lowest) if !self.walk.is_zero() && (self.open || self.walk >= lowest.from) => {
                Next::Record(self.walk)
            }
            _ => Next::Done,
        }
    }

    /// The extent that was asked for, if it can be read; else its head, if that can.
    pub(crate) fn extent(&mut self, head: Option<&ExtentHead>, whole: bool) -> Result<()> {
        let at = self.trace.take().unwrap_or(SPtr::NONE);
        let upto = self.bound;
        let Some(head) = head else {
            self.lost = true;
            self.open = true;
            let piece = Piece::Originals(VecDeque::new());
            self.found.push(Found { piece, from: Lsn::ZERO, upto });
            return Ok(());
        };
        if head.newest > upto {
            let what = "the extents of the unit do not lead backward";
            return Err(Error::new(ErrorKind::Corrupt, what).at(head.newest));
        }
        self.lost |= !whole;
        let piece = if whole { Piece::Extent(at) } else { Piece::Originals(VecDeque::new()) };
        self.found.push(Found { piece, from: head.oldest, upto: head.newest });
        self.bound = before(head.oldest);
        self.trace = Some(head.parent);
        Ok(())
    }

    /// The record that was asked for; it was verified.
    pub(crate) fn record(&mut self, lsn: Lsn, header: &RecordHeader, payload: &[u8]) -> Result<()> {
        if header.kind == Kind::Fork {
            let fork = ForkPayload::decode(payload).map_err(|malformed| {
                let what = "a fork record holds an impossible value";
                Error::new(ErrorKind::Corrupt, what).at(lsn).caused_by(malformed)
            })?;
            self.fork(lsn, &fork);
            self.walk = header.prev;
            return Ok(());
        }
        self.walk = header.prev;
        while self.found.get(self.cursor).is_some_and(|found| lsn < found.from) {
            self.cursor = self.cursor.saturating_add(1);
        }
        if let Some(found) = self.found.get_mut(self.cursor)
            && let Piece::Originals(lsns) = &mut found.piece
            && lsn <= found.upto
        {
            lsns.push_front(lsn);
        }
        Ok(())
    }

    fn fork(&mut self, lsn: Lsn, fork: &ForkPayload) {
        if fork.moves == self.moving.moves {
            self.total = Some((fork.moved_count, fork.chain_hash));
        } else {
            let floor = if fork.floor.is_zero() { lsn.plus(1) } else { fork.floor };
            self.older.push_back((floor, fork.sec));
        }
    }

    /// From here on an older fork record knows the way.
    fn turn_off(&mut self) {
        let Some((floor, sec)) = self.older.pop_front() else { return };
        self.open = false;
        if let Some(last) = self.found.last_mut() {
            last.from = floor;
        }
        self.bound = before(floor);
        self.trace = Some(sec);
    }

    /// Whether anything is lost at all.
    pub(crate) fn is_needed(&self) -> bool {
        self.lost
    }

    /// The pieces, oldest first, with how many records they must have and their hash; none if no
    /// fork record says so.
    pub(crate) fn pieces(self) -> Option<(VecDeque<Piece>, (u64, u64))> {
        let total = self.total?;
        Some((self.found.into_iter().rev().map(|found| found.piece).collect(), total))
    }
}
