//! A log put together from the log of a backup and log that was written behind it, up to a
//! position.
//!
//! 1. The file `restoring`, durably. 2. The segments from the backup's floor to the position, and
//!    the extents of the backup. 3. All of the log is read again, every batch and record verified,
//!    and cut at the position. 4. Each file is synced. 5. The note `restored`. 6. A control file
//!    that names the keypoint which stopped the backup. 7. The directory is synced. 8. What the
//!    caller does with a log that nobody else can open yet. 9. The file of step 1 goes, durably.
//!
//! Crash before 9 is over, or an error: the directory opens as no log, and says why; the next
//! restore into it begins anew. Behind it: as the log after a crash at the position, with an
//! incarnation above all that were seen. Where the files come from is the caller's business.

use super::cut::{self, Kept, Uncut};
use super::mark::{RESTORING, mark, unmark};
use super::note;
use crate::backup::{Copying, Manifest};
use siding_wal::disk::{ALIGNMENT, AlignedBuf, Disk, LogFile};
use siding_wal::format::{
    ControlSlot, HEADER_LEN, RestoredNote, SegmentHeader, parse_extent_name, parse_segment_name,
    segment_file_name, size, wide,
};
use siding_wal::read::{CONTROL_NAME, Forward, Segment, Segments, Step};
use siding_wal::stream::{create_control, write_slot};
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};
use std::io;

/// Bytes that are written at once.
const BLOCK: usize = 1 << 20;

/// Takes the bytes of a file, piece by piece, from the first on.
pub type Taken<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// Hands on the bytes of a file.
type Give<'a> = dyn FnOnce(&mut Taken<'_>) -> Result<()> + 'a;

/// Gives the bytes of a file, and how many there will be.
pub struct Given<'a> {
    /// Bytes.
    pub len: u64,
    /// Hands them on.
    pub give: Box<Give<'a>>,
}

impl std::fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What a log is put together from.
pub struct LogParts<'a> {
    /// The backup.
    pub manifest: &'a Manifest,
    /// A segment by its number: from its start to the end of a batch at least, as one history.
    /// Asked for those from the backup's floor to the position, none below.
    pub segments: &'a dyn Fn(u64) -> Option<Given<'a>>,
    /// The backup's extent files, by name.
    pub extents: Vec<(String, Given<'a>)>,
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

/// Puts the log up to `to` together in `disk`: an empty directory, or one in which a restore was
/// broken off. Then it opens as after a crash at that position. `last` is called when all is there
/// and nobody else can open it yet.
///
/// Costs one read of the log from the backup's floor to `to` and of its extents where they come
/// from, a write of both, and a read of what was written of the log.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] below the end of the backup, or if the directory holds anything else;
/// [`ErrorKind::Missing`] if a segment is not there: then nothing was written.
/// [`ErrorKind::Invalid`] where no record begins or ends; [`ErrorKind::Missing`] if the log ends
/// below `to`; what is wrong with what was read; what a disk says; what `last` says: then the
/// directory opens as no log, and says why.
///
/// # Crash
///
/// The directory opens as no log, and says why; or all is restored.
pub fn restore_log_to(
    parts: LogParts<'_>,
    disk: &dyn Disk,
    to: Lsn,
    told: &dyn Fn(&Copying<'_>),
    last: &mut dyn FnMut() -> Result<()>,
) -> Result<RestoredLog> {
    let manifest = parts.manifest;
    if to < manifest.end && !seeded!(TargetBeforeStop) {
        let what = format!("the position lies below the end of the backup ({})", manifest.end);
        return Err(Error::new(ErrorKind::Invalid, what)
            .at(to)
            .advise("use an older backup, or a position from there on"));
    }
    let given = gather(&parts, to)?;
    let leftovers = leftovers(disk)?;
    let written = |name: &str, cause| unwritten(disk, name, cause);
    mark(disk).map_err(|cause| written(RESTORING, cause))?;
    for name in &leftovers {
        disk.remove(name).map_err(|cause| written(name, cause))?;
    }
    let files = Files { disk, told };
    let segments = files.put_segments(manifest, given)?;
    for (name, given) in parts.extents {
        let file = files.put(&name, given)?;
        file.sync().map_err(|cause| written(&name, cause))?;
    }
    let place = find(manifest, &segments, to)?;
    let count = files.cut(&segments, &place)?;
    let own = manifest.control.incarnation;
    let highest = if seeded!(RestoreForgetsOthers) { own } else { parts.incarnation };
    let incarnation = highest.max(own);
    let note = RestoredNote {
        log_id: manifest.log_id,
        backup_id: manifest.id,
        keypoint_begin: manifest.control.keypoint_begin,
        keypoint_end: manifest.control.keypoint_end,
        target: place.end(),
        redo: manifest.recovery_point,
        incarnation,
    };
    note::write(disk, &note).map_err(|cause| written(note::NAME, cause))?;
    let floor = segments.number_of(manifest.floor);
    let slot = ControlSlot {
        clean: false,
        incarnation,
        oldest: segments.first_lsn(floor),
        durable: place.end(),
        ..manifest.control.clone()
    };
    write_slot(&*create_control(disk)?, &slot)?;
    disk.sync_dir().map_err(|cause| written("", cause))?;
    if seeded!(MarkGoneTooEarly) {
        unmark(disk).map_err(|cause| written(RESTORING, cause))?;
        last()?;
    } else {
        last()?;
        unmark(disk).map_err(|cause| written(RESTORING, cause))?;
    }
    let (end, recovery_point) = (place.end(), manifest.recovery_point);
    Ok(RestoredLog { to, end, segments: count, recovery_point })
}

/// What a restore that was broken off has left.
fn leftovers(disk: &dyn Disk) -> Result<Vec<String>> {
    let path = || disk.path().unwrap_or_default();
    let names = disk.list();
    let names =
        names.map_err(|cause| Error::io("the directory cannot be listed", cause).file(path()))?;
    let names: Vec<String> =
        names.into_iter().map(|(name, _)| name).filter(|name| name != "lock").collect();
    let is_ours = |name: &str| {
        matches!(name, CONTROL_NAME | RESTORING | note::NAME)
            || parse_segment_name(name).is_some()
            || parse_extent_name(name).is_some()
    };
    let broken_off = names.iter().any(|name| name == RESTORING);
    match names.iter().find(|name| !broken_off || !is_ours(name)) {
        None => Ok(names.into_iter().filter(|name| name != RESTORING).collect()),
        Some(name) => Err(Error::new(ErrorKind::Invalid, format!("the directory holds `{name}`"))
            .file(path())
            .advise("name an empty directory, or one that does not exist")),
    }
}

/// The segments from the backup's floor to `to`.
fn gather<'a>(parts: &LogParts<'a>, to: Lsn) -> Result<Vec<(u64, Given<'a>)>> {
    let control = &parts.manifest.control;
    let segments = Segments::new(parts.manifest.log_id, control.segment_size);
    let first = segments.number_of(parts.manifest.floor);
    let last = segments.number_of(Lsn::new(to.get().saturating_sub(1)));
    let mut all = Vec::new();
    for number in first..=last {
        let Some(given) = (parts.segments)(number) else {
            // To its start, or to where its first batch would stand, needs none of it.
            let start = segments.first_lsn(number);
            if number == last && to.since(start) <= u64::from(control.write_unit) {
                break;
            }
            let what =
                format!("segment {number:016x} is needed, and is not there: gap from {start}");
            return Err(Error::new(ErrorKind::Missing, what)
                .at(start)
                .file(segment_file_name(number))
                .advise("find the segment, or restore to a position below it"));
        };
        all.push((number, given));
    }
    Ok(all)
}

/// Reads the whole log, and finds where it is to be cut.
fn find(manifest: &Manifest, segments: &Segments, to: Lsn) -> Result<Place> {
    let no_boundary = || {
        let what = "no record begins or ends at the position";
        Error::new(ErrorKind::Invalid, what)
            .at(to)
            .advise("name a position that a commit, a label or `dump` gave")
    };
    let mut scan = Forward::from_segment(segments, segments.number_of(manifest.floor))?;
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
                if whole <= start && to.since(start) <= u64::from(manifest.control.write_unit) {
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

/// The directory that is filled.
struct Files<'a> {
    disk: &'a dyn Disk,
    told: &'a dyn Fn(&Copying<'_>),
}

impl Files<'_> {
    /// Writes a file as it is given.
    fn put(&self, name: &str, given: Given<'_>) -> Result<std::sync::Arc<dyn LogFile>> {
        let written = |cause| unwritten(self.disk, name, cause);
        let file = self.disk.create(name).map_err(written)?;
        let mut writing = Writing { file: &*file, buf: AlignedBuf::with_capacity(BLOCK), at: 0 };
        (given.give)(&mut |bytes| {
            writing.take(bytes).map_err(written)?;
            (self.told)(&Copying { name, done: writing.done(), len: given.len });
            Ok(())
        })?;
        let len = writing.done();
        writing.flush().map_err(written)?;
        if len != given.len {
            let what = format!("{len} bytes came, and not {}", given.len);
            return Err(Error::new(ErrorKind::Corrupt, what).file(name));
        }
        file.cut(len).map_err(written)?;
        Ok(file)
    }

    /// Segments, as long as segments are.
    fn put_segments(&self, manifest: &Manifest, all: Vec<(u64, Given<'_>)>) -> Result<Segments> {
        let size = manifest.control.segment_size;
        let mut segments = Segments::new(manifest.log_id, size);
        for (number, given) in all {
            let name = segment_file_name(number);
            let file = self.put(&name, given)?;
            let mut block = AlignedBuf::zeroed(ALIGNMENT);
            read_full(&*file, 0, block.as_mut_slice(), HEADER_LEN)
                .map_err(|cause| unread(&name, cause))?;
            let header = SegmentHeader::decode(block.as_slice()).map_err(|_| {
                Error::new(ErrorKind::Corrupt, "the header of a segment is damaged").file(&name)
            })?;
            let ours = header.log_id == manifest.log_id
                && header.number == number
                && header.segment_size == size;
            if !ours {
                let what = "the segment is not of this log, or is another one";
                return Err(Error::new(ErrorKind::ForeignFile, what).file(&name));
            }
            segments.insert(Segment { number, header, file });
        }
        Ok(segments)
    }

    /// Zeros from `from` up to `upto`.
    fn blank(&self, name: &str, file: &dyn LogFile, from: u64, upto: u64) -> Result<()> {
        let (zeros, mut at) = (AlignedBuf::zeroed(BLOCK), from);
        while at < upto {
            let count = usize::try_from(upto.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
            let zeros = zeros.as_slice().get(..count).unwrap_or_default();
            file.write_at(at, &[zeros], false)
                .map_err(|cause| unwritten(self.disk, name, cause))?;
            at = at.saturating_add(wide(count));
        }
        Ok(())
    }

    /// Ends each segment where its history goes on in the next, and the last one at the place.
    /// Returns how many are left.
    fn cut(&self, segments: &Segments, place: &Place) -> Result<u64> {
        let last = segments.number_of(Lsn::new(place.end().get().saturating_sub(1)));
        let mut count = 0;
        for segment in segments.iter() {
            let name = segment_file_name(segment.number);
            let written = |cause| unwritten(self.disk, &name, cause);
            if segment.number > last {
                self.disk.remove(&name).map_err(written)?;
                continue;
            }
            let keep = match segments.kept_end_of(segment.number) {
                Some(kept) if segment.number < last => kept,
                _ => place.whole,
            };
            self.blank(&name, &*segment.file, segment.offset_of(keep), segments.size())?;
            if let Some(kept) = place.kept.as_ref().filter(|_| segment.number == last) {
                let bytes = AlignedBuf::from(&kept.bytes[..]);
                let offset = segment.offset_of(place.whole);
                segment.file.write_at(offset, &[bytes.as_slice()], false).map_err(written)?;
            }
            segment.file.sync().map_err(written)?;
            count += 1;
        }
        Ok(count)
    }
}

/// A file that is being written, in whole blocks.
struct Writing<'a> {
    file: &'a dyn LogFile,
    buf: AlignedBuf,
    /// Bytes that are in the file.
    at: u64,
}

impl Writing<'_> {
    fn done(&self) -> u64 {
        self.at.saturating_add(wide(self.buf.len()))
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK.saturating_sub(self.buf.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.buf.extend_from_slice(now);
            bytes = later;
            if self.buf.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Disks take whole units: what is too much is cut off later.
    fn flush(&mut self) -> io::Result<()> {
        let len = self.buf.len();
        self.buf.resize(len.next_multiple_of(ALIGNMENT));
        self.file.write_at(self.at, &[self.buf.as_slice()], false)?;
        self.at = self.at.saturating_add(wide(len));
        self.buf.clear();
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
        .advise("what was restored is no log yet: make room, and restore into it again")
}
