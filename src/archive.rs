//! The archive: segments and extents in a sink, what is in them, and what can be restored of it.

pub use siding_checkpoint::{
    ArchivedExtents, Compression, Indexer, Inventory, Joint, LabelAt, MarkAt, Name, SUM_BLOCK,
    SegmentIndex, Summing, Sums, Written, extent_name, name_of, read_index, segment_stem,
};
pub use siding_checkpoint::{
    BackupId, Branch, Gap, Histories, Part, Piece, Plan, Reachable, Refusal, Seen, Source, Target,
    Wanted, Why, plan,
};
pub use siding_checkpoint::{DirectorySink, Put, Sink, Stored, plain, put_whole, read_whole};
