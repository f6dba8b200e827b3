//! Pruning: what is kept can be restored, whatever comes in between.

use crate::ship::{Rig, whole};
use siding::archive::{
    BackupId, Inventory, Piece, Retention, Seen, Source, Target, Wanted, plan, prune,
};
use siding::sink::Sink;
use siding::{BackupOptions, Lsn, Result};
use siding_sim::disk::Crash;

fn seen(sink: &dyn Sink) -> Result<Seen> {
    let found = Inventory::of(sink)?;
    whole(sink, &found)?;
    let pieces = found.segments.into_iter();
    Ok(Seen {
        backups: found.backups.into_iter().map(|(_, it)| it).collect(),
        pieces: pieces.map(|index| Piece { index, source: Source::Archive }).collect(),
    })
}

/// An archive with backups, segments between them; the backups, oldest first.
pub(crate) fn archived() -> Result<(Rig, Vec<BackupId>)> {
    let mut rig = Rig::new()?;
    rig.start()?;
    let mut backups = Vec::new();
    for _ in 0..4 {
        rig.write(2)?;
        backups.push(rig.log.backup_to(&*rig.sink(), &[], &BackupOptions::new())?.id);
        rig.log.write(&[1; 10])?;
        rig.log.archive_now()?;
    }
    Ok((rig, backups))
}

fn rule(count: usize, pinned: &[BackupId]) -> Retention {
    Retention { count, window_ms: None, pinned: pinned.to_vec() }
}

#[test]
pub(crate) fn what_is_kept_can_be_restored_whenever_the_power_goes() -> Result<()> {
    let (rig, backups) = archived()?;
    let end = rig.log.archive_now()?.upto;
    let before = rig.archive.crash(Crash::KeepAll);
    for cut in 0.. {
        let disk = before.fork();
        let sink = siding::sink::DirectorySink::new(std::sync::Arc::new(disk.clone()));
        disk.cut_at(cut);
        let pruned = prune(&sink, &rule(2, &backups[..1]), u64::MAX, false);
        let over = !disk.is_off();
        for survives in [Crash::DropAll, Crash::KeepAll, Crash::Random(cut)] {
            let disk = disk.crash(survives);
            let sink = siding::sink::DirectorySink::new(std::sync::Arc::new(disk));
            let seen = seen(&sink)?;
            for id in [backups[0], backups[2], backups[3]] {
                let wanted = Wanted::from(Target::BackupEnd(Some(id)));
                plan(&seen, &Wanted { backup: Some(id), ..wanted })?;
            }
            // Every position from the older of the two that are kept on.
            let oldest = seen.backups.iter().find(|it| it.id == backups[2]).unwrap().end;
            for lsn in [oldest, oldest.plus(70_000), end] {
                assert_eq!(plan(&seen, &Wanted::from(Target::Lsn(lsn)))?.target, lsn);
            }
            // Another try ends it, and a third has nothing to do.
            prune(&sink, &rule(2, &backups[..1]), u64::MAX, false)?;
            let again = prune(&sink, &rule(2, &backups[..1]), u64::MAX, true)?;
            assert_eq!((again.remove.len(), again.kept.len()), (0, 3));
        }
        if over {
            assert!(pruned?.remove.len() > 3 && cut > 5);
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn what_goes_is_told_first_and_a_hole_before_what_is_pinned_is_named() -> Result<()> {
    let (rig, backups) = archived()?;
    let sink = rig.sink();
    let before = sink.list("").unwrap();
    let told = prune(&*sink, &rule(1, &backups[..1]), u64::MAX, true)?;
    assert_eq!(sink.list("").unwrap(), before, "a dry run removes nothing");
    let done = prune(&*sink, &rule(1, &backups[..1]), u64::MAX, false)?;
    assert_eq!(done, told);
    assert_eq!((done.kept.len(), done.gaps.len()), (2, 1), "{done:?}");
    let left: Vec<String> = sink.list("").unwrap().into_iter().map(|(name, _)| name).collect();
    assert!(done.remove.iter().all(|name| !left.contains(name)));
    assert_eq!(left.len() + done.remove.len(), before.len());
    // A manifest that cannot be read: who knows what that one needs.
    let manifest = left.iter().find(|name| name.ends_with(".manifest")).unwrap();
    rig.archive.overwrite(manifest, 40, &[0x55]).unwrap();
    assert!(prune(&*sink, &rule(1, &[]), u64::MAX, false).is_err());
    assert!(Lsn::ZERO < rig.log.positions().oldest);
    Ok(())
}
