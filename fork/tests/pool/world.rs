//! A pool, and beside it what a main log with its fork records would know of it.

use siding_fork::pool::{Pool, PoolConfig, Purpose, Sweep};
use siding_sim::disk::Crash;
use siding_sim::{Rng, SimDisk};
use siding_wal::chain::Copies as _;
use siding_wal::disk::Disk as _;
use siding_wal::format::{Kind, LogId, Packer, RecordHeader, SPtr, Seed, parse_extent_name, wide};
use siding_wal::{Lsn, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const LOG_ID: LogId = *b"siding pool test";
pub(crate) const FILE_SIZE: u64 = 32 << 10;

/// An extent as it was appended.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) at: SPtr,
    pub(crate) len: u64,
    pub(crate) copies: Vec<(Lsn, Vec<u8>)>,
    total: (u64, u64),
}

/// The extents of a unit, oldest first.
pub(crate) type Chain = Vec<Held>;

/// What was appended for a unit since the last sync.
#[derive(Clone, Debug, Default)]
struct Pending {
    chain: Chain,
    /// A copy of the whole chain, not what comes behind it.
    compacts: bool,
}

/// What a main log would know after a crash.
#[derive(Clone, Debug)]
pub(crate) struct Promised {
    live: BTreeMap<u64, Chain>,
    incarnation: u32,
    next_lsn: u64,
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) pool: Pool,
    pub(crate) incarnation: u32,
    pub(crate) max_bytes: Option<u64>,
    /// What fork records name.
    pub(crate) live: BTreeMap<u64, Chain>,
    pending: BTreeMap<u64, Pending>,
    /// Copied, their old extents not yet given back.
    replacing: BTreeSet<u64>,
    swept: bool,
    next_lsn: u64,
}

/// A record of `unit` at `lsn`, its payload `len` bytes that are like no other's.
pub(crate) fn record(unit: u64, lsn: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(lsn);
    let words = (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes());
    let payload: Vec<u8> = words.take(len).collect();
    let header = RecordHeader { unit, ..RecordHeader::of_log(Kind::Data, &payload) };
    let mut bytes = header.encode(Seed::new(&LOG_ID, 1), Lsn::new(lsn)).to_vec();
    bytes.extend_from_slice(&payload);
    bytes
}

fn pool(disk: &SimDisk, incarnation: u32, max_bytes: Option<u64>) -> Pool {
    let write_unit = disk.geometry().write_unit;
    let config =
        PoolConfig { log_id: LOG_ID, incarnation, write_unit, file_size: FILE_SIZE, max_bytes };
    Pool::new(Arc::new(disk.clone()), config)
}

impl World {
    pub(crate) fn new(disk: SimDisk) -> Self {
        Self::with_quota(disk, None)
    }

    pub(crate) fn with_quota(disk: SimDisk, max_bytes: Option<u64>) -> Self {
        Self {
            pool: pool(&disk, 1, max_bytes),
            disk,
            incarnation: 1,
            max_bytes,
            live: BTreeMap::new(),
            pending: BTreeMap::new(),
            replacing: BTreeSet::new(),
            swept: false,
            next_lsn: 512,
        }
    }

    /// What must hold on whatever is left of the disk.
    pub(crate) fn promised(&self) -> Promised {
        let Self { incarnation, next_lsn, .. } = *self;
        Promised { live: self.live.clone(), incarnation, next_lsn }
    }

    /// The next open, on what is left of the disk.
    pub(crate) fn go_on(disk: SimDisk, promised: &Promised) -> Self {
        let mut world = Self::new(disk.clone());
        world.incarnation = promised.incarnation;
        world.next_lsn = promised.next_lsn;
        world.live = promised.live.clone();
        world.reopen(disk);
        world
    }

    /// A new pool on this disk, as after a crash or the end of a process.
    pub(crate) fn reopen(&mut self, disk: SimDisk) {
        self.incarnation += 1;
        self.pool = pool(&disk, self.incarnation, self.max_bytes);
        self.disk = disk;
        self.pending.clear();
        self.replacing.clear();
        self.swept = false;
    }

    pub(crate) fn crash(&mut self, choice: Crash) {
        self.reopen(self.disk.crash(choice));
    }

    /// New records of these payload lengths.
    pub(crate) fn records(&mut self, unit: u64, lens: &[usize]) -> Vec<(Lsn, Vec<u8>)> {
        let mut new = Vec::new();
        for len in lens {
            new.push((Lsn::new(self.next_lsn), record(unit, self.next_lsn, *len)));
            self.next_lsn += 64 + wide(*len);
        }
        new
    }

    /// Appends one extent with new records of a unit, behind what it has.
    pub(crate) fn append(&mut self, unit: u64, lens: &[usize]) -> Result<SPtr> {
        let copies = self.records(unit, lens);
        let of_unit = self.pending.get(&unit).map(|pending| &pending.chain);
        let last = of_unit.and_then(|chain| chain.last());
        let last = last.or_else(|| self.live.get(&unit)?.last());
        let behind = last.map(|held| (held.at, held.total.0, held.total.1));
        let held = self.put(unit, behind, copies, Purpose::Move)?;
        let at = held.at;
        self.pending.entry(unit).or_default().chain.push(held);
        Ok(at)
    }

    fn put(
        &self,
        unit: u64,
        behind: Option<(SPtr, u64, u64)>,
        copies: Vec<(Lsn, Vec<u8>)>,
        purpose: Purpose,
    ) -> Result<Held> {
        let mut packer = Packer::new(unit, 1, behind);
        copies.iter().for_each(|(lsn, record)| packer.push(*lsn, record));
        let (len, total) = (wide(packer.encoded_len()), packer.total());
        let at = self.pool.append(packer, purpose)?;
        Ok(Held { at, len, copies, total })
    }

    /// Copies a unit's chain to new extents of this many records.
    pub(crate) fn compact(&mut self, unit: u64, records: usize) -> Result<()> {
        let chain = self.live[&unit].clone();
        let all: Vec<_> = chain.into_iter().flat_map(|held| held.copies).collect();
        let mut new = Pending { chain: Vec::new(), compacts: true };
        for copies in all.chunks(records.max(1)) {
            let behind = new.chain.last().map(|held| (held.at, held.total.0, held.total.1));
            match self.put(unit, behind, copies.to_vec(), Purpose::Compact) {
                Ok(held) => new.chain.push(held),
                Err(error) => {
                    self.give_up(unit, &new.chain);
                    return Err(error);
                }
            }
        }
        self.pending.insert(unit, new);
        Ok(())
    }

    fn give_up(&self, unit: u64, chain: &[Held]) {
        chain.iter().for_each(|held| self.pool.discard(unit, held.at));
    }

    /// Gives up what was appended for a unit.
    pub(crate) fn abandon(&mut self, unit: u64) {
        if let Some(pending) = self.pending.remove(&unit) {
            self.give_up(unit, &pending.chain);
        }
    }

    pub(crate) fn is_pending(&self, unit: u64) -> bool {
        self.pending.contains_key(&unit)
    }

    /// The end of a round: what was appended is synced, and fork records name it.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let result = self.pool.sync();
        for (unit, pending) in std::mem::take(&mut self.pending) {
            if result.is_err() {
                self.give_up(unit, &pending.chain);
                continue;
            }
            let chain = self.live.entry(unit).or_default();
            if pending.compacts {
                chain.clear();
                self.replacing.insert(unit);
            }
            chain.extend(pending.chain);
        }
        result
    }

    /// A round whose fork records never come: its extents are durable orphans.
    pub(crate) fn sync_alone(&mut self) -> Result<()> {
        self.pending.clear();
        self.pool.sync()
    }

    /// The fork records of compactions are durable.
    pub(crate) fn settle(&mut self) {
        for unit in std::mem::take(&mut self.replacing) {
            if let Some(newest) = self.live.get(&unit).and_then(|chain| chain.last()) {
                self.pool.replaced(unit, newest.at);
            }
        }
    }

    pub(crate) fn free(&mut self, unit: u64) {
        self.abandon(unit);
        self.live.remove(&unit);
        self.replacing.remove(&unit);
        self.pool.free(unit);
    }

    pub(crate) fn newest(&self) -> Vec<(u64, SPtr)> {
        self.live.iter().map(|(unit, chain)| (*unit, chain.last().unwrap().at)).collect()
    }

    /// As the engine does: a sweep that fails is made again later.
    pub(crate) fn sweep_anyway(&mut self) {
        self.swept = self.pool.sweep(&self.newest()).is_ok();
    }

    /// A sweep went well.
    pub(crate) fn swept(&mut self) {
        self.swept = true;
    }

    pub(crate) fn sweep(&mut self) -> Sweep {
        let found = self.pool.sweep(&self.newest()).unwrap();
        self.swept = true;
        found
    }

    /// What is live is readable, byte for byte.
    pub(crate) fn check_reads(&self) {
        for unit in self.live.keys() {
            self.read(unit).unwrap();
        }
    }

    /// Reads the chain of a unit along the parents, and compares.
    pub(crate) fn read(&self, unit: &u64) -> Result<()> {
        let mut expected = self.live[unit].iter().rev();
        let mut at = self.live[unit].last().unwrap().at;
        while at != SPtr::NONE {
            let extent = self.pool.extent(*unit, at)?;
            let held = expected.next().expect("no more extents than there were");
            assert_eq!((at, extent.len()), (held.at, held.copies.len()));
            for (index, (lsn, record)) in held.copies.iter().enumerate() {
                let copied = extent.get(index).unwrap();
                assert_eq!((copied.lsn, extent.record(copied)), (*lsn, record.as_slice()));
            }
            at = extent.head.parent;
        }
        assert!(expected.next().is_none(), "all extents of unit {unit}");
        Ok(())
    }

    pub(crate) fn files(&self) -> BTreeMap<u64, u64> {
        let names = self.disk.list().unwrap().into_iter();
        names.filter_map(|(name, len)| Some((parse_extent_name(&name)?, len))).collect()
    }

    /// Nothing leaks: the bytes on the disk are those the pool knows of, what lives is what must,
    /// and no file but the open one is without it (I9). Nothing may be pending.
    pub(crate) fn check_bytes(&mut self) {
        self.settle();
        // What was given up is still in memory.
        let _ = self.pool.sync();
        // What could not be removed before goes now, unless that fails too.
        (0..9).for_each(|_| self.pool.discard(0, SPtr::NONE));
        let (files, stats) = (self.files(), self.pool.stats());
        let live: u64 = self.live.values().flatten().map(|held| held.len).sum();
        let count = self.live.values().map(Vec::len).sum::<usize>();
        assert_eq!(stats.swept, self.swept);
        if !self.swept {
            return;
        }
        assert_eq!((stats.files, stats.bytes), (wide(files.len()), files.values().sum()));
        assert_eq!((stats.live_bytes, stats.extents), (live, wide(count)));
        assert_eq!(stats.live_bytes + stats.dead_bytes, stats.bytes);
        for (unit, chain) in &self.live {
            let bytes: u64 = chain.iter().map(|held| held.len).sum();
            assert_eq!(self.pool.unit_bytes(*unit), bytes);
        }
        let lived_in: BTreeSet<u64> =
            self.live.values().flatten().map(|held| held.at.extent).collect();
        let empty: Vec<&u64> = files.keys().filter(|file| !lived_in.contains(*file)).collect();
        let newest = files.keys().next_back();
        let open = |file: &&u64| Some(**file) == newest.copied();
        assert!(empty.len() <= 1 && empty.iter().all(open), "empty files stay: {empty:x?}");
        assert!(empty.iter().all(|file| **file >> 32 == u64::from(self.incarnation)));
    }
}
