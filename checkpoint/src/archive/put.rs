//! A segment or an extent file is read, verified and put, its index behind it.

use super::index::{Compression, Joint, SegmentIndex};
use super::names::{extent_name, segment_stem};
use super::pack::Packing;
use super::scan::Indexer;
use crate::sink::{Sink, put_whole};
use siding_wal::disk::{AlignedBuf, LogFile};
use siding_wal::format::{EXTENT_FILE_HEADER_LEN, ExtentFileHeader, LogId, wide};
use siding_wal::{Error, ErrorKind, Lsn, seeded};
use std::io;

/// Bytes of a read.
const BLOCK: usize = 1 << 20;

/// Whose fault it was.
#[derive(Debug)]
pub enum Fault {
    /// What was to be put cannot be read, or is damaged.
    Source(Error),
    /// The sink did not take it.
    Sink(Error),
}

/// What came of a try.
pub type Tried<T> = std::result::Result<T, Fault>;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Source(error) | Fault::Sink(error) => error,
        }
    }
}

/// A segment that is to be put.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Its file.
    pub file: &'a dyn LogFile,
    /// The file's name.
    pub name: &'a str,
    /// Which log it is of.
    pub log_id: LogId,
    /// Its first LSN.
    pub first: Lsn,
    /// Up to where, the end of a batch.
    pub upto: Lsn,
    /// Whether nothing can follow in it.
    pub sealed: bool,
    /// Its number, the open that wrote its header, and the digest of its last batch, if that is
    /// known; else it is read twice.
    pub known: Option<(u64, u32, u32)>,
    /// Ends of batches that the index shall tell of.
    pub tell: &'a [Lsn],
}

fn unread(name: &str, cause: io::Error) -> Fault {
    Fault::Source(Error::io("the file cannot be read for the archive", cause).file(name))
}

fn refused(sink: &dyn Sink, name: &str, cause: io::Error) -> Fault {
    let what = format!("the archive at {} does not take a file", sink.place());
    Fault::Sink(Error::io(&what, cause).file(name))
}

/// The first `len` bytes of a file, in blocks.
fn each_block(
    file: &dyn LogFile,
    name: &str,
    len: u64,
    each: &mut dyn FnMut(&[u8]) -> Tried<()>,
) -> Tried<()> {
    let (mut buf, mut at) = (AlignedBuf::zeroed(BLOCK), 0_u64);
    while at < len {
        let want = usize::try_from(len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
        let mut filled = 0;
        while filled < want {
            let upto = want.next_multiple_of(siding_wal::disk::ALIGNMENT);
            let rest = buf.as_mut_slice().get_mut(filled..upto).unwrap_or_default();
            let read = file.read_at(at.saturating_add(wide(filled)), rest);
            let read = read.map_err(|cause| unread(name, cause))?;
            if read == 0 {
                return Err(unread(name, io::ErrorKind::UnexpectedEof.into()));
            }
            filled = filled.saturating_add(read);
        }
        each(buf.as_slice().get(..want).unwrap_or_default())?;
        at = at.saturating_add(wide(want));
    }
    Ok(())
}

impl Outgoing<'_> {
    fn len(&self) -> u64 {
        self.upto.since(self.first)
    }

    fn indexer(&self) -> Indexer {
        Indexer::new(Some(self.log_id), self.tell.to_vec())
    }

    fn told(&self, error: Error) -> Fault {
        Fault::Source(error.file(self.name))
    }

    /// Its stem in the sink.
    fn stem(&self) -> Tried<String> {
        if let Some((number, incarnation, digest)) = self.known {
            return Ok(segment_stem(number, incarnation, digest));
        }
        let mut indexer = self.indexer();
        each_block(self.file, self.name, self.len(), &mut |block| {
            indexer.feed(block).map_err(|error| self.told(error))
        })?;
        Ok(indexer.finish(self.sealed).map_err(|error| self.told(error))?.stem())
    }

    /// Puts it, and its index.
    ///
    /// 1. The segment is put under its name. Crash: it does not count. 2. Its index is. Crash
    ///    behind it: both are there.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn put(&self, sink: &dyn Sink, how: Compression) -> Tried<SegmentIndex> {
        super::pack::can(how).map_err(Fault::Sink)?;
        let name = format!("{}.seg{}", self.stem()?, how.suffix());
        let refuse = |cause| refused(sink, &name, cause);
        let mut put = Packing::begin(sink, &name, how).map_err(refuse)?;
        let mut indexer = self.indexer();
        each_block(self.file, self.name, self.len(), &mut |block| {
            indexer.feed(block).map_err(|error| self.told(error))?;
            put.write(block).map_err(|cause| refused(sink, &name, cause))
        })?;
        let mut index = indexer.finish(self.sealed).map_err(|error| self.told(error))?;
        let last = Joint { end: self.upto, digest: index.last.digest };
        index.compression = how;
        if index.last != last || index.segment_name() != name {
            let what = "the segment ends otherwise than the next one says";
            return Err(self.told(Error::new(ErrorKind::Corrupt, what).at(index.last.end)));
        }
        if seeded!(IndexBeforeSegment) {
            // As far as it is known before the segment is there.
            index.stored = index.plain.clone();
            put_index(sink, &index)?;
        }
        index.stored = put.finish().map_err(|cause| refused(sink, &name, cause))?;
        if !seeded!(IndexBeforeSegment) {
            put_index(sink, &index)?;
        }
        Ok(index)
    }
}

fn put_index(sink: &dyn Sink, index: &SegmentIndex) -> Tried<()> {
    let name = index.index_name();
    put_whole(sink, &name, &index.encode()).map_err(|cause| refused(sink, &name, cause))
}

/// Puts an extent file up to a length. Only its header is verified: each extent has checksums of
/// its own, which whoever reads it compares.
///
/// # Errors
///
/// [`Fault`].
pub fn put_extents(
    sink: &dyn Sink,
    file: &dyn LogFile,
    (number, len): (u64, u64),
    log_id: &LogId,
    how: Compression,
) -> Tried<()> {
    super::pack::can(how).map_err(Fault::Sink)?;
    let name = extent_name(log_id, number, len, how);
    let mut put = Packing::begin(sink, &name, how).map_err(|cause| refused(sink, &name, cause))?;
    let mut first = true;
    each_block(file, &name, len, &mut |block| {
        if std::mem::take(&mut first) {
            let head = block.get(..EXTENT_FILE_HEADER_LEN).unwrap_or_default();
            let header = ExtentFileHeader::decode(head)
                .ok()
                .filter(|it| it.log_id == *log_id && it.number == number);
            header.ok_or_else(|| {
                let what = "the header of an extent file is damaged, or of another log";
                Fault::Source(Error::new(ErrorKind::Corrupt, what).file(&name))
            })?;
        }
        put.write(block).map_err(|cause| refused(sink, &name, cause))
    })?;
    put.finish().map(drop).map_err(|cause| refused(sink, &name, cause))
}
