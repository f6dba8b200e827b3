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
    /// Its length was set, and no sync has covered that yet: a crash leaves the old one.
    cut: bool,
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
            cut: false,
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
        if len > self.device_len {
            self.growths.push(Growth { order, to: len, lost: false });
        }
        (self.len, self.cut) = (len, true);
    }

    /// Takes a write that is on the device when the call returns, with what is needed to read it
    /// back: the size. Other pending writes stay pending, but for the sectors it replaces.
    pub(super) fn force(&mut self, at: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = at + data.len() as u64;
        self.cached.write(at, data);
        self.device.write(at, data);
        self.heal(at, end);
        self.len = self.len.max(end);
        self.settle_len(end);
        self.supersede(at, end);
    }

    /// Makes everything durable that no failed sync has lost.
    pub(super) fn sync(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            if write.lost {
                self.writes.push(write);
                continue;
            }
            for sector in write.live.iter() {
                let (at, bytes) = write.sector(sector);
                self.device.write(at, bytes);
            }
            self.supersede(write.at, write.end());
            self.settle_len(write.end());
        }
        let grown = self.growths.iter().filter(|growth| !growth.lost).map(|growth| growth.to).max();
        self.settle_len(grown.unwrap_or(0));
        if std::mem::take(&mut self.cut) && self.device_len > self.len {
            self.device.write(self.len, &vec![0; index(self.device_len - self.len)]);
            self.device_len = self.len;
        }
    }

    /// A sync that was to cover everything fails.
    pub(super) fn fail_sync(&mut self, how: FailedSync, rng: &mut Rng) {
        match how {
            FailedSync::Lost => self.lose(),
            FailedSync::Scattered => {
                self.lose();
                self.evict(rng);
            }
            FailedSync::Reverted => {
                self.cached = self.device.clone();
                self.len = self.device_len;
                self.writes.clear();
                self.growths.clear();
            }
            FailedSync::Kept => self.sync(),
        }
    }

    fn lose(&mut self) {
        self.writes.iter_mut().for_each(|write| write.lost = true);
        self.growths.iter_mut().for_each(|growth| growth.lost = true);
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
        self.len = self.growths.iter().map(|growth| growth.to).fold(self.device_len, u64::max);
        self.cached = self.device.clone();
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
