//! A log as an archive sees it over its life: batches, segments, opens, restores, backups; and what
//! was shipped of it. Every batch has a number of its own, which the plan does not see.

use siding_checkpoint::{
    BackupId, Compression, Joint, LabelAt, Manifest, MarkAt, Piece, Seen, SegmentIndex, Source,
    Sums, Written,
};
use siding_sim::Rng;
use siding_wal::Lsn;
use siding_wal::format::{ControlSlot, Discipline, LogId};

pub const ID: LogId = [7; 16];
pub const SIZE: u64 = 64 << 10;
pub const UNIT: u64 = 512;

#[derive(Clone, Debug)]
pub struct Batch {
    pub number: u64,
    pub incarnation: u32,
    pub joint: Joint,
    /// Whether an index tells of it by itself: it has a keypoint.
    pub told: bool,
    pub mark: Option<u64>,
    pub label: Option<String>,
    /// What a restore left of another one.
    pub cut: bool,
}

#[derive(Clone, Debug)]
pub struct Segment {
    pub number: u64,
    pub incarnation: u32,
    pub kept: Joint,
    pub batches: Vec<Batch>,
}

impl Segment {
    pub fn first_batch(&self) -> Lsn {
        Lsn::new(self.number * SIZE + UNIT)
    }

    pub fn last(&self) -> Joint {
        let empty = Joint { end: self.first_batch(), digest: self.kept.digest };
        self.batches.last().map_or(empty, |it| it.joint)
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.batches.iter().map(|it| it.number).collect()
    }

    pub fn index(&self, sealed: bool, told: &[Lsn]) -> SegmentIndex {
        let last = self.last();
        let plain = Sums { len: last.end.since(Lsn::new(self.number * SIZE)), blocks: vec![0] };
        let mut written: Vec<Written> = Vec::new();
        for batch in &self.batches {
            let (incarnation, end) = (batch.incarnation, batch.joint.end);
            match written.last_mut().filter(|it| it.incarnation == incarnation) {
                Some(it) => it.end = end,
                None => written.push(Written { incarnation, end }),
            }
        }
        let marks = self.batches.iter().filter_map(|it| {
            it.mark.map(|time_ms| MarkAt { time_ms, wall_ms: time_ms, lsn: it.joint.end })
        });
        let labels = self
            .batches
            .iter()
            .filter_map(|it| it.label.clone().map(|name| LabelAt { name, lsn: it.joint.end }));
        let joints = self.batches.iter().filter(|it| it.told || told.contains(&it.joint.end));
        SegmentIndex {
            log_id: ID,
            number: self.number,
            segment_size: SIZE,
            write_unit: 512,
            incarnation: self.incarnation,
            kept: self.kept,
            last,
            written,
            sealed,
            compression: Compression::None,
            stored: plain.clone(),
            plain,
            marks: marks.collect(),
            labels: labels.collect(),
            joints: joints.map(|it| it.joint).collect(),
        }
    }
}

/// What was written, from the first segment that is kept on.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub segments: Vec<Segment>,
}

impl Life {
    pub fn end(&self) -> Lsn {
        self.segments.last().unwrap().last().end
    }

    /// The numbers of the batches between two positions.
    pub fn between(&self, from: Lsn, to: Lsn) -> Vec<u64> {
        let all = self.segments.iter().flat_map(|it| &it.batches);
        all.filter(|it| it.joint.end > from && it.joint.end <= to).map(|it| it.number).collect()
    }
}

/// A piece, with the numbers of the batches in it.
#[derive(Clone, Debug)]
pub struct Shipped {
    pub piece: Piece,
    pub numbers: Vec<u64>,
}

/// A backup, with the number of its last batch.
#[derive(Clone, Debug)]
pub struct Taken {
    pub manifest: Manifest,
    pub last: u64,
}

pub struct World {
    pub rng: Rng,
    /// Lives that came to their end by a restore, and the one that goes on.
    pub lives: Vec<Life>,
    pub shipped: Vec<Shipped>,
    pub backups: Vec<Taken>,
    incarnation: u32,
    /// The numbers given out so far; digests are made of them.
    count: u64,
    clock: u64,
    marked: u64,
    loss: u64,
}

pub fn manifest(id: BackupId, floor: Lsn, end: Joint, incarnation: u32) -> Manifest {
    let stop = Lsn::new(end.end.get() - 8);
    let control = ControlSlot {
        sequence: 1,
        log_id: ID,
        path_id: [1; 16],
        discipline: Discipline::DeferredApply,
        clean: false,
        incarnation,
        epoch: 1,
        write_unit: 512,
        segment_size: SIZE,
        unit_block: 1,
        oldest: Lsn::ZERO,
        keypoint_begin: stop,
        keypoint_end: stop.plus(4),
        durable: end.end,
        written_ms: 2,
    };
    Manifest {
        id,
        parent: None,
        log_id: ID,
        incarnation,
        recovery_point: floor,
        objects: Vec::new(),
        floor,
        stop,
        end: end.end,
        end_digest: end.digest,
        time_ms: (1, 2),
        units: Vec::new(),
        control,
        files: Vec::new(),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let kept = Joint { end: Lsn::ZERO, digest: 0 };
        let first = Segment { number: 0, incarnation: 1, kept, batches: Vec::new() };
        let loss = [0, 0, 5, 20][rng.index(4)];
        let mut world = Self {
            rng,
            lives: vec![Life { segments: vec![first] }],
            shipped: Vec::new(),
            backups: Vec::new(),
            incarnation: 1,
            count: 0,
            clock: 1_000,
            marked: 0,
            loss,
        };
        for _ in 0..10 + world.rng.below(150) {
            world.step();
        }
        world
    }

    pub fn seen(&self) -> Seen {
        Seen {
            backups: self.backups.iter().map(|it| it.manifest.clone()).collect(),
            pieces: self.shipped.iter().map(|it| it.piece.clone()).collect(),
        }
    }

    fn life(&mut self) -> &mut Life {
        self.lives.last_mut().unwrap()
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn step(&mut self) {
        self.clock += self.rng.below(3_000);
        match self.rng.below(40) {
            0..18 => drop(self.append(false)),
            18..24 => {
                // A clock may go back, and an open may not know what was marked before.
                let back = if self.rng.chance(1, 8) { self.rng.below(20_000) } else { 0 };
                let time = self.clock.saturating_sub(back);
                self.marked = if self.rng.chance(1, 20) { time } else { self.marked.max(time) };
                let mark = self.marked;
                self.append(false).mark = Some(mark);
            }
            24 => {
                let name = format!("label-{}", self.rng.below(3));
                self.append(false).label = Some(name);
            }
            25..27 => self.seal(),
            27..29 => self.reopen(),
            29..31 => self.back_up(),
            31 => self.restore(),
            _ => self.ship(),
        }
    }

    fn append(&mut self, told: bool) -> &mut Batch {
        let (number, incarnation) = (self.number(), self.incarnation);
        let len = UNIT * (1 + self.rng.below(40));
        let last = self.life().segments.last().unwrap();
        if last.last().end.plus(len) > Lsn::new((last.number + 1) * SIZE) {
            self.seal();
        }
        let segment = self.life().segments.last_mut().unwrap();
        let digest = u32::try_from(number).unwrap();
        let joint = Joint { end: segment.last().end.plus(len), digest };
        let batch = Batch { number, incarnation, joint, told, mark: None, label: None, cut: false };
        segment.batches.push(batch);
        segment.batches.last_mut().unwrap()
    }

    fn seal(&mut self) {
        let incarnation = self.incarnation;
        let life = self.life();
        let last = life.segments.last().unwrap();
        if last.batches.is_empty() {
            return;
        }
        let (number, kept) = (last.number + 1, last.last());
        life.segments.push(Segment { number, incarnation, kept, batches: Vec::new() });
    }

    fn reopen(&mut self) {
        self.incarnation += 1;
        if self.rng.chance(1, 2) {
            self.seal();
        }
    }

    fn back_up(&mut self) {
        let (joint, last) = {
            let batch = self.append(true);
            (batch.joint, batch.number)
        };
        let parent = match self.backups.last() {
            Some(taken) if self.rng.chance(1, 3) => {
                let life = self.lives.last().unwrap();
                let end = taken.manifest.end;
                let ours = life.between(Lsn::ZERO, end).last() == Some(&taken.last);
                ours.then(|| taken.manifest.clone())
            }
            _ => None,
        };
        let life = self.lives.last().unwrap().clone();
        let above = life.segments[0].number * SIZE;
        let floor = match &parent {
            Some(parent) => parent.end,
            None => Lsn::new(above + self.rng.below(joint.end.get() - above)),
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&last.to_le_bytes());
        let from = floor.get().checked_div(SIZE).unwrap();
        for segment in life.segments.iter().filter(|it| it.number >= from) {
            self.put(segment, false);
        }
        let parent = parent.map(|it| it.id);
        let time_ms = (self.clock, self.clock);
        let manifest = Manifest { parent, time_ms, ..manifest(id, floor, joint, self.incarnation) };
        // It may be lost, and leave its log.
        if !self.rng.chance(self.loss, 200) {
            self.backups.push(Taken { manifest, last });
        }
    }

    /// Ships what is sealed, or the open segment too; some of it gets lost.
    fn ship(&mut self) {
        let (open, life) = (self.rng.chance(1, 3), self.lives.last().unwrap().clone());
        let (_, sealed) = life.segments.split_last().unwrap();
        let upto = if open { life.segments.len() } else { sealed.len() };
        for (at, segment) in life.segments[..upto].iter().enumerate() {
            if segment.batches.is_empty() || self.rng.chance(self.loss, 100) {
                continue;
            }
            self.put(segment, at < sealed.len());
        }
    }

    /// Puts a segment as it is, unless what is there covers it.
    fn put(&mut self, segment: &Segment, sealed: bool) {
        let there = self.shipped.iter().map(|it| &it.piece.index);
        let there = there.filter(|it| it.number == segment.number);
        let before: Vec<Lsn> = there.clone().map(SegmentIndex::end).collect();
        let index = segment.index(sealed, &before);
        if there.into_iter().any(|it| it.covers(&index)) {
            return;
        }
        let piece = Piece { index, source: Source::Archive };
        self.shipped.push(Shipped { piece, numbers: segment.numbers() });
    }

    /// Another history goes on from somewhere in one of those there were.
    fn restore(&mut self) {
        let from = self.lives[self.rng.index(self.lives.len())].clone();
        let at = self.rng.index(from.segments.len());
        let mut segments = from.segments[..=at].to_vec();
        let last = segments.last_mut().unwrap();
        if last.batches.is_empty() {
            return;
        }
        let keep = 1 + self.rng.index(last.batches.len());
        last.batches.truncate(keep);
        let number = self.number();
        if self.rng.chance(1, 2) {
            // In the middle of a batch: what is kept of it is another one, of the same open.
            let batch = last.batches.last_mut().unwrap();
            batch.number = number;
            batch.joint.digest = u32::try_from(number).unwrap();
            (batch.mark, batch.label, batch.told, batch.cut) = (None, None, false, true);
        }
        // What lies far below was trimmed.
        let drop = self.rng.index(segments.len());
        segments.drain(..drop);
        self.lives.push(Life { segments });
        self.incarnation += 1;
        self.seal();
        self.append(false);
        if self.rng.chance(9, 10) {
            self.ship();
        }
    }
}
