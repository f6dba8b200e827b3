//! Reading records of a log that is only looked at, and what it means if they vanish.

use super::ReadOnly;
use crate::steps::{Steps, scan_from};
use siding_fork::pool::Pool;
use siding_wal::chain::{Copies, Fetch};
use siding_wal::format::RecordHeader;
use siding_wal::read::{ControlState, control_state};
use siding_wal::stream::RecordBuf;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// A cursor over every record, in the order of the log.
#[derive(Debug)]
pub struct Reading {
    log: ReadOnly,
    steps: Steps,
}

impl ReadOnly {
    /// The oldest position that is kept now, as the control file says.
    pub(crate) fn oldest_now(&self) -> Lsn {
        match control_state(&*self.disk) {
            ControlState::Slot(slot) => slot.oldest,
            _ => Lsn::ZERO,
        }
    }

    /// What an error at `lsn` means: the owner may have trimmed what was being read.
    pub(crate) fn explain(&self, error: Error, lsn: Lsn) -> Error {
        let oldest = self.oldest_now();
        let reach = self.view.found.segments.number_of(oldest);
        if self.view.found.segments.number_of(lsn) >= reach {
            return error;
        }
        let what = format!("the log was trimmed while it was read (oldest is now {oldest})");
        Error::new(ErrorKind::Trimmed, what).at(lsn).advise("read again, from the oldest position")
    }
}

impl Fetch for ReadOnly {
    fn copies(&self, _: u64) -> Result<Arc<dyn Copies>> {
        Ok(Arc::<Pool>::clone(&self.pool))
    }

    fn fetch(&self, lsn: Lsn, into: &mut RecordBuf) -> Result<RecordHeader> {
        if lsn >= self.view.end {
            let what = "no record begins at this position";
            return Err(Error::new(ErrorKind::NotFound, what).at(lsn));
        }
        let segments = &self.view.found.segments;
        if lsn < self.view.analysis.bounds.oldest || segments.containing(lsn).is_none() {
            let what = "the record was trimmed: the log no longer reaches back this far";
            return Err(Error::new(ErrorKind::Trimmed, what).at(lsn));
        }
        let read = into.read(segments, self.incarnation(), lsn);
        read.map_err(|error| self.explain(error, lsn))
    }
}

impl Reading {
    pub(super) fn new(log: &ReadOnly, from: Lsn) -> Result<Self> {
        let view = &log.view;
        let oldest = view.analysis.bounds.oldest;
        if from < oldest && !from.is_zero() {
            let what = format!("the log no longer reaches back this far (oldest is {oldest})");
            return Err(Error::new(ErrorKind::Trimmed, what).at(from));
        }
        let from = from.max(oldest);
        let mut scan = scan_from(&view.found.segments, from)?;
        if view.trouble.is_none() {
            // What was there once and is not there now was trimmed, or is a loss; never the end.
            scan = scan.limit(view.end).known_durable(view.end);
        } else {
            // Up to the damage, and then what it is.
            scan = scan.known_durable(view.found.known_durable).closed_at(view.found.clean_end);
        }
        Ok(Self { log: log.clone(), steps: Steps::new(scan, from) })
    }

    /// The next record: where it stands, its header, its payload.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] if the owner trimmed what was being read; else what is wrong with
    /// the log. Nothing more follows.
    pub fn step(&mut self) -> Result<Option<(Lsn, RecordHeader, &[u8])>> {
        let position = self.steps.position();
        self.steps.step().map_err(|error| {
            let lsn = error.lsn().unwrap_or(position);
            self.log.explain(error, lsn)
        })
    }

    /// Looks again, and goes on behind what was read.
    ///
    /// # Errors
    ///
    /// As [`ReadOnly::refresh`].
    pub fn refresh(&mut self) -> Result<()> {
        self.log.refresh()?;
        let view = &self.log.view;
        if view.trouble.is_none() {
            self.steps.advance(&view.found.segments, view.end);
        }
        Ok(())
    }

    /// Bytes that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.steps.bytes_read()
    }
}
