//! The secondary log: a pool of extents, freed per unit in any order.
//!
//! 1. Extents are appended to the open file, through memory. Crash: any part of them, which no
//!    fork record names. 2. The file is synced, and its name if it is new. Crash behind it: whole
//!    orphans. 3. A fork record names them: they are live. 4. Their unit has ended, or newer
//!    extents replace them: they are dead. A file without live extents is removed; a removal that
//!    is lost is made again by the next open's sweep.
//!
//! After a failed write or sync a file is not written, synced or believed again, as far as it was
//! not synced before: what the kernel still holds of it may be on no disk.

mod file;
mod ledger;
mod sweep;

pub use sweep::{Problem, Sweep};

use file::{OpenFile, header_bytes};
use ledger::Ledger;
use siding_wal::chain::Copies;
use siding_wal::disk::{Disk, LogFile};
use siding_wal::format::{Extent, LogId, Packer, SPtr, extent_file_name, wide};
use siding_wal::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::io;
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
}

/// What a pool holds, in bytes and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Extent files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of live extents.
    pub live_bytes: u64,
    /// Live extents.
    pub extents: u64,
    /// Whether it is known what earlier opens left.
    pub swept: bool,
}

/// The secondary log of one main log.
#[derive(Debug)]
pub struct Pool {
    disk: Arc<dyn Disk>,
    config: PoolConfig,
    state: Mutex<State>,
    files: Mutex<BTreeMap<u64, Arc<dyn LogFile>>>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<OpenFile>,
    /// The number of the last file of this open.
    last: u32,
    ledger: Ledger,
    problems: Vec<Problem>,
}

/// Files that are kept open for reading.
const OPEN_FILES: usize = 64;

impl Pool {
    /// The pool on a disk. Touches nothing.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, config: PoolConfig) -> Self {
        Self { disk, config, state: Mutex::default(), files: Mutex::default() }
    }

    /// The pool of a log that is only looked at: it is read, nothing else.
    #[must_use]
    pub fn open_for_reading(disk: Arc<dyn Disk>, log_id: LogId) -> Self {
        let config = PoolConfig {
            log_id,
            incarnation: 0,
            write_unit: 4096,
            file_size: 0,
            max_bytes: Some(0),
        };
        Self::new(disk, config)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an extent, and says where it stands. Nothing is durable yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LogFull`] beyond the quota or on a full disk, or what the disk says: then
    /// everything since the last sync is void.
    pub fn append(&self, packer: Packer, purpose: Purpose) -> Result<SPtr> {
        let mut state = self.state();
        self.room(&state.ledger, wide(packer.encoded_len()), purpose)?;
        if state.open.as_ref().is_some_and(|open| open.len() >= self.config.file_size) {
            // Its extents must be durable before it is left alone.
            self.sync_open(&mut state)?;
            state.open = None;
        }
        if state.open.is_none() {
            let open = self.create(&mut state)?;
            state.open = Some(open);
        }
        let State { open, ledger, .. } = &mut *state;
        let Some(file) = open else { return Err(internal()) };
        let at = file.place()?;
        let (head, bytes) = packer.seal(&file.extent_place(self.config.log_id, at));
        let written = file.push(&bytes);
        ledger.appended(head.unit, at, wide(bytes.len()), head.parent);
        ledger.file_bytes(at.extent, file.len());
        match written {
            Ok(()) => Ok(at),
            Err(cause) => Err(self.fail(&mut state, "an extent cannot be written", cause)),
        }
    }

    fn room(&self, ledger: &Ledger, more: u64, purpose: Purpose) -> Result<()> {
        let Some(max) = self.config.max_bytes else { return Ok(()) };
        let reserve = if purpose == Purpose::Move { self.config.file_size } else { 0 };
        let most = max.saturating_sub(reserve);
        let unit = u64::from(self.config.write_unit);
        let asked = ledger.bytes().saturating_add(more).saturating_add(unit.saturating_mul(2));
        if asked <= most {
            return Ok(());
        }
        let what = format!("the secondary log would take {asked} bytes of {most}");
        Err(Error::new(ErrorKind::LogFull, what)
            .advise("resolve units in doubt, or raise the quota of the secondary log"))
    }

    fn create(&self, state: &mut State) -> Result<OpenFile> {
        state.last = state.last.saturating_add(1);
        let number = u64::from(self.config.incarnation) << 32 | u64::from(state.last);
        let name = extent_file_name(number);
        let io = |cause| Error::io("an extent file cannot be created", cause).file(&name);
        let file = self.disk.create(&name).map_err(io)?;
        let header = header_bytes(&self.config, number);
        state.ledger.file_bytes(number, 0);
        self.keep(number, &file);
        OpenFile::new(file, number, self.config.write_unit, &header).map_err(io)
    }

    /// Makes everything that was appended so far durable, names too.
    ///
    /// # Errors
    ///
    /// What the disk says: then everything since the last sync is void, and its file is never
    /// written again.
    pub fn sync(&self) -> Result<()> {
        self.sync_open(&mut self.state())
    }

    fn sync_open(&self, state: &mut State) -> Result<()> {
        let Some(open) = &mut state.open else { return Ok(()) };
        match open.sync(&*self.disk) {
            Ok(()) => {
                let (number, len) = (open.number(), open.len());
                state.ledger.file_bytes(number, len);
                state.ledger.synced();
                Ok(())
            }
            Err(cause) => Err(self.fail(state, "the secondary log cannot be synced", cause)),
        }
    }

    /// A write or a sync failed: what is not durable is void, and the file takes nothing more.
    fn fail(&self, state: &mut State, what: &str, cause: io::Error) -> Error {
        let open = state.open.take();
        let gone = state.ledger.void();
        self.remove(&gone);
        let error = Error::io(what, cause);
        match open {
            Some(open) => error.file(extent_file_name(open.number())),
            None => error,
        }
    }

    /// An extent that no fork record names, and none will.
    pub fn discard(&self, unit: u64, at: SPtr) {
        self.let_go(|ledger, open| ledger.discard(unit, at, open));
    }

    /// The unit is over: all its extents are dead. May be said twice, and before the sweep.
    pub fn free(&self, unit: u64) {
        self.let_go(|ledger, open| ledger.free(unit, open));
    }

    /// The unit's extents that `newest` does not lead to are dead.
    pub fn replaced(&self, unit: u64, newest: SPtr) {
        self.let_go(|ledger, open| ledger.replaced(unit, newest, open));
    }

    /// Units whose chains to copy, so that the emptiest file can go. None while the pool is not
    /// much larger than what lives in it.
    #[must_use]
    pub fn worst(&self) -> Option<Vec<u64>> {
        let state = self.state();
        let open = state.open.as_ref().map(OpenFile::number);
        state.ledger.worst(open, self.config.file_size)
    }

    /// What the pool holds.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.state().ledger.stats()
    }

    /// Bytes of a unit's extents.
    #[must_use]
    pub fn unit_bytes(&self, unit: u64) -> u64 {
        self.state().ledger.unit_bytes(unit)
    }

    fn let_go(&self, what: impl FnOnce(&mut Ledger, Option<u64>) -> Vec<u64>) {
        let gone = {
            let mut state = self.state();
            let open = state.open.as_ref().map(OpenFile::number);
            what(&mut state.ledger, open)
        };
        self.remove(&gone);
    }

    fn remove(&self, numbers: &[u64]) {
        for number in numbers {
            self.files().remove(number);
            // One that stays is removed by the next open's sweep.
            let _ = self.disk.remove(&extent_file_name(*number));
        }
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

fn internal() -> Error {
    Error::new(ErrorKind::Io, "no extent file is open")
}

impl Copies for Pool {
    fn extent(&self, unit: u64, at: SPtr) -> Result<Arc<Extent>> {
        self.read_extent(unit, at).map(Arc::new)
    }
}
