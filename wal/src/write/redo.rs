//! The redo position, and the updates that hold it.
//!
//! An update is in progress from the moment its record is in the log until the embedder's files
//! hold it. Position and registration are one step under the append lock, so that nobody sees the
//! one without the other: the oldest update in progress is exact. The idea is that of the patent
//! US5381545 ("detecting the oldest uncommitted update").

use crate::Lsn;
use std::collections::{BTreeMap, BTreeSet};

/// An update whose record is in the log, and which the embedder's files may not hold yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// What is updated, by a number of the embedder's.
    pub object: u16,
    /// The unit of work it belongs to.
    pub unit: u64,
    /// Its guard is gone, and nobody said that it is done.
    pub lost: bool,
}

/// What a backup that runs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The backup's number.
    pub id: [u8; 16],
    /// Its recovery point: redo stays at or below it.
    pub point: Lsn,
    /// Nothing from here on is trimmed.
    pub trim: Lsn,
    /// Where the log ended when it began.
    pub began: Lsn,
    /// Milliseconds since 1970 when it began.
    pub began_ms: u64,
    /// It is given up once so many bytes of log were written behind where it began.
    pub most: Option<u64>,
}

/// What redo has to start from.
#[derive(Clone, Debug, Default)]
pub struct Redo {
    /// The latest position that was reported.
    reported: Lsn,
    updates: BTreeMap<Lsn, InProgress>,
    /// The same by object.
    by_object: BTreeMap<u16, BTreeSet<Lsn>>,
    /// Updates were registered in this open.
    guarded: bool,
    /// Backups that run, by a number.
    holds: BTreeMap<u64, Held>,
    next_hold: u64,
}

impl Redo {
    /// The redo position: what was reported, and not above an update in progress or the recovery
    /// point of a backup that runs.
    #[must_use]
    pub fn position(&self) -> Lsn {
        let held = self.holds.values().map(|held| held.point).min().unwrap_or(Lsn::MAX);
        let held = if seeded!(RedoNotHeld) { Lsn::MAX } else { held };
        self.oldest(&[]).unwrap_or(Lsn::MAX).min(held).min(self.reported)
    }

    /// A backup begins. Returns the number to let go by.
    pub fn hold(&mut self, held: Held) -> u64 {
        self.next_hold = self.next_hold.saturating_add(1);
        self.holds.insert(self.next_hold, held);
        self.next_hold
    }

    /// The backup of this number is over.
    pub fn let_go(&mut self, hold: u64) {
        self.holds.remove(&hold);
    }

    /// Gives up the backups for which too much was written, with the log ending at `end`.
    pub fn give_up(&mut self, end: Lsn) {
        let few = |held: &Held| held.most.is_none_or(|most| end.since(held.began) <= most);
        self.holds.retain(|_, held| few(held));
    }

    /// Whether the backup of this number is neither over nor given up.
    #[must_use]
    pub fn holds(&self, hold: u64) -> bool {
        self.holds.contains_key(&hold)
    }

    /// The backups that run.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.holds.values()
    }

    /// Nothing from here on may be trimmed, for the backups that run; [`Lsn::MAX`] if none does.
    #[must_use]
    pub fn held_trim(&self) -> Lsn {
        self.holds.values().map(|held| held.trim).min().unwrap_or(Lsn::MAX)
    }

    /// Whether a backup runs.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Takes note of a reported position; it never goes back.
    pub fn report(&mut self, lsn: Lsn) {
        self.reported = self.reported.max(lsn);
    }

    /// The record of an update was placed at `lsn`.
    pub fn begin(&mut self, lsn: Lsn, object: u16, unit: u64) {
        self.guarded = true;
        self.updates.insert(lsn, InProgress { object, unit, lost: false });
        self.by_object.entry(object).or_default().insert(lsn);
    }

    /// The embedder's files hold the update at `lsn`.
    pub fn done(&mut self, lsn: Lsn) {
        let Some(update) = self.updates.remove(&lsn) else { return };
        if let Some(those) = self.by_object.get_mut(&update.object) {
            those.remove(&lsn);
            if those.is_empty() {
                self.by_object.remove(&update.object);
            }
        }
    }

    /// Nobody will say any more whether the update at `lsn` is done.
    pub fn lose(&mut self, lsn: Lsn) {
        if let Some(update) = self.updates.get_mut(&lsn) {
            update.lost = true;
        }
    }

    /// The oldest update in progress of these objects, of all if none is named.
    #[must_use]
    pub fn oldest(&self, objects: &[u16]) -> Option<Lsn> {
        if objects.is_empty() {
            return self.updates.first_key_value().map(|(lsn, _)| *lsn);
        }
        let of = |object| self.by_object.get(object).and_then(BTreeSet::first).copied();
        objects.iter().filter_map(of).min()
    }

    /// Where forward recovery of a copy of these objects starts, if the copy begins now, with the
    /// log ending at `end`: the oldest of their updates in progress, else `end`. What was
    /// reported, if the embedder has registered no update in this open.
    #[must_use]
    pub fn recovery_point(&self, objects: &[u16], end: Lsn) -> Lsn {
        if self.guarded { self.oldest(objects).unwrap_or(end) } else { self.reported }
    }

    /// The same of each of these objects by itself, lowest first.
    #[must_use]
    pub fn recovery_points(&self, objects: &[u16], end: Lsn) -> Vec<(u16, Lsn)> {
        let each: BTreeSet<u16> = objects.iter().copied().collect();
        each.into_iter().map(|it| (it, self.recovery_point(&[it], end))).collect()
    }

    /// The oldest update in progress of each object.
    pub fn oldest_of_each(&self) -> impl Iterator<Item = (Lsn, InProgress)> {
        let firsts = self.by_object.values().filter_map(BTreeSet::first);
        firsts.filter_map(|lsn| self.updates.get(lsn).map(|update| (*lsn, *update)))
    }

    /// Updates in progress.
    #[must_use]
    pub fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether no update is in progress.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_update_holds_what_was_reported_until_it_is_done() {
        let mut redo = Redo::default();
        redo.report(Lsn::new(100));
        assert_eq!(
            (redo.position(), redo.recovery_point(&[], Lsn::new(500))),
            (Lsn::new(100), Lsn::new(100))
        );
        redo.begin(Lsn::new(200), 7, 1);
        redo.report(Lsn::new(300));
        assert_eq!(redo.position(), Lsn::new(200));
        redo.lose(Lsn::new(200));
        assert_eq!(redo.position(), Lsn::new(200));
        assert!(redo.oldest_of_each().all(|(_, update)| update.lost));
        redo.done(Lsn::new(200));
        assert_eq!(redo.position(), Lsn::new(300));
        assert_eq!(redo.recovery_point(&[7], Lsn::new(500)), Lsn::new(500));
    }

    #[test]
    fn a_backup_holds_until_it_is_over_or_given_up() {
        let mut redo = Redo::default();
        redo.report(Lsn::new(400));
        let held = Held {
            id: [1; 16],
            point: Lsn::new(300),
            trim: Lsn::new(200),
            began: Lsn::new(500),
            began_ms: 0,
            most: Some(100),
        };
        let one = redo.hold(held);
        let other =
            redo.hold(Held { point: Lsn::new(350), trim: Lsn::new(250), most: None, ..held });
        assert_eq!((redo.position(), redo.held_trim()), (Lsn::new(300), Lsn::new(200)));
        redo.give_up(Lsn::new(600));
        assert!(redo.holds(one) && redo.holds(other));
        redo.give_up(Lsn::new(601));
        assert!(!redo.holds(one) && redo.holds(other) && redo.is_held());
        assert_eq!((redo.position(), redo.held_trim()), (Lsn::new(350), Lsn::new(250)));
        redo.let_go(other);
        assert_eq!((redo.position(), redo.held_trim()), (Lsn::new(400), Lsn::MAX));
    }

    proptest! {
        /// Against a list of what is in progress.
        #[test]
        fn the_oldest_is_exact(
            ops in prop::collection::vec((0_u16..4, any::<bool>(), 0_usize..8), 0..60),
        ) {
            let (mut redo, mut open, mut at) = (Redo::default(), Vec::new(), 8);
            for (object, begins, which) in ops {
                if begins || open.is_empty() {
                    redo.begin(Lsn::new(at), object, 1);
                    open.push((Lsn::new(at), object));
                    at += 8;
                } else {
                    let (lsn, _) = open.remove(which % open.len());
                    redo.done(lsn);
                }
                let end = Lsn::new(at);
                let each = redo.recovery_points(&[3, 1, 3], end);
                let of = |object| redo.recovery_point(&[object], end);
                prop_assert_eq!(each, vec![(1, of(1)), (3, of(3))]);
                for objects in [&[][..], &[0], &[1, 3], &[0, 1, 2, 3]] {
                    let named = |object| objects.is_empty() || objects.contains(&object);
                    let oldest = open.iter().filter(|it| named(it.1)).map(|it| it.0).min();
                    prop_assert_eq!(redo.oldest(objects), oldest);
                    prop_assert_eq!(redo.recovery_point(objects, end), oldest.unwrap_or(end));
                }
                prop_assert_eq!(redo.len(), open.len());
            }
        }
    }
}
