//! The records of a keypoint, and the directory of a sealed segment.

use super::payload::{put_short, put_u32, take_short};
use super::{Malformed, SPtr, disk_len, take_array};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _};

/// Where a unit of work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UnitState {
    /// Not prepared, not decided.
    #[default]
    InFlight,
    /// Prepared: in doubt until somebody decides.
    InDoubt,
    /// Decided commit, not ended.
    Committed,
    /// Decided back out, not ended.
    Aborted,
    /// Being backed out under repeat history: ABORT may be there, END is not.
    BackingOut,
    /// Ended; kept only because a redo position has not passed its COMMIT.
    Ended,
}

impl UnitState {
    /// Every state, in the order of its code.
    pub const ALL: [Self; 6] = [
        Self::InFlight,
        Self::InDoubt,
        Self::Committed,
        Self::Aborted,
        Self::BackingOut,
        Self::Ended,
    ];

    /// As it is written.
    #[must_use]
    pub fn code(self) -> u8 {
        let index = Self::ALL.iter().position(|state| *state == self);
        index.and_then(|index| u8::try_from(index).ok()).unwrap_or(0)
    }

    /// As it is read; none if no state has this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in flight",
            Self::InDoubt => "in doubt",
            Self::Committed => "decided: commit",
            Self::Aborted => "decided: back out",
            Self::BackingOut => "backing out",
            Self::Ended => "ended",
        }
    }
}

/// One unit of work in a keypoint's table.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UnitEntry {
    /// The unit.
    pub unit: u64,
    /// Where it stands.
    pub state: UnitState,
    /// Its newest record on the main log.
    pub head: Lsn,
    /// Its oldest record on the main log that was not moved; head < floor: none.
    pub floor: Lsn,
    /// The newest copy of its moved records.
    pub sec: SPtr,
    /// How often it was moved.
    pub moves: u32,
    /// Its COMMIT, or zero.
    pub commit: Lsn,
    /// Its first record ever.
    pub first: Lsn,
    /// Milliseconds since 1970 when it began.
    pub started_ms: u64,
    /// Milliseconds it has been in doubt, by the monotonic clock, over all opens.
    pub in_doubt_ms: u64,
    /// Records and bytes on the main log.
    pub main: (u64, u64),
    /// Records and bytes on the secondary log.
    pub secondary: (u64, u64),
    /// The name the coordinator knows it by; empty before PREPARE.
    pub gid: Vec<u8>,
}

impl UnitEntry {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.unit.to_le_bytes());
        out.push(self.state.code());
        self.sec.put(out);
        put_u32(out, self.moves);
        for field in [
            self.head.get(),
            self.floor.get(),
            self.commit.get(),
            self.first.get(),
            self.started_ms,
            self.in_doubt_ms,
            self.main.0,
            self.main.1,
            self.secondary.0,
            self.secondary.1,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        put_short(out, &self.gid);
    }

    fn get(input: &mut &[u8]) -> Result<Self, Malformed> {
        let unit = input.read_u64::<LE>()?;
        let state = UnitState::from_code(input.read_u8()?).ok_or(Malformed::Field("state"))?;
        let sec = SPtr::get(input)?;
        let moves = input.read_u32::<LE>()?;
        let mut next = || input.read_u64::<LE>();
        let (head, floor) = (Lsn::new(next()?), Lsn::new(next()?));
        let (commit, first) = (Lsn::new(next()?), Lsn::new(next()?));
        let (started_ms, in_doubt_ms) = (next()?, next()?);
        let main = (next()?, next()?);
        let secondary = (next()?, next()?);
        let gid = take_short(input)?.to_vec();
        Ok(Self {
            unit,
            state,
            head,
            floor,
            sec,
            moves,
            commit,
            first,
            started_ms,
            in_doubt_ms,
            main,
            secondary,
            gid,
        })
    }

    /// Bytes of the entry in a chunk.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        106 + self.gid.len()
    }
}

/// One retained segment in a keypoint's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// The segment.
    pub number: u64,
    /// Its directory's first record, or zero.
    pub directory: Lsn,
    /// The smallest oldest-live LSN over the COMMITs in it; [`Lsn::MAX`] if it has none.
    pub commit_low: Lsn,
}

/// What KP_BEGIN carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KeypointBegin {
    /// The redo position the keypoint carries, captured before the table.
    pub redo: Lsn,
}

impl KeypointBegin {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.redo.get().to_le_bytes().to_vec()
    }

    /// The payload from bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { redo: Lsn::new((&mut bytes).read_u64::<LE>()?) })
    }
}

/// What KP_CHUNK carries: a part of the table.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeypointChunk {
    /// The KP_BEGIN it belongs to.
    pub begin: Lsn,
    /// 0, 1, 2 …
    pub index: u32,
    /// Units of work.
    pub units: Vec<UnitEntry>,
    /// Retained segments.
    pub segments: Vec<SegmentEntry>,
}

impl KeypointChunk {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.begin.get().to_le_bytes());
        put_u32(&mut out, self.index);
        put_u32(&mut out, disk_len(self.units.len()));
        put_u32(&mut out, disk_len(self.segments.len()));
        for unit in &self.units {
            unit.put(&mut out);
        }
        for segment in &self.segments {
            for field in [segment.number, segment.directory.get(), segment.commit_low.get()] {
                out.extend_from_slice(&field.to_le_bytes());
            }
        }
        out
    }

    /// The payload from bytes. Allocates no more than the bytes account for.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short or a field cannot be.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        let begin = Lsn::new(input.read_u64::<LE>()?);
        let index = input.read_u32::<LE>()?;
        let (units, segments) = (input.read_u32::<LE>()?, input.read_u32::<LE>()?);
        let mut chunk = Self { begin, index, units: Vec::new(), segments: Vec::new() };
        for _ in 0..units {
            chunk.units.push(UnitEntry::get(input)?);
        }
        for _ in 0..segments {
            chunk.segments.push(SegmentEntry {
                number: input.read_u64::<LE>()?,
                directory: Lsn::new(input.read_u64::<LE>()?),
                commit_low: Lsn::new(input.read_u64::<LE>()?),
            });
        }
        Ok(chunk)
    }
}

/// What KP_END carries: the keypoint counts once this record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KeypointEnd {
    /// The KP_BEGIN it belongs to.
    pub begin: Lsn,
    /// How many chunks the table has.
    pub chunks: u32,
    /// CRC32C over the chunks' payload checksums, in order, as bytes.
    pub table_crc: u32,
    /// The redo position.
    pub redo: Lsn,
    /// The oldest LSN kept when it was written.
    pub oldest: Lsn,
    /// Digest of the secondary log's extent map; 0 while there is none.
    pub secondary_digest: u64,
    /// The backup this keypoint stops, or zeros.
    pub backup_id: [u8; 16],
}

impl KeypointEnd {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(56);
        out.extend_from_slice(&self.begin.get().to_le_bytes());
        put_u32(&mut out, self.chunks);
        put_u32(&mut out, self.table_crc);
        for field in [self.redo.get(), self.oldest.get(), self.secondary_digest] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.backup_id);
        out
    }

    /// The payload from bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        Ok(Self {
            begin: Lsn::new(input.read_u64::<LE>()?),
            chunks: input.read_u32::<LE>()?,
            table_crc: input.read_u32::<LE>()?,
            redo: Lsn::new(input.read_u64::<LE>()?),
            oldest: Lsn::new(input.read_u64::<LE>()?),
            secondary_digest: input.read_u64::<LE>()?,
            backup_id: take_array(input)?,
        })
    }
}

/// A unit's share of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The unit.
    pub unit: u64,
    /// Its oldest record there.
    pub oldest: Lsn,
    /// Its newest record there.
    pub newest: Lsn,
    /// How many records it has there.
    pub count: u64,
    /// How many bytes they take.
    pub bytes: u64,
}

/// What DIRECTORY carries: which live units hold a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DirectoryChunk {
    /// The segment.
    pub segment: u64,
    /// 0, 1, 2 …
    pub index: u32,
    /// How many chunks the directory has.
    pub chunks: u32,
    /// The units.
    pub units: Vec<DirectoryEntry>,
}

impl DirectoryChunk {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20 + 40 * self.units.len());
        out.extend_from_slice(&self.segment.to_le_bytes());
        put_u32(&mut out, self.index);
        put_u32(&mut out, self.chunks);
        put_u32(&mut out, disk_len(self.units.len()));
        for unit in &self.units {
            let fields = [unit.unit, unit.oldest.get(), unit.newest.get(), unit.count, unit.bytes];
            for field in fields {
                out.extend_from_slice(&field.to_le_bytes());
            }
        }
        out
    }

    /// The payload from bytes. Allocates no more than the bytes account for.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        let segment = input.read_u64::<LE>()?;
        let (index, chunks) = (input.read_u32::<LE>()?, input.read_u32::<LE>()?);
        let count = input.read_u32::<LE>()?;
        let mut units = Vec::new();
        for _ in 0..count {
            units.push(DirectoryEntry {
                unit: input.read_u64::<LE>()?,
                oldest: Lsn::new(input.read_u64::<LE>()?),
                newest: Lsn::new(input.read_u64::<LE>()?),
                count: input.read_u64::<LE>()?,
                bytes: input.read_u64::<LE>()?,
            });
        }
        Ok(Self { segment, index, chunks, units })
    }
}
