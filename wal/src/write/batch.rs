//! A batch in memory: open while records are added, closed when a flush may take it.

use super::Done;
use crate::Lsn;
use crate::disk::{ALIGNMENT, AlignedBuf};
use crate::format::{
    BATCH_HEADER_LEN, BatchHeader, LogId, RECORD_ALIGN, RecordHeader, Seed, disk_len, size, wide,
};
use std::sync::Arc;

/// What stands in the header of every batch of one open.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) id: LogId,
    pub(super) incarnation: u32,
    pub(super) epoch: u32,
    pub(super) write_unit: u32,
    pub(super) seed: Seed,
}

/// The batch that records are added to.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) start: Lsn,
    pub(super) count: u32,
    pub(super) done: Arc<Done>,
    prev_digest: u32,
    digest: u32,
    buf: AlignedBuf,
}

impl OpenBatch {
    pub(super) fn new(start: Lsn, prev_digest: u32, mut buf: AlignedBuf) -> Self {
        buf.clear();
        buf.extend_from_slice(&[0; BATCH_HEADER_LEN]);
        Self {
            start,
            count: 0,
            done: Arc::default(),
            prev_digest,
            digest: crc32c::crc32c(&prev_digest.to_le_bytes()),
            buf,
        }
    }

    /// Where the next record goes.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.start.plus(wide(self.buf.len()))
    }

    /// Header and records so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.buf.len()
    }

    pub(super) fn digest_before(&self) -> u32 {
        self.prev_digest
    }

    /// Adds a record whose header is complete.
    pub(super) fn push(&mut self, seed: Seed, header: &RecordHeader, payload: &[u8]) -> Lsn {
        let lsn = self.next_lsn();
        let bytes = header.encode(seed, lsn);
        if let Some(sum) = bytes.last_chunk::<4>() {
            self.digest = crc32c::crc32c_append(self.digest, sum);
        }
        self.buf.extend_from_slice(&bytes);
        self.buf.extend_from_slice(payload);
        let padding = self.buf.len().next_multiple_of(RECORD_ALIGN) - self.buf.len();
        self.buf.extend_from_slice([0; RECORD_ALIGN].get(..padding).unwrap_or_default());
        self.count += 1;
        lsn
    }

    /// The bytes from `lsn` on, if it lies in this batch.
    pub(super) fn bytes_at(&self, lsn: Lsn) -> Option<&[u8]> {
        bytes_at(self.start, self.buf.as_slice(), lsn)
    }

    /// Fills the header in and pads to the write unit: the batch is as it will stand on disk.
    pub(super) fn close(mut self, identity: &Identity, durable_before: Lsn) -> Batch {
        let header = BatchHeader {
            incarnation: identity.incarnation,
            epoch: identity.epoch,
            lsn: self.start,
            len: disk_len(self.buf.len()),
            count: self.count,
            prev_digest: self.prev_digest,
            digest: self.digest,
            durable_before,
        };
        let bytes = header.encode(&identity.id);
        if let Some(front) = self.buf.as_mut_slice().get_mut(..BATCH_HEADER_LEN) {
            front.copy_from_slice(&bytes);
        }
        let len = self.buf.len();
        self.buf.resize(len.next_multiple_of(size(identity.write_unit)));
        Batch {
            start: self.start,
            end: header.next(identity.write_unit),
            digest: self.digest,
            done: self.done,
            data: self.buf,
        }
    }
}

/// A closed batch: its bytes are final.
#[derive(Debug)]
pub struct Batch {
    /// Where its header stands.
    pub start: Lsn,
    /// Where the next batch may start.
    pub end: Lsn,
    /// Digest for the header of the next batch.
    pub digest: u32,
    /// Who waits for it.
    pub done: Arc<Done>,
    data: AlignedBuf,
}

impl Batch {
    /// Header, records and padding, as they stand on disk.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.as_slice()
    }

    /// The bytes from `lsn` on, if it lies in this batch.
    #[must_use]
    pub fn bytes_at(&self, lsn: Lsn) -> Option<&[u8]> {
        bytes_at(self.start, self.data.as_slice(), lsn)
    }

    pub(super) fn into_buf(self) -> AlignedBuf {
        self.data
    }

    /// Bytes of memory it holds, with what alignment costs.
    pub(super) fn held(&self) -> usize {
        self.data.capacity().saturating_add(ALIGNMENT)
    }
}

/// Where a recent record's bytes are.
#[derive(Debug)]
pub enum Recent<'a> {
    /// In the open batch: copy them under the lock.
    Open(&'a [u8]),
    /// In a closed batch.
    Closed(Arc<Batch>),
}

fn bytes_at(start: Lsn, bytes: &[u8], lsn: Lsn) -> Option<&[u8]> {
    let offset = usize::try_from(lsn.get().checked_sub(start.get())?).ok()?;
    if offset < BATCH_HEADER_LEN { None } else { bytes.get(offset..) }
}
