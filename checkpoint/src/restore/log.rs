//! A log put together from the log of a backup and log that was written behind it, up to a
//! position.
//!
//! First the whole log from the backup's floor to the position is read and verified: a gap, damage
//! or a position at which no record begins or ends refuses the restore before anything is written.
//! Then:
//!
//! 1. The file `restoring`, durably. 2. The segments, the last one cut at the position, each
//!    synced. 3. The extents of the backup, each synced. 4. The note `restored`, synced. 5. A
//!    control file that names the keypoint which stopped the backup. 6. The directory is synced.
//!    7. The file of step 1 goes, durably.
//!
//! Crash before 7 is over: the directory opens as no log, and says why. Behind it: as the log after
//! a crash at the position, with an incarnation above all that were seen. Where the files come from
//! is the caller's business.

use super::cut::{self, Kept, Uncut};
use super::note;
use crate::backup::{Copying, Manifest, RESTORING};
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::format::{
    ControlSlot, HEADER_LEN, RestoredNote, SegmentHeader, segment_file_name, size, wide,
};
use siding_wal::read::{Forward, Segment, Segments, Step};
use siding_wal::stream::{create_control, write_slot};
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};
use std::io;
use std::sync::Arc;

/// Bytes that are copied at once.
const BLOCK: usize = 1 << 20;

/// What a log is put together from.
pub struct LogParts<'a> {
    /// The backup.
    pub manifest: &'a Manifest,
    /// A segment by its number: from its start to the end of a batch at least, as one history.
    /// Asked for those from the backup's floor to the position, none below.
    pub segments: &'a dyn Fn(u64) -> Result<Option<Arc<dyn LogFile>>>,
    /// The backup's extent files, by name.
    pub extents: Vec<(String, Arc<dyn LogFile>)>,
    /// The highest incarnation seen anywhere: in the backup, the archive, what the log was.
    pub incarnation: u32,
}

impl std::fmt::Debug for LogParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogParts").field("manifest", self.manifest).finish_non_exhaustive()
    }
}

/// A log that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredLog {
    /// All records that end at or below this are in it, and no other.
    pub to: Lsn,
    /// Where what was copied ends: behind the batch.
    pub end: Lsn,
    /// Segments.
    pub segments: u64,
    /// Forward recovery of the backup's objects starts here.
    pub recovery_point: Lsn,
}

/// Where the log is to be cut.
struct Place {
    /// Where whole batches end.
    whole: Lsn,
    /// What is kept of the batch there.
    kept: Option<Kept>,
}

impl Place {
    fn end(&self) -> Lsn {
        self.kept.as_ref().map_or(self.whole, |kept| kept.end)
    }
}

/// Puts the log up to `to` together in `disk`, an empty directory. Then it opens as after a crash
/// at that position.
///
/// Costs two reads of the log from the backup's floor to `to`, one of its extents, and a write of
/// both.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] below the end of the backup, where no record begins or ends, or if the
/// directory is not empty; [`ErrorKind::Missing`] if a segment is not there, or the log ends below
/// `to`; what is wrong with what was read; what a disk says. What is refused before a byte was
/// written leaves the directory empty; else it opens as no log, and says why.
///
/// # Crash
///
/// The directory opens as no log, and says why; or all is restored.
pub fn restore_log_to(
    parts: &LogParts<'_>,
    disk: &dyn Disk,
    to: Lsn,
    told: &dyn Fn(&Copying<'_>),
) -> Result<RestoredLog> {
    let manifest = parts.manifest;
    if to < manifest.end && !seeded!(TargetBeforeStop) {
        let what = format!("the position lies below the end of the backup ({})", manifest.end);
        return Err(Error::new(ErrorKind::Invalid, what)
            .at(to)
            .advise("use an older backup, or a position from there on"));
    }
    crate::backup::empty(disk)?;
    let segments = gather(parts, to)?;
    let place = find(parts, &segments, to)?;
    let written = |name: &str, cause| unwritten(disk, name, cause);
    crate::backup::mark(disk).map_err(|cause| written(RESTORING, cause))?;
    let count = put_segments(&segments, &place, disk, told)?;
    for (name, file) in &parts.extents {
        let len = file.len().map_err(|cause| unread(name, cause))?;
        let to = disk.create(name).map_err(|cause| written(name, cause))?;
        let copy = Copy { name, from: &**file, to: &*to, disk };
        copy.run(len, len, told)?;
        to.sync().map_err(|cause| written(name, cause))?;
    }
    let note = RestoredNote {
        log_id: manifest.log_id,
        backup_id: manifest.id,
        keypoint_begin: parts.manifest.control.keypoint_begin,
        keypoint_end: parts.manifest.control.keypoint_end,
        target: place.end(),
        redo: manifest.recovery_point,
        incarnation: parts.incarnation,
    };
    note::write(disk, &note).map_err(|cause| written(note::NAME, cause))?;
    let floor = segments.number_of(manifest.floor);
    let slot = ControlSlot {
        clean: false,
        incarnation: parts.incarnation.max(parts.manifest.control.incarnation),
        oldest: segments.first_lsn(floor),
        durable: place.end(),
        ..parts.manifest.control.clone()
    };
    write_slot(&*create_control(disk)?, &slot)?;
    let over = || -> io::Result<()> {
        disk.sync_dir()?;
        disk.remove(RESTORING)?;
        disk.sync_dir()
    };
    over().map_err(|cause| written(RESTORING, cause))?;
    let (end, recovery_point) = (place.end(), manifest.recovery_point);
    Ok(RestoredLog { to, end, segments: count, recovery_point })
}

/// The segments from the backup's floor to `to`.
fn gather(parts: &LogParts<'_>, to: Lsn) -> Result<Segments> {
    let mut segments = Segments::new(parts.manifest.log_id, parts.manifest.control.segment_size);
    let first = segments.number_of(parts.manifest.floor);
    let last = segments.number_of(Lsn::new(to.get().saturating_sub(1)));
    for number in first..=last {
        let name = segment_file_name(number);
        let Some(file) = (parts.segments)(number)? else {
            // To its start, or to where its first batch would stand, needs none of it.
            let start = segments.first_lsn(number);
            if number == last && to.since(start) <= u64::from(parts.manifest.control.write_unit) {
                break;
            }
            let what =
                format!("segment {number:016x} is needed, and is not there: gap from {start}");
            return Err(Error::new(ErrorKind::Missing, what)
                .at(start)
                .file(name)
                .advise("find the segment, or restore to a position below it"));
        };
        let mut block = AlignedBuf::zeroed(4096);
        read_full(&*file, 0, block.as_mut_slice(), HEADER_LEN)
            .map_err(|cause| unread(&name, cause))?;
        let header = SegmentHeader::decode(block.as_slice()).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "the header of a segment is damaged").file(&name)
        })?;
        let ours = header.log_id == parts.manifest.log_id
            && header.number == number
            && header.segment_size == parts.manifest.control.segment_size;
        if !ours {
            let what = "the segment is not of this log, or is another one";
            return Err(Error::new(ErrorKind::ForeignFile, what).file(&name));
        }
        segments.insert(Segment { number, header, file });
    }
    Ok(segments)
}

/// Reads the whole log, and finds where it is to be cut.
fn find(parts: &LogParts<'_>, segments: &Segments, to: Lsn) -> Result<Place> {
    let no_boundary = || {
        let what = "no record begins or ends at the position";
        Error::new(ErrorKind::Invalid, what)
            .at(to)
            .advise("name a position that a commit, a label or `dump` gave")
    };
    let mut scan = Forward::from_segment(segments, segments.number_of(parts.manifest.floor))?;
    loop {
        let whole = scan.position();
        if whole == to {
            return Ok(Place { whole, kept: None });
        }
        let batch = match scan.next_batch()? {
            Step::Batch(batch) => batch,
            Step::Limit => return Err(no_boundary()),
            Step::End(verdict) => {
                let start = segments.first_lsn(segments.number_of(to));
                if whole <= start && to.since(start) <= u64::from(parts.manifest.control.write_unit)
                {
                    return Ok(Place { whole, kept: None });
                }
                return Err(verdict.refusal().unwrap_or_else(|| {
                    Error::new(ErrorKind::Missing, format!("the log that is there ends at {whole}"))
                        .at(to)
                        .advise("find the log behind it, or restore to a position up to there")
                }));
            }
        };
        let Some(segment) = segments.containing(batch.lsn) else { return Err(no_boundary()) };
        let unit = segment.header.write_unit;
        if batch.next(unit) <= to {
            continue;
        }
        if to <= batch.lsn {
            // Behind the last batch of the segment before, or in this one's header.
            let header = to == batch.lsn || to == segment.header.first_lsn();
            return if header { Ok(Place { whole, kept: None }) } else { Err(no_boundary()) };
        }
        let mut bytes = AlignedBuf::zeroed(size(batch.len).next_multiple_of(4096));
        let offset = segment.offset_of(batch.lsn);
        read_full(&*segment.file, offset, bytes.as_mut_slice(), size(batch.len))
            .map_err(|cause| unread(&segment_file_name(segment.number), cause))?;
        return match cut::batch(bytes.as_slice(), segments.id(), unit, to) {
            Ok(kept) => Ok(Place { whole: batch.lsn, kept: Some(kept) }),
            Err(Uncut::Nothing) => Ok(Place { whole, kept: None }),
            Err(Uncut::Whole) => Ok(Place { whole: batch.next(unit), kept: None }),
            Err(Uncut::NoBoundary | Uncut::Malformed) => Err(no_boundary()),
        };
    }
}

/// Copies the segments up to the place, with zeros behind what is kept of each. Returns how many.
fn put_segments(
    segments: &Segments,
    place: &Place,
    disk: &dyn Disk,
    told: &dyn Fn(&Copying<'_>),
) -> Result<u64> {
    let last = segments.number_of(Lsn::new(place.end().get().saturating_sub(1)));
    let mut count = 0;
    for segment in segments.iter().filter(|segment| segment.number <= last) {
        let name = segment_file_name(segment.number);
        let written = |cause| unwritten(disk, &name, cause);
        let to = disk.create(&name).map_err(written)?;
        let keep = match segments.kept_end_of(segment.number) {
            Some(kept) if segment.number < last => kept,
            _ => place.whole,
        };
        let copy = Copy { name: &name, from: &*segment.file, to: &*to, disk };
        copy.run(segment.offset_of(keep), segments.size(), told)?;
        if let Some(kept) = place.kept.as_ref().filter(|_| segment.number == last) {
            let bytes = AlignedBuf::from(&kept.bytes[..]);
            let offset = segment.offset_of(place.whole);
            to.write_at(offset, &[bytes.as_slice()], false).map_err(written)?;
        }
        to.sync().map_err(written)?;
        count += 1;
    }
    Ok(count)
}

/// A file on its way.
struct Copy<'a> {
    name: &'a str,
    from: &'a dyn LogFile,
    to: &'a dyn LogFile,
    disk: &'a dyn Disk,
}

impl Copy<'_> {
    /// Copies `keep` bytes, and zeros behind them up to `len`.
    fn run(&self, keep: u64, len: u64, told: &dyn Fn(&Copying<'_>)) -> Result<()> {
        let (mut buf, mut at) = (AlignedBuf::zeroed(BLOCK), 0);
        while at < len {
            let bytes = |count: u64| usize::try_from(count).unwrap_or(BLOCK).min(BLOCK);
            let (count, want) = (bytes(len.saturating_sub(at)), bytes(keep.saturating_sub(at)));
            let block = buf.as_mut_slice().get_mut(..count.next_multiple_of(4096));
            let block = block.unwrap_or_default();
            read_full(self.from, at, block, want).map_err(|cause| unread(self.name, cause))?;
            let block = block.get(..count).unwrap_or_default();
            let written = |cause| unwritten(self.disk, self.name, cause);
            self.to.write_at(at, &[block], false).map_err(written)?;
            at = at.saturating_add(wide(count));
            told(&Copying { name: self.name, done: at, len });
        }
        Ok(())
    }
}

/// Reads `want` bytes, and zeros for what the file does not have, or the read brought beyond.
fn read_full(file: &dyn LogFile, at: u64, block: &mut [u8], want: usize) -> io::Result<()> {
    let mut filled = 0;
    while filled < want {
        let rest = block.get_mut(filled..want.next_multiple_of(4096)).unwrap_or_default();
        let read = file.read_at(at.saturating_add(wide(filled)), rest)?;
        if read == 0 {
            break;
        }
        filled = filled.saturating_add(read);
    }
    block.get_mut(filled.min(want)..).unwrap_or_default().fill(0);
    Ok(())
}

fn unread(name: &str, cause: io::Error) -> Error {
    Error::io("a file cannot be read for the restore", cause).file(name)
}

fn unwritten(disk: &dyn Disk, name: &str, cause: io::Error) -> Error {
    Error::io("the log cannot be written", cause)
        .file(disk.path().unwrap_or_default().join(name))
        .advise("what was restored is no log yet; empty the directory, make room, and begin again")
}
