//! What stands in a directory, file by file, before anything is believed.

use crate::disk::{ALIGNMENT, AlignedBuf, Disk, LogFile};
use crate::format::{
    CONTROL_LEN, ControlSlot, HEADER_LEN, HeaderError, Malformed, SegmentHeader, newest_slot,
    parse_extent_name, parse_segment_name, size,
};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of the control file.
pub const CONTROL_NAME: &str = "control";

/// Names that belong to a log, or that every file system may put beside one.
const KNOWN_NAMES: [&str; 8] = [
    CONTROL_NAME,
    "lock",
    "admin.sock",
    "admin.sock.new",
    "secondary",
    "secondary.new",
    "restored",
    "lost+found",
];

/// What the first bytes of a numbered file are.
#[derive(Clone, Debug)]
pub enum HeaderState {
    /// A valid header.
    Valid(SegmentHeader),
    /// Zeros: prepared, not used.
    Blank,
    /// Not Siding's.
    Foreign,
    /// A header that is damaged, or was torn while it was written.
    Malformed(Malformed),
    /// A header of this newer version.
    Version(u32),
    /// A header that asks for features this code lacks.
    Feature(u64),
    /// The device did not give the bytes, or the file could not be opened.
    Unreadable(Arc<io::Error>),
}

/// A numbered file.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// The number in its name.
    pub number: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What its header is.
    pub header: HeaderState,
    /// The file, open; none if it could not be opened.
    pub file: Option<Arc<dyn LogFile>>,
}

/// What the control file says.
#[derive(Clone, Debug)]
pub enum ControlState {
    /// There is none.
    Absent,
    /// Neither slot is valid.
    Torn,
    /// The newest valid slot.
    Slot(ControlSlot),
    /// A slot is of this newer version.
    Version(u32),
    /// The device did not give the bytes, or the file could not be opened.
    Unreadable(Arc<io::Error>),
}

/// Everything in a directory that could concern a log.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// What the control file says.
    pub control: ControlState,
    /// The numbered files.
    pub numbered: BTreeMap<u64, Numbered>,
    /// Names that are not Siding's.
    pub strangers: Vec<String>,
    /// Where the directory lies, if it is one.
    pub path: Option<PathBuf>,
}

/// Looks at every file of the directory, and refuses nothing: trouble with a file is a part of
/// the answer. Opens every numbered file.
///
/// The owner of the log may write meanwhile. So what vouches for something is read before the
/// thing itself: the control file before the directory is listed, a segment's header before its
/// predecessor's header and length. What the first says was durable then is there, if it was not
/// trimmed, however much is written in between.
///
/// # Errors
///
/// Only if the directory cannot be listed.
pub fn inventory(disk: &dyn Disk) -> Result<Inventory> {
    let path = disk.path();
    let block = size(disk.geometry().min_write_unit).max(ALIGNMENT);
    let control = control_state(disk);
    let names = disk.list().map_err(|cause| {
        let error = Error::io("the directory cannot be listed", cause);
        if let Some(path) = &path { error.file(path) } else { error }
    })?;
    let mut found = Inventory { control, numbered: BTreeMap::new(), strangers: Vec::new(), path };
    let mut segments = BTreeMap::new();
    for (name, len) in names {
        if let Some(number) = parse_segment_name(&name) {
            segments.insert(number, (name, len));
        } else if !KNOWN_NAMES.contains(&name.as_str()) && parse_extent_name(&name).is_none() {
            found.strangers.push(name);
        }
    }
    for (number, (name, len)) in segments.into_iter().rev() {
        found.numbered.insert(number, numbered(disk, &name, number, len, block));
    }
    found.strangers.sort_unstable();
    Ok(found)
}

impl Inventory {
    /// An error about the file `name`, with its path.
    #[must_use]
    pub(super) fn error(&self, kind: ErrorKind, what: String, name: &str) -> Error {
        let error = Error::new(kind, what);
        match &self.path {
            Some(path) => error.file(path.join(name)),
            None => error.file(name),
        }
    }
}

/// What the control file says now, newest slot first. A log in use writes it at every keypoint
/// and before it takes anything away, so what is equal before and after a reading held all along.
#[must_use]
pub fn control_state(disk: &dyn Disk) -> ControlState {
    let block = size(disk.geometry().min_write_unit).max(ALIGNMENT);
    match disk.open(CONTROL_NAME) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => ControlState::Absent,
        _ => control(disk, block),
    }
}

fn numbered(disk: &dyn Disk, name: &str, number: u64, len: u64, block: usize) -> Numbered {
    match disk.open(name) {
        Ok(file) => {
            let header = header(&*file, block);
            let len = file.len().unwrap_or(len);
            Numbered { number, len, header, file: Some(file) }
        }
        Err(cause) => {
            let header = HeaderState::Unreadable(Arc::new(cause));
            Numbered { number, len, header, file: None }
        }
    }
}

fn header(file: &dyn LogFile, block: usize) -> HeaderState {
    let bytes = match front(file, block) {
        Ok(bytes) => bytes,
        Err(cause) => return HeaderState::Unreadable(Arc::new(cause)),
    };
    if bytes.len() < HEADER_LEN && bytes.iter().all(|byte| *byte == 0) {
        // A file whose preparation had not come far.
        return HeaderState::Blank;
    }
    match SegmentHeader::decode(&bytes) {
        Ok(header) => HeaderState::Valid(header),
        Err(HeaderError::Blank) => HeaderState::Blank,
        Err(HeaderError::Foreign) => HeaderState::Foreign,
        Err(HeaderError::Version(version)) => HeaderState::Version(version),
        Err(HeaderError::Feature(bits)) => HeaderState::Feature(bits),
        Err(HeaderError::Malformed(malformed)) => HeaderState::Malformed(malformed),
    }
}

fn control(disk: &dyn Disk, block: usize) -> ControlState {
    let bytes = disk
        .open(CONTROL_NAME)
        .and_then(|file| front(&*file, CONTROL_LEN.next_multiple_of(block.max(1))));
    match bytes.map(|bytes| newest_slot(&bytes)) {
        Ok(Ok(Some(slot))) => ControlState::Slot(slot),
        Ok(Ok(None)) => ControlState::Torn,
        Ok(Err(Malformed::Version(version))) => ControlState::Version(version),
        Ok(Err(_)) => ControlState::Torn,
        Err(cause) => ControlState::Unreadable(Arc::new(cause)),
    }
}

/// The first `len` bytes of a file, fewer if it ends.
fn front(file: &dyn LogFile, len: usize) -> io::Result<AlignedBuf> {
    let mut bytes = AlignedBuf::zeroed(len);
    let count = file.read_at(0, bytes.as_mut_slice())?;
    bytes.truncate(count);
    Ok(bytes)
}
