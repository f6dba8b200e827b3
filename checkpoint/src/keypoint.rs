//! Keypoints: the unit table, written to the log while work goes on.
//!
//! 1. KP_BEGIN, the first record of its batch; the redo position was captured before.
//! 2. Units, a few at a time under the append lock, and segments with their COMMIT minima, taken
//!    after KP_BEGIN: a COMMIT before it is in the minima, one behind it is seen by the scan.
//! 3. KP_END. 4. Durable. 5. The control slot that names it.
//!
//! Crash before 4: the previous keypoint counts. Between 4 and 5: the scan from the previous one
//! passes this one, and it counts.

use crate::backup::Stop;
use crate::engine::Engine;
use crate::upkeep::Keypointing;
use siding_wal::format::{
    KeypointBegin, KeypointChunk, KeypointEnd, Kind, RecordHeader, SegmentEntry, UnitEntry,
};
use siding_wal::seeded;
use siding_wal::stream::Stream;
use siding_wal::write::Placed;
use siding_wal::{Lsn, Result};

/// Units captured under one hold of the lock.
const GROUP: usize = 64;

/// A keypoint's table, collected from its records.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its KP_BEGIN.
    pub begin: Lsn,
    /// Its KP_END; zero while it is not complete.
    pub end: Lsn,
    /// The redo position it carries.
    pub redo: Lsn,
    /// The oldest LSN kept when it was written.
    pub oldest: Lsn,
    /// The units.
    pub units: Vec<UnitEntry>,
    /// The segments.
    pub segments: Vec<SegmentEntry>,
    chunks: u32,
    crc: u32,
    broken: bool,
}

impl Table {
    /// Takes note of a record; everything that is not of a keypoint is passed over.
    pub fn collect(&mut self, lsn: Lsn, header: &RecordHeader, payload: &[u8]) {
        match header.kind {
            Kind::KeypointBegin => {
                *self = Self { begin: lsn, ..Self::default() };
            }
            Kind::KeypointChunk => match KeypointChunk::decode(payload) {
                Ok(chunk) if chunk.begin == self.begin && chunk.index == self.chunks => {
                    self.chunks = self.chunks.saturating_add(1);
                    self.crc = crc(self.crc, header.payload_crc);
                    self.units.extend(chunk.units);
                    self.segments.extend(chunk.segments);
                }
                _ => self.broken = true,
            },
            Kind::KeypointEnd => {
                if let Ok(end) = KeypointEnd::decode(payload)
                    && end.begin == self.begin
                    && !self.begin.is_zero()
                    && !self.broken
                    && (end.chunks, end.table_crc) == (self.chunks, self.crc)
                {
                    (self.end, self.redo, self.oldest) = (lsn, end.redo, end.oldest);
                }
            }
            _ => {}
        }
    }

    /// The table, once it is complete.
    pub fn take_complete(&mut self) -> Option<Self> {
        if self.end.is_zero() { None } else { Some(std::mem::take(self)) }
    }
}

fn crc(before: u32, payload_crc: u32) -> u32 {
    crc32c::crc32c_append(before, &payload_crc.to_le_bytes())
}

/// Writes the chunks of one keypoint.
struct Writer<'a> {
    stream: &'a Stream,
    chunk: KeypointChunk,
    len: usize,
    limit: usize,
    chunks: u32,
    crc: u32,
}

impl Writer<'_> {
    fn flush(&mut self) -> Result<()> {
        if self.chunk.units.is_empty() && self.chunk.segments.is_empty() {
            return Ok(());
        }
        let payload = self.chunk.encode();
        self.stream.append_of_log(Kind::KeypointChunk, &payload)?;
        self.crc = crc(self.crc, crc32c::crc32c(&payload));
        self.chunks = self.chunks.saturating_add(1);
        let begin = self.chunk.begin;
        self.chunk = KeypointChunk { begin, index: self.chunks, ..KeypointChunk::default() };
        self.len = 20;
        Ok(())
    }

    fn room_for(&mut self, len: usize) -> Result<()> {
        if self.len.saturating_add(len) > self.limit {
            self.flush()?;
        }
        self.len = self.len.saturating_add(len);
        Ok(())
    }
}

impl Engine {
    /// Takes a keypoint and trims what it allows. Returns where the keypoint begins. If the
    /// keeper has not kept up, units that hold what could be trimmed are moved first.
    ///
    /// Costs one record of about 370 bytes a live unit and 24 a segment, and two forced writes. If
    /// the log is full and nothing but marks came behind the last keypoint, that one stands.
    ///
    /// # Errors
    ///
    /// The log failed, or has no room even in its reserve.
    ///
    /// # Crash
    ///
    /// The keypoint counts, or the one before it does; nothing is lost either way.
    pub fn keypoint(&self) -> Result<Lsn> {
        let right = self.one_keypoint();
        self.make_way();
        self.keypoint_now(&right)
    }

    /// The same, for one who has the right to.
    pub(crate) fn keypoint_now(&self, _right: &Keypointing<'_>) -> Result<Lsn> {
        if seeded!(TrimPastKeypoint) {
            self.trim()?;
        }
        let begin = match self.keypoint_stands() {
            Some(begin) => begin,
            None => self.write_keypoint([0; 16])?.begin,
        };
        self.trim()?;
        Ok(begin)
    }

    /// The last keypoint, if the log is full and another one would say the same.
    fn keypoint_stands(&self) -> Option<Lsn> {
        let bounds = self.stream().bounds();
        let end = self.keeper().keypoint_end();
        let core = self.stream().core();
        let same = core.redo.position() == bounds.redo && core.content_end() == end;
        (core.in_reserve() && same && !bounds.keypoint_begin.is_zero())
            .then_some(bounds.keypoint_begin)
    }

    /// The keypoint that stops a backup. Trims nothing.
    pub(crate) fn stop_keypoint(&self, backup_id: [u8; 16]) -> Result<Stop> {
        let _right = self.one_keypoint();
        self.write_keypoint(backup_id)
    }

    fn write_keypoint(&self, backup_id: [u8; 16]) -> Result<Stop> {
        let stream = self.stream();
        let redo = stream.core().redo.position();
        let begun = stream.append_first(Kind::KeypointBegin, &KeypointBegin { redo }.encode())?;
        let segments = self.segment_entries(redo);
        let (chunks, crc, units) = self.write_table(begun.lsn, redo, &segments)?;
        let end = KeypointEnd {
            begin: begun.lsn,
            chunks,
            table_crc: crc,
            redo,
            oldest: stream.bounds().oldest,
            secondary_digest: 0,
            backup_id,
        };
        let (placed, behind) = if backup_id == [0; 16] {
            let placed = stream.append_of_log(Kind::KeypointEnd, &end.encode())?;
            (placed, placed.next)
        } else {
            // Nothing that a restore must not see may stand in the same batch.
            stream.append_last(Kind::KeypointEnd, &end.encode())?
        };
        let Placed { lsn, next } = placed;
        if !seeded!(KeypointNotDurable) {
            stream.ensure_durable(next)?;
        }
        stream.keypoint_done(begun.lsn, lsn, redo)?;
        self.note_keypoint(next);
        Ok(Stop { begin: begun.lsn, last: lsn, end: behind, units, segments })
    }

    fn write_table(
        &self,
        begin: Lsn,
        redo: Lsn,
        segments: &[SegmentEntry],
    ) -> Result<(u32, u32, Vec<UnitEntry>)> {
        let stream = self.stream();
        let settings = stream.settings();
        let limit = (64 << 10).min(settings.max_record).min(settings.ring_size / 40);
        let chunk = KeypointChunk { begin, ..KeypointChunk::default() };
        let mut writer = Writer { stream, chunk, len: 20, limit, chunks: 0, crc: 0 };
        for entry in segments {
            writer.room_for(24)?;
            writer.chunk.segments.push(*entry);
        }
        let numbers = stream.core().units.numbers();
        let mut written = Vec::new();
        for group in numbers.chunks(GROUP) {
            let now = stream.clock().monotonic_ms();
            let entries: Vec<UnitEntry> = {
                let core = stream.core();
                group.iter().filter_map(|unit| core.units.entry(*unit, now, redo)).collect()
            };
            for entry in entries {
                writer.room_for(entry.encoded_len())?;
                writer.chunk.units.push(entry.clone());
                written.push(entry);
            }
        }
        writer.flush()?;
        Ok((writer.chunks, writer.crc, written))
    }

    /// Each segment with what its COMMITs above `redo` need, also of segments that COMMITs were
    /// placed in and no flush has opened yet.
    fn segment_entries(&self, redo: Lsn) -> Vec<SegmentEntry> {
        let segments = self.stream().segments();
        let directories = self.directories();
        let commits = self.stream().core().commits.clone();
        let first = segments.oldest_number().unwrap_or(0);
        let last = segments.last().map_or(first, |last| last.number);
        let last = last.max(segments.number_of(commits.last()));
        let entry = |number: u64| {
            let (from, to) = (segments.first_lsn(number), segments.first_lsn(number + 1));
            let from = if segments.number_of(redo) == number { redo } else { from };
            let commit_low = match seeded!(KeypointForgetsCommitMinima) {
                true => Lsn::MAX,
                false => commits.need_between(from, to),
            };
            SegmentEntry { number, directory: directories.lsn_of(number), commit_low }
        };
        (first..=last).map(entry).collect()
    }

    /// Trims what the last keypoint and all pins allow. Returns the bytes freed.
    ///
    /// # Errors
    ///
    /// The log failed.
    pub fn trim(&self) -> Result<u64> {
        self.forget_originals();
        if self.trims_to(self.trim_point()).is_none() {
            return Ok(0);
        }
        // Originals of lost copies go last: what is lost is known, and rebuilt, before.
        self.settle_forks();
        self.rebuild_due();
        let Some(point) = self.trims_to(self.trim_point()) else { return Ok(0) };
        let freed = self.stream().trim(point)?;
        self.forget_restore();
        Ok(freed)
    }

    /// The same position, if a segment ends below it.
    fn trims_to(&self, point: Lsn) -> Option<Lsn> {
        let segments = self.stream().segments();
        let oldest = segments.oldest_number().unwrap_or(0);
        (segments.number_of(point) > oldest).then_some(point)
    }
}
