//! One record at an LSN, for chain walks and lookups.

use super::runs::Runs;
use super::segments::{Segment, Segments};
use crate::disk::AlignedBuf;
use crate::format::segment_file_name;
use crate::format::{Malformed, RECORD_ALIGN, RECORD_HEADER_LEN, RecordHeader, Seed, size, wide};
use crate::{Error, ErrorKind, Lsn, Result};
use std::ops::Range;
use std::sync::Arc;

/// Reads start and end at multiples of this.
const BLOCK: usize = 4096;

/// A walk through records that stand close together reads this many bytes at a time.
const STRIDE: u64 = 64 << 10;

/// No more incarnations than this are tried for a record; no segment lives through more opens.
const MAX_CANDIDATES: u32 = 1 << 20;

/// The window that was read last, and what is worth trying first. Make one for each walk.
#[derive(Debug, Default)]
pub struct ReadBuf {
    buf: AlignedBuf,
    /// Bytes of the buffer that hold file contents.
    len: usize,
    segment: Option<u64>,
    /// Offset in the file of the first byte.
    start: u64,
    /// The incarnation of the last record found.
    incarnation: Option<u32>,
    reads: u64,
    bytes_read: u64,
    /// What will be asked for, if that was said.
    expected: Option<Runs>,
}

impl ReadBuf {
    /// An empty buffer; it takes its memory with the first read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of a range that the last [`read_record`] gave.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        self.buf.get(..self.len).and_then(|held| held.get(range)).unwrap_or_default()
    }

    /// How often the disk was asked so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Bytes the disk was asked for so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// From here on these runs are read by chunks, and everything else by itself: no walk is
    /// expected to go on near its last record.
    pub fn expect(&mut self, runs: Runs) {
        self.expected = Some(runs);
    }

    /// Forgets the window: what stands in the file may have changed.
    pub fn forget(&mut self) {
        self.segment = None;
        self.len = 0;
    }

    /// Makes the window hold the `want` bytes from `offset` on, as far as the file has them, and
    /// says where in it they lie. A walk that goes on near the last window gets a larger one, in
    /// the direction it goes.
    fn load(&mut self, segment: &Segment, offset: u64, want: usize) -> Result<Range<usize>> {
        if let Some(held) = self.held(segment, offset, want) {
            return Ok(held);
        }
        let start = offset - offset % wide(BLOCK);
        let end = offset.saturating_add(wide(want)).next_multiple_of(wide(BLOCK));
        let near =
            self.segment == Some(segment.number) && offset.abs_diff(self.start) <= 4 * STRIDE;
        let (from, to) = match near {
            _ if let Some(runs) = &self.expected => {
                let first = segment.header.first_lsn();
                let (from, to) = runs.chunk(first.plus(offset), wide(want));
                // What stands in other segments is read there.
                let from = if from < first { 0 } else { from.since(first) };
                (from - from % wide(BLOCK), to.since(first).next_multiple_of(wide(BLOCK)))
            }
            // One block more: most records then lie in it whole, not their headers alone.
            true if offset < self.start => {
                (start.min(end.saturating_sub(STRIDE)), end.saturating_add(wide(BLOCK)))
            }
            // Some of what stands before it: the next chain's older records do.
            true => (start.saturating_sub(STRIDE / 2), end.max(start.saturating_add(STRIDE))),
            false => (start, end),
        };
        // What is near may be unreadable, or not be there, where this is.
        if self.read(segment, from, to).is_err() {
            self.read(segment, start, end).map_err(|cause| {
                Error::io("a record cannot be read", cause)
                    .at(segment.header.first_lsn().plus(offset))
                    .file(segment_file_name(segment.number))
            })?;
        }
        let lead = usize::try_from(offset - self.start).unwrap_or_default();
        Ok(lead.min(self.len)..lead.saturating_add(want).min(self.len))
    }

    fn read(&mut self, segment: &Segment, from: u64, to: u64) -> std::io::Result<()> {
        self.forget();
        // Behind the segment's end there is nothing.
        let to = to.min(segment.header.segment_size.next_multiple_of(wide(BLOCK)));
        let want = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        if self.buf.len() < want {
            self.buf = AlignedBuf::zeroed(want);
        }
        self.reads += 1;
        self.bytes_read = self.bytes_read.saturating_add(wide(want));
        let room = self.buf.as_mut_slice().get_mut(..want).unwrap_or_default();
        self.len = segment.file.read_at(from, room)?;
        (self.segment, self.start) = (Some(segment.number), from);
        Ok(())
    }

    /// Where in the window the bytes lie, if it holds all of them.
    fn held(&self, segment: &Segment, offset: u64, want: usize) -> Option<Range<usize>> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let range = from..from.checked_add(want)?;
        (self.segment == Some(segment.number) && range.end <= self.len).then_some(range)
    }
}

/// Reads the record at `lsn` and verifies it; the range is that of its payload in `buf`.
///
/// `current` is the incarnation of this open. Where records of several opens may stand, the one
/// that was right last is tried first. Whether `lsn` lies below what is kept, or above what is
/// durable, is for the caller to know; bytes behind the kept part of a segment are no records.
///
/// # Errors
///
/// - [`ErrorKind::NotFound`]: no record begins here;
/// - [`ErrorKind::Corrupt`]: one does, and is damaged;
/// - [`ErrorKind::Missing`]: one does, and the file ends within it;
/// - [`ErrorKind::UnsupportedVersion`]: one does, of a kind this version does not know;
/// - [`ErrorKind::Io`]: the device does not give the bytes.
pub fn read_record(
    segments: &Segments,
    current: u32,
    lsn: Lsn,
    buf: &mut ReadBuf,
) -> Result<(RecordHeader, Range<usize>)> {
    let reads = buf.reads;
    let result = read_once(segments, current, lsn, buf);
    if result.is_ok() || buf.reads > reads || buf.segment.is_none() {
        return result;
    }
    // The window is older than this call: the record may have been written since.
    buf.forget();
    read_once(segments, current, lsn, buf)
}

fn read_once(
    segments: &Segments,
    current: u32,
    lsn: Lsn,
    buf: &mut ReadBuf,
) -> Result<(RecordHeader, Range<usize>)> {
    let none = || Error::new(ErrorKind::NotFound, "no record begins at this position").at(lsn);
    let aligned = lsn.get().is_multiple_of(wide(RECORD_ALIGN));
    if !aligned || segments.is_void(lsn) {
        return Err(none());
    }
    let segment = segments.containing(lsn).ok_or_else(none)?;
    let offset = segment.offset_of(lsn);
    let range = buf.load(segment, offset, RECORD_HEADER_LEN)?;
    let header = match decode(segments, segment, current, lsn, buf, range) {
        Ok(header) => header,
        // Fields are looked at only once the checksum holds.
        Err(Malformed::Field(_) | Malformed::Version(_)) => {
            let what = "the record holds what this version does not know";
            return Err(at(Error::new(ErrorKind::UnsupportedVersion, what), segment, lsn)
                .advise("open the log with the version of Siding that wrote it, or a newer one"));
        }
        Err(_) => return Err(none()),
    };
    // The length is under the checksum; still it must fit before memory is taken for it.
    let end = segments.kept_end_of(segment.number).unwrap_or_else(|| segment.end());
    if lsn.plus(wide(header.padded_len())) > end {
        return Err(damaged("the record reaches beyond its segment", segment, lsn));
    }
    let whole = load_whole(buf, segment, offset, &header, lsn)?;
    let payload = whole.start.saturating_add(RECORD_HEADER_LEN)..whole.end;
    if crc32c::crc32c(buf.get(payload.clone())) != header.payload_crc {
        return Err(damaged("the record's payload does not match its checksum", segment, lsn));
    }
    Ok((header, payload))
}

/// Loads header and payload of a record that fits into its segment.
fn load_whole(
    buf: &mut ReadBuf,
    segment: &Arc<Segment>,
    offset: u64,
    header: &RecordHeader,
    lsn: Lsn,
) -> Result<Range<usize>> {
    let len = size(header.len);
    let short = |there: u64| {
        let what = format!("the file ends within the record, after {there} bytes of it");
        at(Error::new(ErrorKind::Missing, what), segment, lsn)
            .advise("restore the file from a copy of the directory")
    };
    if buf.held(segment, offset, len).is_none() {
        let there = segment.file.len().map_err(|cause| {
            at(Error::io("a segment's length cannot be read", cause), segment, lsn)
        })?;
        let there = there.saturating_sub(offset);
        if there < wide(len) {
            return Err(short(there));
        }
    }
    let whole = buf.load(segment, offset, len)?;
    if whole.len() < len { Err(short(wide(whole.len()))) } else { Ok(whole) }
}

/// The header, by whichever incarnation wrote it.
fn decode(
    segments: &Segments,
    segment: &Segment,
    current: u32,
    lsn: Lsn,
    buf: &mut ReadBuf,
    range: Range<usize>,
) -> std::result::Result<RecordHeader, Malformed> {
    let candidates = segments.incarnations_of(segment.number, current);
    let last = buf.incarnation.filter(|last| candidates.contains(last));
    // The newest first: what is read at random was mostly written not long ago.
    let others = candidates.rev().filter(|other| Some(*other) != last);
    let tries = last.into_iter().chain(others).take(size(MAX_CANDIDATES));
    let bytes = buf.get(range);
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(Malformed::Short);
    }
    for incarnation in tries {
        match RecordHeader::decode(bytes, Seed::new(segments.id(), incarnation), lsn) {
            Err(Malformed::Checksum) => {}
            Err(other) => return Err(other),
            Ok(header) => {
                buf.incarnation = Some(incarnation);
                return Ok(header);
            }
        }
    }
    Err(Malformed::Checksum)
}

fn damaged(what: &str, segment: &Segment, lsn: Lsn) -> Error {
    at(Error::new(ErrorKind::Corrupt, what), segment, lsn)
        .advise("restore the file from a copy of the directory")
}

fn at(error: Error, segment: &Segment, lsn: Lsn) -> Error {
    error.at(lsn).file(segment_file_name(segment.number))
}
