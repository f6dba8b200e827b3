//! A directory as a sink: each file is written under another name, synced, renamed, and the
//! directory synced.

use super::{Put, Sink, Stored, plain};
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use siding_wal::format::wide;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a write.
const PIECE: usize = 1 << 20;

/// The end of a name while something is written.
const UNFINISHED: &str = ".new";

/// The file by which a disk locks its directory.
const LOCK: &str = "lock";

/// A directory, on any disk.
#[derive(Clone, Debug)]
pub struct DirectorySink {
    disk: Arc<dyn Disk>,
    /// Tells writes of one name apart.
    count: Arc<AtomicU64>,
}

impl DirectorySink {
    /// What lies in this directory.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, count: Arc::default() }
    }

    /// The directory.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What a process that died left half written. For whoever knows that nobody writes here now.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        for (name, _) in self.disk.list()? {
            if name.ends_with(UNFINISHED) {
                self.disk.remove(&name)?;
            }
        }
        self.disk.sync_dir()
    }
}

fn checked(name: &str) -> io::Result<&str> {
    match plain(name) && !name.ends_with(UNFINISHED) && name != LOCK {
        true => Ok(name),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no name"))),
    }
}

impl Sink for DirectorySink {
    fn put(&self, name: &str) -> io::Result<Box<dyn Put>> {
        let name = checked(name)?.to_owned();
        let (file, unfinished) = loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let unfinished = format!("{name}.{number}{UNFINISHED}");
            match self.disk.create(&unfinished) {
                // Somebody who died left it, or another process is at it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => break (other?, unfinished),
            }
        };
        Ok(Box::new(Writing {
            disk: Arc::clone(&self.disk),
            file,
            unfinished: Some(unfinished),
            name,
            written: 0,
            piece: AlignedBuf::with_capacity(PIECE),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Stored>> {
        let unit = u64::from(self.disk.geometry().min_write_unit).max(512);
        Ok(Box::new(Reading { file: self.disk.open(checked(name)?)?, unit }))
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let mut names = self.disk.list()?;
        let ours = |name: &str| name.starts_with(prefix) && checked(name).is_ok();
        names.retain(|(name, _)| ours(name));
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(checked(name)?)?;
        self.disk.sync_dir()
    }

    fn place(&self) -> String {
        match self.disk.path() {
            Some(path) => path.display().to_string(),
            None => self.disk.name().to_owned(),
        }
    }
}

/// A file that is being written.
struct Writing {
    disk: Arc<dyn Disk>,
    file: Arc<dyn LogFile>,
    /// Its name now; none once it has its own.
    unfinished: Option<String>,
    name: String,
    written: u64,
    /// What is not written yet, less than a whole piece.
    piece: AlignedBuf,
}

impl Writing {
    fn flush(&mut self) -> io::Result<()> {
        let len = self.piece.len();
        // Disks take whole units; what is too much is cut off at the end.
        self.piece.resize(len.next_multiple_of(siding_wal::disk::ALIGNMENT));
        self.file.write_at(self.written, &[&self.piece], false)?;
        self.written = self.written.saturating_add(wide(len));
        self.piece.clear();
        Ok(())
    }
}

impl Put for Writing {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = PIECE.saturating_sub(self.piece.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.flush()?;
        }
        self.file.cut(self.written)?;
        self.file.sync()?;
        if let Some(unfinished) = &self.unfinished {
            self.disk.rename(unfinished, &self.name)?;
        }
        self.unfinished = None;
        self.disk.sync_dir()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // What stays is passed over by readers.
            let _ = self.disk.remove(unfinished);
        }
    }
}

struct Reading {
    file: Arc<dyn LogFile>,
    unit: u64,
}

impl Stored for Reading {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // A disk need not know offsets that no file can have.
        if offset >= self.file.len()? {
            return Ok(0);
        }
        let mut filled = 0;
        let mut piece = AlignedBuf::default();
        while filled < buf.len() {
            let at = offset.saturating_add(wide(filled));
            let from = at.checked_rem(self.unit).unwrap_or_default();
            let skipped = usize::try_from(from).unwrap_or_default();
            let want = buf.len().saturating_sub(filled).saturating_add(skipped).min(PIECE);
            piece.resize(want.next_multiple_of(siding_wal::disk::ALIGNMENT));
            let read = self.file.read_at(at.saturating_sub(from), &mut piece)?.min(want);
            let there = piece.get(skipped..read).unwrap_or_default();
            if there.is_empty() {
                break;
            }
            if let Some(place) = buf.get_mut(filled..filled.saturating_add(there.len())) {
                place.copy_from_slice(there);
            }
            filled = filled.saturating_add(there.len());
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{put_whole, read_whole};
    use siding_wal::disk::MemoryDisk;

    #[test]
    fn what_was_put_is_there_in_any_length_and_read_from_anywhere() {
        let disk = Arc::new(MemoryDisk::new());
        let sink = DirectorySink::new(Arc::<MemoryDisk>::clone(&disk));
        for len in [0, 1, 511, 512, 5_000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 77] {
            let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            put_whole(&sink, "a-1.seg", &bytes).unwrap();
            let stored = sink.open("a-1.seg").unwrap();
            assert_eq!(read_whole(&*stored, 1 << 30).unwrap(), bytes);
            for (at, count) in [(0, 7), (3, 600), (511, 2), (len / 2, len), (len, 1)] {
                let mut buf = vec![0; count];
                let read = stored.read_at(wide(at), &mut buf).unwrap();
                let due = &bytes[at.min(len)..(at + count).min(len)];
                assert_eq!(&buf[..read], due, "{count} at {at} of {len}");
            }
            assert_eq!(sink.list("a-").unwrap(), [("a-1.seg".to_owned(), wide(len))]);
        }
        // What is dropped before it is finished was never there, nor what a dead process left.
        let mut put = sink.put("b").unwrap();
        put.write(&[1; 2 * PIECE]).unwrap();
        drop(put);
        disk.create("c.7.new").unwrap();
        assert_eq!(sink.list("").unwrap().len(), 1);
        assert_eq!(disk.list().unwrap().len(), 2);
        sink.remove_unfinished().unwrap();
        sink.remove("a-1.seg").unwrap();
        assert_eq!(disk.list().unwrap().len(), 0);
        for name in ["", ".", "..", "a/b", "a_b", "a.new", "lock", ".a"] {
            assert!(sink.put(name).is_err() && sink.open(name).is_err(), "{name}");
        }
        assert_eq!(sink.open("a").err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
