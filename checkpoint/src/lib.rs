//! The second floor of Siding: keypoints, restart, trimming.

#![forbid(unsafe_code)]

mod archive;
mod backup;
mod directories;
mod engine;
mod fields;
mod forking;
mod keeper;
mod keypoint;
mod live;
mod lost;
mod open;
mod reader;
mod redo;
pub mod repair;
mod restore;
mod retain;
pub mod sink;
mod steps;
mod threads;
mod undo;
mod upkeep;
mod verify;

pub use archive::{
    ArchiveOptions, ArchiveReport, ArchiveStatus, ArchivedExtents, Compression, Fault, Indexer,
    Inventory, Job, Joint, LabelAt, Local, MarkAt, Name, Outgoing, Pruning, Retention, SUM_BLOCK,
    SegmentIndex, Shipped, Shipping, Standing, Summing, Sums, Tried, Written, archive_log,
    extent_name, gaps_of, name_of, prune, put_extents, read_index, read_segment, retain,
    segment_stem, verify_archive,
};
pub use backup::{
    BackupFile, BackupOptions, Copying, DEFAULT_RATE, FileKind, Manifest, ObjectFile, StopUnit,
    backup_digits, parse_backup_digits, verify_backup,
};
pub use engine::{Engine, Positions};
pub use keypoint::Table;
pub use live::UnitInfo;
pub use lost::{Need, Rebuilt};
pub use open::{Config, ForkConfig, Opened, Progress, ProgressHandler, Report, open};
pub use reader::{ExtentInfo, ReadOnly, Reading, SegmentInfo, SegmentState, Usage};
pub use redo::{Committed, History};
pub use restore::{
    BackupId, Branch, Gap, Given, Histories, LogParts, Part, Piece, Plan, RESTORING, Reachable,
    Refusal, RestoredLog, Seen, Source, Taken, Target, Targets, UnitName, Wanted, Why, plan,
    plan_before_commit, plan_restore, restore as carry_out, restore_log_to,
};
pub use retain::{Pin, PinKind};
pub use siding_fork::policy::Effect as ForkEffect;
pub use sink::{DirectorySink, Put, Sink, Stored, plain, put_whole, read_whole};
pub use undo::{UndoHandler, UndoRecord};
pub use verify::{Finding, Verification, verify};
