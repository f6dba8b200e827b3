//! A directory in memory that knows what a power cut would leave of it.
//!
//! # What survives
//!
//! Changes are pending until something makes them durable, and a crash takes any subset of the
//! pending ones:
//!
//! - bytes of a file, each 512-byte sector apart (a write tears at any sector, and later writes
//!   may survive where earlier ones do not): durable by a durable write of just that range, or
//!   by [`sync`]; a durable write does nothing for other pending bytes;
//! - the size of a file, apart from its bytes: durable as far as a durable write reaches, or by
//!   [`sync`]; bytes behind the surviving size are gone, and where it survived without
//!   them there are zeros;
//! - names, apart from files: durable by [`sync_dir`] alone. Changes of different names
//!   survive in any combination, those of one name in their order; a rename is one step.
//!
//! Reads see the newest bytes, whatever is pending, as a page cache shows them.
//!
//! # What can go wrong
//!
//! [`SimDisk::cut_at`] takes the power away in the middle of a call, [`SimDisk::crash`] then
//! gives the disk that the next boot finds. [`SimDisk::fail`] makes calls fail; after a failed
//! sync the bytes it was to write read as new, count as clean and may be on no disk
//! ([`FailedSync::Lost`], fact M7). [`SimDisk::set_capacity`] makes the disk full,
//! [`SimDisk::spoil`] makes sectors unreadable, [`SimDisk::overwrite`] rots them.
//!
//! A write may be answered with an error and land later ([`Fault::Late`]), or a call take its
//! time ([`Fault::Stall`]). A disk may lie: writes that get nowhere or to another place, flushes
//! that do nothing ([`Fault::LIES`]), syncs that tell late or nobody. [`SimDisk::revert`] shows
//! stale sectors, [`SimDisk::flip_read`] flips a bit on its way. [`SimDisk::with_folio`] writes as
//! a mapped file does, and [`Crash::Shorn`] leaves neither old nor new bytes where the power went.
//!
//! # What it does not know
//!
//! Several directories: one that is missing, another's, or swapped with another. Late writes of a
//! process land before the next one begins. The lock leaves no file.
//!
//! [`sync`]: siding_wal::disk::LogFile::sync
//! [`sync_dir`]: siding_wal::disk::Disk::sync_dir

mod blocks;
mod crash;
mod directory;
mod failing;
mod fault;
mod file;
mod inode;
mod state;
mod survivors;

pub use crash::{Crash, Pending, PendingKind, Torn};
pub use fault::{Call, Fault, Lasts, Op, STALL_MS};
pub use inode::FailedSync;

use crate::{Clock, Rng};
use inode::SECTOR;
use state::State;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The simulated disk. Clones are handles on the same one, as two processes have; a copy is
/// made by [`SimDisk::fork`].
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("files", &state.directory.cached)
            .field("calls", &state.life.calls.len())
            .field("pending", &state.pending_count())
            .finish_non_exhaustive()
    }
}

impl SimDisk {
    /// A new, empty directory, whose chances `seed` decides.
    ///
    /// The write unit is one sector, the sharpest there is; syncs fail as ext4's do; there is
    /// room without end.
    pub fn new(seed: u64) -> Self {
        Self::from_state(State::new(seed))
    }

    /// The same disk with another safe write unit in its geometry, in bytes.
    ///
    /// # Panics
    ///
    /// If it is not a power of two from 512 on.
    #[must_use]
    pub fn with_write_unit(self, bytes: u32) -> Self {
        assert!(bytes.is_power_of_two() && bytes >= 512, "{bytes} is no write unit");
        self.state().write_unit = bytes;
        self
    }

    /// The same disk on a device whose sectors have so many bytes, 512 or more: writes tear
    /// between them alone, and anything but whole ones is refused.
    ///
    /// # Panics
    ///
    /// If it is not a power of two from 512 on.
    #[must_use]
    pub fn with_sector(self, bytes: u32) -> Self {
        assert!(bytes.is_power_of_two() && bytes >= 512, "{bytes} is no sector");
        let mut state = self.state();
        state.sector = bytes;
        state.write_unit = state.write_unit.max(bytes);
        drop(state);
        self
    }

    /// The same disk with files that are mapped: a write is one of the whole pieces of so many
    /// bytes that it touches, with what stands around it (fact M17).
    ///
    /// # Panics
    ///
    /// If it is not a power of two from 4096 on.
    #[must_use]
    pub fn with_folio(self, bytes: u64) -> Self {
        assert!(bytes.is_power_of_two() && bytes >= 4096, "{bytes} is no folio");
        self.state().folio = Some(bytes);
        self
    }

    /// Calls that take their time move this clock, until the process ends.
    pub fn set_clock(&self, clock: &Clock) {
        self.state().life.clock = Some(clock.clone());
    }

    fn from_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the disk as a process finds it that starts after a `kill -9`: what is pending
    /// still is, and reads see it; nobody holds the lock; calls count from 0; no faults, and the
    /// power is on. What a failed sync lost of files stays lost though reads see it (fact M8);
    /// what one lost of names is pending again.
    ///
    /// Costs a pointer a file and its pending changes, whatever its size.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.next_life();
        state.directory.forgive();
        Self::from_state(state)
    }

    /// [`SimDisk::fork`], with everything read from the device again: what failed syncs lost,
    /// names too, is there or is not, as the seed has it, and reads tell. What is there of it is
    /// pending again.
    #[must_use]
    pub fn fork_evicted(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        let mut rng = Rng::new(seed);
        state.next_life();
        state.directory.evict(&mut rng);
        state.inodes.iter_mut().for_each(|file| file.evict(&mut rng));
        Self::from_state(state)
    }

    /// The disk that the next boot finds, if the power went now and `choice` survived: all on it
    /// is durable. This disk stays as it is, so other choices can be tried.
    #[must_use]
    pub fn crash(&self, choice: Crash) -> Self {
        Self::from_state(self.state().survivors(choice).into_state())
    }

    /// [`SimDisk::crash`], unless `seen` has that outcome already.
    pub fn crash_unseen(&self, choice: Crash, seen: &mut HashSet<u64>) -> Option<Self> {
        let state = self.state();
        let survivors = state.survivors(choice);
        seen.insert(survivors.fingerprint()).then(|| Self::from_state(survivors.into_state()))
    }

    /// The page cache lets go of all clean pages under the running process: as
    /// [`SimDisk::fork_evicted`] has it, but for the names.
    pub fn evict(&self, seed: u64) {
        let mut rng = Rng::new(seed);
        self.state().inodes.iter_mut().for_each(|file| file.evict(&mut rng));
    }

    /// A choice in words, as it would be now.
    pub fn describe(&self, choice: Crash) -> String {
        self.state().describe(choice)
    }

    /// The file, and where in it, that [`Crash::Shorn`] would leave garbage in; none if nothing is
    /// being written.
    pub fn shorn(&self, seed: u64) -> Option<(String, u64)> {
        self.state().shorn(seed)
    }

    /// What is pending, oldest first.
    pub fn pending(&self) -> Vec<Pending> {
        self.state().pending()
    }

    /// How much is pending.
    pub fn pending_count(&self) -> usize {
        self.state().pending_count()
    }

    /// Takes the power away in the middle of the call with this number: what it does is pending,
    /// and it and every later call, reads too, fail with "power is off". Calls that change
    /// something count, from 0 on: see [`SimDisk::trace`].
    pub fn cut_at(&self, call: u64) {
        self.state().life.cut = Some(call);
    }

    /// Whether the cut came.
    pub fn is_off(&self) -> bool {
        self.state().life.off
    }

    /// Makes the call with this number fail, or from it on all that can fail so.
    pub fn fail(&self, call: u64, fault: Fault, lasts: Lasts) {
        self.state().life.faults.push((call, fault, lasts));
    }

    /// Makes the read with this number fail, or all from it on; reads count apart, from 0 on.
    pub fn fail_read(&self, read: u64, lasts: Lasts) {
        self.state().life.read_faults.push((read, lasts));
    }

    /// Makes the read with this number come back with one bit wrong, once: what `bit` counts from
    /// the first byte on, around the end.
    pub fn flip_read(&self, read: u64, bit: u64) {
        self.state().life.read_flips.push((read, bit));
    }

    /// Says what a failed sync does.
    pub fn set_failed_sync(&self, how: FailedSync) {
        self.state().failed_sync = how;
    }

    /// Limits the bytes that the files of the directory may have together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Makes the sectors of a range unreadable until they are written again, also after a crash.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file.
    pub fn spoil(&self, name: &str, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.open(name)?;
        let sectors = at / SECTOR as u64..(at + len).div_ceil(SECTOR as u64);
        state.inode_mut(inode).spoilt.extend(sectors);
        Ok(())
    }

    /// Changes bytes behind everyone's back, on the device and in the cache: rot, or a write
    /// that was meant for another place. Not a call.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file, `InvalidInput` if not all of the range is durable.
    pub fn overwrite(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.open(name)?;
        state
            .inode_mut(inode)
            .overwrite(at, bytes)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Takes sectors of a range back to what they were before they were last written over: a
    /// write that the device forgot, or an old copy it shows. Not a call.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file, `InvalidInput` if not all of the range is durable.
    pub fn revert(&self, name: &str, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.open(name)?;
        state.inode_mut(inode).revert(at, len).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// What reads of a file see. Not a call, and not subject to any fault.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.inode(*state.directory.cached.get(name)?);
        let mut bytes = vec![0; blocks::index(file.len)];
        file.cached.read(0, &mut bytes);
        Some(bytes)
    }

    /// What reads of a part of a file see; what lies behind its end is zeros. As
    /// [`SimDisk::contents`] else.
    pub fn peek(&self, name: &str, at: u64, buf: &mut [u8]) {
        let state = self.state();
        match state.directory.cached.get(name) {
            Some(inode) => state.inode(*inode).cached.read(at, buf),
            None => buf.fill(0),
        }
    }

    /// How many calls and reads were made to fail; a cut is one.
    pub fn troubles(&self) -> u64 {
        self.state().life.troubles
    }

    /// How many calls were made to take their time; they are no troubles.
    pub fn stalls(&self) -> u64 {
        self.state().life.stalls
    }

    /// How many calls changed something, or were to.
    pub fn calls(&self) -> u64 {
        self.state().life.calls.len() as u64
    }

    /// How many reads there were.
    pub fn reads(&self) -> u64 {
        self.state().life.reads
    }

    /// The calls that changed something, or were to.
    pub fn trace(&self) -> Vec<Call> {
        self.state().life.calls.clone()
    }

    /// Names the calls and the bytes they wrote: equal runs have equal hashes.
    pub fn trace_hash(&self) -> u64 {
        self.state().life.trace_hash
    }
}
