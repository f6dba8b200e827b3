//! Rebuilding: whatever is lost of the extents and trimmed of the main log, what comes out is the
//! unit's moved records, each once, or nothing; and everything, while the originals are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use siding_fork::{Action, Move, Task};
use siding_sim::Rng;
use siding_wal::chain::ChainStart;
use siding_wal::format::{
    Extent, ExtentHead, ExtentPlace, ForkPayload, Kind, Packer, RecordHeader, SPtr, Seed,
};
use siding_wal::units::Moving;
use siding_wal::{Error, Lsn, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

const LOG_ID: [u8; 16] = [3; 16];
const UNIT: u64 = 5;

/// A unit: its records and fork records on the main log, its extents, and what was moved.
#[derive(Default)]
struct World {
    main: BTreeMap<Lsn, (RecordHeader, Vec<u8>)>,
    extents: BTreeMap<SPtr, Arc<Extent>>,
    end: u64,
    head: Lsn,
    /// Records that were not moved, oldest first, and those that were.
    here: Vec<Lsn>,
    moved: Vec<Lsn>,
    /// Newest extent, copies up to it, their hash.
    behind: Option<(SPtr, u64, u64)>,
    moves: u32,
    floor: Lsn,
}

impl World {
    fn put(&mut self, kind: Kind, payload: &[u8]) -> Lsn {
        let lsn = Lsn::new(self.end);
        let header =
            RecordHeader { unit: UNIT, prev: self.head, ..RecordHeader::of_log(kind, payload) };
        let mut bytes = header.encode(Seed::new(&LOG_ID, 1), lsn).to_vec();
        bytes.extend_from_slice(payload);
        self.end += header.padded_len() as u64;
        self.head = lsn;
        self.main.insert(lsn, (header, bytes));
        lsn
    }

    fn append(&mut self, rng: &mut Rng) {
        let payload = vec![7; rng.index(30)];
        let lsn = self.put(Kind::Data, &payload);
        if self.here.is_empty() {
            self.floor = lsn;
        }
        self.here.push(lsn);
    }

    /// Copies these behind `behind`, into one extent or more.
    fn copy(&mut self, lsns: &[Lsn], mut behind: Option<(SPtr, u64, u64)>, each: usize) {
        for some in lsns.chunks(each) {
            let mut packer = Packer::new(UNIT, self.moves + 1, behind);
            some.iter().for_each(|lsn| packer.push(*lsn, &self.main[lsn].1));
            let (count, hash) = packer.total();
            let last = self.extents.keys().last().map_or(0, |at| at.extent);
            let at = SPtr { extent: last + 1, offset: 64 };
            let place = ExtentPlace { log_id: LOG_ID, at };
            let (_, bytes) = packer.seal(&place);
            self.extents.insert(at, Arc::new(Extent::decode(bytes, &place).unwrap()));
            behind = Some((at, count, hash));
        }
        self.behind = behind;
    }

    fn fork(&mut self) {
        let (sec, moved_count, chain_hash) = self.behind.unwrap();
        self.moves += 1;
        let floor = self.here.first().copied().unwrap_or(Lsn::ZERO);
        let payload = ForkPayload {
            sec,
            floor,
            moves: self.moves,
            moved_count,
            chain_hash,
            first: self.moved[0],
            ..ForkPayload::default()
        };
        let lsn = self.put(Kind::Fork, &payload.encode());
        self.floor = if floor.is_zero() { lsn.plus(1) } else { floor };
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.index(8) {
            0 if !self.here.is_empty() => {
                let count = 1 + rng.index(self.here.len());
                let lsns: Vec<Lsn> = self.here.drain(..count).collect();
                self.copy(&lsns, self.behind, 1 + rng.index(4));
                self.moved.extend(lsns);
                if rng.index(2) == 0 {
                    // Written while the move went on.
                    self.append(rng);
                }
                self.fork();
            }
            1 if !self.moved.is_empty() => {
                self.copy(&self.moved.clone(), None, 1 + rng.index(6));
                self.fork();
            }
            _ => self.append(rng),
        }
    }

    /// What a rebuilding copies, if it comes to a fork record.
    fn rebuild(&self, lost: &BTreeMap<SPtr, bool>, oldest: Lsn) -> Result<Option<Vec<Lsn>>> {
        let sec = self.behind.map_or(SPtr::NONE, |it| it.0);
        let start = ChainStart { unit: UNIT, head: self.head, floor: self.floor, sec };
        let secondary = (self.moved.len() as u64, 0);
        let moving = Moving { start, moves: self.moves, secondary, chain_hash: None };
        let mut one = Move::new(Task::Rebuild, moving, Lsn::new(self.end));
        let mut copied = Vec::new();
        let mut last = 1_000;
        loop {
            match one.next_action() {
                Action::Read(lsn) => {
                    let there = self.main.get(&lsn).filter(|_| lsn >= oldest);
                    let gone = || Error::new(siding_wal::ErrorKind::Trimmed, "trimmed").at(lsn);
                    let (header, bytes) = there.ok_or_else(gone)?;
                    one.record(lsn, header, bytes)?;
                }
                Action::ReadHead(_) => panic!("nothing is linked to what was lost"),
                Action::ReadExtent(at) => match lost.get(&at) {
                    None => one.extent(&self.extents[&at])?,
                    Some(headless) => {
                        let head: &ExtentHead = &self.extents[&at].head;
                        assert!(one.lost((!headless).then_some(head))?);
                    }
                },
                Action::Append(packer) => {
                    last += 1;
                    let at = SPtr { extent: last, offset: 64 };
                    let place = ExtentPlace { log_id: LOG_ID, at };
                    let extent = Extent::decode(packer.seal(&place).1, &place).unwrap();
                    copied.extend((0..extent.len()).map(|index| extent.get(index).unwrap().lsn));
                    one.appended(at);
                }
                Action::Sync => one.synced(),
                Action::Fork(forked) => {
                    assert!(!forked.moves_floor && forked.secondary.0 == secondary.0);
                    return Ok(Some(copied));
                }
                Action::Nothing => return Ok(None),
            }
        }
    }
}

#[test]
fn what_is_rebuilt_is_what_was_moved_or_nothing() {
    let (mut whole, mut mended, mut not) = (0, 0, 0);
    for seed in 0..4_000 {
        let mut rng = Rng::new(seed);
        let mut world = World { end: 512, floor: Lsn::new(1), ..World::default() };
        for _ in 0..5 + rng.index(40) {
            world.step(&mut rng);
        }
        let mut lost = BTreeMap::new();
        for at in world.extents.keys() {
            if rng.index(3) == 0 {
                lost.insert(*at, rng.index(2) == 0);
            }
        }
        let mut needs = false;
        let mut at = world.behind.map_or(SPtr::NONE, |it| it.0);
        while at != SPtr::NONE {
            needs |= lost.contains_key(&at);
            at = world.extents[&at].head.parent;
        }
        let all = world.rebuild(&lost, Lsn::ZERO).unwrap();
        assert_eq!(all, needs.then(|| world.moved.clone()), "seed {seed}, nothing trimmed");
        let oldest = Lsn::new(rng.index(usize::try_from(world.end).unwrap()) as u64);
        match world.rebuild(&lost, oldest) {
            Ok(Some(copied)) => {
                assert_eq!(copied, world.moved, "seed {seed}, trimmed to {oldest}");
                mended += 1;
            }
            Ok(None) if !needs => whole += 1,
            _ => not += 1,
        }
    }
    assert!(whole > 300 && mended > 300 && not > 300, "{whole}, {mended}, {not}");
}

/// The originals end before the number that the last fork record says: nothing is believed.
#[test]
fn what_is_not_whole_gets_no_fork_record() {
    for count in [false, true] {
        let mut rng = Rng::new(1);
        let mut world = World { end: 512, floor: Lsn::new(1), ..World::default() };
        (0..6).for_each(|_| world.append(&mut rng));
        let lsns: Vec<Lsn> = world.here.drain(..).collect();
        world.copy(&lsns, None, 10);
        let (at, total, hash) = world.behind.unwrap();
        world.behind = Some(if count { (at, total + 1, hash) } else { (at, total, hash ^ 1) });
        world.moved = lsns;
        world.fork();
        let lost = BTreeMap::from([(at, true)]);
        assert_eq!(world.rebuild(&lost, Lsn::ZERO).unwrap(), None);
    }
}
