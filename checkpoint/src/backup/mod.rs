//! Fuzzy backup: the embedder's files and the log they need, while work goes on.
//!
//! 1. The recovery point is fixed, and held: redo position, trimming and freeing stay below it.
//!    Before the first byte is read. 2. The embedder's files are copied, however they change
//!    meanwhile. 3. A keypoint with the backup's number stops it: its table says what lives.
//!    4. The extents of what lives, and the log from the floor to the keypoint's end. 5. The
//!    manifest, under its name in one step. 6. The holds are let go.
//!
//! Crash before 5 is over: there is no backup, and the directory says so. Behind it: there is one.
//! The rule for the recovery point is that of US5381545; the floor is the least of the recovery
//! point, of the redo position that the stop keypoint carries, of what lives on the main log in its
//! table, and of what the COMMITs from there on need. An embedder that reports its redo position
//! seldom has more log in its backup than the recovery point asks for.

mod manifest;
mod restore;

pub use manifest::{BackupFile, FileKind, MANIFEST, Manifest, StopUnit};
pub(crate) use restore::unfinished;
pub use restore::{RESTORING, restore, verify_backup};

use crate::engine::Engine;
use manifest::BLOCK;
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::format::{ControlSlot, UnitEntry, UnitState, segment_file_name, wide};
use siding_wal::read::{Forward, Step};
use siding_wal::stream::{create_control, write_slot};
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};
use std::sync::Arc;

/// A file of the embedder's that a backup copies.
#[derive(Clone, Debug)]
pub struct ObjectFile {
    /// The object it belongs to: what [`update`](siding_wal::write::Redo::begin) registers.
    pub object: u16,
    /// What it is called, for the restore.
    pub name: String,
    /// The file. It is read while it changes.
    pub file: Arc<dyn LogFile>,
}

/// How far a backup or a restore has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copying<'a> {
    /// The file at hand.
    pub name: &'a str,
    /// Bytes copied of it.
    pub done: u64,
    /// Bytes it has.
    pub len: u64,
}

/// The stop keypoint of a backup.
pub(crate) struct Stop {
    pub(crate) begin: Lsn,
    /// Its last record.
    pub(crate) last: Lsn,
    /// Behind the batch that ends with it.
    pub(crate) end: Lsn,
    /// The redo position that it carries.
    pub(crate) redo: Lsn,
    pub(crate) units: Vec<UnitEntry>,
}

/// Holds redo position, trimming and freeing, until it is dropped.
struct Hold<'a> {
    engine: &'a Engine,
    number: u64,
    point: Lsn,
    /// The recovery point of each object by itself.
    objects: Vec<(u16, Lsn)>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.engine.stream().core().redo.let_go(self.number);
    }
}

impl Engine {
    /// Step 1.
    fn hold(&self, objects: &[u16]) -> Hold<'_> {
        let mut core = self.stream().core();
        let end = core.writer.end();
        let mut point = core.redo.recovery_point(objects, end);
        let mut each = core.redo.recovery_points(objects, end);
        if seeded!(RecoveryPointIsNow) {
            point = end;
            each.iter_mut().for_each(|(_, lsn)| *lsn = end);
        }
        let number = core.redo.hold(point);
        Hold { engine: self, number, point, objects: each }
    }

    /// Copies the embedder's files and the log they need into `sink`, an empty directory, while
    /// work goes on. While it runs nothing is trimmed.
    ///
    /// Costs a read of everything that is copied, and a keypoint.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the directory is not empty; what a disk says; the log failed. Then
    /// there is no backup: what lies in the directory restores nothing.
    ///
    /// # Crash
    ///
    /// There is no backup, or it is whole.
    pub fn backup(
        &self,
        sink: &dyn Disk,
        objects: &[ObjectFile],
        told: &dyn Fn(&Copying<'_>),
    ) -> Result<Manifest> {
        empty(sink)?;
        let began_ms = self.stream().clock().wall_ms();
        let numbers: Vec<u16> = objects.iter().map(|it| it.object).collect();
        let hold = self.hold(&numbers);
        let mut files = Vec::new();
        for (index, object) in objects.iter().enumerate() {
            let stored = format!("object-{:05}-{index}", object.object);
            let kind = FileKind::Object(object.object);
            let len = object.file.len().map_err(|cause| unread(&object.name, cause))?;
            let from =
                Source { kind, name: &object.name, stored: &stored, file: &*object.file, len };
            files.push(copy(&from, len, sink, told)?);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|cause| {
            let cause = std::io::Error::other(cause.to_string());
            Error::io("no number can be drawn for the backup", cause)
        })?;
        let stop = self.stop_keypoint(id)?;
        let floor = self.floor(hold.point, &stop);
        if !seeded!(BackupWithoutExtents) {
            self.copy_extents(sink, told, &mut files)?;
        }
        self.copy_log(sink, floor, stop.end, told, &mut files)?;
        let control = self.control(floor, &stop);
        files.push(copy_control(sink, &control, told)?);
        let units = stop.units.iter().filter(|unit| unit.state != UnitState::Ended);
        let manifest = Manifest {
            id,
            parent: None,
            log_id: self.stream().settings().log_id,
            incarnation: self.stream().settings().incarnation,
            recovery_point: hold.point,
            objects: hold.objects.clone(),
            floor,
            stop: stop.begin,
            end: stop.end,
            end_digest: self.digest_at(stop.end)?,
            time_ms: (began_ms, self.stream().clock().wall_ms()),
            units: units.map(StopUnit::from).collect(),
            control,
            files,
        };
        manifest.write(sink).map_err(|cause| unwritten(sink, MANIFEST, cause))?;
        Ok(manifest)
    }

    /// The oldest position of the log that a restore needs.
    fn floor(&self, point: Lsn, stop: &Stop) -> Lsn {
        let live = stop.units.iter().filter(|unit| unit.state != UnitState::Ended);
        let live = live.filter(|unit| unit.head >= unit.floor).map(|unit| unit.floor).min();
        let live = if seeded!(FloorIgnoresChains) { None } else { live };
        let point = point.min(stop.redo);
        let core = self.stream().core();
        let commits = if core.repeats_history() || seeded!(FloorIgnoresCommits) {
            Lsn::MAX
        } else {
            core.commits.need(point)
        };
        point.min(live.unwrap_or(Lsn::MAX)).min(commits).min(stop.begin)
    }

    fn copy_extents(
        &self,
        sink: &dyn Disk,
        told: &dyn Fn(&Copying<'_>),
        files: &mut Vec<BackupFile>,
    ) -> Result<()> {
        let pool = self.forking.pool();
        for (name, len) in pool.list_files()? {
            let file = pool.disk().open(&name).map_err(|cause| unread(&name, cause))?;
            let kind = FileKind::Extents;
            let from = Source { kind, name: &name, stored: &name, file: &*file, len };
            files.push(copy(&from, len, sink, told)?);
        }
        Ok(())
    }

    /// The segments from `floor` to `end`, as long as they are; behind `end` zeros.
    fn copy_log(
        &self,
        sink: &dyn Disk,
        floor: Lsn,
        end: Lsn,
        told: &dyn Fn(&Copying<'_>),
        files: &mut Vec<BackupFile>,
    ) -> Result<()> {
        let segments = self.stream().segments();
        let last = segments.number_of(Lsn::new(end.get().saturating_sub(1)));
        for number in segments.number_of(floor)..=last {
            let name = segment_file_name(number);
            let segment = segments.get(number).ok_or_else(|| {
                Error::new(ErrorKind::Missing, "a segment that the backup needs is gone")
                    .file(&name)
            })?;
            let keep = segment.offset_of(end).min(segments.size());
            let kind = FileKind::Log;
            let file = &*segment.file;
            let from = Source { kind, name: &name, stored: &name, file, len: keep };
            files.push(copy(&from, segments.size(), sink, told)?);
        }
        Ok(())
    }

    /// The digest of the batch that ends at `end`.
    fn digest_at(&self, end: Lsn) -> Result<u32> {
        let segments = self.stream().segments();
        let number = segments.number_of(Lsn::new(end.get().saturating_sub(1)));
        let mut scan = Forward::from_segment(&segments, number)?.limit(end);
        while scan.position() < end && matches!(scan.next_batch()?, Step::Batch(_)) {}
        scan.digest().filter(|_| scan.position() == end).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the log is damaged below the backup's end")
                .at(scan.position())
                .file(segment_file_name(number))
        })
    }

    /// A control slot that names the stop keypoint.
    fn control(&self, floor: Lsn, stop: &Stop) -> ControlSlot {
        let settings = self.stream().settings();
        let segments = self.stream().segments();
        ControlSlot {
            sequence: 1,
            log_id: settings.log_id,
            path_id: settings.path_id,
            discipline: settings.discipline,
            clean: false,
            incarnation: settings.incarnation,
            epoch: settings.epoch,
            write_unit: settings.write_unit,
            segment_size: settings.segment_size,
            unit_block: self.stream().unit_block(),
            oldest: segments.first_lsn(segments.number_of(floor)),
            keypoint_begin: stop.begin,
            keypoint_end: stop.last,
            durable: stop.end,
            written_ms: self.stream().clock().wall_ms(),
        }
    }
}

/// A control file with this slot.
fn copy_control(
    sink: &dyn Disk,
    slot: &ControlSlot,
    told: &dyn Fn(&Copying<'_>),
) -> Result<BackupFile> {
    let file = create_control(sink)?;
    write_slot(&*file, slot)?;
    restore::sums("control", "control", FileKind::Log, &*file, told)
}

impl From<&UnitEntry> for StopUnit {
    fn from(entry: &UnitEntry) -> Self {
        Self { unit: entry.unit, state: entry.state, gid: entry.gid.clone() }
    }
}

/// What is copied.
struct Source<'a> {
    kind: FileKind,
    name: &'a str,
    stored: &'a str,
    file: &'a dyn LogFile,
    /// Bytes that are read; zeros are written behind them.
    len: u64,
}

/// Copies a file to `len` bytes, and syncs the copy.
fn copy(
    from: &Source<'_>,
    len: u64,
    sink: &dyn Disk,
    told: &dyn Fn(&Copying<'_>),
) -> Result<BackupFile> {
    let written = |cause| unwritten(sink, from.stored, cause);
    let to = sink.create(from.stored).map_err(written)?;
    let mut blocks = Vec::new();
    let (mut buf, mut at) = (AlignedBuf::zeroed(BLOCK), 0);
    while at < len {
        let count = usize::try_from(len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
        let block = buf.as_mut_slice().get_mut(..count.next_multiple_of(4096)).unwrap_or_default();
        block.fill(0);
        let want = usize::try_from(from.len.saturating_sub(at)).unwrap_or(BLOCK).min(count);
        read_full(from.file, at, block, want).map_err(|cause| unread(from.name, cause))?;
        blocks.push(crc32c::crc32c(block.get(..count).unwrap_or_default()));
        to.write_at(at, &[block], false).map_err(written)?;
        at = at.saturating_add(wide(count));
        told(&Copying { name: from.name, done: at, len });
    }
    to.sync().map_err(written)?;
    let (name, stored) = (from.name.to_owned(), from.stored.to_owned());
    Ok(BackupFile { kind: from.kind, name, stored, len, blocks })
}

/// Reads `want` bytes, and zeros what the file does not have, or the read brought beyond.
fn read_full(file: &dyn LogFile, at: u64, block: &mut [u8], want: usize) -> std::io::Result<()> {
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

pub(crate) fn empty(disk: &dyn Disk) -> Result<()> {
    let names = disk.list().map_err(|cause| unwritten(disk, "", cause))?;
    match names.into_iter().find(|(name, _)| name != "lock") {
        None => Ok(()),
        Some((name, _)) => {
            Err(Error::new(ErrorKind::Invalid, format!("the directory holds `{name}`"))
                .file(disk.path().unwrap_or_default())
                .advise("name an empty directory, or one that does not exist"))
        }
    }
}

fn unread(name: &str, cause: std::io::Error) -> Error {
    Error::io("a file cannot be read for the backup", cause).file(name)
}

fn unwritten(disk: &dyn Disk, name: &str, cause: std::io::Error) -> Error {
    Error::io("the copy cannot be written", cause)
        .file(disk.path().unwrap_or_default().join(name))
        .advise("what was copied is no backup yet; remove it, make room, and begin again")
}
