//! Reading extents, and what is said of one that cannot be read.

use super::{Pool, Problem};
use siding_wal::chain::Copies;
use siding_wal::disk::{ALIGNMENT, AlignedBuf, LogFile};
use siding_wal::format::{
    EXTENT_ALIGN, EXTENT_FILE_HEADER_LEN, EXTENT_HEAD_LEN, Extent, ExtentFileHeader, ExtentHead,
    ExtentPlace, Malformed, SPtr, extent_file_name, parse_extent_name, size, wide,
};
use siding_wal::{Error, ErrorKind, Result};
use std::io;
use std::sync::Arc;

/// Bytes that are read at first: most extents of small units end in them.
const FRONT: usize = 16 << 10;

/// What the header of an extent file says of it.
#[derive(Debug)]
pub(super) enum Header {
    /// It is the pool's.
    Ours,
    /// It was not written yet when a crash came.
    Blank,
    /// It cannot be taken for the pool's.
    Refused(Error),
}

/// An extent; or why it could not be read, and its head if that could.
pub(super) type Whole = std::result::Result<Extent, (Error, Option<ExtentHead>)>;

impl Copies for Pool {
    /// Reads and verifies an extent.
    ///
    /// Costs one read of 16 KiB, and one of the rest of a larger extent; the first one in a file
    /// opens it and reads its header.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Missing`], [`ErrorKind::Corrupt`], [`ErrorKind::ForeignFile`],
    /// [`ErrorKind::UnsupportedVersion`] or what the disk says, with unit, file and place; and
    /// which records are concerned, by the LSNs of the originals, if its head can be read.
    fn extent(&self, unit: u64, at: SPtr) -> Result<Arc<Extent>> {
        self.whole(unit, at).map(Arc::new).map_err(|(error, head)| {
            let error = self.located(error, unit, at, head.as_ref());
            self.note(unit, at, &error, head.as_ref());
            error
        })
    }
}

impl Pool {
    /// The extent files there are and their bytes, by name, whosever they are.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn list_files(&self) -> Result<Vec<(String, u64)>> {
        let names = self.disk.list().map_err(|cause| self.cannot_list(cause))?;
        let mut files: Vec<_> =
            names.into_iter().filter(|(name, _)| parse_extent_name(name).is_some()).collect();
        files.sort();
        Ok(files)
    }

    /// Keeps in mind what is wrong with an extent that is needed.
    pub(super) fn note(&self, unit: u64, at: SPtr, error: &Error, head: Option<&ExtentHead>) {
        let mut state = self.state();
        // A disk that fails to answer may answer next time.
        if error.kind() != ErrorKind::Io && state.ledger.holds(unit, at) {
            state.add_problem(Problem {
                unit,
                at,
                file: extent_file_name(at.extent),
                kind: error.kind(),
                what: error.to_string(),
                from: head.map(|head| head.oldest),
                upto: head.map(|head| head.newest),
                records: head.map(|head| u64::from(head.count)),
            });
        }
    }

    /// The file, open, its header verified.
    pub(super) fn file(&self, number: u64) -> Result<Arc<dyn LogFile>> {
        if let Some(file) = self.files().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&extent_file_name(number)).map_err(|cause| {
            if cause.kind() == io::ErrorKind::NotFound {
                return Error::new(ErrorKind::Missing, "its file is missing");
            }
            Error::io("its file cannot be opened", cause)
        })?;
        match self.header(&*file, number) {
            Header::Ours => {}
            Header::Blank => {
                let what = "the header of its file is gone";
                return Err(Error::new(ErrorKind::Missing, what));
            }
            Header::Refused(error) => return Err(error),
        }
        self.keep(number, &file);
        Ok(file)
    }

    pub(super) fn header(&self, file: &dyn LogFile, number: u64) -> Header {
        let bytes = match self.read(file, 0, EXTENT_FILE_HEADER_LEN) {
            Ok(bytes) => bytes,
            Err(cause) => {
                return Header::Refused(Error::io("the header of its file cannot be read", cause));
            }
        };
        let front = bytes.get(..EXTENT_FILE_HEADER_LEN).unwrap_or(bytes.as_slice());
        if front.iter().all(|byte| *byte == 0) {
            return Header::Blank;
        }
        let refused = |kind, what: &str| Header::Refused(Error::new(kind, what));
        match ExtentFileHeader::decode(front) {
            Ok(header) if header.log_id != self.config.log_id => {
                refused(ErrorKind::ForeignFile, "its file belongs to another log")
            }
            Ok(header) if header.number != number => {
                let number = header.number;
                let what = format!("its file is {} by its header", extent_file_name(number));
                refused(ErrorKind::ForeignFile, &what)
            }
            Ok(_) => Header::Ours,
            Err(Malformed::Field("magic")) => {
                refused(ErrorKind::ForeignFile, "its file is not Siding's")
            }
            Err(malformed) => {
                let kind = match malformed {
                    Malformed::Version(_) => ErrorKind::UnsupportedVersion,
                    _ => ErrorKind::Corrupt,
                };
                let what = format!("the header of its file is damaged: {malformed}");
                refused(kind, &what)
            }
        }
    }

    /// The same error with unit, file, place and records.
    pub(super) fn located(
        &self,
        error: Error,
        unit: u64,
        at: SPtr,
        head: Option<&ExtentHead>,
    ) -> Error {
        let records = head.map_or_else(
            || "moved records".to_owned(),
            |head| format!("the moved records {} to {}", head.oldest, head.newest),
        );
        let place = u64::from(at.offset) * wide(EXTENT_ALIGN);
        let reason = error.what();
        let what = format!(
            "{records} of unit {unit:#x} cannot be read: of the extent at byte {place}, {reason}"
        );
        Error::new(error.kind(), what)
            .caused_by(error)
            .file(self.path_of(at.extent))
            .advise("put the file back from a copy")
    }

    /// The head of an extent of `unit`.
    pub(super) fn read_head(&self, unit: u64, at: SPtr) -> Result<ExtentHead> {
        let head = || {
            let file = self.file(at.extent)?;
            let bytes = self.read_at(&*file, at, EXTENT_HEAD_LEN)?;
            self.head(&bytes, unit, at)
        };
        head().map_err(|error| self.located(error, unit, at, None))
    }

    fn head(&self, bytes: &[u8], unit: u64, at: SPtr) -> Result<ExtentHead> {
        let head = ExtentHead::decode(bytes, &self.place(at)).map_err(|it| damaged("head", it))?;
        if head.unit != unit {
            let what = format!("its head is that of unit {:#x}", head.unit);
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        Ok(head)
    }

    fn place(&self, at: SPtr) -> ExtentPlace {
        ExtentPlace { log_id: self.config.log_id, at }
    }

    pub(super) fn whole(&self, unit: u64, at: SPtr) -> Whole {
        let headless = |error| (error, None);
        let file = self.file(at.extent).map_err(headless)?;
        let mut bytes = self.read_at(&*file, at, FRONT).map_err(headless)?;
        let head = self.head(&bytes, unit, at).map_err(headless)?;
        let whole = || {
            let (have, len) = (bytes.len(), size(head.len));
            if have < len {
                let behind = u64::from(at.offset) * wide(EXTENT_ALIGN) + wide(have);
                let ends = file.len().unwrap_or(u64::MAX);
                // The head says how much there is to read; the file, how much of it there can be.
                if ends < behind.saturating_add(wide(len - have)) {
                    return Err(damaged("end", Malformed::Short));
                }
                let rest = self.read(&*file, behind, len - have).map_err(unread)?;
                bytes.extend_from_slice(&rest);
            }
            Extent::decode(bytes, &self.place(at)).map_err(|it| damaged("body", it))
        };
        whole().map_err(|error| (error, Some(head)))
    }

    /// At least `len` bytes from the extent's place on, if they are there.
    fn read_at(&self, file: &dyn LogFile, at: SPtr, len: usize) -> Result<Vec<u8>> {
        let offset = u64::from(at.offset) * wide(EXTENT_ALIGN);
        Ok(self.read(file, offset, len).map_err(unread)?.as_slice().to_vec())
    }

    /// Reads bytes wherever they stand, by whole blocks: at least `len`, if they are there.
    fn read(&self, file: &dyn LogFile, offset: u64, len: usize) -> io::Result<AlignedBuf> {
        let block = wide(size(self.disk.geometry().min_write_unit).max(ALIGNMENT));
        let start = offset - offset % block;
        let end = offset.saturating_add(wide(len)).next_multiple_of(block);
        let mut bytes = AlignedBuf::zeroed(usize::try_from(end - start).unwrap_or(usize::MAX));
        let count = file.read_at(start, bytes.as_mut_slice())?;
        bytes.truncate(count);
        let lead = usize::try_from(offset - start).unwrap_or(usize::MAX);
        match lead {
            0 => Ok(bytes),
            _ => Ok(AlignedBuf::from(bytes.get(lead..).unwrap_or_default())),
        }
    }
}

fn unread(cause: io::Error) -> Error {
    Error::io("the bytes cannot be read", cause)
}

fn damaged(part: &str, malformed: Malformed) -> Error {
    let kind = match malformed {
        Malformed::Short => ErrorKind::Missing,
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, format!("the {part} is damaged: {malformed}"))
}
