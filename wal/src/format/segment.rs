//! The segment header: 512 bytes at the start of each segment file.

use super::{LogId, Malformed, VERSION, take, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _, WriteBytesExt as _};

/// Bytes of a segment header, checksum included. The first batch starts one write unit in.
pub const HEADER_LEN: usize = 512;

/// The smallest segment.
pub const MIN_SEGMENT_SIZE: u64 = 64 * 1024;

/// The smallest write unit: a header takes one, and no device writes less.
pub const MIN_WRITE_UNIT: u32 = 512;

const MAGIC: [u8; 8] = *b"SIDINGLG";
const CHECKED_LEN: usize = HEADER_LEN - 4;

/// When the effects of a unit may reach the embedder's files. Chosen when the log is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Discipline {
    /// Only committed effects reach the data files; restart delivers whole committed units.
    #[default]
    DeferredApply,
    /// Updates may reach the files before commit (ARIES); restart repeats history, then undoes.
    RepeatHistory,
}

impl Discipline {
    /// The code on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::DeferredApply => 1,
            Self::RepeatHistory => 2,
        }
    }

    /// The discipline with this code, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::DeferredApply),
            2 => Some(Self::RepeatHistory),
            _ => None,
        }
    }

    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeferredApply => "deferred apply",
            Self::RepeatHistory => "repeat history",
        }
    }
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Features an older reader may ignore.
    pub compatible: u64,
    /// Features an older reader must refuse.
    pub incompatible: u64,
    /// Which log this is.
    pub log_id: LogId,
    /// Which directory wrote it.
    pub path_id: [u8; 16],
    /// How effects reach the embedder's files.
    pub discipline: Discipline,
    /// The open that wrote it.
    pub incarnation: u32,
    /// The writing right it was written under.
    pub epoch: u32,
    /// Batches start and end at multiples of this.
    pub write_unit: u32,
    /// Bytes of each segment of this log.
    pub segment_size: u64,
    /// The number of this segment; its first LSN is number times size.
    pub number: u64,
    /// Where the history before this segment ends; what lies above in older segments is ignored.
    pub kept_end: Lsn,
    /// Digest of the last batch before `kept_end`.
    pub kept_digest: u32,
    /// The oldest LSN kept when the header was written.
    pub oldest: Lsn,
    /// The last complete keypoint: its begin, or zero.
    pub keypoint_begin: Lsn,
    /// The last complete keypoint: its end record, or zero.
    pub keypoint_end: Lsn,
    /// The block of unit ids this open hands out from.
    pub unit_block: u32,
    /// Milliseconds since 1970 when the header was written.
    pub created_ms: u64,
}

/// Why a segment header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// All zeros: prepared, not yet used.
    Blank,
    /// Not a segment header at all.
    Foreign,
    /// Written by a newer version.
    Version(u32),
    /// Needs a feature this code lacks.
    Feature(u64),
    /// Damaged.
    Malformed(Malformed),
}

impl From<Malformed> for HeaderError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl SegmentHeader {
    /// The first LSN of the segment, where this header stands.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        Lsn::new(self.number.saturating_mul(self.segment_size))
    }

    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let (checked, crc) = bytes.split_at_mut(CHECKED_LEN);
        // Writing into an array that is large enough cannot fail.
        let _ = self.put(checked);
        crc.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
        bytes
    }

    fn put(&self, mut out: &mut [u8]) -> std::io::Result<()> {
        use std::io::Write as _;
        out.write_all(&MAGIC)?;
        out.write_u32::<LE>(VERSION)?;
        out.write_u32::<LE>(super::disk_len(HEADER_LEN))?;
        out.write_u64::<LE>(self.compatible)?;
        out.write_u64::<LE>(self.incompatible)?;
        out.write_all(&self.log_id)?;
        out.write_all(&self.path_id)?;
        out.write_u8(self.discipline.code())?;
        // Compression, encryption and one byte of padding: reserved, zero.
        out.write_all(&[0; 3])?;
        out.write_u32::<LE>(self.incarnation)?;
        out.write_u32::<LE>(self.epoch)?;
        out.write_u32::<LE>(self.write_unit)?;
        out.write_u64::<LE>(self.segment_size)?;
        out.write_u64::<LE>(self.number)?;
        out.write_u64::<LE>(self.first_lsn().get())?;
        out.write_u64::<LE>(self.kept_end.get())?;
        out.write_u32::<LE>(self.kept_digest)?;
        out.write_u32::<LE>(self.unit_block)?;
        out.write_u64::<LE>(self.oldest.get())?;
        out.write_u64::<LE>(self.keypoint_begin.get())?;
        out.write_u64::<LE>(self.keypoint_end.get())?;
        out.write_u64::<LE>(self.created_ms)
    }

    /// The header in front of `bytes`.
    ///
    /// # Errors
    ///
    /// [`HeaderError`]: blank, foreign, newer, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut rest = bytes;
        let checked = match take(&mut rest, CHECKED_LEN) {
            // However short, what does not begin as a header does never was one.
            Err(_) if !begins(bytes) => return Err(HeaderError::Foreign),
            checked => checked?,
        };
        let crc = u32::from_le_bytes(take_array(&mut rest)?);
        if checked.iter().all(|byte| *byte == 0) && crc == 0 {
            return Err(HeaderError::Blank);
        }
        let valid = crc32c::crc32c(checked) == crc;
        Self::parse(checked, valid)
    }

    fn parse(mut bytes: &[u8], valid: bool) -> Result<Self, HeaderError> {
        let input = &mut bytes;
        let magic = take_array::<8>(input)?;
        if !valid && begins(&magic) && magic != MAGIC {
            // A header that was being written over zeros, torn in its first bytes.
            return Err(HeaderError::Malformed(Malformed::Field("magic")));
        }
        if magic != MAGIC {
            // A damaged magic under a good checksum cannot be; under a bad one it is either.
            return Err(HeaderError::Foreign);
        }
        if !valid {
            return Err(HeaderError::Malformed(Malformed::Checksum));
        }
        let version = u32::from_le_bytes(take_array(input)?);
        if version > VERSION {
            return Err(HeaderError::Version(version));
        }
        if version != VERSION {
            return Err(HeaderError::Malformed(Malformed::Field("version")));
        }
        if super::size(u32::from_le_bytes(take_array(input)?)) != HEADER_LEN {
            return Err(HeaderError::Malformed(Malformed::Field("len")));
        }
        let compatible = u64::from_le_bytes(take_array(input)?);
        let incompatible = u64::from_le_bytes(take_array(input)?);
        if incompatible != 0 {
            // What follows may mean anything.
            return Err(HeaderError::Feature(incompatible));
        }
        Ok(Self::fields(input, compatible)?)
    }

    /// All behind the feature bits.
    fn fields(input: &mut &[u8], compatible: u64) -> Result<Self, Malformed> {
        let log_id = take_array(input)?;
        let path_id = take_array(input)?;
        let discipline = Discipline::from_code(input.read_u8()?);
        let reserved = take_array::<3>(input)?;
        let (incarnation, epoch) = (input.read_u32::<LE>()?, input.read_u32::<LE>()?);
        let (write_unit, segment_size) = (input.read_u32::<LE>()?, input.read_u64::<LE>()?);
        let (number, first_lsn) = (input.read_u64::<LE>()?, input.read_u64::<LE>()?);
        let header = Self {
            compatible,
            incompatible: 0,
            log_id,
            path_id,
            discipline: discipline.ok_or(Malformed::Field("discipline"))?,
            incarnation,
            epoch,
            write_unit,
            segment_size,
            number,
            kept_end: Lsn::new(input.read_u64::<LE>()?),
            kept_digest: input.read_u32::<LE>()?,
            unit_block: input.read_u32::<LE>()?,
            oldest: Lsn::new(input.read_u64::<LE>()?),
            keypoint_begin: Lsn::new(input.read_u64::<LE>()?),
            keypoint_end: Lsn::new(input.read_u64::<LE>()?),
            created_ms: input.read_u64::<LE>()?,
        };
        if reserved != [0; 3] {
            return Err(Malformed::Field("reserved"));
        }
        check_sizes(write_unit, segment_size)?;
        // The end of the segment must be a position too.
        if number.checked_add(1).and_then(|next| next.checked_mul(segment_size)).is_none() {
            return Err(Malformed::Field("number"));
        }
        if header.first_lsn().get() != first_lsn {
            return Err(Malformed::Field("first_lsn"));
        }
        Ok(header)
    }
}

/// Whether these bytes may be the first of a header, perhaps torn while it was written over zeros.
fn begins(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(byte, whole)| *byte == 0 || *byte == whole)
}

/// Whether a log can have these sizes: a segment holds its header and room for a batch.
pub(super) fn check_sizes(write_unit: u32, segment_size: u64) -> Result<(), Malformed> {
    let unit = u64::from(write_unit);
    if write_unit < MIN_WRITE_UNIT || !write_unit.is_power_of_two() {
        return Err(Malformed::Field("write_unit"));
    }
    if segment_size < MIN_SEGMENT_SIZE || !segment_size.is_multiple_of(unit) {
        return Err(Malformed::Field("segment_size"));
    }
    if unit > segment_size / 2 {
        return Err(Malformed::Field("write_unit"));
    }
    Ok(())
}

/// The file name of segment `number`: sixteen hexadecimal digits and `.seg`.
#[must_use]
pub fn segment_file_name(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// The number in a segment's file name, if it is one.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    let lower = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if lower { u64::from_str_radix(digits, 16).ok() } else { None }
}
