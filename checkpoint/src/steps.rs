//! A scan, record by record: what every cursor over the log in its order is made of.

use siding_wal::format::{BATCH_HEADER_LEN, RecordHeader, wide};
use siding_wal::read::{Forward, Segments, Step};
use siding_wal::{Lsn, Result};

/// A scan that meets every record from `lsn` on, and perhaps a few before it.
pub(crate) fn scan_from(segments: &Segments, lsn: Lsn) -> Result<Forward> {
    let number = segments.number_of(lsn);
    if segments.last().is_some_and(|last| number == last.number.saturating_add(1)) {
        // Perhaps the end of a full segment, before the next one is opened.
        return Forward::from_lsn(segments, Lsn::new(segments.first_lsn(number).get() - 1));
    }
    if lsn.is_zero() || segments.is_void(lsn) {
        let oldest = segments.oldest_number().unwrap_or(0);
        return Forward::from_segment(segments, oldest.max(number));
    }
    Forward::from_lsn(segments, lsn)
}

/// The records of a scan, one at a time.
#[derive(Debug)]
pub(crate) struct Steps {
    scan: Forward,
    from: Lsn,
    /// Where the records of the batch at hand that were not given yet begin, and where they end.
    next: Lsn,
    end: Lsn,
}

impl Steps {
    /// The records that `scan` meets from `from` on.
    pub(crate) fn new(scan: Forward, from: Lsn) -> Self {
        Self { scan, from, next: Lsn::ZERO, end: Lsn::ZERO }
    }

    /// The next record: where it stands, its header, its payload.
    ///
    /// # Errors
    ///
    /// The refusal of the table's row, with the position it is about.
    pub(crate) fn step(&mut self) -> Result<Option<(Lsn, RecordHeader, &[u8])>> {
        while self.next >= self.end {
            match self.scan.next_batch()? {
                Step::Batch(batch) => {
                    let first = batch.lsn.plus(wide(BATCH_HEADER_LEN));
                    self.end = batch.lsn.plus(u64::from(batch.len));
                    self.next = if first < self.from { self.first_wanted() } else { first };
                }
                Step::Limit => return Ok(None),
                Step::End(verdict) => return verdict.refusal().map_or(Ok(None), Err),
            }
        }
        let found = self.scan.records().starting_at(self.next).next();
        self.next = found.map_or(self.end, |(lsn, header, _)| lsn.plus(wide(header.padded_len())));
        Ok(found)
    }

    /// The first record of the batch at hand that is not below `from`.
    fn first_wanted(&self) -> Lsn {
        let mut lsns = self.scan.records().map(|(lsn, _, _)| lsn);
        lsns.find(|lsn| *lsn >= self.from).unwrap_or(self.end)
    }

    /// Where the next batch is expected.
    pub(crate) fn position(&self) -> Lsn {
        self.scan.position()
    }

    /// Bytes that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.scan.bytes_read()
    }

    /// Raises the limit of the scan, and shows it the segments of now.
    pub(crate) fn advance(&mut self, segments: &Segments, limit: Lsn) {
        self.scan.advance(segments, limit);
    }
}
