//! Backing the database up while it works, and putting it back as of any moment since.
//!
//! The snapshot files are the objects: what the log redoes behind them is all the rest. A file that
//! was published never changes, so nothing of it is torn; none is removed while a backup runs.

use crate::db::{Shared, log_dir};
use crate::snapshot;
use crate::{Db, Error, Result};
use siding::archive::Plan;
use siding::disk::{Disk, LogFile, open_dir};
use siding::sink::Sink;
use siding::{Backend, BackupFile, BackupOptions, Manifest, ObjectFile};
use siding::{RestoreOptions, Restored, object_file, restore_to};
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// The object that the snapshots are, all of them.
const SNAPSHOTS: u16 = 1;

impl Db {
    /// Backs the database up into a sink while others work. Snapshots wait meanwhile.
    ///
    /// # Errors
    ///
    /// A snapshot cannot be read, the sink takes nothing, or the log refuses: then there is no
    /// backup.
    ///
    /// # Crash
    ///
    /// There is a whole backup, or none.
    pub fn backup_to(&self, sink: &dyn Sink, options: &BackupOptions<'_>) -> Result<Manifest> {
        Ok(self.0.backup_to(&self.0.log, sink, options)?)
    }
}

impl Shared {
    /// The same, for whoever has the log at hand.
    pub(crate) fn backup_to(
        &self,
        log: &siding::Log,
        sink: &dyn Sink,
        options: &BackupOptions<'_>,
    ) -> siding::Result<Manifest> {
        // The newest is enough; the log reaches back to the older one anyway. Held to the end: a
        // snapshot that is taken meanwhile would let redo start above the one that is copied.
        let snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = snapshots.first().map(|whole| snapshot::path(&self.dir, whole.number));
        let objects: Vec<ObjectFile> = newest
            .map(|path| object_file(SNAPSHOTS, path))
            .into_iter()
            .collect::<siding::Result<_>>()?;
        log.backup_to(sink, &objects, options)
    }
}

/// Puts the database back into `dir`, an empty directory, as a plan says. Then open it.
///
/// # Errors
///
/// The directory is not empty; what is missing or damaged, by name. Then the log opens as none, and
/// says why.
///
/// # Crash
///
/// The log opens as none, and says why; or all is restored.
pub fn restore(
    sink: &dyn Sink,
    plan: &Plan,
    dir: impl AsRef<Path>,
    options: &RestoreOptions<'_>,
) -> Result<Restored> {
    let dir = dir.as_ref();
    let open = |path: &Path| open_dir(path, Backend::Buffered, true).map_err(Error::io(path));
    let (files, log): (Arc<dyn Disk>, Arc<dyn Disk>) = (open(dir)?, open(&log_dir(dir))?);
    let target = |file: &BackupFile| -> siding::Result<Option<Arc<dyn LogFile>>> {
        let io = |cause| {
            siding::Error::io("a snapshot cannot be put back", cause)
                .file(dir.join(&file.name))
                .advise("empty the directory, and restore into it again")
        };
        let made = files.create(&file.name).map_err(io)?;
        files.sync_dir().map_err(io)?;
        Ok(Some(made))
    };
    Ok(restore_to(sink, plan, &log, &target, options)?)
}
