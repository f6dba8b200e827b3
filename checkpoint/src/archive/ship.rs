//! What is shipped next, what failed and when it is tried again, what is missing. Pure.
//!
//! A segment is shipped once nothing can follow in it; the open one on demand, as far as it is
//! durable. 1. The segment is put. Crash: it has no index, does not count, and is put again. 2. Its
//! index is put. Crash behind it: it is found there by the next open. 3. The pin goes up. Crash:
//! the next open pins from the oldest segment again, until it knows what is there.

use super::index::{Compression, Joint, SegmentIndex, Sums};
use crate::restore::{Gap, Histories, Piece, Source};
use siding_wal::format::LogId;
use siding_wal::{Lsn, seeded};
use std::collections::{BTreeMap, BTreeSet};

/// How a log is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Who archives, for people.
    pub owner: String,
    /// The most bytes of log that are kept for what is not shipped yet; beyond it the archive gets
    /// a gap. Never more than half of what the log's files may take together.
    pub quota: u64,
    /// Files that are shipped at once.
    pub parallel: usize,
    /// How files are stored.
    pub compression: Compression,
    /// Milliseconds to the second try; each further one waits twice as long.
    pub retry_ms: u64,
    /// The longest wait between two tries, in milliseconds.
    pub longest_retry_ms: u64,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            owner: "the archive".to_owned(),
            quota: 4 << 30,
            parallel: 2,
            compression: Compression::None,
            retry_ms: 250,
            longest_retry_ms: 60_000,
        }
    }
}

/// A segment of the log as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its number.
    pub number: u64,
    /// The open that wrote its header.
    pub incarnation: u32,
    /// Where the history before it ends.
    pub kept: Joint,
    /// Where its first batch stands.
    pub first: Lsn,
    /// Where what was kept in it ends; none of the open one.
    pub last: Option<Joint>,
}

/// The log of this moment: its segments, lowest number first, and how far it is durable.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which log.
    pub log_id: LogId,
    /// Bytes of each segment.
    pub size: u64,
    /// Its segments.
    pub segments: Vec<Local>,
    /// Where the batches end that are durable.
    pub durable: Lsn,
    /// Extent files with their bytes, lowest number first.
    pub extents: Vec<(u64, u64)>,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// What the sink has is to be found out.
    Look,
    /// A segment is to be put.
    Segment {
        /// The segment.
        local: Local,
        /// How far: to its last batch, or to here.
        upto: Lsn,
        /// Ends of batches that its index shall tell of: what was shipped of it before.
        tell: Vec<Lsn>,
    },
    /// An extent file is to be put, up to a length.
    Extents(u64, u64),
}

impl Job {
    fn thing(&self) -> Thing {
        match self {
            Self::Look => Thing::All,
            Self::Segment { local, .. } => Thing::Segment(local.number),
            Self::Extents(number, _) => Thing::Extents(*number),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    All,
    Segment(u64),
    Extents(u64),
}

/// How shipping stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Whether it is known what the sink has.
    pub known: bool,
    /// Everything from the oldest segment to here is in the archive.
    pub upto: Lsn,
    /// Segments that nothing can follow in and that are not in the archive.
    pub segments: u64,
    /// Tries that failed since the last one that did not.
    pub failures: u32,
    /// What failed last, since then.
    pub trouble: Option<String>,
    /// When it is tried again, on the monotonic clock.
    pub next_try_ms: Option<u64>,
    /// Log that is not in the archive and will never be, though older log is.
    pub gaps: Vec<Gap>,
}

/// What is shipped, and what is to be.
#[derive(Debug)]
pub struct Shipping {
    options: ArchiveOptions,
    /// Whether the sink was looked at.
    looked: bool,
    known: BTreeMap<u64, Vec<SegmentIndex>>,
    extents: BTreeMap<u64, u64>,
    running: BTreeSet<Thing>,
    /// What cannot be read, and when it is tried again.
    unreadable: BTreeMap<Thing, u64>,
    failures: u32,
    trouble: Option<String>,
    next_try_ms: Option<u64>,
    /// The open segment is wanted up to here, and extents as they are.
    wanted: Lsn,
    wanted_extents: BTreeMap<u64, u64>,
}

impl Shipping {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(options: ArchiveOptions) -> Self {
        Self {
            options,
            looked: false,
            known: BTreeMap::new(),
            extents: BTreeMap::new(),
            running: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            failures: 0,
            trouble: None,
            next_try_ms: None,
            wanted: Lsn::ZERO,
            wanted_extents: BTreeMap::new(),
        }
    }

    /// How it is done.
    #[must_use]
    pub fn options(&self) -> &ArchiveOptions {
        &self.options
    }

    /// What the sink has of this log: segments that count, extent files up to a length.
    pub fn looked(&mut self, segments: Vec<SegmentIndex>, extents: &[(u64, u64)]) {
        for index in segments {
            self.known.entry(index.number).or_default().push(index);
        }
        for (number, len) in extents {
            let known = self.extents.entry(*number).or_default();
            *known = (*known).max(*len);
        }
        self.looked = true;
        self.over(Thing::All);
    }

    /// Everything that is durable now is wanted at once, that of the open segment too.
    pub fn want(&mut self, standing: &Standing) {
        self.wanted = self.wanted.max(standing.durable);
        self.wanted_extents.extend(standing.extents.iter().copied());
        self.next_try_ms = None;
        self.unreadable.clear();
    }

    /// The next thing to do, if there is one; it is under way from here on.
    pub fn next(&mut self, now_ms: u64, standing: &Standing) -> Option<Job> {
        if self.next_try_ms.is_some_and(|due| now_ms < due)
            || self.running.len() >= self.options.parallel.max(1)
        {
            return None;
        }
        let job = if self.looked { self.due(now_ms, standing)? } else { Job::Look };
        self.running.insert(job.thing()).then_some(job)
    }

    fn due(&self, now_ms: u64, standing: &Standing) -> Option<Job> {
        let free = |thing: Thing| {
            let waits = self.unreadable.get(&thing).is_some_and(|due| now_ms < *due);
            !waits && !self.running.contains(&thing)
        };
        let segment = standing.segments.iter().find_map(|local| {
            let upto = self.needs(local, standing.durable)?;
            let tell = self.numbered(local.number).iter().map(SegmentIndex::end).collect();
            let job = Job::Segment { local: *local, upto, tell };
            free(job.thing()).then_some(job)
        });
        segment.or_else(|| {
            // The newest file still grows: it is shipped when it is asked for.
            let newest = standing.extents.last().map(|(number, _)| *number);
            standing.extents.iter().find_map(|(number, len)| {
                let known = self.extents.get(number).copied().unwrap_or_default();
                let full = Some(*number) != newest;
                let asked = self.wanted_extents.get(number).is_some_and(|len| known < *len);
                let job = Job::Extents(*number, *len);
                ((full || asked) && known < *len && free(job.thing())).then_some(job)
            })
        })
    }

    fn numbered(&self, number: u64) -> &[SegmentIndex] {
        self.known.get(&number).map(Vec::as_slice).unwrap_or_default()
    }

    fn same<'a>(&'a self, local: &Local) -> impl Iterator<Item = &'a SegmentIndex> {
        let (incarnation, kept) = (local.incarnation, local.kept);
        let all = self.numbered(local.number).iter();
        all.filter(move |it| it.incarnation == incarnation && it.kept == kept)
    }

    /// Up to where a segment is to be shipped now, if it is.
    fn needs(&self, local: &Local, durable: Lsn) -> Option<Lsn> {
        match local.last {
            Some(last) => (!self.same(local).any(|it| it.holds(last))).then_some(last.end),
            None => {
                let there = self.same(local).map(SegmentIndex::end).max();
                // Others may have asked for more since the log stood so.
                let wanted = self.wanted.min(durable);
                let asked = wanted > local.first && there.is_none_or(|it| it < wanted);
                asked.then_some(wanted)
            }
        }
    }

    /// A segment is in the archive.
    pub fn put(&mut self, index: SegmentIndex) {
        let thing = Thing::Segment(index.number);
        self.known.entry(index.number).or_default().push(index);
        self.over(thing);
    }

    /// An extent file is in the archive up to a length, or is gone and need not be.
    pub fn put_extents(&mut self, number: u64, len: u64) {
        self.extents.insert(number, len);
        self.over(Thing::Extents(number));
    }

    fn over(&mut self, thing: Thing) {
        self.running.remove(&thing);
        self.unreadable.remove(&thing);
        self.failures = 0;
        self.trouble = None;
        self.next_try_ms = None;
    }

    /// The segment was trimmed before it was shipped: nothing is to be done any more.
    pub fn gone(&mut self, job: &Job) {
        self.running.remove(&job.thing());
    }

    /// The sink failed: nothing is tried before a while has passed.
    pub fn failed(&mut self, job: &Job, now_ms: u64, why: String) {
        self.running.remove(&job.thing());
        let shift = self.failures.min(30);
        let wait = self.options.retry_ms.max(1).saturating_mul(1 << shift);
        self.next_try_ms = Some(now_ms.saturating_add(wait.min(self.options.longest_retry_ms)));
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(why);
    }

    /// What was to be shipped cannot be read, or is damaged: others go on.
    pub fn unreadable(&mut self, job: &Job, now_ms: u64, why: String) {
        self.running.remove(&job.thing());
        let due = now_ms.saturating_add(self.options.longest_retry_ms);
        self.unreadable.insert(job.thing(), due);
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(why);
    }

    /// Nothing at or above this position may be trimmed, as far as the archive goes.
    #[must_use]
    pub fn pin(&self, standing: &Standing) -> Lsn {
        let waits = |local: &&Local| match local.last {
            _ if !self.looked => true,
            Some(last) => {
                let thing = Thing::Segment(local.number);
                let early = seeded!(PinBeforeShipped) && self.running.contains(&thing);
                !early && !self.same(local).any(|it| it.holds(last))
            }
            None => true,
        };
        let first = standing.segments.iter().find(waits);
        first.map_or(Lsn::MAX, |it| Lsn::new(it.number.saturating_mul(standing.size)))
    }

    /// Whether everything below `lsn` is in the archive.
    #[must_use]
    pub fn reaches(&self, lsn: Lsn, standing: &Standing) -> bool {
        let extents = standing.extents.iter().all(|(number, _)| {
            let wanted = self.wanted_extents.get(number).copied().unwrap_or_default();
            self.extents.get(number).copied().unwrap_or_default() >= wanted
        });
        self.looked && extents && self.upto(standing) >= lsn
    }

    /// Everything from the oldest segment to here is in the archive.
    fn upto(&self, standing: &Standing) -> Lsn {
        let mut upto = Lsn::ZERO;
        for local in &standing.segments {
            match local.last {
                Some(last) if self.same(local).any(|it| it.holds(last)) => upto = last.end,
                Some(_) => return upto,
                None => {
                    let there = self.same(local).map(SegmentIndex::end).max();
                    let empty = standing.durable <= local.first;
                    upto = there.unwrap_or(if empty { standing.durable } else { upto });
                }
            }
        }
        upto
    }

    /// How it stands.
    #[must_use]
    pub fn shipped(&self, standing: &Standing) -> Shipped {
        let sealed = standing.segments.iter().filter(|it| it.last.is_some());
        let left = sealed.filter(|it| self.needs(it, standing.durable).is_some()).count();
        Shipped {
            known: self.looked,
            upto: if self.looked { self.upto(standing) } else { Lsn::ZERO },
            segments: siding_wal::format::wide(left),
            failures: self.failures,
            trouble: self.trouble.clone(),
            next_try_ms: self.next_try_ms,
            gaps: self.gaps(standing),
        }
    }

    /// Log that is missing between what the archive has and what it can still get.
    #[must_use]
    pub fn gaps(&self, standing: &Standing) -> Vec<Gap> {
        if !self.looked || seeded!(GapNotNoticed) {
            return Vec::new();
        }
        let known = self.known.values().flatten().cloned();
        let known = known.map(|index| Piece { index, source: Source::Archive });
        let here = standing.segments.iter().map(|local| standing.piece(local));
        let pieces: Vec<Piece> = known.chain(here).collect();
        gaps_of(&Histories::new(&pieces))
    }
}

impl Standing {
    /// A segment of the log, as if it were archived.
    fn piece(&self, local: &Local) -> Piece {
        let last = local.last.unwrap_or(Joint { end: local.first, digest: local.kept.digest });
        let first = Lsn::new(local.number.saturating_mul(self.size));
        let plain = Sums { len: last.end.since(first), blocks: Vec::new() };
        let index = SegmentIndex {
            log_id: self.log_id,
            number: local.number,
            segment_size: self.size,
            write_unit: u32::try_from(local.first.since(first)).unwrap_or(u32::MAX),
            incarnation: local.incarnation,
            kept: local.kept,
            last,
            written: Vec::new(),
            sealed: local.last.is_some(),
            compression: Compression::None,
            stored: plain.clone(),
            plain,
            marks: Vec::new(),
            labels: Vec::new(),
            joints: Vec::new(),
        };
        Piece { index, source: Source::Directory }
    }
}

/// Log that is missing though there is older: each gap once, lowest first.
#[must_use]
pub fn gaps_of(histories: &Histories<'_>) -> Vec<Gap> {
    let mut gaps: Vec<Gap> =
        histories.branches().into_iter().filter_map(|branch| branch.gap).collect();
    // An archive that was begun later has nothing below, and misses nothing.
    gaps.retain(|gap| gap.from > Lsn::ZERO);
    gaps.sort_by_key(|gap| (gap.segment, gap.to, gap.incarnation));
    gaps.dedup();
    gaps
}
