//! What is let go of is what no plan of the window needs.

use crate::world::World;
use siding_checkpoint::{
    Inventory, Manifest, Retention, Seen, SegmentIndex, Source, Target, Wanted, Why, plan, retain,
};
use siding_wal::Lsn;

fn inventory(seen: &Seen) -> Inventory {
    let mut found = Inventory::default();
    let name = |it: &Manifest| {
        let id: String = it.id.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("backup-{id}.manifest")
    };
    found.backups = seen.backups.iter().map(|it| (name(it), it.clone())).collect();
    found.segments = seen.pieces.iter().map(|it| it.index.clone()).collect();
    found.backups.sort_by_key(|(name, it)| (it.end, name.clone()));
    found.segments.sort_by_key(|it| (it.number, it.end(), it.highest()));
    found
}

/// What is left of it.
fn left(seen: &Seen, gone: &[String]) -> Seen {
    let mut found = inventory(seen);
    found.backups.retain(|(name, _)| !gone.contains(name));
    let stays = |index: &SegmentIndex| {
        let (index, segment) = (index.index_name(), index.segment_name());
        assert_eq!(gone.contains(&index), gone.contains(&segment));
        let place = |name: &String| gone.iter().position(|it| it == name);
        assert!(place(&index) <= place(&segment), "{index} goes first");
        !gone.contains(&index)
    };
    found.segments.retain(stays);
    let piece = |index| siding_checkpoint::Piece { index, source: Source::Archive };
    Seen {
        backups: found.backups.into_iter().map(|(_, it)| it).collect(),
        pieces: found.segments.into_iter().map(piece).collect(),
    }
}

/// A world whose backups know what time it was.
fn world(seed: u64) -> (World, Seen) {
    let world = World::new(seed);
    let seen = world.seen();
    (world, seen)
}

/// Everything that could be restored of the window can be afterwards, and as it would have been.
pub fn the_window_stays() -> Result<(), String> {
    let (mut kept, mut gone, mut refused) = (0, 0, 0);
    for seed in 0..1_500 {
        let (mut world, seen) = world(seed);
        let now = 400_000;
        let cutoff = world.rng.below(200_000);
        let count = 1 + world.rng.index(2);
        let pins = seen.backups.iter().filter(|it| it.id[0] % 5 == 0).map(|it| it.id);
        let pinned: Vec<_> = if world.rng.chance(1, 3) { pins.collect() } else { Vec::new() };
        let window_ms = Some(now - cutoff);
        let rule = Retention { count, window_ms, pinned: pinned.clone() };
        let pruning = retain(&inventory(&seen), &rule, now);
        gone += pruning.remove.len();
        let after = left(&seen, &pruning.remove);
        assert_eq!(after.backups.len(), pruning.kept.len(), "seed {seed}");
        let again = retain(&inventory(&after), &rule, now);
        assert_eq!(again.remove, Vec::<String>::new(), "seed {seed}: at once");
        let incarnations: Vec<Option<u32>> = std::iter::once(None)
            .chain(world.lives.iter().flat_map(|it| &it.segments).map(|it| Some(it.incarnation)))
            .collect();
        for _ in 0..30 {
            let incarnation = incarnations[world.rng.index(incarnations.len())];
            let of = |target| Wanted { incarnation, ..Wanted::from(target) };
            // Where the window begins in this history.
            let from = match plan(&seen, &of(Target::Time(cutoff))) {
                Ok(plan) => plan.target,
                Err(refusal)
                    if matches!(refusal.why, Why::TimeBefore(_))
                        && (incarnation.is_none()
                            || refusal.reachable.is_some_and(|it| it.times_ms.is_some())) =>
                {
                    Lsn::ZERO
                }
                // All of it was before; the end of a history that goes on stays all the same.
                Err(_) if incarnation.is_none() => Lsn::MAX,
                Err(_) => continue,
            };
            let end = world.lives.iter().map(|it| it.end()).max().unwrap().get();
            let target = match world.rng.below(4) {
                0 => Target::End,
                1 => Target::Time(cutoff + world.rng.below(100_000)),
                _ => Target::Lsn(Lsn::new(world.rng.below(end + 1))),
            };
            let Ok(before) = plan(&seen, &of(target.clone())) else { continue };
            if before.target < from && !(incarnation.is_none() && target == Target::End) {
                continue;
            }
            let found = plan(&after, &of(target.clone()));
            let found = found.map_err(|why| format!("seed {seed}: {target:?}: {why}"))?;
            kept += 1;
            let same = (found.target, found.backup) == (before.target, before.backup);
            if !same {
                return Err(format!("seed {seed}: {target:?}: {before:?} {found:?}"));
            }
        }
        // Pinned backups are restored to their ends.
        for id in pinned {
            let wanted = Wanted { backup: Some(id), ..Wanted::from(Target::BackupEnd(Some(id))) };
            if plan(&seen, &wanted).is_ok() {
                plan(&after, &wanted).map_err(|why| format!("seed {seed}: pinned: {why}"))?;
            } else {
                refused += 1;
            }
        }
    }
    assert!(kept > 4_000 && gone > 3_000, "{kept} {gone} {refused}");
    Ok(())
}

#[test]
fn everything_of_the_window_can_be_restored_after_as_before() {
    the_window_stays().unwrap_or_else(|what| panic!("{what}"));
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn a_pruning_that_breaks_a_chain_is_found() {
    use siding_wal::seeded::{Bug, with};
    let found = std::panic::catch_unwind(|| with(Bug::PruneBreaksChain, the_window_stays));
    assert!(found.is_err() || found.is_ok_and(|it| it.is_err()));
}

#[test]
fn the_newest_backup_always_stays() {
    for seed in 0..500 {
        let (_, seen) = world(seed);
        let end = Wanted::from(Target::End);
        let Ok(before) = plan(&seen, &end) else { continue };
        let rule = Retention { count: 0, window_ms: None, pinned: Vec::new() };
        let after = left(&seen, &retain(&inventory(&seen), &rule, u64::MAX).remove);
        let newest = after.backups.iter().any(|it| it.parent.is_none());
        assert!(newest, "seed {seed}");
        // Of the newest backups by time one is kept; in this history, if that is the newest.
        if after.backups.iter().any(|it| it.id == before.backup) {
            let found = plan(&after, &end).unwrap();
            assert_eq!(found.target, before.target, "seed {seed}");
        }
    }
}
