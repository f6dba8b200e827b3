//! Positions in the stream.

use std::fmt;

/// A log sequence number: a byte position in one endless stream.
///
/// LSNs are ordered as the records they name were appended. A record's LSN is its identity for
/// ever; as an upper bound an LSN is exclusive ("all below is durable"). The number is opaque to
/// an embedder: keep it, compare it, hand it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// The position before the first record: "none" as a pointer, "everything" as a lower bound.
    pub const ZERO: Self = Self(0);
    /// Above every position: "pins nothing".
    pub const MAX: Self = Self(u64::MAX);

    /// The position with this number, as read from a stored snapshot or a command line.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number, to store beside a snapshot.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is [`Lsn::ZERO`], the null pointer of a chain.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The position `bytes` further on; stays at the largest position instead of wrapping.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// Bytes from `earlier` to here, 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({})", self.0)
    }
}

impl std::str::FromStr for Lsn {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
