//! Whole directories of any bytes: an open says no, or gives a log that can be used.

use crate::files::{Files, IMAGES, disk, image, options};
use crate::seal;
use arbitrary::{Arbitrary, Unstructured};
use siding::disk::{Clock, Disk};
use siding::{Recovery, Result};
use siding_wal::format::{
    SegmentHeader, extent_file_name, parse_extent_name, parse_segment_name, segment_file_name,
};
use std::sync::Arc;

/// A directory.
#[derive(Arbitrary, Debug)]
enum Directory {
    /// A sound log, and what happened to it.
    Changed { image: u8, changes: Vec<Change>, seal: bool },
    /// Files of any bytes.
    Any {
        control: Option<Vec<u8>>,
        segments: Vec<(u8, Vec<u8>)>,
        extents: Vec<(u8, Vec<u8>)>,
        seal: bool,
    },
}

/// Damage, or a lie.
#[derive(Arbitrary, Debug)]
enum Change {
    Flip {
        file: u8,
        at: u32,
        mask: u8,
    },
    Put {
        file: u8,
        at: u32,
        bytes: Vec<u8>,
    },
    /// In the header of a segment or a slot.
    PutInHeader {
        file: u8,
        at: u8,
        value: Number,
    },
    /// In a record or the header of a batch; `own`: in one of the log itself.
    PutInRecord {
        file: u8,
        own: bool,
        record: u16,
        at: u8,
        value: Number,
    },
    /// In the head of an extent, or in what stands behind it.
    PutInExtent {
        extent: u16,
        at: u8,
        value: Number,
    },
    Copy {
        file: u8,
        from: u32,
        to: u32,
        len: u16,
    },
    Cut {
        file: u8,
        len: u32,
    },
    Remove {
        file: u8,
    },
    Rename {
        file: u8,
        number: u8,
    },
}

/// A number that is worth a try in place of another one.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Near(u16),
    Sum(i16),
    Large(u8),
    Any(u64),
    Byte(u8),
}

impl Number {
    /// Writes it over what stands there.
    fn put(self, bytes: &mut [u8], at: usize) -> Option<()> {
        if let Self::Byte(value) = self {
            *bytes.get_mut(at)? = value;
            return Some(());
        }
        let place = bytes.get_mut(at..at.checked_add(8)?)?;
        let old = u64::from_le_bytes(place.try_into().ok()?);
        let new = match self {
            Self::Small(value) | Self::Byte(value) => u64::from(value),
            Self::Near(value) => u64::from(value) * 8,
            Self::Sum(value) => old.wrapping_add_signed(i64::from(value)),
            Self::Large(value) => u64::MAX - u64::from(value),
            Self::Any(value) => value,
        };
        place.copy_from_slice(&new.to_le_bytes());
        Some(())
    }
}

/// Opens a directory of any bytes, and uses what it finds.
pub fn segment_recovery(data: &[u8]) {
    let Ok(directory) = Directory::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (mut files, sealed) = match directory {
        Directory::Changed { image: which, changes, seal } => {
            let mut files = image(usize::from(which) % IMAGES).to_vec();
            for change in &changes {
                apply(&mut files, change);
            }
            (files, seal)
        }
        Directory::Any { control, segments, extents, seal } => {
            let mut files = Files::new();
            files.extend(control.map(|bytes| ("control".to_owned(), bytes)));
            for (number, bytes) in segments {
                files.push((segment_file_name(u64::from(number)), bytes));
            }
            for (number, bytes) in extents {
                files.push((extent_file_name(extents_of(number)), bytes));
            }
            (files, seal)
        }
    };
    files.sort();
    files.dedup_by(|one, other| one.0 == other.0);
    if sealed {
        put_right(&mut files);
    }
    look_and_use(&files);
}

/// A number of an extent file, as one of the first opens gives it.
fn extents_of(number: u8) -> u64 {
    (u64::from(number / 16) << 32) | u64::from(number % 16)
}

/// The file, and a place in it.
fn place(files: &mut Files, file: u8, at: u32) -> Option<(&mut Vec<u8>, usize)> {
    let count = files.len().max(1);
    let (_, bytes) = files.get_mut(usize::from(file) % count)?;
    let at = usize::try_from(at).ok()? % bytes.len().max(1);
    Some((bytes, at))
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
}

fn apply(files: &mut Files, change: &Change) -> Option<()> {
    match change {
        Change::Flip { file, at, mask } => {
            let (bytes, at) = place(files, *file, *at)?;
            *bytes.get_mut(at)? ^= mask;
        }
        Change::Put { file, at, bytes: new } => {
            let (bytes, at) = place(files, *file, *at)?;
            overwrite(bytes, at, new);
        }
        Change::PutInHeader { file, at, value } => {
            let (bytes, at) = place(files, *file, u32::from(*at))?;
            value.put(bytes, at)?;
        }
        Change::PutInRecord { file, own, record, at, value } => {
            let (bytes, _) = place(files, *file, 0)?;
            let places = seal::places(bytes, *own);
            let start = places.get(usize::from(*record) % places.len().max(1))?;
            value.put(bytes, start + usize::from(*at))?;
        }
        Change::PutInExtent { extent, at, value } => {
            let all: Vec<(usize, usize)> = (0..)
                .zip(&*files)
                .filter(|(_, (name, _))| parse_extent_name(name).is_some())
                .flat_map(|(file, (_, bytes))| {
                    seal::extents(bytes).into_iter().map(move |start| (file, start))
                })
                .collect();
            let (file, start) = all.get(usize::from(*extent) % all.len().max(1))?;
            let (_, bytes) = files.get_mut(*file)?;
            value.put(bytes, start + usize::from(*at))?;
        }
        Change::Copy { file, from, to, len } => {
            let (bytes, from) = place(files, *file, *from)?;
            let piece: Vec<u8> = bytes.iter().skip(from).take(usize::from(*len)).copied().collect();
            let (bytes, to) = place(files, *file, *to)?;
            overwrite(bytes, to, &piece);
        }
        Change::Cut { file, len } => {
            let (bytes, len) = place(files, *file, *len)?;
            bytes.truncate(len);
        }
        Change::Remove { file } => {
            let count = files.len().max(1);
            (usize::from(*file) % count < files.len())
                .then(|| files.remove(usize::from(*file) % count));
        }
        Change::Rename { file, number } => {
            let count = files.len().max(1);
            let (name, _) = files.get_mut(usize::from(*file) % count)?;
            *name = match parse_extent_name(name) {
                Some(_) => extent_file_name(extents_of(*number)),
                None => segment_file_name(u64::from(*number)),
            };
        }
    }
    Some(())
}

/// All checksums: as if somebody had meant what stands there.
fn put_right(files: &mut Files) {
    let mut before = 0;
    for (name, bytes) in files {
        if let Some(number) = parse_extent_name(name) {
            seal::all_extents(bytes, number);
            continue;
        }
        if parse_segment_name(name).is_none() {
            seal::control(bytes);
            continue;
        }
        seal::segment(bytes);
        if let Ok(header) = SegmentHeader::decode(bytes) {
            let unit = usize::try_from(header.write_unit).unwrap_or(512);
            let first = header.first_lsn().get();
            before = header.kept_digest;
            seal::batches(bytes, &header.log_id, first, unit, before);
        }
    }
    let _ = before;
}

fn look_and_use(files: &Files) {
    let Ok(disk) = disk(files) else { return };
    let any: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock: Arc<dyn Clock> = Arc::new(siding_sim::Clock::new(1_000_000));
    let _ = siding_checkpoint::verify(&any, None, &clock, &|_| ());
    let Ok(recovery) = options().open_on(Arc::new(disk.clone())) else { return };
    if read(&recovery).is_err() {
        recovery.abandon();
        return;
    }
    // What was given once is given again.
    let _ = go_on(recovery);
    if let Ok(recovery) = options().open_on(Arc::new(disk)) {
        let _ = read(&recovery);
    }
}

/// Everything that a recovery has to say.
fn read(recovery: &Recovery) -> Result<()> {
    if let Ok(mut committed) = recovery.committed() {
        while committed.next()?.is_some() {}
    }
    if let Ok(mut history) = recovery.history() {
        while history.next()?.is_some() {}
    }
    for doubt in recovery.in_doubt() {
        let mut backward = doubt.records_backward()?;
        while backward.next()?.is_some() {}
        let mut effects = doubt.effects()?;
        while effects.next()?.is_some() {}
    }
    for unit in recovery.in_flight() {
        let mut backward = unit.records_backward()?;
        while backward.next()?.is_some() {}
    }
    Ok(())
}

fn go_on(recovery: Recovery) -> Result<()> {
    for unit in recovery.in_flight() {
        unit.undo(|_| Ok(Vec::new()))?;
    }
    let log = recovery.finish()?;
    let _ = (log.why_retained(), log.strangers());
    for unit in log.units() {
        if let Ok(mut records) = log.unit_records(unit.unit) {
            while matches!(records.next(), Ok(Some(_))) {}
        }
        // What is lost keeps it from nothing else.
        let _ = log.fork(unit.unit);
    }
    let mut unit = log.begin()?;
    unit.append(b"more")?;
    let commit = unit.commit()?;
    for decided in log.decided() {
        decided.end()?;
    }
    for doubt in log.in_doubt() {
        doubt.back_out()?;
    }
    log.redo_from(commit)?;
    log.keypoint()?;
    log.tick();
    log.close()
}
