//! The conformance suite has teeth: disks with one defect each, and the check that finds it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

use siding_wal::disk::{
    AlignedBuf, DirLock, Disk, Geometry, LockError, LogFile, MemoryDisk, ReadPipe, conformance,
};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    None,
    OddUnit,
    TinyUnit,
    SmallestAboveSafe,
    CreateReplaces,
    OpenCreates,
    RemoveOfNothingWorks,
    SizesAreOld,
    ListForgetsEmptyFiles,
    FirstSliceOnly,
    SlicesAreCut,
    EmptyWritesExtend,
    ReadsRunOn,
    ReadsStopEarly,
    GapsAreDirt,
    WrittenOnce,
    CutsNothing,
    HandlesAreCopies,
    RenameCopies,
    RenameRefusesToReplace,
    HandlesGoByName,
    NamesAreBent,
    AlignmentIsBent,
    ReadersCannotSync,
    BigWritesAreCut,
    ListIsCut,
    WritersDisturb,
    LockIsShared,
    LockIsLost,
    LockNamesAnother,
    ManyReadsAreMixed,
    StretchesAreMixed,
    LongSlicesOverlap,
}

/// Every defect, and the check it must fall to.
const FOUND_BY: &[(Defect, &str)] = &[
    (Defect::OddUnit, "geometry"),
    (Defect::TinyUnit, "geometry"),
    (Defect::SmallestAboveSafe, "geometry"),
    (Defect::CreateReplaces, "create"),
    (Defect::OpenCreates, "missing files"),
    (Defect::RemoveOfNothingWorks, "missing files"),
    (Defect::SizesAreOld, "list with sizes"),
    (Defect::ListForgetsEmptyFiles, "list with sizes"),
    (Defect::FirstSliceOnly, "write and read back"),
    (Defect::SlicesAreCut, "many slices"),
    (Defect::EmptyWritesExtend, "empty writes"),
    (Defect::ReadsRunOn, "reads past the end"),
    (Defect::ReadsStopEarly, "many slices"),
    (Defect::GapsAreDirt, "gaps are zeros"),
    (Defect::WrittenOnce, "overwriting"),
    (Defect::CutsNothing, "cutting"),
    (Defect::HandlesAreCopies, "handles see each other"),
    (Defect::RenameCopies, "rename replaces"),
    (Defect::RenameRefusesToReplace, "rename replaces"),
    (Defect::HandlesGoByName, "handles survive rename and remove"),
    (Defect::NamesAreBent, "names"),
    (Defect::AlignmentIsBent, "misaligned calls"),
    (Defect::ReadersCannotSync, "sync"),
    (Defect::BigWritesAreCut, "big writes"),
    (Defect::ListIsCut, "many files"),
    (Defect::WritersDisturb, "concurrent writers"),
    (Defect::LockIsShared, "lock"),
    (Defect::LockIsLost, "lock"),
    (Defect::LockNamesAnother, "lock"),
    (Defect::ManyReadsAreMixed, "many reads at once"),
    (Defect::StretchesAreMixed, "stretches read ahead"),
    (Defect::LongSlicesOverlap, "a long write in many slices"),
];

#[test]
fn every_defect_is_found_by_its_check() {
    for (defect, check) in FOUND_BY {
        let result = conformance::check(&|| Ok(Arc::new(Faulty::new(*defect))));
        let broken = result.expect_err(&format!("{defect:?} went unseen"));
        assert_eq!(broken.check, *check, "{defect:?}: {broken}");
        assert!(broken.to_string().starts_with(check));
    }
}

#[test]
fn without_a_defect_all_is_well() {
    let passed = conformance::check(&|| Ok(Arc::new(Faulty::new(Defect::None)))).unwrap();
    assert!(FOUND_BY.iter().all(|(_, check)| passed.contains(check)));
}

#[test]
fn a_disk_that_cannot_be_made_is_named() {
    let broken = conformance::check(&|| Err(io::Error::other("no such luck"))).unwrap_err();
    assert_eq!(broken.to_string(), "geometry: to make a disk failed: no such luck");
}

#[derive(Clone, Debug)]
struct Faulty {
    inner: MemoryDisk,
    defect: Defect,
    kept: Arc<Mutex<Vec<Box<dyn DirLock>>>>,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn LogFile>,
    disk: Faulty,
    name: String,
    fresh: bool,
}

#[derive(Debug)]
struct Nothing;

impl DirLock for Nothing {}

impl Faulty {
    fn new(defect: Defect) -> Self {
        Self { inner: MemoryDisk::new(), defect, kept: Arc::default() }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn file(&self, inner: Arc<dyn LogFile>, name: &str, fresh: bool) -> Arc<dyn LogFile> {
        Arc::new(FaultyFile { inner, disk: self.clone(), name: name.to_owned(), fresh })
    }

    fn bend(&self, name: &str) -> String {
        if self.is(Defect::NamesAreBent) { name.replace('/', "_") } else { name.to_owned() }
    }
}

fn copy(from: &dyn LogFile, to: &dyn LogFile) {
    let mut all = AlignedBuf::zeroed(from.len().unwrap() as usize);
    from.read_at(0, &mut all).unwrap();
    to.write_at(0, &[&all], false).unwrap();
}

impl Disk for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn geometry(&self) -> Geometry {
        let (write_unit, min_write_unit) = match self.defect {
            Defect::OddUnit => (4095, 512),
            Defect::TinyUnit => (4096, 256),
            Defect::SmallestAboveSafe => (512, 4096),
            _ => (4096, 512),
        };
        Geometry { write_unit, min_write_unit, notes: Vec::new() }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut list = self.inner.list()?;
        match self.defect {
            Defect::SizesAreOld => list.iter_mut().for_each(|entry| entry.1 = 0),
            Defect::ListForgetsEmptyFiles => list.retain(|entry| entry.1 > 0),
            Defect::ListIsCut => list.truncate(256),
            _ => {}
        }
        Ok(list)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let bent = self.bend(name);
        if self.is(Defect::CreateReplaces) {
            let _ = self.inner.remove(&bent);
        }
        Ok(self.file(self.inner.create(&bent)?, &bent, true))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let bent = self.bend(name);
        if self.is(Defect::OpenCreates) && self.inner.open(&bent).is_err() {
            return self.create(&bent);
        }
        let file = self.inner.open(&bent)?;
        if self.is(Defect::HandlesAreCopies) {
            let other = MemoryDisk::new().create("a")?;
            copy(&*file, &*other);
            return Ok(self.file(other, &bent, false));
        }
        Ok(self.file(file, &bent, false))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.bend(from), self.bend(to));
        if self.is(Defect::RenameRefusesToReplace) && self.inner.open(&to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let old = self.inner.open(&from);
        self.inner.rename(&from, &to)?;
        if self.is(Defect::RenameCopies) {
            copy(&*old?, &*self.inner.create(&from)?);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let result = self.inner.remove(&self.bend(name));
        if self.is(Defect::RemoveOfNothingWorks) { Ok(()) } else { result }
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        match (self.inner.lock(), self.defect) {
            (_, Defect::LockIsShared) => Ok(Box::new(Nothing)),
            (Ok(guard), Defect::LockIsLost) => {
                self.kept.lock().unwrap().push(guard);
                Ok(Box::new(Nothing))
            }
            (Err(_), Defect::LockNamesAnother) => Err(LockError::Held { pid: Some(1) }),
            (result, _) => result,
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

impl FaultyFile {
    fn is(&self, defect: Defect) -> bool {
        self.disk.is(defect)
    }

    /// The file itself, or what has its name now.
    fn file(&self) -> io::Result<Arc<dyn LogFile>> {
        let by_name = self.is(Defect::HandlesGoByName);
        if by_name { self.disk.inner.open(&self.name) } else { Ok(Arc::clone(&self.inner)) }
    }

    /// Writes a block of eight units back for one of them, as a careless cache would.
    fn disturb(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let start = offset / 4096 * 4096;
        let from = (offset - start) as usize;
        let mut block = AlignedBuf::zeroed(4096);
        let count = self.inner.read_at(start, &mut block)?;
        std::thread::sleep(Duration::from_micros(100));
        block[from..from + buf.len()].copy_from_slice(buf);
        block.truncate(count.max(from + buf.len()));
        self.inner.write_at(start, &[&block], false)
    }
}

impl LogFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        let file = self.file()?;
        let len = file.len()?;
        let mut bufs = bufs.to_vec();
        match self.disk.defect {
            Defect::FirstSliceOnly => bufs.truncate(1),
            Defect::SlicesAreCut => bufs.truncate(64),
            Defect::EmptyWritesExtend if bufs.is_empty() => {
                return file.write_at(offset - 512, &[&[0; 512]], durable);
            }
            Defect::GapsAreDirt if offset > len && bufs.iter().any(|buf| !buf.is_empty()) => {
                file.write_at(len, &[&vec![255; (offset - len) as usize]], durable)?;
            }
            Defect::WrittenOnce if offset < len => return Ok(()),
            Defect::AlignmentIsBent if !offset.is_multiple_of(512) => return Ok(()),
            Defect::BigWritesAreCut => {
                bufs.iter_mut().for_each(|buf| *buf = &buf[..buf.len().min(1 << 20)]);
            }
            Defect::LongSlicesOverlap if bufs.len() > 2 && bufs[0].len() > 1 << 19 => {
                bufs.swap(0, 3);
            }
            Defect::WritersDisturb if bufs.len() == 1 && bufs[0].len() == 512 => {
                return self.disturb(offset, bufs[0]);
            }
            _ => {}
        }
        file.write_at(offset, &bufs, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len();
        match self.disk.defect {
            Defect::ReadsRunOn => self.inner.read_at(offset, buf).map(|_| len),
            Defect::ReadsStopEarly => self.inner.read_at(offset, &mut buf[..len.min(4096)]),
            _ => self.file()?.read_at(offset, buf),
        }
    }

    fn read_many(&self, reads: &mut [(u64, &mut [u8])]) -> Vec<io::Result<usize>> {
        let places: Vec<u64> = reads.iter().map(|read| read.0).collect();
        if self.is(Defect::ManyReadsAreMixed) && reads.len() > 20 {
            reads[20].0 = places[21];
        }
        reads.iter_mut().map(|(offset, buf)| self.read_at(*offset, buf)).collect()
    }

    fn pipe(&self, _: usize, stretch: usize) -> Option<Box<dyn ReadPipe>> {
        let mixed = self.is(Defect::StretchesAreMixed);
        Some(Box::new(Pipe { asked: Vec::new(), current: Vec::new(), stretch, mixed }))
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        match self.is(Defect::CutsNothing) {
            true => Ok(()),
            false => self.inner.cut(len),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if self.is(Defect::ReadersCannotSync) && !self.fresh {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.inner.sync()
    }
}

/// Reads when it is asked for a result, in the order of the questions or not.
#[derive(Debug)]
struct Pipe {
    asked: Vec<(Arc<dyn LogFile>, u64)>,
    current: Vec<u8>,
    stretch: usize,
    mixed: bool,
}

impl ReadPipe for Pipe {
    fn ask(&mut self, file: &Arc<dyn LogFile>, offset: u64) -> io::Result<()> {
        self.asked.push((Arc::clone(file), offset));
        Ok(())
    }

    fn next(&mut self) -> io::Result<usize> {
        let index = if self.mixed { self.asked.len() - 1 } else { 0 };
        let (file, offset) = self.asked.remove(index);
        let mut buf = AlignedBuf::zeroed(self.stretch);
        let count = file.read_at(offset, &mut buf)?;
        self.current = buf[..count].to_vec();
        Ok(count)
    }

    fn current(&mut self) -> &[u8] {
        &self.current
    }
}
