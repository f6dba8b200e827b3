//! A disk with a plug: pull it, and whoever has this handle is cut off, as a killed process is.
//! The disk itself, and what is pending on it, stays.

use crate::SimDisk;
use siding::disk::{DirLock, Disk, Geometry, LockError, LogFile};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What somebody else does while the disk is busy.
pub(super) type Meanwhile = Box<dyn FnOnce() + Send>;

/// A moment when the disk is busy: a durable write to a file whose name ends so, or (true) a sync
/// of it.
pub(super) type Moment = (&'static str, bool);

struct Shared {
    disk: Arc<SimDisk>,
    pulled: AtomicBool,
    /// Before the next call of this kind, to this file, this happens.
    meanwhile: Mutex<Option<(Moment, Meanwhile)>>,
    lock: Mutex<Option<Box<dyn DirLock>>>,
    /// Reads of the secondary log.
    extent_reads: AtomicU64,
}

/// A process's handle on a disk.
#[derive(Clone)]
pub(super) struct Plug(Arc<Shared>);

impl fmt::Debug for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plug").field(&self.0.disk).finish()
    }
}

impl Plug {
    pub(super) fn new(disk: &Arc<SimDisk>) -> Self {
        Self(Arc::new(Shared {
            disk: Arc::clone(disk),
            pulled: AtomicBool::new(false),
            meanwhile: Mutex::new(None),
            lock: Mutex::new(None),
            extent_reads: AtomicU64::new(0),
        }))
    }

    /// The process is no more, whatever handles there are.
    pub(super) fn pull(&self) {
        self.0.pulled.store(true, Ordering::SeqCst);
        self.take_meanwhile();
        self.unlock();
    }

    /// How often the secondary log was read.
    pub(super) fn extent_reads(&self) -> u64 {
        self.0.extent_reads.load(Ordering::SeqCst)
    }

    pub(super) fn is_pulled(&self) -> bool {
        self.0.pulled.load(Ordering::SeqCst)
    }

    fn unlock(&self) {
        drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// At the next such moment, another thread does this.
    pub(super) fn meanwhile(&self, moment: Moment, act: Meanwhile) {
        *self.0.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some((moment, act));
    }

    fn take_meanwhile(&self) -> Option<(Moment, Meanwhile)> {
        self.0.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn busy(&self, moment: (&str, bool)) {
        match self.take_meanwhile() {
            Some((of, act)) if moment.0.ends_with(of.0) && moment.1 == of.1 => act(),
            other => {
                *self.0.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = other;
            }
        }
    }

    fn disk(&self) -> io::Result<&Arc<SimDisk>> {
        match self.is_pulled() {
            true => Err(io::Error::other("the process was killed")),
            false => Ok(&self.0.disk),
        }
    }

    fn file(&self, name: &str, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(File { plug: self.clone(), name: Arc::from(name), file })
    }
}

impl Disk for Plug {
    fn name(&self) -> &'static str {
        self.0.disk.name()
    }

    fn geometry(&self) -> Geometry {
        self.0.disk.geometry()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.disk()?.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.file(name, self.disk()?.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.file(name, self.disk()?.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk()?.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk()?.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk()?.sync_dir()
    }

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        let lock = self.disk().map_err(LockError::Io)?.lock()?;
        *self.0.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(Box::new(Lock(self.clone())))
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.disk.free_bytes()
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

/// The process holds the lock, and so it goes with the process.
#[derive(Debug)]
struct Lock(Plug);

impl DirLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

#[derive(Debug)]
struct File {
    plug: Plug,
    name: Arc<str>,
    file: Arc<dyn LogFile>,
}

impl LogFile for File {
    fn len(&self) -> io::Result<u64> {
        self.plug.disk()?;
        self.file.len()
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        self.plug.disk()?;
        if durable {
            self.plug.busy((&self.name, false));
        }
        self.file.write_at(offset, bufs, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.plug.disk()?;
        if self.name.ends_with(".ext") {
            self.plug.0.extent_reads.fetch_add(1, Ordering::SeqCst);
        }
        self.file.read_at(offset, buf)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.plug.disk()?;
        self.file.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.plug.disk()?;
        self.plug.busy((&self.name, true));
        self.file.sync()
    }
}
