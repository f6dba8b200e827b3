//! Records that were moved: every bit and every length of the extent files, and each of them gone.
//!
//! It is found out when they are read, and by a verification, for exactly the units whose records
//! are concerned. Nothing else changes, whatever is done with the log. Where the originals are
//! still on the main log the copies are rebuilt, which is said, and then nothing is lost.

use crate::disk::Copied;
use crate::history::{DISCIPLINES, End, UNIT, in_use, one_segment, options};
use crate::support::StillClock;
use crate::witness::{Whole, named, write};
use siding::disk::{Clock, Disk};
use siding::{Backward, Discipline, Error, InDoubt, Log, Recovery, Result, UnitState};
use siding_wal::format::{
    EXTENT_ALIGN, EXTENT_FILE_HEADER_LEN, ExtentHead, ExtentPlace, SPtr, SegmentHeader,
    parse_extent_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Every so manyth copy is verified, used, and looked at again.
const USED: usize = 7;

type Units = BTreeSet<u64>;

type Outcome<T> = std::result::Result<T, String>;

/// What the log shows, and up to which error: of each live unit by itself, and of all that redo
/// is given, each record with its unit.
#[derive(Default)]
struct Seen {
    live: BTreeMap<u64, (Vec<u8>, Option<Error>)>,
    redo: (Vec<(u64, Vec<u8>)>, Option<Error>),
    /// Units that were rebuilt meanwhile.
    rebuilt: Units,
}

/// A log and its moved units.
struct Moved {
    whole: Whole,
    seen: Seen,
    /// The units whose records are lost with each byte of each extent file.
    owners: BTreeMap<String, Vec<Units>>,
}

impl Moved {
    fn of(discipline: Discipline) -> Self {
        let whole = Whole::of(one_segment(discipline, End::Close), discipline, End::Close);
        let seen = look(&Arc::new(whole.copy()), discipline).unwrap();
        assert!(seen.redo.1.is_none() && seen.live.values().all(|(_, error)| error.is_none()));
        let redone = seen.redo.0.iter().map(|(unit, _)| *unit);
        let needed: Units = redone.chain(seen.live.keys().copied()).collect();
        let owners = owners(&whole, &needed);
        let all: Units = owners.values().flatten().flatten().copied().collect();
        // Two in doubt, one decided; and under deferred apply one that redo needs.
        let deferred = discipline == Discipline::DeferredApply;
        assert_eq!(all.len(), 3 + usize::from(deferred), "{all:x?}");
        assert_eq!(owners.len(), 2, "files of two opens");
        Self { whole, seen, owners }
    }

    /// Whether the damaged copy shows all that the whole one does, but for the records of `lost`.
    /// Returns the units that were rebuilt when they were read.
    fn judge(&self, disk: &Arc<Copied>, name: &str, lost: &Units) -> Outcome<Units> {
        let looked = || look(disk, self.whole.discipline);
        let looked = catch_unwind(AssertUnwindSafe(looked)).map_err(|_| "a panic")?;
        let seen = looked.map_err(|error| format!("not opened: {error:?}"))?;
        if !seen.live.keys().eq(self.seen.live.keys()) {
            return Err(format!("other units: {:x?}", seen.live.keys()));
        }
        for ((unit, (shown, error)), (whole, _)) in seen.live.iter().zip(self.seen.live.values()) {
            match error {
                None if !lost.contains(unit) && shown == whole => {}
                None if seen.rebuilt.contains(unit) && shown == whole => {}
                Some(error) if lost.contains(unit) && whole.starts_with(shown) => {
                    says(error, *unit, name)?;
                }
                _ => return Err(format!("{unit:#x}: {error:?}, {} bytes", shown.len())),
            }
        }
        let (given, error) = &seen.redo;
        let whole = &self.seen.redo.0;
        let missed = whole.iter().find(|(unit, _)| lost.contains(unit)).map(|(unit, _)| *unit);
        let upto = whole.iter().position(|(unit, _)| Some(*unit) == missed);
        if *given != whole[..upto.unwrap_or(whole.len())] {
            return Err(format!("redo gives {} records of {}", given.len(), whole.len()));
        }
        match (missed, error) {
            (None, None) => Ok(seen.rebuilt),
            (Some(unit), Some(error)) => says(error, unit, name).map(|()| seen.rebuilt),
            _ => Err(format!("redo: {error:?}, and missed is {missed:x?}")),
        }
    }

    /// What is damaged stays damaged, or is rebuilt, and the rest stays, while the log is used.
    /// A rebuilding that no flush followed is lost with its fork record, and its copies are swept.
    fn used(&self, disk: &Arc<Copied>, name: &str, lost: &Units) -> Outcome<()> {
        let go_on = || -> Result<Units> {
            let log = in_use(open(disk)?)?;
            log.tick();
            log.keypoint()?;
            log.tick();
            let rebuilt = rebuilt(&log);
            log.close().map(|()| rebuilt)
        };
        let extents = || -> Vec<String> {
            disk.files().into_keys().filter(|name| name.ends_with(".ext")).collect()
        };
        let before: Vec<String> =
            extents().into_iter().filter(|name| self.owners.contains_key(name)).collect();
        let rebuilt = go_on().map_err(|error| format!("it cannot be used: {error:?}"))?;
        if rebuilt.is_empty() && extents() != before {
            return Err(format!("of {before:?}, {:?} are left", extents()));
        }
        if !rebuilt.is_subset(lost) {
            return Err(format!("{rebuilt:x?} were rebuilt, and {lost:x?} lost"));
        }
        let lost = lost.difference(&rebuilt).copied().collect();
        let again = self.judge(disk, name, &lost).map_err(|what| format!("once used: {what}"))?;
        match again.is_subset(&lost) {
            true => Ok(()),
            false => Err(format!("{again:x?} were rebuilt once more")),
        }
    }

    fn check(&self, disk: &Arc<Copied>, name: &str, lost: &Units, used: bool) -> Outcome<Units> {
        if used {
            verify(disk, name, lost)?;
        }
        let rebuilt = self.judge(disk, name, lost)?;
        if !rebuilt.is_subset(lost) {
            return Err(format!("{rebuilt:x?} were rebuilt, and {lost:x?} lost"));
        }
        if used {
            self.used(disk, name, lost)?;
        }
        Ok(rebuilt)
    }

    /// Whose records are in this file at all.
    fn all_of(&self, name: &str) -> Units {
        self.owners[name].iter().flatten().copied().collect()
    }
}

/// Whether an error says what is lost, where and of which unit.
fn says(error: &Error, unit: u64, name: &str) -> Outcome<()> {
    named(error)?;
    let text = error.to_string();
    if text.contains(&format!("{unit:#x}")) && text.contains(name) {
        return Ok(());
    }
    Err(format!("{unit:#x} or {name} are not in: {text}"))
}

/// A verification names the file once for each unit that lost something, and nothing else.
fn verify(disk: &Arc<Copied>, name: &str, lost: &Units) -> Outcome<()> {
    let disk: Arc<dyn Disk> = Arc::<Copied>::clone(disk);
    let clock: Arc<dyn Clock> = StillClock::new();
    let verify = || siding_checkpoint::verify(&disk, None, &clock, &|_| {});
    let seen = catch_unwind(AssertUnwindSafe(verify)).map_err(|_| "verify: a panic")?;
    let findings = seen.map_err(|error| format!("not verified: {error:?}"))?.findings;
    let told = |unit: &u64| {
        let of = findings.iter().filter(|it| it.what.contains(&format!("{unit:#x}")));
        of.filter(|it| it.file().as_deref() == Some(name) && it.advice.is_some()).count()
    };
    if findings.len() == lost.len() && lost.iter().all(|unit| told(unit) == 1) {
        return Ok(());
    }
    Err(format!("verify: {lost:x?} are lost, and found is {findings:?}"))
}

fn open(disk: &Arc<Copied>) -> Result<Recovery> {
    options(&StillClock::new()).open_on(Arc::<Copied>::clone(disk))
}

fn look(disk: &Arc<Copied>, discipline: Discipline) -> Result<Seen> {
    let mut seen = Seen::default();
    let recovery = open(disk)?;
    if discipline == Discipline::DeferredApply {
        seen.redo.1 = redo(&recovery, &mut seen.redo.0).err();
    }
    for doubt in recovery.in_doubt() {
        let mut out = Vec::new();
        let error = both_ways(&doubt, &mut out).err();
        seen.live.insert(doubt.id(), (out, error));
    }
    let log = in_use(recovery)?;
    for unit in log.units().iter().filter(|unit| unit.state != UnitState::InDoubt) {
        let mut out = Vec::new();
        let error = log.unit_records(unit.unit).and_then(|chain| all(chain, &mut out)).err();
        seen.live.insert(unit.unit, (out, error));
    }
    seen.rebuilt = rebuilt(&log);
    log.abandon();
    Ok(seen)
}

fn rebuilt(log: &Log) -> Units {
    log.rebuilt().iter().map(|rebuilt| rebuilt.unit).collect()
}

fn redo(recovery: &Recovery, given: &mut Vec<(u64, Vec<u8>)>) -> Result<()> {
    let mut committed = recovery.committed()?;
    while let Some(record) = committed.next()? {
        let mut out = Vec::new();
        write(&record, &mut out);
        given.push((record.unit(), out));
    }
    Ok(())
}

fn all(mut chain: Backward, out: &mut Vec<u8>) -> Result<()> {
    while let Some(record) = chain.next()? {
        write(&record, out);
    }
    Ok(())
}

/// Both are read up to an error, and both must come to one.
fn both_ways(doubt: &InDoubt, out: &mut Vec<u8>) -> Result<()> {
    let backward = doubt.records_backward().and_then(|chain| all(chain, out));
    let effects = || -> Result<()> {
        let mut effects = doubt.effects()?;
        let from = out.len();
        while let Some(record) = effects.next()? {
            write(&record, out);
        }
        assert!(out.len() > from, "effects of none");
        Ok(())
    };
    match (backward, effects) {
        (Ok(()), mut effects) => effects(),
        (Err(error), _) => {
            assert!(doubt.effects().and_then(|it| it.owned().collect::<Result<Vec<_>>>()).is_err());
            Err(error)
        }
    }
}

/// Reads the extent files from extent to extent.
fn owners(whole: &Whole, needed: &Units) -> BTreeMap<String, Vec<Units>> {
    let segment = &whole.files[whole.segments()[0]];
    let log_id = SegmentHeader::decode(segment).unwrap().log_id;
    let mut owners = BTreeMap::new();
    for (name, bytes) in &whole.files {
        let Some(extent) = parse_extent_name(name) else { continue };
        let mut of = vec![Units::new(); bytes.len()];
        let mut at = UNIT;
        while at < bytes.len() {
            let offset = u32::try_from(at / EXTENT_ALIGN).unwrap();
            let place = ExtentPlace { log_id, at: SPtr { extent, offset } };
            let Ok(head) = ExtentHead::decode(&bytes[at..], &place) else {
                at += EXTENT_ALIGN;
                continue;
            };
            let end = at + usize::try_from(head.len).unwrap();
            if needed.contains(&head.unit) {
                of[at..end].iter_mut().for_each(|of| assert!(of.insert(head.unit)));
            }
            at = end;
        }
        let all: Units = of.iter().flatten().copied().collect();
        of[..EXTENT_FILE_HEADER_LEN].fill(all);
        owners.insert(name.clone(), of);
    }
    owners
}

#[test]
fn every_bit_of_moved_records() {
    for discipline in DISCIPLINES {
        let moved = Moved::of(discipline);
        let (mut named, mut rebuilt) = (0, 0);
        for (name, owners) in &moved.owners {
            for (bit, lost) in owners
                .iter()
                .enumerate()
                .flat_map(|(at, lost)| (at * 8..at * 8 + 8).map(move |bit| (bit, lost)))
            {
                let copy = Arc::new(moved.whole.copy());
                copy.flip(name, bit / 8, 1 << (bit % 8));
                let used = bit % USED == 0;
                let outcome = moved.check(&copy, name, lost, used);
                let units = outcome
                    .unwrap_or_else(|what| panic!("{discipline:?}, {name} bit {bit}: {what}"));
                rebuilt += usize::from(!units.is_empty());
                named += usize::from(lost.difference(&units).count() > 0);
            }
        }
        assert!(named > 0 && rebuilt > 0, "{named} named, {rebuilt} rebuilt");
    }
}

#[test]
fn every_length_of_files_of_moved_records_and_each_of_them_gone() {
    for discipline in DISCIPLINES {
        let moved = Moved::of(discipline);
        for (name, owners) in &moved.owners {
            for len in 0..owners.len() {
                let copy = Arc::new(moved.whole.copy());
                copy.cut(name, len);
                let lost: Units = match len < EXTENT_FILE_HEADER_LEN {
                    true => moved.all_of(name),
                    false => owners[len..].iter().flatten().copied().collect(),
                };
                let outcome = moved.check(&copy, name, &lost, len % USED == 0);
                outcome.unwrap_or_else(|what| panic!("{discipline:?}, {name} at {len}: {what}"));
            }
            let mut files = moved.whole.files.clone();
            files.remove(name);
            let copy = Arc::new(Copied::of(&files));
            let outcome = moved.check(&copy, name, &moved.all_of(name), true);
            outcome.unwrap_or_else(|what| panic!("{discipline:?}, {name} gone: {what}"));
        }
    }
}
