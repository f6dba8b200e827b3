//! Single records: from memory while they are recent, else from the file.

use super::Stream;
use crate::chain::{ChainStart, Copies, Fetch};
use crate::format::{Extent, RECORD_HEADER_LEN, RecordHeader, Seed, decode_record, size};
use crate::read::{ReadBuf, Runs, Segments, read_record};
use crate::write::{Batch, Recent};
use crate::{Error, ErrorKind, Lsn, Result};
use std::ops::Range;
use std::sync::Arc;

/// Holds one record at a time; reuse it for a walk.
#[derive(Debug, Default)]
pub struct RecordBuf {
    file: ReadBuf,
    memory: Vec<u8>,
    batch: Option<(Arc<Batch>, Lsn)>,
    place: Place,
}

#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    Memory,
    Batch(usize),
    File(Range<usize>),
    Copy(Arc<Extent>, usize),
}

impl RecordBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer for reads of these runs: they are read by chunks, everything else by itself.
    #[must_use]
    pub fn expecting(runs: Runs) -> Self {
        let mut buf = Self::new();
        buf.file.expect(runs);
        buf
    }

    /// The payload of the record that was fetched last.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.place {
            Place::Nowhere => &[],
            Place::Memory => self.memory.get(RECORD_HEADER_LEN..).unwrap_or_default(),
            Place::Batch(len) => {
                let bytes = self.batch.as_ref().and_then(|(batch, lsn)| batch.bytes_at(*lsn));
                let end = RECORD_HEADER_LEN.saturating_add(*len);
                bytes.and_then(|bytes| bytes.get(RECORD_HEADER_LEN..end)).unwrap_or_default()
            }
            Place::File(range) => self.file.get(range.clone()),
            Place::Copy(extent, index) => {
                extent.get(*index).map_or(&[], |copied| extent.payload(copied))
            }
        }
    }

    /// The record that was fetched last as it stood: header and payload.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        match &self.place {
            Place::Nowhere => &[],
            Place::Memory => &self.memory,
            Place::Batch(len) => {
                let bytes = self.batch.as_ref().and_then(|(batch, lsn)| batch.bytes_at(*lsn));
                let end = RECORD_HEADER_LEN.saturating_add(*len);
                bytes.and_then(|bytes| bytes.get(..end)).unwrap_or_default()
            }
            Place::File(range) => {
                self.file.get(range.start.saturating_sub(RECORD_HEADER_LEN)..range.end)
            }
            Place::Copy(extent, index) => {
                extent.get(*index).map_or(&[], |copied| extent.record(copied))
            }
        }
    }

    /// Holds a copy of an extent.
    pub(crate) fn take_copy(&mut self, extent: Arc<Extent>, index: usize) {
        self.place = Place::Copy(extent, index);
    }

    /// Reads a record from its file alone.
    ///
    /// # Errors
    ///
    /// As [`read_record`].
    pub fn read(&mut self, segments: &Segments, current: u32, lsn: Lsn) -> Result<RecordHeader> {
        self.place = Place::Nowhere;
        let (header, range) = read_record(segments, current, lsn, &mut self.file)?;
        self.place = Place::File(range);
        Ok(header)
    }

    fn take_open(&mut self, bytes: &[u8], seed: Seed, lsn: Lsn) -> Result<RecordHeader> {
        let (header, _) = decode_record(bytes, seed, lsn).map_err(|_| nothing(lsn))?;
        let whole = bytes.get(..size(header.len)).unwrap_or_default();
        self.memory.clear();
        self.memory.extend_from_slice(whole);
        self.place = Place::Memory;
        Ok(header)
    }

    fn take_batch(&mut self, batch: Arc<Batch>, seed: Seed, lsn: Lsn) -> Result<RecordHeader> {
        let bytes = batch.bytes_at(lsn).unwrap_or_default();
        let (header, _) = decode_record(bytes, seed, lsn).map_err(|_| nothing(lsn))?;
        self.place = Place::Batch(header.payload_len());
        self.batch = Some((batch, lsn));
        Ok(header)
    }
}

fn nothing(lsn: Lsn) -> Error {
    Error::new(ErrorKind::NotFound, "no record begins at this position").at(lsn)
}

impl Fetch for Stream {
    fn chain_now(&self, unit: u64) -> Option<ChainStart> {
        self.core().units.get(unit).map(|entry| entry.chain(unit))
    }

    fn copies(&self, unit: u64) -> Result<Arc<dyn Copies>> {
        self.secondary.get().cloned().ok_or_else(|| {
            let what = format!("unit {unit:#x} has moved records, and there is no secondary log");
            Error::new(ErrorKind::Missing, what)
        })
    }

    fn fetch(&self, lsn: Lsn, into: &mut RecordBuf) -> Result<RecordHeader> {
        into.place = Place::Nowhere;
        let closed = {
            let core = self.core();
            let seed = core.writer.seed();
            if lsn >= core.writer.end() {
                return Err(nothing(lsn));
            }
            match core.writer.recent(lsn) {
                Some(Recent::Open(bytes)) => return into.take_open(bytes, seed, lsn),
                Some(Recent::Closed(batch)) => Some((batch, seed)),
                None => None,
            }
        };
        if let Some((batch, seed)) = closed {
            return into.take_batch(batch, seed, lsn);
        }
        let trimmed = || self.bounds().oldest > lsn;
        let result = if trimmed() {
            Err(nothing(lsn))
        } else {
            into.read(&self.segments(), self.settings().incarnation, lsn)
        };
        // A segment may be trimmed and recycled while it is read: what was found then is nothing.
        match result {
            Err(_) if trimmed() => {
                let what = "the record was trimmed: the log no longer reaches back this far";
                Err(Error::new(ErrorKind::Trimmed, what).at(lsn))
            }
            other => other,
        }
    }
}
