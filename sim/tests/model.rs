//! Thousands of random histories, against a model that knows of each sector, size and name what
//! it may be after a crash, and nothing of how the disk works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use siding_sim::disk::{Crash, Fault, Lasts, Torn};
use siding_sim::{Rng, SimDisk};
use siding_wal::disk::{AlignedBuf, Disk};
use std::collections::BTreeMap;

const SECTOR: usize = 512;
const SECTORS_MAX: usize = 12;

/// What a thing may be after a crash: first what is durable, last what reads see. A value with
/// `false` was lost by a failed sync: only chance brings it back.
type Versions<T> = Vec<(T, bool)>;

#[derive(Clone, Debug)]
struct File {
    sectors: Vec<Versions<u32>>,
    size: Versions<usize>,
    /// How far writes reach that the next sync covers.
    reach: usize,
}

impl File {
    fn new() -> Self {
        Self { sectors: vec![vec![(0, true)]; SECTORS_MAX], size: vec![(0, true)], reach: 0 }
    }

    fn write(&mut self, at: usize, count: usize, stamp: u32, durable: bool) {
        let end = at + count;
        for sector in &mut self.sectors[at..end] {
            if durable {
                sector.clear();
            }
            sector.push((stamp, true));
        }
        if durable {
            self.settle(end);
        } else {
            self.reach = self.reach.max(end);
        }
        if end > self.now() {
            self.size.push((end, true));
        }
    }

    /// The size is durable up to here at least.
    fn settle(&mut self, end: usize) {
        let durable = self.size[0].0.max(end);
        self.size.retain(|(size, _)| *size > durable);
        self.size.insert(0, (durable, true));
    }

    fn now(&self) -> usize {
        self.size.last().unwrap().0
    }

    fn sync(&mut self) {
        for sector in &mut self.sectors {
            let last = *sector.last().unwrap();
            if last.1 {
                *sector = vec![last];
            }
        }
        let grown = self.size.iter().filter(|(_, good)| *good).map(|(size, _)| *size).max();
        self.settle(grown.unwrap_or(0).max(self.reach));
        self.reach = 0;
    }

    fn fail_sync(&mut self) {
        let lose = |versions: &mut Versions<u32>| {
            versions[1..].iter_mut().for_each(|(_, good)| *good = false);
        };
        self.sectors.iter_mut().for_each(lose);
        self.size[1..].iter_mut().for_each(|(_, good)| *good = false);
        self.reach = 0;
    }

    /// Whether a crash may leave these stamps.
    fn allows(&self, found: &[u32]) -> bool {
        self.size.iter().any(|(size, _)| *size == found.len())
            && found.iter().zip(&self.sectors).all(|(stamp, versions)| {
                // A size may survive that no byte came with.
                versions.iter().any(|(version, _)| version == stamp)
            })
    }

    fn newest(&self) -> Vec<u32> {
        self.sectors[..self.now()].iter().map(|sector| sector.last().unwrap().0).collect()
    }

    fn durable(&self) -> Vec<u32> {
        self.sectors[..self.size[0].0].iter().map(|sector| sector[0].0).collect()
    }
}

type Names = BTreeMap<&'static str, usize>;

#[derive(Clone, Debug, Default)]
struct Model {
    files: Vec<File>,
    /// Names after each change since the last directory sync; the first are durable.
    names: Vec<Names>,
    stamp: u32,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// One random call, done to both.
fn step(rng: &mut Rng, disk: &SimDisk, model: &mut Model) {
    let mut names = model.names.last().unwrap().clone();
    let name = NAMES[rng.index(NAMES.len())];
    let Some(number) = names.get(name).copied() else {
        disk.create(name).unwrap();
        names.insert(name, model.files.len());
        model.names.push(names);
        model.files.push(File::new());
        return;
    };
    let (handle, file) = (disk.open(name).unwrap(), &mut model.files[number]);
    match rng.below(20) {
        0..10 => {
            let at = rng.index(SECTORS_MAX);
            let count = (1 + rng.index(5)).min(SECTORS_MAX - at);
            model.stamp += 1;
            let mut bytes = AlignedBuf::zeroed(count * SECTOR);
            for sector in bytes.chunks_mut(SECTOR) {
                sector[..4].copy_from_slice(&model.stamp.to_le_bytes());
            }
            let durable = rng.chance(1, 3);
            handle.write_at((at * SECTOR) as u64, &[&bytes], durable).unwrap();
            file.write(at, count, model.stamp, durable);
        }
        10..13 => {
            handle.sync().unwrap();
            file.sync();
        }
        13..15 => {
            disk.fail(disk.calls(), Fault::Eio, Lasts::Once);
            handle.sync().unwrap_err();
            file.fail_sync();
        }
        15 => {
            disk.remove(name).unwrap();
            names.remove(name);
            model.names.push(names);
        }
        16 | 17 => {
            let to = NAMES[rng.index(NAMES.len())];
            disk.rename(name, to).unwrap();
            names.remove(name);
            names.insert(to, number);
            model.names.push(names);
        }
        _ => {
            disk.sync_dir().unwrap();
            model.names = vec![names];
        }
    }
}

fn stamps(disk: &SimDisk, name: &str) -> Option<Vec<u32>> {
    let first = |sector: &[u8]| u32::from_le_bytes(*sector.first_chunk().unwrap());
    disk.contents(name).map(|bytes| bytes.chunks(SECTOR).map(first).collect())
}

fn compare(disk: &SimDisk, model: &Model, rng: &mut Rng) {
    let (durable, newest) = (&model.names[0], model.names.last().unwrap());
    let (least, most) = (disk.crash(Crash::DropAll), disk.crash(Crash::KeepAll));
    for name in NAMES {
        let file = |names: &Names| names.get(name).map(|number| &model.files[*number]);
        assert_eq!(stamps(disk, name), file(newest).map(File::newest), "{name} now");
        assert_eq!(stamps(&least, name), file(durable).map(File::durable), "{name} at least");
        assert_eq!(stamps(&most, name), file(newest).map(File::newest), "{name} at most");
    }
    let count = disk.pending_count();
    let torn = [Torn::Head, Torn::Tail, Torn::Hole, Torn::Lone][rng.index(4)];
    for choice in [
        Crash::Random(rng.next_u64()),
        Crash::Random(rng.next_u64()),
        Crash::KeepOnly(rng.index(count)),
        Crash::DropOnly(rng.index(count)),
        Crash::Tear(torn, rng.next_u64()),
    ] {
        let found = disk.crash(choice);
        assert_eq!(found.pending_count(), 0);
        for name in NAMES {
            let stamps = stamps(&found, name);
            // A name means what it meant at some time since the directory was synced.
            let allowed = model.names.iter().any(|names| match (names.get(name), &stamps) {
                (Some(number), Some(stamps)) => model.files[*number].allows(stamps),
                (None, None) => true,
                _ => false,
            });
            assert!(allowed, "{choice:?}: {name} is {stamps:?} in\n{model:?}");
        }
    }
}

#[test]
fn no_crash_leaves_what_the_model_forbids() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut disk = SimDisk::new(seed);
        let mut model = Model { names: vec![Names::new()], ..Model::default() };
        for _ in 0..60 {
            step(&mut rng, &disk, &mut model);
            compare(&disk, &model, &mut rng);
            if rng.chance(1, 10) {
                disk = disk.fork();
            }
        }
    }
}
