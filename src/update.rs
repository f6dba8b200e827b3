//! Updates that are in the log, and perhaps not yet in the embedder's files.

use crate::inner::Inner;
use siding_wal::Lsn;
use std::sync::Arc;

/// An update in progress: its record is in the log, the embedder's files may not hold it yet.
///
/// While it is, the redo position stays at or below it, and so does the point from which a copy of
/// the files is rolled forward. Call [`Update::done`] once whatever would copy the files can see
/// the update there. Dropping it without that says nothing: the update holds the log until the
/// next open, and [`Log::why_retained`](crate::Log::why_retained) names it.
///
/// Costs an entry of about 100 bytes while it is in progress.
#[derive(Debug)]
#[must_use = "an update that is never done holds the log"]
pub struct Update {
    log: Arc<Inner>,
    lsn: Lsn,
    object: u16,
    open: bool,
}

impl Update {
    pub(crate) fn new(log: &Arc<Inner>, lsn: Lsn, object: u16) -> Self {
        Self { log: Arc::clone(log), lsn, object, open: true }
    }

    /// Where its record stands.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// What is updated.
    #[must_use]
    pub fn object(&self) -> u16 {
        self.object
    }

    /// The files hold the update, or its unit was backed out and they never will.
    ///
    /// # Crash
    ///
    /// Nothing was written: restart goes by the redo position of the last keypoint.
    pub fn done(mut self) {
        self.open = false;
        self.log.engine().stream().core().redo.done(self.lsn);
    }
}

impl Drop for Update {
    fn drop(&mut self) {
        if self.open {
            self.log.engine().stream().core().redo.lose(self.lsn);
        }
    }
}
