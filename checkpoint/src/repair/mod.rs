//! Repair of a closed log that an open refuses: what an archive has is put back; else the log is
//! cut where what is whole ends, if that is asked for.
//!
//! To look writes nothing. What is looked at is the whole history: each segment here as far as it
//! is whole, and, where that is not far enough, what the archive has of it with what stands here
//! behind. Which of them follow on each other their headers and digests say, as in the plan of a
//! restore; so what is put back is of this history, or it is not put back. To mend:
//!
//! 1. What will be replaced, removed or written over is copied aside, synced. 2. The control file
//!    gets a slot with the highest incarnation seen, so that it is not used again. 3. Each file
//!    that is put back is written under another name, synced, renamed, and the directory synced.
//!    4. Of a cut: later segments are removed, highest first, and the directory synced. 5. Behind
//!    the cut the segment is zeros, synced. 6. A control slot names the new end.
//!
//! Crash in 1 or 2: nothing has changed. In 3: each file is as it was, or whole. In 4 or 5: the log
//! is refused as before or as one that was cut short, and the next repair goes on; what was aside
//! before is aside still. Behind 6: it opens.

mod decide;
mod look;
mod mend;

pub use mend::mend;

use crate::archive::{Inventory, Joint, SegmentIndex, read_segment, unpack};
use crate::restore::{Gap, Piece};
use crate::sink::Sink;
use crate::verify::Finding;
use siding_wal::format::{ControlSlot, LogId, extent_file_name, segment_file_name, wide};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::fmt;

/// Takes bytes, piece by piece.
pub type Take<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// What an archive has, and how it is read.
pub struct Copies<'a> {
    /// Segments.
    pub segments: Vec<SegmentIndex>,
    /// Extent files: their log, number, and bytes.
    pub extents: Vec<(LogId, u64, u64)>,
    /// Reads a segment as it was, verified.
    pub segment: &'a dyn Fn(&SegmentIndex, &mut Take<'_>) -> Result<()>,
    /// Reads an extent file as it was, by its place in the list.
    pub extent: &'a dyn Fn(usize, &mut Take<'_>) -> Result<()>,
}

impl fmt::Debug for Copies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, extents) = (self.segments.len(), self.extents.len());
        f.debug_struct("Copies").field("segments", &segments).field("extents", &extents).finish()
    }
}

/// Runs something with what a sink has; with nothing if there is no sink.
///
/// # Errors
///
/// The sink cannot be listed.
pub fn with_copies<T>(sink: Option<&dyn Sink>, run: impl FnOnce(&Copies<'_>) -> T) -> Result<T> {
    let found = sink.map(Inventory::of).transpose()?.unwrap_or_default();
    let gone = || Error::new(ErrorKind::Missing, "there is no archive");
    let extents = found.extents;
    let segment = |index: &SegmentIndex, take: &mut Take<'_>| {
        read_segment(sink.ok_or_else(gone)?, index, take)
    };
    let extent = |at: usize, take: &mut Take<'_>| {
        let it = extents.get(at).ok_or_else(gone)?;
        // No longer than it was: a disk may keep whole blocks.
        let mut rest = it.len;
        unpack(sink.ok_or_else(gone)?, &it.name(), it.compression, &mut |block| {
            let some = usize::try_from(rest).unwrap_or(usize::MAX).min(block.len());
            rest = rest.saturating_sub(wide(some));
            take(block.get(..some).unwrap_or_default())
        })
    };
    Ok(run(&Copies {
        segments: found.segments,
        extents: extents.iter().map(|it| (it.log_id, it.number, it.len)).collect(),
        segment: &segment,
        extent: &extent,
    }))
}

/// Something that a repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// A segment is put back from the archive; what stands here behind the archive's part stays.
    Segment {
        /// Its number.
        number: u64,
        /// Its place among [`Copies::segments`].
        copy: usize,
        /// Whether what stands here behind the copy goes on from it.
        keeps_rest: bool,
    },
    /// An extent file is put back from the archive; what stands here behind the archive's part
    /// stays.
    Extents {
        /// Its number.
        number: u64,
        /// Its place among [`Copies::extents`].
        copy: usize,
    },
    /// The log is cut.
    Cut(Cut),
}

/// Where a log is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment that becomes the last.
    pub segment: u64,
    /// Where the log ends then, and the digest there.
    pub at: Joint,
    /// Later segments: they go.
    pub drops: Vec<u64>,
    /// Bytes of log that were known durable and are lost.
    pub loses: u64,
}

/// What a repair would do.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// What is wrong now.
    pub findings: Vec<Finding>,
    /// What would be done, in this order; a cut comes last, and only if it is asked for.
    pub steps: Vec<Mend>,
    /// Where the log would end.
    pub end: Lsn,
    /// Whether the log opens as it is: what is wrong lies below what an open reads.
    pub opens: bool,
    /// What is missing of the log above the end, if nothing has it.
    pub gap: Option<Gap>,
    /// The control slot that a mended log gets.
    pub(crate) slot: ControlSlot,
    /// Whether there is a control file.
    pub(crate) control: bool,
}

impl Diagnosis {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// The cut, if without one the log stays refused.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.steps.iter().find_map(|step| match step {
            Mend::Cut(cut) => Some(cut),
            _ => None,
        })
    }

    /// Names of files that a repair changes, each with whether it is of the secondary log.
    #[must_use]
    pub fn changes(&self) -> Vec<(String, bool)> {
        let of = |step: &Mend| match step {
            Mend::Segment { number, .. } => vec![(segment_file_name(*number), false)],
            Mend::Extents { number, .. } => vec![(extent_file_name(*number), true)],
            Mend::Cut(cut) => {
                let all = std::iter::once(&cut.segment).chain(&cut.drops);
                all.map(|number| (segment_file_name(*number), false)).collect()
            }
        };
        let mut all: Vec<(String, bool)> = self.steps.iter().flat_map(of).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What stands in the directory, read from end to end.
struct Found {
    log_id: LogId,
    /// The lowest segment that an open needs.
    lowest: u64,
    /// All below was durable once.
    known_durable: Lsn,
    /// Segments here as far as they are whole, then what the archive has of those that are not.
    pieces: Vec<Piece>,
    /// For each piece of the archive its place among [`Copies::segments`], and whether what stands
    /// here goes on from it.
    copies: Vec<Option<(usize, bool)>>,
    slot: ControlSlot,
    control: bool,
}

pub use look::diagnose;
