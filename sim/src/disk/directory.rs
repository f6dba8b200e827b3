//! The names of a directory: what is on the device, and which changes are pending.

use crate::Rng;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub(super) type Names = BTreeMap<Arc<str>, usize>;

/// A change of the directory, and the file (by number) it is about.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create { name: Arc<str>, inode: usize },
    Rename { from: Arc<str>, to: Arc<str>, inode: usize },
    Remove { name: Arc<str>, inode: usize },
}

impl Change {
    pub(super) fn inode(&self) -> usize {
        match self {
            Self::Create { inode, .. } | Self::Rename { inode, .. } => *inode,
            Self::Remove { inode, .. } => *inode,
        }
    }

    fn names(&self) -> [&Arc<str>; 2] {
        match self {
            Self::Create { name, .. } | Self::Remove { name, .. } => [name, name],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    /// Whether both touch one name: then no device has the later one without the earlier.
    pub(super) fn shares_a_name(&self, other: &Self) -> bool {
        let other = other.names();
        self.names().iter().any(|name| other.contains(name))
    }

    /// A rename is one step: after a crash either both of its names changed or none.
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Self::Create { name, inode } => {
                names.insert(Arc::clone(name), *inode);
            }
            Self::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(Arc::clone(to), *inode);
            }
            Self::Remove { name, .. } => {
                names.remove(name);
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "the creation of {name}"),
            Self::Rename { from, to, .. } => write!(f, "the renaming of {from} to {to}"),
            Self::Remove { name, .. } => write!(f, "the removal of {name}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct PendingChange {
    /// Its place among all that is pending on the disk.
    pub(super) order: u64,
    pub(super) change: Change,
    /// A directory sync that was to cover it failed.
    pub(super) lost: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// What listing and opening see.
    pub(super) cached: Names,
    /// What a crash leaves, if nothing pending survives.
    pub(super) device: Names,
    pub(super) pending: Vec<PendingChange>,
}

impl Directory {
    /// A directory after a crash.
    pub(super) fn settled(names: Names) -> Self {
        Self { cached: names.clone(), device: names, pending: Vec::new() }
    }

    pub(super) fn change(&mut self, order: u64, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(PendingChange { order, change, lost: false });
    }

    /// Makes every change durable that no failed sync has lost.
    pub(super) fn sync(&mut self) {
        let (lost, good): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.lost);
        good.iter().for_each(|pending| pending.change.apply(&mut self.device));
        // What is durable now stands above an older change of the same names.
        self.pending = lost;
        self.pending.retain(|old| !good.iter().any(|new| new.change.shares_a_name(&old.change)));
    }

    pub(super) fn fail_sync(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.lost = true);
    }

    /// Another process begins: what failed syncs lost counts as pending again. No file system is
    /// known that forgets names behind a process that never saw a sync fail; one whose journal
    /// failed refuses everything until it is mounted again.
    pub(super) fn forgive(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.lost = false);
    }

    /// The directory is read from the device again: of what failed syncs lost, chance says what
    /// got there, and that is pending again.
    pub(super) fn evict(&mut self, rng: &mut Rng) {
        let meant: Vec<bool> =
            self.pending.iter().map(|pending| !pending.lost || rng.chance(1, 2)).collect();
        let mut kept = self.consistent(&meant).into_iter();
        self.pending.retain(|_| kept.next().unwrap_or(false));
        self.forgive();
        self.cached = self.device.clone();
        self.pending.iter().for_each(|pending| pending.change.apply(&mut self.cached));
    }

    /// Which changes survive of those that are meant to: one that touches a name an earlier,
    /// dropped one touched is dropped with it.
    pub(super) fn consistent(&self, meant: &[bool]) -> Vec<bool> {
        let mut kept: Vec<bool> = Vec::with_capacity(meant.len());
        for (place, pending) in self.pending.iter().enumerate() {
            let rests = |(earlier, kept): (&PendingChange, &bool)| {
                *kept || !earlier.change.shares_a_name(&pending.change)
            };
            let held = self.pending[..place].iter().zip(&kept).all(rests);
            kept.push(meant[place] && held);
        }
        kept
    }

    /// Adds to the meant changes those that they rest on.
    pub(super) fn support(&self, meant: &mut [bool]) {
        for place in (0..meant.len()).rev() {
            if !meant[place] {
                continue;
            }
            let change = &self.pending[place].change;
            for (earlier, meant) in self.pending[..place].iter().zip(&mut meant[..place]) {
                *meant |= earlier.change.shares_a_name(change);
            }
        }
    }
}
