//! What a power cut leaves: the choice, and the disk that follows from it.

use super::blocks::index;
use super::inode::{SECTOR, Sectors};
use super::state::State;
use super::survivors::{Shorn, Survivors};
use crate::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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
    /// All, but one write (most often the last) stops at a place that the seed says: what comes
    /// behind is old, and the write unit of the geometry that the power went in holds garbage,
    /// what was durable in it too.
    Shorn(u64),
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
pub(super) enum Item {
    Entry(usize),
    Size(usize, usize),
    Data(usize, usize),
    /// A file was cut.
    Cut(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Fate {
    Dropped,
    Kept,
    /// Of a write: these sectors.
    Part(Sectors),
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
            items.extend(file.cut.iter().map(|it| (it.order, Item::Cut(inode))));
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
            Item::Cut(inode) => {
                let file = self.inode(inode);
                let to = file.cut.as_ref().map_or(0, |cut| cut.to);
                let what = format!("the cut of {} to {to} bytes", file.label);
                Pending { kind: PendingKind::Size, what }
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
            Crash::Shorn(seed) => self.tear(&items, Torn::Head, seed),
        };
        let mut survivors = self.settle(&items, &fates);
        match choice {
            Crash::DropAll => {}
            Crash::Random(seed) if Rng::new(!seed).chance(1, 2) => {}
            Crash::Shorn(seed) => {
                survivors.shear(self.shear_place(&items, seed));
                survivors.land_late();
            }
            _ => survivors.land_late(),
        }
        survivors
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
            Item::Cut(inode) => (self.first_entry(inode), None),
        };
        let mut entries = vec![false; self.directory.pending.len()];
        entry.into_iter().for_each(|place| entries[place] = true);
        self.directory.support(&mut entries);
        for (item, fate) in items.iter().zip(&mut fates) {
            let needed = match *item {
                Item::Entry(place) => entries[place],
                // The growths up to the one that first reached as far.
                Item::Size(inode, growth) => reach
                    .is_some_and(|(of, end)| inode == of && self.size_before(inode, growth) < end),
                Item::Data(..) | Item::Cut(_) => false,
            };
            if needed {
                *fate = Fate::Kept;
            }
        }
        fates
    }

    fn size_before(&self, inode: usize, growth: usize) -> u64 {
        let file = self.inode(inode);
        growth.checked_sub(1).map_or(file.device_len, |before| file.growths[before].to)
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
            Item::Entry(_) | Item::Cut(_) => if_kept(rng.chance(eighths, 8)),
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
                let grain = self.grain();
                for first in (0..len).step_by(grain) {
                    let kept = rng.chance(eighths, 8);
                    (first..len.min(first + grain)).for_each(|sector| part.set(sector, kept));
                }
                Fate::Part(part)
            }
        };
        items.iter().map(fate).collect()
    }

    fn tear(&self, items: &[Item], torn: Torn, seed: u64) -> Vec<Fate> {
        let mut fates = vec![Fate::Kept; items.len()];
        let Some((place, len, at)) = self.tear_place(items, torn, seed) else { return fates };
        let mut part = Sectors::none(len);
        let grain = self.grain();
        for sector in 0..len {
            let kept = match torn {
                Torn::Head => sector < at,
                Torn::Tail => sector >= at,
                Torn::Hole => sector / grain != at / grain,
                Torn::Lone => sector / grain == at / grain,
            };
            part.set(sector, kept);
        }
        fates[place] = Fate::Part(part);
        fates
    }

    /// The item that is torn, its sectors, and at which of them; none if all are too short.
    fn tear_place(&self, items: &[Item], torn: Torn, seed: u64) -> Option<(usize, usize, usize)> {
        let mut rng = Rng::new(seed);
        let sectors = |item: &Item| match *item {
            Item::Data(inode, place) => self.inode(inode).writes[place].live.len(),
            Item::Entry(_) | Item::Size(..) | Item::Cut(_) => 0,
        };
        let grain = self.grain();
        let long: Vec<usize> =
            (0..items.len()).filter(|place| sectors(&items[*place]) > grain).collect();
        let last = *long.last()?;
        let place = if rng.chance(3, 4) { last } else { long[rng.index(long.len())] };
        let len = sectors(&items[place]);
        let grains = len.div_ceil(grain);
        let at = match torn {
            Torn::Head | Torn::Tail => 1 + rng.index(grains - 1),
            Torn::Hole | Torn::Lone => rng.index(grains),
        };
        Some((place, len, at * grain))
    }

    /// How many sectors of ours the device writes whole or not at all. A write begins with a
    /// whole one.
    fn grain(&self) -> usize {
        index(self.sector.into()) / SECTOR
    }

    /// The write unit that the power goes in: the one behind what was written, of the write that
    /// [`Torn::Head`] tears; if all are too short, that of the last.
    fn shear_place(&self, items: &[Item], seed: u64) -> Option<Shorn> {
        let torn = self.tear_place(items, Torn::Head, seed);
        let data = |item: &Item| match *item {
            Item::Data(inode, write) => Some((inode, write)),
            _ => None,
        };
        let (inode, write, sector) = match torn {
            Some((place, _, at)) => {
                let (inode, write) = data(&items[place])?;
                (inode, write, at)
            }
            None => {
                let (inode, write) = items.iter().rev().find_map(data)?;
                (inode, write, 0)
            }
        };
        let unit = u64::from(self.write_unit);
        let at = self.inode(inode).writes[write].at + (sector * SECTOR) as u64;
        Some(Shorn { inode, from: at - at % unit, to: at - at % unit + unit, seed })
    }

    pub(super) fn shorn(&self, seed: u64) -> Option<(String, u64)> {
        let shorn = self.shear_place(&self.items(), seed)?;
        Some((self.inode(shorn.inode).label.to_string(), shorn.from))
    }

    /// A choice in words: what of the pending changes it takes.
    pub(super) fn describe(&self, choice: Crash) -> String {
        let pending = self.pending();
        let item = |place: usize| pending.get(place).map_or("nothing", |item| item.what.as_str());
        match choice {
            Crash::DropAll => "nothing pending survives".to_owned(),
            Crash::KeepAll => "all pending survives".to_owned(),
            Crash::KeepOnly(place) => format!("of all pending survives only {}", item(place)),
            Crash::DropOnly(place) => format!("all pending survives but {}", item(place)),
            Crash::Random(seed) => format!("subset {seed:#x} of all pending survives"),
            Crash::Tear(torn, seed) => match self.tear_place(&self.items(), torn, seed) {
                None => "all pending survives".to_owned(),
                Some((place, _, at)) => {
                    let part = match torn {
                        Torn::Head => "only those before",
                        Torn::Tail => "only those from",
                        Torn::Hole => "all but",
                        Torn::Lone => "only",
                    };
                    let what = item(place);
                    format!("all pending survives, but of the sectors of {what} {part} {at}")
                }
            },
            Crash::Shorn(seed) => match self.shear_place(&self.items(), seed) {
                None => "all pending survives".to_owned(),
                Some(Shorn { inode, from, to, .. }) => {
                    let name = &self.inode(inode).label;
                    format!("all pending survives, but {from} to {to} of {name} is garbage")
                }
            },
        }
    }
}

fn if_kept(kept: bool) -> Fate {
    if kept { Fate::Kept } else { Fate::Dropped }
}
