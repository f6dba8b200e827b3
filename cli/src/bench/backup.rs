//! What a backup costs those who commit meanwhile, and what it takes itself.

use super::{Effort, Measured, median, rate, timed};
use siding::archive::{Target, Wanted};
use siding::disk::{AlignedBuf, Disk, open_dir};
use siding::sink::DirectorySink;
use siding::{
    Backend, BackupOptions, Discipline, Error, Log, Lsn, ObjectFile, Options, Recovery,
    RestoreOptions, Result, object_file,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Files of the embedder's, and how many.
const FILES: u16 = 4;

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |cause| Error::io("the files of the bench cannot be made", cause).file(path)
}

fn disk(path: &Path) -> Result<Arc<dyn Disk>> {
    open_dir(path, Backend::Buffered, true).map_err(io(path))
}

/// A sink as [`Log::backup`] makes it.
fn sink(path: &Path) -> Result<DirectorySink> {
    Ok(DirectorySink::new(open_dir(path, Backend::Direct, true).map_err(io(path))?))
}

fn removed(path: &Path) -> Result<()> {
    std::fs::remove_dir_all(path).map_err(io(path))
}

/// Files with so many bytes together.
fn files(dir: &Path, bytes: u64) -> Result<Vec<PathBuf>> {
    let disk = disk(dir)?;
    let mut block = AlignedBuf::zeroed(usize::try_from(MIB).unwrap_or_default());
    let mut paths = Vec::new();
    for number in 0..FILES {
        let name = format!("file-{number}");
        let file = disk.create(&name).map_err(io(dir))?;
        for at in (0..bytes / u64::from(FILES)).step_by(1 << 20) {
            block.as_mut_slice().fill(u8::try_from(at / MIB % 251).unwrap_or_default());
            file.write_at(at, &[&block], false).map_err(io(dir))?;
        }
        file.sync().map_err(io(dir))?;
        paths.push(dir.join(name));
    }
    disk.sync_dir().map_err(io(dir))?;
    Ok(paths)
}

fn objects(paths: &[PathBuf]) -> Result<Vec<ObjectFile>> {
    (0..).zip(paths).map(|(object, path)| object_file(object, path)).collect()
}

/// Commits until told to stop, or for so long.
fn commits(log: &Log, stop: &AtomicBool, most: Duration) -> Result<(u64, Duration)> {
    let (mut count, mut took) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) && took < most {
        let (_, one) = timed(|| Ok(log.write(&[7; 128])?))?;
        took += one;
        count += 1;
    }
    Ok((count, took))
}

/// Commits while a backup runs, and for as long without one.
fn beside(effort: &Effort, bytes: u64, options: &BackupOptions<'_>) -> Result<Measured> {
    let paths = files(&effort.dir.join("files"), bytes / effort.divisor)?;
    let log = Options::new().segment_size(16 << 20).open(effort.dir.join("log"))?.finish()?;
    let never = AtomicBool::new(false);
    commits(&log, &never, Duration::from_millis(500))?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds.min(5) {
        let into = effort.dir.join("backup");
        let over = AtomicBool::new(false);
        let sink = sink(&into)?;
        let objects = objects(&paths)?;
        let mut with = || -> Result<Duration> {
            let (done, ran) = std::thread::scope(|scope| {
                let backup = scope.spawn(|| {
                    let done = log.backup_to(&sink, &objects, options);
                    over.store(true, Ordering::Relaxed);
                    done
                });
                let ran = commits(&log, &over, Duration::MAX);
                (backup.join(), ran)
            });
            if let Ok(done) = done {
                done?;
            }
            let (count, took) = ran?;
            values.push(rate(count, took));
            Ok(took)
        };
        // Each is the first of a pair as often as the other.
        if round % 2 == 0 {
            let took = with()?;
            let (count, took) = commits(&log, &never, took)?;
            floors.push(rate(count, took));
        } else {
            let (count, took) = commits(&log, &never, Duration::from_secs(2))?;
            floors.push(rate(count, took));
            with()?;
        }
        removed(&into)?;
        log.redo_from(log.positions().durable)?;
        log.keypoint()?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Commits while a backup runs as fast as it can.
pub(super) fn at_full_speed(effort: &Effort) -> Result<Measured> {
    beside(effort, 1 << 30, &BackupOptions::new().full_speed())
}

/// Commits while a backup runs at the default rate.
pub(super) fn at_default_rate(effort: &Effort) -> Result<Measured> {
    beside(effort, 256 << 20, &BackupOptions::new())
}

/// A backup, and a plain copy of the same files by the same calls.
pub(super) fn copy(effort: &Effort) -> Result<Measured> {
    let bytes = (512 << 20) / effort.divisor;
    let from = effort.dir.join("files");
    let paths = files(&from, bytes)?;
    let log = Log::open(effort.dir.join("log"))?.finish()?;
    log.write(b"something")?;
    let options = BackupOptions::new().full_speed();
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds.min(5) {
        let into = effort.dir.join("copy");
        for plain in [round % 2 == 0, round % 2 == 1] {
            let took = if plain {
                let to = disk(&into)?;
                timed(|| plainly(&*disk(&from)?, &*to))?.1
            } else {
                let (to, objects) = (sink(&into)?, objects(&paths)?);
                timed(|| log.backup_to(&to, &objects, &options))?.1
            };
            if plain { &mut floors } else { &mut values }.push(rate(bytes, took));
            removed(&into)?;
        }
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Copies every file, and syncs it, and its name at the end.
fn plainly(from: &dyn Disk, to: &dyn Disk) -> Result<()> {
    let failed = |cause| Error::io("a file cannot be copied", cause);
    let mut block = AlignedBuf::zeroed(usize::try_from(MIB).unwrap_or_default());
    for (name, _) in from.list().map_err(failed)? {
        let file = from.open(&name).map_err(failed)?;
        let copy = to.create(&name).map_err(failed)?;
        let mut at = 0;
        loop {
            let read = file.read_at(at, block.as_mut_slice()).map_err(failed)?;
            let Some(bytes) = block.as_slice().get(..read).filter(|it| !it.is_empty()) else {
                break;
            };
            copy.write_at(at, &[bytes], false).map_err(failed)?;
            at += u64::try_from(read).unwrap_or_default();
        }
        copy.sync().map_err(failed)?;
    }
    to.sync_dir().map_err(failed)
}

/// Forward recovery of a log that was restored, and the restart scan of the same log. Under
/// deferred apply it goes back along the chain of each unit that committed.
pub(super) fn forward(effort: &Effort, discipline: Discipline) -> Result<Measured> {
    let bytes = (512 << 20) / effort.divisor;
    let (path, backup, again) =
        (effort.dir.join("log"), effort.dir.join("backup"), effort.dir.join("again"));
    let options = || super::scan::of(effort, discipline);
    super::scan::fill(&path, bytes, options())?;
    {
        let log = options().open(&path)?.finish()?;
        // No redo position was reported: all of it is to be redone.
        log.backup_to(&sink(&backup)?, &[], &BackupOptions::new().full_speed())?;
        log.abandon();
    }
    let wanted = Wanted::from(Target::BackupEnd(None));
    siding::restore_dir(&backup, &wanted, &again, |_| None, &RestoreOptions::new())?;
    removed(&backup)?;
    let (mut values, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds.min(5) {
        let (recovery, took) = timed(|| options().open(&path))?;
        floors.push(rate(recovery.report().scanned_bytes, took));
        recovery.abandon();
        let (redone, took) = timed(|| {
            let recovery = options().open(&again)?;
            let redone = redo(&recovery, discipline)?;
            recovery.abandon();
            Ok(redone)
        })?;
        values.push(rate(redone, took));
    }
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

/// Goes through all that is to be redone; how far it reaches in the log.
fn redo(recovery: &Recovery, discipline: Discipline) -> Result<u64> {
    let mut last = Lsn::ZERO;
    if discipline == Discipline::RepeatHistory {
        let mut history = recovery.history()?;
        while let Some(record) = history.next()? {
            last = record.lsn();
        }
    } else {
        let mut committed = recovery.committed()?;
        while let Some(record) = committed.next()? {
            last = record.lsn();
        }
    }
    Ok(last.get())
}

/// Bytes of log from the recovery point to the end, exact; and from where a rule would start that
/// goes by keypoints alone: the last one that began before the oldest update in progress.
pub(super) fn point(effort: &Effort) -> Result<Measured> {
    let log = Options::new()
        .segment_size(16 << 20)
        .keypoint_bytes(8 << 20)
        .open(&effort.dir)?
        .finish()?;
    let mut updates = std::collections::VecDeque::new();
    let (mut values, mut floors, mut keypoints) = (Vec::new(), Vec::new(), vec![Lsn::ZERO]);
    for number in 0..20_000 / effort.divisor {
        let mut unit = log.begin()?;
        updates.push_back(unit.update(1, &[7; 4_000])?);
        drop(unit.submit()?);
        // So many are in progress at a time.
        if updates.len() > 8
            && let Some(update) = updates.pop_front()
        {
            update.done();
        }
        let begin = log.positions().keypoint_begin;
        if keypoints.last() != Some(&begin) {
            keypoints.push(begin);
        }
        if number % 100 == 99 {
            let (point, end) = (log.recovery_point(&[1]), log.positions().end);
            let grained = keypoints.iter().rev().find(|begin| **begin <= point);
            values.push(behind(point, end));
            floors.push(behind(grained.copied().unwrap_or(Lsn::ZERO), end));
        }
    }
    updates.into_iter().for_each(siding::Update::done);
    log.close()?;
    Ok(Measured { value: median(values), floor: Some(median(floors)) })
}

#[allow(clippy::cast_precision_loss, reason = "a few megabytes")]
fn behind(lsn: Lsn, end: Lsn) -> f64 {
    end.get().saturating_sub(lsn.get()) as f64
}
