//! Reading extents, and the sweep: what earlier opens left, held against what is needed.

use super::Pool;
use siding_wal::disk::{ALIGNMENT, AlignedBuf, LogFile};
use siding_wal::format::{
    EXTENT_ALIGN, EXTENT_FILE_HEADER_LEN, EXTENT_HEAD_LEN, Extent, ExtentFileHeader, ExtentHead,
    ExtentPlace, Malformed, SPtr, extent_file_name, parse_extent_name, size, wide,
};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::io;
use std::sync::Arc;

/// An extent that a live unit needs and that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The unit.
    pub unit: u64,
    /// The extent.
    pub at: SPtr,
    /// What is wrong, where.
    pub what: String,
    /// All its records up to this original LSN are lost; none: all that were moved.
    pub upto: Option<Lsn>,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Live extents of earlier opens.
    pub extents: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Extents that cannot be read.
    pub problems: u64,
}

impl Pool {
    /// Learns what earlier opens left: follows the extents of each live unit, by their heads
    /// alone, and removes the files that none of them needs.
    ///
    /// Extents that are missing or damaged are kept for [`Pool::problems`]; nothing of a unit
    /// that has one is removed.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn sweep(&self, live: &[(u64, SPtr)]) -> Result<Sweep> {
        let names = self.disk.list().map_err(|cause| {
            Error::io("the directory of the secondary log cannot be listed", cause)
        })?;
        let mut found = Sweep::default();
        for (unit, newest) in live {
            let mut at = *newest;
            let mut above = None;
            while at != SPtr::NONE {
                if self.state().ledger.is_freed(*unit) {
                    break;
                }
                match self.read_head(*unit, at) {
                    Ok(head) => {
                        let mut state = self.state();
                        if !state.ledger.is_freed(*unit) {
                            state.ledger.learn(*unit, at, u64::from(head.len), head.parent);
                        }
                        found.extents += 1;
                        above = Some(head.oldest);
                        at = head.parent;
                    }
                    Err(error) => {
                        found.problems += 1;
                        let upto = above.map(|lsn| Lsn::new(lsn.get().saturating_sub(1)));
                        let what = error.to_string();
                        self.state().problems.push(Problem { unit: *unit, at, what, upto });
                        break;
                    }
                }
            }
        }
        let mut state = self.state();
        for (name, len) in &names {
            if let Some(number) = parse_extent_name(name)
                && number >> 32 < u64::from(self.config.incarnation)
            {
                state.ledger.file_bytes(number, *len);
            }
        }
        let open = state.open.as_ref().map(super::OpenFile::number);
        let gone = state.ledger.swept(open);
        // What a damaged chain leads to is not known: an operator may still want it.
        let gone = if state.problems.is_empty() { gone } else { Vec::new() };
        drop(state);
        found.removed = wide(gone.len());
        self.remove(&gone);
        Ok(found)
    }

    /// Extents that live units need and that cannot be read, as the sweep found.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.state().problems.clone()
    }

    fn file(&self, number: u64) -> Result<Arc<dyn LogFile>> {
        if let Some(file) = self.files().get(&number) {
            return Ok(Arc::clone(file));
        }
        let name = extent_file_name(number);
        let file = self.disk.open(&name).map_err(|cause| {
            let kind = cause.kind();
            let error = Error::io("an extent file cannot be opened", cause);
            if kind == io::ErrorKind::NotFound {
                return Error::new(ErrorKind::Missing, "an extent file is missing")
                    .caused_by(error);
            }
            error
        })?;
        let bytes = read(&*file, 0, EXTENT_FILE_HEADER_LEN)
            .map_err(|cause| Error::io("the header of an extent file cannot be read", cause))?;
        let header = ExtentFileHeader::decode(bytes.as_slice()).map_err(|malformed| {
            let kind = match malformed {
                Malformed::Version(_) => ErrorKind::UnsupportedVersion,
                Malformed::Field("magic") => ErrorKind::ForeignFile,
                _ => ErrorKind::Corrupt,
            };
            Error::new(kind, "the header of an extent file is not what it must be")
                .caused_by(malformed)
        })?;
        if header.log_id != self.config.log_id || header.number != number {
            let what = "the extent file is of another log, or under a wrong name";
            return Err(Error::new(ErrorKind::ForeignFile, what));
        }
        self.keep(number, &file);
        Ok(file)
    }

    fn located(&self, error: Error, unit: u64, at: SPtr) -> Error {
        let name = extent_file_name(at.extent);
        let path = self.disk.path().map_or_else(|| name.clone().into(), |path| path.join(&name));
        let what = format!(
            "moved records of unit {unit:#x} cannot be read: {}, at byte {} of the file",
            error.what(),
            u64::from(at.offset) * wide(EXTENT_ALIGN)
        );
        let kind = error.kind();
        Error::new(kind, what)
            .caused_by(error)
            .file(path)
            .advise("put the file back, or resolve the unit knowing what is lost")
    }

    fn read_head(&self, unit: u64, at: SPtr) -> Result<ExtentHead> {
        self.head(unit, at).map_err(|error| self.located(error, unit, at))
    }

    fn head(&self, unit: u64, at: SPtr) -> Result<ExtentHead> {
        let file = self.file(at.extent)?;
        let offset = u64::from(at.offset) * wide(EXTENT_ALIGN);
        let bytes = read(&*file, offset, EXTENT_HEAD_LEN)
            .map_err(|cause| Error::io("an extent cannot be read", cause))?;
        let head = ExtentHead::decode(bytes.as_slice(), &self.place(at)).map_err(damaged)?;
        of_unit(&head, unit)?;
        Ok(head)
    }

    fn place(&self, at: SPtr) -> ExtentPlace {
        ExtentPlace { log_id: self.config.log_id, at }
    }

    /// Reads and verifies an extent.
    pub(super) fn read_extent(&self, unit: u64, at: SPtr) -> Result<Extent> {
        let head = self.read_head(unit, at)?;
        let whole = || -> Result<Extent> {
            let file = self.file(at.extent)?;
            let offset = u64::from(at.offset) * wide(EXTENT_ALIGN);
            let bytes = read(&*file, offset, size(head.len))
                .map_err(|cause| Error::io("an extent cannot be read", cause))?;
            Extent::decode(bytes.as_slice().to_vec(), &self.place(at)).map_err(damaged)
        };
        whole().map_err(|error| {
            let what = format!("{} (its records {} to {})", error.what(), head.oldest, head.newest);
            self.located(Error::new(error.kind(), what).caused_by(error), unit, at)
        })
    }
}

fn damaged(malformed: Malformed) -> Error {
    Error::new(ErrorKind::Corrupt, "the extent is damaged").caused_by(malformed)
}

fn of_unit(head: &ExtentHead, unit: u64) -> Result<()> {
    if head.unit == unit {
        return Ok(());
    }
    let what = format!("the extent is of unit {:#x}", head.unit);
    Err(Error::new(ErrorKind::Corrupt, what))
}

/// Reads bytes wherever they stand, by whole blocks.
fn read(file: &dyn LogFile, offset: u64, len: usize) -> io::Result<AlignedBuf> {
    let block = wide(ALIGNMENT);
    let start = offset - offset % block;
    let end = offset.saturating_add(wide(len)).next_multiple_of(block);
    let mut bytes = AlignedBuf::zeroed(usize::try_from(end - start).unwrap_or(usize::MAX));
    let count = file.read_at(start, bytes.as_mut_slice())?;
    bytes.truncate(count);
    let lead = usize::try_from(offset - start).unwrap_or(usize::MAX);
    let mut wanted = AlignedBuf::default();
    let to = lead.saturating_add(len).min(bytes.len());
    wanted.extend_from_slice(bytes.as_slice().get(lead.min(to)..to).unwrap_or_default());
    Ok(wanted)
}
