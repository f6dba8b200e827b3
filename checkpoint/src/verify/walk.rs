//! The walk over all batches, from segment to segment, and on behind what is not whole.

use super::checks::Checks;
use super::{Finding, Verification};
use crate::open::Progress;
use crate::reader::{ReadOnly, Usage};
use siding_wal::disk::AlignedBuf;
use siding_wal::format::{BATCH_HEADER_LEN, BatchHeader, size, wide};
use siding_wal::read::{Forward, Segment, Segments, Step, Verdict};
use siding_wal::{ErrorKind, Lsn, Result};

/// How much is searched at once behind damage.
const PIECE: usize = 1 << 20;

/// What is walked over.
pub(super) struct Ground<'a> {
    pub(super) segments: Segments,
    pub(super) known_durable: Lsn,
    pub(super) clean_end: Option<Lsn>,
    /// Nothing at or above is looked at: the log is in use.
    pub(super) limit: Lsn,
    /// The last keypoint that control file or headers name.
    pub(super) keypoint: (Lsn, Lsn),
    /// The log, if its headers hold together.
    pub(super) log: Option<&'a ReadOnly>,
}

/// Where a stretch of whole batches begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    Segment(u64),
    Batch(Lsn),
}

impl Ground<'_> {
    /// Looks at every batch there is.
    pub(super) fn walk(&self, progress: &dyn Fn(&Progress)) -> Verification {
        let mut seen = Verification {
            usage: Usage::Closed,
            row: None,
            end: Lsn::ZERO,
            segments: wide(self.segments.len()),
            batches: 0,
            records: 0,
            bytes: 0,
            keypoints: 0,
            units: 0,
            findings: Vec::new(),
            notes: Vec::new(),
        };
        let mut checks = Checks::new(self.segments.clone());
        let mut next = self.segments.oldest_number().map(Start::Segment);
        while let Some(start) = next {
            let lsn = match start {
                Start::Segment(number) => self.segments.first_lsn(number),
                Start::Batch(lsn) => lsn,
            };
            checks.begin_at(lsn);
            next = match self.stretch(start, &mut checks, &mut seen, progress) {
                Ok(next) => next,
                Err(error) => {
                    seen.findings.push(Finding::of(&error));
                    None
                }
            };
        }
        checks.finish(self.keypoint, &mut seen);
        seen.findings.sort_by_key(|finding| (finding.lsn, finding.segment));
        seen
    }

    /// One stretch of batches that continue each other; says where the next one begins.
    fn stretch(
        &self,
        start: Start,
        checks: &mut Checks,
        seen: &mut Verification,
        progress: &dyn Fn(&Progress),
    ) -> Result<Option<Start>> {
        let scan = match start {
            Start::Segment(number) => Forward::from_segment(&self.segments, number),
            Start::Batch(lsn) => Forward::from_batch(&self.segments, lsn),
        };
        let mut scan = scan?.known_durable(self.known_durable).closed_at(self.clean_end);
        scan = scan.limit(self.limit);
        let (read, total) = (seen.bytes, self.total());
        loop {
            match scan.next_batch()? {
                Step::Batch(_) => {
                    seen.batches += 1;
                    for (lsn, header, payload) in scan.records() {
                        seen.records += 1;
                        checks.record(lsn, &header, payload, &mut seen.findings);
                    }
                    seen.bytes = read.saturating_add(scan.bytes_read());
                    progress(&Progress { step: "verify", done: seen.bytes, total });
                }
                Step::Limit => {
                    seen.end = scan.position();
                    return Ok(None);
                }
                Step::End(verdict) => {
                    seen.end = verdict.end;
                    return self.ended(&verdict, seen);
                }
            }
        }
    }

    fn total(&self) -> u64 {
        let last = self.segments.last().map(|last| last.number);
        let ends = self.segments.iter().map(|segment| {
            let kept = self.segments.kept_end_of(segment.number);
            let open = Some(segment.number) == last && self.limit < Lsn::MAX;
            segment.offset_of(kept.unwrap_or(if open { self.limit } else { segment.end() }))
        });
        ends.sum()
    }

    /// A stretch ended: the log does, or something is wrong and it may go on further up.
    fn ended(&self, verdict: &Verdict, seen: &mut Verification) -> Result<Option<Start>> {
        let Some(error) = verdict.refusal() else {
            seen.row = Some(verdict.row);
            return Ok(None);
        };
        if let Some(log) = self.log {
            let meant = log.explain(error.duplicate(), verdict.end);
            if meant.kind() == ErrorKind::Trimmed {
                seen.notes.push(format!("{} at LSN {}", meant.what(), verdict.end));
                return Ok(self.oldest_now(log));
            }
        }
        seen.findings.push(Finding::of(&error));
        Ok(self.behind(verdict))
    }

    fn oldest_now(&self, log: &ReadOnly) -> Option<Start> {
        let number = self.segments.number_of(log.oldest_now());
        self.segments.get(number).map(|_| Start::Segment(number))
    }

    /// The first batch behind `verdict.end` that is in its place, or the next segment.
    fn behind(&self, verdict: &Verdict) -> Option<Start> {
        let here = self.segments.get(verdict.segment)?;
        let bound = self.segments.kept_end_of(here.number).unwrap_or_else(|| here.end());
        let found = self.search(here, verdict.end, bound.min(self.limit)).map(Start::Batch);
        let above =
            || self.segments.iter().map(|segment| segment.number).find(|n| *n > here.number);
        found.or_else(|| above().map(Start::Segment))
    }

    fn search(&self, here: &Segment, hole: Lsn, bound: Lsn) -> Option<Lsn> {
        let unit = u64::from(here.header.write_unit.max(512));
        let mut piece = AlignedBuf::zeroed(PIECE.max(size(here.header.write_unit)));
        let mut at = hole.plus(unit);
        while at < bound {
            // A stretch that cannot be read is passed piece by piece; it has its own finding.
            let read = here.file.read_at(here.offset_of(at), piece.as_mut_slice());
            let count = read.ok().filter(|count| *count > 0).unwrap_or(0);
            let mut offset = 0;
            while wide(offset) < wide(piece.len()) {
                let position = at.plus(wide(offset));
                if position >= bound {
                    return None;
                }
                let bytes = piece.get(offset..count).unwrap_or_default();
                let front = bytes.get(..BATCH_HEADER_LEN).unwrap_or_default();
                if let Ok(batch) = BatchHeader::decode(front, self.segments.id())
                    && batch.lsn == position
                    && batch.incarnation >= here.header.incarnation
                {
                    return Some(position);
                }
                offset = offset.saturating_add(size(here.header.write_unit.max(512)));
            }
            at = at.plus(wide(piece.len()));
        }
        None
    }
}
