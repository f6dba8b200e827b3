//! The conformance suite of sinks has teeth: sinks with one defect each, and the check that finds
//! it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use siding_checkpoint::sink::{Put, Sink, Stored, conformance, plain};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Defect {
    #[default]
    None,
    PlaceHasNoName,
    PlacesDiffer,
    LastByteIsLost,
    LengthIsRounded,
    SmallWritesAreLost,
    NothingCannotBePut,
    OffsetsAreRounded,
    ReadsPastTheEndFail,
    ReadsRunOn,
    ThereAtOnce,
    ListedAtOnce,
    PartsAreThere,
    DroppedIsFinished,
    DropTakesTheOld,
    FirstStays,
    OldGoesAtBegin,
    OpenMakes,
    OpenByPrefix,
    RemoveOfNothingWorks,
    RemovedIsListed,
    RemovedForGood,
    PrefixIsIgnored,
    PrefixIsAPart,
    SizesAreOld,
    NewestFirst,
    OnePage,
    NamesAreBent,
    LockIsHidden,
    RemovesAlike,
    LateWritesAreLost,
    Remembers,
    HandlesGoByName,
    OneUnfinished,
    OneUnfinishedAName,
}

/// Every defect, and the check it must fall to.
const FOUND_BY: &[(Defect, &str)] = &[
    (Defect::PlaceHasNoName, "place"),
    (Defect::PlacesDiffer, "place"),
    (Defect::LastByteIsLost, "put and read back"),
    (Defect::LengthIsRounded, "put and read back"),
    (Defect::SmallWritesAreLost, "put and read back"),
    (Defect::NothingCannotBePut, "writes of any length"),
    (Defect::OffsetsAreRounded, "reads from anywhere"),
    (Defect::ReadsPastTheEndFail, "reads from anywhere"),
    (Defect::ReadsRunOn, "reads from anywhere"),
    (Defect::ThereAtOnce, "unfinished is not there"),
    (Defect::ListedAtOnce, "unfinished is not there"),
    (Defect::PartsAreThere, "unfinished is not there"),
    (Defect::DroppedIsFinished, "dropped was never there"),
    (Defect::DropTakesTheOld, "dropped was never there"),
    (Defect::FirstStays, "replacing"),
    (Defect::OldGoesAtBegin, "dropped was never there"),
    (Defect::OpenMakes, "what is not there"),
    (Defect::OpenByPrefix, "what is not there"),
    (Defect::RemoveOfNothingWorks, "what is not there"),
    (Defect::RemovedIsListed, "removing"),
    (Defect::RemovedForGood, "removing"),
    (Defect::PrefixIsIgnored, "what is not there"),
    (Defect::PrefixIsAPart, "list by prefix"),
    (Defect::SizesAreOld, "list by prefix"),
    (Defect::NewestFirst, "list by prefix"),
    (Defect::OnePage, "list of many"),
    (Defect::NamesAreBent, "names"),
    (Defect::LockIsHidden, "names"),
    (Defect::RemovesAlike, "names that begin alike"),
    (Defect::LateWritesAreLost, "big things"),
    (Defect::Remembers, "another sink of the place"),
    (Defect::HandlesGoByName, "never a mixture"),
    (Defect::OneUnfinished, "threads with names of their own"),
    (Defect::OneUnfinishedAName, "threads with one name"),
];

fn pair(defect: Defect) -> io::Result<conformance::Pair> {
    let place = Arc::new(Place { defect, ..Place::default() });
    let sink = |number| Faulty { place: Arc::clone(&place), number, seen: Arc::default() };
    Ok([Arc::new(sink(0)), Arc::new(sink(1))])
}

#[test]
fn every_defect_is_found_by_its_check() {
    let found = |(defect, check): &(Defect, &str)| {
        let result = conformance::check(&|| pair(*defect));
        let broken = result.expect_err(&format!("{defect:?} went unseen"));
        assert!(broken.to_string().starts_with(broken.check));
        (broken.check != *check).then(|| format!("{defect:?}: {broken}"))
    };
    let wrong: Vec<_> = FOUND_BY.iter().filter_map(found).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn without_a_defect_all_is_well_and_every_check_has_its_defect() {
    let passed = conformance::check(&|| pair(Defect::None)).unwrap();
    let found: BTreeSet<_> = FOUND_BY.iter().map(|(_, check)| *check).collect();
    assert_eq!(passed.into_iter().collect::<BTreeSet<_>>(), found);
}

#[test]
fn a_sink_that_cannot_be_made_is_named() {
    let broken = conformance::check(&|| Err(io::Error::other("no such luck"))).unwrap_err();
    assert_eq!(broken.to_string(), "place: to make a sink failed: no such luck");
}

type Bytes = Arc<Vec<u8>>;

#[derive(Debug, Default)]
struct Place {
    defect: Defect,
    held: Mutex<BTreeMap<String, Bytes>>,
    removed: Mutex<BTreeSet<String>>,
    /// What is unfinished, for sinks that have one place for it.
    unfinished: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Place {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn hold(&self, name: &str, bytes: Vec<u8>) {
        self.held.lock().unwrap().insert(name.to_owned(), Arc::new(bytes));
    }

    fn get(&self, name: &str) -> io::Result<Bytes> {
        let held = self.held.lock().unwrap();
        let by_prefix = || {
            let found = held.iter().find(|(it, _)| it.starts_with(name));
            found.filter(|_| self.is(Defect::OpenByPrefix)).map(|(_, bytes)| bytes)
        };
        held.get(name).or_else(by_prefix).cloned().ok_or(ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct Faulty {
    place: Arc<Place>,
    number: u8,
    seen: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl Faulty {
    fn is(&self, defect: Defect) -> bool {
        self.place.is(defect)
    }

    fn checked(&self, name: &str) -> io::Result<String> {
        match plain(name) {
            true => Ok(name.to_owned()),
            false if self.is(Defect::NamesAreBent) && !name.is_empty() => {
                Ok(name.replace(|it: char| !it.is_ascii_alphanumeric(), "-"))
            }
            false => Err(ErrorKind::InvalidInput.into()),
        }
    }
}

impl Sink for Faulty {
    fn put(&self, name: &str) -> io::Result<Box<dyn Put>> {
        let name = self.checked(name)?;
        if self.is(Defect::ThereAtOnce) {
            self.place.hold(&name, Vec::new());
        }
        if self.is(Defect::OldGoesAtBegin) {
            self.place.held.lock().unwrap().remove(&name);
        }
        let slot = match self.place.defect {
            Defect::OneUnfinished => Some("all".to_owned()),
            Defect::OneUnfinishedAName => Some(name.clone()),
            _ => None,
        };
        if let Some(slot) = &slot {
            self.place.unfinished.lock().unwrap().insert(slot.clone(), Vec::new());
        }
        let place = Arc::clone(&self.place);
        self.seen.lock().unwrap().remove(&name);
        let seen = Arc::clone(&self.seen);
        Ok(Box::new(Putting { place, seen, name, bytes: Vec::new(), slot, finished: false }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Stored>> {
        let name = self.checked(name)?;
        if self.is(Defect::OpenMakes) && name == "abc" {
            self.place.hold(&name, Vec::new());
        }
        let mut bytes = self.place.get(&name)?;
        if self.is(Defect::Remembers) {
            bytes = self.seen.lock().unwrap().entry(name.clone()).or_insert(bytes).clone();
        }
        Ok(Box::new(Handle { place: Arc::clone(&self.place), name, bytes }))
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let held = self.place.held.lock().unwrap();
        let fits = |name: &str| match self.place.defect {
            Defect::PrefixIsIgnored => true,
            Defect::PrefixIsAPart => {
                let rest = name.strip_prefix(prefix);
                rest.is_some_and(|it| prefix.is_empty() || it.is_empty() || it.starts_with('-'))
            }
            _ => name.starts_with(prefix),
        };
        let found = held.iter().filter(|(name, _)| fits(name));
        let mut list: Vec<_> =
            found.map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
        match self.place.defect {
            Defect::ListedAtOnce => {
                let unfinished = self.place.unfinished.lock().unwrap();
                list.extend(unfinished.keys().map(|name| (name.clone(), 0)));
            }
            Defect::RemovedIsListed => {
                let removed = self.place.removed.lock().unwrap();
                list.extend(removed.iter().map(|name| (name.clone(), 0)));
            }
            Defect::SizesAreOld => list.iter_mut().for_each(|entry| entry.1 = 0),
            Defect::NewestFirst if prefix == "backup-00f" => list.reverse(),
            Defect::OnePage => list.truncate(1_000),
            Defect::LockIsHidden => list.retain(|(name, _)| name != "lock"),
            _ => {}
        }
        Ok(list)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = self.checked(name)?;
        let mut held = self.place.held.lock().unwrap();
        match held.remove(&name) {
            Some(_) => drop(self.place.removed.lock().unwrap().insert(name.clone())),
            None if !self.is(Defect::RemoveOfNothingWorks) => {
                return Err(ErrorKind::NotFound.into());
            }
            None => {}
        }
        if self.is(Defect::RemovesAlike) {
            let alike = format!("{name}.");
            held.retain(|it, _| !it.starts_with(&alike));
        }
        Ok(())
    }

    fn place(&self) -> String {
        match self.place.defect {
            Defect::PlaceHasNoName => String::new(),
            Defect::PlacesDiffer => format!("memory {}", self.number),
            _ => "memory".to_owned(),
        }
    }
}

struct Putting {
    place: Arc<Place>,
    seen: Arc<Mutex<BTreeMap<String, Bytes>>>,
    name: String,
    bytes: Vec<u8>,
    slot: Option<String>,
    finished: bool,
}

impl Put for Putting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.place.defect {
            Defect::SmallWritesAreLost if bytes.len() == 1 => return Ok(()),
            Defect::LateWritesAreLost if self.bytes.len() > 16 << 20 => return Ok(()),
            Defect::ListedAtOnce => {
                let mut unfinished = self.place.unfinished.lock().unwrap();
                unfinished.insert(self.name.clone(), Vec::new());
            }
            _ => {}
        }
        if let Some(slot) = &self.slot {
            let mut unfinished = self.place.unfinished.lock().unwrap();
            unfinished.entry(slot.clone()).or_default().extend_from_slice(bytes);
            drop(unfinished);
            std::thread::sleep(Duration::from_micros(300));
            return Ok(());
        }
        self.bytes.extend_from_slice(bytes);
        if self.place.is(Defect::PartsAreThere) && self.bytes.len() > 8 << 20 {
            self.place.hold(&self.name, self.bytes.clone());
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if let Some(slot) = &self.slot {
            bytes = self.place.unfinished.lock().unwrap().get(slot).cloned().unwrap_or_default();
        }
        let there = self.place.get(&self.name).is_ok();
        let removed = self.place.removed.lock().unwrap().contains(&self.name);
        match self.place.defect {
            Defect::LastByteIsLost => drop(bytes.pop()),
            Defect::NothingCannotBePut if bytes.is_empty() && self.name == "b" => {
                return Err(io::Error::other("nothing"));
            }
            Defect::FirstStays if there && bytes.len() == 9_000 => return Ok(()),
            Defect::RemovedForGood if removed => return Ok(()),
            Defect::ListedAtOnce => {
                self.place.unfinished.lock().unwrap().remove(&self.name);
            }
            _ => {}
        }
        self.place.hold(&self.name, bytes);
        self.seen.lock().unwrap().remove(&self.name);
        self.finished = true;
        Ok(())
    }
}

impl Drop for Putting {
    fn drop(&mut self) {
        match self.place.defect {
            Defect::DroppedIsFinished if !self.finished => {
                self.place.hold(&self.name, std::mem::take(&mut self.bytes));
            }
            Defect::DropTakesTheOld if !self.finished => {
                self.place.held.lock().unwrap().remove(&self.name);
            }
            _ => {}
        }
    }
}

struct Handle {
    place: Arc<Place>,
    name: String,
    bytes: Bytes,
}

impl Stored for Handle {
    fn len(&self) -> io::Result<u64> {
        let len = self.bytes.len() as u64;
        Ok(if self.place.is(Defect::LengthIsRounded) { len.next_multiple_of(512) } else { len })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let by_name = self.place.is(Defect::HandlesGoByName);
        let bytes = if by_name { self.place.get(&self.name)? } else { self.bytes.clone() };
        let mut at = usize::try_from(offset).unwrap().min(bytes.len());
        if self.place.is(Defect::OffsetsAreRounded) {
            at -= at % 512;
        }
        if self.place.is(Defect::ReadsPastTheEndFail) && at + buf.len() > bytes.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let there = buf.len().min(bytes.len() - at);
        buf[..there].copy_from_slice(&bytes[at..at + there]);
        let runs_on = self.place.is(Defect::ReadsRunOn);
        Ok(if runs_on { buf.len() } else { there })
    }
}
