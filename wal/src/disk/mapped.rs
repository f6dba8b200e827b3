//! The backend through a map: stores, and `msync` behind a durable write.
//!
//! What a map dirties is written back in the pieces that the page cache holds, folios. A folio of
//! a megabyte would be written whole for each commit, with its synced neighbours, so everything
//! here sees to it that folios are pages: files are filled page by page and read without
//! read-ahead. Whether the kernel keeps to it is measured when the directory is opened, and the
//! write unit is what was measured.
//!
//! A store never goes where a signal could come of it: beyond the end of the file, or where the
//! device has no block yet. There plain calls write. File systems that give a block anew at each
//! write have no such place at all, and are written by plain calls alone.

use super::buffered::{BufferedDisk, SMALLEST, cached_unit};
use super::dir::{Dir, check_writable, of_directory, sync_data};
use super::map::Map;
use super::transfer::{bytes, check_read, check_write, read_full, write_all};
use super::{Disk, Geometry, LogFile};
use rustix::fs::{Advice, SeekFrom};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

#[derive(Debug)]
pub(super) struct MappedDisk {
    dir: Dir,
    geometry: Geometry,
    /// Held by who stores, against who cuts.
    cuts: Arc<RwLock<()>>,
}

/// The directory through maps, or buffered with a note where a store could end the process.
pub(super) fn open(dir: Dir, mut notes: Vec<String>) -> io::Result<Arc<dyn Disk>> {
    if writes_elsewhere(dir.file())? {
        notes.push("the file system gives blocks anew; buffered is used, not mapped".to_owned());
        return Ok(Arc::new(BufferedDisk::new(dir, notes)?));
    }
    let least = cached_unit(dir.file())?;
    let write_unit = match folio(&dir) {
        Some(folio) => folio.max(least).next_power_of_two(),
        None => {
            notes.push(format!("what a store dirties could not be measured; {FOLIO} is assumed"));
            FOLIO.max(least)
        }
    };
    let geometry = Geometry { write_unit, min_write_unit: SMALLEST, notes };
    Ok(Arc::new(MappedDisk { dir, geometry, cuts: Arc::default() }))
}

/// What a store may dirty where it cannot be known.
const FOLIO: u32 = 64 << 10;

/// btrfs, bcachefs, ZFS, F2FS: an overwritten block is given anew, and there may be none left.
const ELSEWHERE: [u32; 4] = [0x9123_683e, 0xca45_1a4e, 0x2fc1_2fc1, 0xf2f5_2010];

#[cfg(target_os = "linux")]
fn writes_elsewhere(file: &File) -> io::Result<bool> {
    let kind = u32::try_from(rustix::fs::fstatfs(file)?.f_type).unwrap_or(0);
    Ok(ELSEWHERE.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
fn writes_elsewhere(_: &File) -> io::Result<bool> {
    let _ = ELSEWHERE;
    Ok(true)
}

/// Bytes that one store dirties, as the operating system counts them for this thread, in a file
/// that goes with its handle. None where it does not count, or there is no such file.
#[cfg(target_os = "linux")]
fn folio(dir: &Dir) -> Option<u32> {
    const LEN: usize = 256 << 10;
    let file = MappedFile::new(dir.nameless().ok()?, true, Arc::default());
    let zeros = super::AlignedBuf::zeroed(LEN);
    file.write_at(0, &[&zeros], true).ok()?;
    let page = zeros.get(..usize::try_from(SMALLEST).ok()?)?;
    let dirtied = |at: usize| {
        let before = written_by_thread()?;
        file.write_at(bytes(at), &[page], false).ok()?;
        u32::try_from(written_by_thread()?.checked_sub(before)?).ok()
    };
    // As it was filled; and as it comes back once memory was short.
    let filled = dirtied(LEN / 2)?;
    sync_data(&file.file).ok()?;
    file.lose_map();
    file.forget();
    let again = dirtied(LEN / 4)?;
    // A count of nothing would say that nothing is counted.
    Some(filled.max(again)).filter(|most| *most > 0 && filled > 0)
}

#[cfg(not(target_os = "linux"))]
fn folio(_: &Dir) -> Option<u32> {
    None
}

/// Bytes this thread has dirtied so far.
#[cfg(target_os = "linux")]
fn written_by_thread() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

impl MappedDisk {
    fn file(&self, file: File) -> Arc<dyn LogFile> {
        Arc::new(MappedFile::new(file, self.dir.writable(), Arc::clone(&self.cuts)))
    }
}

impl Disk for MappedDisk {
    fn name(&self) -> &'static str {
        "mmap"
    }

    fn geometry(&self) -> Geometry {
        self.geometry.clone()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.file(self.dir.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.file(self.dir.open_file(name)?))
    }

    of_directory!();
}

#[derive(Debug)]
struct MappedFile {
    file: File,
    writable: bool,
    wrote: AtomicBool,
    /// Made by the first store, made anew once the file is longer.
    map: RwLock<Option<Map>>,
    cuts: Arc<RwLock<()>>,
    /// A store could not be forced to the device.
    fenced: AtomicBool,
}

impl MappedFile {
    fn new(file: File, writable: bool, cuts: Arc<RwLock<()>>) -> Self {
        let (map, fenced) = (RwLock::default(), AtomicBool::new(false));
        let file = Self { file, writable, wrote: AtomicBool::new(false), map, cuts, fenced };
        // Without read-ahead pages come as pages.
        let _ = rustix::fs::fadvise(&file.file, 0, None, Advice::Random);
        file.forget();
        file
    }

    /// Lets the page cache drop what it believes of the file, as far as that is clean and not
    /// mapped; see the buffered backend.
    fn forget(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn check_fence(&self) -> io::Result<()> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "the file is fenced: what was stored could not be forced",
            ));
        }
        Ok(())
    }

    fn lose_map(&self) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The map, if it reaches `end`.
    fn mapped(&self, end: u64) -> io::Result<RwLockReadGuard<'_, Option<Map>>> {
        let reaches = |map: &Option<Map>| map.as_ref().is_some_and(|map| bytes(map.len()) >= end);
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        if reaches(&map) {
            return Ok(map);
        }
        drop(map);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if !reaches(&map) {
            *map = None;
            *map = Some(Map::new(&self.file)?);
        }
        drop(map);
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the file has blocks, or room promised for them, for the whole range.
    fn is_solid(&self, offset: u64, end: u64) -> bool {
        let Ok(meta) = self.file.metadata() else { return false };
        meta.is_file()
            && meta.len() >= end
            && rustix::fs::seek(&self.file, SeekFrom::Hole(offset)).is_ok_and(|hole| hole >= end)
    }

    fn store(&self, offset: u64, bufs: &[&[u8]], total: u64, durable: bool) -> io::Result<bool> {
        let end = offset.saturating_add(total);
        let map = match self.mapped(end) {
            Ok(map) => map,
            // Nothing was stored yet, and a plain call does the same.
            Err(_) => return Ok(false),
        };
        let (Some(map), Ok(from)) = (&*map, usize::try_from(offset)) else { return Ok(false) };
        let mut at = from;
        for buf in bufs {
            map.store(at, buf)?;
            at += buf.len();
        }
        if durable {
            map.sync(from, at - from)?;
        }
        Ok(true)
    }

    /// By plain calls, a page at a time, so that the page cache holds pages.
    fn write(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()> {
        let page = rustix::param::page_size();
        write_all(offset, bufs, 1, |slices, offset| {
            let Some(slice) = slices.first() else { return Ok(0) };
            let inside = usize::try_from(offset).unwrap_or(0) % page;
            let piece = slice.get(..(page - inside).min(slice.len())).unwrap_or_default();
            self.file.write_at(piece, offset)
        })
    }

    fn force(&self) -> io::Result<()> {
        sync_data(&self.file).map_err(|cause| self.fence(cause))
    }

    /// What was stored could not be forced. A mapped page is never forgotten: whoever opens the
    /// file next would be shown bytes that are on no disk.
    fn fence(&self, cause: io::Error) -> io::Error {
        self.fenced.store(true, Ordering::Release);
        self.lose_map();
        cause
    }
}

impl LogFile for MappedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        check_writable(self.writable)?;
        let total = check_write(offset, bufs, SMALLEST)?;
        self.check_fence()?;
        if total == 0 {
            return Ok(());
        }
        self.wrote.store(true, Ordering::Relaxed);
        let nobody_cuts = self.cuts.read().unwrap_or_else(PoisonError::into_inner);
        let result = match self.is_solid(offset, offset.saturating_add(total)) {
            true => self.store(offset, bufs, total, durable),
            false => Ok(false),
        };
        drop(nobody_cuts);
        match result {
            Ok(true) => return Ok(()),
            Ok(false) => self.write(offset, bufs)?,
            Err(cause) => return Err(self.fence(cause)),
        }
        if durable { self.force() } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        check_read(offset, buf.len(), SMALLEST)?;
        read_full(offset, buf, 1, |buf, offset| self.file.read_at(buf, offset))
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        check_writable(self.writable)?;
        self.check_fence()?;
        let _nobody_stores = self.cuts.write().unwrap_or_else(PoisonError::into_inner);
        self.lose_map();
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        check_writable(self.writable)?;
        self.check_fence()?;
        self.force()?;
        if !self.wrote.load(Ordering::Relaxed) {
            self.forget();
        }
        Ok(())
    }
}
