//! Units that are stuck for ever, and units that never end, while segments pass: policy, moves
//! and trimming in turn, on the real unit table.

use siding_fork::policy::{Candidate, Plan, Policy, Sealed, Settings, Situation};
use siding_wal::Lsn;
use siding_wal::format::{DirectoryEntry, Kind, SPtr, UnitState, flags};
use siding_wal::units::{Applied, Forked, Units};
use std::collections::{BTreeMap, HashMap, HashSet};

const SIZE: u64 = 1 << 20;
const FORK_BYTES: u64 = 104;

struct Toy {
    units: Units,
    policy: Policy,
    end: u64,
    /// Milliseconds: a second a segment.
    now: u64,
    oldest: u64,
    sealed: BTreeMap<u64, Vec<DirectoryEntry>>,
    /// What was not moved, of every unit that is not ended at once.
    records: HashMap<u64, Vec<(Lsn, u64)>>,
    moved: HashSet<(u64, Lsn)>,
    moved_bytes: u64,
    held: HashSet<u64>,
    budget: u64,
    soft_limit: Option<u64>,
    /// The most that was kept when a segment was sealed and what could go was gone.
    most: u64,
    next_unit: u64,
    extents: u64,
}

impl Toy {
    fn new() -> Self {
        let mut units = Units::default();
        units.set_segment_size(SIZE);
        Self {
            units,
            policy: Policy::new(Settings { idle_ms: 500, ..Settings::default() }),
            end: 4096,
            now: 1,
            oldest: 0,
            sealed: BTreeMap::new(),
            records: HashMap::new(),
            moved: HashSet::new(),
            moved_bytes: 0,
            held: HashSet::new(),
            budget: u64::MAX,
            soft_limit: None,
            most: 0,
            next_unit: 1 << 40,
            extents: 0,
        }
    }

    fn begin(&mut self) -> u64 {
        self.next_unit += 1;
        self.units.begin(self.next_unit, 0);
        self.next_unit
    }

    /// A place for a record: none crosses the end of its segment.
    fn place(&mut self, bytes: u64) -> (Lsn, Lsn) {
        if self.end / SIZE != (self.end + bytes - 1) / SIZE {
            self.seal();
        }
        let lsn = self.end;
        self.end += bytes;
        (Lsn::new(lsn), Lsn::new(self.end))
    }

    fn append(&mut self, unit: u64, kind: Kind, flags: u8, bytes: u64) {
        let (lsn, next) = self.place(bytes);
        let gid = unit.to_le_bytes();
        let gid = if kind == Kind::Prepare { gid.as_slice() } else { &[] };
        let record = Applied { lsn, next, kind, flags, gid, repeat_history: false };
        self.units.appended(unit, &record, self.now);
        self.records.entry(unit).or_default().push((lsn, bytes));
    }

    fn data(&mut self, unit: u64, bytes: u64) {
        self.append(unit, Kind::Data, 0, bytes);
    }

    /// Units that end at once, until so many segments have passed.
    fn pass(&mut self, segments: u64) {
        self.pass_bytes(segments * SIZE);
    }

    fn pass_bytes(&mut self, bytes: u64) {
        let until = self.end + bytes;
        while self.end < until {
            let unit = self.begin();
            self.data(unit, 8 << 10);
            self.append(unit, Kind::Abort, flags::END, 64);
            self.records.remove(&unit);
        }
    }

    fn stuck(&mut self, count: u64, records: u64) -> Vec<u64> {
        let units: Vec<u64> = (0..count).map(|_| self.begin()).collect();
        for _ in 0..records {
            for unit in &units {
                self.data(*unit, 96);
            }
            self.pass(1);
        }
        for unit in &units {
            self.append(*unit, Kind::Prepare, 0, 64);
        }
        units
    }

    /// The segment is full: its directory, a keypoint, moves, trimming.
    fn seal(&mut self) {
        let number = self.end / SIZE;
        self.end = (number + 1) * SIZE + 4096;
        self.now += 1000;
        self.sealed.insert(number, self.units.directory(number));
        self.units.forget_spans(number);
        self.units.settle(Lsn::new(self.end));
        for rounds in 0.. {
            assert!(rounds < 10_000, "rounds come to an end");
            let plans = self.plan();
            if plans.is_empty() {
                break;
            }
            for plan in plans {
                self.carry_out(plan);
            }
            self.units.settle(Lsn::new(self.end));
        }
        self.trim();
        self.most = self.most.max(self.retained());
    }

    fn retained(&self) -> u64 {
        self.end / SIZE + 1 - self.oldest
    }

    fn trim(&mut self) {
        let low = self.units.low().map_or(u64::MAX, |(low, _)| low.get());
        self.oldest = low.min(self.end) / SIZE;
        self.sealed = self.sealed.split_off(&self.oldest);
    }

    fn plan(&mut self) -> Vec<Plan> {
        let idle = |touched: u64| if touched == 0 { None } else { Some(self.now - touched) };
        let live = self.units.iter().filter(|(_, unit)| unit.live_low() < Lsn::MAX);
        let mut units: Vec<Candidate> = live
            .map(|(unit, entry)| Candidate {
                unit,
                state: entry.state,
                floor: entry.floor,
                main_bytes: entry.main.1,
                idle_ms: idle(entry.touched_ms),
                held: self.held.contains(&unit),
                moving: entry.is_moving() || self.units.is_forking(unit),
            })
            .collect();
        units.sort_unstable_by_key(|it| it.unit);
        let segments: Vec<Sealed<'_>> = self
            .sealed
            .iter()
            .map(|(number, directory)| Sealed { number: *number, directory })
            .collect();
        let round = self.policy.round(&Situation {
            segment_size: SIZE,
            segments: &segments,
            free_below: Lsn::new(self.end),
            retained: self.retained() * SIZE,
            soft_limit: self.soft_limit,
            units: &units,
            budget: self.budget,
            room: u64::MAX,
            urgent: false,
        });
        assert!(round.copied <= self.budget || round.plans.len() == 1);
        round.plans
    }

    fn carry_out(&mut self, plan: Plan) {
        let moving = self.units.begin_move(plan.unit).unwrap();
        let records = self.records.get_mut(&plan.unit).unwrap();
        let upto = plan.upto.unwrap_or(Lsn::MAX);
        let stay = records.split_off(records.partition_point(|(lsn, _)| *lsn <= upto));
        let gone = std::mem::replace(records, stay);
        assert!(!gone.is_empty());
        let successor = records.first().map(|(lsn, _)| *lsn);
        let bytes: u64 = gone.iter().map(|(_, bytes)| bytes).sum();
        for (lsn, _) in &gone {
            assert!(self.moved.insert((plan.unit, *lsn)), "{lsn} of {} twice", plan.unit);
        }
        self.moved_bytes += bytes;
        self.extents += 1;
        let forked = Forked {
            sec: SPtr { extent: self.extents, offset: 8 },
            successor,
            moves_floor: true,
            original: None,
            secondary: (moving.secondary.0 + gone.len() as u64, moving.secondary.1 + bytes),
            chain_hash: 0,
        };
        let fork = self.units.fork(plan.unit, &forked).unwrap();
        // Not `place`: a round is made between two segments, and has room in the next.
        let lsn = Lsn::new(self.end);
        self.end += FORK_BYTES;
        self.units.forked(plan.unit, (lsn, Lsn::new(self.end)), &fork, None);
        let low = self.units.get(plan.unit).unwrap().live_low();
        assert_eq!(low, successor.unwrap_or(Lsn::MAX));
    }
}

fn stuck_for_ever(count: u64, budget: u64) -> Toy {
    let mut toy = Toy::new();
    toy.budget = budget;
    let units = toy.stuck(count, 2);
    toy.pass(60);
    assert!(toy.retained() <= 3, "{} segments", toy.retained());
    assert_eq!(toy.moved_bytes, count * 256, "each byte once, and all of them");
    for unit in units {
        let entry = toy.units.get(unit).unwrap();
        assert_eq!((entry.state, entry.live_low()), (UnitState::InDoubt, Lsn::MAX));
        assert!((1..=3).contains(&entry.moves), "{} moves of three records", entry.moves);
    }
    let (moved, moves) = (toy.moved_bytes, toy.extents);
    toy.pass(60);
    assert_eq!((toy.moved_bytes, toy.extents), (moved, moves), "and nothing more");
    toy
}

#[test]
fn one_unit_stuck_for_ever() {
    assert!(stuck_for_ever(1, u64::MAX).most <= 3);
}

#[test]
fn a_hundred_units_stuck_for_ever() {
    assert!(stuck_for_ever(100, u64::MAX).most <= 4);
    stuck_for_ever(100, 1000);
}

#[test]
fn ten_thousand_units_stuck_for_ever() {
    // 2.5 MB of them: it pays once ten segments go for them.
    assert!(stuck_for_ever(10_000, u64::MAX).most <= 14);
    stuck_for_ever(10_000, 300_000);
}

#[test]
fn a_busy_unit_that_never_ends_is_kept_off_the_log() {
    for budget in [u64::MAX, 100_000, 1] {
        let mut toy = Toy::new();
        toy.budget = budget;
        let unit = toy.begin();
        for _ in 0..1000 {
            toy.data(unit, 8 << 10);
            toy.pass_bytes(80 << 10);
        }
        assert!(toy.most <= 4, "{} segments", toy.most);
        let (entry, left) = (toy.units.get(unit).unwrap(), toy.records[&unit].len());
        assert_eq!(entry.main.1, (left as u64) * (8 << 10));
        assert!(entry.live_low() < Lsn::MAX && entry.moves > 20, "{} moves", entry.moves);
        assert_eq!(toy.moved.len() + left, 1000);
    }
}

#[test]
fn a_unit_that_writes_most_of_the_log_is_kept_to_the_soft_limit() {
    let mut toy = Toy::new();
    toy.soft_limit = Some(8 * SIZE);
    let unit = toy.begin();
    for _ in 0..1000 {
        toy.data(unit, 64 << 10);
        toy.pass_bytes(16 << 10);
    }
    assert!((8..=10).contains(&toy.most), "{} segments", toy.most);
    assert!(toy.moved_bytes > 0);
}

#[test]
fn a_held_unit_keeps_the_log_until_it_is_let_go() {
    let mut toy = Toy::new();
    let units = toy.stuck(3, 1);
    toy.held.insert(units[1]);
    toy.pass(20);
    assert!(toy.retained() > 20 && toy.moved_bytes == 0);
    toy.held.clear();
    toy.pass(2);
    assert!(toy.retained() <= 3);
}
