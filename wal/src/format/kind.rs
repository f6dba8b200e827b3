//! What a record is.

/// The kind of a record. 0 is invalid on disk, so zeros never read as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// The embedder's bytes.
    Data = 1,
    /// A compensation record: undoes a part of its unit, and says what is left to undo.
    Compensation = 2,
    /// Reserved: a savepoint is a position and needs no record in v1.
    Savepoint = 3,
    /// Phase one: from here the unit is in doubt.
    Prepare = 4,
    /// The outcome commit; with the END flag the unit's last record.
    Commit = 5,
    /// The outcome back out; with the END flag the unit's last record.
    Abort = 6,
    /// The unit's last record where the outcome did not end it.
    End = 7,
    /// A fork record: the unit's older records stand on the secondary log.
    Fork = 8,
    /// A keypoint begins.
    KeypointBegin = 9,
    /// A part of a keypoint's table.
    KeypointChunk = 10,
    /// A keypoint is complete.
    KeypointEnd = 11,
    /// A part of the directory of a sealed segment.
    Directory = 12,
    /// A point in time.
    Mark = 13,
    /// A clean close.
    Close = 14,
    /// A backup begins.
    BackupBegin = 15,
    /// The stop record of a backup.
    BackupStop = 16,
    /// The log went on on another path.
    PathSwitch = 17,
    /// A standby took over.
    EpochStart = 18,
}

impl Kind {
    /// Every kind, in the order of its code.
    pub const ALL: [Self; 18] = [
        Self::Data,
        Self::Compensation,
        Self::Savepoint,
        Self::Prepare,
        Self::Commit,
        Self::Abort,
        Self::End,
        Self::Fork,
        Self::KeypointBegin,
        Self::KeypointChunk,
        Self::KeypointEnd,
        Self::Directory,
        Self::Mark,
        Self::Close,
        Self::BackupBegin,
        Self::BackupStop,
        Self::PathSwitch,
        Self::EpochStart,
    ];

    /// The code on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        #[allow(clippy::as_conversions, reason = "the discriminant of a repr(u8) enum")]
        {
            self as u8
        }
    }

    /// The kind with this code, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(1)?)).copied()
    }

    /// The name operators read and type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "DATA",
            Self::Compensation => "CLR",
            Self::Savepoint => "SAVEPOINT",
            Self::Prepare => "PREPARE",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::End => "END",
            Self::Fork => "FORK",
            Self::KeypointBegin => "KP_BEGIN",
            Self::KeypointChunk => "KP_CHUNK",
            Self::KeypointEnd => "KP_END",
            Self::Directory => "DIRECTORY",
            Self::Mark => "MARK",
            Self::Close => "CLOSE",
            Self::BackupBegin => "BACKUP_BEGIN",
            Self::BackupStop => "BACKUP_STOP",
            Self::PathSwitch => "PATH_SWITCH",
            Self::EpochStart => "EPOCH_START",
        }
    }

    /// The kind with this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Whether records of this kind belong to a unit of work.
    #[must_use]
    pub const fn has_unit(self) -> bool {
        self.code() <= Self::Fork.code()
    }
}

/// Bits of a record's `flags`.
pub mod flags {
    /// COMMIT and ABORT: the unit's last record.
    pub const END: u8 = 0x01;
    /// COMMIT and ABORT: decided without the coordinator.
    pub const HEURISTIC: u8 = 0x02;
    /// ABORT: the unit was prepared before.
    pub const WAS_PREPARED: u8 = 0x04;
    /// Every bit that v1 gives a meaning.
    pub const KNOWN: u8 = END | HEURISTIC | WAS_PREPARED;
}
