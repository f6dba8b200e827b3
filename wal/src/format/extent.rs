//! The secondary log on disk: extent files, and in them extents, each the copies of records of
//! one unit.
//!
//! An extent file starts with a header of 64 bytes; extents follow, at multiples of 8 bytes. An
//! extent is a head of 96 bytes, then each copy (original LSN, record header as it stood, payload,
//! padding to 8), oldest first, then the offset of each copy. It says which extent holds the
//! older copies of its unit: a chain is followed from one to the next, and no pointer is needed
//! for each record. Checksums are seeded with log, file and offset, as those of records are.

use super::{LogId, Malformed, RECORD_HEADER_LEN, RecordHeader, SPtr, VERSION, disk_len, size};
use super::{padded_record_len, take, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _};
use std::ops::Range;

/// Bytes of the header of an extent file. The first extent starts one write unit in.
pub const EXTENT_FILE_HEADER_LEN: usize = 64;

/// Bytes of an extent before its copies.
pub const EXTENT_HEAD_LEN: usize = 96;

/// Extents start at multiples of this, and their pointers count in it.
pub const EXTENT_ALIGN: usize = 8;

/// Bytes of a copy before its record.
const COPY_HEAD_LEN: usize = 8;

const FILE_MAGIC: [u8; 8] = *b"SIDINGXT";
const MAGIC: [u8; 4] = *b"XTNT";

/// The name of an extent file.
#[must_use]
pub fn extent_file_name(number: u64) -> String {
    format!("{number:016x}.ext")
}

/// The number in the name of an extent file.
#[must_use]
pub fn parse_extent_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".ext").filter(|digits| digits.len() == 16)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (extent_file_name(number) == name).then_some(number)
}

/// The header of an extent file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentFileHeader {
    /// Which log it belongs to.
    pub log_id: LogId,
    /// Its number: the incarnation that made it, and a count. Never used again.
    pub number: u64,
    /// Where the first extent starts.
    pub write_unit: u32,
}

impl ExtentFileHeader {
    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; EXTENT_FILE_HEADER_LEN] {
        let mut bytes = Vec::with_capacity(EXTENT_FILE_HEADER_LEN);
        bytes.extend_from_slice(&FILE_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.write_unit.to_le_bytes());
        bytes.extend_from_slice(&self.log_id);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.resize(EXTENT_FILE_HEADER_LEN - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let mut header = [0; EXTENT_FILE_HEADER_LEN];
        header.copy_from_slice(&bytes);
        header
    }

    /// The header in front of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: the field `magic` if the file is not an extent file at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let checked = take(&mut rest, EXTENT_FILE_HEADER_LEN - 4)?;
        let crc = u32::from_le_bytes(take_array(&mut rest)?);
        let mut fields = checked;
        let input = &mut fields;
        if take_array::<8>(input)? != FILE_MAGIC {
            return Err(Malformed::Field("magic"));
        }
        if crc32c::crc32c(checked) != crc {
            return Err(Malformed::Checksum);
        }
        let version = input.read_u32::<LE>()?;
        if version != VERSION {
            let newer = version > VERSION;
            return Err(if newer {
                Malformed::Version(version)
            } else {
                Malformed::Field("version")
            });
        }
        let write_unit = input.read_u32::<LE>()?;
        let log_id = take_array(input)?;
        Ok(Self { log_id, number: input.read_u64::<LE>()?, write_unit })
    }
}

/// Where an extent stands: it seeds its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentPlace {
    /// Which log it belongs to.
    pub log_id: LogId,
    /// Its file and its offset there, in multiples of [`EXTENT_ALIGN`].
    pub at: SPtr,
}

impl ExtentPlace {
    fn seed(&self) -> u32 {
        let crc = crc32c::crc32c(&self.log_id);
        let crc = crc32c::crc32c_append(crc, &self.at.extent.to_le_bytes());
        crc32c::crc32c_append(crc, &self.at.offset.to_le_bytes())
    }
}

/// What an extent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ExtentHead {
    /// The unit whose records it holds.
    pub unit: u64,
    /// Which move of the unit wrote it.
    pub moves: u32,
    /// The extent with the unit's next older copies.
    pub parent: SPtr,
    /// How many copies it holds.
    pub count: u32,
    /// Its bytes, head and table included.
    pub len: u32,
    /// The original LSN of its oldest copy.
    pub oldest: Lsn,
    /// The original LSN of its newest copy.
    pub newest: Lsn,
    /// Copies in it and in all extents behind its parent.
    pub total_count: u64,
    /// CRC32C of previous hash, original LSN and header checksum, over all of them.
    pub chain_hash: u64,
    /// CRC32C of everything behind the head.
    body_crc: u32,
}

impl ExtentHead {
    fn encode(&self, place: &ExtentPlace) -> Vec<u8> {
        let mut out = Vec::with_capacity(EXTENT_HEAD_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.moves.to_le_bytes());
        out.extend_from_slice(&self.unit.to_le_bytes());
        self.parent.put(&mut out);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        let (oldest, newest) = (self.oldest.get(), self.newest.get());
        for field in [oldest, newest, self.total_count, self.chain_hash] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.resize(EXTENT_HEAD_LEN - 4, 0);
        let crc = crc32c::crc32c_append(place.seed(), &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The head in front of `bytes`, which were read at `place`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short, the checksum differs or a field cannot be.
    pub fn decode(bytes: &[u8], place: &ExtentPlace) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let checked = take(&mut rest, EXTENT_HEAD_LEN - 4)?;
        let crc = u32::from_le_bytes(take_array(&mut rest)?);
        if crc32c::crc32c_append(place.seed(), checked) != crc {
            return Err(Malformed::Checksum);
        }
        let mut fields = checked;
        let input = &mut fields;
        if take_array::<4>(input)? != MAGIC {
            return Err(Malformed::Field("magic"));
        }
        let moves = input.read_u32::<LE>()?;
        let unit = input.read_u64::<LE>()?;
        let parent = SPtr::get(input)?;
        let count = input.read_u32::<LE>()?;
        let len = input.read_u32::<LE>()?;
        let body_crc = input.read_u32::<LE>()?;
        let (oldest, newest) =
            (Lsn::new(input.read_u64::<LE>()?), Lsn::new(input.read_u64::<LE>()?));
        let (total_count, chain_hash) = (input.read_u64::<LE>()?, input.read_u64::<LE>()?);
        let least = EXTENT_HEAD_LEN.saturating_add(size(count).saturating_mul(COPY_HEAD_LEN));
        if count == 0 || size(len) < least {
            return Err(Malformed::Field("count"));
        }
        let older = total_count.checked_sub(u64::from(count));
        if older.is_none_or(|older| (older == 0) != (parent == SPtr::NONE)) {
            return Err(Malformed::Field("total_count"));
        }
        // Older copies stand in older files, or before it in the same file.
        let order = |at: SPtr| (at.extent, at.offset);
        if parent != SPtr::NONE && parent != place.at && order(parent) > order(place.at) {
            return Err(Malformed::Field("parent"));
        }
        if parent == place.at || oldest > newest || oldest.is_zero() {
            return Err(Malformed::Field("oldest"));
        }
        Ok(Self {
            unit,
            moves,
            parent,
            count,
            len,
            oldest,
            newest,
            total_count,
            chain_hash,
            body_crc,
        })
    }
}

/// A copy of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where the original stood: what the record is known by, for ever.
    pub lsn: Lsn,
    /// The record's header, as it stood.
    pub header: RecordHeader,
    payload: Range<usize>,
}

/// An extent, verified: its head, and its copies.
#[derive(Clone, Debug)]
pub struct Extent {
    /// What it says of itself.
    pub head: ExtentHead,
    copies: Vec<Copied>,
    bytes: Vec<u8>,
}

impl Extent {
    /// The extent in front of `bytes`, which were read at `place`; every checksum is verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if anything about it is wrong.
    pub fn decode(mut bytes: Vec<u8>, place: &ExtentPlace) -> Result<Self, Malformed> {
        let head = ExtentHead::decode(&bytes, place)?;
        bytes.truncate(size(head.len));
        let body = bytes.get(EXTENT_HEAD_LEN..).unwrap_or_default();
        if bytes.len() < size(head.len) {
            return Err(Malformed::Short);
        }
        if crc32c::crc32c(body) != head.body_crc {
            return Err(Malformed::Checksum);
        }
        let (mut copies, mut table): (Vec<Copied>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut at = EXTENT_HEAD_LEN;
        for _ in 0..head.count {
            let (copied, next) = Self::copy(&bytes, at)?;
            table.extend_from_slice(&disk_len(at).to_le_bytes());
            let before = copies.last().map_or(Lsn::ZERO, |before| before.lsn);
            if copied.header.unit != head.unit || copied.lsn <= before {
                return Err(Malformed::Field("lsn"));
            }
            at = next;
            copies.push(copied);
        }
        table.resize(table.len().next_multiple_of(EXTENT_ALIGN), 0);
        if bytes.get(at..) != Some(table.as_slice()) {
            return Err(Malformed::Field("table"));
        }
        let ends = (copies.first().map(|it| it.lsn), copies.last().map(|it| it.lsn));
        if ends != (Some(head.oldest), Some(head.newest)) {
            return Err(Malformed::Field("oldest"));
        }
        Ok(Self { head, copies, bytes })
    }

    fn copy(bytes: &[u8], at: usize) -> Result<(Copied, usize), Malformed> {
        let mut rest = bytes.get(at..).ok_or(Malformed::Short)?;
        let lsn = Lsn::new(u64::from_le_bytes(take_array(&mut rest)?));
        let header = RecordHeader::parse(rest)?;
        let start = at.saturating_add(COPY_HEAD_LEN);
        let payload =
            start.saturating_add(RECORD_HEADER_LEN)..start.saturating_add(size(header.len));
        let stands = bytes.get(payload.clone()).ok_or(Malformed::Short)?;
        if crc32c::crc32c(stands) != header.payload_crc {
            return Err(Malformed::Checksum);
        }
        Ok((Copied { lsn, header, payload }, start.saturating_add(header.padded_len())))
    }

    /// How many copies it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// Whether it holds none. No valid one does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// A copy: 0 is the oldest.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Copied> {
        self.copies.get(index)
    }

    /// The payload of a copy of this extent.
    #[must_use]
    pub fn payload(&self, copied: &Copied) -> &[u8] {
        self.bytes.get(copied.payload.clone()).unwrap_or_default()
    }

    /// The record as it stood, header and payload, for another copy.
    #[must_use]
    pub fn record(&self, copied: &Copied) -> &[u8] {
        let start = copied.payload.start.saturating_sub(RECORD_HEADER_LEN);
        self.bytes.get(start..copied.payload.end).unwrap_or_default()
    }
}

/// Bytes that a copy of a record takes in an extent, its place in the table included.
#[must_use]
pub fn copy_len(payload: usize) -> usize {
    padded_record_len(payload).saturating_add(COPY_HEAD_LEN + 4)
}

/// The hash of a chain of copies, with one more.
#[must_use]
pub fn chain_hash(before: u64, lsn: Lsn, record: &[u8]) -> u64 {
    let crc = record.get(RECORD_HEADER_LEN - 4..RECORD_HEADER_LEN).unwrap_or_default();
    let hash = crc32c::crc32c(&before.to_le_bytes());
    let hash = crc32c::crc32c_append(hash, &lsn.get().to_le_bytes());
    u64::from(crc32c::crc32c_append(hash, crc))
}

/// Packs copies into an extent, oldest first.
#[derive(Clone, Debug)]
pub struct Packer {
    head: ExtentHead,
    body: Vec<u8>,
    table: Vec<u8>,
}

impl Packer {
    /// An empty extent of `unit`'s move number `moves`. `behind` is the extent with the older
    /// copies, with their count and hash; none if these are the unit's oldest.
    #[must_use]
    pub fn new(unit: u64, moves: u32, behind: Option<(SPtr, u64, u64)>) -> Self {
        let (parent, total_count, chain_hash) = behind.unwrap_or((SPtr::NONE, 0, 0));
        let head =
            ExtentHead { unit, moves, parent, total_count, chain_hash, ..ExtentHead::default() };
        Self { head, body: Vec::new(), table: Vec::new() }
    }

    /// Adds a copy: header and payload as they stood at `lsn`.
    pub fn push(&mut self, lsn: Lsn, record: &[u8]) {
        if self.head.count == 0 {
            self.head.oldest = lsn;
        }
        self.table.extend_from_slice(
            &disk_len(EXTENT_HEAD_LEN.saturating_add(self.body.len())).to_le_bytes(),
        );
        self.body.extend_from_slice(&lsn.get().to_le_bytes());
        self.body.extend_from_slice(record);
        self.body.resize(self.body.len().next_multiple_of(EXTENT_ALIGN), 0);
        self.head.newest = lsn;
        self.head.count = self.head.count.saturating_add(1);
        self.head.total_count = self.head.total_count.saturating_add(1);
        self.head.chain_hash = chain_hash(self.head.chain_hash, lsn, record);
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.count == 0
    }

    /// Copies in it and behind it, and their hash.
    #[must_use]
    pub fn total(&self) -> (u64, u64) {
        (self.head.total_count, self.head.chain_hash)
    }

    /// Bytes of the extent so far.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let table = self.table.len().next_multiple_of(EXTENT_ALIGN);
        EXTENT_HEAD_LEN.saturating_add(self.body.len()).saturating_add(table)
    }

    /// The extent as bytes, for the place it is written to.
    #[must_use]
    pub fn seal(mut self, place: &ExtentPlace) -> (ExtentHead, Vec<u8>) {
        self.head.len = disk_len(self.encoded_len());
        let mut body = self.body;
        body.extend_from_slice(&self.table);
        body.resize(body.len().next_multiple_of(EXTENT_ALIGN), 0);
        self.head.body_crc = crc32c::crc32c(&body);
        let mut bytes = self.head.encode(place);
        bytes.extend_from_slice(&body);
        (self.head, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Kind, Seed};

    const PLACE: ExtentPlace =
        ExtentPlace { log_id: [7; 16], at: SPtr { extent: 1 << 32, offset: 64 } };

    fn record(unit: u64, lsn: u64, payload: &[u8]) -> Vec<u8> {
        let header =
            RecordHeader { unit, kind: Kind::Data, ..RecordHeader::of_log(Kind::Data, payload) };
        let mut bytes = header.encode(Seed::new(&[7; 16], 3), Lsn::new(lsn)).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn packed() -> Vec<u8> {
        let mut packer = Packer::new(5, 1, None);
        for lsn in [512, 600, 1000] {
            packer.push(Lsn::new(lsn), &record(5, lsn, b"some payload"));
        }
        let len = packer.encoded_len();
        let (head, bytes) = packer.seal(&PLACE);
        assert_eq!((bytes.len(), size(head.len)), (len, len));
        bytes
    }

    #[test]
    fn an_extent_gives_back_what_was_packed() {
        let extent = Extent::decode(packed(), &PLACE).unwrap();
        assert_eq!((extent.len(), extent.head.unit, extent.head.total_count), (3, 5, 3));
        let last = extent.get(2).unwrap();
        assert_eq!((last.lsn, extent.payload(last)), (Lsn::new(1000), &b"some payload"[..]));
        assert_eq!(extent.record(last), record(5, 1000, b"some payload"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let whole = packed();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(Extent::decode(bytes, &PLACE).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Extent::decode(whole[..at].to_vec(), &PLACE).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_extent_elsewhere_is_none() {
        let other = ExtentPlace { at: SPtr { extent: 1 << 32, offset: 65 }, ..PLACE };
        assert_eq!(Extent::decode(packed(), &other).unwrap_err(), Malformed::Checksum);
        let other = ExtentPlace { log_id: [8; 16], ..PLACE };
        assert_eq!(Extent::decode(packed(), &other).unwrap_err(), Malformed::Checksum);
    }

    #[test]
    fn names_and_file_headers_are_read_back() {
        let header = ExtentFileHeader { log_id: [7; 16], number: 3 << 32 | 9, write_unit: 512 };
        assert_eq!(ExtentFileHeader::decode(&header.encode()), Ok(header));
        assert_eq!(parse_extent_name(&extent_file_name(header.number)), Some(header.number));
        assert_eq!(parse_extent_name("0000000000000000.seg"), None);
        assert_eq!(parse_extent_name("000000000000000G.ext"), None);
        let mut foreign = header.encode();
        foreign[0] = b'x';
        assert_eq!(ExtentFileHeader::decode(&foreign), Err(Malformed::Field("magic")));
    }
}
