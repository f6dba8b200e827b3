//! A chain of moved records of which extents are lost, read as if it were whole: the originals that
//! are still on the main log stand in for the lost extents.
//!
//! For a unit that has ended there is no rebuilding: nothing of it is moved any more. Who has to
//! read it for redo reads it through this. What comes out is held against the number of records
//! and the hash that the last fork record says, before the first one is given.

use crate::mover::EXTENT_BYTES;
use crate::pool::Pool;
use crate::rebuild::{Next, Piece, Rebuild};
use siding_wal::chain::{Copies, Fetch};
use siding_wal::format::{Extent, ExtentPlace, Packer, SPtr, chain_hash};
use siding_wal::stream::RecordBuf;
use siding_wal::units::Moving;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::fmt;
use std::sync::Arc;

/// A main log, where originals are read.
pub type Originals = Arc<dyn Fetch + Send + Sync>;

/// What stands at one place of the chain.
#[derive(Debug)]
enum Part {
    /// An extent that can be read.
    Extent(SPtr),
    /// Originals, oldest first: the bytes of an extent, or one more record.
    Originals(Vec<Lsn>),
}

/// The moved records of one unit, of which some are read from their originals.
///
/// Memory: eight bytes for each original, and one extent for who reads it.
pub struct StandIn {
    log: Originals,
    pool: Arc<Pool>,
    moving: Moving,
    /// Oldest first; what stands at one, the places number from one.
    parts: Vec<Part>,
    total: (u64, u64),
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").field("moving", &self.moving).finish_non_exhaustive()
    }
}

impl StandIn {
    /// What takes the place of the unit's lost extents; none if none is lost.
    ///
    /// Costs a read of each moved record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Trimmed`] if an original is gone; what is wrong with one, or with an extent.
    pub fn new(moving: Moving, log: Originals, pool: &Arc<Pool>) -> Result<Option<Self>> {
        let mut buf = RecordBuf::new();
        let mut search = Rebuild::new(moving);
        loop {
            match search.next() {
                Next::Extent(at) => match pool.extent(moving.start.unit, at) {
                    Ok(extent) => search.extent(Some(&extent.head), true)?,
                    Err(_) => {
                        let head = pool.head_of(moving.start.unit, at);
                        search.extent(head.as_ref(), false)?;
                    }
                },
                Next::Record(lsn) => {
                    let header = log.fetch(lsn, &mut buf)?;
                    search.record(lsn, &header, buf.payload())?;
                }
                Next::Done => break,
            }
        }
        if !search.is_needed() {
            return Ok(None);
        }
        let Some((pieces, total)) = search.pieces() else { return Ok(None) };
        let pool = Arc::clone(pool);
        let mut one = Self { log, pool, moving, parts: Vec::new(), total };
        let found = one.collect(pieces.into(), &mut buf)?;
        if found == total {
            return Ok(Some(one));
        }
        let what = format!("{} of {} moved records were found again", found.0, total.0);
        Err(Error::new(ErrorKind::Missing, what))
    }

    /// Reads every piece once; returns how many records they have, and their hash.
    fn collect(&mut self, pieces: Vec<Piece>, buf: &mut RecordBuf) -> Result<(u64, u64)> {
        let (mut count, mut hash) = (0_u64, 0);
        let mut met = |lsn, record: &[u8]| {
            count = count.saturating_add(1);
            hash = chain_hash(hash, lsn, record);
        };
        for piece in pieces {
            match piece {
                Piece::Extent(at) => {
                    let extent = self.pool.extent(self.moving.start.unit, at)?;
                    for index in 0..extent.len() {
                        let Some(copied) = extent.get(index) else { break };
                        met(copied.lsn, extent.record(copied));
                    }
                    self.parts.push(Part::Extent(at));
                }
                Piece::Originals(lsns) => {
                    let (mut some, mut bytes) = (Vec::new(), 0);
                    for lsn in lsns {
                        self.log.fetch(lsn, buf)?;
                        met(lsn, buf.record());
                        some.push(lsn);
                        bytes += buf.record().len();
                        if bytes >= EXTENT_BYTES {
                            self.parts.push(Part::Originals(std::mem::take(&mut some)));
                            bytes = 0;
                        }
                    }
                    if !some.is_empty() {
                        self.parts.push(Part::Originals(some));
                    }
                }
            }
        }
        Ok((count, hash))
    }

    /// Where the chain of moved records begins.
    #[must_use]
    pub fn newest(&self) -> SPtr {
        place(self.parts.len())
    }

    /// The oldest original that is needed.
    #[must_use]
    pub fn oldest_original(&self) -> Option<Lsn> {
        let originals = self.parts.iter().filter_map(|part| match part {
            Part::Originals(lsns) => lsns.first().copied(),
            Part::Extent(_) => None,
        });
        originals.min()
    }

    fn made(&self, lsns: &[Lsn], at: SPtr, parent: SPtr) -> Result<Extent> {
        let unit = self.moving.start.unit;
        // How many stand behind it nobody asks of a made one: one at least, if any.
        let behind = (parent != SPtr::NONE).then_some((parent, self.total.0, self.total.1));
        let mut packer = Packer::new(unit, self.moving.moves, behind);
        let mut buf = RecordBuf::new();
        for lsn in lsns {
            self.log.fetch(*lsn, &mut buf)?;
            packer.push(*lsn, buf.record());
        }
        let place = ExtentPlace { log_id: self.pool.log_id(), at };
        let (_, bytes) = packer.seal(&place);
        Extent::decode(bytes, &place).map_err(|malformed| {
            let what = format!("the originals of unit {unit:#x} are damaged");
            Error::new(ErrorKind::Corrupt, what).caused_by(malformed)
        })
    }
}

/// Where the part of this number stands: in no file.
fn place(number: usize) -> SPtr {
    match u32::try_from(number) {
        Ok(0) | Err(_) => SPtr::NONE,
        Ok(offset) => SPtr { extent: u64::MAX, offset },
    }
}

impl Copies for StandIn {
    fn extent(&self, unit: u64, at: SPtr) -> Result<Arc<Extent>> {
        let before = usize::try_from(at.offset).ok().and_then(|number| number.checked_sub(1));
        let part = before.and_then(|index| self.parts.get(index));
        let (Some(before), Some(part)) = (before, part) else {
            let what = format!("no moved records of unit {unit:#x} stand at this place");
            return Err(Error::new(ErrorKind::Missing, what));
        };
        let parent = place(before);
        match part {
            Part::Extent(stands) => {
                let mut extent = Extent::clone(&*self.pool.extent(unit, *stands)?);
                extent.head.parent = parent;
                Ok(Arc::new(extent))
            }
            Part::Originals(lsns) => self.made(lsns, at, parent).map(Arc::new),
        }
    }
}
