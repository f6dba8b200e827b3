//! What a log shows, and what may be said of a damaged one.

use crate::disk::{Copied, Files};
use crate::history::{End, batches, in_use, options};
use crate::support::StillClock;
use siding::{
    Discipline, Error, ErrorKind, Kind, Log, Lsn, Record, Recovery, Report, Result, UnitState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is shown at one door, as bytes that can be compared, up to an error if one came.
#[derive(Debug, Default)]
struct Door {
    shown: Vec<u8>,
    error: Option<Error>,
}

impl Door {
    /// Makes room for as much as the whole log shows, and looks.
    fn look(room: usize, look: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Self {
        let mut shown = Vec::with_capacity(room);
        let error = look(&mut shown).err();
        Self { shown, error }
    }
}

/// Everything that a log shows to who opens it. Each part by itself: damage that one of them
/// names must not let another show anything else.
#[derive(Debug, Default)]
struct Shown {
    /// Redo; what lives, with its chains; the table of units, and positions; every record.
    doors: [Door; 4],
    /// Where the newest of all records begins.
    newest: usize,
}

const NAMES: [&str; 4] = ["redo", "what lives", "units and positions", "records"];

/// What an open of a damaged log may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It shows what the whole one shows.
    Unchanged,
    /// An error that says what happened to the files, where, and what to do.
    Named(ErrorName, Option<char>),
    /// Everything but the last batch, for which nothing vouches: just what the log shows that
    /// never had it.
    LastCut,
    /// Everything but the record of the clean close.
    CloseCut,
    /// The newest records are gone, and those that are shown are what was before them.
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

pub(crate) fn named(error: &Error) -> std::result::Result<Outcome, String> {
    let name = match error.kind() {
        ErrorKind::Corrupt => ErrorName::Corrupt,
        ErrorKind::Missing => ErrorName::Missing,
        ErrorKind::ForeignFile => ErrorName::ForeignFile,
        ErrorKind::UnsupportedVersion => ErrorName::UnsupportedVersion,
        _ => return Err(format!("the error does not say what is damaged: {error:?}")),
    };
    let placed = error.path().is_some() || error.lsn().is_some();
    if placed && error.advice().is_some() {
        return Ok(Outcome::Named(name, error.letter()));
    }
    Err(format!("the error does not say where, or what to do: {error:?}"))
}

/// A whole log, and what it shows.
pub(crate) struct Whole {
    pub(crate) files: Files,
    /// Where it ends.
    pub(crate) end: Lsn,
    /// Where it begins.
    pub(crate) oldest: Lsn,
    shown: Shown,
    /// What it shows without its last batch, if nothing vouches for that one.
    shorter: Option<Shown>,
    pub(crate) discipline: Discipline,
    clock: Arc<StillClock>,
}

impl Whole {
    pub(crate) fn of(files: Files, discipline: Discipline, end: End) -> Self {
        let clock = StillClock::new();
        let recovery = options(&clock).open_on(Arc::new(Copied::of(&files))).unwrap();
        assert_eq!(recovery.report().clean, end == End::Close);
        let at = recovery.report().end;
        let log = in_use(recovery).unwrap();
        let oldest = log.positions().oldest;
        log.abandon();
        let (shown, shorter) = (Shown::default(), None);
        let mut whole = Self { files, end: at, oldest, shown, shorter, discipline, clock };
        whole.shown = whole.look(&Arc::new(whole.copy())).unwrap();
        let sound = |shown: &Shown| shown.doors.iter().all(|door| door.error.is_none());
        assert!(sound(&whole.shown), "{:?}", whole.shown.doors.each_ref().map(|it| &it.error));
        if end == End::Crash {
            let shorter = whole.look(&Arc::new(Copied::of(&whole.without_last_batch()))).unwrap();
            let (less, all) = (&shorter.doors[3].shown, &whole.shown.doors[3].shown);
            assert!(sound(&shorter) && less.len() < all.len() && all.starts_with(less));
            whole.shorter = Some(shorter);
        }
        whole
    }

    /// A copy that can be damaged.
    pub(crate) fn copy(&self) -> Copied {
        Copied::of(&self.files)
    }

    /// Its segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<&String> {
        self.files.keys().filter(|name| name.ends_with(".seg")).collect()
    }

    /// The files of the main log: `moved` is about the others.
    pub(crate) fn main(&self) -> impl Iterator<Item = (&String, &Arc<Vec<u8>>)> {
        self.files.iter().filter(|(name, _)| !name.ends_with(".ext"))
    }

    fn without_last_batch(&self) -> Files {
        let mut files = self.files.clone();
        let (_, segment) = files.iter_mut().rfind(|(name, _)| name.ends_with(".seg")).unwrap();
        let last = batches(segment, self.end).pop().unwrap();
        Arc::make_mut(segment)[last].fill(0);
        files
    }

    /// What the damaged copy comes to; else what is wrong with that.
    pub(crate) fn judge(&self, damaged: &Arc<Copied>) -> std::result::Result<Outcome, String> {
        let shown = match catch_unwind(AssertUnwindSafe(|| self.look(damaged))) {
            Err(_) => return Err("a panic".into()),
            Ok(Err(error)) => return named(&error),
            Ok(Ok(shown)) => shown,
        };
        let mut outcome = Outcome::Unchanged;
        let mut other = Vec::new();
        for ((door, whole), name) in shown.doors.iter().zip(&self.shown.doors).zip(NAMES) {
            let fits = match &door.error {
                None => door.shown == whole.shown,
                Some(error) => {
                    let name = named(error)?;
                    if outcome == Outcome::Unchanged {
                        outcome = name;
                    }
                    whole.shown.starts_with(&door.shown)
                }
            };
            if !fits {
                other.push(name);
            }
        }
        if other.is_empty() { Ok(outcome) } else { self.cut(&shown, &other) }
    }

    /// What a log comes to that shows something else than the whole one.
    fn cut(&self, shown: &Shown, other: &[&str]) -> std::result::Result<Outcome, String> {
        let same = |shorter: &Shown| {
            let mut doors = shown.doors.iter().zip(&shorter.doors);
            doors.all(|(door, whole)| door.error.is_none() && door.shown == whole.shown)
        };
        if self.shorter.as_ref().is_some_and(same) {
            return Ok(Outcome::LastCut);
        }
        let (records, whole) = (&shown.doors[3], &self.shown.doors[3].shown);
        let sound = shown.doors.iter().all(|door| door.error.is_none());
        if sound && other == [NAMES[3]] && records.shown == whole[..self.shown.newest] {
            return Ok(Outcome::CloseCut);
        }
        if records.shown.len() < whole.len() && whole.starts_with(&records.shown) {
            return Ok(Outcome::TailCut);
        }
        let (seen, whole) = (records.shown.len(), whole.len());
        Err(format!("{other:?} differ; {seen} bytes of records for {whole}"))
    }

    /// Opens the log, looks through every door, and stops as a crash would.
    fn look(&self, disk: &Arc<Copied>) -> Result<Shown> {
        let room = self.shown.doors.each_ref().map(|door| door.shown.len());
        let recovery = options(&self.clock).open_on(Arc::<Copied>::clone(disk))?;
        let redo = Door::look(room[0], |out| redo(&recovery, self.discipline, out));
        let lives = Door::look(room[1], |out| lives(&recovery, out));
        let end = recovery.report().end;
        let log = in_use(recovery)?;
        let units = Door::look(room[2], |out| units(&log, out));
        let mut newest = 0;
        let records = Door::look(room[3], |out| records(&log, self.oldest..end, &mut newest, out));
        log.abandon();
        Ok(Shown { doors: [redo, lives, units, records], newest })
    }

    /// A log that opened can be used: what is written now is there after a close.
    pub(crate) fn use_it(&self, disk: &Arc<Copied>) -> Result<()> {
        const NEW: &[u8] = b"written after the damage";
        let open = || options(&self.clock).open_on(Arc::<Copied>::clone(disk));
        let log = in_use(open()?)?;
        let behind = log.write(NEW)?;
        log.close()?;
        let recovery = open()?;
        let Report { clean, end, .. } = *recovery.report();
        assert!(clean && end > behind, "closed behind what was written");
        let log = in_use(recovery)?;
        let mut records = log.records(Lsn::ZERO)?.owned();
        let found = records.find(|it| it.as_ref().is_ok_and(|it| it.payload() == NEW));
        assert!(found.is_some_and(|it| it.is_ok_and(|it| it.lsn() < behind)));
        log.abandon();
        Ok(())
    }

    /// The kinds of the records that it shows, each with its flags.
    pub(crate) fn kinds(&self) -> BTreeSet<(Kind, u8)> {
        let log = in_use(options(&self.clock).open_on(Arc::new(self.copy())).unwrap()).unwrap();
        let mut records = log.records(Lsn::ZERO).unwrap();
        let mut found = BTreeSet::new();
        while let Some(record) = records.next().unwrap() {
            found.insert((record.kind(), record.flags()));
        }
        log.abandon();
        found
    }
}

fn redo(recovery: &Recovery, discipline: Discipline, out: &mut Vec<u8>) -> Result<()> {
    if discipline == Discipline::DeferredApply {
        let mut committed = recovery.committed()?;
        while let Some(record) = committed.next()? {
            write(&record, out);
        }
        return Ok(());
    }
    let mut history = recovery.history()?;
    while let Some(record) = history.next()? {
        // Whether CLOSE is there is seen among the records.
        if record.kind() != Kind::Close {
            write(&record, out);
        }
    }
    Ok(())
}

fn lives(recovery: &Recovery, out: &mut Vec<u8>) -> Result<()> {
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

fn units(log: &Log, out: &mut Vec<u8>) -> Result<()> {
    let at = log.positions();
    for lsn in [at.oldest, at.redo, at.keypoint_begin, at.keypoint_end] {
        note(out, lsn.get());
    }
    for unit in log.units() {
        note(out, unit.unit);
        out.push(unit.state as u8);
        out.extend_from_slice(&unit.gid);
        let floor = unit.floor.map_or(u64::MAX, Lsn::get);
        // Not its head: where lost copies were rebuilt that is another fork record.
        for value in [unit.first.get(), floor, unit.records, unit.bytes] {
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
    Ok(())
}

/// Every record that the open found and the whole log shows: those that the open appended stand
/// behind the range, and where the last keypoint is cut more is kept before it.
fn records(log: &Log, range: Range<Lsn>, newest: &mut usize, out: &mut Vec<u8>) -> Result<()> {
    let mut records = log.records(Lsn::ZERO)?;
    while let Some(record) = records.next()? {
        if record.lsn() >= range.end {
            break;
        }
        if record.lsn() < range.start {
            continue;
        }
        *newest = out.len();
        write(&record, out);
    }
    Ok(())
}

pub(crate) fn note(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn write(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[record.kind() as u8, record.flags()]);
    out.extend_from_slice(&record.resource().to_le_bytes());
    let commit = record.commit().map_or(0, Lsn::get);
    let len = u64::try_from(record.raw().len()).unwrap();
    for value in [record.lsn().get(), record.unit(), record.prev().get(), commit, len] {
        note(out, value);
    }
    out.extend_from_slice(record.raw());
}
