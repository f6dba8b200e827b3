//! All that a simulated disk knows, behind its mutex.

use super::blocks::{Blocks, index};
use super::directory::{Change, Directory};
use super::fault::{Call, Fault, Lasts, Op, STALL_MS};
use super::inode::{FailedSync, Inode, SECTOR, SECTOR_BYTES};
use crate::rng::{fold, fold_bytes};
use crate::{Clock, Rng};
use std::io;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) seed: u64,
    pub(super) write_unit: u32,
    /// What the device writes whole or not at all, in bytes.
    pub(super) sector: u32,
    /// Writes go in whole pieces of so many bytes, as those of a mapped file do.
    pub(super) folio: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) failed_sync: FailedSync,
    pub(super) directory: Directory,
    /// The files, by number; a name or a handle leads to each, or once did.
    pub(super) inodes: Vec<Inode>,
    /// Counts what is pending; goes on in a copy, unlike the calls.
    pub(super) order: u64,
    pub(super) life: Life,
}

/// What a process, or a boot, begins anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) calls: Vec<Call>,
    pub(super) reads: u64,
    pub(super) trace_hash: u64,
    pub(super) cut: Option<u64>,
    pub(super) off: bool,
    pub(super) troubles: u64,
    pub(super) stalls: u64,
    pub(super) faults: Vec<(u64, Fault, Lasts)>,
    pub(super) read_faults: Vec<(u64, Lasts)>,
    /// Reads whose answer has one bit wrong, and which.
    pub(super) read_flips: Vec<(u64, u64)>,
    /// Writes that were answered with an error and land yet.
    pub(super) late: Vec<Late>,
    /// What a call that takes its time moves.
    pub(super) clock: Option<Clock>,
    pub(super) locked: bool,
}

/// A write that lands when so many calls were made.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub(super) due: u64,
    pub(super) inode: usize,
    pub(super) at: u64,
    pub(super) data: Arc<[u8]>,
}

/// What happens to a call.
#[derive(Clone, Copy)]
enum Turn {
    Done,
    /// The power goes while it is under way: its effect is pending, its answer never comes.
    Cut,
    Fails(Fault),
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("power is off")
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            write_unit: 512,
            sector: SECTOR_BYTES,
            folio: None,
            capacity: None,
            failed_sync: FailedSync::Lost,
            directory: Directory::default(),
            inodes: Vec::new(),
            order: 0,
            life: Life::default(),
        }
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.life.off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Counts the call and says what becomes of it.
    fn enter(&mut self, call: Call, digest: u64) -> Turn {
        let now = self.life.calls.len() as u64;
        self.land(|late| late.due <= now);
        let parts = [call.op as u64, call.at, call.len, digest];
        let named = fold_bytes(self.life.trace_hash, call.name.as_bytes());
        self.life.trace_hash = parts.into_iter().fold(named, fold);
        let op = call.op;
        self.life.calls.push(call);
        self.order += 1;
        if self.life.cut.is_some_and(|cut| now >= cut) {
            self.life.off = true;
            self.life.troubles += 1;
            return Turn::Cut;
        }
        let hit =
            |(at, fault, lasts): &&(u64, Fault, Lasts)| lasts.covers(*at, now) && fault.hits(op);
        let Some((_, fault, _)) = self.life.faults.iter().find(hit) else { return Turn::Done };
        let fault = *fault;
        if fault == Fault::Stall {
            self.life.clock.iter().for_each(|clock| clock.advance(STALL_MS));
            self.life.stalls += 1;
            return Turn::Done;
        }
        self.life.troubles += 1;
        Turn::Fails(fault)
    }

    /// Lets late writes land that are due.
    fn land(&mut self, is_due: impl Fn(&Late) -> bool) {
        let (due, later) = std::mem::take(&mut self.life.late).into_iter().partition(is_due);
        self.life.late = later;
        let due: Vec<Late> = due;
        for late in due {
            self.inode_mut(late.inode).land(late.at, &late.data);
        }
    }

    /// A process ends when nothing is under way any more, and another begins.
    pub(super) fn next_life(&mut self) {
        self.land(|_| true);
        self.inodes.iter_mut().for_each(|file| file.owed = false);
        self.life = Life::default();
    }

    /// Chance for the call under way: its own, whatever came before it.
    pub(super) fn chance(&self) -> Rng {
        Rng::new(fold(self.seed, self.life.calls.len() as u64))
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.directory.cached.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn open(&self, name: &str) -> io::Result<usize> {
        self.check_power()?;
        self.find(name)
    }

    pub(super) fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.check_power()?;
        let entry = |(name, inode): (&Arc<str>, &usize)| (name.to_string(), self.inode(*inode).len);
        Ok(self.directory.cached.iter().map(entry).collect())
    }

    /// The file a handle or a name leads to. There always is one: files are never forgotten
    /// while the disk lives.
    pub(super) fn inode(&self, inode: usize) -> &Inode {
        &self.inodes[inode]
    }

    pub(super) fn inode_mut(&mut self, inode: usize) -> &mut Inode {
        &mut self.inodes[inode]
    }

    /// Passes a change of the directory through the gate: it takes effect when it is let through
    /// and when the power goes meanwhile.
    fn change(&mut self, call: Call, change: Option<Change>) -> io::Result<()> {
        let turn = self.enter(call, 0);
        if let (Turn::Done | Turn::Cut, Some(change)) = (turn, change) {
            self.directory.change(self.order, change);
        }
        match turn {
            Turn::Done => Ok(()),
            Turn::Cut => Err(power_is_off()),
            Turn::Fails(fault) => Err(fault.error()),
        }
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<usize> {
        self.check_power()?;
        if self.directory.cached.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name: Arc<str> = Arc::from(name);
        let call = Call { op: Op::Create, name: Arc::clone(&name), to: None, at: 0, len: 0 };
        if self.free_bytes() == Some(0) {
            self.enter(call, 0);
            self.check_power()?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.inodes.len();
        self.inodes.push(Inode::new(Arc::clone(&name), Blocks::default(), 0));
        self.change(call, Some(Change::Create { name, inode }))?;
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.check_power()?;
        let inode = self.find(from)?;
        let (from, to): (Arc<str>, Arc<str>) = (Arc::from(from), Arc::from(to));
        let (name, new) = (Arc::clone(&from), Some(Arc::clone(&to)));
        let call = Call { op: Op::Rename, name, to: new, at: 0, len: 0 };
        let label = Arc::clone(&to);
        let change = (from != to).then_some(Change::Rename { from, to, inode });
        self.change(call, change)?;
        self.inode_mut(inode).label = label;
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.check_power()?;
        let inode = self.find(name)?;
        let name: Arc<str> = Arc::from(name);
        let call = Call { op: Op::Remove, name: Arc::clone(&name), to: None, at: 0, len: 0 };
        self.change(call, Some(Change::Remove { name, inode }))
    }

    pub(super) fn sync_dir(&mut self) -> io::Result<()> {
        self.check_power()?;
        let call = Call { op: Op::SyncDir, name: Arc::from(""), to: None, at: 0, len: 0 };
        match self.enter(call, 0) {
            Turn::Done => self.directory.sync(),
            Turn::Cut => return Err(power_is_off()),
            Turn::Fails(Fault::Lying) => {}
            Turn::Fails(Fault::Eintr) => return Err(Fault::Eintr.error()),
            Turn::Fails(fault) => {
                self.directory.fail_sync();
                return Err(fault.error());
            }
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: usize) -> io::Result<()> {
        self.check_power()?;
        let name = Arc::clone(&self.inode(inode).label);
        let turn = self.enter(Call { op: Op::Sync, name, to: None, at: 0, len: 0 }, 0);
        let (how, mut rng) = (self.failed_sync, self.chance());
        let owed = std::mem::take(&mut self.inode_mut(inode).owed);
        match turn {
            Turn::Done => self.inode_mut(inode).sync(),
            Turn::Cut => return Err(power_is_off()),
            Turn::Fails(Fault::Lying) => {}
            Turn::Fails(Fault::Eintr) => return Err(Fault::Eintr.error()),
            Turn::Fails(fault) => {
                self.inode_mut(inode).fail_sync(how, &mut rng);
                return if how.is_told() { Err(fault.error()) } else { Ok(()) };
            }
        }
        if owed { Err(Fault::Eio.error()) } else { Ok(()) }
    }

    pub(super) fn cut(&mut self, inode: usize, len: u64) -> io::Result<()> {
        self.check_power()?;
        let name = Arc::clone(&self.inode(inode).label);
        let turn = self.enter(Call { op: Op::Cut, name, to: None, at: len, len: 0 }, 0);
        let order = self.order;
        match turn {
            Turn::Fails(fault) => return Err(fault.error()),
            Turn::Cut | Turn::Done => self.inode_mut(inode).cut(order, len),
        }
        self.check_power()
    }

    pub(super) fn write(
        &mut self,
        inode: usize,
        at: u64,
        data: Arc<[u8]>,
        durable: bool,
    ) -> io::Result<()> {
        self.check_power()?;
        if data.is_empty() {
            return Ok(());
        }
        let name = Arc::clone(&self.inode(inode).label);
        let op = if durable { Op::DurableWrite } else { Op::Write };
        let call = Call { op, name, to: None, at, len: data.len() as u64 };
        let turn = self.enter(call, fold_bytes(0, &data));
        if let Turn::Fails(fault) = turn {
            return self.fail_write(inode, at, data, durable, fault);
        }
        let order = self.order;
        let room = self.room(inode, at, data.len());
        let (at, data, room) = match self.folio {
            Some(folio) if room == data.len() => {
                let (at, data) = self.inode(inode).widen(at, &data, folio);
                let room = data.len();
                (at, data, room)
            }
            _ => (at, data, room),
        };
        let file = self.inode_mut(inode);
        match turn {
            _ if room < data.len() => file.write(order, at, Arc::from(&data[..room]), false),
            Turn::Done if durable => file.force(at, &data),
            _ => file.write(order, at, Arc::clone(&data), false),
        }
        self.check_power()?;
        if room < data.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Reads, counting the call.
    pub(super) fn read(&mut self, inode: usize, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.check_power()?;
        let now = self.life.reads;
        self.life.reads += 1;
        if self.life.read_faults.iter().any(|(at, lasts)| lasts.covers(*at, now)) {
            self.life.troubles += 1;
            return Err(Fault::Eio.error());
        }
        let count = self.inode(inode).read(at, buf).ok_or_else(|| Fault::Eio.error())?;
        let flips = self.life.read_flips.iter().filter(|(read, _)| *read == now);
        for (_, bit) in flips.copied().collect::<Vec<_>>() {
            if let Some(byte) = buf[..count].get_mut(index(bit / 8) % count.max(1)) {
                *byte ^= 1 << (bit % 8);
                self.life.troubles += 1;
            }
        }
        Ok(count)
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        let used = || self.directory.cached.values().map(|inode| self.inode(*inode).len).sum();
        self.capacity.map(|capacity| capacity.saturating_sub(used()))
    }

    /// How many bytes of a write fit on the disk; what the file has already always does.
    fn room(&self, inode: usize, at: u64, len: usize) -> usize {
        let Some(free) = self.free_bytes() else { return len };
        let reach = (self.inode(inode).len + free).saturating_sub(at);
        let whole = reach / SECTOR as u64 * SECTOR as u64;
        index(whole).min(len)
    }
}
