//! A backup is checked without being put back: every byte that a restore of it would read.
//!
//! The plan of a restore to its end proves that its log is there without a gap, of its history, and
//! that what it goes on from is there; then each file and each piece of log is read, its checksums
//! compared, and of the log every batch and record verified.

use super::Copying;
use super::manifest::{BLOCK, BackupFile, Manifest};
use crate::archive::{Inventory, Sums, verify_segment};
use crate::restore::{BackupId, Plan, Target, Wanted, plan};
use crate::sink::Sink;
use siding_wal::format::wide;
use siding_wal::{Error, ErrorKind, Result};
use std::io;

/// All that a sink has to restore from, and the backup that is meant, the newest if none is named.
fn find(sink: &dyn Sink, id: Option<BackupId>) -> Result<(Manifest, Plan)> {
    let found = Inventory::of(sink)?;
    let manifest = match id {
        Some(id) => Manifest::read(sink, id)?,
        None => match found.backups.last() {
            Some((_, manifest)) => manifest.clone(),
            None => return Err(none(sink, &found)),
        },
    };
    let wanted =
        Wanted { backup: Some(manifest.id), ..Wanted::from(Target::BackupEnd(Some(manifest.id))) };
    let plan = plan(&found.into(), &wanted)?;
    Ok((manifest, plan))
}

fn none(sink: &dyn Sink, found: &Inventory) -> Error {
    if let Some((name, what)) = found.damaged.iter().find(|(name, _)| name.ends_with(".manifest")) {
        return Error::new(ErrorKind::Corrupt, format!("the only backup cannot be read: {what}"))
            .file(name);
    }
    Error::new(ErrorKind::NotFound, "there is no complete backup")
        .file(sink.place())
        .advise("a backup that was broken off has no manifest, and restores nothing")
}

/// Reads something of `sums.len` bytes, gives each block to `take`, and compares the checksums.
pub(crate) fn blocks(
    sink: &dyn Sink,
    stored: &str,
    (name, sums): (&str, &Sums),
    told: &dyn Fn(&Copying<'_>),
    take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let damaged = |what: String| {
        Error::new(ErrorKind::Corrupt, format!("the backup is damaged: {what}"))
            .file(stored)
            .advise("use another backup, or another copy of this one")
    };
    let unread = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorKind::Missing, "a file of the backup is gone")
            .file(stored)
            .advise("use another backup, or another copy of this one"),
        _ => Error::io("a file of the backup cannot be read", cause).file(stored),
    };
    let from = sink.open(stored).map_err(unread)?;
    if from.len().map_err(unread)? != sums.len {
        return Err(damaged(format!("it should have {} bytes", sums.len)));
    }
    let (mut buf, mut at) = (vec![0; BLOCK], 0_u64);
    for crc in &sums.blocks {
        let count = usize::try_from(sums.len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
        let block = buf.get_mut(..count).unwrap_or_default();
        if from.read_at(at, block).map_err(unread)? != count || crc32c::crc32c(block) != *crc {
            return Err(damaged(format!("{count} bytes from {at} on")));
        }
        take(at, block)?;
        at = at.saturating_add(wide(count));
        told(&Copying { name, done: at, len: sums.len });
    }
    Ok(())
}

impl BackupFile {
    pub(crate) fn sums(&self) -> Sums {
        Sums { len: self.len, blocks: self.blocks.clone() }
    }
}

/// Reads all that a restore to the end of a backup would read, and proves it whole: of that with
/// this number, or of the newest. Writes nothing.
///
/// Costs a read of its objects and extents, of its log from the floor to the end, and of what it
/// goes on from.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is no such backup, complete; [`ErrorKind::Missing`] or
/// [`ErrorKind::Corrupt`] with the file's name; why it cannot be restored.
pub fn verify_backup(
    sink: &dyn Sink,
    id: Option<BackupId>,
    told: &dyn Fn(&Copying<'_>),
) -> Result<Manifest> {
    let (manifest, plan) = find(sink, id)?;
    let mut chain = vec![manifest.clone()];
    while let Some(parent) = chain.last().and_then(|it| it.parent) {
        chain.push(Manifest::read(sink, parent)?);
    }
    for manifest in &chain {
        files(sink, manifest, told)?;
    }
    for part in &plan.log {
        let index = &part.piece.index;
        verify_segment(sink, index)?;
        let (name, len) = (index.segment_name(), index.plain.len);
        told(&Copying { name: &name, done: len, len });
    }
    Ok(manifest)
}

fn files(sink: &dyn Sink, manifest: &Manifest, told: &dyn Fn(&Copying<'_>)) -> Result<()> {
    for file in &manifest.files {
        let sums = file.sums();
        blocks(sink, &file.stored, (&file.name, &sums), told, &mut |_, _| Ok(()))?;
    }
    Ok(())
}

/// Reads the objects and extents of a backup, and compares their checksums.
pub(crate) fn verify_files(sink: &dyn Sink, manifest: &Manifest) -> Result<()> {
    files(sink, manifest, &|_| {})
}
