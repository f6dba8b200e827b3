//! The portable backend: writes through the page cache, and `fdatasync`.

use super::dir::{Dir, check_writable, of_directory, sync_data};
use super::transfer::{check_read, check_write, read_full, write_all};
use super::{Disk, Geometry, LogFile};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The smallest write; the page cache takes any, and no device writes less.
pub(super) const SMALLEST: u32 = 512;

/// Above this a file system's favourite size speaks of speed, not of what a write may tear.
const LARGEST_UNIT: u32 = 64 << 10;

#[derive(Debug)]
pub(super) struct BufferedDisk {
    dir: Dir,
    geometry: Geometry,
}

impl BufferedDisk {
    pub(super) fn new(dir: Dir, mut notes: Vec<String>) -> io::Result<Self> {
        if cfg!(not(target_os = "linux")) {
            notes.push("reads may come from the page cache".to_owned());
        }
        let write_unit = cached_unit(dir.file())?;
        Ok(Self { dir, geometry: Geometry { write_unit, min_write_unit: SMALLEST, notes } })
    }
}

/// What the page cache writes at once: a page, or the file system's block if that is larger.
pub(super) fn cached_unit(file: &File) -> io::Result<u32> {
    let block = u32::try_from(rustix::fs::fstat(file)?.st_blksize).unwrap_or(0).min(LARGEST_UNIT);
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(0);
    Ok(block.max(page).max(SMALLEST).next_power_of_two())
}

impl Disk for BufferedDisk {
    fn name(&self) -> &'static str {
        "buffered"
    }

    fn geometry(&self) -> Geometry {
        self.geometry.clone()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(BufferedFile::new(self.dir.create(name)?, true)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(BufferedFile::new(self.dir.open_file(name)?, self.dir.writable())))
    }

    of_directory!();
}

/// A file in the page cache. The direct backend uses it too where direct I/O is refused.
#[derive(Debug)]
pub(super) struct BufferedFile {
    file: File,
    writable: bool,
    wrote: AtomicBool,
}

impl BufferedFile {
    pub(super) fn new(file: File, writable: bool) -> Self {
        let file = Self { file, writable, wrote: AtomicBool::new(false) };
        file.forget();
        file
    }

    /// Lets the page cache drop what it believes of the file, as far as that is clean.
    ///
    /// After a failed sync the cache shows bytes that are on no disk, to every process, until it
    /// is made to forget. So a file is opened without them; and a reader that syncs before it
    /// reads, as an open after a crash does, gets rid of what was dirty at the open too.
    fn forget(&self) {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

impl LogFile for BufferedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        check_writable(self.writable)?;
        check_write(offset, bufs, SMALLEST)?;
        self.wrote.store(true, Ordering::Relaxed);
        write_all(offset, bufs, 1, |slices, offset| match slices.first() {
            Some(slice) => self.file.write_at(slice, offset),
            None => Ok(0),
        })?;
        if durable { sync_data(&self.file) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        check_read(offset, buf.len(), SMALLEST)?;
        read_full(offset, buf, 1, |buf, offset| self.file.read_at(buf, offset))
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        check_writable(self.writable)?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        check_writable(self.writable)?;
        sync_data(&self.file)?;
        if !self.wrote.load(Ordering::Relaxed) {
            self.forget();
        }
        Ok(())
    }
}
