//! Format v1: what stands on the disk, byte by byte. `docs/FORMAT.md` is normative; a test holds
//! the two together. Everything here is pure: bytes in, values out, and never a panic on data.

mod batch;
mod control;
mod extent;
mod keypoint;
mod kind;
mod payload;
mod record;
mod restored;
mod segment;

pub use batch::{BATCH_HEADER_LEN, BatchHeader};
pub use control::{CONTROL_LEN, CONTROL_SLOT_LEN, ControlSlot, newest_slot, slot_offset};
pub use extent::{
    Copied, EXTENT_ALIGN, EXTENT_FILE_HEADER_LEN, EXTENT_HEAD_LEN, Extent, ExtentFileHeader,
    ExtentHead, ExtentPlace, Packer, chain_hash, copy_len, extent_file_name, parse_extent_name,
};
pub use keypoint::{
    DirectoryChunk, DirectoryEntry, KeypointBegin, KeypointChunk, KeypointEnd, SegmentEntry,
    UnitEntry, UnitState,
};
pub use kind::{Kind, flags};
pub use payload::{
    COMPENSATION_HEAD, Cause, ClosePayload, Compensation, Decision, ForkPayload, MAX_LABEL,
    MarkPayload, PreparePayload, SPtr, label_of, label_payload,
};
pub use record::{
    RECORD_ALIGN, RECORD_HEADER_LEN, RecordHeader, Seed, decode_record, padded_record_len,
};
pub use restored::{RESTORED_LEN, RestoredNote};
pub use segment::{
    Discipline, HEADER_LEN, HeaderError, MIN_SEGMENT_SIZE, MIN_WRITE_UNIT, SegmentHeader,
    parse_segment_name, segment_file_name,
};

/// The version this code writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// The largest gid, in bytes.
pub const MAX_GID: usize = 255;

/// A log's identity: 128 random bits, drawn when the log is created.
pub type LogId = [u8; 16];

/// Why bytes are not what they should be; the caller adds where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the structure does.
    Short,
    /// A checksum does not match.
    Checksum,
    /// A field holds a value that cannot be.
    Field(&'static str),
    /// The checksum holds, and the version is newer than this code's.
    Version(u32),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("the bytes end early"),
            Self::Checksum => f.write_str("the checksum does not match"),
            Self::Field(name) => write!(f, "the field `{name}` holds an impossible value"),
            Self::Version(version) => write!(f, "it is of the newer version {version}"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<std::io::Error> for Malformed {
    fn from(_: std::io::Error) -> Self {
        // Reading integers from a slice fails in one way only: the slice is too short.
        Self::Short
    }
}

/// Takes `len` bytes from the front of `bytes`.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (front, rest) = bytes.split_at_checked(len).ok_or(Malformed::Short)?;
    *bytes = rest;
    Ok(front)
}

/// Takes a fixed number of bytes from the front of `bytes`.
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (front, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed::Short)?;
    *bytes = rest;
    Ok(*front)
}

/// What stands behind magic, version and length in a structure of `len` bytes whose last four are a
/// checksum over all before it.
pub(crate) fn checked<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    len: usize,
) -> Result<&'a [u8], Malformed> {
    let mut rest = bytes;
    let checked = take(&mut rest, len.saturating_sub(4))?;
    let crc = u32::from_le_bytes(take_array(&mut rest)?);
    if crc32c::crc32c(checked) != crc {
        return Err(Malformed::Checksum);
    }
    let mut input = checked;
    if take_array::<8>(&mut input)? != *magic {
        return Err(Malformed::Field("magic"));
    }
    match u32::from_le_bytes(take_array(&mut input)?) {
        VERSION => {}
        newer if newer > VERSION => return Err(Malformed::Version(newer)),
        _ => return Err(Malformed::Field("version")),
    }
    if size(u32::from_le_bytes(take_array(&mut input)?)) != len {
        return Err(Malformed::Field("len"));
    }
    Ok(input)
}

/// A length on disk as a length in memory.
#[must_use]
pub fn size(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// A length in memory as a length on disk; every length written was bounded before.
#[must_use]
pub fn disk_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A length in memory as a distance in the stream.
#[must_use]
pub fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
