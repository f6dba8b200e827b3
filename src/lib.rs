#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admin;
pub mod archive;
mod backup;
mod commit;
mod cursor;
mod decided;
mod in_doubt;
mod inner;
mod log;
mod options;
mod read_only;
mod record;
mod recovery;
pub mod repair;
mod restore;
mod ticket;
mod unit;
mod update;

pub use backup::{object_file, restore_dir, verify_backup};
pub use commit::{CommitError, PrepareError};
pub use cursor::{Backward, Chain, Committed, Effects, Follower, Owned, Records};
pub use decided::{Decided, Outcome};
pub use in_doubt::InDoubt;
pub use log::Log;
pub use options::{Durability, Options};
pub use read_only::ReadOnly;
pub use record::{OwnedRecord, Record};
pub use recovery::{InFlight, Recovery};
pub use restore::{
    Doubt, InDoubtPolicy, RestoreOptions, Restored, RolledForward, restore_object, restore_to,
};
pub use ticket::Ticket;
pub use unit::{Savepoint, UnitOfWork};
pub use update::Update;

pub use siding_checkpoint::{
    BackupFile, BackupOptions, Copying, FileKind, Manifest, ObjectFile, StopUnit,
};
pub use siding_checkpoint::{
    ExtentInfo, Finding, ForkEffect, Pin, PinKind, Positions, Progress, Rebuilt, Report,
    SegmentInfo, SegmentState, UnitInfo, Usage, Verification,
};
pub use siding_checkpoint::{
    Given, LogParts, RestoredLog, Taken, UnitName, plan_before_commit, plan_restore, restore_log_to,
};
pub use siding_wal::disk::{Backend, Owner};
pub use siding_wal::format::{Cause, ControlSlot, Discipline, Kind, UnitState};
pub use siding_wal::read::{Identity, Row};
pub use siding_wal::{Error, ErrorKind, Lsn, Result};

/// The traits of the disk and the clock, for those who bring their own.
pub mod disk {
    pub use siding_wal::disk::{
        AlignedBuf, Clock, DirLock, Disk, Geometry, LockError, LogFile, MemoryDisk, ReadPipe,
        SystemClock, conformance, open_dir, open_dir_at_depth, open_dir_read_only,
    };
}

/// Where copies go: a directory, or what an adapter brings; and what every such place must pass.
pub mod sink {
    pub use siding_checkpoint::sink::{
        DirectorySink, Put, Sink, Stored, conformance, plain, put_whole, read_whole,
    };
}
