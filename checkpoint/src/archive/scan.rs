//! An index made from a segment's bytes, on their way to wherever they go. Pure.
//!
//! Every batch, record and checksum is verified on the way: what is damaged is never shipped.

use super::index::{Compression, Joint, LabelAt, MarkAt, SUM_BLOCK, SegmentIndex, Sums, Written};
use siding_wal::format::{BatchHeader, Kind, LogId, MarkPayload, label_of, wide};
use siding_wal::read::{Records, Walk};
use siding_wal::{Error, ErrorKind, Lsn, Result};

/// Adds up a file, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Summing {
    sums: Sums,
    /// Bytes of the last block so far.
    filled: usize,
}

impl Summing {
    /// The bytes that follow.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.sums.len = self.sums.len.saturating_add(wide(bytes.len()));
        while !bytes.is_empty() {
            let room = SUM_BLOCK.saturating_sub(self.filled).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            match self.sums.blocks.last_mut().filter(|_| self.filled > 0) {
                Some(crc) => *crc = crc32c::crc32c_append(*crc, now),
                None => self.sums.blocks.push(crc32c::crc32c(now)),
            }
            self.filled = self.filled.saturating_add(now.len());
            if self.filled == SUM_BLOCK {
                self.filled = 0;
            }
            bytes = later;
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn finish(self) -> Sums {
        self.sums
    }
}

/// Makes an index while a segment's bytes pass.
#[derive(Debug)]
pub struct Indexer {
    walk: Walk,
    found: Found,
    sums: Summing,
}

#[derive(Debug, Default)]
struct Found {
    /// Where batch ends are wanted among the joints, in order.
    wanted: Vec<Lsn>,
    written: Vec<Written>,
    marks: Vec<MarkAt>,
    labels: Vec<LabelAt>,
    joints: Vec<Joint>,
}

impl Found {
    fn batch(&mut self, header: &BatchHeader, end: Lsn, records: Records<'_>) {
        let mut joint = self.wanted.binary_search(&end).is_ok();
        match self.written.last_mut().filter(|it| it.incarnation == header.incarnation) {
            Some(last) => last.end = end,
            None => self.written.push(Written { incarnation: header.incarnation, end }),
        }
        for (lsn, record, payload) in records {
            let behind = lsn.plus(wide(record.padded_len()));
            match record.kind {
                Kind::Mark | Kind::Close => {
                    if let Ok(mark) = MarkPayload::decode(payload) {
                        let (time_ms, wall_ms) = (mark.time_ms, mark.wall_ms);
                        self.marks.push(MarkAt { time_ms, wall_ms, lsn: behind });
                    }
                    if let Some(name) = label_of(payload) {
                        self.labels.push(LabelAt { name: name.to_owned(), lsn: behind });
                    }
                    joint |= record.kind == Kind::Close;
                }
                Kind::KeypointEnd => joint = true,
                _ => {}
            }
        }
        if joint {
            self.joints.push(Joint { end, digest: header.digest });
        }
    }
}

impl Indexer {
    /// For a segment of the log `id`, or of any; the index will say of each batch that ends at a
    /// position of `wanted` that it does.
    #[must_use]
    pub fn new(id: Option<LogId>, mut wanted: Vec<Lsn>) -> Self {
        wanted.sort_unstable();
        let found = Found { wanted, ..Found::default() };
        Self { walk: Walk::new(id), found, sums: Summing::default() }
    }

    /// The bytes that follow.
    ///
    /// # Errors
    ///
    /// As [`Walk::feed`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.sums.feed(bytes);
        let found = &mut self.found;
        self.walk.feed(bytes, &mut |batch, end, records| found.batch(batch, end, records))
    }

    /// The index: the bytes are over. `sealed`: nothing can follow in the segment.
    ///
    /// # Errors
    ///
    /// As [`Walk::finish`].
    pub fn finish(self, sealed: bool) -> Result<SegmentIndex> {
        self.walk.finish()?;
        let index = self.so_far();
        let index =
            index.ok_or_else(|| Error::new(ErrorKind::Corrupt, "the segment has no header"))?;
        Ok(SegmentIndex { sealed, ..index })
    }

    /// What is whole so far, wherever the bytes stopped; none if not even the header was. The sums
    /// are those of all bytes that came.
    #[must_use]
    pub fn so_far(self) -> Option<SegmentIndex> {
        let header = self.walk.header()?;
        let plain = self.sums.finish();
        Some(SegmentIndex {
            log_id: header.log_id,
            number: header.number,
            segment_size: header.segment_size,
            write_unit: header.write_unit,
            incarnation: header.incarnation,
            kept: Joint { end: header.kept_end, digest: header.kept_digest },
            last: Joint { end: self.walk.position(), digest: self.walk.digest() },
            written: self.found.written,
            sealed: false,
            compression: Compression::None,
            stored: plain.clone(),
            plain,
            marks: self.found.marks,
            labels: self.found.labels,
            joints: self.found.joints,
        })
    }
}
