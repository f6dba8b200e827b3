//! The control file: two checksummed slots, written in turn. What a valid slot says are lower
//! bounds; a torn or absent file is ignored, and the segment headers answer instead.

use super::{Discipline, LogId, Malformed, VERSION, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _, WriteBytesExt as _};

/// Bytes of one slot's contents, checksum included.
pub const CONTROL_SLOT_LEN: usize = 512;

/// Bytes of the control file: each slot has a 4 KiB block to itself.
pub const CONTROL_LEN: usize = 2 * SLOT_STRIDE;

const SLOT_STRIDE: usize = 4096;
const MAGIC: [u8; 8] = *b"SIDINGCT";
const CHECKED_LEN: usize = CONTROL_SLOT_LEN - 4;

/// One slot of the control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSlot {
    /// Raised by one with each write; the newer valid slot counts, and says where the next goes.
    pub sequence: u64,
    /// Which log this is.
    pub log_id: LogId,
    /// Which directory this is.
    pub path_id: [u8; 16],
    /// How effects reach the embedder's files.
    pub discipline: Discipline,
    /// Whether CLOSE is synced and nothing came after it.
    pub clean: bool,
    /// The open that wrote it.
    pub incarnation: u32,
    /// The writing right of that open.
    pub epoch: u32,
    /// The write unit of that open.
    pub write_unit: u32,
    /// Bytes of each segment.
    pub segment_size: u64,
    /// The block of unit ids of that open.
    pub unit_block: u32,
    /// The oldest LSN kept.
    pub oldest: Lsn,
    /// The last complete keypoint: its begin, or zero.
    pub keypoint_begin: Lsn,
    /// The last complete keypoint: its end record, or zero.
    pub keypoint_end: Lsn,
    /// All below was known synced.
    pub durable: Lsn,
    /// Milliseconds since 1970 when the slot was written.
    pub written_ms: u64,
}

impl ControlSlot {
    /// The slot as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CONTROL_SLOT_LEN] {
        let mut bytes = [0; CONTROL_SLOT_LEN];
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
        out.write_u32::<LE>(super::disk_len(CONTROL_SLOT_LEN))?;
        out.write_u64::<LE>(self.sequence)?;
        out.write_all(&self.log_id)?;
        out.write_all(&self.path_id)?;
        out.write_u8(self.discipline.code())?;
        out.write_u8(u8::from(self.clean))?;
        out.write_u16::<LE>(0)?;
        out.write_u32::<LE>(self.incarnation)?;
        out.write_u32::<LE>(self.epoch)?;
        out.write_u32::<LE>(self.write_unit)?;
        out.write_u64::<LE>(self.segment_size)?;
        out.write_u32::<LE>(self.unit_block)?;
        out.write_u32::<LE>(0)?;
        out.write_u64::<LE>(self.oldest.get())?;
        out.write_u64::<LE>(self.keypoint_begin.get())?;
        out.write_u64::<LE>(self.keypoint_end.get())?;
        out.write_u64::<LE>(self.durable.get())?;
        out.write_u64::<LE>(self.written_ms)
    }

    /// The slot in front of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the slot is torn or empty; [`Malformed::Version`] if its checksum holds and
    /// its version is newer than this code's.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut super::checked(bytes, &MAGIC, CONTROL_SLOT_LEN)?;
        let sequence = input.read_u64::<LE>()?;
        let log_id = take_array(input)?;
        let path_id = take_array(input)?;
        let discipline = Discipline::from_code(input.read_u8()?);
        let clean = match input.read_u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Field("clean")),
        };
        let _reserved = input.read_u16::<LE>()?;
        let incarnation = input.read_u32::<LE>()?;
        let epoch = input.read_u32::<LE>()?;
        let write_unit = input.read_u32::<LE>()?;
        let segment_size = input.read_u64::<LE>()?;
        super::segment::check_sizes(write_unit, segment_size)?;
        let unit_block = input.read_u32::<LE>()?;
        let _reserved = input.read_u32::<LE>()?;
        Ok(Self {
            sequence,
            log_id,
            path_id,
            discipline: discipline.ok_or(Malformed::Field("discipline"))?,
            clean,
            incarnation,
            epoch,
            write_unit,
            segment_size,
            unit_block,
            oldest: Lsn::new(input.read_u64::<LE>()?),
            keypoint_begin: Lsn::new(input.read_u64::<LE>()?),
            keypoint_end: Lsn::new(input.read_u64::<LE>()?),
            durable: Lsn::new(input.read_u64::<LE>()?),
            written_ms: input.read_u64::<LE>()?,
        })
    }
}

/// Where in the control file the slot with this sequence number goes.
#[must_use]
pub fn slot_offset(sequence: u64) -> u64 {
    if sequence.is_multiple_of(2) { 0 } else { super::wide(SLOT_STRIDE) }
}

/// The newest valid slot of a control file, if one is valid.
///
/// # Errors
///
/// [`Malformed::Version`] if a slot is valid and of a newer version: then the file is not torn,
/// it is not for this code.
pub fn newest_slot(file: &[u8]) -> Result<Option<ControlSlot>, Malformed> {
    let second = file.get(SLOT_STRIDE..).unwrap_or_default();
    let mut newest: Option<ControlSlot> = None;
    for bytes in [file, second] {
        match ControlSlot::decode(bytes) {
            Ok(slot) if newest.as_ref().is_none_or(|old| old.sequence < slot.sequence) => {
                newest = Some(slot);
            }
            Err(version @ Malformed::Version(_)) => return Err(version),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(newest)
}
