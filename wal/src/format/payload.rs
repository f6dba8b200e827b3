//! What the records of Siding itself carry.

use super::{Malformed, take};
use crate::Lsn;
use byteorder::{LE, ReadBytesExt as _, WriteBytesExt as _};

/// Where an extent of the secondary log stands. File 0 is none: file numbers hold an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct SPtr {
    /// The extent file's number; never used again.
    pub extent: u64,
    /// Where the extent starts in the file, in multiples of 8 bytes.
    pub offset: u32,
}

impl SPtr {
    /// Points nowhere.
    pub const NONE: Self = Self { extent: 0, offset: 0 };

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.extent.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
    }

    pub(super) fn get(input: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(Self { extent: input.read_u64::<LE>()?, offset: input.read_u32::<LE>()? })
    }
}

/// Who or what decided a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cause {
    /// The unit's own program.
    #[default]
    Program,
    /// An operator.
    Operator,
    /// A timer.
    Timer,
    /// Dropping an undecided unit.
    Drop,
    /// Restart, for a unit that was in flight.
    Restart,
    /// The coordinator, in resynchronisation.
    Coordinator,
}

impl Cause {
    const ALL: [Self; 6] =
        [Self::Program, Self::Operator, Self::Timer, Self::Drop, Self::Restart, Self::Coordinator];

    fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|cause| *cause == self)
            .map_or(0, |index| u8::try_from(index).unwrap_or(0))
    }

    /// The name operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Operator => "operator",
            Self::Timer => "timer",
            Self::Drop => "drop",
            Self::Restart => "restart",
            Self::Coordinator => "coordinator",
        }
    }
}

/// What COMMIT and ABORT carry besides their flags.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decision {
    /// The unit's oldest live LSN when it was decided; itself if the unit wrote nothing.
    pub oldest: Lsn,
    /// The newest copy of the unit's moved records.
    pub sec: SPtr,
    /// What decided.
    pub cause: Cause,
    /// Who decided, at most 255 bytes; empty for the unit's own program.
    pub who: String,
}

impl Decision {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(22 + self.who.len());
        out.extend_from_slice(&self.oldest.get().to_le_bytes());
        self.sec.put(&mut out);
        out.push(self.cause.code());
        let who = self.who.get(..self.who.floor_char_boundary(MAX_SHORT)).unwrap_or_default();
        put_short(&mut out, who.as_bytes());
        out
    }

    /// The payload from bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short or a field cannot be.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        let oldest = Lsn::new(input.read_u64::<LE>()?);
        let sec = SPtr::get(input)?;
        let code = usize::from(input.read_u8()?);
        let cause = Cause::ALL.get(code).copied().ok_or(Malformed::Field("cause"))?;
        let who = String::from_utf8_lossy(take_short(input)?).into_owned();
        Ok(Self { oldest, sec, cause, who })
    }
}

/// What PREPARE carries.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PreparePayload {
    /// The name the coordinator knows the unit by: 1 to 255 bytes.
    pub gid: Vec<u8>,
    /// The unit's first record, or this one.
    pub first: Lsn,
    /// Milliseconds since 1970 when the unit began.
    pub started_ms: u64,
    /// Milliseconds since 1970 when it was prepared.
    pub prepared_ms: u64,
}

impl PreparePayload {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(25 + self.gid.len());
        out.extend_from_slice(&self.first.get().to_le_bytes());
        out.extend_from_slice(&self.started_ms.to_le_bytes());
        out.extend_from_slice(&self.prepared_ms.to_le_bytes());
        put_short(&mut out, &self.gid);
        out
    }

    /// The payload from bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short or the gid is empty.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        let first = Lsn::new(input.read_u64::<LE>()?);
        let started_ms = input.read_u64::<LE>()?;
        let prepared_ms = input.read_u64::<LE>()?;
        let gid = take_short(input)?.to_vec();
        if gid.is_empty() {
            return Err(Malformed::Field("gid"));
        }
        Ok(Self { gid, first, started_ms, prepared_ms })
    }
}

/// Bytes of a compensation record in front of the embedder's.
pub const COMPENSATION_HEAD: usize = 8;

/// What a compensation record carries in front of the embedder's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compensation<'a> {
    /// The next record to undo: what lies above it in the chain is undone already.
    pub undo_next: Lsn,
    /// What the embedder applies to undo.
    pub body: &'a [u8],
}

impl<'a> Compensation<'a> {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COMPENSATION_HEAD + self.body.len());
        out.extend_from_slice(&self.undo_next.get().to_le_bytes());
        out.extend_from_slice(self.body);
        out
    }

    /// The payload from bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        let undo_next = Lsn::new((&mut bytes).read_u64::<LE>()?);
        Ok(Self { undo_next, body: bytes })
    }
}

/// What a fork record carries besides `prev`, the patent's pointer 970 (GB2301910).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ForkPayload {
    /// The newest copy on the secondary log: the patent's pointer 960.
    pub sec: SPtr,
    /// The oldest record of the unit that stays on the main log; zero: none below this record.
    pub floor: Lsn,
    /// The number of moves of this unit, this one included.
    pub moves: u32,
    /// Records moved so far.
    pub moved_count: u64,
    /// Bytes moved so far.
    pub moved_bytes: u64,
    /// The unit's first record.
    pub first: Lsn,
    /// Milliseconds since 1970 when the unit began.
    pub started_ms: u64,
    /// CRC32C of previous hash, original LSN and header checksum, over the moved records.
    pub chain_hash: u64,
}

impl ForkPayload {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.sec.put(&mut out);
        out.extend_from_slice(&self.moves.to_le_bytes());
        for field in [
            self.floor.get(),
            self.moved_count,
            self.moved_bytes,
            self.first.get(),
            self.started_ms,
            self.chain_hash,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out
    }

    /// The payload from bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are short or a field cannot be.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let input = &mut bytes;
        let sec = SPtr::get(input)?;
        let moves = input.read_u32::<LE>()?;
        if moves == 0 {
            return Err(Malformed::Field("moves"));
        }
        Ok(Self {
            sec,
            moves,
            floor: Lsn::new(input.read_u64::<LE>()?),
            moved_count: input.read_u64::<LE>()?,
            moved_bytes: input.read_u64::<LE>()?,
            first: Lsn::new(input.read_u64::<LE>()?),
            started_ms: input.read_u64::<LE>()?,
            chain_hash: input.read_u64::<LE>()?,
        })
    }
}

/// What MARK carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MarkPayload {
    /// max(the last mark's time, the wall clock), in milliseconds since 1970: never goes back.
    pub time_ms: u64,
    /// The wall clock as it was.
    pub wall_ms: u64,
    /// The oldest LSN kept.
    pub oldest: Lsn,
    /// The last complete keypoint: its begin.
    pub keypoint_begin: Lsn,
    /// The last complete keypoint: its end record.
    pub keypoint_end: Lsn,
}

impl MarkPayload {
    /// The payload as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        for field in [
            self.time_ms,
            self.wall_ms,
            self.oldest.get(),
            self.keypoint_begin.get(),
            self.keypoint_end.get(),
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
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
            time_ms: input.read_u64::<LE>()?,
            wall_ms: input.read_u64::<LE>()?,
            oldest: Lsn::new(input.read_u64::<LE>()?),
            keypoint_begin: Lsn::new(input.read_u64::<LE>()?),
            keypoint_end: Lsn::new(input.read_u64::<LE>()?),
        })
    }
}

/// The longest name of a position, in bytes.
pub const MAX_LABEL: usize = MAX_SHORT;

/// Bytes that every MARK has.
const MARK_LEN: usize = 40;

/// What a MARK carries that gives its position a name: as any, and the name behind it.
#[must_use]
pub fn label_payload(mark: &MarkPayload, name: &str) -> Vec<u8> {
    let mut out = mark.encode();
    put_short(&mut out, name.as_bytes());
    out
}

/// The name in the payload of a MARK, if it gives one.
#[must_use]
pub fn label_of(payload: &[u8]) -> Option<&str> {
    let mut rest = payload.get(MARK_LEN..)?;
    let name = take_short(&mut rest).ok()?;
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// CLOSE carries what MARK does.
pub type ClosePayload = MarkPayload;

/// The longest byte string that its length fits in front of, in one byte.
const MAX_SHORT: usize = 255;

pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..MAX_SHORT).unwrap_or(bytes);
    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(bytes);
}

pub(super) fn take_short<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = usize::from(input.read_u8()?);
    take(input, len)
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    // Writing into a vector cannot fail.
    let _ = out.write_u32::<LE>(value);
}
