//! The chain of a unit: its records linked backward, newest to oldest.
//!
//! A compensation record says what is left to undo: a walk over *effects* skips everything above
//! its `undo_next` (ARIES, Mohan et al. 1992), a walk over *records* skips nothing.

use crate::format::{Compensation, Kind, RecordHeader};
use crate::stream::RecordBuf;
use crate::{Error, ErrorKind, Lsn, Result};

/// Gives single records.
pub trait Fetch {
    /// Fetches the record at `lsn`.
    ///
    /// # Errors
    ///
    /// `Trimmed`, `NotFound`, or what is wrong with the record.
    fn fetch(&self, lsn: Lsn, into: &mut RecordBuf) -> Result<RecordHeader>;
}

/// A walk along a chain. One record is in memory at a time.
#[derive(Debug)]
pub struct Walk {
    unit: u64,
    next: Lsn,
    floor: Lsn,
    /// Records above this one were undone.
    skip_above: Lsn,
    effects: bool,
    buf: RecordBuf,
}

impl Walk {
    /// Every record of `unit` from `head` down to `floor`, fork records left out.
    #[must_use]
    pub fn records(unit: u64, head: Lsn, floor: Lsn) -> Self {
        let buf = RecordBuf::new();
        Self { unit, next: head, floor, skip_above: Lsn::MAX, effects: false, buf }
    }

    /// Only DATA that no compensation record has undone.
    #[must_use]
    pub fn effects(unit: u64, head: Lsn, floor: Lsn) -> Self {
        Self { effects: true, ..Self::records(unit, head, floor) }
    }

    /// Begins anew with another chain, and keeps what it has read: chains often lie side by side.
    fn restart(&mut self, unit: u64, head: Lsn, floor: Lsn) {
        (self.unit, self.next, self.floor) = (unit, head, floor);
        self.skip_above = Lsn::MAX;
    }

    /// Where the walk goes on, and above which position everything was undone.
    #[must_use]
    pub fn position(&self) -> (Lsn, Lsn) {
        (self.next, self.skip_above)
    }

    /// Goes on at a position that [`Walk::position`] gave.
    pub fn resume(&mut self, position: (Lsn, Lsn)) {
        (self.next, self.skip_above) = position;
    }

    /// The payload of the record that [`Walk::step`] gave last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.buf.payload()
    }

    /// The next older record; none at the end of the chain.
    ///
    /// # Errors
    ///
    /// What [`Fetch::fetch`] says; [`ErrorKind::Corrupt`] if the chain leads to a record of
    /// another unit, or does not lead backward.
    pub fn step(&mut self, source: &dyn Fetch) -> Result<Option<(Lsn, RecordHeader)>> {
        while !self.next.is_zero() && self.next >= self.floor {
            let lsn = self.next;
            let header = source.fetch(lsn, &mut self.buf).map_err(|error| self.gone(lsn, error))?;
            if header.unit != self.unit || header.prev >= lsn {
                let what = format!("the chain of unit {:#x} is broken", self.unit);
                return Err(Error::new(ErrorKind::Corrupt, what)
                    .at(lsn)
                    .advise("restore the file from a copy of the directory"));
            }
            self.next = header.prev;
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
}

impl Walk {
    /// A chain leads to records: where there is none, one was.
    fn gone(&self, lsn: Lsn, error: Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let what = format!("a record of unit {:#x} is damaged", self.unit);
        Error::new(ErrorKind::Corrupt, what)
            .at(lsn)
            .caused_by(error)
            .advise("restore the file from a copy of the directory")
    }
}

/// How many positions of a chain are in memory at once when it is read oldest first.
const WINDOW: usize = 1 << 16;

/// A chain's effects, oldest to newest.
///
/// The chain leads backward, so it is walked once to the end, remembering one position in every
/// window, and then window by window from the oldest on: memory is bounded by a window and sixteen
/// bytes for each window more. A chain of one window is walked once.
#[derive(Debug)]
pub struct Forward {
    walk: Walk,
    /// Where each window but those that were read starts, newest first.
    windows: Vec<(Lsn, Lsn)>,
    /// The window at hand, newest first.
    lsns: Vec<Lsn>,
    started: bool,
}

impl Forward {
    /// The effects of `unit` from `head` down to `floor`.
    #[must_use]
    pub fn new(unit: u64, head: Lsn, floor: Lsn) -> Self {
        Self {
            walk: Walk::effects(unit, head, floor),
            windows: Vec::new(),
            lsns: Vec::new(),
            started: false,
        }
    }

    /// Begins anew with the effects of another unit, and keeps what was read.
    pub fn restart(&mut self, unit: u64, head: Lsn, floor: Lsn) {
        self.walk.restart(unit, head, floor);
        self.windows.clear();
        self.lsns.clear();
        self.started = false;
    }

    /// The payload of the record that [`Forward::step`] gave last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.walk.payload()
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
        if self.lsns.is_empty() {
            let Some(window) = self.windows.pop() else { return Ok(None) };
            self.walk.resume(window);
            for _ in 0..WINDOW {
                let Some((lsn, _)) = self.walk.step(source)? else { break };
                self.lsns.push(lsn);
            }
        }
        let Some(lsn) = self.lsns.pop() else { return Ok(None) };
        Ok(Some((lsn, source.fetch(lsn, &mut self.walk.buf)?)))
    }

    /// Walks to the oldest record: its window is at hand then, and where the others start is
    /// known.
    fn survey(&mut self, source: &dyn Fetch) -> Result<()> {
        let mut start = self.walk.position();
        loop {
            let position = self.walk.position();
            let Some((lsn, _)) = self.walk.step(source)? else { return Ok(()) };
            if self.lsns.len() == WINDOW {
                self.windows.push(start);
                self.lsns.clear();
                start = position;
            }
            self.lsns.push(lsn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fetch, Forward, WINDOW};
    use crate::format::{Kind, RecordHeader};
    use crate::stream::RecordBuf;
    use crate::{Lsn, Result};
    use std::cell::Cell;

    /// A unit of so many records, at every eighth position; counts what it is asked for.
    #[derive(Default)]
    struct Chain {
        fetched: Cell<usize>,
    }

    fn at(record: usize) -> Lsn {
        Lsn::new(crate::format::wide(record) * 8)
    }

    impl Fetch for Chain {
        fn fetch(&self, lsn: Lsn, _: &mut RecordBuf) -> Result<RecordHeader> {
            self.fetched.set(self.fetched.get() + 1);
            let prev = Lsn::new(lsn.get() - 8);
            Ok(RecordHeader { unit: 7, prev, ..RecordHeader::of_log(Kind::Data, &[]) })
        }
    }

    #[test]
    fn a_chain_is_read_forward_over_any_number_of_windows() {
        for count in [0, 1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 2 * WINDOW + 5] {
            let source = Chain::default();
            let mut forward = Forward::new(7, at(count), Lsn::ZERO);
            for record in 1..=count {
                let step = forward.step(&source).unwrap();
                assert_eq!(step.map(|(lsn, _)| lsn), Some(at(record)), "of {count}");
            }
            assert!(forward.step(&source).unwrap().is_none());
            // Each record once to learn where it stands and once to be given; those of all
            // windows but the oldest once more.
            let walks = if count <= WINDOW { 2 } else { 3 };
            assert!(source.fetched.get() <= walks * count, "{} of {count}", source.fetched.get());
        }
    }
}
