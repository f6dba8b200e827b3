//! What the tests of the front door share.

#![allow(dead_code, reason = "each test file takes what it needs")]

pub(crate) mod busy;

use siding::disk::Clock;
use siding::{Log, Options, Recovery, Result};
use siding_sim::SimDisk;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Time that passes when a test says so.
#[derive(Debug, Default)]
pub(crate) struct StillClock(AtomicU64);

impl StillClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_000)))
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for StillClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The smallest log there is, without threads: whoever calls does all the work, in order.
pub(crate) fn quiet() -> Options {
    Options::new().segment_size(64 << 10).ring_size(64 << 10).without_threads(StillClock::new())
}

/// The log on the disk, opened with the smallest options.
pub(crate) fn recover(disk: &SimDisk) -> Result<Recovery> {
    quiet().open_on(Arc::new(disk.clone()))
}

/// The same, in use.
pub(crate) fn open(disk: &SimDisk) -> Result<Log> {
    recover(disk)?.finish()
}

/// The payloads that redo delivers.
pub(crate) fn redone(recovery: &Recovery) -> Result<Vec<Vec<u8>>> {
    let mut seen = Vec::new();
    let mut committed = recovery.committed()?;
    while let Some(record) = committed.next()? {
        seen.push(record.payload().to_vec());
    }
    Ok(seen)
}
