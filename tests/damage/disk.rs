//! A directory that is copied by sharing: thousands of damaged copies a second.

use siding::disk::{DirLock, Disk, Geometry, LockError, LogFile};
use siding_wal::disk::Owner;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const BLOCK: usize = 4096;

/// The files of a directory, by name, as bytes.
pub(crate) type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// A directory over files that others share; what is written stays with this one.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    files: Mutex<BTreeMap<String, Arc<File>>>,
}

#[derive(Debug, Default)]
struct File(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    shared: Arc<Vec<u8>>,
    /// How many bytes of the shared ones count: the file may have been cut.
    kept: usize,
    /// Blocks that differ from the shared ones; where neither reaches there are zeros.
    own: BTreeMap<usize, Box<[u8; BLOCK]>>,
    len: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copied {
    pub(crate) fn of(files: &Files) -> Self {
        let inside = |bytes: &Arc<Vec<u8>>| Inside {
            shared: Arc::clone(bytes),
            kept: bytes.len(),
            own: BTreeMap::new(),
            len: bytes.len(),
        };
        let file = |bytes| Arc::new(File(Mutex::new(inside(bytes))));
        let files = files.iter().map(|(name, bytes)| (name.clone(), file(bytes))).collect();
        Self { files: Mutex::new(files) }
    }

    /// What the files hold now.
    pub(crate) fn files(&self) -> Files {
        let bytes = |file: &Arc<File>| {
            let inside = lock(&file.0);
            let mut bytes = vec![0; inside.len];
            inside.read(0, &mut bytes);
            Arc::new(bytes)
        };
        lock(&self.files).iter().map(|(name, file)| (name.clone(), bytes(file))).collect()
    }

    /// Flips the bits of `mask` in one byte.
    pub(crate) fn flip(&self, name: &str, at: usize, mask: u8) {
        let file = Arc::clone(&lock(&self.files)[name]);
        let mut inside = lock(&file.0);
        assert!(at < inside.len, "a byte that is there");
        inside.block(at / BLOCK)[at % BLOCK] ^= mask;
    }

    /// Cuts a file that nobody has written to.
    pub(crate) fn cut(&self, name: &str, len: usize) {
        let file = Arc::clone(&lock(&self.files)[name]);
        let mut inside = lock(&file.0);
        assert!(len <= inside.len && inside.own.is_empty());
        (inside.kept, inside.len) = (len, len);
    }
}

impl Inside {
    /// The shared bytes of a block, as far as the file has them.
    fn shared(&self, number: usize) -> &[u8] {
        let end = self.kept.min((number + 1) * BLOCK);
        self.shared.get(number * BLOCK..end).unwrap_or_default()
    }

    fn block(&mut self, number: usize) -> &mut [u8; BLOCK] {
        if !self.own.contains_key(&number) {
            let mut block = Box::new([0; BLOCK]);
            let shared = self.shared(number);
            block[..shared.len()].copy_from_slice(shared);
            self.own.insert(number, block);
        }
        self.own.get_mut(&number).unwrap()
    }

    fn read(&self, mut at: usize, buf: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(at).min(buf.len());
        let mut rest = &mut buf[..count];
        while !rest.is_empty() {
            let (number, from) = (at / BLOCK, at % BLOCK);
            let (now, later) = rest.split_at_mut((BLOCK - from).min(rest.len()));
            match self.own.get(&number) {
                Some(block) => now.copy_from_slice(&block[from..from + now.len()]),
                None => {
                    let there = self.shared(number).get(from..).unwrap_or_default();
                    let there = &there[..there.len().min(now.len())];
                    let (known, zeros) = now.split_at_mut(there.len());
                    known.copy_from_slice(there);
                    zeros.fill(0);
                }
            }
            at += now.len();
            rest = later;
        }
        count
    }

    fn write(&mut self, mut at: usize, mut buf: &[u8]) {
        while !buf.is_empty() {
            let (number, from) = (at / BLOCK, at % BLOCK);
            let (now, later) = buf.split_at((BLOCK - from).min(buf.len()));
            let fresh = !self.own.contains_key(&number) && self.shared(number).is_empty();
            // Files are filled with zeros before they are used: that costs no memory here.
            if !fresh || now.iter().any(|byte| *byte != 0) {
                self.block(number)[from..from + now.len()].copy_from_slice(now);
            }
            at += now.len();
            self.len = self.len.max(at);
            buf = later;
        }
    }
}

impl Disk for Copied {
    fn name(&self) -> &'static str {
        "copied"
    }

    fn geometry(&self) -> Geometry {
        Geometry { write_unit: 512, min_write_unit: 512, notes: Vec::new() }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        lock(&self.files).iter().map(|(name, file)| Ok((name.clone(), file.len()?))).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut files = lock(&self.files);
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::<File>::default();
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        match lock(&self.files).get(name) {
            Some(file) => Ok(Arc::<File>::clone(file)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        Ok(Box::new(Alone))
    }

    fn owner(&self) -> io::Result<Option<Owner>> {
        Ok(None)
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

/// Nobody else has a copy.
#[derive(Debug)]
struct Alone;

impl DirLock for Alone {}

impl LogFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len as u64)
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], _durable: bool) -> io::Result<()> {
        let mut at = usize::try_from(offset).unwrap();
        let mut inside = lock(&self.0);
        for buf in bufs {
            inside.write(at, buf);
            at += buf.len();
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(lock(&self.0).read(usize::try_from(offset).unwrap_or(usize::MAX), buf))
    }

    fn cut(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
