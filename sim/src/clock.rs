//! Time that passes when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that stands still until it is moved. Clones are the same clock.
///
/// The wall clock may jump, back too, as an operator or a time server makes it; the monotonic
/// one only goes on.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    wall_ms: Arc<AtomicU64>,
    monotonic_ms: Arc<AtomicU64>,
}

impl Clock {
    /// A clock whose wall clock shows `wall_ms` milliseconds since 1970; the monotonic one is 0.
    pub fn new(wall_ms: u64) -> Self {
        Self { wall_ms: Arc::new(AtomicU64::new(wall_ms)), monotonic_ms: Arc::default() }
    }

    /// Milliseconds since 1970, as far as the machine knows.
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    /// Milliseconds since the clock was made.
    pub fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms.load(Ordering::SeqCst)
    }

    /// Lets time pass on both.
    pub fn advance(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock, back too; the monotonic one does not notice.
    pub fn set_wall(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl siding_wal::disk::Clock for Clock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_jumps_and_the_monotonic_clock_does_not() {
        let clock = Clock::new(1_000);
        let same = clock.clone();
        clock.advance(5);
        assert_eq!((same.wall_ms(), same.monotonic_ms()), (1_005, 5));
        same.set_wall(3);
        clock.advance(1);
        assert_eq!((clock.wall_ms(), clock.monotonic_ms()), (4, 6));
    }
}
