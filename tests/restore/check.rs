//! A backup of a world in motion, restores of it, and what they are held against.

use crate::archive::Archive;
use crate::oracle::{Doubts, Pages, change, oracle};
use crate::support::busy::Busy;
use crate::world::{File, World, options};
use siding::disk::{Disk, MemoryDisk};
use siding::sink::{DirectorySink, Sink as _, read_whole};
use siding::{
    BackupOptions, FileKind, Given, Kind, LogParts, Lsn, Manifest, ObjectFile, Recovery, Result,
    Taken,
};
use siding_sim::SimDisk;
use std::sync::{Arc, Mutex};

/// A backup, in a sink of its own or in one that holds more.
#[derive(Clone)]
pub(crate) struct Backup {
    pub(crate) sink: DirectorySink,
    pub(crate) manifest: Manifest,
}

/// Takes a backup of a world while it works.
pub(crate) fn back_up(world: World) -> Result<(World, Backup)> {
    back_up_to(world, DirectorySink::new(Arc::new(MemoryDisk::new())))
}

/// The same, into a sink.
pub(crate) fn back_up_to(world: World, sink: DirectorySink) -> Result<(World, Backup)> {
    let (log, file) = (world.log.clone(), world.file.0.clone());
    let world = Arc::new(Mutex::new(world));
    let stepped = Arc::clone(&world);
    let step = move || stepped.lock().unwrap().step();
    let busy = Arc::new(Busy { file, step: Arc::new(step) });
    let object = ObjectFile { object: 7, name: "pages".into(), file: busy.clone() };
    let manifest = log.backup_to(&sink, &[object], &BackupOptions::new().full_speed())?;
    drop((log, busy));
    let world = Arc::into_inner(world).unwrap().into_inner().unwrap();
    Ok((world, Backup { sink, manifest }))
}

/// What a sink holds under a name, in pieces.
fn given<'a>(sink: &'a DirectorySink, stored: &'a str, piece: usize) -> Given<'a> {
    let bytes = read_whole(&*sink.open(stored).unwrap(), 1 << 30).unwrap();
    bytes_given(bytes, piece)
}

fn bytes_given<'a>(bytes: Vec<u8>, piece: usize) -> Given<'a> {
    let len = bytes.len() as u64;
    let give = move |take: &mut Taken<'_>| bytes.chunks(piece).try_for_each(take);
    Given { len, give: Box::new(give) }
}

impl Backup {
    /// Puts the log together up to `to`.
    pub(crate) fn restore_log(
        &self,
        archive: &Archive,
        incarnation: u32,
        disk: &dyn Disk,
        to: Lsn,
    ) -> Result<()> {
        let files = self.manifest.files.iter();
        let extents = files.filter(|file| file.kind == FileKind::Extents);
        let floor = self.manifest.floor.get() / self.manifest.control.segment_size;
        let parts = LogParts {
            manifest: &self.manifest,
            segments: &|number| {
                assert!(number >= floor, "segment {number}, and the floor is in {floor}");
                Some(bytes_given(archive.bytes(number)?, 7_000))
            },
            extents: extents
                .map(|file| (file.name.clone(), given(&self.sink, &file.stored, 5_000)))
                .collect(),
            incarnation,
        };
        let restored = siding::restore_log_to(parts, disk, to, &|_| {}, &mut || Ok(()))?;
        assert_eq!((restored.to, restored.recovery_point), (to, self.manifest.recovery_point));
        Ok(())
    }

    /// The pages as they were copied.
    pub(crate) fn pages(&self) -> File {
        let file = self.manifest.files.iter().find(|file| file.name == "pages").unwrap();
        let pages = File::new();
        let bytes = read_whole(&*self.sink.open(&file.stored).unwrap(), 1 << 30).unwrap();
        pages.0.write_at(0, &[&bytes], true).unwrap();
        pages
    }
}

/// Redoes what an opened log gives into the file.
pub(crate) fn redo(recovery: &Recovery, repeats: bool, file: &File) -> Result<()> {
    if repeats {
        let mut history = recovery.history()?;
        while let Some(record) = history.next()? {
            if matches!(record.kind(), Kind::Data | Kind::Compensation) {
                let (page, value, _) = change(record.payload());
                file.write(page, value);
            }
        }
        return Ok(());
    }
    let mut committed = recovery.committed()?;
    while let Some(record) = committed.next()? {
        let (page, value, _) = change(record.payload());
        file.write(page, value);
    }
    Ok(())
}

/// What is in doubt in an opened log.
fn doubts(recovery: &Recovery) -> Result<Doubts> {
    let mut doubts = Doubts::new();
    for doubt in recovery.in_doubt() {
        let mut effects = Vec::new();
        for record in doubt.effects()?.owned() {
            let (page, value, _) = change(record?.payload());
            effects.push((page, value));
        }
        doubts.insert(doubt.gid().to_vec(), effects);
    }
    Ok(doubts)
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, want: &T) -> siding::Result<()> {
    if got == want {
        return Ok(());
    }
    let what = format!("{what}: {got:?} and not {want:?}");
    Err(siding::Error::new(siding::ErrorKind::Corrupt, what))
}

/// A log that was restored, in work, and what its pages are.
pub(crate) fn restored(
    world: &World,
    backup: &Backup,
    to: Lsn,
    seed: u64,
    expected: &(Pages, Doubts),
) -> Result<World> {
    let disk = SimDisk::new(seed);
    backup.restore_log(&world.archive, world.incarnation, &disk, to)?;
    let file = backup.pages();
    reopened(world.repeats, disk, file, seed, world.incarnation, expected)
}

/// Opens a log, redoes it into the file, and holds all against what is expected.
pub(crate) fn reopened(
    repeats: bool,
    disk: SimDisk,
    file: File,
    seed: u64,
    incarnation: u32,
    expected: &(Pages, Doubts),
) -> Result<World> {
    let recovery = options(repeats, &file).open_on(Arc::new(disk.clone()))?;
    redo(&recovery, repeats, &file)?;
    differ("in doubt", &doubts(&recovery)?, &expected.1)?;
    let world = World::over(seed, repeats, disk, recovery, file)?;
    differ("pages", &world.file.pages(), &expected.0)?;
    assert!(world.incarnation > incarnation, "{} after {incarnation}", world.incarnation);
    Ok(world)
}

/// What is expected of a restore of this world to `to`.
pub(crate) fn expected(world: &World, to: Lsn) -> Result<(Pages, Doubts)> {
    Ok(oracle(&world.records()?.0, to, world.repeats))
}
