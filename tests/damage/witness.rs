//! What a log shows, and what may be said of a damaged one.

use crate::disk::{Copied, Files};
use crate::history::recover;
use crate::support::StillClock;
use siding::{Discipline, Error, ErrorKind, Kind, Lsn, Record, Recovery, Result, UnitState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything a log shows to who opens it, as bytes that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Every record from the oldest on.
    pub(crate) records: Vec<u8>,
    /// Where the newest of them begins in `records`.
    last: usize,
    /// Redo, chains and states of units, positions.
    state: Vec<u8>,
}

/// What an open of a damaged log may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It shows what the whole one shows.
    Unchanged,
    /// An error that names a file or a position.
    Named(ErrorName, Option<char>),
    /// Everything but the record of the clean close.
    CloseCut,
    /// The newest records are gone, and all that is shown is what was before them.
    TailCut,
}

/// How often each came about.
pub(crate) type Counts = BTreeMap<Outcome, usize>;

/// The kinds of error that say what happened to the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ErrorName {
    Corrupt,
    Missing,
    ForeignFile,
    UnsupportedVersion,
}

fn named(error: &Error) -> Option<Outcome> {
    let name = match error.kind() {
        ErrorKind::Corrupt => ErrorName::Corrupt,
        ErrorKind::Missing => ErrorName::Missing,
        ErrorKind::ForeignFile => ErrorName::ForeignFile,
        ErrorKind::UnsupportedVersion => ErrorName::UnsupportedVersion,
        _ => return None,
    };
    let place = error.path().is_some() || error.lsn().is_some();
    place.then_some(Outcome::Named(name, error.letter()))
}

/// A whole log, and what it shows.
pub(crate) struct Whole {
    pub(crate) files: Files,
    pub(crate) shown: Shown,
    discipline: Discipline,
    clock: Arc<StillClock>,
}

impl Whole {
    pub(crate) fn of(files: Files, discipline: Discipline) -> Self {
        let clock = StillClock::new();
        let shown = look(&Arc::new(Copied::of(&files)), discipline, &clock).unwrap();
        Self { files, shown, discipline, clock }
    }

    /// A copy that can be damaged.
    pub(crate) fn copy(&self) -> Copied {
        Copied::of(&self.files)
    }

    /// Its segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<&String> {
        self.files.keys().filter(|name| name.ends_with(".seg")).collect()
    }

    /// What the damaged copy comes to; else what is wrong with that.
    pub(crate) fn judge(&self, damaged: Copied) -> std::result::Result<Outcome, String> {
        let disk = Arc::new(damaged);
        let look = || look(&disk, self.discipline, &self.clock);
        let shown = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)) {
            Err(_) => return Err("a panic".into()),
            Ok(Err(error)) => return named(&error).ok_or_else(|| format!("unnamed: {error:?}")),
            Ok(Ok(shown)) => shown,
        };
        if shown == self.shown {
            return Ok(Outcome::Unchanged);
        }
        let before_close = &self.shown.records[..self.shown.last];
        if shown.records == before_close && shown.state == self.shown.state {
            return Ok(Outcome::CloseCut);
        }
        let (seen, whole) = (shown.records.len(), self.shown.records.len());
        if seen == whole && shown.records == self.shown.records {
            return Err("the same records, but another state".into());
        }
        if self.shown.records.starts_with(&shown.records) {
            return Ok(Outcome::TailCut);
        }
        Err(format!("other records are shown: {seen} bytes of them for {whole}"))
    }
}

/// Opens the log, redoes it, walks every chain, reads every record, and stops as a crash would.
fn look(disk: &Arc<Copied>, discipline: Discipline, clock: &Arc<StillClock>) -> Result<Shown> {
    let recovery = recover(disk, clock)?;
    let mut shown = Shown::default();
    if let Err(error) = before_use(&recovery, discipline, &mut shown.state) {
        recovery.abandon();
        return Err(error);
    }
    let log = recovery.finish()?;
    let all = every_record(&log, &mut shown);
    log.abandon();
    all.map(|()| shown)
}

fn before_use(recovery: &Recovery, discipline: Discipline, out: &mut Vec<u8>) -> Result<()> {
    match discipline {
        Discipline::DeferredApply => {
            let mut committed = recovery.committed()?;
            while let Some(record) = committed.next()? {
                write(&record, out);
            }
        }
        Discipline::RepeatHistory => {
            let mut history = recovery.history()?;
            while let Some(record) = history.next()? {
                // Whether CLOSE is there is seen among the records.
                if record.kind() != Kind::Close {
                    write(&record, out);
                }
            }
        }
    }
    for unit in recovery.in_flight() {
        note(out, unit.id());
        let mut chain = unit.records_backward()?;
        while let Some(record) = chain.next()? {
            write(&record, out);
        }
    }
    note(out, 0);
    for doubt in recovery.in_doubt() {
        note(out, doubt.id());
        out.extend_from_slice(doubt.gid());
        let mut chain = doubt.records_backward()?;
        while let Some(record) = chain.next()? {
            write(&record, out);
        }
        let mut effects = doubt.effects()?;
        while let Some(record) = effects.next()? {
            write(&record, out);
        }
    }
    note(out, 0);
    for decided in recovery.decided() {
        note(out, decided.id());
        out.push(u8::from(decided.outcome() == siding::Outcome::Commit));
    }
    Ok(())
}

fn every_record(log: &siding::Log, shown: &mut Shown) -> Result<()> {
    let out = &mut shown.state;
    for unit in log.units() {
        note(out, unit.unit);
        out.push(unit.state as u8);
        out.extend_from_slice(&unit.gid);
        let floor = unit.floor.map_or(u64::MAX, Lsn::get);
        for value in [unit.first.get(), unit.head.get(), floor, unit.records, unit.bytes] {
            note(out, value);
        }
        if unit.state == UnitState::InDoubt {
            // Its chain was walked before the log was in use.
            continue;
        }
        let mut chain = log.unit_records(unit.unit)?;
        while let Some(record) = chain.next()? {
            write(&record, out);
        }
    }
    let positions = log.positions();
    for lsn in [positions.oldest, positions.redo, positions.keypoint_begin, positions.keypoint_end]
    {
        note(out, lsn.get());
    }
    let mut records = log.records(Lsn::ZERO)?;
    while let Some(record) = records.next()? {
        shown.last = shown.records.len();
        write(&record, &mut shown.records);
    }
    Ok(())
}

fn note(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn write(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[record.kind() as u8, record.flags()]);
    out.extend_from_slice(&record.resource().to_le_bytes());
    let commit = record.commit().map_or(0, Lsn::get);
    let len = u64::try_from(record.raw().len()).unwrap();
    for value in [record.lsn().get(), record.unit(), record.prev().get(), commit, len] {
        note(out, value);
    }
    out.extend_from_slice(record.raw());
}

/// The kinds of the records that the log shows, each with whether it ends its unit.
pub(crate) fn kinds(whole: &Whole) -> BTreeSet<(Kind, bool)> {
    let disk = Arc::new(whole.copy());
    let log = recover(&disk, &whole.clock).unwrap().finish().unwrap();
    let mut records = log.records(Lsn::ZERO).unwrap();
    let mut found = BTreeSet::new();
    while let Some(record) = records.next().unwrap() {
        found.insert((record.kind(), record.flags() & 1 != 0));
    }
    log.abandon();
    found
}
