//! The verbs that only read, on small logs: closed, in use, damaged, and none at all.

use crate::support::{contents, flip, made, make, options, segment, siding, verb};
use serde_json::json;
use siding::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::tempdir;

const VERBS: [&str; 5] = ["info", "dump", "verify", "units", "why"];

#[test]
fn info_shows_what_a_closed_log_is() {
    let dir = tempdir().unwrap();
    made(dir.path());
    let said = verb("info", dir.path(), &[]).exits(0);
    said.tells(&["deferred apply", "[A] clean close", "1 in doubt", "decided: commit", "oldest"]);
    let objects = verb("info", dir.path(), &["--json"]).exits(0).objects();
    let log = &objects[0];
    assert_eq!(log["type"], "log");
    assert_eq!(
        (&log["in_use"], &log["clean"], &log["letter"]),
        (&json!(false), &json!(true), &json!("A"))
    );
    assert_eq!(log["units"]["in_doubt"], 1);
    let at = |name: &str| log["positions"][name].as_u64().unwrap();
    assert!(at("oldest") <= at("keypoint_begin") && at("keypoint_begin") < at("keypoint_end"));
    assert!(at("keypoint_end") < at("durable") && at("durable") == at("end"));
    let segments: Vec<_> = objects[1..].iter().filter(|it| it["state"] != "spare").collect();
    assert!(segments.len() >= 3);
    assert_eq!(segments[0]["state"], "sealed");
    assert_eq!(segments.last().unwrap()["state"], "open");
    assert_eq!(segments.last().unwrap()["kept_end"].as_u64(), Some(at("end")));
}

#[test]
fn dump_shows_the_labels() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = options().open(dir.path())?.finish()?;
    let at = log.label("before the import")?;
    log.close()?;
    let marks = verb("dump", dir.path(), &["--json", "--kind", "mark"]).exits(0).objects();
    let named: Vec<_> = marks.iter().filter(|mark| !mark["label"].is_null()).collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["label"], "before the import");
    assert!(named[0]["lsn"].as_u64() < Some(at.get()));
    verb("dump", dir.path(), &["--kind", "mark"]).exits(0).tells(&["label before the import"]);
    Ok(())
}

#[test]
fn dump_prints_the_records_that_are_asked_for() {
    let dir = tempdir().unwrap();
    let starts = made(dir.path());
    let all = verb("dump", dir.path(), &["--json"]).exits(0).objects();
    assert_eq!(all.last().unwrap()["kind"], "CLOSE");
    let lsns: Vec<u64> = all.iter().map(|record| record["lsn"].as_u64().unwrap()).collect();
    assert!(lsns.is_sorted() && lsns.len() > 120);

    let prepared = verb("dump", dir.path(), &["--json", "--kind", "prepare"]).exits(0).objects();
    assert_eq!(prepared.len(), 1);
    assert_eq!(prepared[0]["gid"], "transfer-7");
    let unit = prepared[0]["unit"].as_str().unwrap();
    for named in [unit, "transfer-7"] {
        let of_unit = verb("dump", dir.path(), &["--json", "--uow", named]).exits(0).objects();
        let kinds: Vec<_> = of_unit.iter().map(|record| record["kind"].clone()).collect();
        assert_eq!(kinds, ["DATA", "DATA", "PREPARE"]);
        assert_eq!(of_unit[2]["prev"], of_unit[1]["lsn"]);
    }
    let (from, to) = (starts[3].to_string(), starts[5].to_string());
    let few =
        verb("dump", dir.path(), &["--json", "--from", &from, "--to", &to]).exits(0).objects();
    assert_eq!(few.iter().filter(|record| record["kind"] == "DATA").count(), 2);

    let hex = verb("dump", dir.path(), &["--uow", "transfer-7", "--hex"]).exits(0);
    hex.tells(
        &["\"debit 30\"", "64 65 62 69 74 20 33 30", "|gid transfer-7"]
            .map(|part| part.trim_start_matches('|')),
    );
    let hex = verb("dump", dir.path(), &["--json", "--kind", "data", "--to", &from, "--hex"]);
    assert_eq!(hex.exits(0).objects()[0]["payload_hex"], "6465626974203330");
}

#[test]
fn units_and_why_name_owners_and_what_to_do() {
    let dir = tempdir().unwrap();
    made(dir.path());
    verb("units", dir.path(), &[]).exits(0).tells(&["in doubt", "transfer-7", "decided: commit"]);
    let units = verb("units", dir.path(), &["--json"]).exits(0).objects();
    assert_eq!(units.len(), 2);
    assert_eq!((&units[0]["gid"], &units[0]["records"]), (&json!("transfer-7"), &json!(3)));
    assert!(units[0]["age_ms"].as_u64().unwrap() < 600_000);
    let doubt = verb("units", dir.path(), &["--json", "--in-doubt"]).exits(0).objects();
    assert_eq!(doubt.len(), 1);
    verb("why", dir.path(), &[]).exits(0).tells(&["no redo position", "redo_from", "transfer-7"]);
    let pins = verb("why", dir.path(), &["--json"]).exits(0).objects();
    let kinds: Vec<_> = pins.iter().map(|pin| pin["kind"].clone()).collect();
    assert_eq!(kinds, ["redo", "unit", "unit", "keypoint"]);
    assert!(pins.iter().all(|pin| !pin["action"].as_str().unwrap().is_empty()));
}

#[test]
fn verify_finds_nothing_in_a_sound_log() {
    let dir = tempdir().unwrap();
    made(dir.path());
    verb("verify", dir.path(), &[]).exits(0).tells(&["sound", "[A] clean close"]);
    let summary = verb("verify", dir.path(), &["--json"]).exits(0).objects().pop().unwrap();
    assert_eq!((&summary["ok"], &summary["findings"]), (&json!(true), &json!(0)));
    assert!(summary["records"].as_u64().unwrap() > 120);
}

#[test]
fn verify_names_segment_position_and_letter_of_a_flipped_bit() {
    let dir = tempdir().unwrap();
    let starts = made(dir.path());
    flip(dir.path(), starts[20], 700);
    let (number, lsn) = ((starts[20].get() >> 16).to_string(), starts[20].to_string());
    let said = verb("verify", dir.path(), &[]).exits(1);
    said.tells(&["[H]", &format!("segment {number}"), &format!("LSN {lsn}"), "1 finding", ".seg"]);
    let objects = verb("verify", dir.path(), &["--json"]).exits(1).objects();
    assert_eq!(objects.len(), 2);
    assert_eq!(
        (&objects[0]["letter"], &objects[0]["lsn"]),
        (&json!("H"), &json!(starts[20].get()))
    );
    assert_eq!(objects[1]["ok"], json!(false));
    // What reads on from the last keypoint does not meet it; what reads everything stops there.
    verb("info", dir.path(), &[]).exits(0);
    let dump = verb("dump", dir.path(), &["--json"]).exits(1);
    assert_eq!(dump.objects().last().unwrap()["letter"], "H");
}

#[test]
fn damage_behind_the_last_keypoint_is_told_by_every_verb() {
    let dir = tempdir().unwrap();
    let (log, _) = make(dir.path()).unwrap();
    let hole = log.positions().end;
    for _ in 0..3 {
        log.write(&[7; 100]).unwrap();
    }
    log.close().unwrap();
    flip(dir.path(), hole, 60);
    for name in VERBS {
        let said = verb(name, dir.path(), &[]).exits(1);
        said.tells(&["durable data damaged", &hole.to_string()]);
        verb(name, dir.path(), &["--json"]).exits(1).objects();
    }
}

#[test]
fn what_is_no_log_is_said_plainly() {
    let dir = tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    for name in VERBS {
        verb(name, dir.path(), &[]).exits(3).tells(&["no log", dir.path().to_str().unwrap()]);
        verb(name, &nowhere, &[]).exits(3).tells(&["nowhere"]);
        let object = &verb(name, dir.path(), &["--json"]).exits(3).objects()[0];
        assert_eq!(object["kind"], "NotFound");
    }
    assert!(!nowhere.exists(), "looking made a directory");
    assert_eq!(contents(dir.path()), [], "looking made a file");
}

#[test]
fn usage_is_explained() {
    let dir = tempdir().unwrap();
    made(dir.path());
    siding(["info"]).exits(2).tells(&["<DIR>"]);
    siding(["dance"]).exits(2);
    verb("dump", dir.path(), &["--kind", "dance"]).exits(2).tells(&["PREPARE", "KP_BEGIN"]);
    verb("dump", dir.path(), &["--uow", "nobody"]).exits(3).tells(&["no live unit", "nobody"]);
    verb("dump", dir.path(), &["--from", "x"]).exits(2);
    siding(["--help"]).exits(0).tells(&["info", "dump", "verify", "units", "why", "Exit codes"]);
    for name in VERBS {
        siding([name, "--help"]).exits(0).tells(&["Example", "siding "]);
    }
}

/// Verbs and damage: each is refused with the file's name, and nothing is changed.
#[test]
fn files_that_are_wrong_are_named() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    made(dir.path());
    made(other.path());
    let path = segment(dir.path(), 1);
    let whole = std::fs::read(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut newer = whole.clone();
    newer[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c(&newer[..508]).to_le_bytes();
    newer[508..512].copy_from_slice(&crc);
    let mut torn = whole.clone();
    torn[100] ^= 1;
    let wrong: [(&str, Option<Vec<u8>>, &str); 6] = [
        ("a foreign file", Some(vec![b'x'; 65536]), "foreign file"),
        ("another log's", Some(std::fs::read(segment(other.path(), 1)).unwrap()), "another log"),
        ("a missing one", None, "[M]"),
        ("a damaged header", Some(torn), "[P]"),
        ("a newer version", Some(newer), "[N]"),
        ("a truncated one", Some(whole[..40_000].to_vec()), "[G]"),
    ];
    for (what, bytes, tells) in wrong {
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let before = contents(dir.path());
        verb("verify", dir.path(), &[]).exits(1).tells(&[tells, name]);
        verb("info", dir.path(), &[]).exits(3).tells(&[name]);
        let object = &verb("units", dir.path(), &["--json"]).exits(3).objects()[0];
        assert!(object["file"].as_str().unwrap().ends_with(name), "{what}: {object}");
        assert_eq!(contents(dir.path()), before, "{what}: looking changed something");
    }
    std::fs::write(&path, whole).unwrap();
    verb("verify", dir.path(), &[]).exits(0);
}

#[test]
fn looking_changes_nothing() {
    let dir = tempdir().unwrap();
    made(dir.path());
    let before = contents(dir.path());
    for name in VERBS {
        verb(name, dir.path(), &[]).exits(0);
    }
    assert_eq!(contents(dir.path()), before);
}

/// What is not told fails the test, and must not leave its writer at work.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_log_in_use_is_read_while_a_thread_commits() -> Result<()> {
    let dir = tempdir().unwrap();
    let (log, _) = make(dir.path())?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let lsn = log.write(&[9; 500])?;
                number += 1;
                if number.is_multiple_of(200) {
                    log.redo_from(lsn)?;
                    log.keypoint()?;
                    // The unit in doubt pins all of it: it shall not grow without measure.
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Ok(())
        });
        let _stop = StopOnDrop(&stop);
        let pid = format!("by process {}", std::process::id());
        for _ in 0..6 {
            verb("info", dir.path(), &[]).exits(0).tells(&[&pid, "1 in doubt"]);
            verb("units", dir.path(), &[]).exits(0).tells(&["transfer-7"]);
            verb("why", dir.path(), &[]).exits(0).tells(&["transfer-7"]);
            let said = verb("dump", dir.path(), &["--json", "--kind", "prepare"]).exits(0);
            assert_eq!(said.objects()[0]["gid"], "transfer-7");
            verb("verify", dir.path(), &[]).exits(0).tells(&["sound", "in use"]);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    })?;
    log.close()?;
    options().open(dir.path())?.finish()?.close()
}
