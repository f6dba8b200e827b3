//! The traits that the code under test sees.

use super::SimDisk;
use super::blocks::index;
use super::state::State;
use siding_wal::disk::{DirLock, Disk, Geometry, LockError, LogFile, Owner};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest file: a slip of the pen must not take the machine's memory.
const FILE_MAX: u64 = 16 << 30;

impl Disk for SimDisk {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn geometry(&self) -> Geometry {
        let state = self.state();
        Geometry {
            write_unit: state.write_unit,
            min_write_unit: state.sector,
            notes: vec!["a simulated disk".to_owned()],
        }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.state().list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        check_name(name)?;
        let inode = self.state().create(name)?;
        Ok(self.handle(inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        check_name(name)?;
        let inode = self.state().open(name)?;
        Ok(self.handle(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        self.state().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.state().remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.state().sync_dir()
    }

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        let mut state = self.state();
        state.check_power().map_err(LockError::Io)?;
        if state.life.locked {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        state.life.locked = true;
        Ok(Box::new(Lock(Arc::clone(&self.state))))
    }

    fn owner(&self) -> io::Result<Option<Owner>> {
        let locked = self.state().life.locked;
        Ok(locked.then(|| Owner { pid: Some(std::process::id()) }))
    }

    fn free_bytes(&self) -> Option<u64> {
        self.state().free_bytes()
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

impl SimDisk {
    fn handle(&self, inode: usize) -> Arc<dyn LogFile> {
        Arc::new(SimFile { state: Arc::clone(&self.state), inode })
    }
}

/// Holds the lock of one disk; its copies are other disks.
struct Lock(Arc<Mutex<State>>);

impl DirLock for Lock {}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).life.locked = false;
    }
}

/// A handle; it stays with its file through renames and removals.
struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

impl SimFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.state().inode(self.inode).label)
    }
}

impl LogFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.inode(self.inode).len)
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        let unit = index(self.state().sector.into());
        bufs.iter().try_for_each(|buf| check_buf(buf, unit))?;
        let data: Arc<[u8]> = match bufs {
            [one] => Arc::from(*one),
            many => Arc::from(many.concat()),
        };
        check_range(offset, data.len(), unit)?;
        if offset + data.len() as u64 > FILE_MAX && !data.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.state().write(self.inode, offset, data, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let unit = index(self.state().sector.into());
        check_buf(buf, unit)?;
        check_range(offset, buf.len(), unit)?;
        self.state().read(self.inode, offset, buf)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        match len > FILE_MAX {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => self.state().cut(self.inode, len),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.state().sync(self.inode)
    }
}

fn check_name(name: &str) -> io::Result<()> {
    let plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0']);
    if plain { Ok(()) } else { Err(refuse("not a plain file name")) }
}

/// As strict as direct I/O is on a real disk: a buffer must lie on a sector's boundary too.
fn check_buf(buf: &[u8], unit: usize) -> io::Result<()> {
    let there = buf.is_empty() || buf.as_ptr().addr().is_multiple_of(unit);
    match there && buf.len().is_multiple_of(unit) {
        true => Ok(()),
        false => Err(refuse("a buffer is not aligned, or no whole number of sectors")),
    }
}

fn check_range(offset: u64, len: usize, unit: usize) -> io::Result<()> {
    let ends = offset.checked_add(len as u64).is_some_and(|end| i64::try_from(end).is_ok());
    match ends && offset.is_multiple_of(unit as u64) {
        true => Ok(()),
        false => Err(refuse("the offset is no whole number of sectors, or beyond every file")),
    }
}

fn refuse(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
