//! What a write does that does not go as it should.

use super::blocks::index;
use super::fault::Fault;
use super::inode::{FailedSync, SECTOR};
use super::state::{Late, State};
use std::io;
use std::sync::Arc;

/// After how many more calls at most a late write lands.
const LATE_CALLS: u64 = 8;

impl State {
    /// A write fails, or is lied about.
    pub(super) fn fail_write(
        &mut self,
        inode: usize,
        at: u64,
        data: Arc<[u8]>,
        durable: bool,
        fault: Fault,
    ) -> io::Result<()> {
        let order = self.order;
        match fault {
            Fault::Eintr => {}
            Fault::Lost => return Ok(()),
            Fault::Lying => self.inode_mut(inode).write(order, at, data, false),
            Fault::Misdirected => self.misdirect(inode, at, &data),
            Fault::Late => {
                let due = self.life.calls.len() as u64 + self.chance().below(LATE_CALLS);
                self.life.late.push(Late { due, inode, at, data });
            }
            _ => self.break_off(inode, at, &data, durable, fault),
        }
        let told = self.failed_sync.is_told() || !durable;
        if fault.is_silent() || !told { Ok(()) } else { Err(fault.error()) }
    }

    /// What a failed write leaves: some first sectors, and nobody knows whether for good.
    fn break_off(&mut self, inode: usize, at: u64, data: &[u8], durable: bool, fault: Fault) {
        let sectors = data.len() / SECTOR;
        let mut rng = self.chance();
        let moved = match fault {
            Fault::Zero | Fault::Erofs => 0,
            Fault::Short => rng.index(sectors).max(usize::from(sectors > 1)),
            _ => rng.index(sectors + 1),
        };
        let (order, how) = (self.order, self.failed_sync);
        let known = matches!(fault, Fault::Short | Fault::Zero | Fault::Erofs);
        // A caller who is told nothing wrote everything, for all that reads show.
        let moved = if durable && !how.is_told() { sectors } else { moved };
        let file = self.inode_mut(inode);
        file.write(order, at, Arc::from(&data[..moved * SECTOR]), !known);
        if durable && !known {
            // The error may have been the flush's: then it is as a failed sync.
            file.fail_sync(how, &mut rng);
        } else if how == FailedSync::Scattered {
            file.evict(&mut rng);
        }
    }

    /// Some other place of as many bytes that are durable, in this file or another, gets them.
    fn misdirect(&mut self, inode: usize, at: u64, data: &[u8]) {
        let mut rng = self.chance();
        let len = data.len() as u64;
        let named = self.directory.cached.values().copied();
        let large = named.filter(|file| self.inode(*file).device_len > len);
        let files: Vec<usize> = large.collect();
        let Some(file) = files.get(rng.index(files.len())).copied() else { return };
        let places = (self.inode(file).device_len - len) / SECTOR as u64 + 1;
        let place = rng.below(places) * SECTOR as u64;
        // Where it was meant for is another place.
        let place = if (file, place) == (inode, at) { 0 } else { place };
        let end = place + len;
        debug_assert!(index(end) <= index(self.inode(file).device_len), "it lies in the file");
        let _ = self.inode_mut(file).overwrite(place, data);
    }
}
