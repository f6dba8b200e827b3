//! A file that changes under the hands of who reads it.

use siding::Result;
use siding::disk::LogFile;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Bytes of a page: no more is read of it at a time.
const PAGE: usize = 4096;

/// The embedder's file, and what happens four times before each read of it.
#[derive(Clone)]
pub(crate) struct Busy {
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) step: Arc<dyn Fn() -> Result<()> + Send + Sync>,
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy")
    }
}

impl LogFile for Busy {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        self.file.write_at(offset, bufs, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..4 {
            (self.step)().map_err(|error| io::Error::other(error.to_string()))?;
        }
        let len = buf.len().min(PAGE);
        self.file.read_at(offset, &mut buf[..len])
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
