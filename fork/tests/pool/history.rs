//! Random histories against the model: what was synced and is live is readable, whatever
//! happens, and nothing leaks.

use crate::world::World;
use proptest::collection::vec;
use proptest::prelude::*;
use siding_sim::SimDisk;
use siding_sim::disk::{Crash, FailedSync, Fault, Lasts};

#[derive(Clone, Debug)]
enum Op {
    Append(u64, Vec<usize>),
    Compact(u64, usize),
    Abandon(u64),
    Sync,
    Settle,
    Free(u64),
    Crash(Crash),
    /// The process ends, the machine goes on; perhaps its page cache is dropped.
    Kill(Option<u64>),
    Sweep,
    /// A call that comes so much later fails.
    Fail(u64, Fault),
}

fn lens() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        12 => vec(0..300_usize, 1..6),
        4 => vec(1000..9000_usize, 1..4),
        1 => Just(vec![70_000]),
        1 => Just(vec![5, 1_100_000, 5]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let unit = || 0..6_u64;
    let crash = prop_oneof![
        Just(Crash::DropAll),
        Just(Crash::KeepAll),
        any::<u64>().prop_map(Crash::Random),
        (0..9_usize).prop_map(Crash::KeepOnly),
        (0..9_usize).prop_map(Crash::DropOnly),
    ];
    let fault = (0..6_usize).prop_map(|at| Fault::ALL[at]);
    prop_oneof![
        12 => (unit(), lens()).prop_map(|(unit, lens)| Op::Append(unit, lens)),
        3 => (unit(), 1..8_usize).prop_map(|(unit, records)| Op::Compact(unit, records)),
        1 => unit().prop_map(Op::Abandon),
        8 => Just(Op::Sync),
        2 => Just(Op::Settle),
        3 => unit().prop_map(Op::Free),
        2 => crash.prop_map(Op::Crash),
        1 => prop::option::of(any::<u64>()).prop_map(Op::Kill),
        2 => Just(Op::Sweep),
        2 => (0..8_u64, fault).prop_map(|(later, fault)| Op::Fail(later, fault)),
    ]
}

fn failed_sync() -> impl Strategy<Value = FailedSync> {
    prop_oneof![
        Just(FailedSync::Lost),
        Just(FailedSync::Reverted),
        Just(FailedSync::Scattered),
        Just(FailedSync::Kept),
    ]
}

/// Units by place and generation: an ended unit's number is not used again.
#[derive(Default)]
struct Units([u64; 6]);

impl Units {
    fn get(&self, place: u64) -> u64 {
        1 + place + 6 * self.0[usize::try_from(place).unwrap()]
    }

    fn next(&mut self, place: u64) {
        self.0[usize::try_from(place).unwrap()] += 1;
    }
}

fn step(world: &mut World, units: &mut Units, op: Op) {
    match op {
        Op::Append(unit, lens) => {
            // One that fails is given up, as the mover gives it up; the others of its round go on.
            if world.append(units.get(unit), &lens).is_err() {
                world.abandon(units.get(unit));
            }
        }
        Op::Compact(unit, records) => {
            let unit = units.get(unit);
            if world.live.contains_key(&unit) && !world.is_pending(unit) {
                let _ = world.compact(unit, records);
            }
        }
        Op::Abandon(unit) => world.abandon(units.get(unit)),
        Op::Sync => {
            let _ = world.sync();
            world.check_reads();
        }
        Op::Settle => world.settle(),
        Op::Free(unit) => {
            world.free(units.get(unit));
            units.next(unit);
        }
        Op::Crash(choice) => {
            world.crash(choice);
            world.check_reads();
        }
        Op::Kill(evicted) => {
            let disk = world.disk.clone();
            world.reopen(evicted.map_or_else(|| disk.fork(), |seed| disk.fork_evicted(seed)));
            world.check_reads();
        }
        Op::Sweep => {
            let found = world.sweep();
            assert_eq!((found.problems, &found.strangers), (0, &Vec::new()));
            world.check_reads();
        }
        Op::Fail(later, fault) => {
            world.disk.fail(world.disk.calls() + later, fault, Lasts::Once);
        }
    }
}

fn run(mut world: World, ops: Vec<Op>) {
    let mut units = Units::default();
    for op in ops {
        let end = matches!(op, Op::Sync | Op::Sweep);
        step(&mut world, &mut units, op);
        if end && (0..6).all(|place| !world.is_pending(units.get(place))) {
            world.check_bytes();
        }
    }
    // In the end a power cut, and one more open: nothing may be left over.
    world.crash(Crash::Random(7));
    world.check_reads();
    world.sweep();
    world.check_bytes();
    let live: Vec<u64> = world.live.keys().copied().collect();
    live.into_iter().for_each(|unit| world.free(unit));
    world.check_bytes();
    assert!(world.files().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_synced_and_is_live_is_readable_and_nothing_leaks(
        seed in any::<u64>(),
        how in failed_sync(),
        big in any::<bool>(),
        ops in vec(op(), 1..60),
    ) {
        let disk = SimDisk::new(seed).with_write_unit(if big { 4096 } else { 512 });
        disk.set_failed_sync(how);
        run(World::new(disk), ops);
    }
}
