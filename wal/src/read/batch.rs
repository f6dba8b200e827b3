//! Batches as the scan meets them: what stands at a position, and whether a batch is whole. Pure.

use super::verdict::At;
use crate::Lsn;
use crate::format::{
    BATCH_HEADER_LEN, BatchHeader, LogId, Malformed, RECORD_HEADER_LEN, RecordHeader, Seed, size,
    wide,
};

/// What the batches accepted so far say about the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// The digest of the last batch; none if the scan started in the middle.
    pub(super) digest: Option<u32>,
    /// The largest incarnation so far; a smaller one is a leftover.
    pub(super) incarnation: u32,
    /// The largest epoch so far; a smaller one was fenced.
    pub(super) epoch: u32,
}

/// A segment as far as it bounds a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The first LSN of the segment.
    pub(super) first: Lsn,
    /// The first LSN of the next one.
    pub(super) end: Lsn,
    /// Batches start and end at multiples of this.
    pub(super) write_unit: u32,
}

/// What stands at a position, as far as one write unit tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    /// The header of a batch that goes on here; its records are not looked at yet.
    Goes(BatchHeader),
    /// The header of another batch.
    Stray(At, BatchHeader),
    /// A header that belongs here, of a batch that cannot be.
    Broken(BatchHeader),
    /// No header.
    None(At),
}

/// What `unit`, the first bytes at `position`, is.
pub(super) fn probe(
    unit: &[u8],
    id: &LogId,
    position: Lsn,
    running: &Running,
    bounds: &Bounds,
) -> Probe {
    let header = match BatchHeader::decode(unit, id) {
        Ok(header) => header,
        // The checksum holds: somebody meant what stands here, and it is not torn.
        Err(Malformed::Field(_) | Malformed::Version(_)) => return Probe::None(At::Newer),
        Err(Malformed::Checksum | Malformed::Short) => {
            let zeros = unit.iter().all(|byte| *byte == 0);
            return Probe::None(if zeros { At::Nothing } else { At::Damaged });
        }
    };
    let old = header.incarnation < running.incarnation || header.epoch < running.epoch;
    let old = old && !crate::seeded!(StaleSegmentAccepted);
    if header.lsn != position {
        let here = header.lsn >= bounds.first && !old;
        return Probe::Stray(if here { At::Elsewhere } else { At::Leftover }, header);
    }
    if old {
        return Probe::Stray(At::Leftover, header);
    }
    if running.digest.is_some_and(|digest| digest != header.prev_digest) {
        return Probe::Stray(At::OtherHistory, header);
    }
    if header.next(bounds.write_unit) > bounds.end {
        return Probe::Broken(header);
    }
    Probe::Goes(header)
}

/// What keeps a batch from being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A checksum, a length, the count or the digest does not hold.
    Damaged,
    /// A record whose checksum holds, of a kind or with a value this version does not know.
    Newer,
}

/// Verifies the records of a batch against its header, every byte once.
pub(super) fn verify(bytes: &[u8], batch: &BatchHeader, seed: Seed) -> Result<(), Fault> {
    let mut rest = bytes.get(BATCH_HEADER_LEN..size(batch.len)).ok_or(Fault::Damaged)?;
    let mut lsn = batch.lsn.plus(wide(BATCH_HEADER_LEN));
    let mut digest = Digest::new(batch.prev_digest);
    let mut count: u32 = 0;
    while !rest.is_empty() {
        let header = RecordHeader::decode(rest, seed, lsn).map_err(fault)?;
        let payload = rest.get(RECORD_HEADER_LEN..size(header.len)).ok_or(Fault::Damaged)?;
        if crc32c::crc32c(payload) != header.payload_crc {
            return Err(Fault::Damaged);
        }
        let checksum = rest.get(RECORD_HEADER_LEN - 4..RECORD_HEADER_LEN).unwrap_or_default();
        digest.add(checksum);
        let padded = header.padded_len();
        rest = rest.get(padded..).ok_or(Fault::Damaged)?;
        lsn = lsn.plus(wide(padded));
        count = count.saturating_add(1);
    }
    if count == batch.count && digest.finish() == batch.digest {
        Ok(())
    } else {
        Err(Fault::Damaged)
    }
}

/// A batch's digest, taken over many checksums at once: a call costs more than the bytes.
struct Digest {
    crc: u32,
    gathered: [u8; 256],
    len: usize,
}

impl Digest {
    fn new(prev_digest: u32) -> Self {
        Self { crc: crc32c::crc32c(&prev_digest.to_le_bytes()), gathered: [0; 256], len: 0 }
    }

    fn add(&mut self, checksum: &[u8]) {
        if let Some(room) = self.gathered.get_mut(self.len..self.len + checksum.len()) {
            room.copy_from_slice(checksum);
            self.len += checksum.len();
        }
        if self.len == self.gathered.len() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let gathered = self.gathered.get(..self.len).unwrap_or_default();
        self.crc = crc32c::crc32c_append(self.crc, gathered);
        self.len = 0;
    }

    fn finish(mut self) -> u32 {
        self.flush();
        self.crc
    }
}

fn fault(malformed: Malformed) -> Fault {
    match malformed {
        // Fields are looked at only once the checksum holds.
        Malformed::Field(_) | Malformed::Version(_) => Fault::Newer,
        Malformed::Checksum | Malformed::Short => Fault::Damaged,
    }
}

/// The records of a verified batch, borrowed from the scan's buffer.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    lsn: Lsn,
}

impl<'a> Records<'a> {
    /// The records behind the header of a batch that starts at `batch`.
    pub(super) fn new(bytes: &'a [u8], batch: Lsn) -> Self {
        let rest = bytes.get(BATCH_HEADER_LEN..).unwrap_or_default();
        Self { rest, lsn: batch.plus(wide(BATCH_HEADER_LEN)) }
    }

    /// The records from the one at `lsn` on, which must be one of these.
    #[must_use]
    pub fn starting_at(self, lsn: Lsn) -> Self {
        let passed = usize::try_from(lsn.since(self.lsn)).unwrap_or(usize::MAX);
        Self { rest: self.rest.get(passed..).unwrap_or_default(), lsn: lsn.max(self.lsn) }
    }
}

impl<'a> Iterator for Records<'a> {
    /// Where the record stands, its header, its payload.
    type Item = (Lsn, RecordHeader, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Everything was verified; what does not parse ends the iteration, and never does.
        let header = RecordHeader::parse(self.rest).ok()?;
        let payload = self.rest.get(RECORD_HEADER_LEN..size(header.len))?;
        let lsn = self.lsn;
        let padded = header.padded_len();
        self.rest = self.rest.get(padded..).unwrap_or_default();
        self.lsn = lsn.plus(wide(padded));
        Some((lsn, header, payload))
    }
}
