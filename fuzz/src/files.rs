//! Directories as they are left by a log, to be changed, and directories made of bytes.

use siding::disk::{AlignedBuf, Disk, MemoryDisk};
use siding::{Discipline, Log, Options, Result};
use siding_sim::Clock;
use std::sync::{Arc, OnceLock};

/// Files by name.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Lengths of files are multiples of this.
const SECTOR: usize = 512;

/// The smallest log there is, without threads; it undoes whatever it is asked to.
pub(crate) fn options() -> Options {
    Options::new()
        .segment_size(64 << 10)
        .ring_size(64 << 10)
        .write_unit(512)
        .without_threads(Arc::new(Clock::new(1_000_000)))
        .undo(|record| Ok(record.payload().to_vec()))
}

/// A directory with these files.
pub(crate) fn disk(files: &[(String, Vec<u8>)]) -> std::io::Result<MemoryDisk> {
    let disk = MemoryDisk::new();
    for (name, bytes) in files {
        let file = disk.create(name)?;
        let mut buf = AlignedBuf::zeroed(bytes.len().next_multiple_of(SECTOR));
        if let Some(room) = buf.as_mut_slice().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        if !bytes.is_empty() {
            file.write_at(0, &[buf.as_slice()], true)?;
        }
    }
    Ok(disk)
}

fn files(disk: &MemoryDisk) -> std::io::Result<Files> {
    let mut files = Files::new();
    for (name, len) in disk.list()? {
        let mut buf = AlignedBuf::zeroed(usize::try_from(len).unwrap_or(0));
        disk.open(&name)?.read_at(0, buf.as_mut_slice())?;
        files.push((name, buf.as_slice().to_vec()));
    }
    files.sort();
    Ok(files)
}

/// How many sound directories [`image`] knows.
pub const IMAGES: usize = 8;

/// The files of a sound log: either discipline, closed or not, with a secondary log or without.
pub fn image(which: usize) -> &'static [(String, Vec<u8>)] {
    static MADE: OnceLock<Vec<Files>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let make = |which: usize| {
            let disciplines = [Discipline::DeferredApply, Discipline::RepeatHistory];
            let (closed, moves) = (which % 4 < 2, which >= 4);
            life(disciplines[which % 2], closed, moves).unwrap_or_else(|error| panic!("{error}"))
        };
        (0..IMAGES).map(make).collect()
    });
    &made[which % IMAGES]
}

/// A short life of a log with everything in it, over a few segments; `moves`: units are moved, some
/// of them more than once.
fn life(discipline: Discipline, closed: bool, moves: bool) -> Result<Files> {
    let disk = MemoryDisk::new();
    let open = || -> Result<Log> {
        let recovery = options().discipline(discipline).open_on(Arc::new(disk.clone()))?;
        for unit in recovery.in_flight() {
            unit.undo(|_| Ok(Vec::new()))?;
        }
        recovery.finish()
    };
    let fork_all = |log: &Log| -> Result<()> {
        let mut live = log.units().into_iter().filter(|_| moves);
        live.try_for_each(|unit| log.fork(unit.unit).map(drop))
    };
    let log = open()?;
    let mut long = log.begin()?;
    long.append(b"long")?;
    let mut last = log.write(b"first")?;
    for round in 0..60 {
        last = log.write(&[round; 1500])?;
    }
    log.redo_from(last)?;
    let mut unit = log.begin()?;
    unit.append(b"debit")?;
    let savepoint = unit.savepoint();
    unit.append(b"mistake")?;
    unit.roll_back_to(&savepoint, |_| Ok(b"undone".to_vec()))?;
    let _ = unit.prepare(b"in doubt")?;
    let mut unit = log.begin()?;
    unit.append(b"decided")?;
    let _ = unit.decide()?;
    let mut over = log.begin()?;
    over.append(b"moved, and committed")?;
    fork_all(&log)?;
    log.keypoint()?;
    over.commit()?;
    long.append(b"longer")?;
    fork_all(&log)?;
    log.ensure_durable(log.positions().end)?;
    log.abandon();
    drop(long);
    drop(log);
    let log = open()?;
    log.write(b"second")?;
    fork_all(&log)?;
    log.keypoint()?;
    log.write(b"last")?;
    if closed {
        log.close()?;
    } else {
        log.abandon();
    }
    files(&disk).map_err(|cause| siding::Error::io("a directory in memory", cause))
}
