//! `siding demo`, as a person or a script runs it: it proves what it says, and can fail.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn siding(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siding"));
    command.arg("demo").args(args);
    command
}

fn run(args: &[&str]) -> Output {
    siding(args).output().unwrap()
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_else(|| panic!("{output:?}"));
    serde_json::from_str(last).unwrap()
}

#[test]
fn a_short_run_finds_nothing_and_keeps_its_contract() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("bank");
    let output = run(&["--smoke", "--json", "--dir", place.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let sum = last_line(&output);
    assert_eq!(sum["ok"], true);
    for none in ["lost", "half", "undead", "wrong"] {
        assert_eq!(sum[none], 0, "{none}");
    }
    for some in ["acknowledged", "in_doubt", "kills", "retained_main_bytes", "turned_away"] {
        assert!(sum[some].as_u64().unwrap() > 0, "{some}: {sum}");
    }
    stayed_flat(&sum);
    assert_eq!(sum["kills"], 6);
    assert!(sum["in_doubt"].as_u64().unwrap() >= 4, "{sum}");
    assert_eq!(sum["money"], sum["money_expected"]);
    // The log lies where it says, and the bank can be opened.
    assert_eq!(sum["log"], place.join("log").to_str().unwrap());
    let db = siding_kv::Db::open(&place).unwrap();
    assert!(db.in_doubt().is_empty() && db.view(|map| map.len()) > 2_000);
    // A line a restart, and the last one.
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 6);
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

/// Units were stuck, they were moved while kills fell, and the log did not grow for them.
fn stayed_flat(sum: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value}: {sum}"));
    assert_eq!(sum["flat"], true, "{sum}");
    assert!(number(&sum["moves"]) > 0 && number(&sum["retained_secondary_bytes"]) > 0, "{sum}");
    // What has moved out of the way is freed once it is decided.
    assert!(
        number(&sum["retained_secondary_bytes_after"]) <= number(&sum["retained_secondary_bytes"])
    );
    let samples = sum["retained"].as_array().unwrap();
    assert!(samples.len() > 8 && samples.len() <= 120, "{sum}");
    let segment = number(&sum["segment_bytes"]);
    let (mut most, mut end, mut over) = (0, 0, 0);
    for sample in samples {
        let main = number(&sample["main"]);
        most = most.max(main);
        let since = number(&sample["since_keypoint"]).clamp(2 * segment, 4 * segment);
        over += usize::from(main > 3 * segment + since + number(&sample["redo_lag"]));
        assert!(number(&sample["end"]) >= end, "{sample}");
        end = number(&sample["end"]);
    }
    // More has passed than what may be kept: it is not flat for want of traffic.
    assert!(end > 14 * segment && end > 2 * number(&sum["retained_main_bytes"]), "{sum}");
    assert!(number(&sum["retained_main_bytes_max"]) <= most, "{sum}");
    // To move a unit takes a moment, so a look may fall behind a keypoint and before it.
    assert!(over <= samples.len() / 5, "{sum}");
}

#[test]
fn a_person_is_told_where_the_log_lies_and_what_was_proved() {
    let output = run(&[
        "--kills",
        "2",
        "--millis",
        "200",
        "--accounts",
        "500",
        "--seed",
        "9",
        "--segment",
        "512",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "log lies in /",
        "acknowledged transfers is there",
        "money is right",
        "stayed flat while",
        "secondary",
        "removed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let place = text.split("log lies in ").nth(1).unwrap().split("/log.").next().unwrap();
    assert!(!std::path::Path::new(place).exists());
}

/// The faults that a worker can be told to have; release builds have none.
#[cfg(debug_assertions)]
#[test]
fn every_planted_fault_is_found() {
    for (fault, count) in [
        ("early", "lost"),
        ("half", "half"),
        ("undead", "undead"),
        ("unprepared", "lost"),
        ("unmoved", "wrong"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let args =
            ["--kills", "6", "--millis", "500", "--accounts", "500", "--segment", "256", "--json"];
        let output = siding(&args).args(["--dir", place, "--plant", fault]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{fault}: {output:?}");
        let sum = last_line(&output);
        assert_eq!(sum["ok"], false);
        assert!(sum[count].as_u64().unwrap() > 0, "{fault}: {sum}");
        assert!(!sum["findings"].as_array().unwrap().is_empty());
    }
}

#[test]
fn wrong_use_is_2_and_what_cannot_be_read_is_3() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), b"mine").unwrap();
    let place = dir.path().to_str().unwrap();
    let output = run(&["--dir", place]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    assert_eq!(run(&["--kills", "0"]).status.code(), Some(2));
    assert_eq!(run(&["--segment", "100"]).status.code(), Some(2));
    assert_eq!(run(&["--accounts", "100", "--branches", "100"]).status.code(), Some(2));
    let output = run(&["--dir", dir.path().join("mine").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(std::fs::read(dir.path().join("mine")).unwrap(), b"mine");
}

#[test]
fn no_worker_outlives_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("bank");
    let mut demo = siding(&["--kills", "1", "--seconds", "600", "--dir", place.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_open = || {
        let opened = siding_kv::Db::open(&place);
        matches!(opened, Err(error) if error.log_kind() == Some(siding::ErrorKind::Locked))
    };
    // Until a worker has it: the demo closes the bank before it starts one.
    while !place.join("snapshot-0000000000000002").exists() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_open());
    // Whoever watches may ask it: the worker answers for its log.
    let log = siding_kv::log_dir(&place);
    for verb in ["why", "units"] {
        let asked = [verb, log.to_str().unwrap(), "--json"];
        let said = Command::new(env!("CARGO_BIN_EXE_siding")).args(asked).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let text = String::from_utf8_lossy(&said.stdout);
        let mut rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert!(rows.all(|row| row["source"] == "owner"), "{text}");
        assert!(verb != "why" || !text.is_empty());
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    while is_open() {
        assert!(Instant::now() < deadline, "somebody still has the bank");
        std::thread::sleep(Duration::from_millis(20));
    }
}
