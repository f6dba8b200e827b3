//! Backups that an operator asks for: one at a time, in a thread of its own.
//!
//! The answer to the request is that it began; how far it is, and what came of it, is asked for
//! again and again. The log stays open while one runs, whoever drops it meanwhile.

use crate::Log;
use crate::inner::Inner;
use siding_checkpoint::{
    BackupId, BackupOptions, Copying, DirectorySink, Manifest, Sink, backup_digits,
    parse_backup_digits,
};
use siding_wal::disk::{Backend, open_dir};
use siding_wal::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

/// How an embedder backs itself up: see [`Options::back_up`](crate::Options::back_up).
pub(crate) type Backer =
    Arc<dyn Fn(&Log, &dyn Sink, &BackupOptions<'_>) -> Result<Manifest> + Send + Sync>;

/// The backup that runs, or ran last.
#[derive(Default)]
pub(crate) struct Backups(Mutex<Option<Run>>);

/// One backup.
struct Run {
    into: PathBuf,
    /// Each file at hand, with bytes copied and bytes it has.
    files: BTreeMap<String, (u64, u64)>,
    /// What came of it, once it is over.
    result: Option<Result<Manifest>>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    /// Bytes a second; none: the default.
    rate: Option<u64>,
    after: Option<BackupId>,
    into: &'a Path,
}

impl<'a> Wanted<'a> {
    fn parse(words: &'a str) -> Option<Self> {
        let (rate, rest) = words.trim().split_once(' ')?;
        let (after, into) = rest.trim_start().split_once(' ')?;
        let rate = if rate == "-" { None } else { Some(rate.parse().ok()?) };
        let after = if after == "-" { None } else { Some(parse_backup_digits(after)?) };
        let into = Path::new(into.trim());
        into.is_absolute().then_some(Self { rate, after, into })
    }
}

impl Backups {
    fn run(&self) -> MutexGuard<'_, Option<Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copied(&self, at: &Copying<'_>) {
        if let Some(run) = self.run().as_mut() {
            run.files.insert(at.name.to_owned(), (at.done, at.len));
        }
    }
}

/// Begins a backup.
pub(super) fn begin(log: &Arc<Inner>, words: &str) -> Result<()> {
    let wanted = Wanted::parse(words).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "back-up RATE|- AFTER|- DIR, with the whole path of DIR")
    })?;
    if !log.is_in_use() {
        let what = "the log is being recovered; no backup is taken meanwhile";
        return Err(Error::new(ErrorKind::InUse, what).advise("ask again when it is in use"));
    }
    let disk = open_dir(wanted.into, Backend::Buffered, true).map_err(|cause| {
        Error::io("the directory of the backup cannot be opened", cause).file(wanted.into)
    })?;
    {
        let mut run = log.backups().run();
        if run.as_ref().is_some_and(|run| run.result.is_none()) {
            return Err(Error::new(ErrorKind::InUse, "a backup runs already")
                .advise("ask for `backup-status`, and again when it is over"));
        }
        let into = wanted.into.to_owned();
        *run = Some(Run { into, files: BTreeMap::new(), result: None });
    }
    let (rate, after, owner) = (wanted.rate, wanted.after, Arc::clone(log));
    let started = Builder::new().name("siding-backup".to_owned()).spawn(move || {
        let sink = DirectorySink::new(disk);
        let result = take(&owner, &sink, rate, after);
        if let Some(run) = owner.backups().run().as_mut() {
            run.result = Some(result);
        }
    });
    started.map(drop).map_err(|cause| {
        *log.backups().run() = None;
        Error::io("a thread cannot be started", cause)
    })
}

fn take(
    log: &Arc<Inner>,
    sink: &dyn Sink,
    rate: Option<u64>,
    after: Option<BackupId>,
) -> Result<Manifest> {
    let told = |at: &Copying<'_>| log.backups().copied(at);
    let mut options = BackupOptions::new().progress(&told);
    if let Some(rate) = rate {
        options = options.rate(rate);
    }
    if let Some(after) = after {
        options = options.after(after);
    }
    let handle = Log::new(Arc::clone(log));
    match log.backer().filter(|_| after.is_none()) {
        // What the embedder shares with it is the embedder's to keep whole.
        Some(backer) => catch_unwind(AssertUnwindSafe(|| backer(&handle, sink, &options)))
            .unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Callback, "the program's own handler panicked"))
            }),
        // One that goes on from another copies log and extents alone.
        None => handle.backup_to(sink, &[], &options),
    }
}

/// How far the backup is that runs or ran last: names and values of a row; none if there was none.
pub(super) fn status(log: &Inner) -> Option<Vec<(&'static str, String)>> {
    let run = log.backups().run();
    let run = run.as_ref()?;
    let (done, len) = run.files.values().fold((0_u64, 0_u64), |(done, len), file| {
        (done.saturating_add(file.0), len.saturating_add(file.1))
    });
    let state = match &run.result {
        None => "running",
        Some(Ok(_)) => "done",
        Some(Err(_)) => "failed",
    };
    let mut row = vec![
        ("state", state.to_owned()),
        ("into", run.into.display().to_string()),
        ("done", done.to_string()),
        ("len", len.to_string()),
    ];
    match &run.result {
        Some(Ok(manifest)) => {
            row.push(("id", backup_digits(manifest.id)));
        }
        Some(Err(error)) => {
            row.push(("kind", format!("{:?}", error.kind())));
            row.push(("error", error.to_string()));
        }
        None => {}
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_understood_whole_or_not_at_all() {
        let digits = "000102030405060708090a0b0c0d0e0f";
        let after = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
        let wanted = |rate, after, into| Some(Wanted { rate, after, into: Path::new(into) });
        assert_eq!(Wanted::parse("- - /a b/c"), wanted(None, None, "/a b/c"));
        let asked = format!("7 {digits} /a");
        assert_eq!(Wanted::parse(&asked), wanted(Some(7), Some(after), "/a"));
        for wrong in ["", "-", "- -", "- - a", "x - /a", "- 12 /a", "- - ", "-1 - /a"] {
            assert_eq!(Wanted::parse(wrong), None, "{wrong}");
        }
    }
}
