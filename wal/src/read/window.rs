//! A sliding window over a segment's file, filled by large aligned reads ahead of the scan.

use crate::disk::{AlignedBuf, LogFile};
use crate::format::wide;
use std::io;

/// How much is read at once: enough that a device streams.
const READ_AHEAD: usize = 1024 * 1024;

/// Room for several reads, so that what is not yet consumed is seldom moved to the front.
const CAPACITY: usize = 4 * READ_AHEAD;

/// Reads start and end at multiples of this, whatever write unit the log was written with: the
/// directory may have been copied to a device with larger blocks.
const BLOCK: usize = 4096;

/// What was read last, and where.
#[derive(Debug)]
pub(super) struct Window {
    buf: AlignedBuf,
    segment: Option<u64>,
    /// Offset in the file of the first byte in the window.
    start: u64,
    /// Bytes that hold file contents.
    len: usize,
    /// Bytes read from files so far.
    bytes: u64,
}

impl Window {
    /// An empty window; it takes its memory with the first read.
    pub(super) fn new() -> Self {
        Self { buf: AlignedBuf::default(), segment: None, start: 0, len: 0, bytes: 0 }
    }

    /// Bytes read from files so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The `want` bytes from `offset` on in the file of segment `number`, fewer only if the file ends.
    /// Reads ahead, though nothing at or above the offset `cap`: others may be writing there.
    ///
    /// An error concerns the bytes asked for, never those further ahead.
    pub(super) fn read(
        &mut self,
        (number, file): (u64, &dyn LogFile),
        offset: u64,
        want: usize,
        cap: u64,
    ) -> io::Result<&[u8]> {
        if self.segment != Some(number) {
            self.segment = Some(number);
            self.len = 0;
        }
        if !self.holds(offset, want) {
            let want = bounded(file, offset, want)?;
            if !self.holds(offset, want) && self.fill(file, offset, want, cap, true).is_err() {
                // Perhaps only bytes further ahead are unreadable.
                self.fill(file, offset, want, cap, false)?;
            }
        }
        Ok(self.held(offset, want))
    }

    /// What the window holds from `offset` on, at most `want` bytes.
    pub(super) fn held(&self, offset: u64, want: usize) -> &[u8] {
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let bytes = self.buf.get(..self.len).unwrap_or_default();
        let bytes = skip.and_then(|skip| bytes.get(skip..)).unwrap_or_default();
        bytes.get(..want).unwrap_or(bytes)
    }

    fn holds(&self, offset: u64, want: usize) -> bool {
        self.len > 0 && self.held(offset, want).len() == want
    }

    /// Moves the window to `offset` and reads until it holds `want` bytes from there.
    fn fill(
        &mut self,
        file: &dyn LogFile,
        offset: u64,
        want: usize,
        cap: u64,
        ahead: bool,
    ) -> io::Result<()> {
        let from = offset - offset % wide(BLOCK);
        let lead = usize::try_from(offset - from).unwrap_or_default();
        let needed = lead.saturating_add(want).next_multiple_of(BLOCK);
        self.shift(from, needed);
        // Offset in the buffer of `from`, and where to go on reading, at a multiple of the unit.
        let base = usize::try_from(from.saturating_sub(self.start)).unwrap_or_default();
        let go_on = self.len - self.len % BLOCK;
        let enough = base.saturating_add(needed);
        let target = if ahead { enough.max(go_on.saturating_add(READ_AHEAD)) } else { enough };
        let target = target.min(self.buf.len());
        let at = self.start.saturating_add(wide(go_on));
        let Some(room) = self.buf.as_mut_slice().get_mut(go_on..target) else { return Ok(()) };
        // Bytes from here on are being replaced; if the read fails they are unknown.
        self.len = go_on;
        let room = clip(room, at, cap);
        let count = file.read_at(at, room)?;
        self.bytes = self.bytes.saturating_add(wide(count));
        self.len = go_on.saturating_add(count);
        // What lies above the cap came along with its block, and may be half written.
        let below = usize::try_from(cap.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.len = self.len.min(below);
        Ok(())
    }

    /// Makes the window start at or below `from`, with room for `needed` bytes from there on,
    /// keeping what it holds from there on.
    fn shift(&mut self, from: u64, needed: usize) {
        let end = self.start.saturating_add(wide(self.len));
        if self.len == 0 || from < self.start || from > end {
            self.start = from;
            self.len = 0;
        }
        let skip = usize::try_from(from.saturating_sub(self.start)).unwrap_or_default();
        let after = skip.saturating_add(needed).max(self.len.saturating_add(READ_AHEAD));
        if after > self.buf.len() && skip > 0 {
            self.buf.as_mut_slice().copy_within(skip..self.len, 0);
            self.start = from;
            self.len -= skip;
        }
        if self.buf.len() < needed.max(CAPACITY) {
            // A fresh store costs nothing until it is read into; growing one would fill it.
            let wanted = needed.saturating_add(READ_AHEAD).max(CAPACITY);
            let old = std::mem::replace(&mut self.buf, AlignedBuf::zeroed(wanted));
            let kept = old.get(..self.len).unwrap_or_default();
            if let Some(room) = self.buf.get_mut(..kept.len()) {
                room.copy_from_slice(kept);
            }
        }
    }
}

/// `want`, but when it asks for more memory than usual, no more than the file has.
fn bounded(file: &dyn LogFile, offset: u64, want: usize) -> io::Result<usize> {
    if want <= READ_AHEAD {
        return Ok(want);
    }
    let there = file.len()?.saturating_sub(offset);
    Ok(usize::try_from(there).map_or(want, |there| want.min(there)))
}

/// `room` without what lies above the block that holds `cap`.
fn clip(room: &mut [u8], at: u64, cap: u64) -> &mut [u8] {
    let most = cap.checked_next_multiple_of(wide(BLOCK)).unwrap_or(cap).saturating_sub(at);
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(room.len());
    room.get_mut(..most).unwrap_or_default()
}
