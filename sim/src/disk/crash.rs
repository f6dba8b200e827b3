//! What a power cut leaves: the choice, and the disk that follows from it.

use super::directory::{Directory, Names};
use super::inode::{Inode, SECTOR, Sectors};
use super::state::{Life, State};
use crate::Rng;
use crate::rng::{fold, fold_bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Which of the pending changes survive a crash. An index counts [`SimDisk::pending`].
///
/// [`SimDisk::pending`]: super::SimDisk::pending
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// None.
    DropAll,
    /// All.
    KeepAll,
    /// This one, and what it takes to see it: the file's name, and its size up to it.
    KeepOnly(usize),
    /// All but this one and what rests on it: a later change of the same name, a further growth.
    DropOnly(usize),
    /// Any subset, writes torn into sectors too, as the seed has it.
    Random(u64),
    /// All, but one write (most often the last), which the seed tears at a sector.
    Tear(Torn, u64),
}

/// What is left of a torn write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Torn {
    /// The sectors before the place.
    Head,
    /// The sectors from the place on.
    Tail,
    /// All but one sector.
    Hole,
    /// One sector.
    Lone,
}

/// A change that a crash may take or leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What of.
    pub kind: PendingKind,
    /// What it is, for people.
    pub what: String,
}

/// What a pending change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingKind {
    /// A name in the directory.
    Entry,
    /// The size of a file.
    Size,
    /// Bytes of a file.
    Data,
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A pending change: of the directory, or of a file (by number), and which of its.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Entry(usize),
    Size(usize, usize),
    Data(usize, usize),
}

#[derive(Clone, Debug)]
enum Fate {
    Dropped,
    Kept,
    /// Of a write: these sectors.
    Part(Sectors),
}

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
    /// What is pending, in the order of the calls. Files that no crash can bring back are left
    /// out.
    fn items(&self) -> Vec<Item> {
        let changes = self.directory.pending.iter();
        let mut items: Vec<(u64, Item)> =
            changes.enumerate().map(|(place, it)| (it.order, Item::Entry(place))).collect();
        for inode in self.reachable() {
            let file = self.inode(inode);
            let sizes = file.growths.iter().enumerate();
            items.extend(sizes.map(|(place, it)| (it.order, Item::Size(inode, place))));
            let data = file.writes.iter().enumerate();
            items.extend(data.map(|(place, it)| (it.order, Item::Data(inode, place))));
        }
        items.sort_unstable();
        items.into_iter().map(|(_, item)| item).collect()
    }

    fn reachable(&self) -> BTreeSet<usize> {
        let pending = self.directory.pending.iter().map(|pending| pending.change.inode());
        self.directory.device.values().copied().chain(pending).collect()
    }

    pub(super) fn pending_count(&self) -> usize {
        self.items().len()
    }

    pub(super) fn pending(&self) -> Vec<Pending> {
        let describe = |item| match item {
            Item::Entry(place) => {
                let what = self.directory.pending[place].change.to_string();
                Pending { kind: PendingKind::Entry, what }
            }
            Item::Size(inode, place) => {
                let (file, growth) = (self.inode(inode), &self.inode(inode).growths[place]);
                let what = format!("the size of {}, {}", file.label, growth.to);
                Pending { kind: PendingKind::Size, what }
            }
            Item::Data(inode, place) => {
                let (file, write) = (self.inode(inode), &self.inode(inode).writes[place]);
                let len = write.data.len();
                let what = format!("{len} bytes at {} of {}", write.at, file.label);
                Pending { kind: PendingKind::Data, what }
            }
        };
        self.items().into_iter().map(describe).collect()
    }

    pub(super) fn survivors(&self, choice: Crash) -> Survivors<'_> {
        let items = self.items();
        let fates = match choice {
            Crash::DropAll => vec![Fate::Dropped; items.len()],
            Crash::KeepAll => vec![Fate::Kept; items.len()],
            Crash::KeepOnly(place) => self.keep_only(&items, place),
            Crash::DropOnly(place) => {
                let mut fates = vec![Fate::Kept; items.len()];
                fates.get_mut(place).into_iter().for_each(|fate| *fate = Fate::Dropped);
                fates
            }
            Crash::Random(seed) => self.random(&items, seed),
            Crash::Tear(torn, seed) => self.tear(&items, torn, seed),
        };
        self.settle(&items, &fates)
    }

    fn keep_only(&self, items: &[Item], place: usize) -> Vec<Fate> {
        let mut fates = vec![Fate::Dropped; items.len()];
        let Some(item) = items.get(place) else { return fates };
        fates[place] = Fate::Kept;
        let (entry, reach) = match *item {
            Item::Entry(place) => (Some(place), None),
            Item::Size(inode, growth) => {
                (self.first_entry(inode), Some((inode, self.inode(inode).growths[growth].to)))
            }
            Item::Data(inode, write) => {
                let write = &self.inode(inode).writes[write];
                let end = write.at + write.data.len() as u64;
                (self.first_entry(inode), Some((inode, end)))
            }
        };
        let mut entries = vec![false; self.directory.pending.len()];
        entry.into_iter().for_each(|place| entries[place] = true);
        self.directory.support(&mut entries);
        for (item, fate) in items.iter().zip(&mut fates) {
            let needed = match *item {
                Item::Entry(place) => entries[place],
                // The size the file had just before it first reached as far, and that growth.
                Item::Size(inode, growth) => reach.is_some_and(|(of, end)| {
                    let growths = &self.inode(of).growths;
                    let before = growth.checked_sub(1).map(|before| growths[before].to);
                    inode == of && before.unwrap_or(self.inode(of).device_len) < end
                }),
                Item::Data(..) => false,
            };
            if needed {
                *fate = Fate::Kept;
            }
        }
        fates
    }

    /// The first pending change that gives a file a name, if it has none on the device.
    fn first_entry(&self, inode: usize) -> Option<usize> {
        if self.directory.device.values().any(|named| *named == inode) {
            return None;
        }
        self.directory.pending.iter().position(|pending| pending.change.inode() == inode)
    }

    fn random(&self, items: &[Item], seed: u64) -> Vec<Fate> {
        let mut rng = Rng::new(seed);
        // Some seeds keep nearly all, some nearly nothing: the odd one out is what hurts.
        let eighths = [1, 4, 7][rng.index(3)];
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        let fate = |item: &Item| match *item {
            Item::Entry(_) => if_kept(rng.chance(eighths, 8)),
            Item::Size(inode, place) => {
                // A size is one number: it has one of its values.
                let count = self.inode(inode).growths.len();
                let kept = *sizes.entry(inode).or_insert_with(|| match rng.chance(1, 2) {
                    true => count,
                    false => rng.index(count + 1),
                });
                if_kept(place < kept)
            }
            Item::Data(inode, place) => {
                let len = self.inode(inode).writes[place].live.len();
                if len == 1 || !rng.chance(1, 4) {
                    return if_kept(rng.chance(eighths, 8));
                }
                let mut part = Sectors::none(len);
                (0..len).for_each(|sector| part.set(sector, rng.chance(eighths, 8)));
                Fate::Part(part)
            }
        };
        items.iter().map(fate).collect()
    }

    fn tear(&self, items: &[Item], torn: Torn, seed: u64) -> Vec<Fate> {
        let mut rng = Rng::new(seed);
        let mut fates = vec![Fate::Kept; items.len()];
        let sectors = |item: &Item| match *item {
            Item::Data(inode, place) => self.inode(inode).writes[place].live.len(),
            Item::Entry(_) | Item::Size(..) => 0,
        };
        let long: Vec<usize> =
            (0..items.len()).filter(|place| sectors(&items[*place]) > 1).collect();
        let Some(last) = long.last() else { return fates };
        let place = if rng.chance(3, 4) { *last } else { long[rng.index(long.len())] };
        let len = sectors(&items[place]);
        let at = match torn {
            Torn::Head | Torn::Tail => 1 + rng.index(len - 1),
            Torn::Hole | Torn::Lone => rng.index(len),
        };
        let mut part = Sectors::none(len);
        for sector in 0..len {
            let kept = match torn {
                Torn::Head => sector < at,
                Torn::Tail => sector >= at,
                Torn::Hole => sector != at,
                Torn::Lone => sector == at,
            };
            part.set(sector, kept);
        }
        fates[place] = Fate::Part(part);
        fates
    }

    /// Brings the fates into line with each other and draws the disk that follows.
    fn settle(&self, items: &[Item], fates: &[Fate]) -> Survivors<'_> {
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

fn if_kept(kept: bool) -> Fate {
    if kept { Fate::Kept } else { Fate::Dropped }
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
