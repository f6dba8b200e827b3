//! A directory in memory: for tests, and for what need not outlive the process.

use super::dir::check_name;
use super::transfer::{bytes, check_read, check_write};
use super::{DirLock, Disk, Geometry, LockError, LogFile, Owner};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A directory in memory. Clones are handles on the same one, as two processes have on a real one.
///
/// What it acknowledges it keeps while a handle is left; there is no crash to survive.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    locked: Mutex<bool>,
}

impl MemoryDisk {
    /// A new, empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.shared.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What direct I/O on a common disk asks, so that what works here works there.
const WRITE_UNIT: u32 = 4096;
const MIN_WRITE_UNIT: u32 = 512;

impl Disk for MemoryDisk {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            write_unit: WRITE_UNIT,
            min_write_unit: MIN_WRITE_UNIT,
            notes: vec!["the log is in memory and ends with the process".to_owned()],
        }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.files().iter().map(|(name, file)| Ok((name.clone(), file.len()?))).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        check_name(name)?;
        match self.files().entry(name.to_owned()) {
            Entry::Occupied(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Entry::Vacant(place) => Ok(Arc::<MemoryFile>::clone(place.insert(Arc::default()))),
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        check_name(name)?;
        match self.files().get(name) {
            Some(file) => Ok(Arc::<MemoryFile>::clone(file)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.files().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        let mut locked = self.shared.locked.lock().unwrap_or_else(PoisonError::into_inner);
        if *locked {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        *locked = true;
        Ok(Box::new(Lock(Arc::clone(&self.shared))))
    }

    fn owner(&self) -> io::Result<Option<Owner>> {
        let locked = self.shared.locked.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(locked.then(|| Owner { pid: Some(std::process::id()) }))
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

#[derive(Debug)]
struct Lock(Arc<Shared>);

impl DirLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        *self.0.locked.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// Bytes a piece of a file holds.
const PIECE: usize = 64 << 10;

/// A file in pieces, so that it grows without copies, and a write far out costs one piece.
#[derive(Debug, Default)]
struct MemoryFile {
    inside: RwLock<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    pieces: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

/// The piece a position lies in, and where in it.
fn place(position: u64) -> (u64, usize) {
    let piece = bytes(PIECE);
    (position / piece, usize::try_from(position % piece).unwrap_or(0))
}

impl Inside {
    fn write(&mut self, mut position: u64, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let (number, from) = place(position);
            let piece = match self.pieces.entry(number) {
                Entry::Occupied(piece) => piece.into_mut(),
                Entry::Vacant(spot) => spot.insert(new_piece()?),
            };
            let (now, later) = buf.split_at((PIECE - from).min(buf.len()));
            if let Some(room) = piece.get_mut(from..from + now.len()) {
                room.copy_from_slice(now);
            }
            position += bytes(now.len());
            self.len = self.len.max(position);
            buf = later;
        }
        Ok(())
    }

    fn cut(&mut self, len: u64) {
        let (number, from) = place(len);
        self.pieces.retain(|at, _| *at <= number);
        if let Some(rest) = self.pieces.get_mut(&number).and_then(|piece| piece.get_mut(from..)) {
            rest.fill(0);
        }
        self.len = len;
    }

    fn read(&self, mut position: u64, buf: &mut [u8]) -> usize {
        let there = self.len.saturating_sub(position);
        let count = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        while !rest.is_empty() {
            let (number, from) = place(position);
            let (now, later) = rest.split_at_mut((PIECE - from).min(rest.len()));
            match self.pieces.get(&number).and_then(|piece| piece.get(from..from + now.len())) {
                Some(piece) => now.copy_from_slice(piece),
                None => now.fill(0),
            }
            position += bytes(now.len());
            rest = later;
        }
        count
    }
}

fn new_piece() -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    piece.try_reserve_exact(PIECE).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    piece.resize(PIECE, 0);
    Ok(piece)
}

impl LogFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inside.read().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], _durable: bool) -> io::Result<()> {
        check_write(offset, bufs, MIN_WRITE_UNIT)?;
        let mut inside = self.inside.write().unwrap_or_else(PoisonError::into_inner);
        let mut position = offset;
        for buf in bufs {
            inside.write(position, buf)?;
            position += bytes(buf.len());
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        check_read(offset, buf.len(), MIN_WRITE_UNIT)?;
        Ok(self.inside.read().unwrap_or_else(PoisonError::into_inner).read(offset, buf))
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.inside.write().unwrap_or_else(PoisonError::into_inner).cut(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
