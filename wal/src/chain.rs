//! The chain of a unit: its records linked backward, newest to oldest.
//!
//! A compensation record says what is left to undo: a walk over *effects* skips everything above
//! its `undo_next` (ARIES, Mohan et al. 1992), a walk over *records* skips nothing.

use crate::format::{Compensation, Extent, Kind, RecordHeader, SPtr};
use crate::stream::RecordBuf;
use crate::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// Gives single records.
pub trait Fetch {
    /// Fetches the record at `lsn`.
    ///
    /// # Errors
    ///
    /// `Trimmed`, `NotFound`, or what is wrong with the record.
    fn fetch(&self, lsn: Lsn, into: &mut RecordBuf) -> Result<RecordHeader>;

    /// Where the chain of `unit` begins now, if it lives: it may have been moved since somebody
    /// began to walk it.
    fn chain_now(&self, _unit: u64) -> Option<ChainStart> {
        None
    }

    /// Where the moved records of `unit` are read.
    ///
    /// # Errors
    ///
    /// `Missing` if there is no secondary log here.
    fn copies(&self, unit: u64) -> Result<Arc<dyn Copies>> {
        let what =
            format!("records of unit {unit:#x} stand on the secondary log, which is not here");
        Err(Error::new(ErrorKind::Missing, what)
            .advise("open the log with the directory of its secondary log"))
    }
}

/// Gives the copies of moved records: the secondary log.
pub trait Copies: Send + Sync + std::fmt::Debug {
    /// Reads and verifies the extent of `unit` at `at`.
    ///
    /// # Errors
    ///
    /// `Missing` or `Corrupt`, with unit, file, and which records are concerned.
    fn extent(&self, unit: u64, at: SPtr) -> Result<Arc<Extent>>;
}

/// Where a unit's chain begins, and where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChainStart {
    /// The unit.
    pub unit: u64,
    /// Its newest record on the main log.
    pub head: Lsn,
    /// Its oldest record on the main log that was not moved; head < floor: there is none.
    pub floor: Lsn,
    /// The newest extent with its moved records.
    pub sec: SPtr,
}

impl ChainStart {
    /// Where the part on the main log ends.
    fn floor(&self) -> Lsn {
        if crate::seeded!(NoSubtract) { Lsn::new(1) } else { self.floor }
    }

    /// Whether its records stand where those of the other one do.
    fn is_where(&self, other: &Self) -> bool {
        (self.floor, self.sec) == (other.floor, other.sec)
    }
}

/// Where a walk stands: on the main log, or at a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Main(Lsn),
    /// The extent, and how many of its copies are still to come; all, before it is read.
    Copies(SPtr, Option<usize>),
}

/// A walk along a chain, newest to oldest: on the main log down to the floor, fork records passed
/// over, then along the extents (GB2301910). One record, or one extent, is in memory at a time.
///
/// A unit may be moved while it is walked, its originals trimmed and its extents freed: then the
/// walk goes on along the chain as it is now.
#[derive(Debug)]
pub struct Walk {
    start: ChainStart,
    next: Link,
    /// All from here on was met, or written since the walk began.
    met: Lsn,
    /// The same at the moment when the chain was taken anew.
    below: Lsn,
    /// Records above this one were undone.
    skip_above: Lsn,
    /// Records up to this one are left out.
    above: Lsn,
    effects: bool,
    extent: Option<(SPtr, Arc<Extent>)>,
    buf: RecordBuf,
}

/// Where a walk was: [`Walk::resume`] goes on there.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    start: ChainStart,
    next: Link,
    met: Lsn,
    skip_above: Lsn,
}

impl Walk {
    /// Every record of the chain, fork records left out.
    #[must_use]
    pub fn records(start: ChainStart) -> Self {
        Self {
            start,
            next: Link::Main(start.head),
            met: start.head.plus(1),
            below: Lsn::MAX,
            skip_above: Lsn::MAX,
            above: Lsn::ZERO,
            effects: false,
            extent: None,
            buf: RecordBuf::new(),
        }
    }

    /// Only DATA that no compensation record has undone.
    #[must_use]
    pub fn effects(start: ChainStart) -> Self {
        Self { effects: true, ..Self::records(start) }
    }

    /// The same, as if the chain ended at `newest`: what was written later is left out, wherever
    /// it lies.
    #[must_use]
    pub fn up_to(mut self, newest: Lsn) -> Self {
        self.skip_above = newest;
        self
    }

    /// The same, as if the chain began behind `oldest`: that record and all before it are left out.
    #[must_use]
    pub fn above(mut self, oldest: Lsn) -> Self {
        self.above = oldest;
        self
    }

    /// Begins anew with another chain, and keeps what it has read: chains often lie side by side.
    fn restart(&mut self, start: ChainStart, newest: Lsn) {
        self.start = start;
        self.next = Link::Main(start.head);
        (self.met, self.below) = (start.head.plus(1), Lsn::MAX);
        self.skip_above = newest;
    }

    /// Where the walk goes on.
    #[must_use]
    pub fn position(&self) -> Position {
        let Self { start, next, met, skip_above, .. } = *self;
        Position { start, next, met, skip_above }
    }

    /// Goes on at a position that [`Walk::position`] gave.
    pub fn resume(&mut self, position: Position) {
        let same = position.start.is_where(&self.start);
        self.next = if same { position.next } else { Link::Main(self.start.head) };
        self.met = position.met;
        self.below = if same { Lsn::MAX } else { position.met };
        self.skip_above = position.skip_above;
    }

    /// The payload of the record that [`Walk::step`] gave last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.buf.payload()
    }

    /// The record that [`Walk::step`] gave last as it stood: header and payload.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        self.buf.record()
    }

    /// The next older record; none at the end of the chain.
    ///
    /// # Errors
    ///
    /// What [`Fetch::fetch`] says; [`ErrorKind::Corrupt`] if the chain leads to a record of
    /// another unit, or does not lead backward.
    pub fn step(&mut self, source: &dyn Fetch) -> Result<Option<(Lsn, RecordHeader)>> {
        while let Some((lsn, header)) = self.older(source)? {
            if header.kind == Kind::Fork {
                continue;
            }
            if !self.effects {
                return Ok(Some((lsn, header)));
            }
            if lsn > self.skip_above {
                continue;
            }
            match header.kind {
                Kind::Data => return Ok(Some((lsn, header))),
                Kind::Compensation => {
                    if let Ok(undone) = Compensation::decode(self.buf.payload()) {
                        self.skip_above = undone.undo_next.min(self.skip_above);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next older record, whatever it is.
    fn older(&mut self, source: &dyn Fetch) -> Result<Option<(Lsn, RecordHeader)>> {
        loop {
            match self.follow(source) {
                Ok(Some((lsn, header))) if lsn < self.below => {
                    self.met = lsn;
                    return Ok(Some((lsn, header)));
                }
                // Met before the unit was moved, or written since.
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) if self.turn(source) => drop(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// True if the unit was moved meanwhile: the walk begins anew, for what it has not met.
    fn turn(&mut self, source: &dyn Fetch) -> bool {
        let now = source.chain_now(self.start.unit);
        let Some(now) = now.filter(|now| !now.is_where(&self.start)) else { return false };
        (self.start, self.next, self.extent) = (now, Link::Main(now.head), None);
        self.below = self.met;
        true
    }

    /// The next record that the chain leads to.
    fn follow(&mut self, source: &dyn Fetch) -> Result<Option<(Lsn, RecordHeader)>> {
        loop {
            match self.next {
                Link::Main(lsn) if !lsn.is_zero() && lsn >= self.start.floor() => {
                    if lsn <= self.above {
                        return Ok(None);
                    }
                    return self.on_main(lsn, source).map(Some);
                }
                Link::Main(_) => self.next = Link::Copies(self.start.sec, None),
                Link::Copies(at, _) if at == SPtr::NONE => return Ok(None),
                Link::Copies(at, left) => {
                    let extent = self.load(at, source)?;
                    match left.unwrap_or_else(|| extent.len()).checked_sub(1) {
                        None => self.next = Link::Copies(extent.head.parent, None),
                        Some(index) => {
                            self.next = Link::Copies(at, Some(index));
                            let Some(copied) = extent.get(index) else { continue };
                            if copied.lsn <= self.above {
                                return Ok(None);
                            }
                            let found = (copied.lsn, copied.header);
                            self.buf.take_copy(extent, index);
                            return Ok(Some(found));
                        }
                    }
                }
            }
        }
    }

    fn on_main(&mut self, lsn: Lsn, source: &dyn Fetch) -> Result<(Lsn, RecordHeader)> {
        let header = source.fetch(lsn, &mut self.buf).map_err(|error| self.gone(lsn, error))?;
        if header.unit != self.start.unit || header.prev >= lsn {
            let what = format!("the chain of unit {:#x} is broken", self.start.unit);
            return Err(Error::new(ErrorKind::Corrupt, what)
                .at(lsn)
                .advise("restore the file from a copy of the directory"));
        }
        self.next = Link::Main(header.prev);
        Ok((lsn, header))
    }

    fn load(&mut self, at: SPtr, source: &dyn Fetch) -> Result<Arc<Extent>> {
        if let Some((held, extent)) = &self.extent
            && *held == at
            && extent.head.unit == self.start.unit
        {
            return Ok(Arc::clone(extent));
        }
        let extent = source.copies(self.start.unit)?.extent(self.start.unit, at)?;
        self.extent = Some((at, Arc::clone(&extent)));
        Ok(extent)
    }

    /// A chain leads to records: where there is none, one was.
    fn gone(&self, lsn: Lsn, error: Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let what = format!("a record of unit {:#x} is damaged", self.start.unit);
        Error::new(ErrorKind::Corrupt, what)
            .at(lsn)
            .caused_by(error)
            .advise("restore the file from a copy of the directory")
    }
}

/// How many records of a chain are held in memory at once when it is read oldest first.
const WINDOW: usize = 1 << 16;

/// A chain's effects, or all its records, oldest to newest.
///
/// The chain leads backward, so it is walked once to the end, remembering one position in every
/// window, and then window by window from the oldest on: memory is bounded by a window and a few
/// bytes for each window more.
#[derive(Debug)]
pub struct Forward {
    walk: Walk,
    /// Where each window starts, newest first; the one at hand is kept.
    windows: Vec<Position>,
    window: Option<Position>,
    /// The window at hand, newest first.
    links: Vec<(Lsn, Link)>,
    extent: Option<(SPtr, Arc<Extent>)>,
    buf: RecordBuf,
    started: bool,
}

impl Forward {
    /// The effects of a unit up to `newest`.
    #[must_use]
    pub fn new(start: ChainStart, newest: Lsn) -> Self {
        Self {
            walk: Walk::effects(start).up_to(newest),
            windows: Vec::new(),
            window: None,
            links: Vec::new(),
            extent: None,
            buf: RecordBuf::new(),
            started: false,
        }
    }

    /// Every record of a chain, fork records left out.
    #[must_use]
    pub fn records(start: ChainStart) -> Self {
        Self { walk: Walk::records(start), ..Self::new(start, Lsn::MAX) }
    }

    /// Begins anew with the effects of another unit, and keeps what was read.
    pub fn restart(&mut self, start: ChainStart, newest: Lsn) {
        self.walk.restart(start, newest);
        self.windows.clear();
        self.window = None;
        self.links.clear();
        self.started = false;
    }

    /// The payload of the record that [`Forward::step`] gave last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.buf.payload()
    }

    /// The next newer record; none behind the newest.
    ///
    /// # Errors
    ///
    /// As [`Walk::step`].
    pub fn step(&mut self, source: &dyn Fetch) -> Result<Option<(Lsn, RecordHeader)>> {
        if !self.started {
            self.started = true;
            self.survey(source)?;
        }
        if self.links.is_empty() {
            self.window = self.windows.pop();
            self.collect(source)?;
        }
        let Some((lsn, link)) = self.links.pop() else { return Ok(None) };
        let mut read = self.read(lsn, link, source);
        while read.is_err() && self.walk.turn(source) {
            // It was moved since the window was collected.
            self.collect(source)?;
            while self.links.last().is_some_and(|(older, _)| *older < lsn) {
                self.links.pop();
            }
            let Some((lsn, link)) = self.links.pop() else { break };
            read = self.read(lsn, link, source);
        }
        Ok(Some((lsn, read?)))
    }

    /// Walks the window at hand.
    fn collect(&mut self, source: &dyn Fetch) -> Result<()> {
        self.links.clear();
        let Some(window) = self.window else { return Ok(()) };
        self.walk.resume(window);
        for _ in 0..WINDOW {
            let Some((lsn, _)) = self.walk.step(source)? else { break };
            self.note(lsn);
        }
        Ok(())
    }

    /// The walk has come to this record, of the window at hand.
    fn note(&mut self, lsn: Lsn) {
        let link = match self.walk.next {
            Link::Copies(at, Some(index)) => Link::Copies(at, Some(index)),
            _ => Link::Main(lsn),
        };
        self.links.push((lsn, link));
    }

    fn read(&mut self, lsn: Lsn, link: Link, source: &dyn Fetch) -> Result<RecordHeader> {
        match link {
            Link::Copies(at, Some(index)) => self.copy(at, index, source),
            _ => source.fetch(lsn, &mut self.buf),
        }
    }

    fn copy(&mut self, at: SPtr, index: usize, source: &dyn Fetch) -> Result<RecordHeader> {
        let unit = self.walk.start.unit;
        let extent = match &self.extent {
            Some((held, extent)) if *held == at && extent.head.unit == unit => Arc::clone(extent),
            _ => source.copies(unit)?.extent(unit, at)?,
        };
        self.extent = Some((at, Arc::clone(&extent)));
        let header = extent.get(index).map(|copied| copied.header);
        self.buf.take_copy(extent, index);
        header
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "an extent has fewer copies than it had"))
    }

    /// Walks to the end of the chain. What it comes to last is the window to begin with.
    fn survey(&mut self, source: &dyn Fetch) -> Result<()> {
        loop {
            let position = self.walk.position();
            let Some((lsn, _)) = self.walk.step(source)? else { break };
            if self.links.len().is_multiple_of(WINDOW) {
                self.windows.push(position);
                self.links.clear();
            }
            self.note(lsn);
        }
        self.window = self.windows.pop();
        Ok(())
    }
}
