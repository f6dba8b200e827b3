//! The same in directories, with threads, on the file system there is.

use siding::archive::{ArchiveOptions, Plan, Target, Wanted};
use siding::disk::open_dir;
use siding::sink::DirectorySink;
use siding::{
    Backend, BackupFile, ErrorKind, InDoubtPolicy, Log, Options, Outcome, RestoreOptions, Restored,
    Result, restore_dir,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn options() -> Options {
    Options::new().segment_size(1 << 20).archived(true)
}

/// A log with a unit in doubt, backed up, archived, and written to before and behind a label.
fn written(at: &Path) -> Result<()> {
    let log = options().open(at.join("log"))?.finish()?;
    let disk = open_dir(&at.join("archive"), Backend::Buffered, true).unwrap();
    log.archive_to(Arc::new(DirectorySink::new(disk)), ArchiveOptions::default())?;
    let mut unit = log.begin()?;
    unit.append(b"in doubt")?;
    drop(unit.prepare(b"gid")?);
    fs::write(at.join("table"), vec![7; 10_001]).unwrap();
    log.write(b"one")?;
    log.backup(at.join("archive"), &[(3, at.join("table"))])?;
    log.write(&vec![2; 200_000])?;
    log.label("here")?;
    log.write(b"three")?;
    log.archive_now()?;
    log.close()
}

fn restored(at: &Path, name: &str, policy: InDoubtPolicy<'_>) -> Result<(Plan, Restored)> {
    let wanted = Wanted::from(Target::Label("here".into()));
    let target = |file: &BackupFile| -> Option<PathBuf> {
        assert_eq!(file.name, "table");
        Some(at.join(name).join("files").join(&file.name))
    };
    let options = RestoreOptions::new().in_doubt(policy).who("a test");
    restore_dir(at.join("archive"), &wanted, at.join(name).join("log"), target, &options)
}

#[test]
fn directories_are_restored_to_a_label() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    written(at)?;
    for (name, policy, due) in [
        ("kept", InDoubtPolicy::Keep, None),
        ("committed", InDoubtPolicy::Commit, Some(Outcome::Commit)),
        ("backed-out", InDoubtPolicy::BackOut, Some(Outcome::BackOut)),
    ] {
        let (plan, restored) = self::restored(at, name, policy)?;
        assert_eq!((plan.target, plan.in_doubt.len()), (restored.log.to, 1));
        assert_eq!(
            (&restored.in_doubt[0].gid[..], restored.in_doubt[0].outcome),
            (&b"gid"[..], due)
        );
        let file = fs::read(at.join(name).join("files/table")).unwrap();
        assert!(file == vec![7; 10_001], "{}", file.len());
        let seen = Log::verify(at.join(name).join("log"), |_| {})?;
        assert_eq!(seen.findings, []);
        let mut records = Vec::new();
        let log = options().open(at.join(name).join("log"))?.recover(|record| {
            records.push(record.payload().len());
            Ok(())
        })?;
        let more: &[usize] = if due == Some(Outcome::Commit) { &[8] } else { &[] };
        assert_eq!(records, [&[3, 200_000], more].concat());
        assert_eq!(log.in_doubt().len(), usize::from(due.is_none()));
        log.write(b"goes on")?;
        // What is there is not overwritten, neither log nor file.
        let error = self::restored(at, name, policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    Ok(())
}
