//! The database: what its handles share, how it is opened, begun upon and closed.

use crate::change::{self, Changes, Map};
use crate::doubt::Doubts;
use crate::locks::Locks;
use crate::snapshot::{self, Snapshot};
use crate::unapplied::Unapplied;
use crate::{Error, Result, Txn};
use siding::{Log, Lsn, Recovery};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

/// How a database is opened.
#[derive(Debug)]
pub struct Options {
    log: siding::Options,
    patience: Duration,
}

/// What an open found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the open of the log found.
    pub log: siding::Report,
    /// The snapshot it started from, if there was one.
    pub snapshot: Option<PathBuf>,
    /// Snapshots that were passed over, each with the reason.
    pub passed_over: Vec<String>,
    /// Where redo began.
    pub redo: Lsn,
    /// Changes that redo applied.
    pub redone: u64,
    /// Units in doubt, whose locks were taken again.
    pub in_doubt: usize,
}

/// A snapshot that is whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) number: u64,
    pub(crate) redo: Lsn,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) log: Log,
    /// What is committed and applied. Each commit is applied under one hold of the lock.
    pub(crate) map: RwLock<Map>,
    pub(crate) locks: Locks,
    pub(crate) unapplied: Unapplied,
    pub(crate) doubts: Doubts,
    /// The snapshots that count, newest first; held while one is taken.
    pub(crate) snapshots: Mutex<Vec<Whole>>,
    report: Report,
}

/// An ordered map of bytes to bytes, with transactions. Cheap to clone; every clone is the same
/// database.
#[derive(Clone, Debug)]
pub struct Db(pub(crate) Arc<Shared>);

impl Default for Options {
    fn default() -> Self {
        Self { log: siding::Options::new(), patience: Duration::from_secs(1) }
    }
}

impl Options {
    /// The log's defaults, and a second's patience for locks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How the log is opened. It must apply deferred, as it does by default, and its commits
    /// must be durable when they return.
    #[must_use]
    pub fn log(self, log: siding::Options) -> Self {
        Self { log, ..self }
    }

    /// How long a transaction waits for a lock before it is told that it is [`Error::Busy`].
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Opens the database in a directory, or creates it there. This is the restart:
    ///
    /// 1. The log is opened; its lock keeps everybody else out of the directory. It is created
    ///    only where no snapshot says that there was one.
    /// 2. The newest snapshot that is whole is read. One that is torn is passed over, and named;
    ///    one that is whole and does not belong to this log is refused.
    /// 3. Redo: every unit committed above the snapshot's position, in the order of the commits.
    /// 4. Units in doubt take their locks again, before anybody else can.
    ///
    /// # Errors
    ///
    /// A snapshot belongs to another log; no snapshot is whole and the log does not reach back to
    /// its beginning; or what the log says. Nothing is changed then, but an unfinished snapshot
    /// removed.
    ///
    /// # Crash
    ///
    /// The next open does the same again.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Db> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let fresh = snapshot::numbers(dir)?.is_empty();
        let options = if fresh { self.log } else { self.log.create(false) };
        // An operator's backup finds the database by this, once it is open.
        let this: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        let found = Arc::clone(&this);
        let options =
            options.back_up(move |log, sink, options| match found.get().and_then(Weak::upgrade) {
                Some(shared) => shared.backup_to(log, sink, options),
                None => Err(siding::Error::new(siding::ErrorKind::Closed, "it is closed")),
            });
        let recovery = options.open(log_dir(dir))?;
        snapshot::sync_dir(dir)?;
        snapshot::remove_unfinished(dir)?;
        let mut report = Report { log: recovery.report().clone(), ..Report::default() };
        let (snapshots, base) = load(dir, &mut report)?;
        let (log, map) = redo(recovery, base, &mut report)?;
        let locks = Locks::new(self.patience);
        let doubts = Doubts::at_restart(&log, &locks)?;
        report.in_doubt = doubts.gids().len();
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            log,
            map: RwLock::new(map),
            locks,
            unapplied: Unapplied::default(),
            doubts,
            snapshots: Mutex::new(snapshots),
            report,
        });
        let _ = this.set(Arc::downgrade(&shared));
        Ok(Db(shared))
    }
}

/// Where the log of the database in `dir` lies.
#[must_use]
pub fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// The snapshots that are whole, newest first, with the contents of the first.
fn load(dir: &Path, report: &mut Report) -> Result<(Vec<Whole>, Option<Snapshot>)> {
    let mut whole = Vec::new();
    let mut newest = None;
    for number in snapshot::numbers(dir)? {
        let file = snapshot::path(dir, number);
        match snapshot::read(&file, report.log.log_id, report.log.end)? {
            Ok(snapshot) => {
                whole.push(Whole { number, redo: snapshot.redo });
                if newest.is_none() {
                    newest = Some(snapshot);
                    report.snapshot = Some(file);
                }
            }
            Err(error) => report.passed_over.push(error.to_string()),
        }
    }
    Ok((whole, newest))
}

/// Brings the snapshot up to date with the log.
fn redo(recovery: Recovery, base: Option<Snapshot>, report: &mut Report) -> Result<(Log, Map)> {
    let Snapshot { mut map, redo } = base.unwrap_or(Snapshot { map: Map::new(), redo: Lsn::ZERO });
    report.redo = redo;
    // Without this call redo would start where the log's own keypoint says, which may be below
    // what this snapshot holds, or above what an older one does.
    let recovery = recovery.from(redo).map_err(|error| no_start(error, report))?;
    let mut committed = recovery.committed()?;
    while let Some(record) = committed.next()? {
        let (key, value) = change::decode(record.payload())?;
        change::apply(&mut map, key, value);
        report.redone += 1;
    }
    Ok((recovery.finish()?, map))
}

fn no_start(error: siding::Error, report: &Report) -> Error {
    match report.passed_over.first() {
        Some(first) => Error::Snapshots { first: first.clone(), log: error },
        None => Error::Log(error),
    }
}

impl Db {
    /// Opens the database in a directory with the default options, or creates it there.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    ///
    /// # Crash
    ///
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(dir)
    }

    /// What the open found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// The log, to be looked at: positions, why it is kept, its records.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// Begins a transaction. Writes nothing.
    ///
    /// # Errors
    ///
    /// The log failed, or is closed.
    pub fn begin(&self) -> Result<Txn> {
        Ok(Txn::new(self.clone(), self.0.log.begin()?))
    }

    /// Looks at everything that is committed, as of one moment, without locks: units in flight
    /// and in doubt are not in it. Commits wait while `look` runs; it must not ask the database
    /// for anything.
    pub fn view<T>(&self, look: impl FnOnce(&Map) -> T) -> T {
        look(&self.0.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the database. Takes no snapshot: the next open redoes what the last one lacks.
    ///
    /// # Errors
    ///
    /// Transactions are in flight, or the log failed.
    pub fn close(&self) -> Result<()> {
        Ok(self.0.log.close()?)
    }

    pub(crate) fn apply(&self, changes: &Changes) {
        let mut map = self.0.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            change::apply(&mut map, key, value.as_deref());
        }
    }
}
