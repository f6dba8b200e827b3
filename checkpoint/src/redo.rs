//! Redo: what restart hands to the embedder.
//!
//! Deferred apply: whole committed units, in the order of their COMMITs, each oldest to newest
//! and without what was rolled back. The scan finds COMMITs; the chain gives the records. Repeat
//! history: every record from the redo position on.
//!
//! Where extents of a committed unit are lost, the originals that are still on the main log stand
//! in for them.

use crate::engine::Engine;
use crate::steps::{Steps, scan_from};
use siding_fork::StandIn;
use siding_wal::chain::{ChainStart, Copies, Fetch, Forward as Chain};
use siding_wal::format::{Decision, Kind, RecordHeader, SPtr, wide};
use siding_wal::read::{Forward, Step};
use siding_wal::stream::RecordBuf;
use siding_wal::write::Commits;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::VecDeque;
use std::sync::Arc;

impl Engine {
    /// Whether redo can start at `lsn`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] if records that this redo needs are gone, [`ErrorKind::Invalid`]
    /// above the end of the log.
    pub fn check_redo(&self, lsn: Lsn) -> Result<()> {
        let core = self.stream().core();
        let oldest = self.stream().bounds().oldest;
        if lsn > core.writer.end() {
            let what = "the redo position lies above the end of the log";
            return Err(Error::new(ErrorKind::Invalid, what)
                .at(lsn)
                .advise("the snapshot is newer than the log: it belongs to another copy"));
        }
        let need = if core.repeats_history() { lsn } else { lsn.min(core.commits.need(lsn)) };
        if need < oldest {
            let what = format!("redo needs records below the oldest kept ({oldest})");
            return Err(Error::new(ErrorKind::Trimmed, what)
                .at(lsn)
                .advise("use a newer snapshot: the log was trimmed by its redo position"));
        }
        Ok(())
    }

    /// What is durable now.
    fn durable(&self) -> Lsn {
        self.stream().core().writer.durable()
    }

    /// A scan from `lsn` to `limit`, which is durable: an end before that is a loss.
    fn scan_from(&self, lsn: Lsn, limit: Lsn) -> Result<Forward> {
        let scan = scan_from(&self.stream().segments(), lsn)?;
        Ok(scan.limit(limit).known_durable(limit))
    }

    /// What a scan that stands at `position` says of trouble there: below the oldest segment kept
    /// it was trimmed under the scan, and whatever was found is nothing.
    fn behind(&self, position: Lsn, trouble: Error) -> Error {
        let oldest = self.stream().bounds().oldest;
        let segments = self.stream().segments();
        if segments.number_of(position) >= segments.number_of(oldest) {
            return trouble;
        }
        let what = format!("the log was trimmed under the cursor (oldest is {oldest})");
        Error::new(ErrorKind::Trimmed, what)
            .at(position)
            .advise("begin again at the oldest position, or from a newer snapshot")
    }

    /// The committed units from `redo` on.
    ///
    /// # Errors
    ///
    /// As [`Engine::check_redo`].
    pub fn committed(self: &Arc<Self>, redo: Lsn) -> Result<Committed> {
        self.check_redo(redo)?;
        let limit = self.durable();
        Ok(Committed {
            scan: Some(self.scan_from(redo, limit)?),
            limit,
            seen: Commits::default(),
            engine: Arc::clone(self),
            redo,
            found: VecDeque::new(),
            chain: Chain::new(ChainStart::default(), Lsn::ZERO),
            at_hand: None,
            stand_in: None,
            last: Lsn::ZERO,
        })
    }

    /// Every record from `from` on.
    ///
    /// # Errors
    ///
    /// As [`Engine::check_redo`].
    pub fn history(self: &Arc<Self>, from: Lsn) -> Result<History> {
        let oldest = self.stream().bounds().oldest;
        if from < oldest && !from.is_zero() {
            let what = format!("the log no longer reaches back this far (oldest is {oldest})");
            return Err(Error::new(ErrorKind::Trimmed, what).at(from));
        }
        let from = from.max(oldest);
        let scan =
            self.scan_from(from, self.durable()).map_err(|error| self.behind(from, error))?;
        Ok(History { engine: Arc::clone(self), steps: Steps::new(scan, from) })
    }
}

/// A COMMIT that the scan found.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The unit's chain, from the newest record before it.
    chain: ChainStart,
    /// Where it stands.
    lsn: Lsn,
    /// The position just behind it.
    next: Lsn,
}

/// Where redo finds the records of the unit whose COMMIT stands at `lsn`. A unit that was moved
/// has an entry until a durable keypoint carries a redo position above its COMMIT, and may have
/// been moved again since; what COMMIT says serves all others.
fn redo_chain(
    engine: &Engine,
    lsn: Lsn,
    header: &RecordHeader,
    decision: &Decision,
) -> Result<ChainStart> {
    let (unit, head) = (header.unit, header.prev);
    match engine.stream().core().units.redo_chain(unit) {
        Some(entry) => Ok(ChainStart { head, ..entry }),
        None if decision.sec == SPtr::NONE => {
            Ok(ChainStart { unit, head, floor: decision.oldest, sec: SPtr::NONE })
        }
        None => {
            let what = format!("the moved records of unit {unit:#x} are no longer kept");
            Err(Error::new(ErrorKind::Trimmed, what)
                .at(lsn)
                .advise("use a newer snapshot: the log was trimmed by its redo position"))
        }
    }
}

/// A cursor over the records of committed units.
#[derive(Debug)]
pub struct Committed {
    engine: Arc<Engine>,
    scan: Option<Forward>,
    redo: Lsn,
    limit: Lsn,
    /// What the COMMITs so far need; exact, where a keypoint's table speaks of whole segments.
    seen: Commits,
    found: VecDeque<Found>,
    /// The chain at hand, and whose it is.
    chain: Chain,
    at_hand: Option<Found>,
    /// What takes the place of lost extents of it.
    stand_in: Option<Arc<StandIn>>,
    /// The last record of it that was given.
    last: Lsn,
}

/// Where the records of the chain at hand are read.
struct Source<'a> {
    log: &'a dyn Fetch,
    stand_in: Option<&'a Arc<StandIn>>,
}

impl Fetch for Source<'_> {
    fn fetch(&self, lsn: Lsn, into: &mut RecordBuf) -> Result<RecordHeader> {
        self.log.fetch(lsn, into)
    }

    fn chain_now(&self, unit: u64) -> Option<ChainStart> {
        // What stands in does not move.
        if self.stand_in.is_some() { None } else { self.log.chain_now(unit) }
    }

    fn copies(&self, unit: u64) -> Result<Arc<dyn Copies>> {
        match self.stand_in {
            Some(stand_in) => Ok(Arc::<StandIn>::clone(stand_in)),
            None => self.log.copies(unit),
        }
    }
}

impl Committed {
    /// The next record: where it stands, its header, its payload, and the position just behind
    /// its unit's COMMIT.
    ///
    /// # Errors
    ///
    /// What is wrong with the log; nothing more follows.
    #[allow(clippy::type_complexity, reason = "the parts of one record")]
    pub fn step(&mut self) -> Result<Option<(Lsn, RecordHeader, &[u8], Lsn)>> {
        let (lsn, header, commit) = loop {
            if let Some(found) = self.at_hand {
                let stand_in = self.stand_in.as_ref();
                let source = Source { log: &**self.engine.stream(), stand_in };
                match self.chain.step(&source) {
                    Ok(Some((lsn, header))) if lsn > self.last => {
                        self.last = lsn;
                        break (lsn, header, found.next);
                    }
                    // Given before extents were found lost.
                    Ok(Some(_)) => {}
                    Ok(None) => self.at_hand = None,
                    Err(error) if self.stand_in.is_some() => return Err(error),
                    Err(error) => self.turn_to_originals(found, error)?,
                }
            } else if let Some(found) = self.found.pop_front() {
                self.chain.restart(found.chain, found.lsn);
                (self.at_hand, self.stand_in, self.last) = (Some(found), None, Lsn::ZERO);
            } else if !self.scan_on()? {
                return Ok(None);
            }
        };
        Ok(Some((lsn, header, self.chain.payload(), commit)))
    }

    /// The chain at hand anew, with originals in the place of extents that are lost; else `error`,
    /// which was met.
    fn turn_to_originals(&mut self, found: Found, error: Error) -> Result<()> {
        let Some(stand_in) = self.engine.stand_in(found.chain.unit) else { return Err(error) };
        let chain = ChainStart { sec: stand_in.newest(), ..found.chain };
        self.chain.restart(chain, found.lsn);
        self.stand_in = Some(Arc::new(stand_in));
        Ok(())
    }

    /// Bytes that were scanned so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.scan.as_ref().map_or(0, Forward::bytes_read)
    }

    fn scan_on(&mut self) -> Result<bool> {
        let Some(scan) = &mut self.scan else { return Ok(false) };
        match scan.next_batch()? {
            Step::Batch(_) => {}
            Step::Limit => {
                self.scan = None;
                if self.redo <= self.engine.stream().bounds().redo {
                    self.engine.stream().core().commits.learn(self.limit, &self.seen);
                }
                return Ok(false);
            }
            Step::End(verdict) => {
                let refusal = verdict.refusal();
                let position = scan.position();
                self.scan = None;
                let trouble = refusal.map(|error| self.engine.behind(position, error));
                return trouble.map_or(Ok(false), Err);
            }
        }
        for (lsn, header, payload) in scan.records() {
            let next = lsn.plus(wide(header.padded_len()));
            if header.kind != Kind::Commit || next <= self.redo {
                continue;
            }
            let decision = Decision::decode(payload).map_err(|malformed| {
                Error::new(ErrorKind::Corrupt, "a COMMIT holds an impossible value")
                    .at(lsn)
                    .caused_by(malformed)
            })?;
            let chain = redo_chain(&self.engine, lsn, &header, &decision)?;
            // Of a restored log the table may know of more than COMMIT does.
            let low = if chain.head >= chain.floor { chain.floor } else { Lsn::MAX };
            self.seen.note(next, decision.oldest.min(low));
            self.found.push_back(Found { chain, lsn, next });
        }
        Ok(true)
    }
}

/// A cursor over every record, in the order of the log.
#[derive(Debug)]
pub struct History {
    engine: Arc<Engine>,
    steps: Steps,
}

impl History {
    /// The next record: where it stands, its header, its payload.
    ///
    /// # Errors
    ///
    /// What is wrong with the log; nothing more follows.
    pub fn step(&mut self) -> Result<Option<(Lsn, RecordHeader, &[u8])>> {
        let position = self.steps.position();
        self.steps.step().map_err(|error| {
            let position = error.lsn().unwrap_or(position);
            self.engine.behind(position, error)
        })
    }

    /// Bytes that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.steps.bytes_read()
    }

    /// Lets the cursor go on to what has become durable since.
    pub fn advance(&mut self) {
        let limit = self.engine.durable();
        self.steps.advance(&self.engine.stream().segments(), limit);
    }
}
