//! The disk that follows from what survives a crash.

use super::crash::{Fate, Item};
use super::directory::{Directory, Names};
use super::inode::{Inode, SECTOR};
use super::state::{Life, State};
use crate::rng::{fold, fold_bytes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A disk as a crash would leave it, not made yet.
pub(super) struct Survivors<'a> {
    state: &'a State,
    names: Names,
    files: BTreeMap<usize, File<'a>>,
}

struct File<'a> {
    len: u64,
    /// The sectors whose bytes differ from those on the device, by place.
    sectors: BTreeMap<u64, &'a [u8]>,
}

impl State {
    /// Brings the fates into line with each other and draws the disk that follows.
    pub(super) fn settle(&self, items: &[Item], fates: &[Fate]) -> Survivors<'_> {
        let mut meant = vec![false; self.directory.pending.len()];
        for (item, fate) in items.iter().zip(fates) {
            if let Item::Entry(place) = item {
                meant[*place] = matches!(fate, Fate::Kept);
            }
        }
        let mut names = self.directory.device.clone();
        for (pending, kept) in self.directory.pending.iter().zip(self.directory.consistent(&meant))
        {
            if kept {
                pending.change.apply(&mut names);
            }
        }
        let file = |inode: &usize| (*inode, self.settle_file(*inode, items, fates));
        let files = names.values().map(file).collect();
        Survivors { state: self, names, files }
    }

    fn settle_file(&self, inode: usize, items: &[Item], fates: &[Fate]) -> File<'_> {
        let file = self.inode(inode);
        let mut len = file.device_len;
        let mut grows = true;
        for (item, fate) in items.iter().zip(fates) {
            if let Item::Size(of, place) = *item
                && of == inode
            {
                grows &= matches!(fate, Fate::Kept);
                len = if grows { len.max(file.growths[place].to) } else { len };
            }
        }
        let mut sectors = BTreeMap::new();
        for (item, fate) in items.iter().zip(fates) {
            let Item::Data(of, place) = *item else { continue };
            if of != inode || matches!(fate, Fate::Dropped) {
                continue;
            }
            let write = &file.writes[place];
            for sector in write.live.iter() {
                let (at, bytes) = write.sector(sector);
                let kept = match fate {
                    Fate::Part(part) => part.has(sector),
                    Fate::Kept | Fate::Dropped => true,
                };
                if !kept || at >= len {
                    continue;
                }
                if file.device.holds(at, bytes) {
                    sectors.remove(&at);
                } else {
                    sectors.insert(at, bytes);
                }
            }
        }
        File { len, sectors }
    }
}

impl Survivors<'_> {
    /// Names the outcome: choices with equal outcomes on one disk have equal fingerprints.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = 0;
        for (name, inode) in &self.names {
            hash = fold(fold_bytes(hash, name.as_bytes()), *inode as u64);
        }
        for (inode, file) in &self.files {
            hash = fold(fold(hash, *inode as u64), file.len);
            for (at, bytes) in &file.sectors {
                hash = fold_bytes(fold(hash, *at), bytes);
            }
        }
        hash
    }

    /// The disk after the crash: all that is on it is durable, nobody holds its lock, its
    /// power is on and its faults are gone.
    pub(super) fn into_state(self) -> State {
        let mut inodes = Vec::with_capacity(self.files.len());
        let mut numbers = BTreeMap::new();
        for (number, file) in &self.files {
            let old = self.state.inode(*number);
            let mut content = old.device.clone();
            for (at, bytes) in &file.sectors {
                content.write(*at, bytes);
            }
            let mut inode = Inode::new(Arc::clone(&old.label), content, file.len);
            let spoilt = |sector: &&u64| !file.sectors.contains_key(&(**sector * SECTOR as u64));
            inode.spoilt = old.spoilt.iter().filter(spoilt).copied().collect();
            numbers.insert(*number, inodes.len());
            inodes.push(inode);
        }
        let mut names = Names::new();
        for (name, number) in self.names {
            let number = numbers[&number];
            inodes[number].label = Arc::clone(&name);
            names.insert(name, number);
        }
        let state = self.state;
        State {
            seed: state.seed,
            write_unit: state.write_unit,
            capacity: state.capacity,
            failed_sync: state.failed_sync,
            directory: Directory::settled(names),
            inodes,
            order: 0,
            life: Life::default(),
        }
    }
}
