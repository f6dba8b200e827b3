//! The rules of the house, as docs/ARCHITECTURE.md states them. Each rule is a test that names
//! file and line, and beside it stands a test that sees the rule find what it is for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/seen_to_fail.rs"]
mod seen_to_fail;

use house::House;
use lexer::Source;

/// The one folder of the library that touches the operating system.
const SYSTEM: &str = "wal/src/disk/";

/// Where `unsafe` may stand.
const UNSAFE: [&str; 2] = ["wal/src/disk/map.rs", "wal/src/disk/ring.rs"];

/// The files that read a clock, one a crate.
const CLOCKS: [&str; 3] =
    ["wal/src/disk/clock.rs", "cli/src/bench/mod.rs", "cli/src/demo/process.rs"];

/// The files that start threads: drivers, the conformance suites, which are tests to be called, and
/// the proxy of a test.
const THREADS: [&str; 13] = [
    "adapters/object-store/server/src/proxy.rs",
    "checkpoint/src/archive/run.rs",
    "checkpoint/src/sink/conformance.rs",
    "checkpoint/src/threads.rs",
    "cli/src/bench/backup.rs",
    "cli/src/bench/commit.rs",
    "cli/src/demo/process.rs",
    "cli/src/demo/worker.rs",
    "src/admin/backup.rs",
    "src/admin/mod.rs",
    "wal/src/disk/conformance.rs",
    "wal/src/read/ahead.rs",
    "wal/src/stream/threads.rs",
];

/// The floor of each package: it may build on lower ones alone.
const FLOORS: [(&str, u8); 9] = [
    ("siding-wal", 0),
    ("siding-fork", 1),
    ("siding-checkpoint", 2),
    ("siding", 3),
    ("siding-syncpoint", 4),
    ("siding-scope", 4),
    ("siding-standby", 4),
    ("siding-kv", 5),
    ("siding-cli", 6),
];

/// Packages that build on any floor, and that nothing builds on but tests.
const BESIDE: [&str; 3] = ["siding-sim", "siding-fuzz", "siding-peers"];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 4] = ["utils", "common", "core", "types"];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

/// Fails with one line for each finding.
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// What a rule finds in all Rust files.
fn in_rust(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    House::load().rust().flat_map(rule).collect()
}

#[test]
fn arrows_point_down() {
    none(House::load().manifests().flat_map(upward_arrows).collect());
}

fn upward_arrows(manifest: &Source) -> Vec<String> {
    let floor_of = |name: &str| FLOORS.iter().find(|(known, _)| *known == name).map(|(_, f)| *f);
    let Some(name) = packages::name_of(manifest) else { return Vec::new() };
    let beside = BESIDE.contains(&name) || manifest.path.starts_with("adapters/");
    let floor = floor_of(name);
    if floor.is_none() && !beside {
        return vec![manifest.at(0, &format!("`{name}` has no floor in tests/tidy.rs"))];
    }
    let wrong = |found: &packages::Dependency| {
        let ours = found.name == "siding" || found.name.starts_with("siding-");
        let below = match (floor_of(&found.name), floor) {
            (Some(theirs), Some(floor)) => theirs < floor,
            (Some(_), None) => true,
            (None, _) => beside && BESIDE.contains(&found.name.as_str()),
        };
        ours && !found.dev && !below
    };
    let found = packages::dependencies(manifest).into_iter().filter(wrong);
    found
        .map(|found| {
            manifest.at(found.offset, &format!("`{name}` must not build on `{}`", found.name))
        })
        .collect()
}

#[test]
fn every_dependency_has_its_reason() {
    let house = House::load();
    let reasons = house.text("docs/decisions/0001-dependencies.md");
    none(house.manifests().flat_map(|manifest| unreasoned(manifest, reasons)).collect());
}

fn unreasoned(manifest: &Source, reasons: &str) -> Vec<String> {
    let unknown = |name: &str| {
        name != "siding" && !name.starts_with("siding-") && !reasons.contains(&format!("`{name}`"))
    };
    let found = packages::dependencies(manifest).into_iter().filter(|found| unknown(&found.name));
    found
        .map(|found| {
            let what = format!("`{}` has no line in docs/decisions", found.name);
            manifest.at(found.offset, &what)
        })
        .collect()
}

#[test]
fn seeded_bugs_are_there_for_who_asks_for_them() {
    let manifests = House::load();
    none(manifests.manifests().flat_map(|it| packages::implied(it, "seeded-bugs")).collect());
}

#[test]
fn the_system_is_touched_in_one_folder() {
    none(in_rust(|source| rules::system_calls(source, SYSTEM)));
}

#[test]
fn unsafe_code_stands_in_two_files() {
    none(in_rust(|source| rules::unsafe_code(source, &UNSAFE)));
}

#[test]
fn no_runtime_below_adapters() {
    none(in_rust(rules::runtimes));
}

#[test]
fn nothing_is_unfinished_or_switched_off() {
    none(in_rust(rules::unfinished));
}

#[test]
fn clocks_are_read_in_one_file_a_crate() {
    none(in_rust(|source| rules::clocks(source, &CLOCKS)));
}

#[test]
fn threads_are_started_by_drivers() {
    none(in_rust(|source| rules::threads(source, &THREADS)));
}

#[test]
fn files_are_short() {
    none(in_rust(|source| rules::file_length(source, FILE_LINES)));
}

#[test]
fn functions_are_short() {
    none(in_rust(|source| rules::function_length(source, FUNCTION_LINES)));
}

#[test]
fn lines_are_short() {
    none(in_rust(|source| rules::line_length(source, COLUMNS)));
}

#[test]
fn no_file_is_dead() {
    none(modules::dead_files(&House::load().sources));
}

#[test]
fn folders_have_names_that_say_something() {
    none(empty_names(&House::load().folders));
}

fn empty_names(folders: &[String]) -> Vec<String> {
    let empty =
        |folder: &&String| EMPTY_NAMES.contains(&folder.rsplit('/').next().unwrap_or_default());
    let found = folders.iter().filter(empty);
    found.map(|folder| format!("{folder}:1: the name says nothing")).collect()
}

#[test]
fn every_room_is_on_the_map() {
    let house = House::load();
    none(rooms_off_the_map(&house.folders, house.text("docs/ARCHITECTURE.md")));
}

/// Top folders, and the folders of a crate's sources, that the map does not name.
fn rooms_off_the_map(folders: &[String], map: &str) -> Vec<String> {
    let room = |folder: &&String| {
        let parts: Vec<&str> = folder.split('/').collect();
        matches!(parts.as_slice(), [_] | [_, "src", _] | ["src", _])
    };
    let unnamed = folders.iter().filter(room).filter(|room| !map.contains(&format!("`{room}/`")));
    unnamed.map(|room| format!("{room}:1: not on the map in docs/ARCHITECTURE.md")).collect()
}

#[test]
fn one_word_has_one_meaning() {
    let house = House::load();
    let forbidden = rules::forbidden_words(house.text("docs/GLOSSARY.md"));
    assert!(forbidden.len() >= 4, "the glossary lists the words we do not use");
    let read = house.sources.iter().filter(|source| source.path != "docs/GLOSSARY.md");
    none(read.flat_map(|source| rules::words(source, &forbidden)).collect());
}

#[test]
fn no_path_of_one_machine() {
    none(House::load().sources.iter().flat_map(rules::machine_paths).collect());
}

#[test]
fn links_lead_somewhere() {
    let house = House::load();
    let exists = |path: &str| {
        house.folders.iter().any(|folder| folder == path)
            || house.files.iter().any(|file| file == path)
    };
    none(house.sources.iter().flat_map(|page| rules::broken_links(page, exists)).collect());
}
