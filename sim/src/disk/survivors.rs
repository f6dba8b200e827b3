//! The disk that follows from what survives a crash.

use super::blocks::index;
use super::crash::{Fate, Item};
use super::directory::{Directory, Names};
use super::inode::{Inode, SECTOR};
use super::state::{Life, State};
use crate::Rng;
use crate::rng::{fold, fold_bytes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A disk as a crash would leave it, not made yet.
pub(super) struct Survivors<'a> {
    state: &'a State,
    names: Names,
    files: BTreeMap<usize, File<'a>>,
    shorn: Option<Shorn>,
    late: bool,
}

/// A piece of a file that holds neither what it held nor what was being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shorn {
    pub(super) inode: usize,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) seed: u64,
}

struct File<'a> {
    len: u64,
    /// What stood on the device from here on is gone.
    cut: Option<u64>,
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
        Survivors { state: self, names, files, shorn: None, late: false }
    }

    fn settle_file(&self, inode: usize, items: &[Item], fates: &[Fate]) -> File<'_> {
        let file = self.inode(inode);
        let was_cut = items
            .iter()
            .zip(fates)
            .any(|(item, fate)| *item == Item::Cut(inode) && matches!(fate, Fate::Kept));
        let cut = file.cut.as_ref().filter(|_| was_cut).map(|cut| cut.to);
        let mut len = cut.unwrap_or(file.device_len);
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
                if file.device.holds(at, bytes) && cut.is_none() {
                    sectors.remove(&at);
                } else {
                    sectors.insert(at, bytes);
                }
            }
        }
        File { len, cut, sectors }
    }
}

impl Survivors<'_> {
    pub(super) fn shear(&mut self, shorn: Option<Shorn>) {
        self.shorn = shorn.filter(|shorn| self.files.contains_key(&shorn.inode));
    }

    /// What is under way and was answered with an error lands in the last moment.
    pub(super) fn land_late(&mut self) {
        self.late = !self.state.life.late.is_empty();
    }

    /// Names the outcome: choices with equal outcomes on one disk have equal fingerprints.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = 0;
        for (name, inode) in &self.names {
            hash = fold(fold_bytes(hash, name.as_bytes()), *inode as u64);
        }
        for (inode, file) in &self.files {
            hash = fold(fold(fold(hash, *inode as u64), file.len), file.cut.map_or(0, |at| at + 1));
            for (at, bytes) in &file.sectors {
                hash = fold_bytes(fold(hash, *at), bytes);
            }
        }
        if let Some(Shorn { inode, from, seed, .. }) = self.shorn {
            hash = fold(fold(fold(hash, inode as u64), from), seed);
        }
        fold(hash, u64::from(self.late))
    }

    /// The disk after the crash: all that is on it is durable, nobody holds its lock, its
    /// power is on and its faults are gone.
    pub(super) fn into_state(self) -> State {
        let state = self.state;
        let mut inodes = Vec::with_capacity(self.files.len());
        let mut numbers = BTreeMap::new();
        for (number, file) in &self.files {
            let old = self.state.inode(*number);
            let mut content = old.device.clone();
            if let Some(cut) = file.cut {
                content.write(cut, &vec![0; index(old.device_len.saturating_sub(cut))]);
            }
            for (at, bytes) in &file.sectors {
                content.write(*at, bytes);
            }
            let mut inode = Inode::new(Arc::clone(&old.label), content, file.len);
            let spoilt = |sector: &&u64| !file.sectors.contains_key(&(**sector * SECTOR as u64));
            inode.spoilt = old.spoilt.iter().filter(spoilt).copied().collect();
            if let Some(shorn) = self.shorn.filter(|shorn| shorn.inode == *number) {
                inode.shear(shorn);
            }
            let late = state.life.late.iter().filter(|late| self.late && late.inode == *number);
            late.for_each(|late| inode.land(late.at, &late.data));
            numbers.insert(*number, inodes.len());
            inodes.push(inode);
        }
        let mut names = Names::new();
        for (name, number) in self.names {
            let number = numbers[&number];
            inodes[number].label = Arc::clone(&name);
            names.insert(name, number);
        }
        State {
            seed: state.seed,
            write_unit: state.write_unit,
            sector: state.sector,
            folio: state.folio,
            capacity: state.capacity,
            failed_sync: state.failed_sync,
            directory: Directory::settled(names),
            inodes,
            order: 0,
            life: Life::default(),
        }
    }
}

impl Inode {
    /// Leaves neither old nor new bytes in a piece of the file.
    fn shear(&mut self, shorn: Shorn) {
        let (from, to) = (shorn.from, shorn.to.min(self.device_len));
        let mut rng = Rng::new(shorn.seed);
        let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes());
        let garbage: Vec<u8> = words.flatten().take(index(to.saturating_sub(from))).collect();
        self.overwrite(from, &garbage);
    }
}
