//! What a round is planned from, and what comes of it.

use siding_wal::Lsn;
use siding_wal::format::{DirectoryEntry, UnitState};

/// What the operator has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Segment bytes freed for one byte copied: less does not pay, unless log is short.
    pub ratio: u64,
    /// Begin to move once units alone keep this many segments …
    pub high: u64,
    /// … and go on until they keep fewer than this.
    pub low: u64,
    /// A unit in flight that wrote nothing for so many milliseconds is idle.
    pub idle_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ratio: 4, high: 2, low: 1, idle_ms: 10_000 }
    }
}

/// A sealed segment and who has records in it.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// Its number.
    pub number: u64,
    /// Its directory. An entry counts while its unit is live and has its floor at or below
    /// the newest record.
    pub directory: &'a [DirectoryEntry],
}

/// A live unit with records on the main log that were not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The unit.
    pub unit: u64,
    /// Where it stands.
    pub state: UnitState,
    /// Its oldest record on the main log that was not moved.
    pub floor: Lsn,
    /// Bytes of all its records there.
    pub main_bytes: u64,
    /// Milliseconds since its newest record; none if it wrote none in this open.
    pub idle_ms: Option<u64>,
    /// An operator said that it stays where it is.
    pub held: bool,
    /// It is being moved, or its fork record is not durable yet.
    pub moving: bool,
}

/// What is known when a round is planned.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Bytes of a segment.
    pub segment_size: u64,
    /// The sealed segments, oldest first.
    pub segments: &'a [Sealed<'a>],
    /// How far trimming could go if no live unit held anything.
    pub free_below: Lsn,
    /// Bytes of main log that are kept.
    pub retained: u64,
    /// More than this is too much.
    pub soft_limit: Option<u64>,
    /// The live units that have records on the main log.
    pub units: &'a [Candidate],
    /// Bytes that this round may copy.
    pub budget: u64,
    /// Bytes that the secondary log still takes.
    pub room: u64,
    /// The log is full: whatever frees something is due.
    pub urgent: bool,
}

/// A move that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The unit.
    pub unit: u64,
    /// Move its records up to this one, oldest first; none: all of them.
    pub upto: Option<Lsn>,
    /// The oldest record behind `upto` and the first LSN of its segment, as far as a directory
    /// says so: the walk may begin there.
    pub next: Option<(Lsn, Lsn)>,
}

/// Why nothing is moved although units hold segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// This unit holds the oldest segment, and an operator holds it.
    Held(u64),
    /// This unit holds the oldest segment, and its move is not over.
    Moving(u64),
    /// It would pay, and the secondary log has no room for these many bytes.
    NoRoom(u64),
    /// Too much would be copied for what it frees.
    NotWorth,
}

/// What a round is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The moves, in the order in which they are to be made.
    pub plans: Vec<Plan>,
    /// Bytes they will copy.
    pub copied: u64,
    /// Bytes of main log that trimming can free after them; 0 if it takes more rounds.
    pub freed: u64,
    /// Sealed segments that units alone keep.
    pub kept: u64,
    /// Why there are no moves, if units keep enough segments for some.
    pub hindrance: Option<Hindrance>,
}

/// What moving a unit would cost and gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The unit.
    pub unit: u64,
    /// The oldest sealed segment that it keeps and that could go otherwise.
    pub oldest: Option<u64>,
    /// How many such segments it has records in.
    pub segments: u64,
    /// Bytes to copy so that it leaves the oldest of them, up to where another unit holds on.
    pub cost: u64,
    /// Bytes of main log that this frees: none while another unit keeps the same segment or an
    /// older one.
    pub gain: u64,
}
