//! The record: a 32-byte header, the payload, zero padding to 8 bytes.
//!
//! Two checksums: `payload_crc` covers the payload alone, so it can be computed before the lock
//! and travels with copies; `header_crc` is seeded with the log, the incarnation and the position,
//! so that what a recycled segment still holds never validates.

use super::{Kind, LogId, Malformed, disk_len, flags, size, take, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _, WriteBytesExt as _};

/// Bytes of a record before its payload.
pub const RECORD_HEADER_LEN: usize = 32;

/// Records start at multiples of this.
pub const RECORD_ALIGN: usize = 8;

/// Bytes covered by `header_crc`: all of the header but the checksum itself.
const CHECKED_LEN: usize = 28;

/// The bytes a record with this payload takes in the stream, padding included.
#[must_use]
pub const fn padded_record_len(payload: usize) -> usize {
    let padded = payload.saturating_add(RECORD_HEADER_LEN + RECORD_ALIGN - 1);
    padded - padded % RECORD_ALIGN
}

/// The part of a record checksum that is the same for a whole incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed of records that `incarnation` of the log `id` writes.
    #[must_use]
    pub fn new(id: &LogId, incarnation: u32) -> Self {
        let incarnation = if crate::seeded!(StaleSegmentAccepted) { 0 } else { incarnation };
        let crc = crc32c::crc32c(id);
        Self(crc32c::crc32c_append(crc, &incarnation.to_le_bytes()))
    }

    fn checksum(self, lsn: Lsn, header: &[u8]) -> u32 {
        // Position and header in one piece: a call costs more than the bytes.
        let mut bytes = [0; 8 + CHECKED_LEN];
        let (front, back) = bytes.split_at_mut(8);
        front.copy_from_slice(&lsn.get().to_le_bytes());
        match back.get_mut(..header.len()) {
            Some(room) if header.len() == CHECKED_LEN => room.copy_from_slice(header),
            _ => {
                let crc = crc32c::crc32c_append(self.0, front);
                return crc32c::crc32c_append(crc, header);
            }
        }
        crc32c::crc32c_append(self.0, &bytes)
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Header and payload, without the padding.
    pub len: u32,
    /// What the record is.
    pub kind: Kind,
    /// Bits of [`flags`].
    pub flags: u8,
    /// The embedder's number for what the record changes.
    pub resource: u16,
    /// The unit of work, 0 for records of the log itself.
    pub unit: u64,
    /// The unit's previous record on this log; zero if there is none.
    pub prev: Lsn,
    /// CRC32C of the payload alone.
    pub payload_crc: u32,
}

impl RecordHeader {
    /// The header of a record of the log itself.
    #[must_use]
    pub fn of_log(kind: Kind, payload: &[u8]) -> Self {
        Self {
            len: disk_len(RECORD_HEADER_LEN + payload.len()),
            kind,
            flags: 0,
            resource: 0,
            unit: 0,
            prev: Lsn::ZERO,
            payload_crc: crc32c::crc32c(payload),
        }
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        size(self.len).saturating_sub(RECORD_HEADER_LEN)
    }

    /// The bytes the record takes in the stream, padding included.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        padded_record_len(self.payload_len())
    }

    /// The header as it stands at `lsn`.
    #[must_use]
    pub fn encode(&self, seed: Seed, lsn: Lsn) -> [u8; RECORD_HEADER_LEN] {
        let mut bytes = [0; RECORD_HEADER_LEN];
        let (checked, crc) = bytes.split_at_mut(CHECKED_LEN);
        // Writing into an array that is large enough cannot fail.
        let _ = self.put(checked);
        let sum = seed.checksum(lsn, checked);
        crc.copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn put(&self, mut out: &mut [u8]) -> std::io::Result<()> {
        out.write_u32::<LE>(self.len)?;
        out.write_u8(self.kind.code())?;
        out.write_u8(self.flags)?;
        out.write_u16::<LE>(self.resource)?;
        out.write_u64::<LE>(self.unit)?;
        out.write_u64::<LE>(self.prev.get())?;
        out.write_u32::<LE>(self.payload_crc)
    }

    /// The header in front of `bytes`, which were read at `lsn`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short, the checksum differs or a field cannot be.
    pub fn decode(bytes: &[u8], seed: Seed, lsn: Lsn) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let checked = take(&mut rest, CHECKED_LEN)?;
        let crc = u32::from_le_bytes(take_array(&mut rest)?);
        if seed.checksum(lsn, checked) != crc {
            return Err(Malformed::Checksum);
        }
        let header = Self::parse(checked)?;
        // A chain that only ever points back is walked to its end.
        if !header.prev.is_zero() && header.prev >= lsn {
            return Err(Malformed::Field("prev"));
        }
        Ok(header)
    }

    /// The header in front of `bytes`, whose checksum somebody else holds.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short or a field cannot be.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        let len = input.read_u32::<LE>()?;
        let kind = Kind::from_code(input.read_u8()?).ok_or(Malformed::Field("kind"))?;
        let bits = input.read_u8()?;
        let resource = input.read_u16::<LE>()?;
        let unit = input.read_u64::<LE>()?;
        let prev = Lsn::new(input.read_u64::<LE>()?);
        let payload_crc = input.read_u32::<LE>()?;
        if size(len) < RECORD_HEADER_LEN {
            return Err(Malformed::Field("len"));
        }
        if bits & !flags::KNOWN != 0 {
            return Err(Malformed::Field("flags"));
        }
        Ok(Self { len, kind, flags: bits, resource, unit, prev, payload_crc })
    }
}

/// The record in front of `bytes`, which were read at `lsn`, with its payload; both checksums
/// are verified.
///
/// # Errors
///
/// [`Malformed`] if anything about it is wrong.
pub fn decode_record(
    bytes: &[u8],
    seed: Seed,
    lsn: Lsn,
) -> Result<(RecordHeader, &[u8]), Malformed> {
    let header = RecordHeader::decode(bytes, seed, lsn)?;
    let payload = bytes.get(RECORD_HEADER_LEN..size(header.len)).ok_or(Malformed::Short)?;
    if crc32c::crc32c(payload) != header.payload_crc {
        return Err(Malformed::Checksum);
    }
    Ok((header, payload))
}
