//! `siding bench`: Siding beside the floor of the machine it runs on, in one run.
//!
//! Times mean nothing on a shared machine; ratios do. Floor and log take turns, round by round,
//! and the medians are compared.

mod append;
mod backup;
mod bulk;
mod chain;
mod change;
mod commit;
pub(crate) mod flight;
mod memory;
mod moves;
mod scan;
mod stuck;

use clap::Args;
use serde_json::json;
use siding::{Backend, Discipline, Error, ErrorKind, Log, Options, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to measure, and where.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// A directory on the disk to measure; a temporary one in it is used and removed.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Only this figure; may be given several times. `--list` names them.
    #[arg(long = "figure", value_name = "NAME")]
    figures: Vec<String>,
    /// How the log reaches the disk; the default is the log's own.
    #[arg(long, value_name = "NAME")]
    backend: Option<Backend>,
    /// Rounds; floor and log take turns in each.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// A tenth of the work, to see that it runs; the figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Names the figures and stops.
    #[arg(long)]
    list: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How much work a figure does.
#[derive(Clone, Debug)]
pub(crate) struct Effort {
    pub(crate) dir: PathBuf,
    pub(crate) rounds: usize,
    /// Work is divided by this.
    pub(crate) divisor: u64,
    /// How logs reach the disk, if not by default.
    pub(crate) backend: Option<Backend>,
}

impl Effort {
    /// The options of a log.
    fn options(&self) -> Options {
        match self.backend {
            Some(backend) => Options::new().backend(backend),
            None => Options::new(),
        }
    }

    /// A log of small segments.
    fn open_log(&self, path: &Path) -> Result<Log> {
        self.options().segment_size(16 << 20).open(path)?.finish()
    }
}

/// One figure as measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) floor: Option<f64>,
}

/// What a value is held against where there is no floor.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Least(f64),
    Most(f64),
    /// So many times the floor at most.
    MostTimes(f64),
}

impl Limit {
    fn bound(self) -> f64 {
        match self {
            Self::Least(bound) | Self::Most(bound) | Self::MostTimes(bound) => bound,
        }
    }

    fn holds(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::Least(bound) => value >= bound,
            Self::Most(bound) => value <= bound,
            Self::MostTimes(bound) => ratio.is_some_and(|ratio| ratio <= bound),
        }
    }
}

struct Figure {
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    /// The ratio to the floor that is wanted; value per floor, larger is better.
    goal: Option<f64>,
    /// What is wanted where larger is not better, or there is no floor.
    limit: Option<Limit>,
    run: fn(&Effort) -> Result<Measured>,
}

const FIGURES: &[Figure] = &[
    Figure {
        name: "commit_1_128",
        unit: "commits/s",
        what: "durable commits of 128 B by one thread; floor: bare durable writes of one unit",
        goal: Some(0.85),
        limit: None,
        run: |effort| commit::single(effort, 128),
    },
    Figure {
        name: "commit_1_1024",
        unit: "commits/s",
        what: "durable commits of 1 KiB by one thread; floor: bare durable writes of the size",
        goal: Some(0.85),
        limit: None,
        run: |effort| commit::single(effort, 1024),
    },
    Figure {
        name: "commit_1_16384",
        unit: "commits/s",
        what: "durable commits of 16 KiB by one thread; floor: bare durable writes of the size",
        goal: Some(0.85),
        limit: None,
        run: |effort| commit::single(effort, 16384),
    },
    Figure {
        name: "commit_32_256",
        unit: "commits/s",
        what: "durable commits of 256 B by 32 threads; floor: the same by one thread",
        goal: Some(10.0),
        limit: None,
        run: |effort| commit::group(effort, 32, 256),
    },
    Figure {
        name: "commit_128_256",
        unit: "commits/s",
        what: "durable commits of 256 B by 128 threads; floor: the same by one thread",
        goal: Some(20.0),
        limit: None,
        run: |effort| commit::group(effort, 128, 256),
    },
    Figure {
        name: "commit_1_busy",
        unit: "commits/s",
        what: "as commit_1_128 while every processor is busy; floor: measured so too",
        goal: Some(0.9),
        limit: None,
        run: flight::busy,
    },
    Figure {
        name: "commit_cpu_us",
        unit: "us",
        what: "processor time of a durable commit of 128 B; floor: of a bare durable write",
        goal: None,
        limit: Some(Limit::MostTimes(1.15)),
        run: flight::cpu,
    },
    Figure {
        name: "device_bytes_per_byte",
        unit: "B/B",
        what: "bytes written for a byte of payload, commits of 128 B with a write unit of 512",
        goal: None,
        limit: Some(Limit::Most(5.0)),
        run: flight::device_bytes,
    },
    Figure {
        name: "tickets_128",
        unit: "commits/s",
        what: "128 commits in flight from two threads; floor: bare durable writes, one at a time",
        goal: Some(89.6),
        limit: None,
        run: |effort| flight::tickets(effort, 128),
    },
    Figure {
        name: "tickets_512",
        unit: "commits/s",
        what: "the same with 512 in flight",
        goal: Some(150.0),
        limit: None,
        run: |effort| flight::tickets(effort, 512),
    },
    Figure {
        name: "prepare_commit",
        unit: "units/s",
        what: "prepare and commit of one unit of 128 B; floor: single commits",
        goal: Some(0.47),
        limit: None,
        run: commit::prepare_commit,
    },
    Figure {
        name: "append_256",
        unit: "records/s",
        what: "appends of 256 B by one thread, not durable, while the ring has room",
        goal: None,
        limit: Some(Limit::Least(5e6)),
        run: |effort| append::records(effort, 256),
    },
    Figure {
        name: "append_sustained",
        unit: "bytes/s",
        what: "appends of 1 KiB nobody waits for, segments used again; floor: bare 1 MiB writes",
        goal: Some(0.85),
        limit: None,
        run: bulk::sustained,
    },
    Figure {
        name: "memory_unit",
        unit: "B/unit",
        what: "memory a live unit takes, beside the ring; at most 1 KiB",
        goal: None,
        limit: Some(Limit::Most(1024.0)),
        run: memory::unit,
    },
    Figure {
        name: "memory_ring",
        unit: "B",
        what: "memory of a log beside its live units; floor: the ring",
        goal: None,
        limit: None,
        run: memory::ring,
    },
    Figure {
        name: "scan_cold",
        unit: "bytes/s",
        what: "restart scan of 256 B records, past the page cache; floor: bare 1 MiB reads",
        goal: Some(0.95),
        limit: None,
        run: scan::cold,
    },
    Figure {
        name: "chain_cold_8",
        unit: "steps/s",
        what: "eight walks along chains on the device at once; floor: one at a time",
        goal: Some(3.0),
        limit: None,
        run: chain::cold,
    },
    Figure {
        name: "segment_change_p999",
        unit: "us",
        what: "99.9th percentile of commits of 8 KiB over segments used again; floor: one file",
        goal: None,
        limit: Some(Limit::MostTimes(1.2)),
        run: |effort| change::p999_of(effort, false),
    },
    Figure {
        name: "segment_change_zeroing_p999",
        unit: "us",
        what: "the same while segments are made and filled; floor: one file",
        goal: None,
        limit: Some(Limit::MostTimes(1.5)),
        run: |effort| change::p999_of(effort, true),
    },
    Figure {
        name: "retained_segments",
        unit: "segments",
        what: "main log kept while 100 units are stuck and 10 GiB pass; with a keypoint a segment",
        goal: None,
        limit: Some(Limit::Most(4.0)),
        run: |effort| stuck::retained(effort, 100),
    },
    Figure {
        name: "retained_segments_1",
        unit: "segments",
        what: "the same with one stuck unit",
        goal: None,
        limit: Some(Limit::Most(4.0)),
        run: |effort| stuck::retained(effort, 1),
    },
    Figure {
        name: "retained_segments_10000",
        unit: "segments",
        what: "the same with 10,000 stuck units",
        goal: None,
        limit: Some(Limit::Most(4.0)),
        run: |effort| stuck::retained(effort, 10_000),
    },
    Figure {
        name: "secondary_bytes",
        unit: "B/B",
        what: "secondary log for a live byte of 10,000 stuck units, beside 128 B each and a file",
        goal: None,
        limit: Some(Limit::Most(1.25)),
        run: stuck::secondary,
    },
    Figure {
        name: "restart_stuck",
        unit: "opens/s",
        what: "restarts with units stuck for 2.5 GiB of log; floor: for a tenth of that",
        goal: Some(0.8),
        limit: None,
        run: stuck::restart,
    },
    Figure {
        name: "move_commit",
        unit: "commits/s",
        what: "durable commits while units are moved at the default rate; floor: without moves",
        goal: Some(0.95),
        limit: None,
        run: moves::rates,
    },
    Figure {
        name: "move_commit_p99",
        unit: "1/s",
        what: "one over the 99th percentile of such a commit; floor: without moves",
        goal: Some(0.8),
        limit: None,
        run: moves::p99,
    },
    Figure {
        name: "backup_commit_full",
        unit: "commits/s",
        what: "durable commits while a backup runs at full speed on the same disk; floor: without",
        goal: Some(0.7),
        limit: None,
        run: backup::at_full_speed,
    },
    Figure {
        name: "backup_commit",
        unit: "commits/s",
        what: "durable commits while a backup runs at the default rate; floor: without",
        goal: Some(0.9),
        limit: None,
        run: backup::at_default_rate,
    },
    Figure {
        name: "backup_copy",
        unit: "bytes/s",
        what: "a backup of 512 MiB at full speed; floor: a plain copy of the files, synced",
        goal: Some(0.8),
        limit: None,
        run: backup::copy,
    },
    Figure {
        name: "restore_scan",
        unit: "bytes/s",
        what: "forward recovery of a restored log; floor: the restart scan of the same log",
        goal: Some(0.8),
        limit: None,
        run: |effort| backup::forward(effort, Discipline::RepeatHistory),
    },
    Figure {
        name: "restore_scan_deferred",
        unit: "bytes/s",
        what: "the same under deferred apply, unit by unit in the order of COMMITs",
        goal: Some(0.8),
        limit: None,
        run: |effort| backup::forward(effort, Discipline::DeferredApply),
    },
    Figure {
        name: "recovery_point",
        unit: "B",
        what: "log behind the exact recovery point, 8 updates in progress; floor: by keypoints",
        goal: None,
        limit: Some(Limit::Most(65_536.0)),
        run: backup::point,
    },
];

/// Runs the benches that were asked for. True if every goal was met.
///
/// # Errors
///
/// A figure of this name does not exist, or what the disk says.
pub(crate) fn run(args: &BenchArgs) -> Result<bool> {
    if args.list {
        FIGURES.iter().for_each(|figure| println!("{:<24} {}", figure.name, figure.what));
        return Ok(true);
    }
    if let Some(name) = args.figures.iter().find(|name| FIGURES.iter().all(|f| f.name != **name)) {
        return Err(Error::new(ErrorKind::Invalid, format!("there is no figure `{name}`"))
            .advise("`siding bench --list` names them"));
    }
    let wanted = |figure: &&Figure| {
        args.figures.is_empty() || args.figures.iter().any(|name| *name == figure.name)
    };
    let io = |cause| Error::io("no temporary directory can be made", cause).file(&args.dir);
    let dir = tempfile::Builder::new().prefix(".siding-bench-").tempdir_in(&args.dir);
    let dir = dir.map_err(io)?;
    let divisor = if args.smoke { 20 } else { 1 };
    let rounds = if args.smoke { 1 } else { args.rounds.max(1) };
    if !args.json {
        println!("{:<24} {:>14} {:>14} {:>7} {:>7}", "figure", "value", "floor", "ratio", "goal");
    }
    let mut all = true;
    for figure in FIGURES.iter().filter(wanted) {
        let effort =
            Effort { dir: dir.path().join(figure.name), rounds, divisor, backend: args.backend };
        let measured = (figure.run)(&effort)?;
        std::fs::remove_dir_all(&effort.dir).map_err(io)?;
        all &= print(figure, measured, args.json);
    }
    // So little work says nothing of goals.
    Ok(all || args.smoke)
}

fn print(figure: &Figure, measured: Measured, json: bool) -> bool {
    let ratio = measured.floor.map(|floor| measured.value / floor);
    let goal = figure.goal.or(figure.limit.map(Limit::bound));
    let met = match (ratio, figure.goal, figure.limit) {
        (Some(ratio), Some(goal), _) => ratio >= goal,
        (_, _, Some(limit)) => limit.holds(measured.value, ratio),
        _ => true,
    };
    if json {
        let line = json!({
            "figure": figure.name, "value": measured.value, "unit": figure.unit,
            "floor": measured.floor, "ratio": ratio, "goal": goal, "met": met,
        });
        println!("{line}");
    } else {
        let or_none = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        println!(
            "{:<24} {:>14} {:>14} {:>7} {:>7}  {} {}",
            figure.name,
            or_none(Some(measured.value), if measured.value < 100.0 { 2 } else { 0 }),
            or_none(measured.floor, 0),
            or_none(ratio, 2),
            or_none(goal, if goal.is_some_and(|goal| goal < 100.0) { 2 } else { 0 }),
            figure.unit,
            if met { "" } else { "(not met)" },
        );
    }
    met
}

/// The median; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Does it, and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed()))
}

/// How often a second, from how often and how long.
#[allow(clippy::cast_precision_loss, reason = "a rate is an estimate anyway")]
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}
