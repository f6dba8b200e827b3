//! The writer: which record goes where, which batch is written when, what is durable.
//!
//! A state machine without I/O, clock or thread. Records go into the open batch; a flush takes
//! closed batches in order; every byte above `durable` stays in memory. Whoever holds the flush
//! token asks [`Writer::next_action`], does what it says, and tells [`Writer::complete`]:
//!
//! 1. A record gets its LSN when it is copied into the open batch; every LSN is final.
//!    Crash: the record is gone; nothing said that it was there.
//! 2. The batch is closed: header, digest, padding. Crash: as above.
//! 3. The batch is written, durably if nothing un-synced lies below. Crash in the middle: any
//!    subset of its sectors; its checksums tell, and it was not acknowledged.
//! 4. Else a sync follows. Crash before it: any subset of the batches since the last sync; the
//!    first hole ends the log.
//! 5. `durable` moves, and those who wait are woken. Crash: nothing is lost.
//!
//! At a segment change everything kept in the old segment is durable before the header of the new
//! one is written: a valid header proves all below it.

use super::Done;
use super::batch::{Batch, Identity, OpenBatch, Recent};
use crate::disk::AlignedBuf;
use crate::format::{BATCH_HEADER_LEN, LogId, RecordHeader, Seed, padded_record_len, wide};
use crate::{Error, Lsn};
use std::collections::VecDeque;
use std::sync::Arc;

/// A batch is closed once it has grown to this many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// The most batches that are written in one go.
const RUN: usize = 16;

/// Buffers kept for the next batches.
const POOL: usize = 4;

/// Which share of memory and disk a record may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// New work: stops where the reserve begins.
    Ordinary,
    /// Ends work that exists, or lets the log be trimmed: may use the reserve.
    Reserved,
}

/// Why a record was not taken. Nothing has changed; what to wait for is named.
#[derive(Debug)]
pub enum Refusal {
    /// The ring is full: a flush must come first.
    Ring,
    /// The segment after the prepared ones is needed, by a record of this class.
    Segment(Class),
    /// Log is written faster than it is kept small: take part first.
    Outrun,
    /// The log failed, or the call is wrong.
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What the holder of the flush token does next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write batches, one behind the other; durably, or just so.
    Write {
        /// At least one; one alone if `durable`.
        batches: Vec<Arc<Batch>>,
        /// Whether the write itself makes them durable.
        durable: bool,
    },
    /// Sync the segment that is written to.
    Sync {
        /// Once it succeeds, all below is durable.
        upto: Lsn,
    },
    /// Write, durably, the header of the next segment, which is prepared.
    Open {
        /// Its number.
        number: u64,
        /// Where what was kept before it ends.
        kept_end: Lsn,
        /// Digest of the last batch before it.
        kept_digest: u32,
    },
}

/// What a writer starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which log this is.
    pub id: LogId,
    /// The incarnation of this open.
    pub incarnation: u32,
    /// The epoch it writes under.
    pub epoch: u32,
    /// Batches start and end at multiples of this.
    pub write_unit: u32,
    /// Bytes of each segment.
    pub segment_size: u64,
    /// Bytes of records that may wait in memory.
    pub ring_size: usize,
    /// The segment that is open.
    pub segment: u64,
    /// Where the next batch goes.
    pub position: Lsn,
    /// Digest of the batch before it.
    pub digest: u32,
    /// Everything below is durable.
    pub durable: Lsn,
}

/// The pure writer of one log.
#[derive(Debug)]
pub struct Writer {
    identity: Identity,
    segment_size: u64,
    ring_size: usize,
    open: OpenBatch,
    /// Closed batches: first those kept for readers, then those to be made durable.
    queue: VecDeque<Arc<Batch>>,
    /// Memory of the closed batches that are not durable, and of all closed batches.
    pending: usize,
    held: usize,
    pool: Vec<AlignedBuf>,
    durable: Lsn,
    written: Lsn,
    /// The segment that records are placed in.
    placing: u64,
    /// The segment that batches are written to now.
    current: u64,
    /// Where the last batch of each segment that was left ends, oldest first, with its digest.
    changes: VecDeque<Change>,
    /// Records may be placed below this LSN: the end of the prepared segments.
    hard_limit: Lsn,
    /// Ordinary records may be placed below this LSN: the reserve begins here.
    soft_limit: Lsn,
    /// Somebody waits until all below is durable.
    wanted: Lsn,
    failed: Option<Error>,
}

impl Writer {
    /// A writer that goes on at `start.position`.
    #[must_use]
    pub fn new(start: &Start) -> Self {
        let identity = Identity {
            id: start.id,
            incarnation: start.incarnation,
            epoch: start.epoch,
            write_unit: start.write_unit,
            seed: Seed::new(&start.id, start.incarnation),
        };
        let current = start.segment;
        let limit = Lsn::new(current.saturating_add(1).saturating_mul(start.segment_size));
        Self {
            identity,
            segment_size: start.segment_size.max(1),
            ring_size: start.ring_size,
            open: OpenBatch::new(start.position, start.digest, AlignedBuf::with_capacity(8192)),
            queue: VecDeque::new(),
            pending: 0,
            held: 0,
            pool: Vec::new(),
            durable: start.durable,
            written: start.durable,
            placing: current,
            current,
            changes: VecDeque::new(),
            hard_limit: limit,
            soft_limit: limit,
            wanted: Lsn::ZERO,
            failed: None,
        }
    }

    /// Adds a record and gives its LSN. `header.len` and `header.payload_crc` are computed before.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then nothing has changed.
    pub fn append(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        class: Class,
    ) -> Result<Lsn, Refusal> {
        self.place(padded_record_len(payload.len()), class)?;
        Ok(self.open.push(self.identity.seed, header, payload))
    }

    /// Where a record of `len` bytes, padding included, goes if it is appended now; makes sure
    /// that it fits into the open batch.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then no record may be appended.
    pub fn place(&mut self, len: usize, class: Class) -> Result<Lsn, Refusal> {
        if let Some(error) = &self.failed {
            return Err(Refusal::Error(error.duplicate()));
        }
        let (ring, limit) = match class {
            Class::Ordinary => (self.ring_size - self.ring_size / 10, self.soft_limit),
            Class::Reserved => (self.ring_size, self.hard_limit),
        };
        let waiting = self.pending.saturating_add(self.open.len()).saturating_add(len);
        if waiting > ring && (self.pending > 0 || self.open.count > 0) {
            return Err(Refusal::Ring);
        }
        if self.open.count > 0 && self.open.len().saturating_add(len) > BATCH_BYTES {
            self.close_open();
        }
        let end = self.open.next_lsn().plus(wide(len));
        if end <= self.first_lsn(self.placing.saturating_add(1)) {
            return if end > limit {
                Err(Refusal::Segment(class))
            } else {
                Ok(self.open.next_lsn())
            };
        }
        let first = self.first_batch(self.placing.saturating_add(1));
        if first.plus(wide(BATCH_HEADER_LEN.saturating_add(len))) > limit {
            return Err(Refusal::Segment(class));
        }
        self.change_segment(first);
        Ok(self.open.next_lsn())
    }

    fn first_lsn(&self, number: u64) -> Lsn {
        Lsn::new(number.saturating_mul(self.segment_size))
    }

    fn first_batch(&self, number: u64) -> Lsn {
        self.first_lsn(number).plus(u64::from(self.identity.write_unit))
    }

    /// Closes the open batch, if it holds a record, and opens the next one right behind it.
    fn close_open(&mut self) {
        if self.open.count == 0 {
            return;
        }
        let buf = self.buffer(self.open.len());
        // Where the next batch goes is known only once this one is padded.
        let between = OpenBatch::new(Lsn::ZERO, 0, AlignedBuf::default());
        let vouched = if crate::seeded!(WrittenIsVouchedFor) { self.written } else { self.durable };
        let batch = std::mem::replace(&mut self.open, between).close(&self.identity, vouched);
        self.open = OpenBatch::new(batch.end, batch.digest, buf);
        self.pending = self.pending.saturating_add(batch.held());
        self.held = self.held.saturating_add(batch.held());
        self.queue.push_back(Arc::new(batch));
        self.evict();
    }

    /// Leaves the segment; the open batch begins anew in the next one.
    fn change_segment(&mut self, first: Lsn) {
        self.close_open();
        let (kept_end, digest) = (self.open.start, self.open.digest_before());
        self.placing = self.placing.saturating_add(1);
        self.changes.push_back(Change { number: self.placing, kept_end, digest });
        let buf = self.buffer(8192);
        self.open = OpenBatch::new(first, digest, buf);
    }

    /// A buffer for a batch that may grow to about `len` bytes.
    fn buffer(&mut self, len: usize) -> AlignedBuf {
        let fits = |buf: &AlignedBuf| buf.capacity() >= len && buf.capacity() / 4 <= len.max(8192);
        match self.pool.iter().position(fits) {
            Some(index) => self.pool.swap_remove(index),
            None => AlignedBuf::with_capacity(len.next_multiple_of(8192)),
        }
    }

    /// Lets go of the oldest durable batches, which readers of recent records get from memory,
    /// then of spare buffers, until all of it fits into the ring.
    fn evict(&mut self) {
        loop {
            let spare: usize = self.pool.iter().map(AlignedBuf::capacity).sum();
            if self.held.saturating_add(spare) <= self.ring_size {
                return;
            }
            let durable = self.durable;
            let Some(batch) = self.queue.pop_front_if(|batch| batch.end <= durable) else {
                self.pool.clear();
                return;
            };
            self.held = self.held.saturating_sub(batch.held());
            if let (true, Ok(batch)) = (self.pool.len() < POOL, Arc::try_unwrap(batch)) {
                self.pool.push(batch.into_buf());
            }
        }
    }

    /// Closes the open batch now, so that the next record is the first of its batch.
    pub fn close_batch(&mut self) {
        self.close_open();
    }

    /// Asks that everything below `lsn` be made durable.
    pub fn want(&mut self, lsn: Lsn) {
        self.wanted = self.wanted.max(lsn.min(self.end()));
    }

    /// Whether the holder of the flush token has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.failed.is_none() && (self.wanted > self.durable || self.unwritten().is_some())
    }

    /// Whether a closed batch waits to be written.
    #[must_use]
    pub fn has_closed(&self) -> bool {
        self.queue.back().is_some_and(|last| last.end > self.written)
    }

    fn unwritten(&self) -> Option<&Arc<Batch>> {
        self.queue.get(self.queue.partition_point(|batch| batch.end <= self.written))
    }

    /// The closed batches that can be written in one go: those of the segment that is written to,
    /// so that a device that takes several requests at once has them.
    fn run(&self) -> Vec<Arc<Batch>> {
        let first = self.queue.partition_point(|batch| batch.end <= self.written);
        let end = self.first_lsn(self.current.saturating_add(1));
        let here = self.queue.range(first..).take_while(|batch| batch.start < end);
        here.take(RUN).cloned().collect()
    }

    /// What to do next; none if nothing is wanted.
    pub fn next_action(&mut self) -> Option<Action> {
        if self.failed.is_some() {
            return None;
        }
        let wants = self.wanted > self.durable;
        if wants && self.unwritten().is_none() && self.wanted > self.written {
            self.close_open();
        }
        let Some(batch) = self.unwritten().cloned() else {
            return wants.then_some(Action::Sync { upto: self.written });
        };
        if self.first_lsn(self.current.saturating_add(1)) > batch.start {
            let last = self.queue.back().is_some_and(|last| last.end == batch.end);
            let enough = last || self.wanted <= batch.end;
            let durable = wants && enough && self.durable == self.written;
            let batches = if durable { vec![batch] } else { self.run() };
            return Some(Action::Write { batches, durable });
        }
        let change = self.changes.front()?;
        if self.durable < change.kept_end && !crate::seeded!(HeaderBeforeDurable) {
            return Some(Action::Sync { upto: self.written });
        }
        let Change { number, kept_end, digest: kept_digest } = *change;
        Some(Action::Open { number, kept_end, kept_digest })
    }

    /// Takes note that an action succeeded. Returns those to be told that theirs is durable.
    #[must_use]
    pub fn complete(&mut self, action: &Action) -> Vec<Arc<Done>> {
        match action {
            Action::Write { batches, durable } => {
                self.written = batches.last().map_or(self.written, |last| last.end);
                if *durable {
                    return self.durable_upto(self.written);
                }
            }
            Action::Sync { upto } => return self.durable_upto(*upto),
            Action::Open { number, .. } => {
                self.current = *number;
                self.changes.pop_front();
                self.written = self.first_batch(*number);
                self.durable = self.written;
            }
        }
        Vec::new()
    }

    fn durable_upto(&mut self, upto: Lsn) -> Vec<Arc<Done>> {
        let from = self.queue.partition_point(|batch| batch.end <= self.durable);
        let to = self.queue.partition_point(|batch| batch.end <= upto);
        let settled = self.queue.range(from..to.max(from));
        let freed: usize = settled.clone().map(|batch| batch.held()).sum();
        let told = settled.map(|batch| Arc::clone(&batch.done)).collect();
        self.pending = self.pending.saturating_sub(freed);
        self.durable = self.durable.max(upto);
        told
    }

    /// The log failed: nothing more is taken or acknowledged. Returns those to be told.
    #[must_use]
    pub fn fail(&mut self, error: Error) -> Vec<Arc<Done>> {
        self.failed.get_or_insert(error);
        let durable = self.durable;
        let lost = self.queue.iter().filter(|batch| batch.end > durable);
        lost.map(|batch| &batch.done).chain([&self.open.done]).map(Arc::clone).collect()
    }

    /// Why the log failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.failed.as_ref().map(Error::duplicate)
    }

    /// Which segments are prepared, and where the reserve begins.
    pub fn set_limits(&mut self, hard: Lsn, soft: Lsn) {
        self.hard_limit = hard;
        self.soft_limit = soft.min(hard);
    }

    /// Bytes that ordinary records may still take of what is prepared.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        self.soft_limit.since(self.end())
    }

    /// Who is told when all up to the byte at `lsn` is durable; none if it is. In the void before
    /// a segment that is the last batch of the one before it: nothing else will be told of it.
    #[must_use]
    pub fn done(&self, lsn: Lsn) -> Option<Arc<Done>> {
        if lsn < self.durable {
            return None;
        }
        if lsn >= self.open.start {
            return Some(Arc::clone(&self.open.done));
        }
        let before = self.queue.partition_point(|batch| batch.start <= lsn).checked_sub(1)?;
        self.queue.get(before).map(|batch| Arc::clone(&batch.done))
    }

    /// The oldest batch that is not durable, to wait for when memory is full.
    #[must_use]
    pub fn oldest_pending(&self) -> Option<(Lsn, Arc<Done>)> {
        let index = self.queue.partition_point(|batch| batch.end <= self.durable);
        match self.queue.get(index) {
            Some(batch) => Some((batch.end, Arc::clone(&batch.done))),
            None if self.open.count > 0 => Some((self.end(), Arc::clone(&self.open.done))),
            None => None,
        }
    }

    fn batch_at(&self, lsn: Lsn) -> Option<&Arc<Batch>> {
        let index = self.queue.partition_point(|batch| batch.end <= lsn);
        self.queue.get(index).filter(|batch| batch.start <= lsn)
    }

    /// The bytes from `lsn` on, if memory still has them; the batch keeps them alive.
    #[must_use]
    pub fn recent(&self, lsn: Lsn) -> Option<Recent<'_>> {
        if lsn >= self.open.start {
            return self.open.bytes_at(lsn).map(Recent::Open);
        }
        self.batch_at(lsn).map(|batch| Recent::Closed(Arc::clone(batch)))
    }

    /// All below is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// All below was handed to the operating system.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.written
    }

    /// Where the log ends: behind the last record, or where the next batch starts.
    #[must_use]
    pub fn end(&self) -> Lsn {
        if self.open.count > 0 {
            return self.open.next_lsn();
        }
        // A segment that was entered and holds nothing is not waited for: nobody would open it.
        self.queue.back().map_or(self.written, |last| last.end.max(self.written))
    }

    /// The segment that records are placed in.
    #[must_use]
    pub fn placing(&self) -> u64 {
        self.placing
    }

    /// The checksum seed of this open's records.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.identity.seed
    }
}

/// The end of what is kept in a segment that was left.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// The segment that follows.
    number: u64,
    kept_end: Lsn,
    digest: u32,
}
