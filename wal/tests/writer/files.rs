//! The files that a writer's actions go to: what is stable, and what no sync has covered yet.

use crate::ops::Shape;
use siding_wal::Lsn;
use siding_wal::disk::{AlignedBuf, Disk, MemoryDisk};
use siding_wal::format::{Discipline, Kind, LogId, RecordHeader, SegmentHeader, segment_file_name};
use siding_wal::read::{Forward, Segment, Segments, Step, Verdict};
use siding_wal::write::{Action, Class, Start, Writer};
use std::collections::BTreeMap;

pub(crate) const ID: LogId = *b"a writer's tests";

/// A record, as a scan finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) lsn: Lsn,
    pub(crate) header: RecordHeader,
    pub(crate) payload: Vec<u8>,
}

/// Segment files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    shape: Shape,
    stable: BTreeMap<u64, Vec<u8>>,
    headers: BTreeMap<u64, SegmentHeader>,
    /// Segment, offset, bytes.
    unsynced: Vec<(u64, usize, Vec<u8>)>,
}

/// What to start a writer of `incarnation` from.
pub(crate) fn start(shape: &Shape, incarnation: u32, segment: u64, digest: u32) -> Start {
    let position = Lsn::new(segment * shape.segment_size + u64::from(shape.write_unit));
    Start {
        id: ID,
        incarnation,
        epoch: 1,
        write_unit: shape.write_unit,
        segment_size: shape.segment_size,
        ring_size: shape.ring_size,
        segment,
        position,
        digest,
        durable: position,
    }
}

/// What an older incarnation left in segment `number`.
fn leftover(shape: &Shape, number: u64) -> Vec<u8> {
    let mut file = vec![0; shape.segment_size as usize];
    let mut writer = Writer::new(&start(shape, 1, number, 7));
    let end = Lsn::new((number + 1) * shape.segment_size);
    writer.set_limits(end, end);
    let payload = vec![0xEE; 300];
    let header = RecordHeader::of_log(Kind::Mark, &payload);
    for _ in 0..100 {
        for _ in 0..3 {
            let _ = writer.append(&header, &payload, Class::Reserved);
        }
        writer.want(writer.end());
        let Some(action) = writer.next_action() else { break };
        if let Action::Write { batches, .. } = &action {
            for batch in batches {
                let at = (batch.start.get() % shape.segment_size) as usize;
                file[at..at + batch.bytes().len()].copy_from_slice(batch.bytes());
            }
        }
        let _ = writer.complete(&action);
    }
    file
}

impl Files {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            shape: shape.clone(),
            stable: BTreeMap::new(),
            headers: BTreeMap::new(),
            unsynced: Vec::new(),
        }
    }

    /// Writes, durably, the header of a segment.
    pub(crate) fn open(&mut self, number: u64, incarnation: u32, kept_end: Lsn, kept_digest: u32) {
        let header = SegmentHeader {
            compatible: 0,
            incompatible: 0,
            log_id: ID,
            path_id: [7; 16],
            discipline: Discipline::DeferredApply,
            incarnation,
            epoch: 1,
            write_unit: self.shape.write_unit,
            segment_size: self.shape.segment_size,
            number,
            kept_end,
            kept_digest,
            oldest: Lsn::ZERO,
            keypoint_begin: Lsn::ZERO,
            keypoint_end: Lsn::ZERO,
            unit_block: incarnation,
            created_ms: 0,
        };
        let shape = &self.shape;
        let file = self.stable.entry(number).or_insert_with(|| match shape.recycled {
            true => leftover(shape, number),
            false => vec![0; shape.segment_size as usize],
        });
        let bytes = header.encode();
        file[..bytes.len()].copy_from_slice(&bytes);
        self.headers.insert(number, header);
    }

    pub(crate) fn write(&mut self, lsn: Lsn, bytes: &[u8], durable: bool) {
        let (number, at) = self.place(lsn);
        if durable {
            let file = self.stable.get_mut(&number).unwrap();
            file[at..at + bytes.len()].copy_from_slice(bytes);
        } else {
            self.unsynced.push((number, at, bytes.to_vec()));
        }
    }

    fn place(&self, lsn: Lsn) -> (u64, usize) {
        let size = self.shape.segment_size;
        (lsn.get() / size, (lsn.get() % size) as usize)
    }

    /// Syncs the segment that is written to, and no other.
    pub(crate) fn sync(&mut self) {
        let last = self.headers.keys().next_back().copied();
        for (number, at, bytes) in std::mem::take(&mut self.unsynced) {
            if Some(number) == last {
                self.stable.get_mut(&number).unwrap()[at..at + bytes.len()].copy_from_slice(&bytes);
            } else {
                self.unsynced.push((number, at, bytes));
            }
        }
    }

    /// The first byte that no sync has covered.
    pub(crate) fn first_unsynced(&self) -> Lsn {
        let lsn = |(number, at, _): &(u64, usize, Vec<u8>)| {
            Lsn::new(number * self.shape.segment_size + *at as u64)
        };
        self.unsynced.iter().map(lsn).min().unwrap_or(Lsn::MAX)
    }

    /// The power goes: of what was not synced, some sectors are there.
    pub(crate) fn crash(&mut self, seed: u64) {
        let mut state = seed;
        let mut chance = move |out_of: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % out_of
        };
        // Few, half, or most of them.
        let odds = [1, 4, 7][chance(3) as usize];
        for (number, at, bytes) in std::mem::take(&mut self.unsynced) {
            let file = self.stable.get_mut(&number).unwrap();
            for (index, sector) in bytes.chunks(512).enumerate() {
                if chance(8) < odds {
                    let at = at + index * 512;
                    file[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }

    /// All records that a scan of the stable bytes finds, and how it ends.
    pub(crate) fn scan(&self, durable: Lsn) -> (Vec<Read>, Verdict) {
        let disk = MemoryDisk::new();
        let mut segments = Segments::new(ID, self.shape.segment_size);
        for (number, header) in &self.headers {
            let file = disk.create(&segment_file_name(*number)).unwrap();
            let mut bytes = AlignedBuf::with_capacity(self.shape.segment_size as usize);
            bytes.extend_from_slice(&self.stable[number]);
            file.write_at(0, &[bytes.as_slice()], true).unwrap();
            segments.insert(Segment { number: *number, header: header.clone(), file });
        }
        let first = *self.headers.keys().next().unwrap();
        let mut scan = Forward::from_segment(&segments, first).unwrap().known_durable(durable);
        let mut found = Vec::new();
        loop {
            match scan.next_batch().unwrap() {
                Step::Batch(_) => found.extend(scan.records().map(|(lsn, header, payload)| Read {
                    lsn,
                    header,
                    payload: payload.to_vec(),
                })),
                Step::End(verdict) => return (found, verdict),
                Step::Limit => unreachable!("nobody set a limit"),
            }
        }
    }
}
