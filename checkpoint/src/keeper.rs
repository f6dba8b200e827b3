//! When background work is due. Pure: time and positions in, one task out.
//!
//! MARK: with traffic at most one a second; without, one a second after the last record that is
//! more than a MARK, then every minute, or every second while an archiver runs. Keypoint: by
//! bytes, or by time if anything was logged.

use siding_wal::Lsn;

/// Between marks while there is traffic, in milliseconds.
const MARK_MS: u64 = 1_000;

/// Between marks of an idle log, in milliseconds.
const IDLE_MARK_MS: u64 = 60_000;

/// A close takes a keypoint if restart would have to scan more than this.
const CLOSE_BYTES: u64 = 64 << 10;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write MARK.
    Mark,
    /// Take a keypoint.
    Keypoint,
}

/// Remembers when what was done last.
#[derive(Debug)]
pub(crate) struct Keeper {
    keypoint_bytes: u64,
    keypoint_ms: u64,
    /// Monotonic time and end of the log at the last keypoint.
    keypoint: (u64, Lsn),
    /// The position behind the last keypoint of this open, or zero.
    taken: Lsn,
    /// Monotonic time of the last mark, and what was logged by then.
    mark: (u64, Lsn),
    /// The last time a mark carried.
    mark_time: u64,
    /// Between marks of an idle log.
    idle_ms: u64,
}

impl Keeper {
    pub(crate) fn new(
        keypoint_bytes: u64,
        keypoint_ms: u64,
        now: u64,
        keypoint: Lsn,
        content: Lsn,
        mark_time: u64,
    ) -> Self {
        Self {
            keypoint_bytes,
            keypoint_ms,
            // Bytes count from the last keypoint, whoever took it: else a log that is opened for
            // short whiles would never get another one, and never be trimmed.
            keypoint: (now, keypoint),
            taken: Lsn::ZERO,
            mark: (now, content),
            mark_time,
            idle_ms: IDLE_MARK_MS,
        }
    }

    /// What is due at `now`, with the log ending at `end`, the last record that is more than a
    /// MARK at `content`.
    pub(crate) fn due(&self, now: u64, end: Lsn, content: Lsn) -> Option<Task> {
        let since = now.saturating_sub(self.keypoint.0);
        let logged = content > self.keypoint.1;
        if self.bytes_due(end) || (logged && since >= self.keypoint_ms) {
            return Some(Task::Keypoint);
        }
        self.mark_due(now, content).then_some(Task::Mark)
    }

    /// Where the log must end for a keypoint to be due by bytes.
    pub(crate) fn due_at(&self) -> Lsn {
        self.keypoint.1.plus(self.keypoint_bytes.max(1))
    }

    /// Whether a keypoint is due for what was logged since the last one.
    pub(crate) fn bytes_due(&self, end: Lsn) -> bool {
        end >= self.due_at()
    }

    /// Whether so many bytes of log are as much as may come between two keypoints.
    pub(crate) fn is_late(&self, bytes: u64) -> bool {
        bytes >= self.keypoint_bytes.max(1)
    }

    /// Whether a mark is due, keypoint or not.
    pub(crate) fn mark_due(&self, now: u64, content: Lsn) -> bool {
        let quiet = content <= self.mark.1;
        let wait = if quiet { self.idle_ms } else { MARK_MS };
        now.saturating_sub(self.mark.0) >= wait
    }

    pub(crate) fn keypoint_taken(&mut self, now: u64, end: Lsn) {
        self.keypoint = (now, end);
        self.taken = end;
    }

    pub(crate) fn keypoint_end(&self) -> Lsn {
        self.taken
    }

    pub(crate) fn marked(&mut self, now: u64, content: Lsn) {
        self.mark = (now, content);
    }

    /// The time for the next mark: never goes back, whatever the wall clock does.
    pub(crate) fn mark_time(&mut self, wall_ms: u64) -> u64 {
        self.mark_time = self.mark_time.max(wall_ms);
        self.mark_time
    }

    /// An archiver runs: idle or not, what time it was is known to the second.
    pub(crate) fn mark_each_second(&mut self) {
        self.idle_ms = MARK_MS;
    }

    pub(crate) fn worth_a_keypoint(&self, end: Lsn) -> bool {
        end.since(self.keypoint.1) > CLOSE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_follow_traffic_once_a_second_and_then_once_a_minute() {
        let mut keeper = Keeper::new(1 << 30, u64::MAX, 0, Lsn::new(10), Lsn::new(10), 0);
        assert_eq!(keeper.due(999, Lsn::new(20), Lsn::new(20)), None);
        assert_eq!(keeper.due(1_000, Lsn::new(20), Lsn::new(20)), Some(Task::Mark));
        keeper.marked(1_000, Lsn::new(20));
        assert_eq!(keeper.due(60_999, Lsn::new(30), Lsn::new(20)), None);
        assert_eq!(keeper.due(61_000, Lsn::new(30), Lsn::new(20)), Some(Task::Mark));
        keeper.mark_each_second();
        assert_eq!(keeper.due(1_999, Lsn::new(30), Lsn::new(20)), None);
        assert_eq!(keeper.due(2_000, Lsn::new(30), Lsn::new(20)), Some(Task::Mark));
    }

    #[test]
    fn keypoints_come_by_bytes_and_by_time_if_anything_was_logged() {
        let mut keeper = Keeper::new(1_000, 5_000, 0, Lsn::ZERO, Lsn::ZERO, 0);
        assert_eq!(keeper.due(1, Lsn::new(1_000), Lsn::new(1_000)), Some(Task::Keypoint));
        keeper.keypoint_taken(1, Lsn::new(1_000));
        keeper.marked(1, Lsn::new(1_000));
        assert_eq!(keeper.due(5_001, Lsn::new(1_100), Lsn::new(1_000)), None);
        assert_eq!(keeper.due(5_001, Lsn::new(1_100), Lsn::new(1_100)), Some(Task::Keypoint));
    }

    #[test]
    fn time_in_marks_never_goes_back() {
        let mut keeper = Keeper::new(1, 1, 0, Lsn::ZERO, Lsn::ZERO, 50);
        assert_eq!((keeper.mark_time(40), keeper.mark_time(60)), (50, 60));
        assert_eq!(keeper.mark_time(55), 60);
    }
}
