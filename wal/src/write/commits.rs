//! What COMMITs need: under deferred apply, redo reads a committed unit's records, which may lie
//! far below its COMMIT.
//!
//! A staircase: for a COMMIT and all behind it, the oldest record they need. What a later COMMIT
//! needs too is listed once, so the positions and the needs both rise. Memory is bounded: with
//! too many steps, neighbours of the older half become one, which needs what the first of them
//! did until redo is behind the second. So an answer is never too high, and it is exact for a
//! redo position behind the last COMMIT.

use crate::Lsn;
use std::collections::VecDeque;

/// Steps kept at most.
const STEPS: usize = 4096;

/// The needs of COMMITs, oldest COMMIT first.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    /// The position behind a COMMIT, and the oldest record that it or a later one needs.
    steps: VecDeque<(Lsn, Lsn)>,
    /// The redo position that the last durable keypoint carries.
    redo: Lsn,
}

impl Commits {
    /// A durable keypoint carries this redo position: for it answers are kept exact. COMMITs below
    /// it still count for who asks from further back, and are not mistaken for what redo needs.
    pub fn redo_carried(&mut self, redo: Lsn) {
        self.redo = self.redo.max(redo);
    }

    /// A COMMIT that ends at `next`, behind all others so far, needs records from `oldest` on.
    pub fn note(&mut self, next: Lsn, oldest: Lsn) {
        while self.steps.pop_back_if(|(_, need)| *need >= oldest).is_some() {}
        self.steps.push_back((next, oldest));
        if self.steps.len() > STEPS {
            self.coarsen();
        }
    }

    /// Notes all of `later`, whose COMMITs lie behind all of these.
    pub fn append(&mut self, later: &Self) {
        for (next, oldest) in &later.steps {
            self.note(*next, *oldest);
        }
    }

    /// Of the COMMITs up to `upto`, `exact` says all that still counts.
    pub fn learn(&mut self, upto: Lsn, exact: &Self) {
        let index = self.steps.partition_point(|(next, _)| *next <= upto);
        let (later, redo) = (self.steps.split_off(index), self.redo);
        let later = Self { steps: later, redo };
        *self = exact.clone();
        self.redo_carried(redo);
        self.append(&later);
    }

    /// Makes one step of each two neighbours in the older half, but for those that the redo
    /// position lies between.
    fn coarsen(&mut self) {
        let newer = self.steps.split_off(STEPS / 2);
        let older = std::mem::take(&mut self.steps);
        let mut pairs = older.into_iter().peekable();
        while let Some((first, need)) = pairs.next() {
            let same_side = |(next, _): &(Lsn, Lsn)| first > self.redo || *next <= self.redo;
            let next = pairs.next_if(same_side).map_or(first, |(next, _)| next);
            self.steps.push_back((next, need));
        }
        self.steps.extend(newer);
    }

    /// The oldest record that the COMMITs ending above `redo` need; [`Lsn::MAX`] if they need
    /// none, or there are none.
    #[must_use]
    pub fn need(&self, redo: Lsn) -> Lsn {
        let index = self.steps.partition_point(|(next, _)| *next <= redo);
        self.steps.get(index).map_or(Lsn::MAX, |(_, need)| *need)
    }

    /// The same of those COMMITs that end above `from`, and not above `to`, alone; a later one
    /// that needs more speaks for them.
    #[must_use]
    pub fn need_between(&self, from: Lsn, to: Lsn) -> Lsn {
        let index = self.steps.partition_point(|(next, _)| *next <= from);
        match self.steps.get(index) {
            Some((next, need)) if *next <= to => *need,
            _ => Lsn::MAX,
        }
    }

    /// Forgets what needs records below `oldest`, which are gone.
    pub fn trimmed(&mut self, oldest: Lsn) {
        while self.steps.pop_front_if(|(_, need)| *need < oldest).is_some() {}
    }

    /// How many segments of `size` bytes hold the end of a step, at most.
    #[must_use]
    pub fn segments(&self, size: u64) -> u64 {
        let number = |step: Option<&(Lsn, Lsn)>| {
            step.and_then(|(next, _)| next.get().checked_div(size)).unwrap_or(0)
        };
        let (first, last) = (number(self.steps.front()), number(self.steps.back()));
        last.saturating_sub(first).saturating_add(1)
    }

    /// The position behind the last COMMIT that counts, or zero.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.steps.back().map_or(Lsn::ZERO, |(next, _)| *next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_says_what_a_list_of_all_commits_says(
            oldest in prop::collection::vec(0_u64..400, 1..200),
            redo in 0_u64..2_200,
        ) {
            let mut commits = Commits::default();
            let mut all = Vec::new();
            for (index, oldest) in (1..).zip(oldest) {
                let next: u64 = index * 10;
                commits.note(Lsn::new(next), Lsn::new(oldest.min(next)));
                all.push((next, oldest.min(next)));
                let above = all.iter().filter(|(next, _)| *next > redo).map(|(_, need)| *need);
                let need = above.min().map_or(Lsn::MAX, Lsn::new);
                prop_assert_eq!(commits.need(Lsn::new(redo)), need);
            }
            let to = redo + 300;
            let between = commits.need_between(Lsn::new(redo), Lsn::new(to));
            let least = commits.need(Lsn::new(to)).min(between);
            prop_assert_eq!(least, commits.need(Lsn::new(redo)));
        }
    }

    #[test]
    fn what_lies_below_the_redo_position_is_not_what_redo_needs() {
        let mut commits = Commits::default();
        for number in 1..=9_u64 {
            commits.note(Lsn::new(number * 10), Lsn::new(number * 10 - 5));
        }
        let redo = Lsn::new(90);
        commits.redo_carried(redo);
        for number in 10..=100_000_u64 {
            commits.note(Lsn::new(number * 10), Lsn::new(number * 10 - 5));
            assert_eq!(commits.need(redo), Lsn::new(95), "at {number}");
        }
        assert!(commits.steps.len() <= STEPS);
        assert!(commits.need(Lsn::new(50)) <= Lsn::new(55));
        assert!(commits.need_between(Lsn::ZERO, redo) <= Lsn::new(5));
    }

    #[test]
    fn memory_is_bounded_and_no_answer_is_too_high() {
        let mut commits = Commits::default();
        for number in 1..=100_000_u64 {
            commits.note(Lsn::new(number * 10), Lsn::new(number * 10 - 5));
        }
        assert!(commits.steps.len() <= STEPS);
        for redo in (0..1_000_000).step_by(777) {
            let exact = redo / 10 * 10 + 5;
            assert!(commits.need(Lsn::new(redo)) <= Lsn::new(exact), "{redo}");
        }
        assert_eq!(commits.need(Lsn::new(999_990)), Lsn::new(999_995));
        assert_eq!(commits.need(Lsn::new(1_000_000)), Lsn::MAX);
    }
}
