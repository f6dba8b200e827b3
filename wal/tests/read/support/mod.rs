//! A log built by hand: the format's encoders, and files as plain vectors that a test can damage.

mod image;
mod outcome;

pub use image::{Image, ImageDisk};
pub use outcome::{Outcome, drain, open};

use siding_wal::Lsn;
use siding_wal::format::{
    BATCH_HEADER_LEN, BatchHeader, ControlSlot, Discipline, Kind, LogId, RecordHeader, Seed,
    SegmentHeader, padded_record_len, segment_file_name, slot_offset,
};

pub const ID: LogId = *b"a log for tests!";
pub const SIZE: u64 = 64 * 1024;

/// A record that must be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub lsn: Lsn,
    pub kind: Kind,
    pub payload: Vec<u8>,
    pub batch: Lsn,
}

/// Writes a log as the writer would, one batch at a time.
#[derive(Clone, Debug)]
pub struct Builder {
    pub image: Image,
    pub unit: u32,
    pub number: u64,
    pub position: Lsn,
    pub digest: u32,
    pub incarnation: u32,
    pub epoch: u32,
    /// All below is synced; what the next batch says in `durable_before`.
    pub durable: Lsn,
    pub oldest: Lsn,
    pub keypoint: (Lsn, Lsn),
    pub sequence: u64,
    pub written: Vec<Written>,
    pub batches: Vec<BatchHeader>,
    /// `durable` of the last control slot.
    pub slot_durable: Lsn,
    /// `kept_end` of the last segment header.
    pub kept_end: Lsn,
}

impl Builder {
    /// A log with segment 0 and a control file, nothing in it.
    pub fn new(unit: u32) -> Self {
        let mut log = Self::without_control(unit);
        log.control(false);
        log
    }

    /// A log with the header of segment 0, and no control file.
    pub fn without_control(unit: u32) -> Self {
        let mut log = Self {
            image: Image::default(),
            unit,
            number: 0,
            position: Lsn::ZERO,
            digest: 0,
            incarnation: 1,
            epoch: 1,
            durable: Lsn::ZERO,
            oldest: Lsn::ZERO,
            keypoint: (Lsn::ZERO, Lsn::ZERO),
            sequence: 0,
            written: Vec::new(),
            batches: Vec::new(),
            slot_durable: Lsn::ZERO,
            kept_end: Lsn::ZERO,
        };
        log.start_segment(0, Lsn::ZERO);
        log
    }

    pub fn header(&self, number: u64, kept_end: Lsn) -> SegmentHeader {
        SegmentHeader {
            compatible: 0,
            incompatible: 0,
            log_id: ID,
            path_id: [7; 16],
            discipline: Discipline::DeferredApply,
            incarnation: self.incarnation,
            epoch: self.epoch,
            write_unit: self.unit,
            segment_size: SIZE,
            number,
            kept_end,
            kept_digest: self.digest,
            oldest: self.oldest,
            keypoint_begin: self.keypoint.0,
            keypoint_end: self.keypoint.1,
            unit_block: self.incarnation,
            created_ms: 0,
        }
    }

    /// Writes the header of segment `number`, into a new file or over what the file holds.
    pub fn start_segment(&mut self, number: u64, kept_end: Lsn) {
        let header = self.header(number, kept_end);
        let file = self.image.file(&segment_file_name(number));
        file.resize(SIZE as usize, 0);
        file[..512].copy_from_slice(&header.encode());
        self.number = number;
        self.position = header.first_lsn().plus(u64::from(self.unit));
        // The header is durable before anything else happens.
        self.durable = self.position;
        self.kept_end = kept_end;
    }

    /// Seals the open segment where it stands and starts the next.
    pub fn change_segment(&mut self) {
        let kept_end = self.position;
        self.start_segment(self.number + 1, kept_end);
    }

    pub fn slot(&self, clean: bool) -> ControlSlot {
        ControlSlot {
            sequence: self.sequence,
            log_id: ID,
            path_id: [7; 16],
            discipline: Discipline::DeferredApply,
            clean,
            incarnation: self.incarnation,
            epoch: self.epoch,
            write_unit: self.unit,
            segment_size: SIZE,
            unit_block: self.incarnation,
            oldest: self.oldest,
            keypoint_begin: self.keypoint.0,
            keypoint_end: self.keypoint.1,
            durable: self.durable,
            written_ms: 0,
        }
    }

    /// Writes the next control slot.
    pub fn control(&mut self, clean: bool) {
        self.sequence += 1;
        self.slot_durable = self.durable;
        let slot = self.slot(clean);
        let at = slot_offset(slot.sequence) as usize;
        let file = self.image.file("control");
        file.resize(8192, 0);
        file[at..at + 512].copy_from_slice(&slot.encode());
    }

    /// A batch as it would stand at the position, with its records.
    pub fn form(&self, records: &[(Kind, &[u8])]) -> (BatchHeader, Vec<u8>, Vec<Written>) {
        let seed = Seed::new(&ID, self.incarnation);
        let mut bytes = vec![0; BATCH_HEADER_LEN];
        let mut digest = crc32c::crc32c(&self.digest.to_le_bytes());
        let mut written = Vec::new();
        for (kind, payload) in records {
            let lsn = self.position.plus(bytes.len() as u64);
            let mut header = RecordHeader::of_log(*kind, payload);
            header.unit = u64::from(kind.has_unit()) << 40;
            let encoded = header.encode(seed, lsn);
            digest = crc32c::crc32c_append(digest, &encoded[28..]);
            let end = bytes.len() + padded_record_len(payload.len());
            bytes.extend_from_slice(&encoded);
            bytes.extend_from_slice(payload);
            bytes.resize(end, 0);
            let payload = payload.to_vec();
            written.push(Written { lsn, kind: *kind, payload, batch: self.position });
        }
        let header = BatchHeader {
            incarnation: self.incarnation,
            epoch: self.epoch,
            lsn: self.position,
            len: bytes.len() as u32,
            count: records.len() as u32,
            prev_digest: self.digest,
            digest,
            durable_before: self.durable,
        };
        bytes[..BATCH_HEADER_LEN].copy_from_slice(&header.encode(&ID));
        (header, bytes, written)
    }

    /// Puts a formed batch at its place, or at another.
    pub fn put(&mut self, bytes: &[u8], at: Lsn) {
        let number = at.get() / SIZE;
        let from = (at.get() % SIZE) as usize;
        let file = self.image.file(&segment_file_name(number));
        file[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes of a segment's file from an LSN on.
    pub fn bytes_at(&mut self, lsn: Lsn) -> &mut [u8] {
        let file = self.image.file(&segment_file_name(lsn.get() / SIZE));
        &mut file[(lsn.get() % SIZE) as usize..]
    }

    /// Appends a batch, not yet known durable.
    pub fn append(&mut self, records: &[(Kind, &[u8])]) -> Lsn {
        let (header, bytes, written) = self.form(records);
        self.put(&bytes, header.lsn);
        self.pass(&header, written);
        header.lsn
    }

    /// Counts a formed batch as written, wherever it went.
    pub fn pass(&mut self, header: &BatchHeader, written: Vec<Written>) {
        self.position = header.next(self.unit);
        self.digest = header.digest;
        self.written.extend(written);
        self.batches.push(*header);
    }

    /// Appends a batch of DATA and syncs it.
    pub fn commit(&mut self, payloads: &[&[u8]]) -> Lsn {
        let records: Vec<_> = payloads.iter().map(|payload| (Kind::Data, *payload)).collect();
        let lsn = self.append(&records);
        self.durable = self.position;
        lsn
    }

    /// A clean close: CLOSE, then the control slot.
    pub fn close(&mut self) {
        self.durable = self.position;
        self.append(&[(Kind::Close, &[0; 40])]);
        self.durable = self.position;
        self.control(true);
    }

    /// An open after a clean close: it goes on in the same segment.
    pub fn reopen_clean(&mut self) {
        self.incarnation += 1;
        self.control(false);
    }

    /// An open after a crash: it cuts at the position and starts a new segment.
    pub fn reopen_unclean(&mut self) {
        self.incarnation += 1;
        self.change_segment();
        self.control(false);
    }

    /// What a crash leaves behind the last durable batch is forgotten.
    pub fn forget(&mut self, from: Lsn) {
        self.written.retain(|record| record.batch < from);
        self.batches.retain(|batch| batch.lsn < from);
        self.position = from;
        self.digest = self.batches.last().map_or(0, |batch| batch.digest);
    }

    pub fn disk(&self) -> ImageDisk {
        ImageDisk::new(self.image.clone())
    }
}
