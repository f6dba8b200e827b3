//! Whatever happened: what can be had is planned, and what is planned can be had.

use crate::oracle::reach;
use crate::world::{Batch, Life, World};
use siding_checkpoint::{Plan, Target, Wanted, Why, plan};
use siding_wal::Lsn;

/// The numbers of the batches that a plan brings, from a position on.
fn brought(world: &World, plan: &Plan, from: Lsn) -> Vec<u64> {
    let mut numbers = Vec::new();
    for part in &plan.log {
        let shipped = world.shipped.iter().find(|it| it.piece == part.piece).unwrap();
        // Where its batches end is known from the lives alone.
        let all = world.lives.iter().flat_map(|it| &it.segments).flat_map(|it| &it.batches);
        let ends: std::collections::BTreeMap<u64, Lsn> =
            all.map(|it| (it.number, it.joint.end)).collect();
        let fits = |number: &&u64| ends[number] <= part.upto && ends[number] > from;
        numbers.extend(shipped.numbers.iter().filter(fits));
    }
    numbers
}

/// The life that a plan brings, if it is one.
fn life_of<'a>(world: &'a World, plan: &Plan) -> Option<&'a Life> {
    let brought = brought(world, plan, plan.floor);
    world.lives.iter().find(|life| {
        let oldest = Lsn::new(life.segments[0].first_batch().get() - 1).max(plan.floor);
        let tail: Vec<u64> = {
            let skip = brought.len().saturating_sub(life.between(oldest, plan.target).len());
            brought[skip..].to_vec()
        };
        tail == life.between(oldest, plan.target)
    })
}

fn batches_of(world: &World) -> impl Iterator<Item = Batch> {
    world.lives.iter().flat_map(|it| &it.segments).flat_map(|it| it.batches.clone())
}

#[test]
fn what_can_be_had_is_planned_and_nothing_else() {
    let (mut planned, mut refused) = (0, 0);
    for seed in 0..4_000 {
        let mut world = World::new(seed);
        let seen = world.seen();
        for life in world.lives.clone() {
            for taken in world.backups.clone().iter().filter(|it| it.manifest.parent.is_none()) {
                let Some(reach) = reach(&world, &life, taken) else { continue };
                let from = taken.manifest.end;
                let batches: Vec<_> =
                    life.segments.iter().flat_map(|it| it.batches.clone()).collect();
                let within: Vec<_> = batches.iter().filter(|it| it.joint.end >= from).collect();
                let batch = within[world.rng.index(within.len())];
                // Which of two that end in one batch, whole or cut, cannot be said by incarnation.
                if batch.cut {
                    continue;
                }
                let mut wanted = Wanted::from(Target::Lsn(batch.joint.end));
                wanted.incarnation = Some(batch.incarnation);
                wanted.backup = Some(taken.manifest.id);
                let found = plan(&seen, &wanted);
                if batch.joint.end <= reach {
                    let plan = found.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
                    let due = life.between(from, batch.joint.end);
                    let got = brought(&world, &plan, from);
                    let cut =
                        batches_of(&world).find(|it| it.cut && got.last() == Some(&it.number));
                    let twin = |it: Batch| it.joint.end == batch.joint.end;
                    assert!(got == due || cut.is_some_and(twin), "seed {seed}: {got:?} {due:?}");
                    planned += 1;
                } else if let Ok(plan) = found {
                    // Of another life, whole.
                    assert!(life_of(&world, &plan).is_some(), "seed {seed}");
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert!(planned > 4_000 && refused > 500, "{planned} {refused}");
}

#[test]
fn a_plan_brings_one_history_whole_from_a_backup_of_it() {
    let mut count = 0;
    for seed in 0..4_000 {
        let mut world = World::new(seed);
        let seen = world.seen();
        for _ in 0..6 {
            let end = world.lives.iter().map(Life::end).max().unwrap().get();
            let target = match world.rng.below(5) {
                0 => Target::End,
                1 => Target::Time(world.rng.below(200_000)),
                2 => Target::Label(format!("label-{}", world.rng.below(3))),
                3 => Target::BackupEnd(None),
                _ => Target::Lsn(Lsn::new(world.rng.below(end + 2_000))),
            };
            let Ok(plan) = plan(&seen, &Wanted::from(target.clone())) else { continue };
            count += 1;
            let life = life_of(&world, &plan);
            assert!(life.is_some(), "seed {seed}: {target:?}: {plan:?}");
            let taken = world.backups.iter().find(|it| it.manifest.id == plan.backup).unwrap();
            let manifest = &taken.manifest;
            assert!(manifest.end <= plan.target && plan.target <= plan.reachable.to);
            let of_backup = brought(&world, &plan, manifest.floor);
            assert!(of_backup.contains(&taken.last), "seed {seed}: not of this backup");
            assert!(plan.incarnation >= plan.reachable.incarnation);
            // Each goes on where the one before it ends.
            for pair in plan.log.windows(2) {
                assert_eq!(pair[0].upto, pair[1].piece.index.kept.end.min(plan.target));
                assert!(pair[0].piece.index.holds(pair[1].piece.index.kept));
            }
            if let Target::Time(time) = target {
                let mark = plan.mark.unwrap();
                assert_eq!(mark.lsn, plan.target);
                assert!(mark.time_ms <= time);
            }
        }
    }
    assert!(count > 3_000, "{count}");
}

/// Every target in what a refusal or a plan calls reachable is planned; what lies beside is not.
#[test]
fn what_is_called_reachable_is() {
    let mut count = 0;
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        let seen = world.seen();
        let far = Wanted::from(Target::Lsn(Lsn::new(1 << 40)));
        let Err(refusal) = plan(&seen, &far) else { panic!("seed {seed}") };
        let Some(reachable) = refusal.reachable else { continue };
        count += 1;
        let span = reachable.to.since(reachable.from);
        for _ in 0..8 {
            let lsn = reachable.from.plus(world.rng.below(span + 1));
            let got = plan(&seen, &Wanted::from(Target::Lsn(lsn))).unwrap();
            assert_eq!((got.target, got.reachable), (lsn, reachable), "seed {seed}");
            if let Some((first, last)) = reachable.times_ms {
                let time = first + world.rng.below(last - first + 1);
                let got = plan(&seen, &Wanted::from(Target::Time(time))).unwrap();
                assert!(reachable.from <= got.target && got.target <= reachable.to);
                assert!(plan(&seen, &Wanted::from(Target::Time(last + 1))).is_err());
                let early = first.checked_sub(1).map(|it| Wanted::from(Target::Time(it)));
                assert!(early.is_none_or(|it| plan(&seen, &it).is_err()));
            } else {
                assert!(plan(&seen, &Wanted::from(Target::Time(5_000))).is_err());
            }
        }
        let below = Lsn::new(reachable.from.get() - 1);
        let refused = plan(&seen, &Wanted::from(Target::Lsn(below))).unwrap_err();
        assert_eq!(refused.why, Why::Below(below), "seed {seed}");
    }
    assert!(count > 300, "{count}");
}
