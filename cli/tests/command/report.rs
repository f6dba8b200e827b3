//! The picture of a log: whole, harmless, bounded, and honest about what is not known.

use crate::support::{contents, flip, made, make, options, siding, verb};
use serde_json::{Value, json};
use siding::{Log, Result};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const PICTURES: [&str; 6] = ["positions", "segments", "units", "chains", "pins", "retained"];

/// The page of a log, which must be whole; and how the command ended.
fn page(dir: &Path, more: &[&str]) -> (String, i32) {
    let to = tempdir().unwrap();
    let file = to.path().join("log.html");
    let said = verb("report", dir, &[&["-o", file.to_str().unwrap()], more].concat());
    let page = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1, "something else was left there");
    well_formed(&page);
    (page, said.code)
}

fn objects(dir: &Path, more: &[&str]) -> Vec<Value> {
    let said = verb("report", dir, &[&["--json"], more].concat());
    said.objects()
}

fn of_type<'a>(objects: &'a [Value], name: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == name).collect()
}

/// Every element is closed in its turn, every attribute is quoted, and nothing runs or is loaded.
fn well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = page.strip_prefix("<!DOCTYPE html>\n").expect("a page");
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("no end: {piece}"));
        assert!(!text.contains('>'), "a stray bracket: {piece}");
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).expect("a name");
        assert!(name.chars().all(|it| it.is_ascii_alphanumeric()), "{tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of turn");
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            for attribute in tag.split('"').step_by(2).skip(1) {
                assert!(!attribute.trim_start().starts_with("on"), "a handler: {tag}");
            }
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(!["script", "link", "img", "iframe", "object", "image", "use"].contains(&name));
    }
    assert_eq!(open, Vec::<&str>::new(), "left open");
    for part in ["http:", "https:", "@import", "url(", "src=", "href="] {
        assert!(!page.contains(part), "{part}");
    }
}

/// Each picture is there, and has a name and a description.
fn has_pictures(page: &str, pictures: &[&str]) {
    for id in pictures {
        let start = page.find(&format!("<svg id=\"{id}\" role=\"img\"")).unwrap_or_else(|| {
            panic!("no picture `{id}`");
        });
        let svg = &page[start..];
        let title = format!("<title id=\"{id}-title\">");
        let says = format!("<desc id=\"{id}-says\">");
        let labelled = format!("aria-labelledby=\"{id}-title {id}-says\"");
        for part in [title, says, labelled] {
            assert!(svg.split("</svg>").next().unwrap().contains(&part), "{id}: {part}");
        }
    }
    // MARKs come by themselves, once a second.
    let marks = !pictures.contains(&"retained") && page.contains("<svg id=\"retained\"");
    assert_eq!(page.matches("<svg ").count(), pictures.len() + usize::from(marks));
}

/// A gid that would be markup, and more than that.
const HOSTILE: &[u8] = b"</title><script>alert('1')</script>&\"\xff\n\xe2\x80\xae";

#[test]
fn a_closed_log_is_drawn_whole_and_left_as_it_was() {
    let dir = tempdir().unwrap();
    made(dir.path());
    let before = contents(dir.path());
    let (page, code) = page(dir.path(), &[]);
    assert_eq!(code, 0);
    has_pictures(&page, &PICTURES);
    for part in [
        "prefers-color-scheme: dark",
        "transfer-7",
        "in doubt",
        "decided: commit",
        "no redo position was ever reported",
        "call redo_from",
        "[A] clean close",
        "Not known here",
        "only the owner of a log in use knows",
        "the files alone",
        "keypoint begin",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(contents(dir.path()), before, "looking changed something");
}

#[test]
fn the_same_is_told_to_programs() {
    let dir = tempdir().unwrap();
    made(dir.path());
    let told = objects(dir.path(), &[]);
    let log = &told[0];
    assert_eq!((&log["type"], &log["source"]), (&json!("log"), &json!("files")));
    let at = |name: &str| log["positions"][name].as_u64().unwrap();
    assert_eq!(log["retained_main_bytes"].as_u64(), Some(at("end") - at("oldest")));
    // The segments' shares add up to what is kept, and each unit's parts to its records.
    let kept: u64 = of_type(&told, "segment").iter().map(|it| it["kept"].as_u64().unwrap()).sum();
    assert!(kept <= at("end") - at("oldest") && kept > (at("end") - at("oldest")) / 2);
    for unit in of_type(&told, "unit") {
        let parts = unit["parts"].as_array().unwrap();
        let records: u64 = parts.iter().map(|part| part["records"].as_u64().unwrap()).sum();
        assert_eq!(Some(records), unit["records"].as_u64(), "{unit}");
        let first = of_type(&told, "segment")[0]["units"].as_array().unwrap();
        assert!(first.contains(&unit["unit"]), "{first:?}");
    }
    assert_eq!(of_type(&told, "unit").len(), 2);
    assert_eq!(of_type(&told, "pin").len(), 4);
    // CLOSE tells the time and the oldest position, as MARK does.
    let closed = *of_type(&told, "retained").last().unwrap();
    let lsn = closed["lsn"].as_u64().unwrap();
    assert_eq!(closed["retained_main_bytes"].as_u64(), Some(lsn - at("oldest")));
    assert!(lsn < at("end") && closed["time_ms"].as_u64() <= log["at_ms"].as_u64());
}

#[test]
fn what_a_gid_holds_does_not_become_markup() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = options().open(dir.path())?.finish()?;
    for gid in [HOSTILE, b"<b onclick=\"x\">"] {
        let mut unit = log.begin()?;
        unit.append(b"x")?;
        drop(unit.prepare(gid).expect("prepared"));
    }
    log.close()?;
    // `page` holds that nothing of it is an element or a handler.
    let (page, _) = page(dir.path(), &[]);
    assert!(page.contains("&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)"));
    assert!(page.contains("&lt;b onclick=&quot;x&quot;&gt;"));
    assert!(!page.contains('\u{202e}') && page.contains("\\xff\\n\\xe2\\x80\\xae"));
    let told = objects(dir.path(), &[]);
    assert_eq!(of_type(&told, "unit")[1]["gid"], "<b onclick=\"x\">");
    Ok(())
}

#[test]
fn a_file_that_exists_is_written_over_only_with_force() {
    let (dir, to) = (tempdir().unwrap(), tempdir().unwrap());
    made(dir.path());
    let file = to.path().join("mine");
    fs::write(&file, b"mine").unwrap();
    let named = ["-o", file.to_str().unwrap()];
    verb("report", dir.path(), &named).exits(2).tells(&["exists", "--force"]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let forced = [&named[..], &["--force"]].concat();
    verb("report", dir.path(), &forced).exits(0).tells(&["mine: ", "bytes"]);
    assert!(fs::read(&file).unwrap().starts_with(b"<!DOCTYPE html>"));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    // Not even with force where the log's own files are.
    let own = crate::support::segment(dir.path(), 0);
    let before = contents(dir.path());
    verb("report", dir.path(), &["-o", own.to_str().unwrap(), "--force"])
        .exits(2)
        .tells(&["own directory"]);
    assert_eq!(contents(dir.path()), before);
    let nowhere = to.path().join("no/such/folder.html");
    verb("report", dir.path(), &["-o", nowhere.to_str().unwrap()]).exits(3).tells(&["no/such"]);
    let printed = verb("report", dir.path(), &["-o", "-"]).exits(0);
    assert!(printed.out.starts_with("<!DOCTYPE html>"));
    verb("report", dir.path(), &["-o", "-", "--json"]).exits(2).tells(&["--json"]);
    siding(["report", "--help"]).exits(0).tells(&["Example", "siding report"]);
}

#[test]
fn an_empty_log_is_drawn_and_no_log_is_not() -> Result<()> {
    let dir = tempdir().unwrap();
    verb("report", dir.path(), &["-o", "-"]).exits(3).tells(&["no log"]);
    let to = tempdir().unwrap();
    let file = to.path().join("log.html");
    let nowhere = dir.path().join("nowhere");
    verb("report", &nowhere, &["-o", file.to_str().unwrap()]).exits(3).tells(&["nowhere"]);
    assert!(!file.exists() && !nowhere.exists());
    options().open(dir.path())?.finish()?.close()?;
    let (page, code) = page(dir.path(), &[]);
    assert_eq!(code, 0);
    has_pictures(&page, &PICTURES);
    assert!(page.contains("0 live units") && page.contains("No record of a live unit was moved"));
    Ok(())
}

#[test]
fn a_damaged_log_is_drawn_as_far_as_it_can_be_read() {
    let dir = tempdir().unwrap();
    let (log, starts) = make(dir.path()).unwrap();
    let hole = log.positions().end;
    for _ in 0..3 {
        log.write(&[7; 100]).unwrap();
    }
    log.close().unwrap();
    flip(dir.path(), hole, 60);
    let (drawn, code) = page(dir.path(), &[]);
    assert_eq!(code, 1);
    has_pictures(&drawn, &PICTURES[..5]);
    assert!(drawn.contains("role=\"alert\">durable data damaged"));
    verb("report", dir.path(), &["--json"]).exits(1);
    // Before the last keypoint nobody meets it but who reads everything.
    flip(dir.path(), hole, 60);
    flip(dir.path(), starts[20], 700);
    let (drawn, code) = page(dir.path(), &[]);
    assert_eq!(code, 1);
    assert!(drawn.contains(&starts[20].to_string()) && drawn.contains("where reading ended"));
    assert!(objects(dir.path(), &[])[0]["trouble"].as_str().unwrap().contains("damaged"));
}

/// A unit in doubt was moved twice, and others have passed.
fn moved(path: &Path, admin: bool) -> Result<Log> {
    let log = options().admin(admin).open(path)?.finish()?;
    let mut unit = log.begin()?;
    for _ in 0..2 {
        unit.append(b"to be moved")?;
        unit.append(b"too")?;
        log.fork(unit.id())?;
    }
    drop(unit.prepare(b"transfer-7").expect("prepared"));
    for number in 0..60_u8 {
        log.write(&[number; 3000])?;
    }
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    Ok(log)
}

#[test]
fn a_log_in_use_is_drawn_with_its_chains_and_forks() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = moved(dir.path(), true)?;
    let (drawn, code) = page(dir.path(), &[]);
    assert_eq!(code, 0);
    has_pictures(&drawn, &PICTURES[..5]);
    let told = objects(dir.path(), &[]);
    assert_eq!((&told[0]["source"], &told[0]["in_use"]), (&json!("owner"), &json!(true)));
    assert_eq!(told[0]["pid"], std::process::id());
    for part in [
        format!("by process {}", std::process::id()),
        "the program that has the log open".to_owned(),
        "not known to be durable".to_owned(),
        "<polygon class=\"fork\"".to_owned(),
        "move 1: 2 records".to_owned(),
        "move 2: 2 records".to_owned(),
    ] {
        assert!(drawn.contains(&part), "{part}");
    }
    let unit = of_type(&told, "unit")[0];
    assert_eq!((&unit["moves"], &unit["records"]), (&json!(2), &json!(1)));
    assert_eq!(unit["forks"].as_array().unwrap().len(), 2);
    // What was moved is not drawn on the main log again, though it stands there still.
    assert_eq!(unit["parts"], json!([{ "segment": 0, "records": 1 }]));
    let extents = of_type(&told, "extent");
    assert_eq!(
        extents.iter().map(|it| it["move"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    assert!(extents[0]["newest"].as_u64() < extents[1]["oldest"].as_u64());
    assert!(told[0]["retained_secondary_bytes"].as_u64() > Some(0));
    // The first segment is held by what was not moved: PREPARE.
    assert_eq!(of_type(&told, "segment")[0]["units"], json!([unit["unit"]]));
    log.close()?;
    Ok(())
}

#[test]
fn an_owner_that_does_not_answer_is_said_and_so_is_a_lost_extent() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = moved(dir.path(), false)?;
    let told = objects(dir.path(), &[]);
    assert_eq!(told[0]["source"], "files");
    let (drawn, _) = page(dir.path(), &[]);
    assert!(drawn.contains("it was not there to be asked"));
    log.close()?;
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let lost = files.filter(|path| path.extension().is_some_and(|it| it == "ext"));
    let names: Vec<String> = lost
        .map(|path| {
            fs::remove_file(&path).unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    let (drawn, code) = page(dir.path(), &[]);
    assert_eq!((code, names.len()), (0, 1));
    assert!(drawn.contains("the rest of the extents of unit 0x10000000001"));
    assert!(drawn.contains(&names[0]) && drawn.contains("✗"));
    Ok(())
}

#[test]
fn the_picture_stays_bounded() -> Result<()> {
    let dir = tempdir().unwrap();
    let log = options().open(dir.path())?.finish()?;
    for number in 0..600_u32 {
        let mut unit = log.begin()?;
        unit.append(&[7; 64])?;
        let gid = format!("a unit with a rather long name, number {number}, of very many");
        drop(unit.submit_prepare(gid.as_bytes()).expect("prepared"));
    }
    for _ in 0..400 {
        let mut unit = log.begin()?;
        unit.append(&[1; 15_000])?;
        unit.submit().map(drop)?;
    }
    log.ensure_durable(log.positions().end)?;
    log.close()?;
    let (page, code) = page(dir.path(), &[]);
    assert_eq!(code, 0);
    has_pictures(&page, &PICTURES);
    let drawn: usize =
        ["<rect", "<line", "<text", "<polygon"].iter().map(|it| page.matches(it).count()).sum();
    assert!(drawn < 1_000, "{drawn} shapes");
    assert!(page.len() < 600_000, "{} bytes", page.len());
    assert!(page.contains("more …") && page.contains("… and 100 more rows."));
    let told = objects(dir.path(), &[]);
    assert_eq!(of_type(&told, "unit").len(), 600);
    assert!(of_type(&told, "segment").len() > 60);
    Ok(())
}
