//! The control file, and what its slots say.

use super::{Stream, lock};
use crate::disk::{AlignedBuf, Disk, LogFile};
use crate::format::{CONTROL_SLOT_LEN, ControlSlot, SegmentHeader, slot_offset};
use crate::read::CONTROL_NAME;
use crate::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// Lower bounds that control slots, segment headers and MARK records repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Nothing below is kept.
    pub oldest: Lsn,
    /// KP_BEGIN of the last complete durable keypoint, or zero.
    pub keypoint_begin: Lsn,
    /// KP_END of the last complete durable keypoint, or zero.
    pub keypoint_end: Lsn,
    /// The redo position it carries.
    pub redo: Lsn,
}

/// The state of the control file.
#[derive(Debug)]
pub(super) struct Control {
    sequence: Option<u64>,
    unit_block: u32,
}

impl Control {
    pub(super) fn new(sequence: Option<u64>, unit_block: u32) -> Self {
        let before = u32::from(crate::seeded!(UnitBlockUnsynced));
        Self { sequence, unit_block: unit_block.saturating_sub(before) }
    }
}

impl Stream {
    /// Writes the next control slot and syncs it.
    ///
    /// # Errors
    ///
    /// What the disk says; then the log has failed.
    pub fn write_control(&self, clean: bool) -> Result<()> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let mut control = lock(&self.control);
        let result = self.put_slot(&mut control, clean);
        drop(control);
        result.map_err(|error| {
            let error = error.file(CONTROL_NAME).advise("the log is failed; open it again");
            self.fail(error.duplicate());
            error
        })
    }

    fn put_slot(&self, control: &mut Control, clean: bool) -> Result<()> {
        let what = "the control file cannot be written";
        let io = |cause| Error::io(what, cause);
        let file = match control.sequence {
            Some(_) => self.disk.open(CONTROL_NAME).map_err(io)?,
            None => create_control(&*self.disk)?,
        };
        let sequence = control.sequence.map_or(0, |sequence| sequence.saturating_add(1));
        let settings = &self.settings;
        let bounds = self.bounds();
        let slot = ControlSlot {
            sequence,
            log_id: settings.log_id,
            path_id: settings.path_id,
            discipline: settings.discipline,
            clean,
            incarnation: settings.incarnation,
            epoch: settings.epoch,
            write_unit: settings.write_unit,
            segment_size: settings.segment_size,
            unit_block: control.unit_block,
            oldest: bounds.oldest,
            keypoint_begin: bounds.keypoint_begin,
            keypoint_end: bounds.keypoint_end,
            durable: self.core().writer.durable(),
            written_ms: self.clock.wall_ms(),
        };
        write_slot(&*file, &slot)?;
        control.sequence = Some(sequence);
        Ok(())
    }

    /// Takes the next block of unit ids, durably.
    pub(super) fn next_block(&self, used: u32) -> Result<()> {
        {
            let mut control = lock(&self.control);
            if control.unit_block == used {
                control.unit_block = next_block(used)?;
            }
        }
        self.write_control(false)?;
        let block = lock(&self.control).unit_block;
        self.core().use_block(block);
        Ok(())
    }

    /// The block that unit ids are taken from.
    #[must_use]
    pub fn unit_block(&self) -> u32 {
        lock(&self.control).unit_block
    }

    /// The header of a segment that is opened now.
    pub(super) fn segment_header(&self, number: u64, end: Lsn, digest: u32) -> SegmentHeader {
        let (settings, bounds) = (&self.settings, self.bounds());
        SegmentHeader {
            compatible: 0,
            incompatible: 0,
            log_id: settings.log_id,
            path_id: settings.path_id,
            discipline: settings.discipline,
            incarnation: settings.incarnation,
            epoch: settings.epoch,
            write_unit: settings.write_unit,
            segment_size: settings.segment_size,
            number,
            kept_end: end,
            kept_digest: digest,
            oldest: bounds.oldest,
            keypoint_begin: bounds.keypoint_begin,
            keypoint_end: bounds.keypoint_end,
            unit_block: self.unit_block(),
            created_ms: self.clock.wall_ms(),
        }
    }
}

/// Blocks of unit ids; the rest of the 64 bits counts within a block.
const BLOCKS: u32 = 1 << 24;

/// The block of unit ids behind `used`.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if there is none: the ids of an earlier block are never given again.
pub fn next_block(used: u32) -> Result<u32> {
    let next = used.checked_add(1).filter(|next| *next < BLOCKS);
    next.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "no block of unit ids is left: the log was opened too often")
            .advise("create a new log, and move the data there")
    })
}

/// Creates the control file, empty. Durable with the first slot and a sync of the directory.
///
/// # Errors
///
/// What the disk says.
pub fn create_control(disk: &dyn Disk) -> Result<Arc<dyn LogFile>> {
    let io = |cause| Error::io("the control file cannot be created", cause).file(CONTROL_NAME);
    let file = match disk.create(CONTROL_NAME) {
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => disk.open(CONTROL_NAME),
        other => other,
    }
    .map_err(io)?;
    let zeros = AlignedBuf::zeroed(crate::format::CONTROL_LEN);
    file.write_at(0, &[zeros.as_slice()], false).map_err(io)?;
    file.sync().map_err(io)?;
    disk.sync_dir().map_err(io)?;
    Ok(file)
}

/// Writes one slot where it belongs, durably.
///
/// # Errors
///
/// What the disk says.
pub fn write_slot(file: &dyn LogFile, slot: &ControlSlot) -> Result<()> {
    let mut block = AlignedBuf::zeroed(4096);
    if let Some(front) = block.as_mut_slice().get_mut(..CONTROL_SLOT_LEN) {
        front.copy_from_slice(&slot.encode());
    }
    let offset = slot_offset(slot.sequence);
    file.write_at(offset, &[block.as_slice()], true)
        .map_err(|cause| Error::io("the control file cannot be written", cause))
}
