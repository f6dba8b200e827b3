//! Fields of small files, one behind the other. Pure.

use siding_wal::Lsn;
use siding_wal::format::wide;

/// Puts fields together.
#[derive(Debug, Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn short(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn lsn(&mut self, value: Lsn) {
        self.number(value.get());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(wide(bytes.len()));
        self.0.extend_from_slice(bytes);
    }

    /// So many elements follow.
    pub(crate) fn each<T>(&mut self, all: &[T], put: impl Fn(&mut Self, &T)) {
        self.number(wide(all.len()));
        for one in all {
            put(self, one);
        }
    }
}

/// Takes fields apart. None: there is no more, or it is none.
#[derive(Debug)]
pub(crate) struct In<'a>(pub(crate) &'a [u8]);

impl<'a> In<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn short(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn lsn(&mut self) -> Option<Lsn> {
        self.number().map(Lsn::new)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// Elements of at least `least` bytes each.
    pub(crate) fn each<T>(
        &mut self,
        least: usize,
        take: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        if count.checked_mul(least)? > self.0.len() {
            return None;
        }
        (0..count).map(|_| take(self)).collect()
    }
}
