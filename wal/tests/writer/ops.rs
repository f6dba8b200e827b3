//! What may happen to a writer.

use proptest::prelude::*;
use siding_wal::write::Class;

/// The writer that things happen to.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) write_unit: u32,
    pub(crate) segment_size: u64,
    pub(crate) ring_size: usize,
    /// The first segment's number.
    pub(crate) number: u64,
    /// Prepared segments hold what an older incarnation wrote at the same places.
    pub(crate) recycled: bool,
}

impl Shape {
    /// The largest payload.
    pub(crate) fn max_record(&self) -> usize {
        (self.segment_size as usize / 4).min(self.ring_size / 4)
    }
}

/// A record to come: a part of the largest one, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct New {
    /// In 65536ths of the largest payload.
    pub(crate) part: u16,
    pub(crate) reserved: bool,
    pub(crate) unit: u64,
}

impl New {
    pub(crate) fn len(&self, shape: &Shape) -> usize {
        shape.max_record() * (usize::from(self.part) + 1) / 65_536
    }

    pub(crate) fn class(&self) -> Class {
        if self.reserved { Class::Reserved } else { Class::Ordinary }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A record is tried, and not tried again.
    Append(New),
    /// A record is tried until there is room; what is waited for is brought about.
    Insist(New),
    /// A place is asked for, as those do who must know it; then perhaps taken.
    Place(New, bool),
    CloseBatch,
    /// A record is tried when the limit of its class lies at its end, or eight bytes below.
    Edge(New, bool),
    /// Somebody waits for a position, in 250ths of what is not durable: perhaps beyond the end.
    Want(u8),
    /// The same, for a position in the void before the segment that is written to.
    WantVoid(u8),
    /// The holder of the flush token asks what to do, and is at it.
    Ask,
    /// He has done it.
    Complete,
    /// All that is wanted is done.
    Flush,
    /// Segments that are prepared behind the end, and write units of reserve in them.
    Limits(u8, u8),
    Fail,
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let sizes = prop_oneof![
        12 => (prop::sample::select(vec![512_u32, 4096]), Just(64_u64 << 10),
            prop::sample::select(vec![64_usize << 10, 100 << 10, 256 << 10])),
        // Batches that are closed for their size alone.
        1 => (Just(4096_u32), Just(2_u64 << 20), Just(4_usize << 20)),
    ];
    (sizes, 0_u64..3, any::<bool>()).prop_map(|(sizes, number, recycled)| {
        let (write_unit, segment_size, ring_size) = sizes;
        Shape { write_unit, segment_size, ring_size, number, recycled }
    })
}

fn new() -> impl Strategy<Value = New> {
    let part =
        prop_oneof![4 => 0_u16..800, 2 => 0_u16..8_000, 3 => any::<u16>(), 1 => Just(65_535)];
    (part, prop::bool::weighted(0.2), 0_u64..4).prop_map(|(part, reserved, unit)| New {
        part,
        reserved,
        unit,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        80 => new().prop_map(Op::Append),
        40 => new().prop_map(Op::Insist),
        20 => (new(), any::<bool>()).prop_map(|(new, take)| Op::Place(new, take)),
        20 => (new(), any::<bool>()).prop_map(|(new, fits)| Op::Edge(new, fits)),
        10 => Just(Op::CloseBatch),
        40 => any::<u8>().prop_map(Op::Want),
        10 => any::<u8>().prop_map(Op::WantVoid),
        50 => Just(Op::Ask),
        50 => Just(Op::Complete),
        10 => Just(Op::Flush),
        20 => (0_u8..4, any::<u8>()).prop_map(|(hard, soft)| Op::Limits(hard, soft)),
        1 => Just(Op::Fail),
    ]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..80)
}
