//! The live segments of a log: which file holds an LSN, and which stretches of the stream are void.

use crate::Lsn;
use crate::disk::LogFile;
use crate::format::{LogId, SegmentHeader};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// One segment: a file with a valid header.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number; its first LSN is number times segment size.
    pub number: u64,
    /// What its header says.
    pub header: SegmentHeader,
    /// Its file, open.
    pub file: Arc<dyn LogFile>,
}

impl Segment {
    /// Where the first batch stands: one write unit behind the header's start.
    #[must_use]
    pub fn first_batch(&self) -> Lsn {
        self.header.first_lsn().plus(u64::from(self.header.write_unit))
    }

    /// Where the segment ends: the first LSN of the next one.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.header.first_lsn().plus(self.header.segment_size)
    }

    /// Number and file, as the window wants them.
    pub(super) fn source(&self) -> (u64, &Arc<dyn LogFile>) {
        (self.number, &self.file)
    }

    /// How far into the file this LSN of the segment lies.
    #[must_use]
    pub fn offset_of(&self, lsn: Lsn) -> u64 {
        lsn.since(self.header.first_lsn())
    }
}

/// The live segments. Cloning is cheap; a clone does not see later changes.
#[derive(Clone, Debug)]
pub struct Segments {
    id: LogId,
    size: u64,
    map: Arc<BTreeMap<u64, Arc<Segment>>>,
}

impl Segments {
    /// No segments yet, of the log `id` with segments of `size` bytes.
    #[must_use]
    pub fn new(id: LogId, size: u64) -> Self {
        Self { id, size: size.max(1), map: Arc::default() }
    }

    /// Which log this is.
    #[must_use]
    pub fn id(&self) -> &LogId {
        &self.id
    }

    /// Bytes of each segment.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many segments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Every segment, lowest number first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.map.values()
    }

    /// Segment `number`, if it is here.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Arc<Segment>> {
        self.map.get(&number)
    }

    /// The number of the segment this LSN belongs to, whether it is here or not.
    #[must_use]
    pub fn number_of(&self, lsn: Lsn) -> u64 {
        lsn.get().checked_div(self.size).unwrap_or(0)
    }

    /// The segment this LSN belongs to, if it is here.
    #[must_use]
    pub fn containing(&self, lsn: Lsn) -> Option<&Arc<Segment>> {
        self.get(self.number_of(lsn))
    }

    /// The first LSN of segment `number`.
    #[must_use]
    pub fn first_lsn(&self, number: u64) -> Lsn {
        Lsn::new(number.saturating_mul(self.size))
    }

    /// Where what was kept in segment `number` ends, as the next segment's header says. None for
    /// the last segment, or if the next header speaks of another segment than this.
    #[must_use]
    pub fn kept_end_of(&self, number: u64) -> Option<Lsn> {
        let next = number.checked_add(1)?;
        let kept = self.get(next)?.header.kept_end;
        let here = self.first_lsn(number)..=self.first_lsn(next);
        here.contains(&kept).then_some(kept)
    }

    /// Whether no record can stand at this LSN: it lies in no segment that is here, in a header,
    /// or behind what was kept of its segment. Such bytes count for nothing, whatever they are.
    #[must_use]
    pub fn is_void(&self, lsn: Lsn) -> bool {
        let Some(segment) = self.containing(lsn) else { return true };
        let kept = self.kept_end_of(segment.number);
        lsn < segment.first_batch() || kept.is_some_and(|kept| lsn >= kept)
    }

    /// The incarnations that may have written records into segment `number`: from its header's
    /// to the next header's, or to the `current` one. Never an empty range.
    #[must_use]
    pub fn incarnations_of(&self, number: u64, current: u32) -> RangeInclusive<u32> {
        let first = self.get(number).map_or(current, |segment| segment.header.incarnation);
        let next = number.checked_add(1).and_then(|next| self.get(next));
        let last = next.map_or(current, |segment| segment.header.incarnation);
        first..=last.max(first)
    }

    /// The segment with the highest number.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<Segment>> {
        self.map.values().next_back()
    }

    /// The lowest number.
    #[must_use]
    pub fn oldest_number(&self) -> Option<u64> {
        self.map.keys().next().copied()
    }

    /// Adds a segment, in place of one with the same number.
    pub fn insert(&mut self, segment: Segment) {
        Arc::make_mut(&mut self.map).insert(segment.number, Arc::new(segment));
    }

    /// Takes out every segment that lies wholly below `lsn`, lowest number first.
    pub fn remove_below(&mut self, lsn: Lsn) -> Vec<Arc<Segment>> {
        let keep = self.number_of(lsn);
        if self.oldest_number().is_none_or(|oldest| oldest >= keep) {
            return Vec::new();
        }
        let map = Arc::make_mut(&mut self.map);
        let kept = map.split_off(&keep);
        std::mem::replace(map, kept).into_values().collect()
    }
}
