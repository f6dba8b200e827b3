//! A segment as the encoders write it, and a reader of one made from the document alone.

use crate::samples;
use siding_wal::Lsn;
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, HEADER_LEN, HeaderError, KeypointChunk, KeypointEnd, Kind,
    LogId, RecordHeader, Seed, SegmentHeader, decode_record, flags,
};

/// A segment that is being written.
pub(crate) struct Image {
    pub(crate) header: SegmentHeader,
    bytes: Vec<u8>,
    digest: u32,
}

impl Image {
    pub(crate) fn new(header: SegmentHeader) -> Self {
        let mut bytes = header.encode().to_vec();
        bytes.resize(usize::try_from(header.write_unit).unwrap(), 0);
        let digest = header.kept_digest;
        Self { header, bytes, digest }
    }

    /// Where the next batch starts.
    pub(crate) fn end(&self) -> Lsn {
        self.header.first_lsn().plus(u64::try_from(self.bytes.len()).unwrap())
    }

    /// Where the record stands that comes behind payloads of these lengths in the next batch.
    pub(crate) fn lsn_behind(&self, payloads: &[usize]) -> Lsn {
        let before: usize = payloads.iter().map(|len| (32 + len).next_multiple_of(8)).sum();
        self.end().plus(u64::try_from(BATCH_HEADER_LEN + before).unwrap())
    }

    /// Adds a batch.
    pub(crate) fn batch(
        &mut self,
        incarnation: u32,
        durable_before: Lsn,
        records: &[(RecordHeader, &[u8])],
    ) {
        let (lsn, seed) = (self.end(), Seed::new(&self.header.log_id, incarnation));
        let mut batch = vec![0; BATCH_HEADER_LEN];
        let mut digested = self.digest.to_le_bytes().to_vec();
        for (header, payload) in records {
            let encoded = header.encode(seed, lsn.plus(u64::try_from(batch.len()).unwrap()));
            digested.extend_from_slice(&encoded[28..]);
            batch.extend_from_slice(&encoded);
            batch.extend_from_slice(payload);
            batch.resize(batch.len().next_multiple_of(8), 0);
        }
        let header = BatchHeader {
            incarnation,
            epoch: self.header.epoch,
            lsn,
            len: u32::try_from(batch.len()).unwrap(),
            count: u32::try_from(records.len()).unwrap(),
            prev_digest: self.digest,
            digest: crc32c::crc32c(&digested),
            durable_before,
        };
        batch[..BATCH_HEADER_LEN].copy_from_slice(&header.encode(&self.header.log_id));
        self.digest = header.digest;
        let unit = usize::try_from(self.header.write_unit).unwrap();
        batch.resize(batch.len().next_multiple_of(unit), 0);
        self.bytes.extend_from_slice(&batch);
    }

    /// The file as far as it was written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole file.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(usize::try_from(self.header.segment_size).unwrap(), 0);
        bytes
    }
}

/// A record that a walk delivered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivered {
    pub(crate) lsn: Lsn,
    pub(crate) header: RecordHeader,
    pub(crate) payload: Vec<u8>,
}

/// What a walk over one segment found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Walk {
    pub(crate) header: SegmentHeader,
    pub(crate) records: Vec<Delivered>,
    pub(crate) end: Lsn,
    pub(crate) digest: u32,
    /// The offsets of bytes that no checksum covers, below the end.
    pub(crate) uncovered: Vec<usize>,
}

/// The batch walk of the document, over one segment with no segment behind it.
pub(crate) fn walk(file: &[u8]) -> Result<Walk, HeaderError> {
    let header = SegmentHeader::decode(file)?;
    let unit = usize::try_from(header.write_unit).unwrap();
    let (mut at, mut digest) = (unit, header.kept_digest);
    let (mut incarnation, mut epoch) = (header.incarnation, header.epoch);
    let mut records = Vec::new();
    let mut uncovered: Vec<usize> = (HEADER_LEN..unit).collect();
    while let Some(mut found) = batch_at(file, &header, at, digest) {
        if found.header.incarnation < incarnation || found.header.epoch < epoch {
            break;
        }
        (incarnation, epoch) = (found.header.incarnation, found.header.epoch);
        digest = found.header.digest;
        records.append(&mut found.records);
        uncovered.append(&mut found.uncovered);
        at = found.end;
    }
    let end = header.first_lsn().plus(u64::try_from(at).unwrap());
    Ok(Walk { header, records, end, digest, uncovered })
}

struct Found {
    header: BatchHeader,
    records: Vec<Delivered>,
    uncovered: Vec<usize>,
    end: usize,
}

fn batch_at(file: &[u8], segment: &SegmentHeader, at: usize, digest: u32) -> Option<Found> {
    let id: &LogId = &segment.log_id;
    let bytes = file.get(at..)?;
    let header = BatchHeader::decode(bytes, id).ok()?;
    let lsn_at = |offset: usize| segment.first_lsn().plus(u64::try_from(offset).unwrap());
    let len = usize::try_from(header.len).unwrap();
    let end = at + len.next_multiple_of(usize::try_from(segment.write_unit).unwrap());
    let fits = u64::try_from(end).unwrap() <= segment.segment_size;
    if header.lsn != lsn_at(at) || !fits || header.prev_digest != digest {
        return None;
    }
    let batch = bytes.get(..len)?;
    let seed = Seed::new(id, header.incarnation);
    let mut digested = digest.to_le_bytes().to_vec();
    let (mut records, mut uncovered) = (Vec::new(), Vec::new());
    let mut offset = BATCH_HEADER_LEN;
    for _ in 0..header.count {
        let rest = batch.get(offset..)?;
        let (record, payload) = decode_record(rest, seed, lsn_at(at + offset)).ok()?;
        digested.extend_from_slice(&rest[28..32]);
        let lsn = lsn_at(at + offset);
        records.push(Delivered { lsn, header: record, payload: payload.to_vec() });
        let next = offset + record.padded_len();
        uncovered.extend(at + offset + 32 + payload.len()..at + next);
        offset = next;
    }
    uncovered.extend(at + len..end);
    let whole = offset == len && crc32c::crc32c(&digested) == header.digest;
    whole.then_some(Found { header, records, uncovered, end })
}

/// A segment with every kind of record that v1 writes, in seven batches of two incarnations.
pub(crate) fn every_kind() -> Image {
    let mut image = Image::new(SegmentHeader {
        compatible: 0,
        incarnation: 5,
        write_unit: 512,
        segment_size: 65536,
        number: 3,
        kept_end: Lsn::new(3 * 65536 - 1024),
        oldest: Lsn::new(65536),
        keypoint_begin: Lsn::new(65536 + 560),
        keypoint_end: Lsn::new(65536 + 1200),
        ..samples::segment_header()
    });
    let (one, two) = (0x0092_9394 << 40 | 1, 0x0092_9394 << 40 | 2);
    let of_unit = |kind, unit, prev, payload: &[u8]| RecordHeader {
        unit,
        prev,
        ..RecordHeader::of_log(kind, payload)
    };
    let start = image.header.first_lsn();
    let first = image.lsn_behind(&[]);
    let second = image.lsn_behind(&[9]);
    let prepare = samples::prepare().encode();
    image.batch(
        5,
        start,
        &[
            (of_unit(Kind::Data, one, Lsn::ZERO, b"alice -30"), b"alice -30"),
            (of_unit(Kind::Data, two, Lsn::ZERO, b"bob +30"), b"bob +30"),
            (of_unit(Kind::Prepare, two, second, &prepare), &prepare),
        ],
    );
    keypoint(&mut image);

    let clr = samples::compensation().encode();
    let decision = samples::decision().encode();
    let clr_lsn = image.lsn_behind(&[]);
    let mut commit = of_unit(Kind::Commit, one, clr_lsn, &decision);
    commit.flags = flags::END;
    let known = image.end();
    image.batch(
        5,
        known,
        &[(of_unit(Kind::Compensation, one, first, &clr), &clr), (commit, &decision)],
    );

    let (fork, directory) = (samples::fork().encode(), samples::directory().encode());
    let mark = samples::mark().encode();
    let fork_lsn = image.lsn_behind(&[]);
    let abort_lsn = image.lsn_behind(&[fork.len(), directory.len(), mark.len()]);
    let mut abort = of_unit(Kind::Abort, two, fork_lsn, &decision);
    abort.flags = flags::HEURISTIC | flags::WAS_PREPARED;
    image.batch(
        5,
        known,
        &[
            (of_unit(Kind::Fork, two, second, &fork), &fork),
            (RecordHeader::of_log(Kind::Directory, &directory), &directory),
            (RecordHeader::of_log(Kind::Mark, &mark), &mark),
            (abort, &decision),
            (of_unit(Kind::End, two, abort_lsn, &[]), &[]),
        ],
    );
    let close = image.end();
    image.batch(5, close, &[(RecordHeader::of_log(Kind::Close, &mark), &mark)]);
    let reopened = image.end();
    image.batch(6, reopened, &[(of_unit(Kind::Data, one + 2, Lsn::ZERO, b"!"), b"!")]);
    image
}

/// Adds a keypoint, complete by the rules of the document, in two batches.
fn keypoint(image: &mut Image) {
    let begin_lsn = image.lsn_behind(&[]);
    let begin = samples::keypoint_begin().encode();
    let chunk = KeypointChunk { begin: begin_lsn, index: 0, ..samples::keypoint_chunk() }.encode();
    let chunk_header = RecordHeader::of_log(Kind::KeypointChunk, &chunk);
    let end = KeypointEnd {
        begin: begin_lsn,
        chunks: 1,
        table_crc: crc32c::crc32c(&chunk_header.payload_crc.to_le_bytes()),
        ..samples::keypoint_end()
    }
    .encode();
    let known = image.end();
    image.batch(5, known, &[(RecordHeader::of_log(Kind::KeypointBegin, &begin), &begin)]);
    image.batch(
        5,
        known,
        &[(chunk_header, &chunk), (RecordHeader::of_log(Kind::KeypointEnd, &end), &end)],
    );
}
