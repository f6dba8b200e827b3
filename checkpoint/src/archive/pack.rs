//! Files on their way into a sink and out of it: as they are, or compressed; summed up on the way.

use super::index::{Compression, SUM_BLOCK, SegmentIndex, Sums};
use super::scan::Summing;
use crate::sink::{Put, Sink, Stored};
use siding_wal::format::wide;
use siding_wal::{Error, ErrorKind, Result};
use std::io::{self, Read, Write};

/// Whether this build can store files so.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if it cannot.
pub(crate) fn can(compression: Compression) -> Result<()> {
    if compression == Compression::None || cfg!(feature = "zstd") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "zstd is not built in")
        .advise("build with the feature `zstd`, or archive without compression"))
}

/// A file that is being put. Dropped before it is finished, it was never there.
pub(crate) enum Packing {
    /// As it is.
    Plain(Packed),
    /// As one frame.
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, Packed>>),
}

/// Bytes as they are stored.
pub(crate) struct Packed {
    put: Box<dyn Put>,
    sums: Summing,
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put.write(bytes)?;
        self.sums.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Packing {
    /// Begins to put a file.
    pub(crate) fn begin(sink: &dyn Sink, name: &str, how: Compression) -> io::Result<Self> {
        let packed = || -> io::Result<Packed> {
            Ok(Packed { put: sink.put(name)?, sums: Summing::default() })
        };
        match how {
            Compression::None => Ok(Self::Plain(packed()?)),
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                Ok(Self::Zstd(Box::new(zstd::stream::write::Encoder::new(packed()?, 3)?)))
            }
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Adds bytes of the file as it was.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(packed) => packed.write_all(bytes),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// It is there, durably; returns what it comes to as it is stored.
    pub(crate) fn finish(self) -> io::Result<Sums> {
        let packed = match self {
            Self::Plain(packed) => packed,
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.finish()?,
        };
        packed.put.finish()?;
        Ok(packed.sums.finish())
    }
}

/// What a sink holds, from its first byte to its last.
struct Reading<'a> {
    stored: &'a dyn Stored,
    at: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.stored.read_at(self.at, buf)?;
        self.at = self.at.saturating_add(wide(read));
        Ok(read)
    }
}

/// Reads as much as there is, up to a whole block.
fn fill(from: &mut dyn Read, block: &mut Vec<u8>) -> io::Result<()> {
    block.clear();
    from.take(wide(SUM_BLOCK)).read_to_end(block).map(drop)
}

/// Reads an archived file as it was, in blocks of a MiB, and hands each on. Nothing is verified.
pub(crate) fn unpack(
    sink: &dyn Sink,
    name: &str,
    how: Compression,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    can(how)?;
    let unread = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::Missing, "a file of the archive is gone").file(name)
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other
            if how != Compression::None =>
        {
            damaged(name)
        }
        _ => Error::io("a file of the archive cannot be read", cause).file(name),
    };
    let stored = sink.open(name).map_err(unread)?;
    let plain = Reading { stored: &*stored, at: 0 };
    let mut from: Box<dyn Read + '_> = match how {
        Compression::None => Box::new(plain),
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(plain).map_err(unread)?.single_frame())
        }
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => return Ok(()),
    };
    let mut block = Vec::with_capacity(SUM_BLOCK);
    loop {
        fill(&mut *from, &mut block).map_err(unread)?;
        if block.is_empty() {
            return Ok(());
        }
        each(&block)?;
        if block.len() < SUM_BLOCK {
            return Ok(());
        }
    }
}

fn damaged(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "a file of the archive is damaged")
        .file(name)
        .advise("use another copy of the archive, or ship the segment again if the log has it")
}

/// Reads an archived segment as it was, up to its end, in blocks of a MiB; each is handed on once
/// its checksum was compared with the index's.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if it is gone, [`ErrorKind::Corrupt`] if it is damaged or of another
/// length; [`ErrorKind::Invalid`] if it is compressed and this build cannot read that; what the
/// sink says; what `each` returns.
pub fn read_segment(
    sink: &dyn Sink,
    index: &SegmentIndex,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let name = index.segment_name();
    let (mut sums, mut len) = (index.plain.blocks.iter(), 0_u64);
    unpack(sink, &name, index.compression, &mut |block| {
        // A disk that keeps whole blocks may give more than there is.
        let rest = usize::try_from(index.plain.len.saturating_sub(len)).unwrap_or(usize::MAX);
        let block = block.get(..rest.min(block.len())).unwrap_or_default();
        if block.is_empty() {
            return Ok(());
        }
        len = len.saturating_add(wide(block.len()));
        match sums.next() {
            Some(crc) if *crc == crc32c::crc32c(block) => each(block),
            _ => Err(damaged(&name)),
        }
    })?;
    if len == index.plain.len { Ok(()) } else { Err(damaged(&name)) }
}
