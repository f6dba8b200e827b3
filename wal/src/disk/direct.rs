//! The backends past the page cache: `O_DIRECT`, and durable writes by `RWF_DSYNC`; with a ring,
//! or without one, for much at once.
//!
//! A file whose ring broke in the middle of a write is *fenced*: no call writes to it any more.
//! When the call that met the failure returns, nothing is on its way to the file either.

use super::buffered::{BufferedDisk, BufferedFile};
use super::device::{self, Asked};
use super::dir::{Dir, check_writable, of_directory, sync_data};
use super::rings::{Reader, Rings};
use super::transfer::{check_place, check_read, check_write, read_full, write_all};
use super::{Disk, Geometry, LogFile, ReadPipe};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A write without `durable` of this many bytes or more goes through the ring: below, one plain
/// call is as fast.
const BULK: u64 = 256 << 10;

#[derive(Debug)]
struct DirectDisk {
    dir: Dir,
    geometry: Geometry,
    /// The rings, where they are wanted and to be had.
    rings: Option<Arc<Rings>>,
    /// What buffers must start on.
    alignment: u32,
    /// A file refused direct I/O though its directory did not.
    refused: AtomicBool,
    /// The kernel does not know `RWF_DSYNC`; a sync after the write does the same, dearer.
    lacks_dsync: Arc<AtomicBool>,
}

/// The directory by direct I/O, or buffered with a note if its file system refuses that.
pub(super) fn open(dir: Dir, mut notes: Vec<String>) -> io::Result<Arc<dyn Disk>> {
    let Some(asked) = ask(&dir, &mut notes)? else {
        notes.push("the file system refuses direct I/O; buffered is used instead".to_owned());
        return Ok(Arc::new(BufferedDisk::new(dir, notes)?));
    };
    Ok(Arc::new(DirectDisk::new(dir, &asked, notes)))
}

/// The same with rings of this depth, for durable writes too or not; where none is to be had,
/// without one, and a note says so.
pub(super) fn open_ring(
    dir: Dir,
    depth: usize,
    durable: bool,
    mut notes: Vec<String>,
) -> io::Result<Arc<dyn Disk>> {
    let rings = Rings::new(depth, durable);
    if let Err(cause) = &rings {
        notes.push(format!("there is no io_uring here ({cause}); plain calls are used instead"));
    }
    let Some(asked) = ask(&dir, &mut notes)? else {
        notes.push("the file system refuses direct I/O; buffered is used instead".to_owned());
        return Ok(Arc::new(BufferedDisk::new(dir, notes)?));
    };
    let mut disk = DirectDisk::new(dir, &asked, notes);
    disk.rings = rings.ok().map(Arc::new);
    Ok(Arc::new(disk))
}

/// What direct I/O in the directory must keep to, or none if there is no such thing.
fn ask(dir: &Dir, notes: &mut Vec<String>) -> io::Result<Option<Asked>> {
    let block = u32::try_from(rustix::fs::fstat(dir.file())?.st_blksize).unwrap_or(0);
    Ok(match probe(dir)? {
        Probe::Granted(file) => device::ask(&file, block, notes),
        Probe::Refused => None,
        Probe::Unknown => {
            notes.push("direct I/O could not be tried before the first file".to_owned());
            device::ask(dir.file(), block, notes)
        }
    })
}

/// Whether files of the directory can be had past the page cache.
enum Probe {
    /// By this one they can.
    Granted(File),
    Refused,
    /// There was no file to try it on, nor one to be had.
    Unknown,
}

fn probe(dir: &Dir) -> io::Result<Probe> {
    let mut file = dir.nameless().ok();
    if file.is_none() {
        // No such files here, no room, or looking at alone: any that is there will do.
        file = dir.list()?.iter().find_map(|(name, _)| {
            dir.open_file(name).ok().filter(|file| file.metadata().is_ok_and(|data| data.is_file()))
        });
    }
    match file {
        None => Ok(Probe::Unknown),
        Some(file) if bypass_cache(&file)? => Ok(Probe::Granted(file)),
        Some(_) => Ok(Probe::Refused),
    }
}

/// Turns direct I/O on; false if the file system refuses.
///
/// Not by a flag of the open: one that creates the file and is refused leaves the file behind.
fn bypass_cache(file: &File) -> io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl DirectDisk {
    fn new(dir: Dir, asked: &Asked, notes: Vec<String>) -> Self {
        let Asked { write_unit, min_write_unit, alignment } = *asked;
        Self {
            dir,
            geometry: Geometry { write_unit, min_write_unit, notes },
            rings: None,
            alignment,
            refused: AtomicBool::new(false),
            lacks_dsync: Arc::default(),
        }
    }

    fn file(&self, file: File) -> io::Result<Arc<dyn LogFile>> {
        let writable = self.dir.writable();
        if !bypass_cache(&file)? {
            self.refused.store(true, Ordering::Relaxed);
            return Ok(Arc::new(BufferedFile::new(file, writable)));
        }
        Ok(Arc::new(DirectFile {
            file,
            writable,
            unit: self.geometry.min_write_unit,
            alignment: self.alignment,
            lacks_dsync: Arc::clone(&self.lacks_dsync),
            rings: self.rings.clone(),
            id: FILES.fetch_add(1, Ordering::Relaxed),
            fenced: AtomicBool::new(false),
        }))
    }
}

impl Disk for DirectDisk {
    fn name(&self) -> &'static str {
        match &self.rings {
            None => "direct",
            Some(rings) if rings.durable() => "uring-durable",
            Some(_) => "uring",
        }
    }

    fn geometry(&self) -> Geometry {
        let mut geometry = self.geometry.clone();
        if self.refused.load(Ordering::Relaxed) {
            geometry.notes.push("a file refused direct I/O and is buffered".to_owned());
        }
        geometry
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.file(self.dir.create(name)?)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.file(self.dir.open_file(name)?)
    }

    of_directory!();
}

#[derive(Debug)]
struct DirectFile {
    file: File,
    writable: bool,
    /// What offsets and lengths are multiples of.
    unit: u32,
    /// What buffers must start on.
    alignment: u32,
    lacks_dsync: Arc<AtomicBool>,
    rings: Option<Arc<Rings>>,
    /// What the rings know this handle by.
    id: u64,
    /// A ring broke while it wrote to this file.
    fenced: AtomicBool,
}

/// Handles made so far.
static FILES: AtomicU64 = AtomicU64::new(0);

impl Drop for DirectFile {
    fn drop(&mut self) {
        if let Some(rings) = &self.rings {
            rings.forget(self.id);
        }
    }
}

impl DirectFile {
    fn known(&self) -> (u64, BorrowedFd<'_>) {
        (self.id, self.file.as_fd())
    }

    fn granule(&self) -> usize {
        usize::try_from(self.unit).unwrap_or(usize::MAX)
    }

    /// The rings that a durable write goes through, if it does.
    fn durable_rings(&self) -> Option<&Rings> {
        self.rings.as_deref().filter(|rings| rings.durable())
    }

    fn check_fence(&self) -> io::Result<()> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(io::Error::other("the file is fenced: a ring broke while it was written"));
        }
        Ok(())
    }

    /// What a ring did; the file is fenced if the ring broke.
    fn fence<T>(&self, result: io::Result<io::Result<T>>) -> io::Result<T> {
        result.unwrap_or_else(|cause| {
            self.fenced.store(true, Ordering::Release);
            Err(cause)
        })
    }

    fn write(&self, offset: u64, bufs: &[&[u8]], flags: ReadWriteFlags) -> io::Result<()> {
        write_all(offset, bufs, self.unit, |slices, offset| {
            Ok(rustix::io::pwritev2(&self.file, slices, offset, flags)?)
        })
    }

    fn write_and_sync(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()> {
        write_all(offset, bufs, self.unit, |slices, offset| {
            Ok(rustix::io::pwritev(&self.file, slices, offset)?)
        })?;
        sync_data(&self.file)
    }
}

fn unknown_call(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSYS | Errno::OPNOTSUPP))
}

impl LogFile for DirectFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        check_writable(self.writable)?;
        let total = check_write(offset, bufs, self.unit)?;
        bufs.iter().try_for_each(|buf| check_place(buf, self.alignment))?;
        self.check_fence()?;
        let bulk = self.rings.as_deref().filter(|_| !durable && total >= BULK);
        if let Some(rings) = bulk.or(self.durable_rings().filter(|_| durable)) {
            let granule = self.granule();
            return self.fence(rings.write(self.known(), offset, bufs, durable, granule));
        }
        if !durable {
            return self.write(offset, bufs, ReadWriteFlags::empty());
        }
        if self.lacks_dsync.load(Ordering::Relaxed) {
            return self.write_and_sync(offset, bufs);
        }
        match self.write(offset, bufs, ReadWriteFlags::DSYNC) {
            // Refused before anything was written, unlike every other failure.
            Err(error) if unknown_call(&error) => {
                self.lacks_dsync.store(true, Ordering::Relaxed);
                self.write_and_sync(offset, bufs)
            }
            result => result,
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        check_read(offset, buf.len(), self.unit)?;
        check_place(buf, self.alignment)?;
        read_full(offset, buf, self.unit, |buf, offset| self.file.read_at(buf, offset))
    }

    fn read_many(&self, reads: &mut [(u64, &mut [u8])]) -> Vec<io::Result<usize>> {
        let fits = |(offset, buf): &(u64, &mut [u8])| {
            check_read(*offset, buf.len(), self.unit).is_ok()
                && check_place(buf, self.alignment).is_ok()
        };
        let rings = self.rings.as_deref().filter(|_| reads.len() > 1 && reads.iter().all(fits));
        let done = rings.and_then(|rings| rings.read(self.known(), reads, self.granule()).ok());
        // What a ring could not do is done without it.
        done.unwrap_or_else(|| {
            reads.iter_mut().map(|(offset, buf)| self.read_at(*offset, buf)).collect()
        })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.rings.is_some().then(|| self.file.as_fd())
    }

    fn pipe(&self, depth: usize, stretch: usize) -> Option<Box<dyn ReadPipe>> {
        self.rings.as_ref()?;
        Reader::new(depth, stretch).ok().map(|reader| -> Box<dyn ReadPipe> { Box::new(reader) })
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        check_writable(self.writable)?;
        self.check_fence()?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        check_writable(self.writable)?;
        self.check_fence()?;
        match self.durable_rings() {
            Some(rings) => self.fence(rings.sync(self.known())),
            None => sync_data(&self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::conformance;
    use std::cell::Cell;

    #[test]
    fn conforms_under_a_kernel_without_dsync() {
        // Beside the test's program, for the usual place may be memory.
        let program = std::env::current_exe().unwrap();
        let temp = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let made = Cell::new(0);
        let result = conformance::check(&|| {
            made.set(made.get() + 1);
            let dir = Dir::open(&temp.path().join(made.get().to_string()), true)?;
            let Some(asked) = ask(&dir, &mut Vec::new())? else {
                return open(dir, Vec::new());
            };
            let disk = DirectDisk::new(dir, &asked, Vec::new());
            disk.lacks_dsync.store(true, Ordering::Relaxed);
            Ok(Arc::new(disk))
        });
        assert!(result.is_ok(), "{result:?}");
    }
}
