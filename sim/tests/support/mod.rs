//! Words the tests of the disk share.
#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a test")]

use siding_sim::SimDisk;
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use std::sync::Arc;

/// So many sectors that hold nothing but `byte`.
pub(crate) fn sectors(byte: u8, count: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(count * 512);
    buf.fill(byte);
    buf
}

/// A disk with the file `a` of so many sectors of ones, all durable.
pub(crate) fn with_file(count: usize) -> (SimDisk, Arc<dyn LogFile>) {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_at(0, &[&sectors(1, count)], true).unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.pending_count(), 0);
    (disk, file)
}

/// The first byte of each sector of a file, and the file's name must be on the disk.
pub(crate) fn stamps(disk: &SimDisk, name: &str) -> Vec<u8> {
    let bytes = disk.contents(name).unwrap();
    bytes.chunks(512).map(|sector| sector[0]).collect()
}

pub(crate) fn names(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().map(|(name, _)| name).collect()
}
