//! What is checked of records beyond their checksums: that each unit's chain leads from record to
//! record, that keypoints are whole, that what the log itself wrote can be understood.

use super::{Finding, Verification};
use crate::keypoint::Table;
use siding_wal::Lsn;
use siding_wal::format::{
    Compensation, Decision, DirectoryChunk, ForkPayload, KeypointBegin, KeypointChunk, KeypointEnd,
    Kind, Malformed, MarkPayload, PreparePayload, RecordHeader, flags,
};
use siding_wal::read::Segments;
use std::collections::HashMap;

/// What the records so far say about those to come.
#[derive(Debug)]
pub(super) struct Checks {
    segments: Segments,
    /// Everything from here on was looked at.
    begin: Lsn,
    /// The newest record of each unit that has not ended.
    heads: HashMap<u64, Lsn>,
    table: Table,
    /// The last keypoint that was complete.
    complete: (Lsn, Lsn),
    keypoints: u64,
}

impl Checks {
    pub(super) fn new(segments: Segments) -> Self {
        Self {
            segments,
            begin: Lsn::ZERO,
            heads: HashMap::new(),
            table: Table::default(),
            complete: (Lsn::ZERO, Lsn::ZERO),
            keypoints: 0,
        }
    }

    /// A stretch begins: what stood before it is not known.
    pub(super) fn begin_at(&mut self, lsn: Lsn) {
        self.begin = lsn;
        self.heads.clear();
        self.table = Table::default();
    }

    pub(super) fn record(
        &mut self,
        lsn: Lsn,
        header: &RecordHeader,
        payload: &[u8],
        findings: &mut Vec<Finding>,
    ) {
        if let Some(malformed) = misunderstood(header.kind, payload) {
            let what = format!("{}: {malformed}", header.kind.name());
            findings.push(self.finding("impossible value", lsn, what));
        }
        if header.kind.has_unit() && header.unit != 0 {
            findings.extend(self.chain(lsn, header));
        } else {
            findings.extend(self.keypoint(lsn, header, payload));
        }
    }

    fn chain(&mut self, lsn: Lsn, header: &RecordHeader) -> Option<Finding> {
        let ends = match header.kind {
            Kind::End => true,
            Kind::Commit | Kind::Abort => header.flags & flags::END != 0,
            _ => false,
        };
        let known = if ends {
            self.heads.remove(&header.unit)
        } else {
            self.heads.insert(header.unit, lsn)
        };
        let whole = match known {
            Some(head) => header.prev == head,
            None => header.prev.is_zero() || header.prev < self.begin,
        };
        if whole {
            return None;
        }
        let before = known.map_or_else(|| "none".to_owned(), |head| head.to_string());
        let what = format!(
            "a {} of unit {:#x} points back at {}, the record before it is {before}",
            header.kind.name(),
            header.unit,
            header.prev
        );
        Some(self.finding("broken chain", lsn, what))
    }

    fn keypoint(&mut self, lsn: Lsn, header: &RecordHeader, payload: &[u8]) -> Option<Finding> {
        self.table.collect(lsn, header, payload);
        if header.kind != Kind::KeypointEnd {
            return None;
        }
        if let Some(complete) = self.table.take_complete() {
            self.complete = (complete.begin, complete.end);
            self.keypoints += 1;
            return None;
        }
        let begin = KeypointEnd::decode(payload).ok()?.begin;
        // One that began before what was looked at cannot be judged.
        let what = format!("the table that began at {begin} is not what its end record says");
        (begin >= self.begin).then(|| self.finding("keypoint not whole", lsn, what))
    }

    /// Everything was looked at: was what is named there?
    pub(super) fn finish(self, named: (Lsn, Lsn), seen: &mut Verification) {
        seen.keypoints = self.keypoints;
        if named.0.is_zero() || self.complete.1 >= named.1 {
            return;
        }
        let what = "the control file or a header names this keypoint; it is not there, whole";
        seen.findings.push(self.finding("keypoint not whole", named.0, what.to_owned()));
    }

    fn finding(&self, name: &'static str, lsn: Lsn, what: String) -> Finding {
        Finding {
            letter: None,
            name,
            segment: Some(self.segments.number_of(lsn)),
            extent: None,
            lsn: Some(lsn),
            what,
            advice: Some("restore the directory from a copy, and report this"),
        }
    }
}

/// Why what the log itself wrote cannot be understood.
fn misunderstood(kind: Kind, payload: &[u8]) -> Option<Malformed> {
    match kind {
        Kind::Compensation => Compensation::decode(payload).err(),
        Kind::Prepare => PreparePayload::decode(payload).err(),
        Kind::Commit | Kind::Abort => Decision::decode(payload).err(),
        Kind::KeypointBegin => KeypointBegin::decode(payload).err(),
        Kind::KeypointChunk => KeypointChunk::decode(payload).err(),
        Kind::KeypointEnd => KeypointEnd::decode(payload).err(),
        Kind::Fork => ForkPayload::decode(payload).err(),
        Kind::Directory => DirectoryChunk::decode(payload).err(),
        Kind::Mark | Kind::Close => MarkPayload::decode(payload).err(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 7 << 40;

    fn record(kind: Kind, bits: u8, unit: u64, prev: u64) -> RecordHeader {
        RecordHeader { flags: bits, unit, prev: Lsn::new(prev), ..RecordHeader::of_log(kind, &[]) }
    }

    fn found(records: &[(u64, RecordHeader, Vec<u8>)]) -> Vec<(&'static str, u64)> {
        let mut checks = Checks::new(Segments::new([0; 16], 1 << 16));
        checks.begin_at(Lsn::new(1000));
        let mut findings = Vec::new();
        for (lsn, header, payload) in records {
            checks.record(Lsn::new(*lsn), header, payload, &mut findings);
        }
        findings.iter().map(|it| (it.name, it.lsn.map_or(0, Lsn::get))).collect()
    }

    #[test]
    fn a_chain_leads_from_record_to_record() {
        let data = |prev| (record(Kind::Data, 0, UNIT, prev), Vec::new());
        let step = |lsn, (header, payload)| (lsn, header, payload);
        let ok = [step(1000, data(900)), step(1100, data(1000)), step(1200, data(1100))];
        assert_eq!(found(&ok), []);
        let skips = [step(1000, data(0)), step(1100, data(1000)), step(1200, data(1000))];
        assert_eq!(found(&skips), [("broken chain", 1200)]);
        let nowhere = [step(1100, data(1050))];
        assert_eq!(found(&nowhere), [("broken chain", 1100)]);
    }

    #[test]
    fn a_unit_begins_anew_behind_its_end() {
        let end = record(Kind::End, 0, UNIT, 1000);
        let again = record(Kind::Data, 0, UNIT, 1000);
        let records = [
            (1000, record(Kind::Data, 0, UNIT, 0), Vec::new()),
            (1100, end, Vec::new()),
            (1200, again, Vec::new()),
        ];
        assert_eq!(found(&records), [("broken chain", 1200)]);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let commit = record(Kind::Commit, flags::END, UNIT, 0);
        assert_eq!(found(&[(1000, commit, vec![1, 2, 3])]), [("impossible value", 1000)]);
    }

    #[test]
    fn a_keypoint_that_lacks_a_chunk_is_not_whole() {
        let begin = KeypointBegin::default().encode();
        let end = KeypointEnd { begin: Lsn::new(1000), chunks: 1, ..KeypointEnd::default() };
        let of_log = |kind, payload: &[u8]| (RecordHeader::of_log(kind, payload), payload.to_vec());
        let (first, body) = of_log(Kind::KeypointBegin, &begin);
        let (last, tail) = of_log(Kind::KeypointEnd, &end.encode());
        let records = [(1000, first, body), (1100, last, tail)];
        assert_eq!(found(&records), [("keypoint not whole", 1100)]);
    }
}
