//! The reserve: what ordinary records leave free, so that everything that lives can be ended.
//!
//! A full log must still take, in the worst order there is:
//!
//! - PREPARE, a decision and END of every live unit, as far as they have not come yet, each
//!   forced alone, in a batch of its own that is padded to the write unit;
//! - the compensation of every record that may still be undone, taken to carry no more than the
//!   record itself does;
//! - a fork record of every live unit, so that moving can free what is full;
//! - a keypoint of all that: about 400 bytes a unit, 26 a segment, three padded batches.
//!
//! And half as much again, because records do not span segments: in the smallest segment the
//! header takes a sixteenth, and a record of the largest size may leave a quarter unused. At the
//! first crossing one such piece may be lost at once; eight write units are for CLOSE and for
//! keypoints that free nothing.

use crate::units::Owed;

/// What the reserve is computed from besides what is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) write_unit: u64,
    pub(super) segment_size: u64,
    /// How many segments a keypoint lists.
    pub(super) segments: u64,
}

/// Bytes of a unit and of a segment in a keypoint, with their share of the chunks' headers.
const KEYPOINT_UNIT: u64 = 400;
const KEYPOINT_SEGMENT: u64 = 26;

/// Bytes of a fork record.
const FORK: u64 = 104;

/// A chunk of a keypoint is no longer than this.
const CHUNK: u64 = 64 << 10;

/// Bytes to leave free.
pub(super) fn reserve(owed: &Owed, terms: &Terms) -> u64 {
    let table = owed.units.saturating_mul(KEYPOINT_UNIT + FORK);
    let table = table.saturating_add(terms.segments.saturating_mul(KEYPOINT_SEGMENT));
    let batches = owed.batches.saturating_add(3).saturating_mul(terms.write_unit);
    let need = batches.saturating_add(owed.undo).saturating_add(table);
    let quarter = terms.segment_size / 4;
    let piece = owed.undo.min(quarter).saturating_add(table.min(CHUNK).min(quarter));
    let spare = terms.write_unit.saturating_mul(8);
    need.saturating_add(need / 2).saturating_add(piece).saturating_add(spare)
}
