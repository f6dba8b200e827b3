//! The log of a backup: pieces of the archive in the same sink, so that the log of many backups,
//! and of the archive, lies there once.
//!
//! A segment goes first, its index behind it; what was put by others, and has all of it, is not put
//! again. Every batch and record is verified on the way.

use super::copy::{Copier, read_full};
use super::manifest::BLOCK;
use super::{Copying, Stop, unread, unwritten};
use crate::archive::{Indexer, Joint, Name, SegmentIndex, name_of, read_index, segment_stem};
use crate::engine::Engine;
use crate::sink::{Sink, put_whole};
use siding_wal::disk::AlignedBuf;
use siding_wal::format::{BATCH_HEADER_LEN, segment_file_name, wide};
use siding_wal::read::{Forward, Segment, Segments, Step};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A segment, up to the end of a batch.
pub(super) struct LogPart {
    segment: Arc<Segment>,
    last: Joint,
    /// Nothing can follow in it.
    sealed: bool,
}

/// What is in a sink already, by segment.
pub(super) type There = BTreeMap<u64, Vec<SegmentIndex>>;

/// The segments in a sink that count.
pub(super) fn there(sink: &dyn Sink) -> Result<There> {
    let names = sink.list("log-").map_err(|cause| {
        Error::io("what is in the sink cannot be listed", cause).file(sink.place())
    })?;
    let mut there = There::new();
    for (name, _) in &names {
        let Name::Index(stem) = name_of(name) else { continue };
        // One that cannot be read does not count, and is put again.
        let Ok(index) = read_index(sink, &stem) else { continue };
        let segment = index.segment_name();
        if names.binary_search_by(|(name, _)| name.cmp(&segment)).is_ok() {
            there.entry(index.number).or_default().push(index);
        }
    }
    Ok(there)
}

/// The scan, up to `end`; the digest of the batch that ends there.
fn digest_at(mut scan: Forward, end: Lsn) -> Result<u32> {
    while scan.position() < end && matches!(scan.next_batch()?, Step::Batch(_)) {}
    scan.digest()
        .filter(|_| scan.position() == end)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the log is damaged").at(scan.position()))
}

impl Engine {
    /// The digest of the batch that ends at `end`, by its segment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if that is not kept; [`ErrorKind::Corrupt`] if none ends there.
    pub(super) fn digest_at(&self, end: Lsn) -> Result<u32> {
        let segments = self.stream().segments();
        let number = segments.number_of(Lsn::new(end.get().saturating_sub(1)));
        digest_at(Forward::from_segment(&segments, number)?.limit(end), end)
    }

    /// The same of the end of the stop keypoint, by its batches alone.
    pub(super) fn digest_of(&self, stop: &Stop) -> Result<u32> {
        let segments = self.stream().segments();
        let header = wide(BATCH_HEADER_LEN);
        let batch = Lsn::new(stop.begin.get().saturating_sub(header));
        digest_at(Forward::from_batch(&segments, batch)?.limit(stop.end), stop.end)
    }

    /// The segments from that of `floor` to `end`.
    pub(super) fn log_parts(&self, floor: Lsn, end: Joint) -> Result<Vec<LogPart>> {
        let segments = self.stream().segments();
        let last = segments.number_of(Lsn::new(end.end.get().saturating_sub(1)));
        let mut parts = Vec::new();
        for number in segments.number_of(floor)..=last {
            let gone = || {
                let what = "a segment that the backup needs is gone";
                Error::new(ErrorKind::Missing, what).file(segment_file_name(number))
            };
            let segment = Arc::clone(segments.get(number).ok_or_else(gone)?);
            let sealed = number < last;
            let last = if sealed { kept(&segments, number).ok_or_else(gone)? } else { end };
            parts.push(LogPart { segment, last, sealed });
        }
        Ok(parts)
    }
}

/// Where the batches of a sealed segment end.
fn kept(segments: &Segments, number: u64) -> Option<Joint> {
    let end = segments.kept_end_of(number)?;
    let next = &segments.get(number.checked_add(1)?)?.header;
    Some(Joint { end, digest: next.kept_digest })
}

impl Copier<'_> {
    /// Puts a segment, unless what is there has all of it.
    pub(super) fn log_part(&self, part: &LogPart, there: &There) -> Result<()> {
        let header = &part.segment.header;
        let start = |it: &SegmentIndex| {
            (it.log_id, it.incarnation, it.kept)
                == (
                    header.log_id,
                    header.incarnation,
                    Joint { end: header.kept_end, digest: header.kept_digest },
                )
        };
        let mut same = there.get(&header.number).into_iter().flatten();
        if same.any(|it| start(it) && it.holds(part.last) && (it.sealed || !part.sealed)) {
            return Ok(());
        }
        let name = segment_file_name(header.number);
        let stem = segment_stem(header.number, header.incarnation, part.last.digest);
        let stored = format!("{stem}.seg");
        let written = |cause| unwritten(self.sink, &stored, cause);
        let mut put = self.sink.put(&stored).map_err(written)?;
        let mut indexer = Indexer::new(Some(header.log_id), vec![part.last.end]);
        let len = part.segment.offset_of(part.last.end);
        let (mut buf, mut at) = (AlignedBuf::zeroed(BLOCK), 0);
        while at < len {
            let count = usize::try_from(len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
            self.take(count)?;
            read_full(&*part.segment.file, at, buf.as_mut_slice(), count)
                .map_err(|cause| unread(&name, cause))?;
            let block = buf.as_slice().get(..count).unwrap_or_default();
            let fed = indexer.feed(block);
            // A segment that was trimmed under it is no longer what it was.
            self.hold.check()?;
            fed.map_err(|error| error.file(&name))?;
            put.write(block).map_err(written)?;
            at = at.saturating_add(wide(count));
            (self.options.told)(&Copying { name: &name, done: at, len });
        }
        let index = indexer.finish(part.sealed)?;
        if index.last != part.last {
            let what = "the segment does not end as the log went on from it";
            return Err(Error::new(ErrorKind::Corrupt, what).file(name).at(index.last.end));
        }
        put.finish().map_err(written)?;
        let name = index.index_name();
        put_whole(self.sink, &name, &index.encode())
            .map_err(|cause| unwritten(self.sink, &name, cause))
    }
}
