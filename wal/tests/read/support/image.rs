//! A directory as plain vectors, with unreadable places.

use siding_wal::disk::{DirLock, Disk, Geometry, LockError, LogFile};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The files of a directory.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Places the device does not give back.
    pub bad: Vec<(String, Range<u64>)>,
}

impl Image {
    pub fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.files.entry(name.to_owned()).or_default()
    }
}

/// An image as a disk, for reading.
#[derive(Clone, Debug)]
pub struct ImageDisk(Arc<Mutex<Image>>);

impl ImageDisk {
    pub fn new(image: Image) -> Self {
        Self(Arc::new(Mutex::new(image)))
    }

    /// Changes the image under whoever reads it.
    pub fn change(&self, f: impl FnOnce(&mut Image)) {
        f(&mut self.0.lock().unwrap());
    }
}

#[derive(Debug)]
struct ImageFile {
    name: String,
    image: Arc<Mutex<Image>>,
}

fn refuse<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

impl Disk for ImageDisk {
    fn name(&self) -> &'static str {
        "image"
    }

    fn geometry(&self) -> Geometry {
        Geometry { write_unit: 512, min_write_unit: 512, notes: Vec::new() }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let image = self.0.lock().unwrap();
        Ok(image.files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn LogFile>> {
        refuse()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        if !self.0.lock().unwrap().files.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(Arc::new(ImageFile { name: name.to_owned(), image: Arc::clone(&self.0) }))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self) -> io::Result<()> {
        refuse()
    }

    fn lock(&self) -> Result<Box<dyn DirLock>, LockError> {
        Err(LockError::Held { pid: None })
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

impl LogFile for ImageFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image.lock().unwrap().files[&self.name].len() as u64)
    }

    fn write_at(&self, _offset: u64, _bufs: &[&[u8]], _durable: bool) -> io::Result<()> {
        refuse()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        assert!(offset.is_multiple_of(512) && buf.len().is_multiple_of(512), "alignment");
        let image = self.image.lock().unwrap();
        let asked = offset..offset + buf.len() as u64;
        for (name, bad) in &image.bad {
            if *name == self.name && bad.start < asked.end && asked.start < bad.end {
                return Err(io::Error::other("injected: the sector cannot be read"));
            }
        }
        let bytes = &image.files[&self.name];
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let count = buf.len().min(bytes.len() - from);
        buf[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn cut(&self, _: u64) -> io::Result<()> {
        refuse()
    }

    fn sync(&self) -> io::Result<()> {
        refuse()
    }
}
