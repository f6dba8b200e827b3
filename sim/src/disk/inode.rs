//! One file: what is on the device, what is only written, and what a crash may make of it.

use super::blocks::{Blocks, index};
use crate::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The unit a device writes whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;
pub(super) const SECTOR_BYTES: u32 = 512;

/// A set of the sectors of one write, counted from its first.
#[derive(Clone, Debug)]
pub(super) struct Sectors {
    words: Vec<u64>,
    len: usize,
}

impl Sectors {
    pub(super) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    pub(super) fn all(len: usize) -> Self {
        let mut all = Self::none(len);
        (0..len).for_each(|sector| all.set(sector, true));
        all
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn has(&self, sector: usize) -> bool {
        self.words[sector / 64] & (1 << (sector % 64)) != 0
    }

    pub(super) fn set(&mut self, sector: usize, to: bool) {
        let bit = 1 << (sector % 64);
        let word = &mut self.words[sector / 64];
        *word = if to { *word | bit } else { *word & !bit };
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.len).filter(|sector| self.has(*sector))
    }

    fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

/// A write that no sync has covered yet.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// Its place among all that is pending on the disk.
    pub(super) order: u64,
    pub(super) at: u64,
    pub(super) data: Arc<[u8]>,
    /// The sectors that may still reach the device; newer durable ones take their place.
    pub(super) live: Sectors,
    /// A sync that was to cover it failed: no later one does, and only chance saves it.
    pub(super) lost: bool,
}

impl Write {
    fn end(&self) -> u64 {
        self.at + self.data.len() as u64
    }

    pub(super) fn sector(&self, sector: usize) -> (u64, &[u8]) {
        let from = sector * SECTOR;
        (self.at + from as u64, &self.data[from..from + SECTOR])
    }
}

/// A growth of the file that no sync has covered yet.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    pub(super) order: u64,
    pub(super) to: u64,
    pub(super) lost: bool,
}

/// What a failed sync does to the pages it was to write (`specs/testing.md`, c.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedSync {
    /// They count as clean, still read as new, and may be on no disk (ext4, XFS: mode A).
    Lost,
    /// They read as before the writes (mode B).
    Reverted,
    /// By chance each sector got there or never will, and reads tell: nothing was in a page cache
    /// (direct I/O). What got there needs another flush to stay.
    Scattered,
    /// They are there; only the answer was an error (mode E).
    Kept,
    /// As [`FailedSync::Lost`], but this call is answered well, and the next sync of the file
    /// with the error (mode C).
    ToldLate,
    /// As [`FailedSync::Lost`], but nobody is told (mode D: the handle is newer than the loss).
    Untold,
}

impl FailedSync {
    /// Those whose caller is told: after each a log must keep every promise.
    pub const TOLD: [Self; 4] = [Self::Lost, Self::Reverted, Self::Scattered, Self::Kept];

    pub(super) fn is_told(self) -> bool {
        Self::TOLD.contains(&self)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// Its newest name, for reports.
    pub(super) label: Arc<str>,
    /// What reads see.
    pub(super) cached: Blocks,
    pub(super) len: u64,
    /// What a crash leaves at least.
    pub(super) device: Blocks,
    pub(super) device_len: u64,
    pub(super) writes: Vec<Write>,
    pub(super) growths: Vec<Growth>,
    /// Its length was set below that on the device, and no sync has covered that yet.
    pub(super) cut: Option<Growth>,
    /// What the device held before it was last written over: what a stale sector shows.
    before: Blocks,
    /// An error that the next sync is to be answered with.
    pub(super) owed: bool,
    /// Sectors, by number, that the device cannot read until they are written again.
    pub(super) spoilt: BTreeSet<u64>,
}

impl Inode {
    pub(super) fn new(label: Arc<str>, content: Blocks, len: u64) -> Self {
        Self {
            label,
            cached: content.clone(),
            len,
            device: content,
            device_len: len,
            writes: Vec::new(),
            growths: Vec::new(),
            cut: None,
            before: Blocks::default(),
            owed: false,
            spoilt: BTreeSet::new(),
        }
    }

    /// Takes a write that is pending until a sync.
    pub(super) fn write(&mut self, order: u64, at: u64, data: Arc<[u8]>, lost: bool) {
        if data.is_empty() {
            return;
        }
        self.cached.write(at, &data);
        let end = at + data.len() as u64;
        self.heal(at, end);
        if end > self.len {
            self.len = end;
            self.growths.push(Growth { order, to: end, lost });
        }
        let live = Sectors::all(data.len() / SECTOR);
        self.writes.push(Write { order, at, data, live, lost });
    }

    /// Sets the length; pending until a sync.
    pub(super) fn cut(&mut self, order: u64, len: u64) {
        let (sectors, end) = (len.div_ceil(SECTOR as u64), self.len);
        for write in &mut self.writes {
            for sector in 0..write.live.len() {
                if write.at / SECTOR as u64 + sector as u64 >= sectors {
                    write.live.set(sector, false);
                }
            }
        }
        self.writes.retain(|write| !write.live.is_empty());
        self.growths.retain(|growth| growth.to <= len);
        if end > len {
            self.cached.write(len, &vec![0; index(end - len)]);
        }
        if len < self.floor_len() {
            self.cut = Some(Growth { order, to: len, lost: false });
        } else if len > self.floor_len() {
            self.growths.push(Growth { order, to: len, lost: false });
        }
        self.len = len;
    }

    /// Takes a write that is on the device when the call returns, with what is needed to read it
    /// back: the size. Other pending writes stay pending, but for the sectors it replaces.
    pub(super) fn force(&mut self, at: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = at + data.len() as u64;
        self.settle_cut();
        self.cached.write(at, data);
        self.write_device(at, data);
        self.heal(at, end);
        self.len = self.len.max(end);
        self.settle_len(end);
        self.supersede(at, end);
    }

    /// What the size is without the pending growths.
    fn floor_len(&self) -> u64 {
        self.cut.as_ref().map_or(self.device_len, |cut| cut.to)
    }

    /// A pending cut is durable: what stood behind it is gone.
    fn settle_cut(&mut self) {
        let Some(cut) = self.cut.take_if(|cut| !cut.lost) else { return };
        self.device.write(cut.to, &vec![0; index(self.device_len.saturating_sub(cut.to))]);
        self.device_len = self.device_len.min(cut.to);
    }

    fn write_device(&mut self, at: u64, data: &[u8]) {
        let mut old = vec![0; data.len()];
        self.device.read(at, &mut old);
        self.before.write(at, &old);
        self.device.write(at, data);
    }

    /// What was written long ago lands now: on the device, and reads see it.
    pub(super) fn land(&mut self, at: u64, data: &[u8]) {
        self.cached.write(at, data);
        self.write_device(at, data);
        self.len = self.len.max(at + data.len() as u64);
        self.device_len = self.device_len.max(at + data.len() as u64);
    }

    /// The sectors of a range are again as they were before they were last written over;
    /// nothing if they do not all lie on the device.
    pub(super) fn revert(&mut self, at: u64, len: u64) -> Option<()> {
        let end = at.checked_add(len)?.next_multiple_of(SECTOR as u64).min(self.device_len);
        let from = at - at % SECTOR as u64;
        let mut old = vec![0; index(end.checked_sub(from)?)];
        self.before.read(from, &mut old);
        self.overwrite(from, &old)
    }

    /// Widens a write to whole pieces of `folio` bytes, as far as the file reaches with it: what
    /// stands around it is written again as reads see it (fact M17).
    pub(super) fn widen(&self, at: u64, data: &[u8], folio: u64) -> (u64, Arc<[u8]>) {
        let end = at + data.len() as u64;
        let from = at - at % folio;
        let to = end.next_multiple_of(folio).min((self.len - self.len % SECTOR as u64).max(end));
        let mut whole = vec![0; index(to - from)];
        self.cached.read(from, &mut whole);
        whole[index(at - from)..index(end - from)].copy_from_slice(data);
        (from, whole.into())
    }

    /// Makes everything durable that no failed sync has lost.
    pub(super) fn sync(&mut self) {
        self.settle_cut();
        for write in std::mem::take(&mut self.writes) {
            if write.lost {
                self.writes.push(write);
                continue;
            }
            for sector in write.live.iter() {
                let (at, bytes) = write.sector(sector);
                self.write_device(at, bytes);
            }
            self.supersede(write.at, write.end());
            // Not what a cut took away again.
            self.settle_len(write.end().min(self.len));
        }
        let grown = self.growths.iter().filter(|growth| !growth.lost).map(|growth| growth.to).max();
        self.settle_len(grown.unwrap_or(0));
    }

    /// A sync that was to cover everything fails.
    pub(super) fn fail_sync(&mut self, how: FailedSync, rng: &mut Rng) {
        match how {
            FailedSync::Lost | FailedSync::Untold => self.lose(),
            FailedSync::ToldLate => {
                self.lose();
                self.owed = true;
            }
            FailedSync::Scattered => {
                self.lose();
                self.evict(rng);
            }
            FailedSync::Reverted => {
                self.cached = self.device.clone();
                self.len = self.device_len;
                self.writes.clear();
                self.growths.clear();
                self.cut = None;
            }
            FailedSync::Kept => self.sync(),
        }
    }

    fn lose(&mut self) {
        self.writes.iter_mut().for_each(|write| write.lost = true);
        self.growths.iter_mut().chain(&mut self.cut).for_each(|size| size.lost = true);
    }

    /// The page cache lets go of clean pages: what a failed sync lost now reads as it is, and
    /// what of it got to the device is pending again.
    pub(super) fn evict(&mut self, rng: &mut Rng) {
        // A size is one number: it has one of its values.
        let lost = self.growths.iter().filter(|growth| growth.lost).count();
        let mut landed = rng.index(lost + 1);
        self.growths.retain_mut(|growth| {
            let kept = !growth.lost || landed > 0;
            landed = landed.saturating_sub(usize::from(growth.lost));
            growth.lost = false;
            kept
        });
        self.cut = self.cut.take().filter(|cut| !cut.lost || rng.chance(1, 2));
        self.cut.iter_mut().for_each(|cut| cut.lost = false);
        let floor = self.floor_len();
        self.len = self.growths.iter().map(|growth| growth.to).fold(floor, u64::max);
        self.cached = self.device.clone();
        self.cached.write(floor, &vec![0; index(self.device_len - floor)]);
        for write in &mut self.writes {
            let eighths = if write.lost { [0, 4, 8][rng.index(3)] } else { 8 };
            write.lost = false;
            for sector in 0..write.live.len() {
                let (at, bytes) = write.sector(sector);
                // What lies behind the end is zeros when the file grows again.
                let landed = rng.chance(eighths, 8) && at < self.len;
                if write.live.has(sector) && landed {
                    self.cached.write(at, bytes);
                } else {
                    write.live.set(sector, false);
                }
            }
        }
        self.writes.retain(|write| !write.live.is_empty());
    }

    /// Puts bytes over durable ones, whole sectors or not; nothing if they do not all lie there.
    pub(super) fn overwrite(&mut self, at: u64, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len() as u64).filter(|end| *end <= self.device_len)?;
        self.cached.write(at, bytes);
        let (from, to) = (at - at % SECTOR as u64, end.next_multiple_of(SECTOR as u64));
        let mut whole = vec![0; index(to - from)];
        self.cached.read(from, &mut whole);
        self.device.write(from, &whole);
        self.supersede(from, to);
        Some(())
    }

    /// Reads up to the end of the file, or nothing if a sector cannot be read.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Option<usize> {
        let count = index(self.len.saturating_sub(at)).min(buf.len());
        let sectors = at / SECTOR as u64..(at + count as u64).div_ceil(SECTOR as u64);
        if self.spoilt.range(sectors).next().is_some() {
            return None;
        }
        self.cached.read(at, &mut buf[..count]);
        Some(count)
    }

    /// The sectors of a range can be read again, as they are written.
    fn heal(&mut self, at: u64, end: u64) {
        if !self.spoilt.is_empty() {
            let sectors = at / SECTOR as u64..end / SECTOR as u64;
            self.spoilt.retain(|sector| !sectors.contains(sector));
        }
    }

    fn settle_len(&mut self, end: u64) {
        let len = self.device_len.max(end);
        self.device_len = len;
        self.growths.retain(|growth| growth.to > len);
    }

    /// Newer bytes of the range are durable: older ones cannot come back over them.
    fn supersede(&mut self, at: u64, end: u64) {
        for write in &mut self.writes {
            let (from, to) = (write.at.max(at), write.end().min(end));
            let mut place = from;
            while place < to {
                write.live.set(index(place - write.at) / SECTOR, false);
                place += SECTOR as u64;
            }
        }
        self.writes.retain(|write| !write.live.is_empty());
    }
}
