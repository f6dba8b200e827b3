//! Plans of an archived log carried out, from the sink alone.

use crate::check::{Backup, back_up_to, expected, reopened};
use crate::points::targets;
use crate::support::{StillClock, quiet, redone};
use crate::world::{File, World};
use siding::archive::{ArchiveOptions, Compression, Plan, Target, Wanted};
use siding::disk::{Clock, Disk, MemoryDisk};
use siding::sink::{DirectorySink, Put, Sink, Stored};
use siding::{
    BackupFile, BackupOptions, ErrorKind, Lsn, RestoreOptions, Restored, Result, UnitName,
    plan_before_commit, plan_restore, restore_to,
};
use siding_sim::{Rng, SimDisk};
use std::io;
use std::sync::{Arc, Mutex};

/// Archives the world's log from here on.
pub(crate) fn archive(world: &World, sink: &DirectorySink) -> Result<()> {
    let compression = match cfg!(feature = "zstd") && world.incarnation % 2 == 1 {
        true => Compression::Zstd,
        false => Compression::None,
    };
    let options = ArchiveOptions { compression, ..ArchiveOptions::default() };
    world.log.archive_to(Arc::new(sink.clone()), options)
}

/// A history in an archive, with a backup in it, and more behind it.
pub(crate) fn archived(seed: u64) -> Result<(World, Backup)> {
    let sink = DirectorySink::new(Arc::new(MemoryDisk::new()));
    let mut world = World::new(seed, seed % 2 == 1)?;
    archive(&world, &sink)?;
    for _ in 0..80 {
        world.step()?;
    }
    let (mut world, backup) = back_up_to(world, sink)?;
    for _ in 0..2 {
        for _ in 0..40 {
            world.step()?;
        }
        if seed.is_multiple_of(3) {
            world = world.crash()?;
            archive(&world, &backup.sink)?;
        }
    }
    shipped(&mut world)?;
    Ok((world, backup))
}

/// All that was written is in the archive.
pub(crate) fn shipped(world: &mut World) -> Result<()> {
    world.keep()?;
    world.log.archive_now()?;
    world.keep()
}

fn as_disk(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// What a plan comes to in a directory: the file, and what is said of it.
pub(crate) fn carried_out(
    sink: &dyn Sink,
    plan: &Plan,
    disk: &SimDisk,
    options: &RestoreOptions<'_>,
) -> Result<(File, Restored)> {
    let file = File::new();
    let target = |_: &BackupFile| Ok(Some(Arc::clone(&file.0)));
    let restored = restore_to(sink, plan, &as_disk(disk), &target, options)?;
    Ok((file, restored))
}

/// What was opened of a sink.
#[derive(Debug)]
struct Opened<'a>(&'a DirectorySink, Mutex<Vec<String>>);

impl Sink for Opened<'_> {
    fn put(&self, name: &str) -> io::Result<Box<dyn Put>> {
        panic!("a restore puts nothing, and this puts {name}");
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Stored>> {
        self.1.lock().unwrap().push(name.to_owned());
        self.0.open(name)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        self.0.list(prefix)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        panic!("a restore removes nothing, and this removes {name}");
    }

    fn place(&self) -> String {
        self.0.place()
    }
}

/// Only the manifest, its files, and the log from the floor to the target are read.
fn only_what_is_needed(backup: &Backup, plan: &Plan, opened: &[String]) {
    let size = backup.manifest.control.segment_size;
    let (floor, last) = (plan.floor.get() / size, (plan.target.get() - 1) / size);
    let id: String = plan.backup.iter().map(|byte| format!("{byte:02x}")).collect();
    for name in opened {
        let of_backup = name.starts_with(&format!("backup-{id}"));
        let number = name.strip_prefix("log-").map(|it| u64::from_str_radix(&it[..16], 16));
        let of_log = number.is_some_and(|it| (floor..=last).contains(&it.unwrap()));
        assert!(of_backup || of_log, "{name}: log {floor:x} to {last:x}");
    }
}

fn check(seed: u64) -> Result<u64> {
    let (world, backup) = archived(seed)?;
    let mut rng = Rng::new(seed);
    let mut points = 0;
    for to in targets(&world, &backup, &mut rng, 5)? {
        let plan = plan_restore(&backup.sink, &Target::Lsn(to).into())?;
        let (disk, sink) = (SimDisk::new(seed), Opened(&backup.sink, Mutex::default()));
        let (file, restored) = carried_out(&sink, &plan, &disk, &RestoreOptions::new())?;
        assert_eq!(restored.log.to, to);
        only_what_is_needed(&backup, &plan, &sink.1.into_inner().unwrap());
        let expected = expected(&world, to)?;
        let clock: Arc<dyn Clock> = StillClock::new();
        let seen = siding_checkpoint::verify(&as_disk(&disk), None, &clock, &|_| {})?;
        assert_eq!(seen.findings, [], "to {to}");
        let gids: Vec<Vec<u8>> = restored.in_doubt.into_iter().map(|doubt| doubt.gid).collect();
        let mut due: Vec<Vec<u8>> = expected.1.keys().cloned().collect();
        due.sort_by_key(|gid| gids.iter().position(|it| it == gid));
        assert_eq!(gids, due, "in doubt at {to}");
        reopened(world.repeats, disk, file, seed, world.incarnation, &expected)?;
        points += 1;
    }
    let below = Lsn::new(backup.manifest.end.get() - 1);
    let refused = plan_restore(&backup.sink, &Target::Lsn(below).into()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    Ok(points)
}

#[test]
fn a_plan_to_any_point_comes_to_what_the_records_up_to_there_say() -> Result<()> {
    let mut points = 0;
    for seed in 0..24 {
        points += check(seed)?;
    }
    assert!(points > 100, "{points}");
    Ok(())
}

#[test]
fn times_labels_and_units_can_be_restored_to() -> Result<()> {
    let (disk, clock) = (SimDisk::new(1), StillClock::new());
    let options = quiet().without_threads(Arc::clone(&clock) as Arc<dyn Clock>);
    let log = options.open_on(Arc::new(disk))?.finish()?;
    let sink = DirectorySink::new(Arc::new(MemoryDisk::new()));
    log.archive_to(Arc::new(sink.clone()), ArchiveOptions::default())?;
    log.write(b"before")?;
    // Its PREPARE lies below the backup.
    let mut unit = log.begin()?;
    unit.append(b"in doubt")?;
    let doubt = unit.prepare(b"gid")?;
    log.backup_to(&sink, &[], &BackupOptions::new().full_speed())?;
    let mut units = Vec::new();
    for (index, text) in [b"one", b"two", b"thr"].into_iter().enumerate() {
        let mut unit = log.begin()?;
        unit.append(text)?;
        let id = unit.id();
        unit.commit()?;
        units.push(id);
        clock.advance(1_000);
        log.tick();
        if index == 1 {
            log.label("two are there")?;
        }
    }
    clock.advance(5_000);
    log.tick();
    doubt.commit()?;
    log.write(b"last")?;
    log.archive_now()?;
    let cases: [(Target, &[&[u8]]); 5] = [
        (Target::Time(2_500), &[b"before", b"one"]),
        (Target::Time(3_500), &[b"before", b"one", b"two"]),
        (Target::Label("two are there".into()), &[b"before", b"one", b"two"]),
        (Target::BackupEnd(None), &[b"before"]),
        (Target::End, &[b"before", b"one", b"two", b"thr", b"in doubt", b"last"]),
    ];
    let plans = cases.map(|(target, due)| (plan_restore(&sink, &target.into()), due));
    let end = Wanted::from(Target::End);
    let number = plan_before_commit(&sink, &end, UnitName::Number(units[1]));
    let gid = plan_before_commit(&sink, &end, UnitName::Gid(b"gid"));
    let before: &[&[u8]] = &[b"before", b"one", b"two", b"thr"];
    for (plan, due) in plans.into_iter().chain([(number, &before[..2]), (gid, before)]) {
        let plan = plan?;
        let into = SimDisk::new(2);
        carried_out(&sink, &plan, &into, &RestoreOptions::new())?;
        let recovery = quiet().open_on(Arc::new(into))?;
        assert_eq!(redone(&recovery)?, due, "{:?}", plan.asked);
    }
    for (target, kind) in [
        (Target::Time(500), ErrorKind::Invalid),
        (Target::Time(60_000), ErrorKind::NotFound),
        (Target::Label("no such".into()), ErrorKind::NotFound),
    ] {
        let refused = plan_restore(&sink, &Wanted::from(target.clone())).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains("can be reached: LSN"), "{refused}");
    }
    let refused = plan_before_commit(&sink, &end, UnitName::Gid(b"nobody")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    Ok(())
}
