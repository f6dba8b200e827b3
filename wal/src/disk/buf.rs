//! A byte buffer that direct I/O accepts: its first byte lies on a page boundary.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// What [`AlignedBuf`] starts on, in bytes: no known device asks for more.
pub const ALIGNMENT: usize = 4096;

/// A growable byte buffer whose start is aligned to 4096 bytes in memory.
///
/// The store is allocated once with a page to spare and never grown in place, so the place of
/// its first aligned byte, taken right after the allocation, stays true; growing means a new
/// store and a copy. Bytes added by [`AlignedBuf::resize`] are zeros, whatever stood there before.
pub struct AlignedBuf {
    /// `capacity` bytes from `start` on, and the slack before and after them.
    store: Box<[u8]>,
    start: usize,
    len: usize,
    capacity: usize,
}

impl AlignedBuf {
    /// An empty buffer that takes `bytes` bytes before it grows.
    pub fn with_capacity(bytes: usize) -> Self {
        let capacity = bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(bytes);
        // Zeros from the allocator are fresh pages: nothing is touched until it is written.
        let store = match capacity {
            0 => Vec::new(),
            _ => vec![0; capacity.saturating_add(ALIGNMENT)],
        }
        .into_boxed_slice();
        let start = match capacity {
            0 => 0,
            _ => store.as_ptr().addr().wrapping_neg() % ALIGNMENT,
        };
        Self { store, start, len: 0, capacity }
    }

    /// A buffer of `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let mut buf = Self::with_capacity(len);
        // The store is fresh, so it is zeros already.
        buf.len = len;
        buf
    }

    /// Bytes in the buffer.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes the buffer can hold before it grows.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes; the first of them is aligned.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.store.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// The bytes, to be changed; the first of them is aligned.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.store.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Adds `bytes` at the end.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > self.capacity - self.len {
            self.grow(bytes.len());
        }
        let from = self.start + self.len;
        // Always there: `grow` made the room.
        if let Some(room) = self.store.get_mut(from..from + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Makes the buffer `len` bytes long, adding zeros where it grows.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            if len > self.capacity {
                self.grow(len - self.len);
            }
            let (from, to) = (self.start + self.len, self.start + len);
            if let Some(room) = self.store.get_mut(from..to) {
                room.fill(0);
            }
        }
        self.len = len;
    }

    /// Cuts the buffer to `len` bytes; does nothing if it is no longer than that.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes all bytes out and keeps the room.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Moves to a store with room for `more` bytes, at least twice the present one.
    #[cold]
    fn grow(&mut self, more: usize) {
        let wanted = self.len.saturating_add(more).max(self.capacity.saturating_mul(2));
        let mut grown = Self::with_capacity(wanted);
        grown.extend_from_slice(self.as_slice());
        *self = grown;
    }
}

impl Default for AlignedBuf {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Clone for AlignedBuf {
    /// A copy with its own alignment: the store of a copy lies elsewhere.
    fn clone(&self) -> Self {
        let mut copy = Self::with_capacity(self.len);
        copy.extend_from_slice(self.as_slice());
        copy
    }
}

impl From<&[u8]> for AlignedBuf {
    fn from(bytes: &[u8]) -> Self {
        let mut buf = Self::with_capacity(bytes.len());
        buf.extend_from_slice(bytes);
        buf
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Extend(Vec<u8>),
        Resize(usize),
        Truncate(usize),
        Clear,
        Copy,
        Move,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => prop::collection::vec(any::<u8>(), 0..9000).prop_map(Step::Extend),
            2 => (0..30_000_usize).prop_map(Step::Resize),
            1 => (0..30_000_usize).prop_map(Step::Truncate),
            1 => Just(Step::Clear),
            1 => Just(Step::Copy),
            1 => Just(Step::Move),
        ]
    }

    fn aligned(buf: &AlignedBuf) -> bool {
        buf.capacity() == 0 || buf.as_slice().as_ptr().addr().is_multiple_of(ALIGNMENT)
    }

    proptest! {
        #[test]
        fn behaves_as_a_vec_and_stays_aligned(
            room in 0..20_000_usize,
            steps in prop::collection::vec(step(), 0..40),
        ) {
            let mut buf = AlignedBuf::with_capacity(room);
            let mut model: Vec<u8> = Vec::new();
            prop_assert!(buf.capacity() >= room);
            for step in steps {
                match step {
                    Step::Extend(bytes) => {
                        buf.extend_from_slice(&bytes);
                        model.extend_from_slice(&bytes);
                    }
                    Step::Resize(len) => {
                        buf.resize(len);
                        model.resize(len, 0);
                    }
                    Step::Truncate(len) => {
                        buf.truncate(len);
                        model.truncate(len);
                    }
                    Step::Clear => {
                        buf.clear();
                        model.clear();
                    }
                    Step::Copy => buf = buf.clone(),
                    Step::Move => buf = *Box::new(buf),
                }
                prop_assert_eq!(buf.as_slice(), model.as_slice());
                prop_assert!(aligned(&buf));
                prop_assert!(buf.capacity() >= buf.len());
            }
        }
    }

    #[test]
    fn zeroed_is_zeros_and_aligned() {
        for len in [0, 1, 511, 4096, 4097, 1 << 20] {
            let buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.len(), len);
            assert!(aligned(&buf) && buf.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn growth_doubles() {
        let mut buf = AlignedBuf::with_capacity(ALIGNMENT);
        let mut stores = 0;
        let mut seen = buf.capacity();
        for _ in 0..100_000 {
            buf.extend_from_slice(&[7; 64]);
            if buf.capacity() != seen {
                assert!(buf.capacity() >= 2 * seen);
                seen = buf.capacity();
                stores += 1;
            }
        }
        assert!(stores <= 11, "{stores} moves for 6.4 MB");
    }
}
