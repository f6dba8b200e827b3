//! The archive: segments and extents in a sink, each segment with an index that says what is in it.
//!
//! A segment is put first, its index behind it: what has no index does not count. Nothing is ever
//! changed; a longer piece of the same segment gets another name, and makes the shorter one
//! superfluous. Histories that went apart by a restore lie side by side.

mod index;
mod inventory;
mod names;
mod pack;
mod prune;
mod put;
mod retention;
mod run;
mod scan;
mod ship;
mod verify;
mod work;

pub use index::{Compression, Joint, LabelAt, MarkAt, SUM_BLOCK, SegmentIndex, Sums, Written};
pub(crate) use inventory::read_manifest;
pub use inventory::{ArchivedExtents, Inventory, read_index};
pub use names::{Name, extent_name, name_of, segment_stem};
pub use pack::read_segment;
pub(crate) use pack::unpack;
pub use prune::prune;
pub use put::{Fault, Outgoing, Tried, put_extents};
pub use retention::{Pruning, Retention, retain};
pub use run::ArchiveStatus;
pub(crate) use run::Archiving;
pub use scan::{Indexer, Summing};
pub use ship::{ArchiveOptions, Job, Local, Shipped, Shipping, Standing, gaps_of};
pub(crate) use verify::verify_segment;
pub use verify::{ArchiveReport, verify_archive};
pub use work::archive_log;
