//! Any calls in any order.
#![allow(dead_code, reason = "each test file takes what it needs")]

use proptest::prelude::*;
use siding::Discipline;
use siding_sim::scenario::history::Op;

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (8_u16..900).prop_map(Op::Begin),
        12 => (any::<u8>(), 8_u16..3_000).prop_map(|(unit, len)| Op::Append(unit, len)),
        3 => any::<u8>().prop_map(Op::Savepoint),
        3 => any::<u8>().prop_map(Op::RollBack),
        3 => any::<u8>().prop_map(Op::Commit),
        5 => any::<u8>().prop_map(Op::Prepare),
        2 => any::<(u8, bool)>().prop_map(|(unit, drop)| Op::BackOut(unit, drop)),
        3 => any::<(u8, bool, bool)>().prop_map(|(unit, commit, end)| {
            Op::Resolve(unit, commit, end)
        }),
        2 => any::<u8>().prop_map(Op::End),
        8 => any::<u8>().prop_map(Op::Fork),
        1 => any::<(u8, bool)>().prop_map(|(unit, hold)| Op::Hold(unit, hold)),
        4 => Just(Op::Fill),
        4 => Just(Op::Store),
        6 => Just(Op::Keypoint),
        4 => (0_u16..30_000).prop_map(Op::Tick),
        2 => Just(Op::Flush),
        2 => Just(Op::Restart),
        1 => Just(Op::Close),
    ]
}

pub(crate) fn op_or_cut() -> impl Strategy<Value = Op> {
    prop_oneof![20 => op(), 1 => any::<u64>().prop_map(Op::PowerCut)]
}

pub(crate) fn discipline() -> impl Strategy<Value = Discipline> {
    prop_oneof![Just(Discipline::DeferredApply), Just(Discipline::RepeatHistory)]
}
