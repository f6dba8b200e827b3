//! The batches of one segment, from bytes that come piece by piece. Pure.
//!
//! For who copies a segment: what is handed on is what was verified, byte for byte, and is read
//! once. It goes by the same rules as the scan, within the one segment.

use super::batch::{Bounds, Probe, Records, Running, probe, verify};
use crate::format::{BatchHeader, HEADER_LEN, LogId, Seed, SegmentHeader, size, wide};
use crate::{Error, ErrorKind, Lsn, Result};

/// What a walk hands out of each batch: its header, where it ends, its records.
pub type EachBatch<'a> = dyn FnMut(&BatchHeader, Lsn, Records<'_>) + 'a;

/// A walk over the batches of a segment, from its first byte on.
#[derive(Debug)]
pub struct Walk {
    id: Option<LogId>,
    header: Option<SegmentHeader>,
    running: Running,
    seed: Seed,
    /// Behind the last whole batch; before the first one, where that stands.
    position: Lsn,
    /// Bytes from where the walk stands on.
    held: Vec<u8>,
    /// Bytes that are passed over before those: padding.
    skip: usize,
}

impl Walk {
    /// A walk over a segment of the log `id`, or of whichever log its header names.
    #[must_use]
    pub fn new(id: Option<LogId>) -> Self {
        Self {
            id,
            header: None,
            running: Running { digest: Some(0), incarnation: 0, epoch: 0 },
            seed: Seed::new(&id.unwrap_or_default(), 0),
            position: Lsn::ZERO,
            held: Vec::new(),
            skip: 0,
        }
    }

    /// The segment's header, once its bytes were there.
    #[must_use]
    pub fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// Where the batches so far end; before the first, where that stands.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The digest of the last batch so far; before the first, what that must continue.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.running.digest.unwrap_or_default()
    }

    /// The bytes that follow on those so far.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ForeignFile`] if it is no segment, or of another log; [`ErrorKind::Corrupt`]
    /// where no batch goes on, with the position. Then the walk is over.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut EachBatch<'_>) -> Result<()> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = bytes.get(skipped..).unwrap_or_default();
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while self.skip == 0 {
            let Some(used) = self.one(rest, each)? else { break };
            self.skip = used.saturating_sub(rest.len());
            rest = rest.get(used..).unwrap_or_default();
        }
        self.held = rest.to_vec();
        Ok(())
    }

    /// The bytes are over: they end where a batch does, its padding included.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if they do not.
    pub fn finish(&self) -> Result<()> {
        if self.header.is_some() && self.held.is_empty() && self.skip == 0 {
            return Ok(());
        }
        Err(self.damaged("the segment ends within a batch"))
    }

    /// The header or a batch in front of `rest`; returns the bytes to its end with its padding.
    /// None: there are not enough of them.
    fn one(&mut self, rest: &[u8], each: &mut EachBatch<'_>) -> Result<Option<usize>> {
        let Some(header) = &self.header else {
            if rest.len() < HEADER_LEN {
                return Ok(None);
            }
            return self.begin(rest).map(Some);
        };
        let unit = header.write_unit;
        let bounds = Bounds {
            first: header.first_lsn(),
            end: header.first_lsn().plus(header.segment_size),
            write_unit: unit,
        };
        if rest.len() < size(unit) {
            return Ok(None);
        }
        let front = rest.get(..size(unit)).unwrap_or_default();
        let batch = match probe(front, &header.log_id, self.position, &self.running, &bounds) {
            Probe::Goes(batch) => batch,
            Probe::Stray(..) | Probe::Broken(_) | Probe::None(_) => {
                return Err(self.damaged("no batch goes on here"));
            }
        };
        let len = size(batch.len);
        let Some(bytes) = rest.get(..len) else { return Ok(None) };
        if batch.incarnation != self.running.incarnation {
            self.seed = Seed::new(&header.log_id, batch.incarnation);
        }
        if verify(bytes, &batch, self.seed).is_err() {
            return Err(self.damaged("a batch is damaged"));
        }
        self.position = batch.next(unit);
        self.running = Running {
            digest: Some(batch.digest),
            incarnation: batch.incarnation,
            epoch: batch.epoch,
        };
        each(&batch, self.position, Records::new(bytes, batch.lsn));
        Ok(usize::try_from(self.position.since(batch.lsn)).ok())
    }

    fn begin(&mut self, rest: &[u8]) -> Result<usize> {
        let header = SegmentHeader::decode(rest).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "the header of the segment is damaged, or is none")
        })?;
        if self.id.is_some_and(|id| id != header.log_id) {
            return Err(Error::new(ErrorKind::ForeignFile, "the segment is of another log"));
        }
        self.position = header.first_lsn().plus(u64::from(header.write_unit));
        self.running = Running {
            digest: Some(header.kept_digest),
            incarnation: header.incarnation,
            epoch: header.epoch,
        };
        self.seed = Seed::new(&header.log_id, header.incarnation);
        let len = size(header.write_unit);
        self.header = Some(header);
        Ok(len)
    }

    fn damaged(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, what)
            .at(self.position)
            .advise("`siding verify` says what is damaged; nothing of it is copied")
    }
}

/// Bytes that a segment has up to `end`, its header included.
#[must_use]
pub fn content_len(header: &SegmentHeader, end: Lsn) -> u64 {
    end.since(header.first_lsn()).max(wide(size(header.write_unit)))
}
