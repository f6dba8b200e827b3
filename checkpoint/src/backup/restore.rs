//! A backup is checked, or put back.
//!
//! 1. A file that says *restoring* is there, durably. 2. Each file of the log is copied, its
//!    checksums compared, and synced. 3. The names are synced. 4. The file of step 1 goes.
//!
//! Crash before 4 is over: the directory opens as no log, and says why. Behind it: as the log after
//! a crash at the backup's end.

use super::manifest::{BLOCK, BackupFile, FileKind, Manifest};
use super::{Copying, empty, read_full, unread, unwritten};
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::format::wide;
use siding_wal::{Error, ErrorKind, Result};
use std::io;
use std::sync::Arc;

/// There while a restore runs.
pub const RESTORING: &str = "restoring";

/// Reads a file, gives each block to `take`, and compares the checksums.
fn blocks(
    file: &BackupFile,
    from: &dyn LogFile,
    told: &dyn Fn(&Copying<'_>),
    take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let (mut buf, mut at) = (AlignedBuf::zeroed(BLOCK), 0_u64);
    for crc in &file.blocks {
        let count = usize::try_from(file.len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
        let block = buf.as_mut_slice().get_mut(..count.next_multiple_of(4096)).unwrap_or_default();
        read_full(from, at, block, count).map_err(|cause| unread(&file.stored, cause))?;
        if crc32c::crc32c(block.get(..count).unwrap_or_default()) != *crc {
            let what = format!("the backup is damaged: {} bytes from {at} on", count);
            return Err(Error::new(ErrorKind::Corrupt, what)
                .file(&file.stored)
                .advise("use another backup, or another copy of this one"));
        }
        take(at, block)?;
        at = at.saturating_add(wide(count));
        told(&Copying { name: &file.name, done: at, len: file.len });
    }
    Ok(())
}

/// The checksums of a file that lies in the backup already.
pub(super) fn sums(
    name: &str,
    stored: &str,
    kind: FileKind,
    file: &dyn LogFile,
    told: &dyn Fn(&Copying<'_>),
) -> Result<BackupFile> {
    let len = file.len().map_err(|cause| unread(stored, cause))?;
    let mut sums = Vec::new();
    let (mut buf, mut at) = (AlignedBuf::zeroed(BLOCK), 0_u64);
    while at < len {
        let count = usize::try_from(len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
        let block = buf.as_mut_slice().get_mut(..count.next_multiple_of(4096)).unwrap_or_default();
        read_full(file, at, block, count).map_err(|cause| unread(stored, cause))?;
        sums.push(crc32c::crc32c(block.get(..count).unwrap_or_default()));
        at = at.saturating_add(wide(count));
        told(&Copying { name, done: at, len });
    }
    Ok(BackupFile { kind, name: name.to_owned(), stored: stored.to_owned(), len, blocks: sums })
}

fn stored(sink: &dyn Disk, file: &BackupFile) -> Result<Arc<dyn LogFile>> {
    sink.open(&file.stored).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorKind::Missing, "a file of the backup is gone")
            .file(&file.stored)
            .advise("use another backup, or another copy of this one"),
        _ => unread(&file.stored, cause),
    })
}

/// Reads a whole backup and compares its checksums. Writes nothing.
///
/// # Errors
///
/// As [`Manifest::read`]; [`ErrorKind::Missing`] or [`ErrorKind::Corrupt`] with the file's name.
pub fn verify_backup(sink: &dyn Disk, told: &dyn Fn(&Copying<'_>)) -> Result<Manifest> {
    let manifest = Manifest::read(sink)?;
    for file in &manifest.files {
        blocks(file, &*stored(sink, file)?, told, &mut |_, _| Ok(()))?;
    }
    Ok(manifest)
}

/// Puts a backup back: the log into `disk`, an empty directory, and each file of an object where
/// `target` says. The log is then opened as after a crash: redo from the recovery point, what was
/// in flight is backed out, what was in doubt is in doubt.
///
/// # Errors
///
/// As [`verify_backup`]; [`ErrorKind::Invalid`] if the directory is not empty; what a disk says.
/// Then the directory opens as no log, and says why.
///
/// # Crash
///
/// The directory opens as no log, and says why; or it is restored.
pub fn restore(
    sink: &dyn Disk,
    disk: &dyn Disk,
    target: &dyn Fn(&BackupFile) -> Result<Arc<dyn LogFile>>,
    told: &dyn Fn(&Copying<'_>),
) -> Result<Manifest> {
    let manifest = Manifest::read(sink)?;
    empty(disk)?;
    let mark = || -> io::Result<()> {
        disk.create(RESTORING)?.sync()?;
        disk.sync_dir()
    };
    mark().map_err(|cause| unwritten(disk, RESTORING, cause))?;
    for file in &manifest.files {
        let from = stored(sink, file)?;
        let written = |cause| unwritten(disk, &file.name, cause);
        let to = match file.kind {
            FileKind::Log | FileKind::Extents => disk.create(&file.name).map_err(written)?,
            FileKind::Object(_) => target(file)?,
        };
        blocks(file, &*from, told, &mut |at, block| {
            // Not a byte more than the file had.
            let rest = usize::try_from(file.len.saturating_sub(at)).unwrap_or(BLOCK);
            let block = block.get(..rest.min(block.len())).unwrap_or_default();
            to.write_at(at, &[block], false).map_err(written)
        })?;
        to.sync().map_err(written)?;
    }
    let over = || -> io::Result<()> {
        disk.sync_dir()?;
        disk.remove(RESTORING)?;
        disk.sync_dir()
    };
    over().map_err(|cause| unwritten(disk, RESTORING, cause))?;
    Ok(manifest)
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
