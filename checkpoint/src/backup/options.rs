//! How a backup is taken.

use super::Copying;
use crate::restore::BackupId;

/// Bytes a second, if nothing else is said.
pub const DEFAULT_RATE: u64 = 64 << 20;

/// Told how far it is. Called from every thread that copies.
pub(super) type Told<'a> = dyn Fn(&Copying<'_>) + Sync + 'a;

/// Says of a block of an object's file whether it is whole.
pub(super) type Check<'a> = dyn Fn(u16, &[u8]) -> bool + Sync + 'a;

/// How a backup is taken. The defaults disturb the log's users little.
#[derive(Clone, Copy)]
pub struct BackupOptions<'a> {
    pub(super) rate: u64,
    pub(super) threads: usize,
    pub(super) most: Option<u64>,
    pub(super) parent: Option<BackupId>,
    pub(super) check: Option<(usize, &'a Check<'a>)>,
    pub(super) told: &'a Told<'a>,
}

impl std::fmt::Debug for BackupOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupOptions")
            .field("rate", &self.rate)
            .field("threads", &self.threads)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl Default for BackupOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> BackupOptions<'a> {
    /// The defaults: 64 MiB a second, two threads.
    #[must_use]
    pub fn new() -> Self {
        let (check, told): (_, &Told<'_>) = (None, &|_| {});
        Self { rate: DEFAULT_RATE, threads: 2, most: None, parent: None, check, told }
    }

    /// The most bytes that are copied a second, all threads together; 0 is
    /// [`BackupOptions::full_speed`].
    #[must_use]
    pub fn rate(mut self, bytes: u64) -> Self {
        self.rate = bytes;
        self
    }

    /// As fast as it goes; while others write to the log, no more than four tenths of the time.
    #[must_use]
    pub fn full_speed(self) -> Self {
        self.rate(0)
    }

    /// How many files are copied at a time. A log without threads copies one.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// The backup is given up once so many bytes of log were written while it ran: the log it
    /// holds must not fill the disk. The default is half of the log's `max_log_bytes`, if it has
    /// one.
    #[must_use]
    pub fn max_log_bytes(mut self, bytes: u64) -> Self {
        self.most = Some(bytes);
        self
    }

    /// Goes on from a backup in the same sink: log and extents alone are copied, from its end on.
    /// It is restored together with that one, and what that one goes on from.
    #[must_use]
    pub fn after(mut self, backup: BackupId) -> Self {
        self.parent = Some(backup);
        self
    }

    /// Asks of each block of so many bytes of an object's file whether it is whole; `check` gets
    /// the object and the bytes, fewer in the last block. One that is not is read again, for it
    /// may be written just now. A power of two from 512 to 1 MiB.
    #[must_use]
    pub fn check(mut self, block: usize, check: &'a (dyn Fn(u16, &[u8]) -> bool + Sync)) -> Self {
        self.check = Some((block, check));
        self
    }

    /// Told how far it is, from every thread that copies.
    #[must_use]
    pub fn progress(mut self, told: &'a (dyn Fn(&Copying<'_>) + Sync)) -> Self {
        self.told = told;
        self
    }
}
