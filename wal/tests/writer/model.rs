//! The reference: every record that was taken, the bytes that were written, who waits for what.
//!
//! It knows nothing of buffers, queues or batches that are closed: it predicts where the next
//! record goes from where the last one went, and holds the writer to what it promises.

use crate::files::{Files, Read, start};
use crate::ops::{New, Op, Shape};
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, Kind, RECORD_HEADER_LEN, RecordHeader, Seed, decode_record,
    disk_len, padded_record_len,
};
use siding_wal::write::{Action, Class, Done, Recent, Refusal, Writer};
use siding_wal::{Error, ErrorKind, Lsn};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What does not hold.
pub(crate) type Broken = String;

/// A batch is closed once it would grow beyond this.
const BATCH_BYTES: u64 = 1 << 20;

/// A record that was taken.
#[derive(Debug)]
struct Taken {
    read: Read,
    next: Lsn,
    done: Arc<Done>,
}

#[derive(Debug)]
pub(crate) struct World {
    shape: Shape,
    incarnation: u32,
    seed: Seed,
    writer: Writer,
    pub(crate) files: Files,
    records: Vec<Taken>,
    /// Of an earlier life, and kept.
    kept: Vec<Read>,
    heads: BTreeMap<u64, Lsn>,
    limits: (Lsn, Lsn),
    /// Where the batch stands that the last record went into.
    batch: Lsn,
    /// What the holder of the token is at.
    doing: Option<Action>,
    /// Where the next batch is written, and the digest it continues.
    position: Lsn,
    digest: u32,
    durable: Lsn,
    wanted: Lsn,
    told: Vec<Arc<Done>>,
    waits: Vec<(Lsn, Arc<Done>)>,
    failed: bool,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(what()) }
}

fn among(told: &[Arc<Done>], done: &Arc<Done>) -> bool {
    told.iter().any(|other| Arc::ptr_eq(other, done))
}

impl World {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self::begin(shape, Files::new(shape), 2, shape.number, Lsn::ZERO, 0)
    }

    fn begin(
        shape: &Shape,
        mut files: Files,
        incarnation: u32,
        number: u64,
        kept_end: Lsn,
        digest: u32,
    ) -> Self {
        files.open(number, incarnation, kept_end, digest);
        let start = start(shape, incarnation, number, digest);
        let mut world = Self {
            shape: shape.clone(),
            incarnation,
            seed: Seed::new(&start.id, incarnation),
            writer: Writer::new(&start),
            files,
            records: Vec::new(),
            kept: Vec::new(),
            heads: BTreeMap::new(),
            limits: (Lsn::ZERO, Lsn::ZERO),
            batch: Lsn::ZERO,
            doing: None,
            position: start.position,
            digest,
            durable: start.durable,
            wanted: Lsn::ZERO,
            told: Vec::new(),
            waits: Vec::new(),
            failed: false,
        };
        world.limit(Lsn::new((number + 3) * shape.segment_size), 0);
        world
    }

    pub(crate) fn step(&mut self, op: &Op) -> Result<(), Broken> {
        match op {
            Op::Append(new) => drop(self.append(new)?),
            Op::Insist(new) => self.insist(new)?,
            Op::Place(new, take) => self.place(new, *take)?,
            Op::Edge(new, fits) => self.edge(new, *fits)?,
            Op::CloseBatch => self.writer.close_batch(),
            Op::Want(part) => {
                let ahead = self.writer.end().since(self.durable);
                self.want(self.durable.plus(ahead * (u64::from(*part) + 1) / 250))?;
            }
            Op::WantVoid(part) => {
                let first = Lsn::new(self.writer.placing() * self.shape.segment_size);
                let void = u64::from(self.shape.write_unit) * u64::from(*part) / 256;
                self.want(first.plus(void).min(self.writer.end()))?;
            }
            Op::Ask => self.ask()?,
            Op::Complete => self.complete()?,
            Op::Flush => self.flush()?,
            Op::Limits(segments, units) => {
                let size = self.shape.segment_size;
                let hard = (self.writer.end().get() / size + u64::from(*segments) + 1) * size;
                self.limit(Lsn::new(hard), u64::from(*units));
            }
            Op::Fail => self.fail()?,
        }
        self.check()
    }

    fn limit(&mut self, hard: Lsn, reserve_units: u64) {
        // What is prepared stays so.
        let hard = hard.max(self.limits.0);
        let soft = hard.get().saturating_sub(reserve_units * u64::from(self.shape.write_unit));
        self.limits = (hard, Lsn::new(soft));
        self.writer.set_limits(hard, Lsn::new(soft));
    }

    fn is_open(&self) -> bool {
        let last = self.records.last().and_then(|last| self.writer.recent(last.read.lsn));
        matches!(last, Some(Recent::Open(_)))
    }

    /// Where a record that takes `len` bytes goes, and the batch it goes into.
    fn predict(&self, len: u64) -> (Lsn, Lsn) {
        let (unit, size) = (u64::from(self.shape.write_unit), self.shape.segment_size);
        let (end, placing) = (self.writer.end(), self.writer.placing());
        let header = BATCH_HEADER_LEN as u64;
        let first = |number: u64| Lsn::new(number * size + unit);
        let full = end.since(self.batch) + len > BATCH_BYTES;
        let (batch, at) = match self.is_open() {
            true if !full => (self.batch, end),
            true => {
                let batch = Lsn::new(end.get().next_multiple_of(unit));
                (batch, batch.plus(header))
            }
            // A segment may have been entered that holds nothing.
            false => {
                let batch = end.max(first(placing));
                (batch, batch.plus(header))
            }
        };
        if at.plus(len) <= Lsn::new((placing + 1) * size) {
            return (at, batch);
        }
        (first(placing + 1).plus(header), first(placing + 1))
    }

    /// Whether a refusal names what to wait for, and a place is where it must be.
    fn judge(
        &mut self,
        len: u64,
        class: Class,
        predicted: (Lsn, Lsn),
        result: Result<Lsn, Refusal>,
    ) -> Result<Result<Lsn, Refusal>, Broken> {
        let limit = if class == Class::Reserved { self.limits.0 } else { self.limits.1 };
        match &result {
            Ok(lsn) => {
                ensure(*lsn == predicted.0, || format!("{lsn} and not {}", predicted.0))?;
                ensure(lsn.plus(len) <= limit, || format!("{lsn} + {len} is above {limit}"))?;
                ensure(!self.failed, || "a failed log took a record".into())?;
            }
            Err(Refusal::Ring) => {
                let oldest = self.writer.oldest_pending();
                let named = oldest.is_some_and(|(upto, _)| upto > self.durable);
                ensure(named, || "a full ring, and nothing to wait for".into())?;
            }
            Err(Refusal::Segment(named)) => {
                ensure(*named == class, || format!("{class:?}, and {named:?} is named"))?;
                let above = predicted.0.plus(len) > limit;
                ensure(above, || format!("{} + {len} is not above {limit}", predicted.0))?;
            }
            Err(Refusal::Outrun) => return Err("a writer knows of no pace".into()),
            Err(Refusal::Error(error)) => {
                ensure(self.failed, || format!("{error}"))?;
            }
        }
        Ok(result)
    }

    fn append(&mut self, new: &New) -> Result<Result<Lsn, Refusal>, Broken> {
        let number = self.records.len() + self.kept.len();
        let payload = vec![number as u8; new.len(&self.shape)];
        let header = RecordHeader {
            len: disk_len(RECORD_HEADER_LEN + payload.len()),
            kind: Kind::Data,
            flags: 0,
            resource: new.part,
            unit: new.unit + 1,
            prev: self.heads.get(&new.unit).copied().unwrap_or(Lsn::ZERO),
            payload_crc: crc32c::crc32c(&payload),
        };
        let len = padded_record_len(payload.len()) as u64;
        let predicted = self.predict(len);
        let result = self.writer.append(&header, &payload, new.class());
        let result = self.judge(len, new.class(), predicted, result)?;
        if let Ok(lsn) = result {
            self.batch = predicted.1;
            self.heads.insert(new.unit, lsn);
            let done = self.writer.done(lsn).ok_or("a new record is said to be durable")?;
            let read = Read { lsn, header, payload };
            self.records.push(Taken { read, next: lsn.plus(len), done });
            self.fits(len, new.class())?;
        }
        Ok(result)
    }

    /// A record was taken: all that must stay in memory fits into its share of the ring.
    fn fits(&self, len: u64, class: Class) -> Result<(), Broken> {
        let ring = self.shape.ring_size as u64;
        let share = if class == Class::Reserved { ring } else { ring - ring / 10 };
        let above = self.records.iter().filter(|it| it.read.lsn >= self.durable);
        let bytes: u64 = above.map(|taken| taken.next.since(taken.read.lsn)).sum();
        ensure(bytes <= share || bytes == len, || format!("{bytes} bytes, the share is {share}"))
    }

    fn place(&mut self, new: &New, take: bool) -> Result<(), Broken> {
        let len = padded_record_len(new.len(&self.shape));
        let predicted = self.predict(len as u64);
        let result = self.writer.place(len, new.class());
        let result = self.judge(len as u64, new.class(), predicted, result)?;
        if let (Ok(placed), true) = (result, take) {
            match self.append(new)? {
                Ok(lsn) => ensure(lsn == placed, || format!("{lsn}, placed at {placed}"))?,
                // What was closed for it takes more memory than it did open.
                Err(Refusal::Ring) => {}
                Err(refusal) => return Err(format!("placed at {placed}, then {refusal:?}")),
            }
        }
        Ok(())
    }

    /// A record at the very limit of its class.
    fn edge(&mut self, new: &New, fits: bool) -> Result<(), Broken> {
        let len = padded_record_len(new.len(&self.shape)) as u64;
        let end = self.predict(len).0.plus(len).get() - if fits { 0 } else { 8 };
        // The other class is free, as far as it can be.
        let far = self.limits.0.plus(4 * self.shape.segment_size);
        self.limits = match new.class() {
            Class::Ordinary => (far, Lsn::new(end)),
            Class::Reserved => (Lsn::new(end), Lsn::new(end)),
        };
        self.writer.set_limits(self.limits.0, self.limits.1);
        let result = self.append(new)?;
        let segment = matches!(result, Err(Refusal::Segment(_)));
        ensure(!(segment && fits), || format!("{len} bytes up to {end}: {result:?}"))?;
        self.limit(far, 0);
        Ok(())
    }

    /// As a caller does: waits for what the refusal names, and comes again.
    fn insist(&mut self, new: &New) -> Result<(), Broken> {
        for _ in 0..200 {
            match self.append(new)? {
                Ok(_) | Err(Refusal::Error(_) | Refusal::Outrun) => return Ok(()),
                Err(Refusal::Ring) => {
                    let (upto, done) = self.writer.oldest_pending().ok_or("nothing pending")?;
                    self.writer.want(upto);
                    self.wanted = self.wanted.max(upto);
                    self.flush()?;
                    ensure(among(&self.told, &done), || "the oldest batch is not told".into())?;
                }
                Err(Refusal::Segment(_)) => {
                    let hard = self.limits.0.plus(self.shape.segment_size);
                    self.limit(hard, 0);
                }
            }
        }
        Err("it is refused again and again".into())
    }

    fn want(&mut self, upto: Lsn) -> Result<(), Broken> {
        self.writer.want(upto);
        // What is not there yet is not waited for.
        let upto = upto.min(self.writer.end());
        self.wanted = self.wanted.max(upto);
        match self.writer.done(Lsn::new(upto.get().saturating_sub(1))) {
            Some(done) => self.waits.push((upto, done)),
            None => {
                let void =
                    self.records.iter().all(|it| it.next <= self.durable || it.read.lsn >= upto);
                ensure(void || self.failed, || format!("nothing to wait for below {upto}"))?;
            }
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), Broken> {
        if self.doing.is_some() {
            return Ok(());
        }
        let work = self.writer.has_work();
        let owed = self.wanted > self.durable && !self.failed;
        ensure(work || !owed, || format!("{} is wanted, and there is no work", self.wanted))?;
        let (open, written) = (self.is_open(), self.writer.written());
        self.doing = self.writer.next_action();
        ensure(self.doing.is_some() == work, || format!("work: {work}, and {:?}", self.doing))?;
        // A batch grows until it is needed, and those before it are on their way.
        let closed = open && !self.is_open();
        let before = self.records.iter().filter(|taken| taken.read.lsn < self.batch);
        let needed = self.wanted > written && before.map(|it| it.next).all(|next| next <= written);
        ensure(!closed || needed, || format!("closed for {}, written {written}", self.wanted))
    }

    /// Does what the token's holder is at, and says so.
    fn complete(&mut self) -> Result<(), Broken> {
        let Some(action) = self.doing.take() else { return Ok(()) };
        match &action {
            Action::Write { batches, durable } => {
                ensure(!*durable || batches.len() == 1, || "durably, and many".to_owned())?;
                for batch in batches {
                    self.written(batch.start, batch.bytes(), *durable)?;
                    self.position = batch.end;
                    self.digest = batch.digest;
                }
            }
            Action::Sync { upto } => {
                ensure(*upto <= self.position, || format!("{upto} is not written"))?;
                self.files.sync();
            }
            Action::Open { number, kept_end, kept_digest } => {
                let here = self.position.get().saturating_sub(1) / self.shape.segment_size;
                ensure(*number == here + 1, || format!("segment {number} behind {here}"))?;
                let first = Lsn::new(number * self.shape.segment_size);
                ensure(first < self.limits.0, || format!("segment {number} is not prepared"))?;
                let right = (*kept_end, *kept_digest) == (self.position, self.digest);
                ensure(right, || format!("{action:?} at {}", self.position))?;
                let unsynced = self.files.first_unsynced();
                ensure(unsynced == Lsn::MAX, || format!("{unsynced} is not synced: {action:?}"))?;
                self.files.open(*number, self.incarnation, *kept_end, *kept_digest);
                self.position = first.plus(u64::from(self.shape.write_unit));
            }
        }
        if self.failed {
            // The driver does not say so to a log that failed meanwhile.
            return Ok(());
        }
        let before = self.durable;
        let told = self.writer.complete(&action);
        self.durable = self.writer.durable();
        let proved = !matches!(action, Action::Open { .. }) || self.durable == self.position;
        ensure(proved, || format!("a header proves all below {}", self.position))?;
        ensure(self.durable >= before, || format!("durable goes back to {}", self.durable))?;
        self.tell(told, before, self.durable)
    }

    /// Those in `from..to` are told, and nobody else.
    fn tell(&mut self, told: Vec<Arc<Done>>, from: Lsn, to: Lsn) -> Result<(), Broken> {
        for taken in &self.records {
            let lsn = taken.read.lsn;
            let due = (from..to).contains(&lsn);
            ensure(among(&told, &taken.done) == due, || format!("{lsn}: told is {}", !due))?;
        }
        self.told.extend(told);
        let late = self.waits.iter().find(|(upto, done)| *upto <= to && !among(&self.told, done));
        ensure(late.is_none(), || format!("who waits for {late:?} is not told: {to} is durable"))
    }

    fn written(&mut self, at: Lsn, bytes: &[u8], durable: bool) -> Result<(), Broken> {
        ensure(at == self.position, || format!("a batch at {at} and not {}", self.position))?;
        let unit = self.shape.write_unit as usize;
        ensure(bytes.len().is_multiple_of(unit), || format!("{} bytes", bytes.len()))?;
        let unsynced = self.files.first_unsynced();
        ensure(!durable || unsynced == Lsn::MAX, || {
            format!("the write at {at} says nothing of {unsynced}")
        })?;
        let header = BatchHeader::decode(bytes, &crate::files::ID).map_err(|e| e.to_string())?;
        let true_now = header.durable_before <= unsynced.min(at);
        ensure(true_now, || format!("{header:?}, and {unsynced} is not synced"))?;
        self.files.write(at, bytes, durable);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        for _ in 0..1_000 {
            self.complete()?;
            self.ask()?;
            if self.doing.is_none() {
                let done = self.failed || self.durable >= self.wanted;
                return ensure(done, || format!("{} is wanted: nothing to do", self.wanted));
            }
        }
        Err("it asks for the same again and again".into())
    }

    fn fail(&mut self) -> Result<(), Broken> {
        let told = self.writer.fail(Error::new(ErrorKind::Failed, "the disk is gone"));
        if !std::mem::replace(&mut self.failed, true) {
            self.tell(told, self.durable, Lsn::MAX)?;
        }
        Ok(())
    }

    /// What holds at any time.
    fn check(&self) -> Result<(), Broken> {
        let (durable, written, end) =
            (self.writer.durable(), self.writer.written(), self.writer.end());
        ensure(durable == self.durable, || format!("durable is {durable} by itself"))?;
        ensure(durable <= written && written <= end, || format!("{durable} {written} {end}"))?;
        let unsynced = self.files.first_unsynced();
        ensure(durable <= unsynced, || format!("{unsynced} is not synced, durable {durable}"))?;
        let last = self.records.last().map_or(Lsn::ZERO, |last| last.next);
        ensure(last <= end, || format!("a record ends at {last}, all ends at {end}"))?;
        let header = match self.writer.recent(self.batch) {
            Some(Recent::Closed(batch)) => batch.bytes_at(self.batch).is_some(),
            recent => recent.is_some(),
        };
        ensure(!header, || "a batch's header is no record".into())?;
        self.records.iter().filter(|it| it.next > durable).try_for_each(|it| self.is_kept(it))
    }

    /// A record that is not durable is in memory, as it will stand on the disk.
    fn is_kept(&self, taken: &Taken) -> Result<(), Broken> {
        let Read { lsn, header, payload } = &taken.read;
        let recent = self.writer.recent(*lsn);
        let bytes = match &recent {
            Some(Recent::Open(bytes)) => bytes,
            Some(Recent::Closed(batch)) => batch.bytes_at(*lsn).unwrap_or_default(),
            None => return Err(format!("{lsn} is not durable, and not in memory")),
        };
        let found = decode_record(bytes, self.seed, *lsn).map_err(|e| format!("{lsn}: {e}"))?;
        ensure(found == (*header, payload), || format!("{lsn} is {found:?}, not {header:?}"))
    }

    /// The power goes; what a scan finds is what was kept, and a new writer goes on behind it.
    pub(crate) fn crash(mut self, seed: u64) -> Result<Self, Broken> {
        if let Some(Action::Write { batches, .. }) = &self.doing {
            // In the middle of it: some of their sectors are there.
            for batch in batches {
                self.files.write(batch.start, batch.bytes(), false);
            }
        }
        self.files.crash(seed);
        let (found, end, digest, segment) = self.scanned()?;
        let number = segment + 1;
        let mut next =
            Self::begin(&self.shape, self.files, self.incarnation + 1, number, end, digest);
        next.kept = found;
        Ok(next)
    }

    /// All that was taken is made durable and read back.
    pub(crate) fn finish(mut self) -> Result<(), Broken> {
        if !self.failed {
            let end = self.writer.end();
            self.want(end)?;
            self.flush()?;
            ensure(self.durable >= end, || format!("{} of {end} is durable", self.durable))?;
        }
        self.scanned().map(drop)
    }

    /// What stands on the disk: the records in the order they were placed, all that are durable.
    fn scanned(&self) -> Result<(Vec<Read>, Lsn, u32, u64), Broken> {
        let (found, verdict) = self.files.scan(self.durable);
        if let Some(error) = verdict.refusal() {
            return Err(format!("the log is refused: {error}"));
        }
        let mine = self.records.iter().map(|taken| &taken.read);
        let all: Vec<&Read> = self.kept.iter().chain(mine).collect();
        let same = found.len() <= all.len() && found.iter().zip(&all).all(|(a, b)| a == *b);
        ensure(same, || format!("found {found:#?}, placed {all:#?}"))?;
        let lost = all.iter().skip(found.len()).find(|read| read.lsn < self.durable);
        ensure(lost.is_none(), || format!("{:?} was durable", lost.map(|read| read.lsn)))?;
        Ok((found, verdict.end, verdict.digest, verdict.segment))
    }
}
