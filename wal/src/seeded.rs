//! Wrong versions of single decisions, which the test rig must find.
//!
//! Compiled only with the feature `seeded-bugs`. Where a decision can go wrong on purpose it asks
//! `seeded!`, which without the feature is the literal `false`: nothing is left of it.

use std::cell::Cell;

/// A decision that can be made wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A batch counts as durable once it is written.
    AckBeforeSync,
    /// After a failed sync it is tried once more, and believed.
    RetriedFsync,
    /// A failed sync of the open segment by the preparer is nobody's business.
    FillSyncIgnored,
    /// The next segment's header is written while batches before it are not synced.
    HeaderBeforeDurable,
    /// Names are not synced.
    NoDirectorySync,
    /// A recycled segment is used although the sync of its new name failed.
    RecycledNameUnsynced,
    /// The old header of a recycled segment is overwritten, and that is not synced.
    RecycledHeaderUnsynced,
    /// What a killed process left in the page cache is believed as it is.
    FoundNotSynced,
    /// An open does not sync the name of a prepared file that it finds.
    FoundNameUnsynced,
    /// A batch says that what was written before it was durable.
    WrittenIsVouchedFor,
    /// Checksums and the scan do not look at incarnations.
    StaleSegmentAccepted,
    /// The block that unit ids are taken from is not written down.
    UnitBlockUnsynced,
    /// A unit pins nothing once its END is appended.
    EndUnpinsEarly,
    /// Trimming forgets what live units need.
    TrimForgetsUnits,
    /// A keypoint counts before it is durable.
    KeypointNotDurable,
    /// Log is trimmed as a keypoint that is not written yet would allow.
    TrimPastKeypoint,
    /// Trimming forgets that committed units may need records below the redo position.
    TrimForgetsCommits,
    /// A keypoint lists no COMMIT minima.
    KeypointForgetsCommitMinima,
    /// The next open leaves the mark of a clean close where it is.
    CleanMarkStays,
    /// The control file calls a close clean before CLOSE is durable.
    CleanBeforeClose,
    /// A fork record is appended before the copies it points to are synced.
    ForkBeforeSync,
    /// Trimming passes originals whose fork record is not durable.
    TrimBeforeForkDurable,
    /// A walk does not stop at the floor.
    NoSubtract,
    /// Extents are free once END is appended.
    FreeBeforeEndDurable,
    /// The copies of a second move do not lead to those of the first.
    SecondForkNoLink,
    /// A compaction frees the old extents before the fork record is durable.
    CompactFreeEarly,
    /// A unit that ends forgets what its fork record pins.
    EndDropsForkPin,
    /// The extents of a committed unit are free at END, whatever redo may need.
    FreeAtEndNotAtRedo,
    /// A fork record counts as a record that its unit needs.
    NaiveCut,
    /// A walk reads the fork record, and trimming takes it for nothing.
    NaiveCutTrim,
    /// A move copies what is not durable.
    CopyNotDurable,
    /// The fork record of a part of a chain says that nothing stays on the main log.
    PartialForgetsRest,
    /// A fork record does not know of what its unit wrote while the move ran.
    MoveForgetsAppends,
    /// A keypoint does not say where the copies of a moved unit are.
    KeypointForgetsCopies,
    /// The sweep frees what only redo needs.
    SweepForgetsRedo,
    /// The sweep leaves the files that nobody needs.
    SweepLeavesOrphans,
    /// A backup's recovery point is the end of the log when it begins.
    RecoveryPointIsNow,
    /// A backup's floor does not look at what lives.
    FloorIgnoresChains,
    /// Nor at what COMMITs from the recovery point on need.
    FloorIgnoresCommits,
    /// Extents do not travel along.
    BackupWithoutExtents,
    /// The recovery point is taken once the files were read.
    PinAfterRead,
    /// The manifest is put before the log.
    ManifestFirst,
    /// Trimming does not look at what a backup holds.
    TrimUnderBackup,
    /// Extents are freed while a backup runs.
    FreeUnderBackup,
    /// Extents of earlier opens that nobody needs are removed while a backup runs.
    SweepUnderBackup,
    /// A block that is half written is copied as it is.
    TornBlockTaken,
    /// The redo position passes the recovery point of a backup that runs.
    RedoNotHeld,
    /// An update is registered once its record has its place, in a step of its own.
    UpdateRegisteredLate,
    /// A restored log goes by fork records that were written behind the backup's end.
    HonourLateForks,
    /// A restore to a position below the backup's end is not refused.
    TargetBeforeStop,
    /// The note of a restore goes as soon as the log is open.
    NoteGoneTooEarly,
    /// A unit whose late fork record does not count is forgotten at its END.
    LateForkDropsEntry,
    /// A keypoint that was taken behind the backup's end counts in a restored log.
    LateKeypointBelieved,
    /// What is being shipped is not pinned any more.
    PinBeforeShipped,
    /// The index of a segment is put before the segment.
    IndexBeforeSegment,
    /// Nobody looks whether what the archive has joins what the log has.
    GapNotNoticed,
    /// A restore does not say in the directory that it is under way.
    RestoreUnmarked,
    /// A restored log counts as whole before its units in doubt are decided as was asked.
    MarkGoneTooEarly,
    /// A restored log does not know of incarnations that other histories have.
    RestoreForgetsOthers,
    /// Pruning looks at the log of the newest backup alone.
    PruneBreaksChain,
    /// Pruning removes a segment before its index.
    PruneSegmentFirst,
}

impl Bug {
    /// Those of a backup; `tests/backup/` finds them.
    pub const OF_BACKUP: [Self; 12] = [
        Self::RecoveryPointIsNow,
        Self::FloorIgnoresChains,
        Self::FloorIgnoresCommits,
        Self::BackupWithoutExtents,
        Self::PinAfterRead,
        Self::ManifestFirst,
        Self::TrimUnderBackup,
        Self::FreeUnderBackup,
        Self::SweepUnderBackup,
        Self::TornBlockTaken,
        Self::RedoNotHeld,
        Self::UpdateRegisteredLate,
    ];

    /// Those of a restore to a later point; `tests/restore/` finds them.
    pub const OF_RESTORE: [Self; 8] = [
        Self::HonourLateForks,
        Self::TargetBeforeStop,
        Self::NoteGoneTooEarly,
        Self::LateForkDropsEntry,
        Self::LateKeypointBelieved,
        Self::RestoreUnmarked,
        Self::MarkGoneTooEarly,
        Self::RestoreForgetsOthers,
    ];

    /// Those of the archive; `tests/archive/` finds them.
    pub const OF_ARCHIVE: [Self; 5] = [
        Self::PinBeforeShipped,
        Self::IndexBeforeSegment,
        Self::GapNotNoticed,
        Self::PruneBreaksChain,
        Self::PruneSegmentFirst,
    ];

    /// Every other bug.
    pub const ALL: [Self; 36] = [
        Self::AckBeforeSync,
        Self::RetriedFsync,
        Self::FillSyncIgnored,
        Self::HeaderBeforeDurable,
        Self::NoDirectorySync,
        Self::RecycledNameUnsynced,
        Self::RecycledHeaderUnsynced,
        Self::FoundNotSynced,
        Self::FoundNameUnsynced,
        Self::WrittenIsVouchedFor,
        Self::StaleSegmentAccepted,
        Self::UnitBlockUnsynced,
        Self::EndUnpinsEarly,
        Self::TrimForgetsUnits,
        Self::KeypointNotDurable,
        Self::TrimPastKeypoint,
        Self::TrimForgetsCommits,
        Self::KeypointForgetsCommitMinima,
        Self::CleanMarkStays,
        Self::CleanBeforeClose,
        Self::ForkBeforeSync,
        Self::TrimBeforeForkDurable,
        Self::NoSubtract,
        Self::FreeBeforeEndDurable,
        Self::SecondForkNoLink,
        Self::CompactFreeEarly,
        Self::EndDropsForkPin,
        Self::FreeAtEndNotAtRedo,
        Self::NaiveCut,
        Self::NaiveCutTrim,
        Self::CopyNotDurable,
        Self::PartialForgetsRest,
        Self::MoveForgetsAppends,
        Self::KeypointForgetsCopies,
        Self::SweepForgetsRedo,
        Self::SweepLeavesOrphans,
    ];
}

thread_local! {
    static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread is to make this bug.
#[must_use]
pub fn is_seeded(bug: Bug) -> bool {
    SEEDED.get() == Some(bug)
}

/// Runs `f` with a bug on this thread.
pub fn with<T>(bug: Bug, f: impl FnOnce() -> T) -> T {
    struct Before(Option<Bug>);
    impl Drop for Before {
        fn drop(&mut self) {
            SEEDED.set(self.0);
        }
    }
    let _before = Before(SEEDED.replace(Some(bug)));
    f()
}
