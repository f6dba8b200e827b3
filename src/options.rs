//! How a log is opened.

use crate::admin::{Backer, Operators, Resolver};
use crate::{InDoubt, Log, Outcome, Record, Recovery};
use siding_checkpoint::{BackupOptions, Config, Engine, Manifest, Progress, Sink, open};
use siding_wal::disk::{Backend, Clock, DEPTH, Disk, SystemClock, open_dir_at_depth};
use siding_wal::format::Discipline;
use siding_wal::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// When a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once it is on stable storage. The default.
    #[default]
    Durable,
    /// At once: a crash may lose the last commits, about a second's worth, never their order and
    /// never a part of one. PREPARE and decisions of prepared units are forced all the same.
    Relaxed,
}

/// How a log is opened. Every default is safe.
///
/// ```
/// # fn main() -> siding::Result<()> {
/// # let dir = tempfile::tempdir().map_err(|e| siding::Error::io("a temporary directory", e))?;
/// let log = siding::Options::new()
///     .segment_size(1 << 20)
///     .open(dir.path())?
///     .finish()?;
/// log.write(b"hello")?;
/// # Ok(())
/// # }
/// ```
pub struct Options {
    pub(crate) config: Config,
    pub(crate) durability: Durability,
    backend: Backend,
    depth: usize,
    admin: bool,
    resolver: Option<Resolver>,
    backer: Option<Backer>,
    clock: Arc<dyn Clock>,
    secondary: Option<PathBuf>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("backend", &self.backend)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults: segments of 64 MiB, 32 MiB of memory, deferred apply, durable commits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Config::default(),
            durability: Durability::Durable,
            backend: Backend::Direct,
            depth: DEPTH,
            admin: false,
            resolver: None,
            backer: None,
            clock: Arc::new(SystemClock::new()),
            secondary: None,
        }
    }

    /// Bytes of each segment of a new log; an existing log keeps its own. A multiple of the write
    /// unit, at least 64 KiB. The log grows and shrinks by whole segments.
    #[must_use]
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.config.segment_size = bytes;
        self
    }

    /// Bytes of records that may wait in memory for a flush; appenders wait beyond it.
    #[must_use]
    pub fn ring_size(mut self, bytes: usize) -> Self {
        self.config.ring_size = bytes;
        self
    }

    /// The largest payload, in bytes; never more than 16 MiB, a quarter of a segment, or a
    /// quarter of the ring.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.config.max_record = bytes;
        self
    }

    /// The most that the log's files may take together; new work is refused beyond it, work that
    /// exists can still be ended.
    #[must_use]
    pub fn max_log_bytes(mut self, bytes: u64) -> Self {
        self.config.max_log_bytes = Some(bytes);
        self
    }

    /// Where the secondary log lies: moved records of units that last. The default is the log's
    /// own directory; another device keeps what is moved off the one that commits wait for. Every
    /// open of the log must name it: the log notes where it is, and refuses an open with another
    /// place, or none, unless what live units need is there. So it may be moved, whole.
    #[must_use]
    pub fn secondary(mut self, path: impl Into<PathBuf>) -> Self {
        self.secondary = Some(path.into());
        self
    }

    /// Opens the log though files of the secondary log that live units need are not in the place
    /// that the options name. What is lost is named for each unit, and
    /// rebuilt where the main log still has it; the place is noted as the new one. For a secondary
    /// log that is gone for good.
    #[must_use]
    pub fn secondary_lost(mut self, lost: bool) -> Self {
        self.config.secondary_lost = lost;
        self
    }

    /// The most that the files of the secondary log may take together. When it is full units stay
    /// on the main log; no commit fails for it.
    /// A file of it has 8 MiB, or the size of a segment if that is less, and one is kept in
    /// reserve: where there is room for one alone nothing is moved.
    #[must_use]
    pub fn max_secondary_bytes(mut self, bytes: u64) -> Self {
        self.config.max_secondary_bytes = Some(bytes);
        self
    }

    /// Whether this log is archived: from the open on nothing is trimmed before
    /// [`Log::archive_to`](crate::Log::archive_to) has begun and has seen what the archive has.
    /// Without it what is trimmed in between may be a gap.
    #[must_use]
    pub fn archived(mut self, archived: bool) -> Self {
        self.config.archived = archived;
        self
    }

    /// Whether units that hold the log are moved to the secondary log by themselves. The default
    /// is yes; [`Log::fork`](crate::Log::fork) moves one in any case.
    #[must_use]
    pub fn forks(mut self, automatic: bool) -> Self {
        self.config.forks.automatic = automatic;
        self
    }

    /// The least bytes of main log that are freed for each byte that is copied; the default is 4.
    #[must_use]
    pub fn fork_benefit(mut self, benefit: u64) -> Self {
        self.config.forks.benefit = benefit;
        self
    }

    /// The most bytes that are copied a second; the default is 4 MiB.
    #[must_use]
    pub fn fork_rate(mut self, bytes: u64) -> Self {
        self.config.forks.rate = bytes;
        self
    }

    /// Above this many retained bytes units are moved whatever the benefit.
    #[must_use]
    pub fn fork_soft_limit(mut self, bytes: u64) -> Self {
        self.config.forks.soft_limit = Some(bytes);
        self
    }

    /// When effects may reach the embedder's files. Chosen when a log is created; an open that
    /// asks for another one than the log has is refused.
    #[must_use]
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.config.discipline = Some(discipline);
        self
    }

    /// How the disk is asked. What a backend falls back to where it is not to be had stands in the
    /// report of the open.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Long writes and reads in flight at once where the backend has a ring; the default is 4, and
    /// `siding probe` measures what suits a disk.
    #[must_use]
    pub fn bulk_depth(mut self, depth: usize) -> Self {
        self.depth = depth.clamp(1, 64);
        self
    }

    /// Batches start and end at multiples of this many bytes; the default is the device's safe
    /// one. A smaller unit writes less, and rests on the assumption that a failed write of one
    /// unit never damages its neighbour.
    #[must_use]
    pub fn write_unit(mut self, bytes: u32) -> Self {
        self.config.write_unit = Some(bytes);
        self
    }

    /// When a commit returns.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// A keypoint is taken after this many bytes of log.
    #[must_use]
    pub fn keypoint_bytes(mut self, bytes: u64) -> Self {
        self.config.keypoint_bytes = bytes;
        self
    }

    /// A keypoint is taken after this time, if anything was logged.
    #[must_use]
    pub fn keypoint_interval(mut self, interval: Duration) -> Self {
        self.config.keypoint_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Whether the log answers the `siding` command through a socket in its directory, mode 0600:
    /// whoever may act as the process's own user may ask, and nobody else. The protocol is in
    /// `docs/ADMIN.md`. Nobody answers [`Options::without_threads`].
    #[must_use]
    pub fn admin(mut self, admin: bool) -> Self {
        self.admin = admin;
        self
    }

    /// Resolves a unit in doubt the way an operator asks for through the admin socket: decides
    /// it by the handle, and does in the program what its coordinator's decision would have had
    /// done, under the same locks. The handle is marked as heuristic, with the operator's name.
    ///
    /// Under deferred apply no unit is committed through the socket without this: its effects
    /// would reach the embedder's files at the next restart at the earliest, and never if a later
    /// redo position was reported meanwhile. What `resolve` holds on to lives as long as the log:
    /// not the log itself.
    #[must_use]
    pub fn resolve(
        mut self,
        resolve: impl Fn(InDoubt, Outcome) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Some(Arc::new(resolve));
        self
    }

    /// How the embedder backs itself up when an operator asks for it through the admin socket: it
    /// says which files there are, keeps them from going away meanwhile, and ends in
    /// [`Log::backup_to`](crate::Log::backup_to) with the sink and the options it was given.
    /// Without this the log alone is backed up, as it is by a backup that goes on from another.
    /// Called on a thread of its own; what it holds on to
    /// lives as long as the log: not the log itself.
    #[must_use]
    pub fn back_up(
        mut self,
        back_up: impl Fn(&Log, &dyn Sink, &BackupOptions<'_>) -> Result<Manifest>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.backer = Some(Arc::new(back_up));
        self
    }

    /// Whether a log is created where there is none. The default is yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.config.create = create;
        self
    }

    /// Undoes one record in the embedder's files, and returns what a compensation record shall
    /// carry. Needed under repeat history, to back units out; may be called again for a record
    /// after a crash.
    #[must_use]
    pub fn undo(
        mut self,
        undo: impl Fn(&Record<'_>) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.config.undo =
            Some(Arc::new(move |lsn, header, payload| undo(&Record::new(lsn, *header, payload))));
        self
    }

    /// Told how far the open is.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.config.progress = Some(Box::new(progress));
        self
    }

    /// Without threads: whoever calls does all the work, and calls
    /// [`Log::tick`](crate::Log::tick) for what is due in the background. For simulators.
    #[must_use]
    pub fn without_threads(mut self, clock: Arc<dyn Clock>) -> Self {
        self.config.threads = false;
        self.clock = clock;
        self
    }

    /// Opens the log in the directory `path`, or creates it.
    ///
    /// # Errors
    ///
    /// As [`Options::open_on`]; and what the operating system says of the directory.
    ///
    /// # Crash
    ///
    /// What was acknowledged before stays; the next open does the same again.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Recovery> {
        let path = path.as_ref();
        let create = self.config.create;
        let mut this = self;
        if let Some(secondary) = &this.secondary {
            let disk = open_dir_at_depth(secondary, this.backend, create, this.depth).map_err(
                |cause| {
                    Error::io("the secondary log's directory cannot be opened", cause)
                        .file(secondary)
                },
            )?;
            this.config.secondary = Some(disk);
        }
        let disk = open_dir_at_depth(path, this.backend, create, this.depth)
            .map_err(|cause| Error::io("the log's directory cannot be opened", cause).file(path))?;
        this.open_on(disk)
    }

    /// Where the secondary log lies, as a disk of the embedder's own.
    #[must_use]
    pub fn secondary_on(mut self, disk: Arc<dyn Disk>) -> Self {
        self.config.secondary = Some(disk);
        self
    }

    /// Opens the log on a disk of the embedder's own.
    ///
    /// # Errors
    ///
    /// What is there cannot be this log, whole: named, and nothing is changed.
    pub fn open_on(mut self, disk: Arc<dyn Disk>) -> Result<Recovery> {
        let admin = self.admin.then(|| disk.path()).flatten();
        let opened = open(&disk, &self.clock, &self.config)?;
        let threads = self.config.threads;
        let engine = Engine::new(opened, &mut self.config);
        let door = admin.filter(|_| threads);
        let operators = Operators { door, resolver: self.resolver, backer: self.backer };
        Recovery::new(engine, threads, self.durability, operators)
    }
}
