//! Fuzzy backup: the embedder's files and the log they need, while work goes on.
//!
//! 1. The recovery point is fixed, and held: redo position, trimming and freeing stay below it.
//!    Before the first byte is read. 2. The embedder's files are copied, however they change
//!    meanwhile. 3. A keypoint with the backup's number stops it: its table says what lives.
//!    4. The extents of what lives, and the log from the floor to the keypoint's end, as pieces of
//!    the archive in the same sink. 5. The manifest. 6. The holds are let go.
//!
//! Crash before 5 is over: there is no backup. What was put of its own files is a leftover, and
//! named as one; the log is log, whoever put it. Behind it: there is one.
//!
//! The rule for the recovery point is that of US5381545; the floor is the least of the recovery
//! point, of what lives on the main log in the table of the keypoint, and of what the COMMITs from
//! the recovery point on need. Not of the redo position: forward recovery starts at the recovery
//! point, whatever the keypoint says.

mod copy;
mod hold;
mod log;
mod manifest;
mod options;
mod verify;

pub use manifest::{BackupFile, FileKind, Manifest, StopUnit};
pub use options::{BackupOptions, DEFAULT_RATE};
pub(crate) use verify::blocks;
pub use verify::verify_backup;
pub(crate) use verify::verify_files;

use crate::archive::Joint;
use crate::engine::Engine;
use crate::restore::BackupId;
use crate::sink::Sink;
use copy::{Copier, Source};
use siding_wal::disk::LogFile;
use siding_wal::format::{ControlSlot, SegmentEntry, UnitEntry, UnitState};
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};
use std::sync::Arc;

/// A backup's number as it stands in names and as people see it: 32 hexadecimal digits.
#[must_use]
pub fn backup_digits(id: BackupId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A backup's number from all its digits; none if these are not they.
#[must_use]
pub fn parse_backup_digits(digits: &str) -> Option<BackupId> {
    let sound = digits.len() == 32 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    sound.then(|| u128::from_str_radix(digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

/// A file of the embedder's that a backup copies.
#[derive(Clone, Debug)]
pub struct ObjectFile {
    /// The object it belongs to: what [`update`](siding_wal::write::Redo::begin) registers.
    pub object: u16,
    /// What it is called, for the restore.
    pub name: String,
    /// The file. It is read while it changes. Any length.
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
    pub(crate) units: Vec<UnitEntry>,
    pub(crate) segments: Vec<SegmentEntry>,
}

impl Engine {
    /// Copies the embedder's files and the log they need into `sink` while work goes on. While it
    /// runs nothing is trimmed.
    ///
    /// Costs a read of everything that is copied, and a keypoint.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for options that make no sense, or a parent of another history;
    /// [`ErrorKind::Trimmed`] if the log behind the parent is gone; [`ErrorKind::Corrupt`] for a
    /// block that stays half written; [`ErrorKind::LogFull`] if it was given up; what a disk or the
    /// sink says; the log failed. Then there is no backup.
    ///
    /// # Crash
    ///
    /// There is no backup, or it is whole.
    pub fn backup(
        &self,
        sink: &dyn Sink,
        objects: &[ObjectFile],
        options: &BackupOptions<'_>,
    ) -> Result<Manifest> {
        check(objects, options)?;
        let settings = self.stream().settings();
        let began_ms = self.stream().clock().wall_ms();
        let id = draw()?;
        let numbers: Vec<u16> = objects.iter().map(|it| it.object).collect();
        let most = options.most.or(settings.max_log_bytes.map(|bytes| bytes / 2));
        let parent = options.parent.map(|parent| Manifest::read(sink, parent)).transpose()?;
        let low = parent.as_ref().map_or(Lsn::MAX, |parent| parent.end);
        let hold = self.hold(id, &numbers, low, most);
        parent.as_ref().map_or(Ok(()), |parent| self.goes_on_from(parent))?;
        let clock = settings.threads.then(|| self.stream().clock());
        let copier = Copier::new(sink, options, &hold, clock);
        let mut files = copy_objects(&copier, id, objects)?;
        let late = seeded!(PinAfterRead).then(|| self.hold(id, &numbers, low, most));
        let held = late.as_ref().unwrap_or(&hold);
        let stop = self.stop_keypoint(id)?;
        let end = Joint { end: stop.end, digest: self.digest_of(&stop)? };
        // A parent has what lies below its end.
        let floor = match &parent {
            Some(parent) => parent.end,
            None => self.floor(held.point, &stop),
        };
        if !seeded!(BackupWithoutExtents) {
            files.extend(self.copy_extents(&copier, id)?);
        }
        let units = stop.units.iter().filter(|unit| unit.state != UnitState::Ended);
        let mut manifest = Manifest {
            id,
            parent: options.parent,
            log_id: settings.log_id,
            incarnation: settings.incarnation,
            recovery_point: parent.map_or(held.point, |parent| parent.end),
            objects: held.objects.clone(),
            floor,
            stop: stop.begin,
            end: stop.end,
            end_digest: end.digest,
            time_ms: (began_ms, self.stream().clock().wall_ms()),
            units: units.map(StopUnit::from).collect(),
            control: self.control(floor, &stop),
            files,
        };
        if seeded!(ManifestFirst) {
            manifest.put(sink)?;
        }
        self.copy_log(&copier, floor, end)?;
        // What it holds must have been held to the end.
        hold.check()?;
        manifest.time_ms.1 = self.stream().clock().wall_ms();
        manifest.put(sink)?;
        copier.done();
        Ok(manifest)
    }

    /// Whether this log is the same history, and kept from the parent's end on.
    fn goes_on_from(&self, parent: &Manifest) -> Result<()> {
        let refused = |kind, what: &str| {
            Error::new(
                kind,
                format!("a backup cannot go on from {}: {what}", backup_digits(parent.id)),
            )
            .at(parent.end)
            .advise("take a whole backup")
        };
        if parent.log_id != self.stream().settings().log_id {
            return Err(refused(ErrorKind::Invalid, "it is of another log"));
        }
        match self.digest_at(parent.end) {
            Ok(digest) if digest == parent.end_digest => Ok(()),
            Ok(_) => Err(refused(ErrorKind::Invalid, "it is of another history of this log")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(refused(ErrorKind::Trimmed, "the log behind its end is gone"))
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Err(refused(ErrorKind::Invalid, "this log has no batch that ends as it does"))
            }
            Err(error) => Err(error),
        }
    }

    /// The oldest position of the log that a restore needs.
    fn floor(&self, point: Lsn, stop: &Stop) -> Lsn {
        let live = stop.units.iter().filter(|unit| unit.state != UnitState::Ended);
        let live = live.filter(|unit| unit.head >= unit.floor).map(|unit| unit.floor).min();
        let live = if seeded!(FloorIgnoresChains) { None } else { live };
        let core = self.stream().core();
        let commits = if core.repeats_history() || seeded!(FloorIgnoresCommits) {
            Lsn::MAX
        } else {
            // An open goes by the minima of the keypoint, one a segment: that of the recovery
            // point's own may speak for COMMITs below it.
            let first = self.stream().segments().number_of(point);
            let minima = stop.segments.iter().filter(|it| it.number >= first);
            let minimum = minima.map(|it| it.commit_low).min().unwrap_or(Lsn::MAX);
            core.commits.need(point).min(minimum)
        };
        point.min(live.unwrap_or(Lsn::MAX)).min(commits).min(stop.begin)
    }

    fn copy_extents(&self, copier: &Copier<'_>, id: BackupId) -> Result<Vec<BackupFile>> {
        let pool = self.forking.pool();
        let files = pool.list_files()?;
        crate::threads::each(copier.threads(), &files, |_, (name, len)| {
            let file = pool.disk().open(name).map_err(|cause| unread(name, cause))?;
            copier.file(Source {
                kind: FileKind::Extents,
                name,
                stored: format!("backup-{}-{name}", backup_digits(id)),
                file: &*file,
                len: *len,
            })
        })
    }

    fn copy_log(&self, copier: &Copier<'_>, floor: Lsn, end: Joint) -> Result<()> {
        let there = log::there(copier.sink)?;
        let parts = self.log_parts(floor, end)?;
        crate::threads::each(copier.threads(), &parts, |_, part| copier.log_part(part, &there))?;
        Ok(())
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

fn copy_objects(
    copier: &Copier<'_>,
    id: BackupId,
    objects: &[ObjectFile],
) -> Result<Vec<BackupFile>> {
    crate::threads::each(copier.threads(), objects, |index, object| {
        copier.file(Source {
            kind: FileKind::Object(object.object),
            name: &object.name,
            stored: format!("backup-{}-object-{:05}-{index}", backup_digits(id), object.object),
            file: &*object.file,
            len: object.file.len().map_err(|cause| unread(&object.name, cause))?,
        })
    })
}

/// A number for a backup.
fn draw() -> Result<BackupId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|cause| {
        let cause = std::io::Error::other(cause.to_string());
        Error::io("no number can be drawn for the backup", cause)
    })?;
    Ok(id)
}

/// Whether the options make sense.
fn check(objects: &[ObjectFile], options: &BackupOptions<'_>) -> Result<()> {
    let what = match options.check {
        Some((block, _)) if !block.is_power_of_two() || !(512..=1 << 20).contains(&block) => {
            format!("blocks of {block} bytes cannot be checked: a power of two from 512 to 1 MiB")
        }
        _ if options.parent.is_some() && !objects.is_empty() => {
            "a backup that goes on from another one copies no objects".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Invalid, what))
}

impl From<&UnitEntry> for StopUnit {
    fn from(entry: &UnitEntry) -> Self {
        Self { unit: entry.unit, state: entry.state, gid: entry.gid.clone() }
    }
}

fn unread(name: &str, cause: std::io::Error) -> Error {
    Error::io("a file cannot be read for the backup", cause).file(name)
}

fn unwritten(sink: &dyn Sink, name: &str, cause: std::io::Error) -> Error {
    Error::io("the copy cannot be written", cause)
        .file(std::path::Path::new(&sink.place()).join(name))
        .advise("what was copied is no backup; make room, and begin again")
}
