//! The archive: segments and extents in a sink, what is in them, and what can be restored of it.

use crate::{Log, ReadOnly, Result};
use siding_checkpoint::{Engine, Sink};
use std::sync::Arc;

pub use siding_checkpoint::{
    ArchiveOptions, ArchiveReport, ArchiveStatus, ArchivedExtents, Compression, Indexer, Inventory,
    Joint, LabelAt, MarkAt, Name, Pruning, Retention, SUM_BLOCK, SegmentIndex, Shipped, Summing,
    Sums, Written, extent_name, gaps_of, name_of, prune, read_index, read_segment, retain,
    segment_stem, verify_archive,
};
pub use siding_checkpoint::{
    BackupId, Branch, Gap, Histories, Part, Piece, Plan, Reachable, Refusal, Seen, Source, Target,
    Wanted, Why, plan,
};
pub use siding_checkpoint::{backup_digits, parse_backup_digits};

impl Log {
    /// Archives the log for as long as it is open: what is sealed is shipped to `sink`, in the
    /// background, several files at once; what fails is tried again, later and later. Nothing is
    /// trimmed that is not in the archive, as far as the quota goes; `siding why` names the pin.
    /// While it runs MARK is written each second, so that an idle log can be restored to a time.
    ///
    /// Open with [`Options::archived`](crate::Options::archived), or what is trimmed between the
    /// open and this call may be a gap. A gap is no error: [`Log::archive_status`] names it, and a
    /// new backup leads over it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`](crate::ErrorKind::InUse) if the log is archived already;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if files cannot be compressed by this
    /// build; the operating system gives no thread.
    ///
    /// # Crash
    ///
    /// The next open ships what is not there. A segment counts once its index is there.
    pub fn archive_to(&self, sink: Arc<dyn Sink>, options: ArchiveOptions) -> Result<()> {
        let threads = Engine::archive_to(self.inner.engine(), sink, options)?;
        self.inner.add_threads(threads);
        Ok(())
    }

    /// Ships everything that was written so far, that of the open segment too, and waits for it.
    ///
    /// Costs a MARK, and two reads of the open segment as far as it is written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the log is not archived; what a file
    /// or the sink says. The archiver goes on trying.
    ///
    /// # Crash
    ///
    /// As [`Log::archive_to`].
    pub fn archive_now(&self) -> Result<Shipped> {
        self.inner.engine().archive_now()
    }

    /// How far the archive is, what it holds, what it is short of; none if there is none.
    ///
    /// # Errors
    ///
    /// The secondary log cannot be listed.
    pub fn archive_status(&self) -> Result<Option<ArchiveStatus>> {
        self.inner.engine().archive_status()
    }
}

/// Archives a log that nobody has open: what `sink` does not have of it, up to its end. Writes
/// nothing into the log.
///
/// # Errors
///
/// [`ErrorKind::InUse`](crate::ErrorKind::InUse) if somebody has it open; what an open would refuse
/// it for; the first thing that cannot be read or put. What was shipped by then stays.
///
/// # Crash
///
/// What was shipped by then stays.
pub fn archive_log(log: &ReadOnly, sink: &dyn Sink, options: ArchiveOptions) -> Result<Shipped> {
    siding_checkpoint::archive_log(&log.0, sink, options)
}
