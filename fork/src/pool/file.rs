//! The extent file that extents are appended to.

use super::PoolConfig;
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::format::{EXTENT_ALIGN, ExtentFileHeader, ExtentPlace, LogId, SPtr, size, wide};
use siding_wal::{Error, ErrorKind, Result};
use std::io;
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;

/// An extent file that takes extents.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: Arc<dyn LogFile>,
    number: u64,
    write_unit: usize,
    /// Bytes written; a multiple of the write unit.
    written: u64,
    /// What comes behind them.
    gathered: AlignedBuf,
    /// Whether the name may be in the cache alone.
    new: bool,
    /// Whether something was written since the last sync.
    dirty: bool,
}

/// The header of a new file, padded to the write unit.
pub(super) fn header_bytes(config: &PoolConfig, number: u64) -> AlignedBuf {
    let write_unit = config.write_unit;
    let header = ExtentFileHeader { log_id: config.log_id, number, write_unit }.encode();
    let mut bytes = AlignedBuf::zeroed(size(write_unit).max(header.len()));
    if let Some(front) = bytes.as_mut_slice().get_mut(..header.len()) {
        front.copy_from_slice(&header);
    }
    bytes
}

impl OpenFile {
    pub(super) fn new(
        file: Arc<dyn LogFile>,
        number: u64,
        write_unit: u32,
        header: &AlignedBuf,
    ) -> io::Result<Self> {
        file.write_at(0, &[header.as_slice()], false)?;
        Ok(Self {
            file,
            number,
            write_unit: size(write_unit),
            written: wide(header.len()),
            gathered: AlignedBuf::default(),
            new: true,
            dirty: true,
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the file, with what is gathered.
    pub(super) fn len(&self) -> u64 {
        self.written.saturating_add(wide(self.gathered.len()))
    }

    /// Where the next extent stands.
    pub(super) fn place(&self) -> Result<SPtr> {
        let offset = u32::try_from(self.len() / wide(EXTENT_ALIGN)).map_err(|_| {
            Error::new(ErrorKind::LogFull, "an extent file has grown beyond what pointers reach")
        })?;
        Ok(SPtr { extent: self.number, offset })
    }

    pub(super) fn extent_place(&self, log_id: LogId, at: SPtr) -> ExtentPlace {
        ExtentPlace { log_id, at }
    }

    /// Takes an extent; writes what fills write units once enough is gathered.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < GATHERED {
            return Ok(());
        }
        let whole = self.gathered.len() - self.gathered.len() % self.write_unit;
        let front = self.gathered.as_slice().get(..whole).unwrap_or_default();
        self.file.write_at(self.written, &[front], false)?;
        self.written = self.written.saturating_add(wide(whole));
        self.dirty = true;
        let mut rest = AlignedBuf::default();
        rest.extend_from_slice(self.gathered.as_slice().get(whole..).unwrap_or_default());
        self.gathered = rest;
        Ok(())
    }

    /// Writes what is gathered, padded, and syncs file and name.
    pub(super) fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if !self.gathered.is_empty() {
            let padded = self.gathered.len().next_multiple_of(self.write_unit);
            self.gathered.resize(padded);
            self.file.write_at(self.written, &[self.gathered.as_slice()], false)?;
            self.written = self.written.saturating_add(wide(padded));
            self.gathered.clear();
            self.dirty = true;
        }
        if self.dirty {
            self.file.sync()?;
            self.dirty = false;
        }
        if self.new {
            disk.sync_dir()?;
            self.new = false;
        }
        Ok(())
    }
}
