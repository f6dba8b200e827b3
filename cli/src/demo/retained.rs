//! How much log is kept while units are stuck: it must stay flat. Pure, but for one look.
//!
//! What passes must leave nothing behind: of the main log no more may be kept than three segments,
//! one keypoint interval, and what the redo position lags behind the last keypoint. The lag is
//! the bank's own: a restart starts from its snapshots, so it needs the log from the older of two
//! on. The interval is from the last whole keypoint to the end; while the next one is written it
//! may be twice as long as it should be, and no longer. What is kept beyond all that is kept by
//! units that were not moved out of the way. To move them takes a moment, in which the next
//! keypoint may come: too much is what is too much at several looks in a row.

use siding::{Error, Lsn, Result};
use siding_kv::{Db, log_dir};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Segments that may be kept beside a keypoint interval and the lag.
const SEGMENTS: u64 = 3;

/// A keypoint is taken after this many segments of log.
pub(super) const INTERVAL: u64 = 2;

/// Looks in a row at which too much must be kept to count: a quarter of a second of a worker's.
const IN_A_ROW: usize = 5;

/// Samples that are told in the end.
const TOLD: usize = 120;

/// What was kept at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where the main log ended.
    pub(super) end: u64,
    /// Bytes of main log that were kept.
    pub(super) main: u64,
    /// How far the redo position lay behind the last keypoint.
    pub(super) lag: u64,
    /// Bytes from the last keypoint to the end.
    pub(super) since: u64,
    /// Bytes of the secondary log's files.
    pub(super) secondary: u64,
    /// How often the units that live were moved.
    pub(super) moves: u64,
}

impl Sample {
    /// Looks at a bank in `dir` that is open here.
    pub(super) fn look(db: &Db, dir: &Path) -> Result<Self> {
        let at = db.log().positions();
        let units = db.log().units();
        Ok(Self {
            end: at.end.get(),
            main: at.end.since(at.oldest),
            lag: at.keypoint_begin.since(at.redo.min(at.keypoint_begin)),
            since: at.end.since(at.keypoint_begin),
            secondary: secondary(&log_dir(dir))?,
            moves: units.iter().map(|unit| u64::from(unit.moves)).sum(),
        })
    }

    /// The most that may be kept of the main log now.
    pub(super) fn allowed(&self, segment: u64) -> u64 {
        let interval = segment.saturating_mul(INTERVAL);
        let since = self.since.clamp(interval, interval.saturating_mul(2));
        segment.saturating_mul(SEGMENTS).saturating_add(since).saturating_add(self.lag)
    }

    /// Bytes that neither keypoint nor redo position need: kept by units, or not yet trimmed.
    pub(super) fn held(&self) -> u64 {
        self.main.saturating_sub(self.since).saturating_sub(self.lag)
    }
}

fn secondary(dir: &Path) -> Result<u64> {
    let io = |cause| Error::io("the secondary log cannot be looked at", cause).file(dir);
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.path().extension().is_some_and(|end| end == "ext") {
            // A file that was freed meanwhile holds nothing.
            bytes += entry.metadata().map_or(0, |data| data.len());
        }
    }
    Ok(bytes)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, main, lag, since, secondary, moves } = self;
        write!(f, "{end} {main} {lag} {since} {secondary} {moves}")
    }
}

impl FromStr for Sample {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut words = text.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or(());
        let (end, main, lag, since) = (number()?, number()?, number()?, number()?);
        let sample = Self { end, main, lag, since, secondary: number()?, moves: number()? };
        words.next().is_none().then_some(sample).ok_or(())
    }
}

/// All moments of a demo, each with the round it belongs to.
#[derive(Clone, Debug)]
pub(super) struct History {
    segment: u64,
    samples: Vec<(u32, Sample)>,
    /// Rows of looks that findings were told of.
    told: usize,
}

impl History {
    pub(super) fn new(segment: u64) -> Self {
        Self { segment, samples: Vec::new(), told: 0 }
    }

    pub(super) fn add(&mut self, round: u32, sample: Sample) {
        self.samples.push((round, sample));
    }

    /// By how much more is kept at the end of each row of looks than may be, at the look of the
    /// row that kept least; nothing if it did not last.
    fn over(&self) -> impl Iterator<Item = u64> {
        let over =
            |(_, sample): &(u32, Sample)| sample.main.saturating_sub(sample.allowed(self.segment));
        self.samples.windows(IN_A_ROW).map(move |row| row.iter().map(over).min().unwrap_or(0))
    }

    /// That too much was kept, if it was since somebody asked last.
    pub(super) fn findings(&mut self) -> Option<String> {
        let rows = self.over().enumerate().skip(self.told);
        let worst = rows.max_by_key(|(_, over)| *over).filter(|(_, over)| *over > 0);
        let worst = worst.and_then(|(row, _)| self.samples.get(row));
        let found = worst.map(|(_, sample)| {
            format!(
                "{} bytes of main log are kept up to {}: more than {SEGMENTS} segments of {}, {} \
                 since the last keypoint, of which one is due every {INTERVAL} segments, and {} \
                 that the redo position lags",
                sample.main,
                Lsn::new(sample.end),
                self.segment,
                sample.since,
                sample.lag
            )
        });
        self.told = self.over().count();
        found
    }

    /// The moments that count: warm-up left out, which is the first round, if there is another.
    fn warm(&self) -> impl Iterator<Item = &Sample> {
        let last = self.samples.last().map_or(0, |(round, _)| *round);
        self.samples.iter().filter(move |(round, _)| *round > 0 || last == 0).map(|(_, it)| it)
    }

    /// What was kept at most.
    pub(super) fn most(&self) -> Sample {
        self.warm().max_by_key(|sample| sample.main).copied().unwrap_or_default()
    }

    /// What units held at most.
    pub(super) fn most_held(&self) -> u64 {
        self.warm().map(Sample::held).max().unwrap_or(0)
    }

    /// Whether it never was too much.
    pub(super) fn is_flat(&self) -> bool {
        self.over().all(|over| over == 0)
    }

    /// Bytes of a segment.
    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// Few enough moments to be told; of those that fall together the one that kept most.
    pub(super) fn told(&self) -> Vec<(u32, Sample)> {
        let each = self.samples.len().div_ceil(TOLD).max(1);
        let most = |some: &[(u32, Sample)]| some.iter().max_by_key(|(_, it)| it.main).copied();
        self.samples.chunks(each).filter_map(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 100;

    fn sample(main: u64, lag: u64) -> Sample {
        Sample { end: 9_000, main, lag, since: 20, secondary: 7, moves: 3 }
    }

    #[test]
    fn a_sample_is_understood_as_it_was_said() {
        let one = sample(5, 6);
        assert_eq!(one.to_string().parse(), Ok(one));
        for wrong in ["", "1 2 3 4 5", "1 2 3 4 5 6 7", "1 2 3 4 5 x"] {
            assert_eq!(wrong.parse::<Sample>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_may_be_three_segments_an_interval_and_the_lag() {
        let mut history = History::new(SEGMENT);
        history.add(0, sample(500, 0));
        history.add(1, sample(1_500, 1_000));
        assert!(history.is_flat() && history.findings().is_none());
        for look in 1..=IN_A_ROW {
            assert!(history.is_flat() && history.findings().is_none(), "{look}");
            history.add(1, sample(1_501, 1_000));
        }
        history.add(1, sample(10, 0));
        assert!(!history.is_flat());
        let found = history.findings().unwrap_or_default();
        assert!(found.contains("1501 bytes") && found.contains("1000 that"), "{found}");
        assert!(history.findings().is_none(), "told twice");
        assert!(!history.is_flat());
    }

    #[test]
    fn a_keypoint_under_way_may_make_its_interval_twice_as_long() {
        let after = |since| Sample { since, ..sample(0, 0) }.allowed(SEGMENT);
        assert_eq!([after(0), after(200), after(310), after(900)], [500, 500, 610, 700]);
    }

    #[test]
    fn the_first_round_is_warm_up_and_peaks_are_told() {
        let mut history = History::new(SEGMENT);
        history.add(0, sample(450, 0));
        assert_eq!(history.most().main, 450);
        for index in 0..1_000 {
            history.add(1, sample(if index == 617 { 400 } else { 200 }, 150));
        }
        assert_eq!((history.most().main, history.most_held()), (400, 230));
        let told = history.told();
        assert!(told.len() <= TOLD && told.iter().any(|(_, sample)| sample.main == 400));
    }
}
