//! Which stretches of the log many reads will want: each is read once, and nothing between them.
//!
//! Who walks a chain back reads at random, and gains by reading more than he asks for: what he
//! asks for next is near. How near nobody knew, so a device read six bytes for one. A unit's chain
//! is said to lie between two positions, and so many records to be in it: chains that are dense
//! make runs, those that touch make one, and a run is read by chunks. All else is read by itself.

use crate::Lsn;

/// Bytes that are read at once, at most. Longer reads hold up the writes beside them, shorter ones
/// are more in number: this is about what a device streams in the time of two durable writes.
const CHUNK: u64 = 256 << 10;

/// Chains that are no further apart are read with what lies between them.
const GAP: u64 = 16 << 10;

/// A chain is dense if it has a record in so many bytes: two reads cost more than these.
const SPACING: u64 = 16 << 10;

/// A stretch that holds a chain, or some of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its oldest record.
    pub from: Lsn,
    /// Behind its newest record, about.
    pub to: Lsn,
    /// About how many records of the chain lie in it.
    pub records: u64,
}

impl Stretch {
    fn is_dense(&self) -> bool {
        let len = self.to.since(self.from);
        len <= CHUNK / 4 || len <= self.records.saturating_mul(SPACING)
    }
}

/// Stretches, joined where they touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<(Lsn, Lsn)>);

impl Runs {
    /// Of these stretches, in any order, those that are dense.
    #[must_use]
    pub fn of(stretches: impl IntoIterator<Item = Stretch>) -> Self {
        let dense = stretches.into_iter().filter(|it| it.from < it.to && it.is_dense());
        let mut all: Vec<(Lsn, Lsn)> = dense.map(|it| (it.from, it.to)).collect();
        all.sort_unstable();
        let mut runs: Vec<(Lsn, Lsn)> = Vec::new();
        for (from, to) in all {
            match runs.last_mut().filter(|(_, end)| from <= end.plus(GAP)) {
                Some((_, end)) => *end = to.max(*end),
                None => runs.push((from, to)),
            }
        }
        Self(runs)
    }

    /// What to read for the `want` bytes at `lsn`: where they lie in a run, the chunk that they
    /// lie in; else nothing but they.
    pub(super) fn chunk(&self, lsn: Lsn, want: u64) -> (Lsn, Lsn) {
        let behind = lsn.plus(want);
        let index = self.0.partition_point(|(from, _)| *from <= lsn);
        let run = index.checked_sub(1).and_then(|index| self.0.get(index));
        let Some((from, to)) = run.filter(|(_, to)| lsn < *to) else { return (lsn, behind) };
        let into = lsn.since(*from);
        let start = from.plus(into - into % CHUNK);
        (start, start.plus(CHUNK).min(*to).max(behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stretch(from: u64, to: u64, records: u64) -> Stretch {
        Stretch { from: Lsn::new(from), to: Lsn::new(to), records }
    }

    #[test]
    fn neighbours_are_one_run_and_what_is_far_or_sparse_is_none() {
        let runs = Runs::of([
            stretch(2_000_000, 2_004_000, 1),
            stretch(1_000, 9_000, 2),
            stretch(9_000 + GAP, 40_000, 1),
            stretch(3_000_000, 9_000_000, 20),
        ]);
        let want = |lsn: u64| {
            let (from, to) = runs.chunk(Lsn::new(lsn), 100);
            (from.get(), to.get())
        };
        assert_eq!((want(1_000), want(39_999)), ((1_000, 40_000), (1_000, 40_099)));
        assert_eq!((want(999), want(40_000)), ((999, 1_099), (40_000, 40_100)));
        assert_eq!(want(2_003_000), (2_000_000, 2_004_000));
        assert_eq!(want(4_000_000), (4_000_000, 4_000_100), "its records are too far apart");
        assert_eq!(Runs::default().chunk(Lsn::new(5), 3), (Lsn::new(5), Lsn::new(8)));
    }

    proptest! {
        /// Whatever is asked for is in what is read, and no run is read in other pieces than its
        /// chunks.
        #[test]
        fn a_chunk_holds_what_is_wanted(
            all in prop::collection::vec((0_u64..5_000_000, 1_u64..900_000, 1_u64..90), 0..20),
            asked in 0_u64..5_000_000,
            want in 1_u64..300_000,
        ) {
            let all = all.into_iter();
            let all = all.map(|(from, len, records)| stretch(from, from + len, records));
            let runs = Runs::of(all);
            let (from, to) = runs.chunk(Lsn::new(asked), want);
            prop_assert!(from.get() <= asked && asked + want <= to.get());
            let most = (from.get() + CHUNK).max(asked + want);
            prop_assert!(asked - from.get() < CHUNK && to.get() <= most);
            let again = runs.chunk(from, 1);
            prop_assert_eq!(again.0, from);
            let mut last = None;
            for (from, to) in &runs.0 {
                prop_assert!(from < to && last.is_none_or(|last: Lsn| last.plus(GAP) < *from));
                last = Some(*to);
            }
        }
    }
}
