//! A segment without a valid header: was it ever in use, or only about to be?

use super::batch::verify;
use super::window::Window;
use crate::Lsn;
use crate::disk::LogFile;
use crate::format::{BatchHeader, LogId, Seed, size, wide};
use std::io;
use std::sync::Arc;

/// The smallest write unit; headers of batches stand at multiples of it.
const STEP: usize = 512;

/// Bytes of the magic that a header starts with.
const MAGIC_LEN: usize = 8;

/// What stands behind a header that is not valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orphan {
    /// Whether the segment was in use: its first batch is whole, or a batch in it says that one
    /// before it was durable.
    pub(super) used: bool,
    /// The largest incarnation among the headers of batches in it.
    pub(super) incarnation: u32,
    /// Whether there is anything but zeros.
    pub(super) written: bool,
    /// Whether a header was ever begun here: its first bytes are not all zeros.
    pub(super) begun: bool,
}

/// Looks through the file of segment `number` for batches of the log `id`.
///
/// An unfinished write may have left batches here that were never acknowledged: a header is made
/// durable before the first batch is written, and written again, over what such batches left,
/// only if none of them was whole in its place (the segment is then *taken again*). So a batch
/// alone proves nothing; one that was durable does.
pub(super) fn examine(
    file: &Arc<dyn LogFile>,
    id: Option<&LogId>,
    number: u64,
    segment_size: u64,
) -> io::Result<Orphan> {
    let mut window = Window::new();
    let mut orphan = Orphan::default();
    let first = number.saturating_mul(segment_size);
    let len = file.len()?;
    let magic = window.read((number, file), 0, MAGIC_LEN, u64::MAX)?;
    orphan.begun = magic.iter().any(|byte| *byte != 0);
    let mut offset = wide(STEP);
    while offset < len {
        let bytes = window.read((number, file), offset, STEP, u64::MAX)?;
        orphan.written |= bytes.iter().any(|byte| *byte != 0);
        if let Some(header) = id.and_then(|id| BatchHeader::decode(bytes, id).ok()) {
            let position = Lsn::new(first.saturating_add(offset));
            orphan.incarnation = orphan.incarnation.max(header.incarnation);
            if header.lsn == position {
                orphan.used |= proves(&header, first, segment_size);
                if may_be_first(offset, segment_size) && !orphan.used {
                    let bytes = window.read((number, file), offset, size(header.len), u64::MAX)?;
                    let id = id.copied().unwrap_or_default();
                    let seed = Seed::new(&id, header.incarnation);
                    orphan.used |= verify(bytes, &header, seed).is_ok();
                }
            }
        }
        offset = offset.saturating_add(wide(STEP));
    }
    Ok(orphan)
}

/// Whether a first batch may stand at this offset: one write unit in, whatever that was.
fn may_be_first(offset: u64, segment_size: u64) -> bool {
    offset.is_power_of_two() && offset <= segment_size / 2
}

/// Whether the batch was formed when one before it in this segment was durable.
fn proves(header: &BatchHeader, first: u64, segment_size: u64) -> bool {
    let durable = header.durable_before.since(Lsn::new(first));
    // Up to the first batch, wherever that stood, nothing but the segment's header is durable.
    durable > wide(STEP) && !may_be_first(durable, segment_size)
}
