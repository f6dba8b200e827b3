//! A sliding window over a segment's file, filled by large aligned reads ahead of the scan.

use super::ahead::{Ahead, Route};
use super::segments::{Segment, Segments};
use crate::disk::{AlignedBuf, LogFile};
use crate::format::wide;
use std::io;
use std::sync::Arc;

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
    /// What reads ahead, if the scan wants it.
    ahead: Option<Ahead>,
}

impl Window {
    /// An empty window; it takes its memory with the first read.
    pub(super) fn new() -> Self {
        let (segment, ahead) = (None, None);
        Self { buf: AlignedBuf::default(), segment, start: 0, len: 0, bytes: 0, ahead }
    }

    /// From now on `depth` reads are under way ahead of the scan.
    pub(super) fn read_ahead(&mut self, depth: usize) {
        self.ahead = (depth > 0).then(|| Ahead::new(depth, READ_AHEAD));
    }

    /// Says where the scan is, so that who reads ahead goes on in the next segment, from its first
    /// batch on.
    pub(super) fn set_route(&mut self, segments: &Segments, now: &Segment) {
        let Some(ahead) = &mut self.ahead else { return };
        let next = segments.get(now.number.saturating_add(1)).map(|next| {
            let first = next.offset_of(next.first_batch());
            (next.number, Arc::clone(&next.file), first - first % wide(BLOCK))
        });
        ahead.set_route(Route { number: now.number, end: now.header.segment_size, next });
    }

    /// Bytes read from files so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The `want` bytes from `offset` on in the file of segment `number`, fewer only if it ends.
    /// Reads ahead, though nothing at or above the offset `cap`: others may be writing there.
    /// The largest number means that nobody is.
    ///
    /// An error concerns the bytes asked for, never those further ahead.
    pub(super) fn read(
        &mut self,
        (number, file): (u64, &Arc<dyn LogFile>),
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
        file: &Arc<dyn LogFile>,
        offset: u64,
        want: usize,
        cap: u64,
        ahead: bool,
    ) -> io::Result<()> {
        let from = offset - offset % wide(BLOCK);
        let lead = usize::try_from(offset - from).unwrap_or_default();
        let needed = lead.saturating_add(want).next_multiple_of(BLOCK);
        let capacity = self.capacity(file)?;
        self.shift(from, needed, capacity);
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
        let count = match (&mut self.ahead, self.segment) {
            // What others may be writing now is not read before its time.
            (Some(pipe), Some(number)) if ahead && cap == u64::MAX => {
                pipe.fill(number, file, at, room)?
            }
            _ => file.read_at(at, room)?,
        };
        self.bytes = self.bytes.saturating_add(wide(count));
        self.len = go_on.saturating_add(count);
        // What lies above the cap came along with its block, and may be half written.
        let below = usize::try_from(cap.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.len = self.len.min(below);
        Ok(())
    }

    /// Room worth having: no more than the file fills, for logs that are small.
    fn capacity(&self, file: &Arc<dyn LogFile>) -> io::Result<usize> {
        if self.buf.len() >= CAPACITY {
            return Ok(CAPACITY);
        }
        let len = usize::try_from(file.len()?).unwrap_or(CAPACITY);
        Ok(len.saturating_add(BLOCK).next_multiple_of(BLOCK).min(CAPACITY))
    }

    /// Makes the window start at or below `from`, with room for `needed` bytes from there on,
    /// keeping what it holds from there on.
    fn shift(&mut self, from: u64, needed: usize, capacity: usize) {
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
        if self.buf.len() < needed.max(capacity) {
            let more = if needed > capacity { READ_AHEAD } else { 0 };
            let wanted = needed.saturating_add(more).max(capacity);
            let old = std::mem::replace(&mut self.buf, AlignedBuf::zeroed(wanted));
            let kept = old.get(..self.len).unwrap_or_default();
            if let Some(room) = self.buf.get_mut(..kept.len()) {
                room.copy_from_slice(kept);
            }
        }
    }
}

/// `want`, but when it asks for more memory than usual, no more than the file has.
fn bounded(file: &Arc<dyn LogFile>, offset: u64, want: usize) -> io::Result<usize> {
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

#[cfg(test)]
mod tests {
    use super::{READ_AHEAD, Window};
    use crate::disk::{AlignedBuf, Disk, LogFile, MemoryDisk};
    use proptest::prelude::*;
    use std::sync::Arc;

    const LEN: usize = 7 * READ_AHEAD + 512;

    fn contents() -> AlignedBuf {
        let mut bytes = AlignedBuf::zeroed(LEN);
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from((index ^ (index >> 9)) & 255).unwrap();
        }
        bytes
    }

    fn file(bytes: &AlignedBuf) -> Arc<dyn LogFile> {
        let file = MemoryDisk::new().create("0").unwrap();
        file.write_at(0, &[bytes], false).unwrap();
        file
    }

    /// A step of a scan: forward by so many bytes, or to a place; and how much is wanted there.
    fn steps() -> impl Strategy<Value = Vec<(bool, usize, usize)>> {
        let want = prop_oneof![1..600_usize, 1..300_000_usize, 1..2 * LEN];
        let far = prop_oneof![0..5000_usize, 0..LEN + 9000];
        prop::collection::vec((prop::bool::weighted(0.1), far, want), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn the_window_shows_the_file(steps in steps(), depth in 0..4_usize, limited: bool) {
            let bytes = contents();
            let file = file(&bytes);
            let mut window = Window::new();
            if depth > 0 {
                window.read_ahead(depth);
            }
            let mut at = 0;
            for (jump, far, want) in steps {
                at = if jump { far } else { at + far };
                let end = bytes.len().min(at + want);
                let cap = if limited { u64::try_from(end).unwrap() } else { u64::MAX };
                let offset = u64::try_from(at).unwrap();
                let shown = window.read((0, &file), offset, want, cap).unwrap();
                prop_assert!(shown == bytes.get(at..end).unwrap_or_default(), "{want} at {at}");
            }
        }
    }

    #[test]
    fn bytes_above_the_cap_are_read_when_it_rises() {
        let file = file(&AlignedBuf::zeroed(64 * 1024));
        let mut window = Window::new();
        let below = window.read((0, &file), 512, 4096, 1024).unwrap();
        assert_eq!(below, [0; 512]);
        let fresh = AlignedBuf::from([7; 512].as_slice());
        file.write_at(1024, &[&fresh], false).unwrap();
        let now = window.read((0, &file), 512, 4096, 2048).unwrap();
        assert_eq!((now.len(), now[511], now[512]), (1536, 0, 7));
    }

    #[test]
    fn a_scan_in_order_reads_nothing_twice() {
        let bytes = contents();
        for depth in [0, 3] {
            let file = file(&bytes);
            let mut window = Window::new();
            window.read_ahead(depth);
            for offset in (0..LEN).step_by(4096) {
                window.read((0, &file), u64::try_from(offset).unwrap(), 4096, u64::MAX).unwrap();
            }
            let read = usize::try_from(window.bytes_read()).unwrap();
            assert!((LEN..LEN + 4096).contains(&read), "{read}");
        }
    }
}
