//! A repair is done, step by step; see the module above for the steps and what a crash leaves.

use super::look::from;
use super::{Copies, Cut, Diagnosis, Mend, Take};
use crate::backup::Copying;
use siding_wal::disk::{AlignedBuf, Disk, LockError, LogFile};
use siding_wal::format::{ControlSlot, extent_file_name, segment_file_name, wide};
use siding_wal::read::CONTROL_NAME;
use siding_wal::stream::{create_control, write_slot};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::io;
use std::sync::Arc;

/// A file's name while it is put back.
const NEW: &str = "repair.new";

/// Bytes of a write.
const BLOCK: usize = 1 << 20;

/// Where a repair happens.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    disk: &'a dyn Disk,
    secondary: &'a dyn Disk,
}

/// Does what a diagnosis says; its cut only if `cut`. What is changed is copied to `aside` first, a
/// directory of its own: names there that are taken already stay, and get company under another
/// name.
///
/// # Errors
///
/// [`ErrorKind::Locked`] if somebody has the log open, [`ErrorKind::Invalid`] if it must be cut and
/// may not be: then nothing was written; what a disk or the archive says.
///
/// # Crash
///
/// The log is refused as before, or as one that was cut short; or it is mended. What was changed is
/// aside.
pub fn mend(
    diagnosis: &Diagnosis,
    (disk, secondary): (&dyn Disk, &dyn Disk),
    aside: &dyn Disk,
    copies: &Copies<'_>,
    cut: bool,
    told: &dyn Fn(&Copying<'_>),
) -> Result<()> {
    if let Some(needed) = diagnosis.cut().filter(|_| !cut) {
        let what = format!(
            "the log has to be cut at LSN {}, and {} bytes that were durable are lost with it",
            needed.at.end, needed.loses
        );
        return Err(Error::new(ErrorKind::Invalid, what).at(needed.at.end).advise(
            "name an archive that has more, or ask for the cut; what is cut is kept aside",
        ));
    }
    let _lock = disk.lock().map_err(|cause| match cause {
        LockError::Held { .. } => Error::new(ErrorKind::Locked, "somebody has the log open"),
        LockError::Io(cause) => Error::io("the directory cannot be locked", cause),
    })?;
    if diagnosis.steps.is_empty() {
        return Ok(());
    }
    let place = Place { disk, secondary };
    for (name, of_secondary) in diagnosis.changes() {
        place.set_aside(&name, of_secondary, aside, told)?;
    }
    place.set_aside(CONTROL_NAME, false, aside, told)?;
    aside.sync_dir().map_err(|cause| unwritten(aside, "", cause))?;
    let slot = place.incarnation(diagnosis)?;
    for step in &diagnosis.steps {
        match step {
            Mend::Segment { number, copy, keeps_rest } => {
                let Some(index) = copies.segments.get(*copy) else { continue };
                let name = segment_file_name(*number);
                let fill = |take: &mut Take<'_>| (copies.segment)(index, take);
                let rest = keeps_rest.then_some(index.plain.len);
                place.put_back(disk, &name, &fill, rest, index.segment_size, told)?;
            }
            Mend::Extents { number, copy } => {
                let Some((_, _, len)) = copies.extents.get(*copy) else { continue };
                let name = extent_file_name(*number);
                let fill = |take: &mut Take<'_>| (copies.extent)(*copy, take);
                place.put_back(secondary, &name, &fill, Some(*len), 0, told)?;
            }
            Mend::Cut(at) => place.cut(at, &slot)?,
        }
    }
    Ok(())
}

fn unwritten(disk: &dyn Disk, name: &str, cause: io::Error) -> Error {
    Error::io("the repair cannot be written", cause)
        .file(disk.path().unwrap_or_default().join(name))
        .advise("nothing is lost: make room, and repair it again")
}

impl Place<'_> {
    /// Step 1 for a file, if it is there.
    fn set_aside(
        self,
        name: &str,
        of_secondary: bool,
        aside: &dyn Disk,
        told: &dyn Fn(&Copying<'_>),
    ) -> Result<()> {
        let from_disk = if of_secondary { self.secondary } else { self.disk };
        let Ok(file) = from_disk.open(name) else { return Ok(()) };
        let len = file.len().unwrap_or(0);
        let (to, name_there) = fresh(aside, name)?;
        let failed = |cause| unwritten(aside, &name_there, cause);
        let mut out = Writing::new(&*to);
        // A device that does not give it back gives nothing to keep.
        let mut broken = None;
        let read = from(&*file, 0, &mut |block| {
            if let Err(cause) = out.add(block) {
                broken = Some(cause);
                return Err(Error::new(ErrorKind::Io, "stop"));
            }
            told(&Copying { name, done: out.at.min(len), len });
            Ok(())
        });
        if let Some(cause) = broken {
            return Err(failed(cause));
        }
        // Nor does one that stops half way.
        let _ = read;
        out.end(len.min(out.end_at())).map_err(failed)
    }

    /// Step 2. Returns the slot.
    fn incarnation(self, diagnosis: &Diagnosis) -> Result<ControlSlot> {
        let mut slot = diagnosis.slot.clone();
        slot.clean = false;
        let file = match diagnosis.control {
            true => {
                slot.sequence = slot.sequence.saturating_add(1);
                let opened = self.disk.open(CONTROL_NAME);
                opened.map_err(|cause| unwritten(self.disk, CONTROL_NAME, cause))?
            }
            false => create_control(self.disk)?,
        };
        write_slot(&*file, &slot)?;
        Ok(slot)
    }

    /// Step 3 for a file: what `fill` gives, and, if `rest` says so, what stands here from there
    /// on; then zeros up to `size`.
    fn put_back(
        self,
        disk: &dyn Disk,
        name: &str,
        fill: &dyn Fn(&mut Take<'_>) -> Result<()>,
        rest: Option<u64>,
        size: u64,
        told: &dyn Fn(&Copying<'_>),
    ) -> Result<()> {
        let failed = |cause| unwritten(disk, name, cause);
        match disk.remove(NEW) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        let file = disk.create(NEW).map_err(failed)?;
        let mut out = Writing::new(&*file);
        let mut broken = None;
        let mut add = |block: &[u8]| {
            if let Err(cause) = out.add(block) {
                broken = Some(cause);
                return Err(Error::new(ErrorKind::Io, "the repair cannot be written"));
            }
            told(&Copying { name, done: out.at, len: size.max(out.at) });
            Ok(())
        };
        let filled = fill(&mut add);
        if let (Ok(()), Some(at), Ok(old)) = (&filled, rest, disk.open(name)) {
            // What cannot be read of it is not there.
            let _ = from(&*old, at, &mut add);
        }
        if let Some(cause) = broken {
            return Err(failed(cause));
        }
        filled?;
        let end = out.end_at();
        while out.end_at() < size {
            let gap = usize::try_from(size.saturating_sub(out.end_at())).unwrap_or(BLOCK);
            out.add(&vec![0; gap.min(BLOCK)]).map_err(failed)?;
        }
        out.end(end.max(size)).map_err(failed)?;
        disk.rename(NEW, name).map_err(failed)?;
        disk.sync_dir().map_err(failed)
    }

    /// Steps 4 to 6.
    fn cut(self, cut: &Cut, slot: &ControlSlot) -> Result<()> {
        let disk = self.disk;
        for number in cut.drops.iter().rev() {
            let name = segment_file_name(*number);
            match disk.remove(&name) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(unwritten(disk, &name, cause));
                }
                _ => {}
            }
        }
        disk.sync_dir().map_err(|cause| unwritten(disk, "", cause))?;
        let name = segment_file_name(cut.segment);
        let failed = |cause| unwritten(disk, &name, cause);
        let first = Lsn::new(cut.segment.saturating_mul(slot.segment_size));
        let file = disk.open(&name).map_err(failed)?;
        let (mut at, len) = (cut.at.end.since(first), slot.segment_size);
        let zeros = AlignedBuf::zeroed(BLOCK);
        while at < len {
            let count = usize::try_from(len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
            let some = zeros.as_slice().get(..count).unwrap_or_default();
            file.write_at(at, &[some], false).map_err(failed)?;
            at = at.saturating_add(wide(count));
        }
        file.sync().map_err(failed)?;
        let mut slot = slot.clone();
        slot.sequence = slot.sequence.saturating_add(1);
        slot.durable = cut.at.end;
        if slot.keypoint_end >= cut.at.end {
            // The scan finds the last one that is left.
            (slot.keypoint_begin, slot.keypoint_end) = (Lsn::ZERO, Lsn::ZERO);
        }
        let control =
            disk.open(CONTROL_NAME).map_err(|cause| unwritten(disk, CONTROL_NAME, cause))?;
        write_slot(&*control, &slot)?;
        // The older slot says more than there is.
        slot.sequence = slot.sequence.saturating_add(1);
        write_slot(&*control, &slot)
    }
}

/// A file under this name, or under this name with a number.
fn fresh(aside: &dyn Disk, name: &str) -> Result<(Arc<dyn LogFile>, String)> {
    for count in 0_u32..1_000 {
        let name = if count == 0 { name.to_owned() } else { format!("{name}.{count}") };
        match aside.create(&name) {
            Ok(file) => return Ok((file, name)),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(unwritten(aside, &name, cause)),
        }
    }
    Err(Error::new(ErrorKind::Invalid, format!("`{name}` was set aside too often"))
        .advise("name another directory to keep what is changed"))
}

/// Writes a file from its start on, in whole blocks.
struct Writing<'a> {
    file: &'a dyn LogFile,
    buf: AlignedBuf,
    filled: usize,
    /// Where the buffer goes.
    at: u64,
}

impl<'a> Writing<'a> {
    fn new(file: &'a dyn LogFile) -> Self {
        Self { file, buf: AlignedBuf::zeroed(BLOCK), filled: 0, at: 0 }
    }

    fn end_at(&self) -> u64 {
        self.at.saturating_add(wide(self.filled))
    }

    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK.saturating_sub(self.filled)));
            let upto = self.filled.saturating_add(now.len());
            if let Some(room) = self.buf.as_mut_slice().get_mut(self.filled..upto) {
                room.copy_from_slice(now);
            }
            self.filled = upto;
            if self.filled == BLOCK {
                self.flush()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let whole = self.filled.next_multiple_of(4096);
        if let Some(padding) = self.buf.as_mut_slice().get_mut(self.filled..whole) {
            padding.fill(0);
        }
        let block = self.buf.as_slice().get(..whole).unwrap_or_default();
        if !block.is_empty() {
            self.file.write_at(self.at, &[block], false)?;
        }
        self.at = self.end_at();
        self.filled = 0;
        Ok(())
    }

    /// Writes the last block, and syncs the file, `len` bytes long.
    fn end(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.file.cut(len)?;
        self.file.sync()
    }
}
