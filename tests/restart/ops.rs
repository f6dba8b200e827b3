//! What may happen to a log.

use proptest::prelude::*;
use siding::{Discipline, Durability};
use siding_sim::disk::{Crash, Fault, Torn};

/// The log that things happen to.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) discipline: Discipline,
    pub(crate) durability: Durability,
    pub(crate) write_unit: u32,
    /// The most its files may take, in segments.
    pub(crate) segments_max: Option<u64>,
    pub(crate) keypoint_bytes: u64,
}

/// One thing that happens. An index picks among what there is, modulo its number.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Begin,
    Append {
        unit: usize,
        len: usize,
    },
    Savepoint {
        unit: usize,
    },
    RollBack {
        unit: usize,
        to: usize,
        fail_at: Option<usize>,
    },
    Commit {
        unit: usize,
    },
    Submit {
        unit: usize,
    },
    Prepare {
        unit: usize,
        gid: u8,
    },
    Decide {
        unit: usize,
    },
    BackOut {
        unit: usize,
    },
    Drop {
        unit: usize,
    },
    Resolve {
        doubt: usize,
        commit: bool,
        end: bool,
    },
    Forget {
        doubt: usize,
    },
    Note {
        decided: usize,
    },
    End {
        decided: usize,
    },
    Write {
        len: usize,
    },
    /// Units that come and go, so that segments fill.
    Traffic {
        units: usize,
        len: usize,
    },
    Flush,
    Tick {
        ms: u64,
    },
    /// Reports the redo position of the n-th last acknowledged commit.
    Redo {
        back: usize,
    },
    Keypoint,
    Check,
    Close,
    Crash {
        choice: Crash,
        again: Option<u64>,
    },
    /// The power goes in the middle of a call to come.
    Cut {
        after: u64,
    },
    /// A call to come fails.
    Fail {
        after: u64,
        fault: Fault,
    },
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    (
        prop_oneof![2 => Just(Discipline::DeferredApply), 1 => Just(Discipline::RepeatHistory)],
        prop_oneof![2 => Just(Durability::Durable), 1 => Just(Durability::Relaxed)],
        prop_oneof![3 => Just(512_u32), 1 => Just(4096)],
        prop_oneof![2 => Just(None), 1 => (8_u64..16).prop_map(Some)],
        prop_oneof![Just(u64::MAX), Just(40 << 10)],
    )
        .prop_map(|(discipline, durability, write_unit, segments_max, keypoint_bytes)| Shape {
            discipline,
            durability,
            write_unit,
            segments_max,
            keypoint_bytes,
        })
}

pub(crate) fn crash() -> impl Strategy<Value = Crash> {
    let torn = prop_oneof![Just(Torn::Head), Just(Torn::Tail), Just(Torn::Hole), Just(Torn::Lone)];
    prop_oneof![
        Just(Crash::DropAll),
        Just(Crash::KeepAll),
        (0_usize..6).prop_map(Crash::KeepOnly),
        (0_usize..6).prop_map(Crash::DropOnly),
        any::<u64>().prop_map(Crash::Random),
        (torn, any::<u64>()).prop_map(|(torn, seed)| Crash::Tear(torn, seed)),
    ]
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 8_usize..200, 2 => 200_usize..3_000, 1 => 3_000_usize..16_000]
}

fn op() -> impl Strategy<Value = Op> {
    let any_unit = 0_usize..8;
    let work = prop_oneof![
        3 => Just(Op::Begin),
        6 => (any_unit.clone(), len()).prop_map(|(unit, len)| Op::Append { unit, len }),
        1 => any_unit.clone().prop_map(|unit| Op::Savepoint { unit }),
        2 => (any_unit.clone(), 0_usize..4, prop::option::weighted(0.2, 0_usize..3))
            .prop_map(|(unit, to, fail_at)| Op::RollBack { unit, to, fail_at }),
        2 => any_unit.clone().prop_map(|unit| Op::Commit { unit }),
        1 => any_unit.clone().prop_map(|unit| Op::Submit { unit }),
        2 => (any_unit.clone(), 0_u8..5).prop_map(|(unit, gid)| Op::Prepare { unit, gid }),
        1 => any_unit.clone().prop_map(|unit| Op::Decide { unit }),
        1 => any_unit.clone().prop_map(|unit| Op::BackOut { unit }),
        1 => any_unit.clone().prop_map(|unit| Op::Drop { unit }),
        2 => (0_usize..4, any::<bool>(), any::<bool>())
            .prop_map(|(doubt, commit, end)| Op::Resolve { doubt, commit, end }),
        1 => (0_usize..4).prop_map(|doubt| Op::Forget { doubt }),
        1 => (0_usize..4).prop_map(|decided| Op::Note { decided }),
        2 => (0_usize..4).prop_map(|decided| Op::End { decided }),
        2 => len().prop_map(|len| Op::Write { len }),
        2 => (1_usize..40, len()).prop_map(|(units, len)| Op::Traffic { units, len }),
    ];
    let upkeep = prop_oneof![
        2 => Just(Op::Flush),
        2 => (0_u64..70_000).prop_map(|ms| Op::Tick { ms }),
        3 => (0_usize..5).prop_map(|back| Op::Redo { back }),
        3 => Just(Op::Keypoint),
        1 => Just(Op::Check),
    ];
    let trouble = prop_oneof![
        1 => Just(Op::Close),
        3 => (crash(), prop::option::weighted(0.5, 0_u64..24))
            .prop_map(|(choice, again)| Op::Crash { choice, again }),
        2 => (0_u64..30).prop_map(|after| Op::Cut { after }),
        1 => (0_u64..30, prop::sample::select(Fault::ALL.to_vec()))
            .prop_map(|(after, fault)| Op::Fail { after, fault }),
    ];
    prop_oneof![20 => work, 6 => upkeep, 2 => trouble]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..120)
}
