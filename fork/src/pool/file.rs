//! An extent file that takes extents.

use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::format::{EXTENT_ALIGN, ExtentFileHeader, LogId, SPtr, size, wide};
use std::io;
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;

/// Pointers reach no further into a file.
const REACH: u64 = (u32::MAX as u64) * (EXTENT_ALIGN as u64);

/// An extent file that takes extents.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: Arc<dyn LogFile>,
    number: u64,
    write_unit: usize,
    /// Bytes written; a multiple of the write unit.
    written: u64,
    /// What comes behind them; at first the header.
    gathered: AlignedBuf,
    /// Whether the name may be in the cache alone.
    new: bool,
    /// Whether something was written since the last sync.
    dirty: bool,
}

impl OpenFile {
    /// A file that was just created, empty. Its header is gathered, not written.
    pub(super) fn new(file: Arc<dyn LogFile>, log_id: LogId, number: u64, write_unit: u32) -> Self {
        let header = ExtentFileHeader { log_id, number, write_unit }.encode();
        let write_unit = size(write_unit).max(header.len());
        let mut gathered = AlignedBuf::default();
        gathered.extend_from_slice(&header);
        gathered.resize(write_unit);
        Self { file, number, write_unit, written: 0, gathered, new: true, dirty: false }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the file, with what is gathered.
    pub(super) fn len(&self) -> u64 {
        self.written.saturating_add(wide(self.gathered.len()))
    }

    /// Bytes that the file has on the disk, as far as this can be known.
    pub(super) fn len_on_disk(&self) -> u64 {
        self.file.len().unwrap_or(self.written)
    }

    /// Bytes that are to be written, with `more` bytes behind them.
    pub(super) fn ahead(&self, more: u64) -> u64 {
        let ahead = wide(self.gathered.len()).saturating_add(more);
        ahead.checked_next_multiple_of(wide(self.write_unit)).unwrap_or(u64::MAX)
    }

    /// Where the next extent stands; none if no pointer reaches there.
    pub(super) fn place(&self) -> Option<SPtr> {
        let offset = self.len() / wide(EXTENT_ALIGN);
        let offset = u32::try_from(offset).ok().filter(|_| self.len() < REACH)?;
        Some(SPtr { extent: self.number, offset })
    }

    /// Takes an extent; writes what fills write units once enough is gathered.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < GATHERED {
            return Ok(());
        }
        let whole = self.gathered.len() - self.gathered.len() % self.write_unit;
        self.write(whole)
    }

    /// Writes all that is gathered, padded.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let padded = self.gathered.len().next_multiple_of(self.write_unit);
        self.gathered.resize(padded);
        self.write(padded)
    }

    fn write(&mut self, len: usize) -> io::Result<()> {
        let (front, rest) = self.gathered.as_slice().split_at_checked(len).unwrap_or_default();
        self.file.write_at(self.written, &[front], false)?;
        self.dirty = true;
        self.written = self.written.saturating_add(wide(len));
        let rest = AlignedBuf::from(rest);
        self.gathered = rest;
        Ok(())
    }

    /// Makes the file's bytes durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.write_out()?;
        if self.dirty {
            self.file.sync()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Whether its name has still to be made durable.
    pub(super) fn is_new(&self) -> bool {
        self.new
    }

    pub(super) fn named(&mut self) {
        self.new = false;
    }
}

/// Makes files durable, names too: each by one sync, and the directory by one if any is new.
pub(super) fn sync_all(
    disk: &dyn Disk,
    files: &mut [&mut OpenFile],
) -> Result<(), (u64, io::Error)> {
    for file in files.iter_mut() {
        file.sync().map_err(|cause| (file.number(), cause))?;
    }
    if let Some(new) = files.iter().find(|file| file.is_new()) {
        disk.sync_dir().map_err(|cause| (new.number(), cause))?;
    }
    files.iter_mut().for_each(|file| file.named());
    Ok(())
}
