//! Opening a log: what stands in the directory, where it ends, what lives, and a place to go on.
//!
//! 1. The directory's lock. Crash: nothing changed.
//! 2. Unless the close was clean, every live segment is synced before it is read: the last
//!    process may have left bytes in the page cache that no disk holds.
//! 3. Survey of control file and headers. Crash: nothing changed.
//! 4. Scan from the last complete keypoint to the end, which the lettered table decides; the
//!    unit table is rebuilt on the way. Crash: nothing changed. What lives is held against the
//!    place of the secondary log; see `secondary.rs`.
//! 5. A place to go on. After a clean close: a control slot that takes the mark away and carries
//!    the new incarnation, and the log goes on where it ended. Crash behind it: an unclean end.
//!    Else a new segment, whose synced header says where what is kept ends; a last segment
//!    without a batch is taken again. Crash before: the same open again. Behind: that segment
//!    holds only its header, and is taken again.
//! 6. After an unclean end, a control slot. Crash before: the header says the same.
//!
//! Only then is anything handed to the embedder.

pub(crate) mod analysis;
mod create;
pub(crate) mod note;
mod place;

use crate::restore::note as restored;
use crate::restore::unfinished;
use crate::undo::UndoHandler;
use siding_fork::DEFAULT_PACE;
use siding_fork::policy;
use siding_fork::pool::{Pool, PoolConfig};
use siding_wal::disk::{Clock, DirLock, Disk, LockError};
use siding_wal::format::{Discipline, RestoredNote};
use siding_wal::read::{Decision, Step, Survey, Verdict, survey};
use siding_wal::seeded;
use siding_wal::stream::{Settings, Stream};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::Analysis;

/// Told how far a long step is.
pub type ProgressHandler = Box<dyn Fn(&Progress) + Send + Sync>;

/// How a log is opened.
pub struct Config {
    /// Whether a log is created where there is none.
    pub create: bool,
    /// Bytes of each segment of a new log.
    pub segment_size: u64,
    /// Bytes of records that may wait in memory.
    pub ring_size: usize,
    /// The largest payload asked for; bounded by segment and ring.
    pub max_record: usize,
    /// The most that the log's files may take together.
    pub max_log_bytes: Option<u64>,
    /// Whether a log is opened that a restore, of whom the caller is a part, has not finished.
    pub restoring: bool,
    /// Where the secondary log lies; none: beside the main log.
    pub secondary: Option<Arc<dyn Disk>>,
    /// Whether the log is opened though the extents that live units need are not there.
    pub secondary_lost: bool,
    /// Whether the log will be archived: until an archiver runs nothing is trimmed.
    pub archived: bool,
    /// The most that the secondary log's files may take together.
    pub max_secondary_bytes: Option<u64>,
    /// When units are moved.
    pub forks: ForkConfig,
    /// The discipline of a new log; none: deferred apply, or what the log has.
    pub discipline: Option<Discipline>,
    /// The write unit; none: the device's safe one.
    pub write_unit: Option<u32>,
    /// A keypoint is taken after this many bytes.
    pub keypoint_bytes: u64,
    /// A keypoint is taken after this many milliseconds, if anything was logged.
    pub keypoint_ms: u64,
    /// Whether threads do the background work; without them the caller does.
    pub threads: bool,
    /// Undoes one record, under repeat history.
    pub undo: Option<UndoHandler>,
    /// Told how far the open is.
    pub progress: Option<ProgressHandler>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            create: true,
            segment_size: 64 << 20,
            ring_size: 32 << 20,
            max_record: 16 << 20,
            max_log_bytes: None,
            restoring: false,
            secondary: None,
            secondary_lost: false,
            archived: false,
            max_secondary_bytes: None,
            forks: ForkConfig::default(),
            discipline: None,
            write_unit: None,
            keypoint_bytes: 64 << 20,
            keypoint_ms: 60_000,
            threads: true,
            undo: None,
            progress: None,
        }
    }
}

/// When units are moved to the secondary log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkConfig {
    /// Whether units are moved by themselves; else only who asks for it moves one.
    pub automatic: bool,
    /// The least main log bytes freed for each byte copied.
    pub benefit: u64,
    /// Above this many retained bytes any benefit is good enough.
    pub soft_limit: Option<u64>,
    /// Bytes copied a second, at most.
    pub rate: u64,
    /// A unit in flight that has written nothing for so many milliseconds is idle.
    pub idle_ms: u64,
}

impl Default for ForkConfig {
    fn default() -> Self {
        let policy::Settings { ratio, idle_ms, .. } = policy::Settings::default();
        Self { automatic: true, benefit: ratio, soft_limit: None, rate: DEFAULT_PACE, idle_ms }
    }
}

/// How far a long step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done: `scan` or `redo`.
    pub step: &'static str,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as can be known.
    pub total: u64,
}

/// Write units in a segment, at least.
const UNITS_A_SEGMENT: u64 = 4;

/// A file of the secondary log takes no more extents once it is this long.
const EXTENT_FILE: u64 = 8 << 20;

/// Reads in flight while the log is scanned.
const READ_AHEAD: usize = 4;

/// What an open found and did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The log's random number. Store it with a snapshot: one of another log is told apart.
    pub log_id: [u8; 16],
    /// Whether the log was created.
    pub created: bool,
    /// Whether it had been closed cleanly.
    pub clean: bool,
    /// The letter of the table's row for the end of the log; a blank for a new log.
    pub letter: char,
    /// That row's name.
    pub end_name: &'static str,
    /// Where what is kept ends.
    pub end: Lsn,
    /// Where the scan began.
    pub scanned_from: Lsn,
    /// Bytes the scan read.
    pub scanned_bytes: u64,
    /// Records the scan read.
    pub scanned_records: u64,
    /// The incarnation of this open.
    pub incarnation: u32,
    /// The segment that records go to.
    pub segment: u64,
    /// The write unit.
    pub write_unit: u32,
    /// The backend.
    pub backend: &'static str,
    /// What the result rests on, what was odd, what was passed over.
    pub notes: Vec<String>,
}

/// An opened log, before anybody has asked for its contents.
#[derive(Debug)]
pub struct Opened {
    /// The running stream.
    pub stream: Arc<Stream>,
    /// What was found.
    pub report: Report,
    /// The last time a MARK carried, in milliseconds since 1970.
    pub marked_ms: u64,
    /// Where the first chunk of each segment's directory stands.
    pub directories: BTreeMap<u64, Lsn>,
    /// What a restore noted of it.
    pub restored: Option<RestoredNote>,
    /// The secondary log.
    pub pool: Arc<Pool>,
    /// Keeps the directory locked.
    pub lock: Box<dyn DirLock>,
}

/// Opens the log on a disk, or creates one.
///
/// # Errors
///
/// - [`ErrorKind::Locked`]: another handle has it open; names the process;
/// - [`ErrorKind::NotFound`]: no log is there, and none is to be created;
/// - [`ErrorKind::ForeignFile`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::Missing`],
///   [`ErrorKind::Corrupt`]: what is there cannot be this log, whole; nothing was changed;
/// - [`ErrorKind::Invalid`]: an option that makes no sense, or is not the log's;
/// - [`ErrorKind::LogFull`], [`ErrorKind::ReadOnly`], [`ErrorKind::Io`]: what the disk says.
pub fn open(disk: &Arc<dyn Disk>, clock: &Arc<dyn Clock>, config: &Config) -> Result<Opened> {
    check(config, &**disk)?;
    let lock = disk.lock().map_err(|error| locked(&**disk, error))?;
    if !config.restoring {
        unfinished(&**disk)?;
    }
    let restored = restored::read(&**disk)?;
    let mut found = in_directory(survey(&**disk), &**disk)?;
    if found.is_empty() {
        roomy(config, config.segment_size)?;
        create::check(&**disk, &found, config, restored.as_ref())?;
        let (stream, report) = create::create(disk, clock, config, &found)?;
        note::check(disk, config, &stream.settings().log_id, &[])?;
        let pool = pool(disk, config, &stream);
        let (stream, directories) = (Arc::new(stream), BTreeMap::new());
        return Ok(Opened {
            stream,
            report,
            marked_ms: 0,
            directories,
            restored: None,
            pool,
            lock,
        });
    }
    if found.clean_end.is_none() && !seeded!(FoundNotSynced) {
        sync_all(&found)?;
        found = survey(&**disk)?;
    }
    agrees(&found, config, &**disk)?;
    let base = analysis::base(&mut found, restored.as_ref())?;
    let (analysis, verdict) = scan(&found, base, config)?;
    if let Some(identity) = &found.identity {
        note::check(disk, config, &identity.log_id, &analysis.units.extents())?;
    }
    let place = place::Place { disk, clock, config, found: &found, verdict: &verdict };
    let marked_ms = analysis.marked_ms;
    let directories = analysis.directories.clone();
    let (stream, report) = place.go_on(analysis)?;
    let pool = pool(disk, config, &stream);
    let stream = Arc::new(stream);
    Ok(Opened { stream, report, marked_ms, directories, restored, pool, lock })
}

/// The secondary log, of which nothing is read before somebody asks for a record of it.
fn pool(disk: &Arc<dyn Disk>, config: &Config, stream: &Stream) -> Arc<Pool> {
    let settings = stream.settings();
    let disk = config.secondary.as_ref().unwrap_or(disk);
    let unit = config.write_unit.unwrap_or(0).max(disk.geometry().min_write_unit);
    let pool = Arc::new(Pool::new(
        Arc::clone(disk),
        PoolConfig {
            log_id: settings.log_id,
            incarnation: settings.incarnation,
            write_unit: unit.max(siding_wal::format::MIN_WRITE_UNIT),
            file_size: settings.segment_size.min(EXTENT_FILE),
            max_bytes: config.max_secondary_bytes,
        },
    ));
    stream.set_secondary(Arc::<Pool>::clone(&pool));
    pool
}

fn in_directory(found: Result<Survey>, disk: &dyn Disk) -> Result<Survey> {
    found.map_err(|error| match disk.path() {
        Some(path) if error.path().is_none() => error.file(path),
        _ => error,
    })
}

/// Scans to the end of the log and rebuilds what lives.
fn scan(found: &Survey, base: Analysis, config: &Config) -> Result<(Analysis, Verdict)> {
    let mut analysis = base;
    let mut forward = found.scan()?;
    if config.threads {
        forward = forward.read_ahead(READ_AHEAD);
    }
    analysis.scanned_from = forward.position();
    let total = found.segments.last().map_or(0, |last| last.end().since(forward.position()));
    loop {
        match forward.next_batch()? {
            Step::Batch(_) => {
                for (lsn, header, payload) in forward.records() {
                    analysis.apply(lsn, &header, payload)?;
                }
                if let Some(progress) = &config.progress {
                    progress(&Progress { step: "scan", done: forward.bytes_read(), total });
                }
            }
            Step::Limit => {}
            Step::End(verdict) => {
                analysis.scanned_bytes = forward.bytes_read();
                if let Some(error) = verdict.refusal() {
                    return Err(error);
                }
                debug_assert_eq!(verdict.row.decision, Decision::Stop);
                analysis.whole(found)?;
                return Ok((analysis, verdict));
            }
        }
    }
}

fn sync_all(found: &Survey) -> Result<()> {
    for segment in found.segments.iter() {
        let name = siding_wal::format::segment_file_name(segment.number);
        segment.file.sync().map_err(|cause| {
            Error::io("a segment of the last open cannot be synced", cause)
                .file(name)
                .advise("what was acknowledged may be lost: keep a copy of the directory")
        })?;
    }
    Ok(())
}

fn locked(disk: &dyn Disk, error: LockError) -> Error {
    let error = match error {
        LockError::Io(cause) => Error::io("the directory cannot be locked", cause),
        LockError::Held { pid } => {
            let owner = pid.map_or_else(|| "another handle".into(), |pid| format!("process {pid}"));
            Error::new(ErrorKind::Locked, format!("the log is open: {owner} has it"))
                .advise("close it there, or use the verbs that read a log in use")
        }
    };
    match disk.path() {
        Some(path) => error.file(path),
        None => error,
    }
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

fn check(config: &Config, disk: &dyn Disk) -> Result<()> {
    let geometry = disk.geometry();
    let unit = config.write_unit.unwrap_or(geometry.write_unit);
    if !unit.is_power_of_two() || unit < geometry.min_write_unit.max(512) {
        let least = geometry.min_write_unit.max(512);
        return Err(invalid(format!("a write unit of {unit}: a power of two from {least} on")));
    }
    let size = config.segment_size;
    let least =
        siding_wal::format::MIN_SEGMENT_SIZE.max(u64::from(unit).saturating_mul(UNITS_A_SEGMENT));
    if size < least || !size.is_multiple_of(u64::from(unit)) || size > 1 << 40 {
        return Err(invalid(format!(
            "a segment size of {size}: a multiple of the write unit, {least} bytes to 1 TiB"
        )));
    }
    if config.ring_size < 64 << 10 {
        return Err(invalid(format!("a ring of {} bytes: 64 KiB at least", config.ring_size)));
    }
    Ok(())
}

/// Whether the limit leaves room for work: the open segment, its reserve, a spare.
fn roomy(config: &Config, segment_size: u64) -> Result<()> {
    let least = segment_size.saturating_mul(4);
    match config.max_log_bytes {
        Some(max) if max < least => {
            Err(invalid(format!("max_log_bytes of {max}: four segments at least, {least} bytes"))
                .advise("raise the limit, or create the log with smaller segments"))
        }
        _ => Ok(()),
    }
}

fn agrees(found: &Survey, config: &Config, disk: &dyn Disk) -> Result<()> {
    let Some(identity) = found.identity else { return Ok(()) };
    roomy(config, identity.segment_size)?;
    let unit = config.write_unit.unwrap_or(disk.geometry().write_unit);
    if u64::from(unit).saturating_mul(UNITS_A_SEGMENT) > identity.segment_size {
        // The header takes one: in a segment without room behind it no record has a place.
        let size = identity.segment_size;
        return Err(invalid(format!(
            "a write unit of {unit} in segments of {size}; {UNITS_A_SEGMENT} at least have to fit"
        ))
        .advise("set a smaller write_unit; the segments of a log keep their size"));
    }
    match config.discipline {
        Some(asked) if asked != identity.discipline => Err(invalid(format!(
            "the log was created for {}, not for {}",
            identity.discipline.name(),
            asked.name()
        ))
        .advise("open it with the discipline it was created with")),
        _ => Ok(()),
    }
}

/// The settings of an open, in one place for new and for old logs.
fn settings(
    config: &Config,
    disk: &dyn Disk,
    identity: &siding_wal::read::Identity,
    incarnation: u32,
    epoch: u32,
) -> Settings {
    let size = identity.segment_size;
    let quarter = usize::try_from(size / 4).unwrap_or(usize::MAX);
    Settings {
        log_id: identity.log_id,
        path_id: identity.path_id,
        discipline: identity.discipline,
        incarnation,
        epoch,
        write_unit: config.write_unit.unwrap_or(disk.geometry().write_unit),
        segment_size: size,
        ring_size: config.ring_size,
        max_record: config.max_record.min(16 << 20).min(quarter).min(config.ring_size / 4),
        max_log_bytes: config.max_log_bytes,
        threads: config.threads,
    }
}
