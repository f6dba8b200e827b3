//! A plan carried out: log, extents and objects, from a sink to where they belong.
//!
//! The steps are those of a log that is put together; objects come when the log is there, and then
//! what the caller does with it. Every byte is compared with the checksum that was made when it
//! was put. Crash before the mark of the restore goes: the directory opens as no log, and says why.

use super::log::{Given, LogParts, RestoredLog, Taken, restore_log_to};
use super::plan::Plan;
use super::plan::{Seen, Wanted, plan};
use super::{Piece, Source};
use crate::archive::{Inventory, read_segment};
use crate::backup::{BackupFile, Copying, Manifest, blocks};
use crate::sink::Sink;
use siding_wal::disk::{ALIGNMENT, AlignedBuf, Disk, LogFile};
use siding_wal::{Error, Result};
use std::sync::Arc;

impl From<Inventory> for Seen {
    fn from(found: Inventory) -> Self {
        let pieces = found.segments.into_iter();
        Self {
            backups: found.backups.into_iter().map(|(_, manifest)| manifest).collect(),
            pieces: pieces.map(|index| Piece { index, source: Source::Archive }).collect(),
        }
    }
}

/// Makes the plan of a restore from all that a sink holds. Writes nothing.
///
/// Costs a read of its manifests and indexes.
///
/// # Errors
///
/// The sink cannot be listed; why there is no plan, with what can be reached.
pub fn plan_restore(sink: &dyn Sink, wanted: &Wanted) -> Result<Plan> {
    Ok(plan(&Inventory::of(sink)?.into(), wanted)?)
}

/// Says where a file of an object goes; none: it is not wanted.
pub type Targets<'a> = dyn Fn(&BackupFile) -> Result<Option<Arc<dyn LogFile>>> + 'a;

/// Carries a plan out: the log into `disk`, an empty directory or one in which a restore was broken
/// off; each file of an object where `target` says, to the byte. `last` is called with the backup's
/// manifest when all is there, and nobody else can open the log yet.
///
/// Costs one read of all that the plan names, a write of it, and another read of the log.
///
/// # Errors
///
/// As [`restore_log_to`]; [`Missing`](siding_wal::ErrorKind::Missing) or
/// [`Corrupt`](siding_wal::ErrorKind::Corrupt) with the file's name; what the sink says.
///
/// # Crash
///
/// The directory opens as no log, and says why; or all is restored.
pub fn restore(
    sink: &dyn Sink,
    plan: &Plan,
    disk: &dyn Disk,
    target: &Targets<'_>,
    told: &dyn Fn(&Copying<'_>),
    last: &mut dyn FnMut(&Manifest) -> Result<()>,
) -> Result<RestoredLog> {
    let manifest = Manifest::read(sink, plan.backup)?;
    let segments = |number: u64| {
        let part = plan.log.iter().find(|part| part.piece.index.number == number)?;
        let index = &part.piece.index;
        let give = move |take: &mut Taken<'_>| read_segment(sink, index, take);
        Some(Given { len: index.plain.len, give: Box::new(give) })
    };
    let extents = plan.extents.iter().map(|file| {
        let give = move |take: &mut Taken<'_>| {
            let named = (file.name.as_str(), &file.sums());
            blocks(sink, &file.stored, named, &|_| {}, &mut |_, block| take(block))
        };
        (file.name.clone(), Given { len: file.len, give: Box::new(give) })
    });
    let parts = LogParts {
        manifest: &manifest,
        segments: &segments,
        extents: extents.collect(),
        incarnation: plan.incarnation,
    };
    restore_log_to(parts, disk, plan.target, told, &mut || {
        for file in &plan.objects {
            if let Some(to) = target(file)? {
                put_back(sink, file, &*to, told)?;
            }
        }
        last(&manifest)
    })
}

/// A file of an object, to the byte, durably.
fn put_back(
    sink: &dyn Sink,
    file: &BackupFile,
    to: &dyn LogFile,
    told: &dyn Fn(&Copying<'_>),
) -> Result<()> {
    let unwritten = |cause| {
        Error::io("a file cannot be put back", cause)
            .file(&file.name)
            .advise("make room, and restore again")
    };
    let mut buf = AlignedBuf::default();
    let named = (file.name.as_str(), &file.sums());
    blocks(sink, &file.stored, named, told, &mut |at, block| {
        // Disks take whole units; what is too much is cut off at the end.
        buf.clear();
        buf.extend_from_slice(block);
        buf.resize(block.len().next_multiple_of(ALIGNMENT));
        to.write_at(at, &[buf.as_slice()], false).map_err(unwritten)
    })?;
    to.cut(file.len).map_err(unwritten)?;
    to.sync().map_err(unwritten)
}
