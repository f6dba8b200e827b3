//! Every segment a log ever had, and every record in them.

use siding::disk::{AlignedBuf, Disk, LogFile, MemoryDisk};
use siding::{Lsn, Result};
use siding_sim::SimDisk;
use siding_wal::format::{
    Compensation, HEADER_LEN, Kind, SegmentHeader, parse_segment_name, segment_file_name,
};
use siding_wal::read::{Forward, Segment, Segments, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) lsn: Lsn,
    /// Behind it.
    pub(crate) end: Lsn,
    pub(crate) kind: Kind,
    pub(crate) unit: u64,
    pub(crate) ends: bool,
    /// CLR: where undo goes on.
    pub(crate) undo_next: Lsn,
    pub(crate) payload: Vec<u8>,
}

/// Copies of segments, taken while the log runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive(BTreeMap<u64, Vec<u8>>);

impl Archive {
    /// Copies what stands in the directory now.
    pub(crate) fn take(&mut self, disk: &SimDisk) {
        for (name, len) in disk.list().unwrap() {
            let Some(number) = parse_segment_name(&name) else { continue };
            let len = usize::try_from(len).unwrap().next_multiple_of(4096);
            let mut buf = AlignedBuf::zeroed(len);
            let read = disk.open(&name).unwrap().read_at(0, buf.as_mut_slice()).unwrap();
            let bytes = buf.as_slice()[..read].to_vec();
            let header = bytes.get(..HEADER_LEN).map(SegmentHeader::decode);
            if header.is_some_and(|header| header.is_ok_and(|header| header.number == number)) {
                self.0.insert(number, bytes);
            }
        }
    }

    /// A segment.
    pub(crate) fn bytes(&self, number: u64) -> Option<Vec<u8>> {
        self.0.get(&number).cloned()
    }

    /// The same as a file.
    fn file(&self, number: u64) -> Option<Arc<dyn LogFile>> {
        let bytes = self.0.get(&number)?;
        let file = MemoryDisk::new().create(&segment_file_name(number)).unwrap();
        file.write_at(0, &[bytes], true).unwrap();
        Some(file)
    }

    fn segments(&self) -> Segments {
        let header = |bytes: &[u8]| SegmentHeader::decode(&bytes[..HEADER_LEN]).unwrap();
        let first = header(self.0.values().next().unwrap());
        let mut segments = Segments::new(first.log_id, first.segment_size);
        for (number, bytes) in &self.0 {
            let file = self.file(*number).unwrap();
            segments.insert(Segment { number: *number, header: header(bytes), file });
        }
        segments
    }

    /// Every record, and where the batches begin.
    pub(crate) fn records(&self) -> Result<(Vec<Entry>, Vec<Lsn>)> {
        let segments = self.segments();
        let mut scan = Forward::from_segment(&segments, segments.oldest_number().unwrap())?;
        let (mut all, mut batches) = (Vec::new(), Vec::new());
        loop {
            match scan.next_batch()? {
                Step::Batch(batch) => batches.push(batch.lsn),
                Step::Limit => {}
                Step::End(verdict) => {
                    assert!(verdict.refusal().is_none(), "{:?}", verdict.refusal());
                    return Ok((all, batches));
                }
            }
            for (lsn, header, payload) in scan.records() {
                let decided = matches!(header.kind, Kind::Commit | Kind::Abort);
                let clr = header.kind == Kind::Compensation;
                let undo = Compensation::decode(payload).ok().filter(|_| clr);
                all.push(Entry {
                    lsn,
                    end: lsn.plus(header.padded_len() as u64),
                    kind: header.kind,
                    unit: header.unit,
                    ends: header.kind == Kind::End || (decided && header.flags & 1 != 0),
                    undo_next: undo.map_or(Lsn::ZERO, |undo| undo.undo_next),
                    payload: undo.map_or(payload, |undo| undo.body).to_vec(),
                });
            }
        }
    }
}
