//! A backup is put back.
//!
//! 1. A file that says *restoring* is there, durably. 2. Each object's file, its checksums
//!    compared, and synced. 3. The log, which ends with the file of step 1 going.
//!
//! Crash before 3 is over: the directory opens as no log, and says why. Behind it: as the log after
//! a crash at the backup's end.

use super::verify::{blocks, find};
use super::{BackupFile, Copying};
use crate::archive::Compression;
use crate::restore::{BackupId, LogParts, Plan, restore_log_to};
use crate::sink::{Sink, Stored};
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::{Error, ErrorKind, Result};
use std::fmt;
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
/// empty; what a disk says. Then the directory opens as no log, and says why.
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
    let (manifest, plan) = find(sink, id)?;
    let root = super::Manifest::read(sink, plan.backup)?;
    empty(disk)?;
    let unwritten = |name: &str, cause| {
        Error::io("what is restored cannot be written", cause)
            .file(disk.path().unwrap_or_default().join(name))
            .advise("empty the directory, make room, and begin again")
    };
    mark(disk).map_err(|cause| unwritten(RESTORING, cause))?;
    for file in &plan.extents {
        blocks(sink, &file.stored, (&file.name, &file.sums()), told, &mut |_, _| Ok(()))?;
    }
    for file in &plan.objects {
        put_back(sink, file, &*target(file)?, told)?;
    }
    let open = |name: &str| -> Result<Arc<dyn LogFile>> {
        let stored = sink.open(name);
        let stored = stored
            .map_err(|cause| Error::io("a file of the backup cannot be read", cause).file(name))?;
        Ok(Arc::new(AsFile(stored)))
    };
    let segment = |number: u64| -> Result<Option<Arc<dyn LogFile>>> {
        let part = plan.log.iter().find(|part| part.piece.index.number == number);
        let Some(index) = part.map(|part| &part.piece.index) else { return Ok(None) };
        if index.compression != Compression::None {
            return Err(Error::new(ErrorKind::Invalid, "a compressed segment cannot be read here")
                .file(index.segment_name()));
        }
        open(&index.segment_name()).map(Some)
    };
    let extents = plan.extents.iter();
    let extents = extents.map(|file| Ok((file.name.clone(), open(&file.stored)?)));
    let parts = LogParts {
        manifest: &root,
        segments: &segment,
        extents: extents.collect::<Result<_>>()?,
        incarnation: plan.incarnation,
    };
    restore_log_to(&parts, disk, manifest.end, told)?;
    Ok(plan)
}

/// A file of an object, to the byte.
fn put_back(
    sink: &dyn Sink,
    file: &BackupFile,
    to: &dyn LogFile,
    told: &dyn Fn(&Copying<'_>),
) -> Result<()> {
    let unwritten = |cause| {
        Error::io("a file cannot be put back", cause).file(&file.name).advise("begin again")
    };
    blocks(sink, &file.stored, (&file.name, &file.sums()), told, &mut |at, block| {
        // Disks take whole units; what is too much is cut off at the end.
        let mut whole = AlignedBuf::from(block);
        whole.resize(block.len().next_multiple_of(siding_wal::disk::ALIGNMENT));
        to.write_at(at, &[&whole], false).map_err(unwritten)
    })?;
    to.cut(file.len).map_err(unwritten)?;
    to.sync().map_err(unwritten)
}

/// Something in a sink, as a file that is only read.
struct AsFile(Box<dyn Stored>);

impl fmt::Debug for AsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsFile")
    }
}

impl LogFile for AsFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn write_at(&self, _: u64, _: &[&[u8]], _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn cut(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks a directory as one into which is restored.
pub(crate) fn mark(disk: &dyn Disk) -> io::Result<()> {
    match disk.create(RESTORING) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(RESTORING)?,
        other => other?,
    }
    .sync()?;
    disk.sync_dir()
}

/// Refuses a directory with anything in it but the mark of a restore.
pub(crate) fn empty(disk: &dyn Disk) -> Result<()> {
    let path = || disk.path().unwrap_or_default();
    let names =
        disk.list().map_err(|cause| Error::io("it cannot be listed", cause).file(path()))?;
    match names.into_iter().find(|(name, _)| name != "lock" && name != RESTORING) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Error::new(ErrorKind::Invalid, format!("the directory holds `{name}`"))
                .file(path())
                .advise("name an empty directory, or one that does not exist"))
        }
    }
}

/// Refuses a directory in which a restore was broken off.
///
/// # Errors
///
/// [`ErrorKind::Missing`].
pub(crate) fn unfinished(disk: &dyn Disk) -> Result<()> {
    match disk.open(RESTORING) {
        Err(_) => Ok(()),
        Ok(_) => {
            Err(Error::new(ErrorKind::Missing, "a restore into this directory was broken off")
                .file(disk.path().unwrap_or_default().join(RESTORING))
                .advise("empty the directory, and restore into it again"))
        }
    }
}
