//! What is shipped next, decided without a disk: against histories of a log made up at random.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use siding_checkpoint::{
    ArchiveOptions, Compression, Job, Joint, Local, SegmentIndex, Shipping, Standing, Sums, Written,
};
use siding_sim::Rng;
use siding_wal::Lsn;

const SIZE: u64 = 64 << 10;
const UNIT: u64 = 512;

/// A log that grows and is trimmed, and an archive that fails now and then.
struct World {
    rng: Rng,
    standing: Standing,
    /// As it was a while ago: a thread may go by it.
    stale: Standing,
    shipping: Shipping,
    /// What the sink has: index and bytes count alike here.
    sink: Vec<SegmentIndex>,
    extents: Vec<(u64, u64)>,
    running: Vec<(Job, u64)>,
    now: u64,
    failures: u64,
}

fn index(local: &Local, last: Joint, tell: &[Lsn]) -> SegmentIndex {
    let first = Lsn::new(local.number * SIZE);
    let plain = Sums { len: last.end.since(first), blocks: vec![0] };
    // Digests of batches that were told of are their positions, cut off.
    let joints = tell.iter().map(|end| Joint { end: *end, digest: digest_of(*end) });
    SegmentIndex {
        log_id: [1; 16],
        number: local.number,
        segment_size: SIZE,
        write_unit: 512,
        incarnation: local.incarnation,
        kept: local.kept,
        last,
        written: vec![Written { incarnation: local.incarnation, end: last.end }],
        sealed: local.last.is_some(),
        compression: Compression::None,
        stored: plain.clone(),
        plain,
        marks: Vec::new(),
        labels: Vec::new(),
        joints: joints.collect(),
    }
}

fn digest_of(end: Lsn) -> u32 {
    u32::try_from(end.get() / UNIT).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let first = Local {
            number: 0,
            incarnation: 1,
            kept: Joint { end: Lsn::ZERO, digest: 0 },
            first: Lsn::new(UNIT),
            last: None,
        };
        let standing = Standing {
            log_id: [1; 16],
            size: SIZE,
            segments: vec![first],
            durable: Lsn::new(UNIT),
            extents: Vec::new(),
        };
        let parallel = 1 + rng.index(3);
        let options = ArchiveOptions { parallel, ..ArchiveOptions::default() };
        Self {
            rng,
            stale: standing.clone(),
            standing,
            shipping: Shipping::new(options),
            sink: Vec::new(),
            extents: Vec::new(),
            running: Vec::new(),
            now: 0,
            failures: 0,
        }
    }

    fn append(&mut self) {
        let last = self.standing.segments.last_mut().unwrap();
        let end = self.standing.durable.max(last.first).plus(UNIT * (1 + self.rng.below(20)));
        if end > Lsn::new((last.number + 1) * SIZE) {
            let kept =
                Joint { end: self.standing.durable, digest: digest_of(self.standing.durable) };
            last.last = Some(kept);
            let number = last.number + 1;
            let first = Lsn::new(number * SIZE + UNIT);
            let next = Local { number, incarnation: 1, kept, first, last: None };
            self.standing.segments.push(next);
        } else {
            self.standing.durable = end;
        }
    }

    fn trim(&mut self) {
        let pin = self.shipping.pin(&self.standing);
        self.standing.segments.retain(|it| Lsn::new((it.number + 1) * SIZE) > pin);
    }

    fn finish(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.rng.index(self.running.len());
        let (job, _) = self.running.remove(at);
        match self.rng.below(8) {
            0 => {
                self.failures += 1;
                self.shipping.failed(&job, self.now, "down".into());
            }
            1 => self.shipping.unreadable(&job, self.now, "rotten".into()),
            _ => match &job {
                Job::Look => self.shipping.looked(self.sink.clone(), &self.extents.clone()),
                Job::Segment { local, upto, tell } => {
                    let last = Joint { end: *upto, digest: digest_of(*upto) };
                    let index = index(local, last, tell);
                    self.sink.push(index.clone());
                    self.shipping.put(index);
                }
                Job::Extents(number, len) => {
                    self.extents.push((*number, *len));
                    self.shipping.put_extents(*number, *len);
                }
            },
        }
    }

    fn step(&mut self) {
        self.now += self.rng.below(2_000);
        if self.rng.chance(1, 6) {
            self.stale = self.standing.clone();
        }
        match self.rng.below(20) {
            0..8 => self.append(),
            8..13 => {
                let stale = self.rng.chance(1, 3);
                let standing = if stale { &self.stale } else { &self.standing };
                if let Some(job) = self.shipping.next(self.now, standing) {
                    if let Job::Segment { local, upto, .. } = &job {
                        let next = Lsn::new((local.number + 1) * SIZE);
                        assert!(*upto <= next && *upto <= self.standing.durable, "{job:?}");
                    }
                    assert!(self.running.iter().all(|(other, _)| *other != job), "{job:?} twice");
                    self.running.push((job, self.now));
                    assert!(self.running.len() <= self.shipping.options().parallel);
                }
            }
            13..17 => self.finish(),
            17 => self.trim(),
            18 => self.shipping.want(&self.standing.clone()),
            _ if self.rng.chance(1, 4) => {
                // The process dies: what was under way may have got there, unknown to it.
                for (job, _) in std::mem::take(&mut self.running) {
                    if let Job::Segment { local, upto, tell } = &job
                        && self.rng.chance(1, 2)
                    {
                        let last = Joint { end: *upto, digest: digest_of(*upto) };
                        self.sink.push(index(local, last, tell));
                    }
                }
                self.shipping = Shipping::new(self.shipping.options().clone());
            }
            _ => {
                let number = 1 + self.rng.below(4);
                let grown = self.standing.extents.iter_mut().find(|it| it.0 == number);
                match grown {
                    Some(it) => it.1 += 512,
                    None => self.standing.extents.push((number, 1_024)),
                }
                self.standing.extents.sort_unstable();
            }
        }
    }
}

#[test]
fn nothing_is_trimmed_that_is_not_there_and_all_gets_there() {
    let (mut trimmed, mut failures) = (0, 0);
    for seed in 0..600 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
            let oldest = world.standing.segments[0];
            // Everything below what the log has is in the sink, without a gap.
            let mut kept = oldest.kept;
            for number in (0..oldest.number).rev() {
                let found = world.sink.iter().find(|it| it.number == number && it.holds(kept));
                kept = found.unwrap_or_else(|| panic!("seed {seed}: {number} is lost")).kept;
            }
            trimmed = trimmed.max(oldest.number);
            assert_eq!(world.shipping.gaps(&world.standing), [], "seed {seed}");
        }
        failures += world.failures;
        // Left in peace it ships all, and then has nothing to do.
        for (job, _) in std::mem::take(&mut world.running) {
            world.shipping.gone(&job);
        }
        let standing = world.standing.clone();
        world.shipping.want(&standing);
        while let Some(job) = world.shipping.next(world.now, &standing) {
            match job {
                Job::Look => world.shipping.looked(world.sink.clone(), &world.extents.clone()),
                Job::Segment { local, upto, tell } => {
                    let last = Joint { end: upto, digest: digest_of(upto) };
                    world.shipping.put(index(&local, last, &tell));
                }
                Job::Extents(number, len) => world.shipping.put_extents(number, len),
            }
        }
        let shipped = world.shipping.shipped(&standing);
        assert_eq!((shipped.segments, shipped.upto), (0, standing.durable), "seed {seed}");
        assert!(world.shipping.reaches(standing.durable, &standing));
    }
    assert!(trimmed > 10 && failures > 600, "{trimmed} {failures}");
}

#[test]
fn a_sink_that_fails_is_left_alone_for_longer_and_longer() {
    let mut world = World::new(1);
    let job = world.shipping.next(0, &world.standing).unwrap();
    assert_eq!(job, Job::Look);
    let (mut now, mut due) = (0, Vec::new());
    world.shipping.failed(&job, now, "down".into());
    for _ in 0..12 {
        let from = now;
        let job = loop {
            now += 10;
            if let Some(job) = world.shipping.next(now, &world.standing) {
                break job;
            }
        };
        due.push(now - from);
        world.shipping.failed(&job, now, "down".into());
    }
    assert_eq!(due[..4], [250, 500, 1_000, 2_000]);
    assert_eq!(due[8..], [60_000; 4]);
    assert_eq!(world.shipping.shipped(&world.standing).failures, 13);
    // One that worked, and it goes on as if nothing had been.
    now += 60_000;
    let job = world.shipping.next(now, &world.standing).unwrap();
    world.shipping.looked(Vec::new(), &[]);
    let shipped = world.shipping.shipped(&world.standing);
    assert_eq!((job, shipped.failures, shipped.trouble), (Job::Look, 0, None));
}
