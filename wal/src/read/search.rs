//! The search behind a hole: does anything prove that the hole was durable?

use super::batch::Running;
use super::segments::Segment;
use super::verdict::After;
use super::window::Window;
use crate::Lsn;
use crate::format::{BATCH_HEADER_LEN, BatchHeader, LogId, size};
use std::io;

/// Where the log stopped, and where to begin to search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where no batch goes on.
    pub(super) hole: Lsn,
    /// The first position to look at.
    pub(super) from: Lsn,
    /// What the batches before the hole say.
    pub(super) running: Running,
}

/// What stands behind a hole.
#[derive(Debug)]
pub(super) struct Found {
    /// The strongest of it.
    pub(super) after: After,
    /// Where that stands.
    pub(super) evidence: Option<Lsn>,
    /// The largest incarnation among all headers, old ones too.
    pub(super) incarnation: u32,
    /// What the operating system said, if a read failed.
    pub(super) cause: Option<io::Error>,
}

/// Looks for headers of batches from `place.from` to the end of the segment, at every multiple of
/// the write unit. A header alone is enough: its checksum covers what it claims. Ends early with
/// what refuses the log.
pub(super) fn search(window: &mut Window, segment: &Segment, id: &LogId, place: &Place) -> Found {
    let mut found = Found { after: After::Nothing, evidence: None, incarnation: 0, cause: None };
    let unit = segment.header.write_unit;
    let mut position = place.from;
    while position < segment.end() {
        let bytes = match window.read(
            segment.source(),
            segment.offset_of(position),
            size(unit),
            u64::MAX,
        ) {
            Ok(bytes) => bytes,
            Err(cause) => {
                if found.after < After::Unreadable {
                    found.after = After::Unreadable;
                    found.evidence = Some(position);
                    found.cause = Some(cause);
                }
                return found;
            }
        };
        if bytes.len() < BATCH_HEADER_LEN {
            break;
        }
        if let Ok(header) = BatchHeader::decode(bytes, id) {
            found.incarnation = found.incarnation.max(header.incarnation);
            let after = weigh(&header, position, place);
            if after > found.after {
                found.after = after;
                found.evidence = Some(position);
            }
            if after == After::Proof {
                return found;
            }
        }
        position = position.plus(u64::from(unit));
    }
    found
}

/// What a header at `position` says about the hole.
fn weigh(header: &BatchHeader, position: Lsn, place: &Place) -> After {
    let running = &place.running;
    let old = header.incarnation < running.incarnation || header.epoch < running.epoch;
    match header.lsn == position {
        _ if old => After::Leftover,
        true if header.durable_before > place.hole => After::Proof,
        true => After::Later,
        // A copy of what was read in its own place tells nothing.
        false if header.lsn < place.hole => After::Leftover,
        false => After::Elsewhere,
    }
}
