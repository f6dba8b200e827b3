//! `siding probe`: what it says, and that it leaves nothing behind.

use crate::support::{options, siding, verb};
use siding::{Backend, Result};
use std::ffi::OsString;
use std::path::Path;

#[test]
fn a_disk_is_measured_and_options_are_named() -> Result<()> {
    // Beside the build: the usual place may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // It is measured beside a log.
    let log = options().open(dir.path())?.finish()?;
    log.write(b"kept")?;
    log.close()?;
    let before = names(dir.path());
    let objects = verb("probe", dir.path(), &["--json", "--seconds", "1"]).exits(0).objects();
    let measured = || objects.iter().filter(|object| object.get("measured").is_some());
    assert!(measured().count() >= 8, "{objects:?}");
    assert!(measured().all(|row| row["value"].as_f64().unwrap() > 0.0), "{objects:?}");
    for busy in [false, true] {
        assert!(measured().any(|row| row["measured"] == "durable" && row["busy"] == busy));
    }
    let last = objects.last().unwrap();
    let backend: Backend = last["recommended"]["backend"].as_str().unwrap().parse()?;
    let named = |row: &&serde_json::Value| row["backend"] == backend.name();
    assert!(measured().any(|row| named(&row)), "what is recommended was measured");
    assert!(last["recommended"]["write_unit"].as_u64().unwrap() >= 512);
    assert!(!last["reasons"].as_array().unwrap().is_empty());
    assert_eq!(names(dir.path()), before, "it leaves nothing, and touches nothing");
    options().open(dir.path())?.finish()?.close()
}

fn names(dir: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_a_killed_probe_left_is_named() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::create_dir(dir.path().join(".siding-probe-x")).unwrap();
    let said = verb("probe", dir.path(), &["--seconds", "1"]).exits(0);
    said.tells(&[".siding-probe-x is left", "recommended: Options::new()", "durable writes"]);
    assert_eq!(names(dir.path()), [OsString::from(".siding-probe-x")], "it is not ours to remove");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    verb("probe", &dir.path().join("gone"), &[]).exits(3).tells(&["no such directory"]);
    verb("probe", dir.path(), &["--seconds", "0"]).exits(2);
    siding(["probe"]).exits(2);
    assert!(names(dir.path()).is_empty());
}
