//! A backup is put back, to its end.

use super::verify::find;
use super::{BackupFile, Copying};
use crate::restore::{self, BackupId, Plan};
use crate::sink::Sink;
use siding_wal::disk::{Disk, LogFile};
use siding_wal::{Error, ErrorKind, Result};
use std::io;
use std::sync::Arc;

/// There while a restore runs.
pub const RESTORING: &str = "restoring";

/// Puts a backup back, that with this number or the newest: the log into `disk`, an empty
/// directory, and each file of an object where `target` says. The log is then opened as after a
/// crash: redo from the recovery point, what was in flight is backed out, what was in doubt is in
/// doubt.
///
/// # Errors
///
/// As [`verify_backup`](super::verify_backup); [`ErrorKind::Invalid`] if the directory is not
/// empty; what a disk says. Once something was written the directory opens as no log, and says
/// why.
///
/// # Crash
///
/// The directory opens as no log, and says why; or it is restored.
pub fn restore(
    sink: &dyn Sink,
    id: Option<BackupId>,
    disk: &dyn Disk,
    target: &dyn Fn(&BackupFile) -> Result<Arc<dyn LogFile>>,
    told: &dyn Fn(&Copying<'_>),
) -> Result<Plan> {
    let (_, plan) = find(sink, id)?;
    let target = |file: &BackupFile| target(file).map(Some);
    restore::restore(sink, &plan, disk, &target, told, &mut |_| Ok(()))?;
    Ok(plan)
}

/// Refuses a directory in which a restore was broken off.
///
/// # Errors
///
/// [`ErrorKind::Missing`].
pub(crate) fn unfinished(disk: &dyn Disk) -> Result<()> {
    match disk.open(RESTORING) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(Error::io("whether a restore was broken off cannot be told", cause)
            .file(disk.path().unwrap_or_default().join(RESTORING))),
        Ok(_) => {
            Err(Error::new(ErrorKind::Missing, "a restore into this directory was broken off")
                .file(disk.path().unwrap_or_default().join(RESTORING))
                .advise("empty the directory, and restore into it again"))
        }
    }
}
