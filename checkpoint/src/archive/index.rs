//! The index of a segment in an archive: what is in it, for whoever will not read it all. Pure.
//!
//! It is put behind its segment: without it the segment does not count.

use super::names::segment_stem;
use crate::fields::{In, Out};
use siding_wal::format::{LogId, MIN_SEGMENT_SIZE, MIN_WRITE_UNIT, wide};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::cmp::Ordering;

/// Bytes that one checksum of a file covers.
pub const SUM_BLOCK: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SIDINGIX";
const VERSION: u32 = 1;

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// As one frame of zstd.
    Zstd,
}

impl Compression {
    /// The end of a name: empty, or `.zst`.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
        }
    }

    const fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// How long something is, and what its bytes come to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sums {
    /// Bytes.
    pub len: u64,
    /// CRC32C of each [`SUM_BLOCK`].
    pub blocks: Vec<u32>,
}

impl Sums {
    fn put(&self, out: &mut Out) {
        out.number(self.len);
        out.each(&self.blocks, |out, crc| out.short(*crc));
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let len = input.number()?;
        let blocks = input.each(4, In::short)?;
        let fits = wide(blocks.len()) == len.div_ceil(wide(SUM_BLOCK));
        fits.then_some(Self { len, blocks })
    }
}

/// A point in time: a MARK, or the CLOSE of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkAt {
    /// What it says, in milliseconds since 1970.
    pub time_ms: u64,
    /// The wall clock as it was.
    pub wall_ms: u64,
    /// Behind it.
    pub lsn: Lsn,
}

/// A name that somebody gave a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelAt {
    /// The name.
    pub name: String,
    /// Behind the record that says so.
    pub lsn: Lsn,
}

/// Where a batch ends, and its digest: what tells one history from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Joint {
    /// Behind the batch.
    pub end: Lsn,
    /// Its digest.
    pub digest: u32,
}

/// What an open wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The open.
    pub incarnation: u32,
    /// Behind the last batch of it.
    pub end: Lsn,
}

/// What is in a segment, from its start to the end of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Which log it is of.
    pub log_id: LogId,
    /// Its number.
    pub number: u64,
    /// Bytes of each segment of the log.
    pub segment_size: u64,
    /// Batches start and end at multiples of this.
    pub write_unit: u32,
    /// The open that wrote its header.
    pub incarnation: u32,
    /// Where the history before it ends, and the digest there.
    pub kept: Joint,
    /// Where the batches end, and the digest of the last one.
    pub last: Joint,
    /// Each open that wrote a batch in it, in order, and where the last one of it ends.
    pub written: Vec<Written>,
    /// Whether nothing can follow in it.
    pub sealed: bool,
    /// How it is stored.
    pub compression: Compression,
    /// As it is stored.
    pub stored: Sums,
    /// As it was.
    pub plain: Sums,
    /// Every MARK and CLOSE, in order.
    pub marks: Vec<MarkAt>,
    /// Every label, in order.
    pub labels: Vec<LabelAt>,
    /// Batches behind which another history may go on, in order; the last one is always among
    /// what [`SegmentIndex::holds`].
    pub joints: Vec<Joint>,
}

impl SegmentIndex {
    /// Its first LSN, where the header stands.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        Lsn::new(self.number.saturating_mul(self.segment_size))
    }

    /// Where its first batch stands.
    #[must_use]
    pub fn first_batch(&self) -> Lsn {
        self.first_lsn().plus(u64::from(self.write_unit))
    }

    /// Where the batches end.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.last.end
    }

    /// The highest incarnation of a batch in it, or that of its header.
    #[must_use]
    pub fn highest(&self) -> u32 {
        self.written.last().map_or(self.incarnation, |it| it.incarnation)
    }

    /// Whether a batch of it ends there, with this digest.
    #[must_use]
    pub fn holds(&self, joint: Joint) -> bool {
        self.last == joint || self.joints.binary_search(&joint).is_ok()
    }

    /// Whether it has everything that the other has, of the same history.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.same_start(other) && self.holds(other.last)
    }

    /// Whether both begin as the same segment of the same history.
    #[must_use]
    pub fn same_start(&self, other: &Self) -> bool {
        let start = |it: &Self| (it.log_id, it.number, it.incarnation, it.kept);
        start(self) == start(other)
    }

    /// Its name in a sink, without what it ends with.
    #[must_use]
    pub fn stem(&self) -> String {
        segment_stem(self.number, self.incarnation, self.last.digest)
    }

    /// The name of the index.
    #[must_use]
    pub fn index_name(&self) -> String {
        format!("{}.index", self.stem())
    }

    /// The name of the segment.
    #[must_use]
    pub fn segment_name(&self) -> String {
        format!("{}.seg{}", self.stem(), self.compression.suffix())
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out(MAGIC.to_vec());
        out.short(VERSION);
        out.0.extend_from_slice(&self.log_id);
        out.number(self.number);
        out.number(self.segment_size);
        out.short(self.write_unit);
        out.short(self.incarnation);
        put_joint(&mut out, &self.kept);
        put_joint(&mut out, &self.last);
        out.each(&self.written, |out, it| {
            out.short(it.incarnation);
            out.lsn(it.end);
        });
        out.short(u32::from(self.sealed));
        out.short(self.compression.code());
        self.stored.put(&mut out);
        self.plain.put(&mut out);
        out.each(&self.marks, |out, mark| {
            out.number(mark.time_ms);
            out.number(mark.wall_ms);
            out.lsn(mark.lsn);
        });
        out.each(&self.labels, |out, label| {
            out.bytes(label.name.as_bytes());
            out.lsn(label.lsn);
        });
        out.each(&self.joints, put_joint);
        let crc = crc32c::crc32c(&out.0);
        out.short(crc);
        out.0
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ForeignFile`] if it is none, [`ErrorKind::UnsupportedVersion`] if it is of a
    /// later version, [`ErrorKind::Corrupt`] if it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::new(ErrorKind::ForeignFile, "the file is no index of a segment")
                .advise("name the place of an archive"));
        }
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "the index of a segment is damaged")
                .advise("ship the segment again, or use another copy of the archive")
        };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let mut input = In(body.get(MAGIC.len()..).unwrap_or_default());
        let version = input.short().ok_or_else(damaged)?;
        if version != VERSION {
            let what = format!("the index of a segment is of version {version}");
            return Err(Error::new(ErrorKind::UnsupportedVersion, what)
                .advise("read the archive with the version that made it, or a later one"));
        }
        let index = Self::take(&mut input).filter(|it| input.0.is_empty() && it.makes_sense());
        index.ok_or_else(damaged)
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let log_id = input.array()?;
        let (number, segment_size) = (input.number()?, input.number()?);
        let (write_unit, incarnation) = (input.short()?, input.short()?);
        let (kept, last) = (take_joint(input)?, take_joint(input)?);
        let write =
            |input: &mut In<'_>| Some(Written { incarnation: input.short()?, end: input.lsn()? });
        let written = input.each(12, write)?;
        let sealed = match input.short()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let compression = Compression::from_code(input.short()?)?;
        let (stored, plain) = (Sums::take(input)?, Sums::take(input)?);
        let mark = |input: &mut In<'_>| {
            let (time_ms, wall_ms) = (input.number()?, input.number()?);
            Some(MarkAt { time_ms, wall_ms, lsn: input.lsn()? })
        };
        let label = |input: &mut In<'_>| Some(LabelAt { name: input.text()?, lsn: input.lsn()? });
        Some(Self {
            log_id,
            number,
            segment_size,
            write_unit,
            incarnation,
            kept,
            last,
            written,
            sealed,
            compression,
            stored,
            plain,
            marks: input.each(24, mark)?,
            labels: input.each(16, label)?,
            joints: input.each(12, take_joint)?,
        })
    }

    /// Whether the fields go together.
    fn makes_sense(&self) -> bool {
        let unit = u64::from(self.write_unit);
        let sizes = self.write_unit >= MIN_WRITE_UNIT
            && self.write_unit.is_power_of_two()
            && self.segment_size >= MIN_SEGMENT_SIZE
            && self.segment_size.is_multiple_of(unit)
            && self
                .number
                .checked_add(1)
                .is_some_and(|next| next.checked_mul(self.segment_size).is_some());
        if !sizes {
            return false;
        }
        let (first, end) = (self.first_batch(), self.end());
        let within = |lsn: Lsn| lsn > first && lsn <= end;
        let next = self.first_lsn().plus(self.segment_size);
        let marks = self.marks.iter().all(|mark| within(mark.lsn));
        let labels = self.labels.iter().all(|it| within(it.lsn) && !it.name.is_empty());
        let ends = |one: &Joint, other: &Joint| one.end.cmp(&other.end) == Ordering::Less;
        self.kept.end <= self.first_lsn()
            && end >= first
            && end <= next
            && self.written.iter().all(|it| within(it.end) && it.incarnation >= self.incarnation)
            && self.written.is_sorted_by(|one, other| {
                one.incarnation < other.incarnation && one.end < other.end
            })
            && self.written.last().map_or(first, |it| it.end) == end
            && self.plain.len == end.since(self.first_lsn())
            && (self.compression != Compression::None || self.stored == self.plain)
            && marks
            && self.marks.is_sorted_by(|one, other| one.lsn < other.lsn)
            && labels
            && self.labels.is_sorted_by(|one, other| one.lsn < other.lsn)
            && self.joints.iter().all(|joint| within(joint.end))
            && self.joints.is_sorted_by(ends)
    }
}

fn put_joint(out: &mut Out, joint: &Joint) {
    out.lsn(joint.end);
    out.short(joint.digest);
}

fn take_joint(input: &mut In<'_>) -> Option<Joint> {
    Some(Joint { end: input.lsn()?, digest: input.short()? })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn index() -> SegmentIndex {
        let at = |offset: u64| Lsn::new(3 * (64 << 10) + offset);
        let plain = Sums { len: 8192, blocks: vec![5] };
        SegmentIndex {
            log_id: [2; 16],
            number: 3,
            segment_size: 64 << 10,
            write_unit: 512,
            incarnation: 4,
            kept: Joint { end: at(0), digest: 6 },
            last: Joint { end: at(8192), digest: 7 },
            written: vec![
                Written { incarnation: 4, end: at(4096) },
                Written { incarnation: 6, end: at(8192) },
            ],
            sealed: true,
            compression: Compression::None,
            stored: plain.clone(),
            plain,
            marks: vec![MarkAt { time_ms: 10, wall_ms: 9, lsn: at(2048) }],
            labels: vec![LabelAt { name: "before".into(), lsn: at(2048) }],
            joints: vec![Joint { end: at(2048), digest: 1 }, Joint { end: at(4096), digest: 9 }],
        }
    }

    #[test]
    fn an_index_is_read_as_it_was_written_or_refused() {
        let bytes = index().encode();
        assert_eq!(SegmentIndex::decode(&bytes).unwrap(), index());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(SegmentIndex::decode(&damaged).is_err(), "byte {at}");
            }
            assert!(SegmentIndex::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
        let zstd = SegmentIndex {
            compression: Compression::Zstd,
            stored: Sums { len: 100, blocks: vec![1] },
            ..index()
        };
        assert_eq!(SegmentIndex::decode(&zstd.encode()).unwrap(), zstd);
        assert_eq!(zstd.segment_name(), "log-0000000000000003-00000004-00000007.seg.zst");
        assert_eq!(zstd.index_name(), "log-0000000000000003-00000004-00000007.index");
    }

    #[test]
    fn an_index_that_makes_no_sense_is_refused_under_a_right_checksum() {
        let (first, one) = (index().first_lsn(), index().joints[0]);
        let mark = |lsn| vec![MarkAt { time_ms: 1, wall_ms: 1, lsn }];
        for wrong in [
            SegmentIndex { write_unit: 700, ..index() },
            SegmentIndex { write_unit: 256, ..index() },
            SegmentIndex { segment_size: 64, ..index() },
            SegmentIndex { number: u64::MAX, ..index() },
            SegmentIndex { incarnation: 5, ..index() },
            SegmentIndex { written: vec![], ..index() },
            SegmentIndex { written: vec![index().written[1]; 2], ..index() },
            SegmentIndex { kept: Joint { end: first.plus(1), digest: 0 }, ..index() },
            SegmentIndex { last: Joint { end: first, digest: 0 }, ..index() },
            SegmentIndex { last: Joint { end: first.plus(1 << 20), digest: 0 }, ..index() },
            SegmentIndex { plain: Sums { len: 8191, blocks: vec![5] }, ..index() },
            SegmentIndex { plain: Sums { len: 8192, blocks: vec![] }, ..index() },
            SegmentIndex { stored: Sums { len: 1, blocks: vec![5] }, ..index() },
            SegmentIndex { marks: mark(first.plus(1 << 15)), ..index() },
            SegmentIndex { marks: [mark(one.end), mark(one.end)].concat(), ..index() },
            SegmentIndex { joints: vec![one, one], ..index() },
            SegmentIndex { labels: vec![LabelAt { name: String::new(), lsn: one.end }], ..index() },
        ] {
            let error = SegmentIndex::decode(&wrong.encode()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{wrong:?}");
        }
        let mut newer = index().encode();
        newer[8] = 2;
        let at = newer.len() - 4;
        let crc = crc32c::crc32c(&newer[..at]);
        newer[at..].copy_from_slice(&crc.to_le_bytes());
        let error = SegmentIndex::decode(&newer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);
        assert_eq!(SegmentIndex::decode(b"x").unwrap_err().kind(), ErrorKind::ForeignFile);
    }

    #[test]
    fn a_longer_one_covers_a_shorter_of_the_same_history_alone() {
        let whole = index();
        let cut = |joint: Joint| SegmentIndex { last: joint, ..index() };
        assert!(whole.covers(&whole) && whole.covers(&cut(whole.joints[1])));
        let other = Joint { digest: 8, ..whole.joints[1] };
        assert!(!whole.covers(&cut(other)));
        let elsewhere = SegmentIndex { kept: Joint { digest: 1, ..whole.kept }, ..index() };
        assert!(!whole.covers(&elsewhere));
    }
}
