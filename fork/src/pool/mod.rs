//! The secondary log: a pool of extents, freed per unit in any order.
//!
//! 1. Extents are appended to the open file, through memory. Crash: any part of them, which no
//!    fork record names. 2. The file is synced, and its name if it is new. Crash behind it: whole
//!    orphans. 3. A fork record names them: they are live. 4. Their unit has ended, or newer
//!    extents replace them: they are dead. A file without live extents is removed; a removal that
//!    is lost is made again by the next open's sweep.
//!
//! After a failed write or sync nothing that was appended since the last sync is believed, and
//! its files are never written or synced again: what the kernel still holds of them may be on no
//! disk. Earlier extents in the same files were synced, and stay good.

mod file;
mod ledger;
mod lost;
mod read;
mod room;
mod sweep;

pub use sweep::{Problem, Sweep};

use file::{OpenFile, sync_all};
use ledger::{Known, Ledger};
use siding_wal::disk::{Disk, LogFile};
use siding_wal::format::{ExtentPlace, LogId, Packer, SPtr, extent_file_name, wide};
use siding_wal::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a pool is laid out.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Which log it belongs to.
    pub log_id: LogId,
    /// The incarnation of this open: file numbers begin with it, and are never used again.
    pub incarnation: u32,
    /// Writes start and end at multiples of this.
    pub write_unit: u32,
    /// A file takes no more extents once it has so many bytes.
    pub file_size: u64,
    /// The most that all files may take together.
    pub max_bytes: Option<u64>,
}

/// What an extent is appended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A move off the main log.
    Move,
    /// Copies of copies, so that a file can go: may use the reserve of one file.
    Compact,
    /// Copies in the place of lost ones: no quota keeps a unit from being whole.
    Rebuild,
}

/// What a pool holds, in bytes and numbers. Before the sweep the extents of earlier opens are
/// missing in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Extent files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of live extents.
    pub live_bytes: u64,
    /// All other bytes: dead extents, headers, padding.
    pub dead_bytes: u64,
    /// Live extents.
    pub extents: u64,
    /// Whether it is known what earlier opens left.
    pub swept: bool,
}

/// The secondary log of one main log.
///
/// Nothing here is durable or live by itself: an extent is durable once [`Pool::sync`] returned,
/// and live while a fork record, or a keypoint, names it or one that leads to it.
#[derive(Debug)]
pub struct Pool {
    disk: Arc<dyn Disk>,
    config: PoolConfig,
    /// Else it only looks: it never writes, frees or removes.
    writable: bool,
    /// False once it is known that nothing lives in it.
    used: AtomicBool,
    state: Mutex<State>,
    /// Files that are kept open for reading; their headers were verified.
    files: Mutex<BTreeMap<u64, Arc<dyn LogFile>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Takes extents.
    open: Option<OpenFile>,
    /// Full, and to be synced.
    full: Vec<OpenFile>,
    /// The number of the last file of this open.
    last: u32,
    ledger: Ledger,
    /// Void extents that somebody may still believe in, since no sync has failed for them.
    owed: BTreeSet<SPtr>,
    problems: Vec<Problem>,
    /// Whether the files of earlier opens count in the ledger's bytes.
    counted: bool,
}

/// Files that are kept open for reading.
const OPEN_FILES: usize = 64;

/// Names that are tried for a new file, if they are taken.
const NAMES: usize = 64;

impl Pool {
    /// The pool on a disk. Touches nothing.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, config: PoolConfig) -> Self {
        let (used, state, files) = (AtomicBool::new(true), Mutex::default(), Mutex::default());
        Self { disk, config, writable: true, used, state, files }
    }

    /// The pool of a log that is only looked at, perhaps while its owner writes: it is read, and
    /// nothing is ever written, freed or removed.
    #[must_use]
    pub fn open_for_reading(disk: Arc<dyn Disk>, log_id: LogId) -> Self {
        let write_unit = disk.geometry().write_unit;
        let config =
            PoolConfig { log_id, incarnation: 0, write_unit, file_size: 0, max_bytes: None };
        Self { writable: false, ..Self::new(disk, config) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an extent, and says where it stands. Nothing is durable yet, and nobody can read
    /// it before [`Pool::sync`].
    ///
    /// Costs a copy in memory; a write once a MiB is gathered or a file is full; the creation of
    /// a file behind a full one. Never a sync.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::LogFull`] beyond the quota or without room on the disk: nothing is left
    ///   behind, and what was appended before stays good;
    /// - what the disk says of a write: everything since the last sync is void. If others had
    ///   appended too and did not [`Pool::discard`] it, the next [`Pool::sync`] fails.
    ///
    /// # Crash
    ///
    /// Any part of it, which no fork record names: the next open's sweep removes the file.
    pub fn append(&self, packer: Packer, purpose: Purpose) -> Result<SPtr> {
        if !self.writable {
            let what = "the secondary log was opened for reading";
            return Err(Error::new(ErrorKind::ReadOnly, what));
        }
        if packer.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "an extent without a record"));
        }
        let mut state = self.state();
        self.used.store(true, Ordering::Release);
        let result = self.append_to(&mut state, packer, purpose);
        let dead = state.ledger.dead_files();
        drop(state);
        self.remove(&dead);
        result
    }

    fn append_to(&self, state: &mut State, packer: Packer, purpose: Purpose) -> Result<SPtr> {
        let len = wide(packer.encoded_len());
        self.check_room(state, len, purpose)?;
        if state.open.as_ref().is_some_and(|open| self.is_full(open)) {
            self.fill_up(state)?;
        }
        if state.open.is_none() {
            state.open = Some(self.create(state)?);
        }
        let State { open, ledger, .. } = &mut *state;
        let place = open.as_mut().and_then(|open| open.place().map(|at| (open, at)));
        let Some((open, at)) = place else {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an extent file larger than pointers reach",
            ));
        };
        let (head, bytes) = packer.seal(&ExtentPlace { log_id: self.config.log_id, at });
        let written = open.push(&bytes);
        ledger.file_bytes(at.extent, open.len());
        ledger.appended(head.unit, at, Known::from(&head));
        match written {
            Ok(()) => Ok(at),
            Err(cause) => {
                let error = self.fail(state, at.extent, cause);
                // Its owner learns it here.
                state.owed.remove(&at);
                Err(error)
            }
        }
    }

    fn is_full(&self, open: &OpenFile) -> bool {
        open.len() >= self.config.file_size || open.place().is_none()
    }

    fn cannot_list(&self, cause: io::Error) -> Error {
        let error = Error::io("the directory of the secondary log cannot be listed", cause);
        match self.disk.path() {
            Some(path) => error.file(path),
            None => error,
        }
    }

    /// The open file takes no more; it is still to be synced.
    fn fill_up(&self, state: &mut State) -> Result<()> {
        let Some(mut open) = state.open.take() else { return Ok(()) };
        let (number, written) = (open.number(), open.write_out());
        state.ledger.file_bytes(number, open.len());
        state.full.push(open);
        written.map_err(|cause| self.fail(state, number, cause))
    }

    fn create(&self, state: &mut State) -> Result<OpenFile> {
        for _ in 0..NAMES {
            state.last = state.last.saturating_add(1);
            let number = u64::from(self.config.incarnation) << 32 | u64::from(state.last);
            match self.disk.create(&extent_file_name(number)) {
                Ok(file) => {
                    state.ledger.opened(number);
                    self.keep(number, &file);
                    let PoolConfig { log_id, write_unit, .. } = self.config;
                    return Ok(OpenFile::new(file, log_id, number, write_unit));
                }
                // Not made by this open: left alone, the sweep says what it is.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => {
                    let what = "an extent file cannot be created";
                    return Err(Error::io(what, cause).file(self.path_of(number)));
                }
            }
        }
        let number = u64::from(self.config.incarnation) << 32;
        let what = "every name for a new extent file is taken";
        Err(Error::new(ErrorKind::ForeignFile, what).file(self.path_of(number)))
    }

    /// Makes everything that was appended so far durable, names too.
    ///
    /// Costs a write and a sync for each file with something new, one as a rule; one sync of the
    /// directory if a file is new. Nothing at all if nothing was appended.
    ///
    /// # Errors
    ///
    /// What the disk says: then everything since the last sync is void, and the files it went to
    /// are never written or synced again.
    ///
    /// # Crash
    ///
    /// Before it returns any part of the extents; behind it all of them.
    pub fn sync(&self) -> Result<()> {
        let mut state = self.state();
        let result = self.sync_files(&mut state);
        let dead = state.ledger.dead_files();
        drop(state);
        self.remove(&dead);
        result
    }

    fn sync_files(&self, state: &mut State) -> Result<()> {
        if let Some(at) = state.owed.first().copied() {
            let cause = io::Error::other("an earlier write to the secondary log failed");
            let error = self.fail(state, at.extent, cause);
            state.owed.clear();
            return Err(error);
        }
        let State { open, full, ledger, .. } = &mut *state;
        let mut files: Vec<&mut OpenFile> = full.iter_mut().chain(open.iter_mut()).collect();
        let synced = sync_all(&*self.disk, &mut files);
        for file in &files {
            ledger.file_bytes(file.number(), file.len());
        }
        match synced {
            Ok(()) => {
                ledger.synced();
                full.iter().for_each(|file| ledger.closed(file.number()));
                full.clear();
                Ok(())
            }
            Err((number, cause)) => {
                let error = self.fail(state, number, cause);
                // Everybody who appended waits for this answer.
                state.owed.clear();
                Err(error)
            }
        }
    }

    /// A write or a sync failed: what is not durable is void, and its files take nothing more.
    fn fail(&self, state: &mut State, number: u64, cause: io::Error) -> Error {
        let State { open, full, ledger, owed, .. } = &mut *state;
        for file in open.take().into_iter().chain(full.drain(..)) {
            ledger.file_bytes(file.number(), file.len_on_disk());
            ledger.closed(file.number());
        }
        owed.extend(ledger.void());
        Error::io("the secondary log cannot be written", cause)
            .file(self.path_of(number))
            .advise("see to the disk; the units stay on the main log, and are moved again later")
    }

    /// Gives an extent up that no fork record names, and none will. What it took of quota and disk
    /// is given back once nothing else lives in its file.
    ///
    /// Costs no I/O, but the removal of a file that nothing needs any more.
    pub fn discard(&self, unit: u64, at: SPtr) {
        self.let_go(|state| {
            state.owed.remove(&at);
            state.ledger.discard(unit, at);
            state.close_empty();
        });
    }

    /// The unit is over: all its extents are dead. May be said twice, and before the sweep.
    ///
    /// Costs no I/O, but the removal of files that nothing needs any more.
    ///
    /// # Crash
    ///
    /// Files that were removed may be there again; the next open's sweep removes them.
    pub fn free(&self, unit: u64) {
        self.let_go(|state| {
            state.ledger.free(unit);
            state.problems.retain(|problem| problem.unit != unit);
        });
    }

    /// The unit was copied: its extents that `newest` does not lead to are dead. The fork record
    /// that names `newest` must be durable.
    ///
    /// Costs no I/O, but the removal of files that nothing needs any more.
    ///
    /// # Crash
    ///
    /// As [`Pool::free`].
    pub fn replaced(&self, unit: u64, newest: SPtr) {
        self.let_go(|state| state.replaced(unit, newest));
    }

    /// Which log it belongs to.
    pub(crate) fn log_id(&self) -> LogId {
        self.config.log_id
    }

    /// The directory it lies in.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What the pool holds.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.state().ledger.stats()
    }

    /// Whether anything may live in it: a look at one word, for those who ask often.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Bytes of a unit's extents.
    #[must_use]
    pub fn unit_bytes(&self, unit: u64) -> u64 {
        self.state().ledger.unit_bytes(unit)
    }

    fn let_go(&self, what: impl FnOnce(&mut State)) {
        if !self.writable {
            return;
        }
        let dead = {
            let mut state = self.state();
            what(&mut state);
            state.ledger.dead_files()
        };
        self.remove(&dead);
    }

    /// Removes files that nothing needs; returns how many went. One that stays is tried again
    /// whenever something is let go.
    fn remove(&self, numbers: &[u64]) -> u64 {
        let mut removed = 0;
        if !self.writable {
            return removed;
        }
        for number in numbers {
            self.files().remove(number);
            match self.disk.remove(&extent_file_name(*number)) {
                Ok(()) => removed += 1,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(_) => continue,
            }
            self.state().ledger.forget_file(*number);
        }
        removed
    }

    fn path_of(&self, number: u64) -> PathBuf {
        self.path(&extent_file_name(number))
    }

    /// Where a file of the pool lies, for messages.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.disk.path().map_or_else(|| PathBuf::from(name), |path| path.join(name))
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn LogFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, number: u64, file: &Arc<dyn LogFile>) {
        let mut files = self.files();
        if files.len() >= OPEN_FILES {
            files.pop_first();
        }
        files.insert(number, Arc::clone(file));
    }
}
