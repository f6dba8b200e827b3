//! Locks: strict two-phase locking on keys and on spans of keys.
//!
//! Who holds one is named by the number of its unit of work, which is never used twice. Readers
//! share, writers exclude, a scan locks the whole span it looks at, so that nothing appears or
//! vanishes in it before the reader ends. Everything is held until the unit ends; a prepared unit
//! keeps what it writes and gives the rest back, for it asks for nothing more.
//!
//! Who waits too long gets [`Error::Busy`] and must back out: that also resolves deadlocks.
//! Callers that lock keys in one fixed order never have any. Nobody waits for a unit in doubt.
//! There is no queue: a scan of keys that are written all the time may never find them all free;
//! [`Db::view`](crate::Db::view) looks without locks.

use crate::change::Changes;
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A stretch of keys: from the first, up to and without the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Option<Vec<u8>>,
}

impl Span {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { from: Vec::new(), to: None }
    }

    /// The keys from `from` on, below `to`.
    #[must_use]
    pub fn between(from: &[u8], to: &[u8]) -> Self {
        Self { from: from.to_vec(), to: Some(to.to_vec()) }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let kept = prefix.iter().rposition(|byte| *byte != u8::MAX);
        let to = kept.map(|last| {
            let mut to: Vec<u8> = prefix.iter().take(last + 1).copied().collect();
            if let Some(byte) = to.last_mut() {
                *byte += 1;
            }
            to
        });
        Self { from: prefix.to_vec(), to }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= self.from.as_slice() && self.to.as_ref().is_none_or(|to| key < to.as_slice())
    }

    /// What of `map` lies in the span.
    pub(crate) fn of<'a, V>(
        &'a self,
        map: &'a BTreeMap<Vec<u8>, V>,
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a V)> {
        map.range::<Vec<u8>, _>(&self.from..).take_while(|(key, _)| self.contains(key))
    }
}

/// What somebody wants to lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want<'a> {
    Read(&'a [u8]),
    Write(&'a [u8]),
    Scan(&'a Span),
}

#[derive(Debug, Default)]
struct Holders {
    writer: Option<u64>,
    readers: Vec<u64>,
}

#[derive(Debug, Default)]
struct Table {
    keys: BTreeMap<Vec<u8>, Holders>,
    spans: Vec<(u64, Span)>,
    /// The keys each unit holds.
    held: HashMap<u64, HashSet<Vec<u8>>>,
    in_doubt: HashSet<u64>,
}

/// The lock table.
#[derive(Debug)]
pub(crate) struct Locks {
    table: Mutex<Table>,
    freed: Condvar,
    patience: Duration,
}

impl Locks {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { table: Mutex::default(), freed: Condvar::new(), patience }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks something for `unit`, or says who has it.
    pub(crate) fn take(&self, unit: u64, want: Want<'_>) -> Result<()> {
        let waits = |table: &mut Table| {
            let holder = table.in_the_way(unit, want).map(|(_, holder)| holder);
            holder.is_some_and(|holder| !table.in_doubt.contains(&holder))
        };
        let waited = self.freed.wait_timeout_while(self.table(), self.patience, waits);
        let (mut table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some((key, holder)) = table.in_the_way(unit, want) {
            let in_doubt = table.in_doubt.contains(&holder);
            return Err(Error::Busy { key, holder, in_doubt });
        }
        table.grant(unit, want);
        Ok(())
    }

    /// Gives back everything that `unit` holds.
    pub(crate) fn release(&self, unit: u64) {
        self.table().keep(unit, |_| false);
        self.freed.notify_all();
    }

    /// `unit` is in doubt: it keeps what it writes, or takes it at restart, before anybody else.
    pub(crate) fn keep_in_doubt(&self, unit: u64, changes: &Changes) {
        let mut table = self.table();
        table.keep(unit, |key| changes.contains_key(key));
        for key in changes.keys() {
            table.grant(unit, Want::Write(key));
        }
        table.in_doubt.insert(unit);
        drop(table);
        self.freed.notify_all();
    }
}

impl Table {
    /// Who keeps `unit` from what it wants, and on which key.
    fn in_the_way(&self, unit: u64, want: Want<'_>) -> Option<(Vec<u8>, u64)> {
        let writer = |holders: &Holders| holders.writer.filter(|writer| *writer != unit);
        match want {
            Want::Read(key) => Some((key.to_vec(), self.keys.get(key).and_then(writer)?)),
            Want::Write(key) => {
                let holders = self.keys.get(key);
                let reader = || holders?.readers.iter().copied().find(|reader| *reader != unit);
                let scan = || self.spans.iter().find(|(by, it)| *by != unit && it.contains(key));
                let holder = holders.and_then(writer).or_else(reader);
                holder.or_else(|| scan().map(|(by, _)| *by)).map(|holder| (key.to_vec(), holder))
            }
            Want::Scan(span) => span
                .of(&self.keys)
                .find_map(|(key, holders)| writer(holders).map(|by| (key.clone(), by))),
        }
    }

    fn grant(&mut self, unit: u64, want: Want<'_>) {
        let (Want::Read(key) | Want::Write(key)) = want else {
            if let Want::Scan(span) = want {
                self.spans.push((unit, span.clone()));
            }
            return;
        };
        let holders = self.keys.entry(key.to_vec()).or_default();
        if matches!(want, Want::Write(_)) {
            holders.writer = Some(unit);
        } else if !holders.readers.contains(&unit) {
            holders.readers.push(unit);
        }
        self.held.entry(unit).or_default().insert(key.to_vec());
    }

    /// Gives back what `unit` holds, but for the keys that `kept` names.
    fn keep(&mut self, unit: u64, kept: impl Fn(&[u8]) -> bool) {
        self.spans.retain(|(by, _)| *by != unit);
        self.in_doubt.remove(&unit);
        let held = self.held.remove(&unit).unwrap_or_default();
        let (keep, give): (HashSet<_>, HashSet<_>) = held.into_iter().partition(|key| kept(key));
        for key in give {
            let Some(holders) = self.keys.get_mut(&key) else { continue };
            holders.writer = holders.writer.filter(|writer| *writer != unit);
            holders.readers.retain(|reader| *reader != unit);
            if holders.writer.is_none() && holders.readers.is_empty() {
                self.keys.remove(&key);
            }
        }
        if !keep.is_empty() {
            self.held.insert(unit, keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy_with(result: Result<()>) -> u64 {
        match result {
            Err(Error::Busy { holder, .. }) => holder,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn readers_share_writers_exclude_and_scans_see_no_newcomer() {
        let locks = Locks::new(Duration::ZERO);
        locks.take(1, Want::Read(b"a")).unwrap();
        locks.take(2, Want::Read(b"a")).unwrap();
        assert_eq!(busy_with(locks.take(1, Want::Write(b"a"))), 2);
        locks.release(2);
        locks.take(1, Want::Write(b"a")).unwrap();
        assert_eq!(busy_with(locks.take(2, Want::Read(b"a"))), 1);
        assert_eq!(busy_with(locks.take(2, Want::Scan(&Span::all()))), 1);
        locks.take(2, Want::Scan(&Span::prefix(b"b"))).unwrap();
        assert_eq!(busy_with(locks.take(1, Want::Write(b"bee"))), 2);
        locks.take(1, Want::Write(b"c")).unwrap();
        locks.release(1);
        locks.release(2);
        let table = locks.table();
        assert!(table.keys.is_empty() && table.spans.is_empty() && table.held.is_empty());
    }

    #[test]
    fn who_waits_gets_the_lock_when_it_is_given_back() {
        let locks = Locks::new(Duration::from_secs(60));
        locks.take(1, Want::Write(b"a")).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| locks.take(2, Want::Write(b"a")));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waits.is_finished());
            locks.release(1);
            waits.join().unwrap().unwrap();
        });
    }

    #[test]
    fn nobody_waits_for_a_unit_in_doubt() {
        let locks = Locks::new(Duration::from_secs(60));
        locks.take(1, Want::Read(b"read")).unwrap();
        locks.take(1, Want::Write(b"written")).unwrap();
        locks.keep_in_doubt(1, &Changes::from([(b"written".to_vec(), None)]));
        locks.take(2, Want::Write(b"read")).unwrap();
        let refused = locks.take(2, Want::Read(b"written"));
        assert!(matches!(refused, Err(Error::Busy { in_doubt: true, .. })), "{refused:?}");
    }

    #[test]
    fn a_span_ends_where_its_prefix_does() {
        let span = Span::prefix(b"a\xff");
        assert!(span.contains(b"a\xff") && span.contains(b"a\xff\xff"));
        assert!(!span.contains(b"a\xfe") && !span.contains(b"b"));
        assert!(Span::prefix(b"\xff\xff").contains(b"\xff\xff\xff"));
        assert_eq!(Span::prefix(b""), Span::all());
    }
}
