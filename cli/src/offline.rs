//! Opening a log that nobody has open, to do one thing to it.

use crate::place::Place;
use siding::disk::SystemClock;
use siding::{ErrorKind, Log, Options, ReadOnly, Recovery, Result};
use std::sync::Arc;

/// Memory for what one verb writes.
const RING: usize = 4 << 20;

/// Opens the log, without background work: no segments are prepared for an hour of use.
pub(crate) fn open(place: &Place, seen: &ReadOnly) -> Result<Recovery> {
    let (dir, options) = (&place.dir, || options(place));
    // With its own write unit the log goes on in the segment it was closed in.
    match options().write_unit(seen.write_unit()).open(dir) {
        Err(error) if error.kind() == ErrorKind::Invalid => options().open(dir),
        other => other,
    }
}

fn options(place: &Place) -> Options {
    // Only the program knows where its secondary log lies: nothing is moved by itself.
    let options = Options::new().create(false).forks(false).ring_size(RING);
    let options = options.without_threads(Arc::new(SystemClock::new()));
    match &place.secondary {
        Some(secondary) => options.secondary(secondary),
        None => options,
    }
}

/// Closes the log again. Returns how many units were backed out because they were in flight, as
/// every open does; none if there are some that only their program can undo: then the log stays
/// as a crash would leave it.
pub(crate) fn close(recovery: Recovery) -> Result<Option<usize>> {
    let flying = recovery.in_flight().len();
    match recovery.finish() {
        Ok(log) => Log::close(&log).map(|()| Some(flying)),
        Err(error) if error.kind() == ErrorKind::InUse => Ok(None),
        Err(error) => Err(error),
    }
}
