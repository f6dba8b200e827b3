//! Units that are moved to the secondary log: shown, steered, dumped, verified.

use crate::support::{contents, options, siding, verb};
use serde_json::{Value, json};
use siding::{Log, Result};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::tempdir;

const UNIT: &str = "0x10000000001";

/// A unit in doubt, which holds several segments that nothing else needs.
fn stuck(log: &Log) -> Result<()> {
    let mut doubt = log.begin()?;
    doubt.append(b"debit 30")?;
    doubt.append(b"credit 30")?;
    drop(doubt.prepare(b"transfer-7").expect("prepared"));
    pass(log)
}

/// Others pass, and leave nothing behind.
fn pass(log: &Log) -> Result<()> {
    for number in 0..60_u8 {
        log.write(&[number; 3000])?;
    }
    log.redo_from(log.positions().durable)?;
    log.keypoint().map(drop)
}

fn open(path: &Path) -> Result<Log> {
    options().forks(false).admin(true).open(path)?.finish()
}

fn one(said: crate::support::Said) -> Value {
    let mut objects = said.exits(0).objects();
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.remove(0)
}

fn unit_of(path: &Path) -> Value {
    one(verb("units", path, &["--json"]))
}

/// The newest file of the secondary log.
fn extent_file(path: &Path) -> PathBuf {
    extent_files(path).pop().expect("a file")
}

/// The files of the secondary log, oldest first.
fn extent_files(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).expect("the directory").map(|it| it.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "ext")).collect();
    files.sort();
    files
}

/// The kinds of the unit's records, without fork records.
fn dumped(path: &Path, more: &[&str]) -> Vec<Value> {
    let args = [&["--json", "--uow", "transfer-7"], more].concat();
    let kinds = verb("dump", path, &args).exits(0).objects().into_iter();
    kinds.map(|record| record["kind"].clone()).filter(|kind| kind != "FORK").collect()
}

/// A closed log whose unit in doubt was moved, and its originals trimmed.
fn moved(path: &Path) -> Result<()> {
    let log = open(path)?;
    stuck(&log)?;
    log.fork(log.units()[0].unit)?;
    pass(&log)?;
    log.close()
}

#[test]
fn a_unit_of_a_log_in_use_is_moved_and_seen_from_outside() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = open(dir.path())?;
    stuck(&log)?;
    // The directory of a segment is written in the background, behind its seal.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut unit = unit_of(dir.path());
    while unit["oldest_segment"].is_null() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        unit = unit_of(dir.path());
    }
    assert_eq!((&unit["records"], &unit["secondary_records"]), (&json!(3), &json!(0)));
    assert_eq!((&unit["oldest_segment"], &unit["segments"]), (&json!(0), &json!(1)));
    assert!(unit["gain"].as_u64() > unit["cost"].as_u64() && unit["cost"] == unit["bytes"]);
    let pins = verb("why", dir.path(), &["--json"]).exits(0).objects();
    let pin = pins.iter().find(|pin| pin["unit"] == UNIT).expect("it pins the log");
    // Segments that were sealed a moment ago may count only now.
    assert!(pin["action"] == "fork it" && pin["gain"].as_u64() >= unit["gain"].as_u64(), "{pin}");
    verb("why", dir.path(), &[]).exits(0).tells(&["fork it", "gain"]);

    let done = one(verb("fork", dir.path(), &["transfer-7", "--json"]));
    assert_eq!((&done["records"], &done["through"]), (&json!(3), &json!("owner")));
    assert_eq!((&done["unit"], &done["action"]), (&json!(UNIT), &json!("fork")));
    verb("fork", dir.path(), &[UNIT]).exits(0).tells(&["nothing left to move"]);
    verb("keypoint", dir.path(), &[]).exits(0);
    assert!(log.positions().oldest.get() > 64 << 10, "{:?}", log.positions());
    let unit = unit_of(dir.path());
    assert_eq!((&unit["records"], &unit["bytes"]), (&json!(0), &json!(0)));
    assert_eq!((&unit["secondary_records"], &unit["moves"]), (&json!(3), &json!(1)));
    assert!(unit["secondary_bytes"].as_u64() > Some(0) && unit["segments"] != json!(1));
    verb("units", dir.path(), &[]).exits(0).tells(&["moved", "transfer-7"]);

    assert_eq!(dumped(dir.path(), &[]), ["DATA", "DATA", "PREPARE"]);
    assert_eq!(dumped(dir.path(), &["--kind", "prepare"]), ["PREPARE"]);
    assert!(dumped(dir.path(), &["--to", "1"]).is_empty());
    verb("verify", dir.path(), &[]).exits(0);
    log.close()?;
    assert_eq!(dumped(dir.path(), &[]), ["DATA", "DATA", "PREPARE"]);
    verb("verify", dir.path(), &[]).exits(0).tells(&["sound", "1 live unit"]);
    Ok(())
}

#[test]
fn a_unit_is_held_and_let_go() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = open(dir.path())?;
    stuck(&log)?;
    verb("fork", dir.path(), &["transfer-7", "--hold"]).exits(0).tells(&[UNIT, "held"]);
    assert_eq!(unit_of(dir.path())["held"], true);
    verb("units", dir.path(), &[]).exits(0).tells(&["in doubt, held"]);
    verb("why", dir.path(), &[]).exits(0).tells(&["unhold it, or fork it"]);
    verb("fork", dir.path(), &["transfer-7", "--unhold"]).exits(0).tells(&["may be moved"]);
    assert_eq!(unit_of(dir.path())["held"], false);
    verb("fork", dir.path(), &["transfer-8", "--hold"]).exits(1).tells(&["transfer-8", "units"]);
    verb("fork", dir.path(), &["transfer-7", "--hold", "--unhold"]).exits(2);
    verb("fork", dir.path(), &[]).exits(2).tells(&["UNIT|GID"]);
    log.close()
}

#[test]
fn a_unit_of_a_closed_log_is_moved() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = open(dir.path())?;
    stuck(&log)?;
    log.close()?;
    // What it holds, and what a move would cost and gain, the files tell too.
    let unit = unit_of(dir.path());
    assert_eq!((&unit["oldest_segment"], &unit["segments"]), (&json!(0), &json!(1)), "{unit}");
    assert!(unit["gain"].as_u64() > unit["cost"].as_u64() && unit["cost"] == unit["bytes"]);
    let pins = verb("why", dir.path(), &["--json"]).exits(0).objects();
    let pin = pins.iter().find(|pin| pin["unit"] == UNIT).expect("it pins the log");
    assert!(pin["action"] == "fork it" && pin["gain"] == unit["gain"], "{pin}");
    let before = contents(dir.path());
    verb("fork", dir.path(), &["nobody"]).exits(1).tells(&["nobody", "units"]);
    verb("fork", dir.path(), &[UNIT, "--hold"]).exits(1).tells(&["nobody has the log open"]);
    assert_eq!(contents(dir.path()), before);
    let done = one(verb("fork", dir.path(), &["transfer-7", "--json"]));
    assert_eq!((&done["records"], &done["through"]), (&json!(3), &json!("files")));
    verb("keypoint", dir.path(), &[]).exits(0);
    let info = verb("info", dir.path(), &["--json"]).exits(0).objects().remove(0);
    assert!(info["positions"]["oldest"].as_u64() > Some(64 << 10), "{info}");
    assert_eq!(dumped(dir.path(), &[]), ["DATA", "DATA", "PREPARE"]);
    verb("verify", dir.path(), &[]).exits(0).tells(&["sound"]);
    verb("resolve", dir.path(), &["transfer-7", "--commit"]).exits(0);
    Ok(())
}

#[test]
fn verify_names_unit_and_file_of_records_that_are_lost() -> Result<()> {
    for remove in [true, false] {
        let dir = tempdir().unwrap();
        moved(dir.path())?;
        let file = extent_file(dir.path());
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if remove {
            fs::remove_file(&file).unwrap();
        } else {
            let mut bytes = fs::read(&file).unwrap();
            let at = bytes.windows(9).position(|some| some == b"credit 30").expect("a copy");
            bytes[at] ^= 4;
            fs::write(&file, bytes).unwrap();
        }
        verb("verify", dir.path(), &[]).exits(1).tells(&["moved records lost", UNIT, &name]);
        let found = verb("verify", dir.path(), &["--json"]).exits(1).objects();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            (&found[0]["name"], &found[0]["file"]),
            (&json!("moved records lost"), &json!(name))
        );
        assert_eq!((&found[0]["segment"], &found[0]["lsn"]), (&Value::Null, &Value::Null));
        verb("dump", dir.path(), &["--uow", "transfer-7"]).exits(1).tells(&[UNIT, &name]);
        let before = contents(dir.path());
        verb("fork", dir.path(), &["transfer-7"]).exits(3).tells(&[UNIT, &name]);
        assert_eq!(contents(dir.path()), before);
    }
    Ok(())
}

#[test]
fn units_names_what_its_owner_cannot_read() -> Result<()> {
    let dir = tempdir().unwrap();
    moved(dir.path())?;
    let file = extent_file(dir.path());
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(&file).unwrap();
    let log = open(dir.path())?;
    log.tick();
    let told = unit_of(dir.path())["problem"].as_str().unwrap_or_default().to_owned();
    assert!(
        told.contains(&name) && told.contains("lost: 3 records, all that were moved"),
        "{told}"
    );
    verb("units", dir.path(), &[]).exits(0).tells(&[&name]);
    log.close()
}

#[test]
fn a_secondary_log_elsewhere_is_read_where_it_is_named() -> Result<()> {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let log = options().forks(false).secondary(other.path()).open(dir.path())?.finish()?;
    stuck(&log)?;
    log.fork(log.units()[0].unit)?;
    pass(&log)?;
    log.close()?;
    let there = ["--secondary", other.path().to_str().unwrap()];
    verb("verify", dir.path(), &[]).exits(1).tells(&["moved records lost", UNIT]);
    verb("verify", dir.path(), &there).exits(0).tells(&["sound"]);
    verb("fork", dir.path(), &[UNIT]).exits(3).tells(&[UNIT]);
    verb("fork", dir.path(), &[&[UNIT], &there[..]].concat()).exits(0).tells(&["nothing left"]);
    assert_eq!(dumped(dir.path(), &there), ["DATA", "DATA", "PREPARE"]);
    Ok(())
}

/// `dump -f --json`, and what it says.
struct Following {
    child: Child,
    told: mpsc::Receiver<String>,
}

impl Following {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_siding"))
            .arg("dump")
            .arg(path)
            .args(["-f", "--json", "--kind", "data,commit"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, told) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(|line| tell.send(line.ok()?).ok()).count());
        Self { child, told }
    }

    fn next(&self) -> Value {
        let line = self.told.recv_timeout(Duration::from_secs(60)).expect("it goes on");
        serde_json::from_str(&line).unwrap()
    }

    /// Stops it, or lets it go on.
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[test]
fn a_live_log_is_followed_over_segments_and_trims() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = options().open(dir.path())?.finish()?;
    log.write(b"before")?;
    log.keypoint()?;
    let following = Following::start(dir.path());
    let first = following.next();
    let mut last = first["lsn"].as_u64().unwrap();
    for round in 0..6_u8 {
        // Most of a segment, and what was read is trimmed.
        for _ in 0..20 {
            log.write(&[round; 3000])?;
        }
        let mut seen = 0;
        while seen < 20 {
            let record = following.next();
            let lsn = record["lsn"].as_u64().unwrap_or_else(|| panic!("{record}"));
            assert!(lsn > last, "{record}");
            last = lsn;
            seen += u32::from(record["len"] == 3000);
        }
        log.redo_from(log.positions().durable)?;
        log.keypoint()?;
    }
    assert!(log.positions().oldest.get() > 4 * (64 << 10), "{:?}", log.positions());

    // One that does not keep up says what it missed, and goes on.
    following.signal("-STOP");
    for _ in 0..5 {
        pass(&log)?;
    }
    log.write(b"after")?;
    let oldest = log.positions().oldest.get();
    log.keypoint()?;
    following.signal("-CONT");
    let (mut missed, mut end) = (false, 0);
    while end == 0 {
        let said = following.next();
        match said["trimmed"]["below"].as_u64() {
            Some(below) => {
                assert!(said["trimmed"]["behind"].as_u64() >= Some(last) && below >= oldest);
                missed = true;
            }
            None if said["len"] == 5 => end = said["lsn"].as_u64().unwrap(),
            None => {}
        }
    }
    assert!(missed, "it was stopped while segments it had not read were trimmed");
    drop(following);
    let end = end.to_string();
    siding(["dump", dir.path().to_str().unwrap(), "-f", "--to", &end]).exits(0);
    log.close()
}

#[test]
fn a_unit_whose_records_are_lost_keeps_no_other_from_being_moved() -> Result<()> {
    let temp = tempdir().unwrap();
    let path = temp.path();
    moved(path)?;
    let log = open(path)?;
    let mut other = log.begin()?;
    other.append(b"debit 8")?;
    drop(other.prepare(b"transfer-8").unwrap());
    log.close()?;
    fs::remove_file(extent_file(path)).unwrap();
    verb("fork", path, &["transfer-8"]).exits(0).tells(&["2 records moved, durable"]);
    verb("fork", path, &["transfer-7"]).exits(3).tells(&[UNIT, "its file is missing"]);
    Ok(())
}

/// What of a unit on a closed log is lost is rebuilt from its originals, while those are there;
/// and what it wrote since is moved, whether that can be or not.
#[test]
fn what_is_lost_on_a_closed_log_is_rebuilt_and_the_rest_is_moved() -> Result<()> {
    let temp = tempdir().unwrap();
    let path = temp.path();
    let log = open(path)?;
    let mut doubt = log.begin()?;
    doubt.append(b"debit 30")?;
    doubt.append(b"credit 30")?;
    drop(doubt.prepare(b"transfer-7").unwrap());
    log.fork(log.units()[0].unit)?;
    log.close()?;
    fs::remove_file(extent_file(path)).unwrap();
    let done = one(verb("fork", path, &["transfer-7", "--json"]));
    assert_eq!((&done["records"], &done["rebuilt"]), (&json!(0), &json!(3)), "{done}");
    verb("verify", path, &[]).exits(0).tells(&["sound"]);
    fs::remove_file(extent_file(path)).unwrap();
    verb("fork", path, &["transfer-7"]).exits(0).tells(&["all are rebuilt", "(3 records)"]);

    // It is decided, and writes on; what was moved is lost for ever.
    let log = open(path)?;
    drop(log.in_doubt().pop().unwrap().decide(siding::Outcome::Commit)?);
    log.fork(log.units()[0].unit)?;
    pass(&log)?;
    log.decided().pop().unwrap().append(b"told the coordinator")?;
    log.close()?;
    let name = extent_file(path).file_name().unwrap().to_str().unwrap().to_owned();
    extent_files(path).iter().for_each(|file| fs::remove_file(file).unwrap());
    let said = verb("fork", path, &[UNIT]).exits(0);
    said.tells(&["1 record moved, durable", "4 records", &name, "not rebuilt"]);
    let before = contents(path);
    verb("fork", path, &[UNIT]).exits(3).tells(&[UNIT, &name]);
    assert_eq!(contents(path), before);
    Ok(())
}
