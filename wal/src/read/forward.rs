//! The forward scan: batch after batch, each verified whole, up to the end of the log.
//!
//! The scan reads ahead in large aligned reads, hands out records without copying them, follows
//! the log from segment to segment, and where no batch goes on gathers the facts that the table
//! in `verdict` decides by. It writes nothing, and trusts no byte it has not checked.

use super::Segments;
use super::batch::{Bounds, Fault, Probe, Records, Running, probe, verify};
use super::rows::{Decision, judge};
use super::search::{Place, search};
use super::segments::Segment;
use super::verdict::{After, At, Facts, Next, Verdict};
use super::window::Window;
use crate::format::{BatchHeader, Seed, segment_file_name, size};
use crate::{Error, ErrorKind, Lsn, Result};
use std::io;
use std::sync::Arc;

/// What one step of the scan found.
#[derive(Debug)]
pub enum Step {
    /// A whole batch; [`Forward::records`] gives its records.
    Batch(BatchHeader),
    /// No batch below the limit is left; raise the limit to go on.
    Limit,
    /// No batch goes on here. Every further step finds the same.
    End(Verdict),
}

/// A forward scan over the batches of a log.
///
/// One step verifies one batch: its header's checksum, that it stands where it says, that its
/// incarnation and epoch do not go back, that it continues the batch before it, its length, count
/// and digest, and both checksums of every record. A batch with one invalid record is no batch.
#[derive(Debug)]
pub struct Forward {
    segments: Segments,
    window: Window,
    segment: Arc<Segment>,
    position: Lsn,
    /// Where to start: batches that end at or below it are passed by their headers alone.
    target: Lsn,
    running: Running,
    seed: Seed,
    highest: u32,
    durable_before: Lsn,
    limit: Lsn,
    known_durable: Lsn,
    clean_end: Option<Lsn>,
    beyond: Next,
    batch: Option<BatchHeader>,
}

/// What stands at the scan's position.
enum Look {
    Batch(BatchHeader),
    Limit,
    /// No batch goes on; if a header stands here, its incarnation, and where to search on.
    End {
        at: At,
        incarnation: u32,
        from: Lsn,
        evidence: Option<Lsn>,
        cause: Option<io::Error>,
    },
}

impl Forward {
    /// A scan from the first batch of segment `number`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if that segment is not here.
    pub fn from_segment(segments: &Segments, number: u64) -> Result<Self> {
        let segment = segments.get(number).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such segment")
                .at(segments.first_lsn(number))
                .file(segment_file_name(number))
        })?;
        let digest = Some(segment.header.kept_digest);
        Ok(Self::new(segments, segment, segment.first_batch(), digest))
    }

    /// A scan from the batch that starts at `lsn`, which the caller knows to be one; that it
    /// continues what stands before it is not checked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] below the oldest segment, [`ErrorKind::NotFound`] above the last.
    pub fn from_batch(segments: &Segments, lsn: Lsn) -> Result<Self> {
        let segment = holding(segments, lsn)?;
        Ok(Self::new(segments, segment, lsn, None))
    }

    /// A scan from the batch that holds `lsn`. Finds it by the headers of the batches before it
    /// in its segment; their records are not looked at. The first batch may begin below `lsn`. In
    /// a stretch that is void the scan starts with the next segment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] below the oldest segment, [`ErrorKind::NotFound`] above the last.
    pub fn from_lsn(segments: &Segments, lsn: Lsn) -> Result<Self> {
        let segment = holding(segments, lsn)?;
        let mut scan = Self::from_segment(segments, segment.number)?;
        scan.target = lsn;
        Ok(scan)
    }

    fn new(
        segments: &Segments,
        segment: &Arc<Segment>,
        position: Lsn,
        digest: Option<u32>,
    ) -> Self {
        let (incarnation, epoch) = (segment.header.incarnation, segment.header.epoch);
        let highest = segments.iter().map(|segment| segment.header.incarnation).max();
        Self {
            segments: segments.clone(),
            window: Window::new(),
            segment: Arc::clone(segment),
            position,
            target: position,
            running: Running { digest, incarnation, epoch },
            seed: Seed::new(segments.id(), incarnation),
            highest: highest.unwrap_or(incarnation),
            durable_before: Lsn::ZERO,
            limit: Lsn::MAX,
            known_durable: Lsn::ZERO,
            clean_end: None,
            beyond: Next::Last,
            batch: None,
        }
    }

    /// The same scan, which takes an end below `lsn` for a loss.
    #[must_use]
    pub fn known_durable(mut self, lsn: Lsn) -> Self {
        self.known_durable = lsn;
        self
    }

    /// The same scan, of a log whose newest control slot says that it was closed at `lsn`.
    #[must_use]
    pub fn closed_at(mut self, lsn: Option<Lsn>) -> Self {
        self.clean_end = lsn;
        self
    }

    /// The same scan, told what stands behind the last of its segments.
    #[must_use]
    pub fn beyond(mut self, next: Next) -> Self {
        self.beyond = next;
        self
    }

    /// The same scan, which stops before the first batch that ends above `lsn`. A reader of a log
    /// in use believes only what lies below a `durable_before` it has read.
    #[must_use]
    pub fn limit(mut self, lsn: Lsn) -> Self {
        self.limit = lsn;
        self
    }

    /// The same scan by the headers of batches alone, straight to where they end: for
    /// [`Forward::durable_before`], below which a reader of a log in use may believe records.
    #[must_use]
    pub fn headers_alone(mut self) -> Self {
        self.target = Lsn::MAX;
        self
    }

    /// The same scan, with `depth` stretches of 1 MiB read ahead of it, so that the device works
    /// while the scan verifies: through the disk's pipe, or by as many threads. It helps only where
    /// there is no limit: what lies above one is not read before its time. Without threads to be
    /// had, as before.
    #[must_use]
    pub fn read_ahead(mut self, depth: usize) -> Self {
        self.window.read_ahead(depth);
        self.window.set_route(&self.segments, &self.segment);
        self
    }

    /// Raises the limit of a scan that came to it, and shows it the segments of now. All below
    /// the limit is durable.
    pub fn advance(&mut self, segments: &Segments, limit: Lsn) {
        self.segments = segments.clone();
        self.limit = limit;
        self.known_durable = self.known_durable.max(limit);
    }

    /// Where the next batch is expected.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The largest `durable_before` of the batches so far: all below it was durable.
    #[must_use]
    pub fn durable_before(&self) -> Lsn {
        self.durable_before
    }

    /// The digest of the last batch, which the next one must continue; none before the first
    /// batch of a scan that started in the middle.
    #[must_use]
    pub fn digest(&self) -> Option<u32> {
        self.running.digest
    }

    /// Bytes read from the disk so far, for a progress bar.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.window.bytes_read()
    }

    /// The records of the batch that the last step found; none after any other step.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        let Some(batch) = &self.batch else { return Records::new(&[], Lsn::ZERO) };
        let offset = self.segment.offset_of(batch.lsn);
        Records::new(self.window.held(offset, size(batch.len)), batch.lsn)
    }

    /// How far a log in use can be believed: the largest `durable_before` among the batches from
    /// here on, or what was known before. Goes by the headers alone, and by no limit: a header is
    /// under its checksum, and what it claims was true before it was written, be it durable itself
    /// or not. Decides nothing about where the log ends.
    ///
    /// # Errors
    ///
    /// None that a disk can cause.
    pub fn durable_ahead(mut self) -> Result<Lsn> {
        (self.target, self.limit) = (Lsn::MAX, Lsn::MAX);
        loop {
            match self.kept_end()? {
                Some(Next::Change) if self.enter_next() => continue,
                Some(_) => break,
                None => {}
            }
            match self.look() {
                Look::Batch(header) if !self.crosses(&header) => self.accept(&header),
                _ => break,
            }
        }
        Ok(self.durable_before.max(self.known_durable))
    }

    /// The next batch, or why there is none.
    ///
    /// # Errors
    ///
    /// None that a disk can cause: what is wrong with the log is a [`Verdict`].
    pub fn next_batch(&mut self) -> Result<Step> {
        self.batch = None;
        loop {
            if let Some(end) = self.kept_end()? {
                let verdict = self.judge(end, At::Nothing, None)?;
                if verdict.row.decision != Decision::GoOn || !self.enter_next() {
                    return Ok(Step::End(verdict));
                }
                continue;
            }
            match self.look() {
                Look::Limit => return Ok(Step::Limit),
                Look::Batch(header) if self.crosses(&header) => {
                    let verdict = self.judge(Next::Contradicts, At::Damaged, None)?;
                    return Ok(Step::End(verdict));
                }
                Look::Batch(header) => {
                    let passed = header.next(self.unit()) <= self.target;
                    self.accept(&header);
                    if !passed {
                        self.batch = Some(header);
                        return Ok(Step::Batch(header));
                    }
                }
                Look::End { at, incarnation, from, evidence, cause } => {
                    self.highest = self.highest.max(incarnation);
                    return Ok(Step::End(self.end_here(at, from, evidence, cause)?));
                }
            }
        }
    }

    fn unit(&self) -> u32 {
        self.segment.header.write_unit
    }

    fn next_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.get(self.segment.number.checked_add(1)?)
    }

    /// What the next segment says, if that decides before anything here is looked at.
    fn kept_end(&self) -> Result<Option<Next>> {
        let Some(next) = self.next_segment() else { return Ok(None) };
        let kept = next.header.kept_end;
        if kept > self.position && kept <= self.segment.end() {
            return Ok(None);
        }
        let continues = kept == self.position
            && self.running.digest.is_none_or(|digest| digest == next.header.kept_digest)
            && next.header.incarnation >= self.running.incarnation
            && next.header.epoch >= self.running.epoch;
        Ok(Some(if continues { Next::Change } else { Next::Contradicts }))
    }

    /// Whether the next segment's header cuts this batch in two.
    fn crosses(&self, header: &BatchHeader) -> bool {
        let end = header.next(self.unit());
        self.next_segment().is_some_and(|next| end > next.header.kept_end)
    }

    /// Goes on in the next segment.
    fn enter_next(&mut self) -> bool {
        let Some(next) = self.next_segment().cloned() else { return false };
        self.position = next.first_batch();
        self.running = Running {
            digest: Some(next.header.kept_digest),
            incarnation: next.header.incarnation,
            epoch: next.header.epoch,
        };
        self.seed = Seed::new(self.segments.id(), next.header.incarnation);
        self.segment = next;
        self.window.set_route(&self.segments, &self.segment);
        true
    }

    fn accept(&mut self, header: &BatchHeader) {
        self.position = header.next(self.unit());
        self.running = Running {
            digest: Some(header.digest),
            incarnation: header.incarnation,
            epoch: header.epoch,
        };
        self.highest = self.highest.max(header.incarnation);
        self.durable_before = self.durable_before.max(header.durable_before);
    }

    /// What stands at the position.
    fn look(&mut self) -> Look {
        if self.position >= self.limit {
            return Look::Limit;
        }
        let bounds = Bounds {
            first: self.segment.header.first_lsn(),
            end: self.segment.end(),
            write_unit: self.segment.header.write_unit,
        };
        let behind = self.position.plus(u64::from(bounds.write_unit));
        if behind > bounds.end {
            return end(At::Nothing, bounds.end);
        }
        let offset = self.segment.offset_of(self.position);
        let cap = match self.limit {
            Lsn::MAX => u64::MAX,
            limit => self.segment.offset_of(limit),
        };
        let unit = match self.window.read(self.segment.source(), offset, size(self.unit()), cap) {
            Ok(unit) => unit,
            Err(cause) => return unreadable(behind, cause),
        };
        match probe(unit, self.segments.id(), self.position, &self.running, &bounds) {
            Probe::Goes(header) => self.body(header, offset, cap),
            Probe::None(at) => end(at, behind),
            Probe::Stray(at, header) => Look::End {
                at,
                incarnation: header.incarnation,
                from: behind,
                evidence: (header.lsn != self.position).then_some(header.lsn),
                cause: None,
            },
            Probe::Broken(header) => damaged(&header, behind),
        }
    }

    /// Verifies the records of the batch at the position, unless it is to be passed.
    fn body(&mut self, header: BatchHeader, offset: u64, cap: u64) -> Look {
        let next = header.next(self.unit());
        if next > self.limit {
            return Look::Limit;
        }
        if header.incarnation != self.running.incarnation {
            // For a batch that is passed too: those behind it may be of the same open.
            self.seed = Seed::new(self.segments.id(), header.incarnation);
        }
        if next <= self.target {
            return Look::Batch(header);
        }
        let bytes = match self.window.read(self.segment.source(), offset, size(header.len), cap) {
            Ok(bytes) => bytes,
            Err(cause) => return unreadable(next, cause),
        };
        if bytes.len() < size(header.len) {
            return end(At::CutShort, next);
        }
        match verify(bytes, &header, self.seed) {
            Ok(()) => Look::Batch(header),
            Err(Fault::Damaged) => damaged(&header, next),
            Err(Fault::Newer) => end(At::Newer, next),
        }
    }

    /// Gathers what is known about the position, now that no batch goes on, and judges.
    fn end_here(
        &mut self,
        at: At,
        from: Lsn,
        evidence: Option<Lsn>,
        cause: Option<io::Error>,
    ) -> Result<Verdict> {
        let next = self.beyond_here();
        let mut verdict = self.judge(next, at, cause)?;
        verdict.evidence = evidence;
        let unfinished = matches!(at, At::Nothing | At::Damaged | At::Leftover);
        if next != Next::Last
            || verdict.facts.below_known_durable
            || verdict.facts.clean
            || !unfinished
        {
            return Ok(verdict);
        }
        let place = Place { hole: self.position, from, running: self.running };
        let found = search(&mut self.window, &self.segment, self.segments.id(), &place);
        self.highest = self.highest.max(found.incarnation);
        let facts = Facts { after: found.after, ..verdict.facts };
        let mut verdict = self.verdict(facts, found.cause)?;
        verdict.evidence = found.evidence.or(evidence);
        Ok(verdict)
    }

    /// What the next segment says at a position where kept data should go on, or the log end.
    fn beyond_here(&self) -> Next {
        let higher = self.segments.last().is_some_and(|last| last.number > self.segment.number);
        match self.next_segment() {
            Some(_) => Next::Above,
            None if higher => Next::Missing,
            None => self.beyond,
        }
    }

    fn judge(&self, next: Next, at: At, cause: Option<io::Error>) -> Result<Verdict> {
        let facts = Facts {
            at,
            after: After::Nothing,
            next,
            below_known_durable: self.position < self.known_durable,
            clean: self.clean_end == Some(self.position),
        };
        self.verdict(facts, cause)
    }

    fn verdict(&self, facts: Facts, cause: Option<io::Error>) -> Result<Verdict> {
        let row = judge(&facts).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the end of the log matches no row of the table")
                .at(self.position)
        })?;
        Ok(Verdict {
            row,
            facts,
            end: self.position,
            digest: self.running.digest.unwrap_or_default(),
            segment: self.segment.number,
            incarnation: self.highest,
            epoch: self.running.epoch,
            evidence: None,
            cause: cause.map(Arc::new),
        })
    }
}

/// The segment that holds `lsn`.
fn holding(segments: &Segments, lsn: Lsn) -> Result<&Arc<Segment>> {
    segments.containing(lsn).ok_or_else(|| {
        let number = segments.number_of(lsn);
        if segments.oldest_number().is_some_and(|oldest| number < oldest) {
            return Error::new(ErrorKind::Trimmed, "the log no longer reaches back this far")
                .at(lsn);
        }
        Error::new(ErrorKind::NotFound, "the log does not reach this far").at(lsn)
    })
}

fn end(at: At, from: Lsn) -> Look {
    Look::End { at, incarnation: 0, from, evidence: None, cause: None }
}

fn unreadable(from: Lsn, cause: io::Error) -> Look {
    Look::End { at: At::Unreadable, incarnation: 0, from, evidence: None, cause: Some(cause) }
}

fn damaged(header: &BatchHeader, from: Lsn) -> Look {
    Look::End {
        at: At::Damaged,
        incarnation: header.incarnation,
        from,
        evidence: None,
        cause: None,
    }
}
