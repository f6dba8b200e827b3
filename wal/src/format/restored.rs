//! The note of a restored log: what a keypoint of the log that was copied may not be believed for.

use super::{LogId, Malformed, VERSION, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _, WriteBytesExt as _};

/// Bytes of the note.
pub const RESTORED_LEN: usize = 128;

const MAGIC: [u8; 8] = *b"SIDINGRS";
const CHECKED_LEN: usize = RESTORED_LEN - 4;

/// What a restore notes of the log it has put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredNote {
    /// Which log it is.
    pub log_id: LogId,
    /// The backup it was restored from.
    pub backup_id: [u8; 16],
    /// KP_BEGIN of the keypoint that stopped the backup: analysis starts there.
    pub keypoint_begin: Lsn,
    /// Its KP_END.
    pub keypoint_end: Lsn,
    /// Where the copied log ends.
    pub target: Lsn,
    /// Forward recovery of the backup's objects starts here.
    pub redo: Lsn,
    /// The highest incarnation seen anywhere when the log was restored.
    pub incarnation: u32,
}

impl RestoredNote {
    /// The note as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RESTORED_LEN] {
        let mut bytes = [0; RESTORED_LEN];
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
        out.write_u32::<LE>(super::disk_len(RESTORED_LEN))?;
        out.write_all(&self.log_id)?;
        out.write_all(&self.backup_id)?;
        for lsn in [self.keypoint_begin, self.keypoint_end, self.target, self.redo] {
            out.write_u64::<LE>(lsn.get())?;
        }
        out.write_u32::<LE>(self.incarnation)
    }

    /// The note in front of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is damaged, or says what cannot be; [`Malformed::Version`] if its
    /// checksum holds and its version is newer than this code's.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut super::checked(bytes, &MAGIC, RESTORED_LEN)?;
        let (log_id, backup_id) = (take_array(input)?, take_array(input)?);
        let note = Self {
            log_id,
            backup_id,
            keypoint_begin: Lsn::new(input.read_u64::<LE>()?),
            keypoint_end: Lsn::new(input.read_u64::<LE>()?),
            target: Lsn::new(input.read_u64::<LE>()?),
            redo: Lsn::new(input.read_u64::<LE>()?),
            incarnation: input.read_u32::<LE>()?,
        };
        if note.keypoint_begin >= note.keypoint_end || note.keypoint_end >= note.target {
            return Err(Malformed::Field("target"));
        }
        if note.redo > note.target {
            return Err(Malformed::Field("redo"));
        }
        Ok(note)
    }
}
