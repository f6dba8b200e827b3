//! How fast moves may copy: a token bucket that holds what one second brings.
//!
//! Pure: the monotonic clock is an argument.

/// The pace if nobody chose another: 4 MiB a second.
pub const DEFAULT_PACE: u64 = 4 << 20;

/// Thousandths of a byte: what one byte a second brings in a millisecond.
const THOUSANDTHS: u128 = 1000;

/// Bytes that may be copied, as time brings them.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: u64,
    /// What may be copied, in thousandths of a byte: nothing is lost however often one asks.
    credit: u128,
    /// What was copied beyond that.
    debt: u128,
    /// Monotonic milliseconds up to which credit was given.
    since: Option<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(DEFAULT_PACE)
    }
}

impl Pace {
    /// So many bytes a second; 0 stops all moves.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let credit = u128::from(bytes_per_second) * THOUSANDTHS;
        Self { rate: bytes_per_second, credit, debt: 0, since: None }
    }

    /// Bytes a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Another pace from here on. What was earned above a second of it is lost, what is owed
    /// stays owed.
    pub fn set_rate(&mut self, bytes_per_second: u64, now_ms: u64) {
        self.earn(now_ms);
        self.rate = bytes_per_second;
    }

    /// Bytes that may be copied now.
    pub fn allowed(&mut self, now_ms: u64) -> u64 {
        self.earn(now_ms);
        u64::try_from(self.credit / THOUSANDTHS).unwrap_or(u64::MAX)
    }

    /// So many bytes were copied. What was not allowed is owed.
    pub fn spend(&mut self, bytes: u64) {
        let spent = u128::from(bytes) * THOUSANDTHS;
        self.debt = self.debt.saturating_add(spent.saturating_sub(self.credit));
        self.credit = self.credit.saturating_sub(spent);
    }

    /// Milliseconds from `now_ms` until so many bytes are allowed, or as many as ever are at
    /// once; none if that will never be.
    pub fn wait_ms(&mut self, bytes: u64, now_ms: u64) -> Option<u64> {
        self.earn(now_ms);
        let wanted = (u128::from(bytes) * THOUSANDTHS).min(self.burst());
        let missing = wanted.saturating_sub(self.credit).saturating_add(self.debt);
        match (missing, u128::from(self.rate)) {
            (0, 1..) => Some(0),
            (_, 0) => None,
            (missing, rate) => Some(u64::try_from(missing.div_ceil(rate)).unwrap_or(u64::MAX)),
        }
    }

    fn burst(&self) -> u128 {
        u128::from(self.rate) * THOUSANDTHS
    }

    fn earn(&mut self, now_ms: u64) {
        let since = self.since.unwrap_or(now_ms);
        // A clock that goes back brings nothing twice.
        let earned = u128::from(now_ms.saturating_sub(since)) * u128::from(self.rate);
        self.since = Some(since.max(now_ms));
        let left = earned.saturating_sub(self.debt);
        self.debt = self.debt.saturating_sub(earned);
        self.credit = self.credit.saturating_add(left).min(self.burst());
    }
}
