//! Creating a log.
//!
//! 1. Segment 0: created, filled, synced, the directory synced. Crash: a blank or short file.
//! 2. Its header, synced. Crash: a header without batch and control file: created anew.
//! 3. The control file with its first slot, synced. Crash before: as 2. Behind: the log exists.

use super::{Config, Report, settings};
use siding_wal::disk::{AlignedBuf, Clock, Disk};
use siding_wal::format::{
    ControlSlot, HEADER_LEN, RestoredNote, SegmentHeader, parse_extent_name, segment_file_name,
    size,
};
use siding_wal::read::{Identity, Segment, Segments, Survey};
use siding_wal::seeded;
use siding_wal::stream::{
    AHEAD, Bounds, Opened, Prepared, Settings, Stream, create_control, create_filled, next_block,
    write_slot,
};
use siding_wal::units::Units;
use siding_wal::write::{Commits, Core, Start, Writer};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// Whether a log may be created here.
pub(super) fn check(
    disk: &dyn Disk,
    found: &Survey,
    config: &Config,
    restored: Option<&RestoredNote>,
) -> Result<()> {
    let named = |error: Error| match disk.path() {
        Some(path) => error.file(path),
        None => error,
    };
    if !config.create {
        return Err(named(Error::new(ErrorKind::NotFound, "there is no log in the directory"))
            .advise("name the directory of a log, or have one created"));
    }
    if let Some(name) = found.strangers.iter().find(|name| *name != "lost+found") {
        let what = format!("the directory holds `{name}`, and no log");
        return Err(named(Error::new(ErrorKind::ForeignFile, what))
            .advise("give the log a directory of its own"));
    }
    if restored.is_some() {
        let what = "the directory holds the note of a restored log, and not the log";
        return Err(named(Error::new(ErrorKind::ForeignFile, what))
            .advise("restore the log again, or give the log a directory of its own"));
    }
    let names =
        disk.list().map_err(|cause| named(Error::io("the directory cannot be listed", cause)))?;
    // Moves come long after the log was created: this one is not here any more.
    if let Some((name, _)) = names.iter().find(|(name, _)| parse_extent_name(name).is_some()) {
        let what = format!("the directory holds `{name}` of a secondary log, and not its log");
        let path = disk.path().map_or_else(|| name.into(), |path| path.join(name));
        return Err(Error::new(ErrorKind::ForeignFile, what)
            .file(path)
            .advise("put the segments of its log back, or give the log a directory of its own"));
    }
    Ok(())
}

/// Creates the log.
pub(super) fn create(
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    config: &Config,
    found: &Survey,
) -> Result<(Stream, Report)> {
    let identity = Identity {
        log_id: random_id()?,
        path_id: random_id()?,
        discipline: config.discipline.unwrap_or_default(),
        segment_size: config.segment_size,
    };
    let incarnation = found.incarnation.saturating_add(1);
    let settings = settings(config, &**disk, &identity, incarnation, found.epoch.max(1));
    let block = next_block(found.unit_block)?;
    for number in found.leftovers.iter().chain(found.blanks.iter().map(|(number, _)| number)) {
        // What an interrupted creation left; it is made again.
        let _ = disk.remove(&segment_file_name(*number));
    }
    let filled = AHEAD.min(config.segment_size);
    let segment = open_segment(&**disk, clock, &settings, block, filled)?;
    first_slot(&**disk, clock, &settings, block)?;
    let mut segments = Segments::new(identity.log_id, identity.segment_size);
    let position = segment.first_batch();
    segments.insert(segment);
    let start = start(&settings, 0, position, 0);
    let opened = Opened {
        core: core(&settings, &start, Units::default(), Commits::default()),
        segments,
        prepared: Prepared { last: 0, filled, ..Prepared::default() },
        control: Some(0),
        bounds: Bounds::default(),
        unit_block: block,
    };
    let report = Report {
        log_id: settings.log_id,
        created: true,
        letter: ' ',
        end_name: "new log",
        end: position,
        scanned_from: position,
        incarnation,
        write_unit: settings.write_unit,
        backend: disk.name(),
        notes: disk.geometry().notes,
        ..Report::default()
    };
    Ok((Stream::new(settings, Arc::clone(disk), Arc::clone(clock), opened), report))
}

fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|cause| {
        Error::new(ErrorKind::Io, "the operating system gives no random bytes").caused_by(cause)
    })?;
    Ok(id)
}

fn open_segment(
    disk: &dyn Disk,
    clock: &Arc<dyn Clock>,
    settings: &Settings,
    unit_block: u32,
    filled: u64,
) -> Result<Segment> {
    let name = segment_file_name(0);
    let io = |cause| Error::io("the first segment cannot be created", cause).file(&name);
    let file = create_filled(disk, &name, filled, &|| {}).map_err(io)?;
    let header = header(clock, settings, unit_block, 0, (Lsn::ZERO, 0), &Bounds::default());
    write_header(&*file, &header).map_err(io)?;
    Ok(Segment { number: 0, header, file })
}

/// A header, as an open writes it.
pub(super) fn header(
    clock: &Arc<dyn Clock>,
    settings: &Settings,
    unit_block: u32,
    number: u64,
    kept: (Lsn, u32),
    bounds: &Bounds,
) -> SegmentHeader {
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
        kept_end: kept.0,
        kept_digest: kept.1,
        oldest: bounds.oldest,
        keypoint_begin: bounds.keypoint_begin,
        keypoint_end: bounds.keypoint_end,
        unit_block: unit_block.saturating_sub(u32::from(seeded!(UnitBlockUnsynced))),
        created_ms: clock.wall_ms(),
    }
}

/// Writes a header where it belongs, durably.
pub(super) fn write_header(
    file: &dyn siding_wal::disk::LogFile,
    header: &SegmentHeader,
) -> std::io::Result<()> {
    let mut unit = AlignedBuf::zeroed(size(header.write_unit));
    if let Some(front) = unit.as_mut_slice().get_mut(..HEADER_LEN) {
        front.copy_from_slice(&header.encode());
    }
    file.write_at(0, &[unit.as_slice()], true)
}

fn first_slot(
    disk: &dyn Disk,
    clock: &Arc<dyn Clock>,
    settings: &Settings,
    unit_block: u32,
) -> Result<()> {
    let file = create_control(disk)?;
    let slot = ControlSlot {
        sequence: 0,
        log_id: settings.log_id,
        path_id: settings.path_id,
        discipline: settings.discipline,
        clean: false,
        incarnation: settings.incarnation,
        epoch: settings.epoch,
        write_unit: settings.write_unit,
        segment_size: settings.segment_size,
        unit_block,
        oldest: Lsn::ZERO,
        keypoint_begin: Lsn::ZERO,
        keypoint_end: Lsn::ZERO,
        durable: Lsn::ZERO,
        written_ms: clock.wall_ms(),
    };
    write_slot(&*file, &slot)?;
    disk.sync_dir().map_err(|cause| Error::io("the directory cannot be synced", cause))
}

/// Where the writer starts.
pub(super) fn start(settings: &Settings, segment: u64, position: Lsn, digest: u32) -> Start {
    Start {
        id: settings.log_id,
        incarnation: settings.incarnation,
        epoch: settings.epoch,
        write_unit: settings.write_unit,
        segment_size: settings.segment_size,
        ring_size: settings.ring_size,
        segment,
        position,
        digest,
        durable: position,
    }
}

/// What is decided under the append lock, from the start.
pub(super) fn core(settings: &Settings, start: &Start, units: Units, commits: Commits) -> Core {
    let (discipline, size) = (settings.discipline, settings.segment_size);
    let mut core = Core::new(Writer::new(start), units, discipline, size);
    core.commits = commits;
    core
}
