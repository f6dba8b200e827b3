//! The mark of a restore: while it is there, the directory opens as no log.

use siding_wal::disk::Disk;
use siding_wal::{Error, ErrorKind, Result, seeded};
use std::io;

/// There while a restore runs.
pub const RESTORING: &str = "restoring";

/// Marks a directory as one into which is restored, durably.
pub(super) fn mark(disk: &dyn Disk) -> io::Result<()> {
    if seeded!(RestoreUnmarked) {
        return Ok(());
    }
    match disk.create(RESTORING) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(RESTORING)?,
        other => other?,
    }
    .sync()?;
    disk.sync_dir()
}

pub(super) fn unmark(disk: &dyn Disk) -> io::Result<()> {
    if seeded!(RestoreUnmarked) {
        return disk.sync_dir();
    }
    disk.remove(RESTORING)?;
    disk.sync_dir()
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
