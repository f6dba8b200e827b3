//! Backup, restore, archive and repair, as a user starts them.

use crate::support::{contents, flip, made, options, siding, verb};
use serde_json::json;
use siding::archive::ArchiveOptions;
use siding::disk::open_dir;
use siding::sink::DirectorySink;
use siding::{Backend, Log, Result, object_file};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::tempdir;

/// The small payloads that a recovery delivers.
fn delivered(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut seen = Vec::new();
    let log = options().create(false).open(path)?.recover(|record| {
        if record.payload().len() < 3000 {
            seen.push(record.payload().to_vec());
        }
        Ok(())
    })?;
    log.close()?;
    Ok(seen)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_closed_log_is_backed_up_verified_and_restored() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("backups"));
    made(&log);
    let pages = dir.path().join("pages");
    fs::write(&pages, [7; 10_001]).unwrap();
    let object = format!("4={}", text(&pages));
    let args = ["--to", text(&to), "--object", &object, "--json"];
    let said = verb("backup", &log, &args).exits(0).objects().remove(0);
    let id = said["id"].as_str().unwrap().to_owned();
    assert_eq!(said["files"][0]["bytes"], 10_001);
    assert_eq!(said["in_doubt"][0]["gid"], "transfer-7");
    verb("verify-backup", &to, &[]).exits(0).tells(&["whole", &id]);
    // One that goes on from it copies no object.
    let more = ["--to", text(&to), "--after", "last", "--json"];
    let more = verb("backup", &log, &more).exits(0).objects().remove(0);
    assert_eq!((&more["after"], &more["files"]), (&json!(id), &json!([])));
    let plan = siding(["restore", "--from", text(&to), "--plan", "--json"]).exits(0).objects();
    assert_eq!((&plan[0]["type"], &plan[0]["backup"]), (&json!("plan"), &json!(id)));
    let (into, files) = (dir.path().join("again"), dir.path().join("files"));
    let args = ["restore", "--from", text(&to), "--into", text(&into), "--files", text(&files)];
    siding(args).exits(0).tells(&["restored to", "transfer-7", "in doubt"]);
    assert_eq!(fs::read(files.join("pages")).unwrap(), fs::read(&pages).unwrap());
    assert_eq!(delivered(&into)?, delivered(&log)?);
    verb("units", &into, &[]).exits(0).tells(&["transfer-7"]);
    // A directory with something in it is left alone.
    let before = contents(&into);
    siding(args).exits(3).tells(&["holds"]);
    assert_eq!(contents(&into), before);
    Ok(())
}

#[test]
fn units_in_doubt_go_as_is_asked_for() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("backups"));
    made(&log);
    verb("backup", &log, &["--to", text(&to)]).exits(0);
    let into = |name: &str| dir.path().join(name);
    for (policy, there) in [("commit", true), ("back-out", false), ("export", false)] {
        let (place, out) = (into(policy), into("effects"));
        let mut args = vec!["restore", "--from", text(&to), "--into", text(&place)];
        args.extend(["--in-doubt", policy]);
        if policy == "export" {
            siding(&args).exits(2).tells(&["--export"]);
            args.extend(["--export", text(&out)]);
        }
        siding(&args).exits(0).tells(&["transfer-7"]);
        assert_eq!(delivered(&place)?.contains(&b"debit 30".to_vec()), there, "{policy}");
        verb("units", &place, &["--json"]).exits(0);
    }
    let effects = fs::read_to_string(into("effects")).unwrap();
    let first: String = b"debit 30".iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(effects.contains(&first), "{effects}");
    Ok(())
}

/// A log that is archived while it is written, with a label on the way.
fn archived(log: &Path, to: &Path) -> Result<(u64, u64)> {
    let log = options().open(log)?.finish()?;
    let sink = DirectorySink::new(open_dir(to, Backend::Buffered, true).unwrap());
    log.archive_to(Arc::new(sink.clone()), ArchiveOptions::default())?;
    log.write(b"before")?;
    log.backup_to(&sink, &[], &siding::BackupOptions::new())?;
    log.write(b"first")?;
    let label = log.label("here")?;
    let mut unit = log.begin()?;
    unit.append(b"second")?;
    let id = unit.id();
    unit.commit()?;
    log.write(b"third")?;
    log.archive_now()?;
    log.close()?;
    Ok((label.get(), id))
}

#[test]
fn a_log_is_restored_to_names_units_positions_and_moments() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("archive"));
    let (label, unit) = archived(&log, &to)?;
    let mut count = 0;
    let mut got = |target: &[&str]| -> Result<Vec<Vec<u8>>> {
        count += 1;
        let into = dir.path().join(format!("into-{count}"));
        let mut args = vec!["restore", "--from", text(&to), "--into", text(&into)];
        args.extend(target);
        siding(args).exits(0);
        delivered(&into)
    };
    let words = |all: &[&str]| all.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(got(&[])?, words(&["before", "first", "second", "third"]));
    assert_eq!(got(&["--to-label", "here"])?, words(&["before", "first"]));
    assert_eq!(got(&["--to-unit", &format!("{unit:#x}")])?, words(&["before", "first"]));
    assert_eq!(got(&["--to-lsn", &label.to_string()])?, words(&["before", "first"]));
    assert_eq!(got(&["--to-backup"])?, words(&["before"]));
    let refused = |target: &[&str], told: &[&str]| {
        let mut args = vec!["restore", "--from", text(&to), "--plan"];
        args.extend(target);
        siding(args).exits(1).tells(told);
    };
    refused(&["--to-label", "there"], &["there", "what can be reached"]);
    refused(&["--to-lsn", "1"], &["below the end", "what can be reached"]);
    refused(&["--to-time", "2099-01-01 00:00:00"], &["after the last mark"]);
    refused(&["--to-unit", "nobody"], &["no COMMIT"]);
    siding(["restore", "--from", text(&to), "--plan", "--to-time", "soon"]).exits(2);
    siding(["restore", "--from", text(&to)]).exits(2).tells(&["--into"]);
    Ok(())
}

#[test]
fn an_archive_is_shipped_to_and_listed() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("archive"));
    made(&log);
    verb("archive", Path::new("ship"), &[text(&log), "--to", text(&to)]).exits(0);
    let listed = siding(["archive", "list", text(&to), "--json"]).exits(0).objects();
    assert!(listed.len() > 2 && listed.last().unwrap()["gaps"] == json!([]), "{listed:?}");
    siding(["archive", "list", text(&to)]).exits(0).tells(&["segment", "sealed"]);
    // Again: nothing is put twice.
    let before = contents(&to);
    siding(["archive", "ship", text(&log), "--to", text(&to)]).exits(0);
    assert_eq!(contents(&to), before);
    siding(["archive", "list", text(&dir.path().join("none"))]).exits(3);
    siding(["archive", "ship", text(&log), "--to", "s3://there"]).exits(3).tells(&["directories"]);
    Ok(())
}

#[test]
fn what_no_kept_backup_needs_is_pruned() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("backups"));
    made(&log);
    for _ in 0..3 {
        verb("backup", &log, &["--to", text(&to)]).exits(0);
    }
    let before = contents(&to);
    siding(["archive", "prune", text(&to), "--keep", "0"]).exits(2);
    siding(["archive", "prune", text(&to)]).exits(0).tells(&["would be removed", ".manifest"]);
    assert_eq!(contents(&to), before);
    siding(["archive", "prune", text(&to), "--keep", "2", "--apply"]).exits(0).tells(&["removed"]);
    let manifests = contents(&to).iter().filter(|it| it.0.ends_with(".manifest")).count();
    assert_eq!(manifests, 2);
    verb("verify-backup", &to, &[]).exits(0);
    let into = dir.path().join("into");
    siding(["restore", "--from", text(&to), "--into", text(&into)]).exits(0);
    assert_eq!(delivered(&into)?, delivered(&log)?);
    siding(["archive", "prune", text(&dir.path().join("none")), "--apply"]).exits(3);
    Ok(())
}

#[test]
fn damage_is_named_and_a_killed_backup_is_none() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("backups"));
    made(&log);
    siding(["verify-backup", text(&dir.path().join("none"))]).exits(3);
    fs::create_dir(&to).unwrap();
    verb("verify-backup", &to, &[]).exits(1).tells(&["no complete backup"]);
    verb("backup", &log, &["--to", text(&to)]).exits(0);
    let part = |end: &str| {
        let names = fs::read_dir(&to).unwrap().map(|it| it.unwrap().path());
        names.filter(|path| text(path).ends_with(end)).min().unwrap()
    };
    let segment = part(".seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5_000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    verb("verify-backup", &to, &["--json"]).exits(1).tells(&["damaged", &name]);
    let into = dir.path().join("into");
    siding(["restore", "--from", text(&to), "--into", text(&into)]).exits(3).tells(&[&name]);
    fs::remove_file(part(".manifest")).unwrap();
    siding(["restore", "--from", text(&to), "--plan"]).exits(1).tells(&["no complete backup"]);
    Ok(())
}

#[test]
fn a_damaged_log_is_repaired_from_an_archive_or_cut() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, to) = (dir.path().join("log"), dir.path().join("archive"));
    made(&log);
    verb("repair", &log, &[]).exits(0).tells(&["nothing to repair"]);
    siding(["archive", "ship", text(&log), "--to", text(&to)]).exits(0);
    let whole = delivered(&log)?;
    let keypoint = Log::open_read_only(&log)?.positions().keypoint_begin;
    flip(&log, keypoint, 8);
    let before = contents(&log);
    verb("repair", &log, &[]).exits(1).tells(&["--cut"]);
    let args = ["--from", text(&to)];
    verb("repair", &log, &args).exits(1).tells(&["put back"]);
    verb("repair", &log, &["--apply"]).exits(1).tells(&["has to be cut"]);
    assert_eq!(contents(&log), before, "nothing was asked for");
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&log).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let aside = dir.path().join("aside");
    let args = ["--from", text(&to), "--apply", "--aside", text(&aside)];
    verb("repair", &log, &args).exits(0).tells(&["repaired", text(&aside)]);
    verb("verify", &log, &[]).exits(0);
    assert_eq!(delivered(&log)?, whole);
    assert!(fs::read_dir(&aside).unwrap().count() > 0);
    let said = verb("repair", &copy, &["--apply", "--cut", "--json"]).exits(0).objects();
    assert_eq!(said.last().unwrap()["sound"], true);
    assert!(whole.starts_with(&delivered(&copy)?));
    let beside = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().path());
    assert_eq!(beside.filter(|it| text(it).contains("copy.before-repair-")).count(), 1);
    Ok(())
}

#[test]
fn a_log_in_use_is_backed_up_by_its_owner() -> Result<()> {
    let dir = tempdir().unwrap();
    let (path, to) = (dir.path().join("log"), dir.path().join("backups"));
    let pages = dir.path().join("pages");
    fs::write(&pages, [3; 5_000]).unwrap();
    let file = pages.clone();
    let options = options()
        .admin(true)
        .back_up(move |log, sink, options| log.backup_to(sink, &[object_file(9, &file)?], options));
    let log = options.open(&path)?.finish()?;
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (log, over) = (log.clone(), Arc::clone(&over));
        thread::spawn(move || {
            let mut count = 0_u64;
            while !over.load(Ordering::Relaxed) {
                log.write(&count.to_le_bytes()).unwrap();
                count += 1;
            }
        })
    };
    let args = ["--to", text(&to), "--full-speed", "--json"];
    let said = verb("backup", &path, &args).exits(0).objects().remove(0);
    assert_eq!(said["files"][0]["object"], 9);
    let after = ["--to", text(&to), "--after", "last"];
    verb("backup", &path, &after).exits(0).tells(&["goes on from"]);
    verb("backup", &path, &["--to", text(&to), "--object", "1=x"]).exits(3).tells(&["leave"]);
    verb("repair", &path, &[]).exits(3).tells(&["open"]);
    siding(["archive", "ship", text(&path), "--to", text(&to)]).exits(3).tells(&["in use"]);
    siding(["archive", "status", text(&path)]).exits(0).tells(&["does not archive"]);
    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    log.close()?;
    verb("verify-backup", &to, &[]).exits(0);
    let into = dir.path().join("into");
    siding(["restore", "--from", text(&to), "--into", text(&into)]).exits(0);
    assert_eq!(fs::read(into.join("pages")).unwrap(), [3; 5_000]);
    let all = delivered(&into)?;
    let counted = (0_u64..).take(all.len()).map(|it| it.to_le_bytes().to_vec());
    assert!(!all.is_empty() && counted.eq(all), "what is there is there in order");
    Ok(())
}
