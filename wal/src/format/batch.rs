//! The batch: what one flush writes. A 48-byte header, then records, then zeros to the write unit.

use super::{LogId, Malformed, RECORD_ALIGN, RECORD_HEADER_LEN, size, take, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _, WriteBytesExt as _};

/// Bytes of a batch before its first record.
pub const BATCH_HEADER_LEN: usize = 48;

const MAGIC: u32 = u32::from_le_bytes(*b"SdBt");
const CHECKED_LEN: usize = 44;

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The open that wrote it.
    pub incarnation: u32,
    /// The writing right it was written under.
    pub epoch: u32,
    /// Where the header stands.
    pub lsn: Lsn,
    /// Header and records, without the padding to the write unit.
    pub len: u32,
    /// Number of records, at least one.
    pub count: u32,
    /// Digest of the batch before it; at the start of a history, 0.
    pub prev_digest: u32,
    /// CRC32C over `prev_digest` and the header checksum of each record, as bytes.
    pub digest: u32,
    /// All below was known synced when the batch was formed.
    pub durable_before: Lsn,
}

impl BatchHeader {
    /// Where the next batch of the segment starts.
    #[must_use]
    pub fn next(&self, write_unit: u32) -> Lsn {
        self.lsn.plus(u64::from(self.len).next_multiple_of(u64::from(write_unit.max(1))))
    }

    /// The header as bytes.
    #[must_use]
    pub fn encode(&self, id: &LogId) -> [u8; BATCH_HEADER_LEN] {
        let mut bytes = [0; BATCH_HEADER_LEN];
        let (checked, crc) = bytes.split_at_mut(CHECKED_LEN);
        // Writing into an array that is large enough cannot fail.
        let _ = self.put(checked);
        crc.copy_from_slice(&checksum(id, checked).to_le_bytes());
        bytes
    }

    fn put(&self, mut out: &mut [u8]) -> std::io::Result<()> {
        out.write_u32::<LE>(MAGIC)?;
        out.write_u32::<LE>(self.incarnation)?;
        out.write_u32::<LE>(self.epoch)?;
        out.write_u64::<LE>(self.lsn.get())?;
        out.write_u32::<LE>(self.len)?;
        out.write_u32::<LE>(self.count)?;
        out.write_u32::<LE>(self.prev_digest)?;
        out.write_u32::<LE>(self.digest)?;
        out.write_u64::<LE>(self.durable_before.get())
    }

    /// The header in front of `bytes`. That it stands where it says is for the caller to check.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short, the checksum differs or a field cannot be.
    pub fn decode(bytes: &[u8], id: &LogId) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let checked = take(&mut rest, CHECKED_LEN)?;
        let crc = u32::from_le_bytes(take_array(&mut rest)?);
        if checksum(id, checked) != crc {
            return Err(Malformed::Checksum);
        }
        let mut bytes = checked;
        let input = &mut bytes;
        if input.read_u32::<LE>()? != MAGIC {
            return Err(Malformed::Field("magic"));
        }
        let header = Self {
            incarnation: input.read_u32::<LE>()?,
            epoch: input.read_u32::<LE>()?,
            lsn: Lsn::new(input.read_u64::<LE>()?),
            len: input.read_u32::<LE>()?,
            count: input.read_u32::<LE>()?,
            prev_digest: input.read_u32::<LE>()?,
            digest: input.read_u32::<LE>()?,
            durable_before: Lsn::new(input.read_u64::<LE>()?),
        };
        if size(header.len) < BATCH_HEADER_LEN || !size(header.len).is_multiple_of(RECORD_ALIGN) {
            return Err(Malformed::Field("len"));
        }
        // A reader may trust the count before it has seen the records.
        let room = size(header.len).saturating_sub(BATCH_HEADER_LEN) / RECORD_HEADER_LEN;
        if header.count == 0 || size(header.count) > room {
            return Err(Malformed::Field("count"));
        }
        if header.durable_before > header.lsn {
            return Err(Malformed::Field("durable_before"));
        }
        Ok(header)
    }
}

fn checksum(id: &LogId, checked: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(id), checked)
}
