//! What is decided under the append lock: LSN, `prev`, ring space and the unit table, together.
//!
//! Pure. A unit's record and its entry in the table change in one step, so a table captured
//! between two steps agrees with the log at that position.

use super::commits::Commits;
use super::redo::Redo;
use super::reserve::{Terms, reserve};
use super::writer::{Class, Refusal, Writer};
use crate::format::{
    Cause, Decision, Discipline, Kind, PreparePayload, RECORD_HEADER_LEN, RecordHeader, UnitState,
    disk_len, flags, label_of, padded_record_len, wide,
};
use crate::units::{Applied, Forked, GidHolder, Owed, Unit, Units, undo_cost};
use crate::{Error, ErrorKind, Lsn};
use std::collections::VecDeque;

/// Outcomes of prepared units that ended are remembered for this many units.
const REMEMBERED: usize = 1024;

/// Bits of a unit's number that count within a block.
pub const COUNTER_BITS: u32 = 40;

/// A record that was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it stands.
    pub lsn: Lsn,
    /// The position just behind it: durable once everything below is.
    pub next: Lsn,
}

/// A record of a unit, before it has a place.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// What it is: DATA, CLR or END.
    pub kind: Kind,
    /// The embedder's number for what it changes.
    pub resource: u16,
    /// Its bytes.
    pub payload: &'a [u8],
    /// CRC32C of the bytes, computed before any lock.
    pub payload_crc: u32,
}

impl<'a> Draft<'a> {
    /// A record of `kind`; computes the checksum.
    #[must_use]
    pub fn new(kind: Kind, resource: u16, payload: &'a [u8]) -> Self {
        Self { kind, resource, payload, payload_crc: crc32c::crc32c(payload) }
    }
}

/// A decision, before it has a place.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// COMMIT, else ABORT.
    pub commit: bool,
    /// Whether the unit ends with it.
    pub end: bool,
    /// Decided without the coordinator.
    pub heuristic: bool,
    /// What decided.
    pub cause: Cause,
    /// Who decided; empty for the unit's own program.
    pub who: String,
}

/// Everything under the append lock.
#[derive(Debug)]
pub struct Core {
    /// Places records and plans flushes.
    pub writer: Writer,
    /// The live units.
    pub units: Units,
    discipline: Discipline,
    /// What COMMITs need of the log below them.
    pub commits: Commits,
    /// Number of the last unit that was handed out.
    last_unit: u64,
    /// All units whose COMMIT lies below are in the embedder's files.
    pub redo: Redo,
    /// Behind the last record that is more than a MARK; a label is.
    content_end: Lsn,
    terms: Terms,
    hard_limit: Lsn,
    /// All that is prepared belongs to the reserve.
    reserve_alone: bool,
    /// CLOSE is on its way: it shall be the last record.
    closing: bool,
    /// Units whose ABORT found no room when they were dropped.
    dropped: VecDeque<u64>,
    remembered: VecDeque<(u64, bool)>,
}

impl Core {
    /// The state of a log that goes on behind `writer`'s position.
    #[must_use]
    pub fn new(
        writer: Writer,
        mut units: Units,
        discipline: Discipline,
        segment_size: u64,
    ) -> Self {
        let content_end = writer.end();
        units.set_segment_size(segment_size);
        units.recount(discipline == Discipline::RepeatHistory);
        Self {
            writer,
            units,
            discipline,
            commits: Commits::default(),
            last_unit: 0,
            redo: Redo::default(),
            content_end,
            terms: Terms { write_unit: 512, segment_size: segment_size.max(1), segments: 1 },
            hard_limit: Lsn::ZERO,
            reserve_alone: false,
            closing: false,
            dropped: VecDeque::new(),
            remembered: VecDeque::new(),
        }
    }

    /// Begins to hand out units of `block`, which is durable.
    pub fn use_block(&mut self, block: u32) {
        // Never back: another thread may have taken the same block and given numbers of it.
        self.last_unit = self.last_unit.max(u64::from(block) << COUNTER_BITS);
    }

    /// Registers a new unit; none if the block is used up.
    pub fn begin(&mut self, wall_ms: u64) -> Option<u64> {
        let unit = self.last_unit.checked_add(1)?;
        if unit.trailing_zeros() >= COUNTER_BITS {
            return None;
        }
        self.last_unit = unit;
        self.units.begin(unit, wall_ms);
        self.refresh_limits();
        Some(unit)
    }

    /// What the reserve is computed from besides the live units.
    pub fn set_terms(&mut self, write_unit: u32, segments: usize) {
        self.terms.write_unit = u64::from(write_unit);
        self.terms.segments = wide(segments);
    }

    /// Records may be placed below this LSN; `reserve_alone`: none that are new work.
    pub fn set_hard_limit(&mut self, hard: Lsn, reserve_alone: bool) {
        // What is prepared stays so; whoever comes late with less has seen less.
        self.hard_limit = self.hard_limit.max(hard);
        self.reserve_alone = reserve_alone;
        self.refresh_limits();
    }

    /// Records may be placed below this LSN.
    #[must_use]
    pub fn hard_limit(&self) -> Lsn {
        self.hard_limit
    }

    /// Bytes that ordinary records leave free, so that all that lives can be ended and a keypoint
    /// be written; what they are for stands in `reserve.rs`.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        self.reserve_with(0)
    }

    /// The same, if a record had been appended whose undo takes `undo` bytes.
    fn reserve_with(&self, undo: u64) -> u64 {
        let owed = self.units.owed();
        let owed = Owed { undo: owed.undo.saturating_add(undo), ..owed };
        // COMMITs may have been placed in segments that are not open yet.
        let listed = self.commits.segments(self.terms.segment_size);
        reserve(&owed, &Terms { segments: self.terms.segments.max(listed), ..self.terms })
    }

    /// Whether ordinary records find no room any more.
    #[must_use]
    pub fn in_reserve(&self) -> bool {
        self.writer.ahead() < self.terms.write_unit
    }

    fn refresh_limits(&mut self) {
        self.leave_free(self.reserve());
    }

    fn leave_free(&mut self, bytes: u64) {
        let all = if self.reserve_alone { Lsn::ZERO } else { self.hard_limit };
        let soft = Lsn::new(all.get().saturating_sub(bytes));
        self.writer.set_limits(self.hard_limit, soft);
    }

    /// The first record of a unit is new work, whatever it is: the reserve is for what exists.
    fn class_to_end(&self, unit: u64) -> Class {
        let blank = self.units.get(unit).is_none_or(Unit::is_blank);
        if blank { Class::Ordinary } else { Class::Reserved }
    }

    /// Ends a unit that nobody goes on with; see [`Stream::give_up`](crate::stream::Stream).
    pub fn give_up(&mut self, unit: u64, now_ms: u64) {
        self.units.forget_blank(unit);
        self.refresh_limits();
        let state = self.units.get(unit).map(|entry| entry.state);
        if state != Some(UnitState::InFlight) {
            return;
        }
        let end = !self.repeats_history();
        let how = Verdict { end, cause: Cause::Drop, ..Verdict::default() };
        if self.decide(unit, &how, now_ms).is_err() {
            self.dropped.push_back(unit);
        }
    }

    /// Tries once more to end the units that were dropped when there was no room.
    pub fn retry_dropped(&mut self, now_ms: u64) {
        for unit in std::mem::take(&mut self.dropped) {
            self.give_up(unit, now_ms);
        }
    }

    /// How many units were dropped and wait for room to be ended.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped.len()
    }

    /// Appends DATA, CLR or END of a unit.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then nothing has changed.
    pub fn append(&mut self, unit: u64, new: &Draft<'_>, class: Class) -> Result<Placed, Refusal> {
        self.check(unit, new.kind)?;
        let header = self.header(unit, new.kind, 0, new.resource, new.payload.len());
        let header = RecordHeader { payload_crc: new.payload_crc, ..header };
        if class == Class::Ordinary {
            // What this record adds to the reserve must be left free too.
            let cost = undo_cost(wide(header.padded_len()), self.repeats_history());
            self.leave_free(self.reserve_with(cost));
            return self.put(&header, new.payload, class, &[], 0);
        }
        let placed = self.put(&header, new.payload, class, &[], 0);
        self.refresh_limits();
        placed
    }

    /// Appends PREPARE.
    ///
    /// # Errors
    ///
    /// [`Refusal`], [`ErrorKind::DuplicateGid`] among them; then nothing has changed.
    pub fn prepare(
        &mut self,
        unit: u64,
        gid: &[u8],
        wall_ms: u64,
        now_ms: u64,
    ) -> Result<Placed, Refusal> {
        self.check(unit, Kind::Prepare)?;
        if let Some(GidHolder::Live(other)) = self.units.gid_holder(gid) {
            let what = format!("the gid belongs to unit {other:#x}, which is live");
            return Err(Error::new(ErrorKind::DuplicateGid, what)
                .advise("take another gid, or resolve that unit first")
                .into());
        }
        let class = self.class_to_end(unit);
        let len = padded_record_len(25 + gid.len());
        let lsn = self.writer.place(len, class)?;
        let entry = self.units.get(unit);
        let payload = PreparePayload {
            gid: gid.to_vec(),
            first: entry.map(|entry| entry.first).filter(|lsn| !lsn.is_zero()).unwrap_or(lsn),
            started_ms: entry.map_or(0, |entry| entry.started_ms),
            prepared_ms: wall_ms,
        }
        .encode();
        let header = self.header(unit, Kind::Prepare, 0, 0, payload.len());
        let header = RecordHeader { payload_crc: crc32c::crc32c(&payload), ..header };
        let placed = self.put(&header, &payload, class, gid, now_ms);
        self.refresh_limits();
        placed
    }

    /// Appends COMMIT or ABORT.
    ///
    /// # Errors
    ///
    /// [`Refusal`], [`ErrorKind::AlreadyDecided`] among them; then nothing has changed.
    pub fn decide(&mut self, unit: u64, how: &Verdict, now_ms: u64) -> Result<Placed, Refusal> {
        let kind = if how.commit { Kind::Commit } else { Kind::Abort };
        self.check(unit, kind)?;
        let entry = self.units.get(unit);
        let prepared = entry.is_some_and(|entry| entry.prepared);
        let low = entry.map_or(Lsn::MAX, Unit::live_low);
        let mut payload = Decision {
            oldest: low,
            sec: entry.map_or_else(Default::default, |entry| entry.sec),
            cause: how.cause,
            who: how.who.clone(),
        };
        let class = self.class_to_end(unit);
        let len = padded_record_len(payload.encode().len());
        let lsn = self.writer.place(len, class)?;
        payload.oldest = payload.oldest.min(lsn);
        let bytes = payload.encode();
        let mut bits = if how.end { flags::END } else { 0 };
        bits |= if how.heuristic { flags::HEURISTIC } else { 0 };
        bits |= if prepared && !how.commit { flags::WAS_PREPARED } else { 0 };
        let header = self.header(unit, kind, bits, 0, bytes.len());
        let header = RecordHeader { payload_crc: crc32c::crc32c(&bytes), ..header };
        let placed = self.put(&header, &bytes, class, &[], now_ms)?;
        self.refresh_limits();
        if how.commit {
            self.commits.note(placed.next, payload.oldest);
        }
        if prepared {
            self.remembered.push_back((unit, how.commit));
            if self.remembered.len() > REMEMBERED {
                self.remembered.pop_front();
            }
        }
        Ok(placed)
    }

    /// Appends the fork record of a move whose copies are durable. None, and nothing was appended,
    /// if the unit has ended meanwhile.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then nothing has changed.
    pub fn fork(&mut self, unit: u64, forked: &Forked) -> Result<Option<Placed>, Refusal> {
        let Some(fork) = self.units.fork(unit, forked) else { return Ok(None) };
        self.taken(Kind::Fork)?;
        let payload = fork.encode();
        let header = self.header(unit, Kind::Fork, 0, 0, payload.len());
        let header = RecordHeader { payload_crc: crc32c::crc32c(&payload), ..header };
        let lsn = self.writer.append(&header, &payload, Class::Reserved)?;
        let next = lsn.plus(wide(header.padded_len()));
        self.content_end = next;
        self.units.forked(unit, (lsn, next), &fork, forked.original);
        Ok(Some(Placed { lsn, next }))
    }

    /// From here on no record is taken but CLOSE, or all are again.
    pub fn set_closing(&mut self, closing: bool) {
        self.closing = closing;
    }

    fn taken(&self, kind: Kind) -> Result<(), Refusal> {
        if self.closing && kind != Kind::Close {
            let what = "the log is being closed";
            return Err(Error::new(ErrorKind::Closed, what).advise("open it again").into());
        }
        Ok(())
    }

    /// Appends a record of the log itself.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then nothing has changed.
    pub fn append_of_log(&mut self, kind: Kind, payload: &[u8]) -> Result<Placed, Refusal> {
        self.taken(kind)?;
        self.put(&RecordHeader::of_log(kind, payload), payload, Class::Reserved, &[], 0)
    }

    fn header(&self, unit: u64, kind: Kind, bits: u8, resource: u16, len: usize) -> RecordHeader {
        RecordHeader {
            len: disk_len(RECORD_HEADER_LEN + len),
            kind,
            flags: bits,
            resource,
            unit,
            prev: self.units.get(unit).map_or(Lsn::ZERO, |entry| entry.head),
            payload_crc: 0,
        }
    }

    fn put(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        class: Class,
        gid: &[u8],
        now_ms: u64,
    ) -> Result<Placed, Refusal> {
        let lsn = self.writer.append(header, payload, class)?;
        let next = lsn.plus(wide(header.padded_len()));
        if header.kind != Kind::Mark || label_of(payload).is_some() {
            self.content_end = next;
        }
        if header.unit != 0 {
            let record = Applied {
                lsn,
                next,
                kind: header.kind,
                flags: header.flags,
                gid,
                repeat_history: self.repeats_history(),
            };
            self.units.appended(header.unit, &record, now_ms);
        }
        Ok(Placed { lsn, next })
    }

    /// The unit, if it is in doubt.
    ///
    /// # Errors
    ///
    /// Why it cannot be resolved: [`ErrorKind::AlreadyDecided`] as far as outcomes are
    /// remembered, [`ErrorKind::Invalid`] before PREPARE, [`ErrorKind::NotFound`].
    pub fn in_doubt(&self, unit: u64) -> crate::Result<&crate::units::Unit> {
        use UnitState::{Aborted, BackingOut, Committed, Ended, InDoubt, InFlight};
        let Some(entry) = self.units.get(unit) else {
            let remembered = self.remembered.iter().find(|(known, _)| *known == unit);
            return Err(match remembered {
                Some((_, commit)) => already_decided(unit, *commit),
                None => Error::new(ErrorKind::NotFound, format!("no unit {unit:#x} is live")),
            });
        };
        match entry.state {
            InDoubt => Ok(entry),
            InFlight => {
                let what = format!("unit {unit:#x} is in flight, not in doubt");
                Err(Error::new(ErrorKind::Invalid, what).advise("its own program ends it"))
            }
            Committed | Ended => Err(already_decided(unit, true)),
            Aborted | BackingOut => Err(already_decided(unit, false)),
        }
    }

    /// Whether the unit's state allows a record of this kind.
    fn check(&self, unit: u64, kind: Kind) -> Result<(), Refusal> {
        use UnitState::{Aborted, BackingOut, Committed, InDoubt, InFlight};
        self.taken(kind)?;
        let decides = matches!(kind, Kind::Commit | Kind::Abort);
        let Some(entry) = self.units.get(unit) else {
            let remembered = self.remembered.iter().find(|(known, _)| *known == unit);
            return Err(match remembered.filter(|_| decides) {
                Some((_, commit)) => already_decided(unit, *commit).into(),
                None => {
                    let what = format!("unit {unit:#x} has ended");
                    Error::new(ErrorKind::UnitEnded, what).advise("begin a new unit").into()
                }
            });
        };
        let allowed = match kind {
            Kind::Data => matches!(entry.state, InFlight | Committed | Aborted),
            Kind::Compensation => matches!(entry.state, InFlight | BackingOut),
            Kind::Prepare => entry.state == InFlight,
            Kind::Commit | Kind::Abort => matches!(entry.state, InFlight | InDoubt),
            _ => matches!(entry.state, Committed | Aborted | BackingOut),
        };
        if allowed {
            return Ok(());
        }
        if decides {
            return Err(already_decided(unit, entry.state == Committed).into());
        }
        let (name, state) = (kind.name(), entry.state.name());
        let what = format!("unit {unit:#x} is {state}: {name} does not fit");
        Err(Error::new(ErrorKind::UnitEnded, what).into())
    }

    /// Whether updates may reach the embedder's files before commit.
    #[must_use]
    pub fn repeats_history(&self) -> bool {
        self.discipline == Discipline::RepeatHistory
    }

    /// Behind the last record that is more than a MARK; a label is.
    #[must_use]
    pub fn content_end(&self) -> Lsn {
        self.content_end
    }
}

fn already_decided(unit: u64, commit: bool) -> Error {
    let outcome = if commit { "commit" } else { "back out" };
    let what = format!("unit {unit:#x} is decided already: {outcome}");
    Error::new(ErrorKind::AlreadyDecided, what)
        .decided(commit)
        .advise("go by that outcome; a coordinator that decided otherwise has been overruled")
}
