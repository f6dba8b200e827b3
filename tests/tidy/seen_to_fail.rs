//! Each rule, on a snippet that breaks it and on one that only looks so.

use crate::lexer::Source;
use crate::{empty_names, packages, rooms_off_the_map, rules, unreasoned, upward_arrows};

/// The lines at which a rule finds something in `text`, as a file at `path`.
fn lines(path: &str, text: &str, rule: impl Fn(&Source) -> Vec<String>) -> Vec<usize> {
    let found = rule(&Source::new(path, text));
    let line = |finding: &String| {
        let rest = finding.strip_prefix(&format!("{path}:")).unwrap();
        rest.split(':').next().unwrap().parse().unwrap()
    };
    let mut lines: Vec<usize> = found.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn arrows() {
    let package = |name: &str, section: &str, other: &str| {
        format!("[package]\nname = \"{name}\"\n[{section}]\n{other}.workspace = true\n")
    };
    let of = |text: &str| lines("x/Cargo.toml", text, upward_arrows);
    assert_eq!(of(&package("siding-wal", "dependencies", "siding-checkpoint")), [4]);
    assert_eq!(of(&package("siding-wal", "dependencies", "siding")), [4]);
    assert_eq!(of(&package("siding", "dependencies", "siding-sim")), [4]);
    assert_eq!(of(&package("siding-scope", "build-dependencies", "siding-syncpoint")), [4]);
    assert_eq!(of(&package("siding-new", "dependencies", "siding-wal")), [1]);
    assert_eq!(of(&package("siding-wal", "dev-dependencies", "siding-sim")), []);
    assert_eq!(of(&package("siding-cli", "dependencies", "siding-wal")), []);
    assert_eq!(of(&package("siding-sim", "dependencies", "siding-checkpoint")), []);
    assert_eq!(of(&package("siding-wal", "dependencies", "crc32c")), []);
}

#[test]
fn dependencies() {
    let text = "[package]\nname = \"siding\"\n[dependencies]\nleft-pad = \"1\"\ncrc32c = \"1\"\n\
                siding-wal.workspace = true\n";
    assert_eq!(lines("Cargo.toml", text, |file| unreasoned(file, "`crc32c` because")), [4]);
}

#[test]
fn implied_features() {
    let of = |text: &str| lines("x/Cargo.toml", text, |it| packages::implied(it, "seeded-bugs"));
    let text = "[features]\n# seeded-bugs\nseeded-bugs = [\"a/seeded-bugs\"]\nb = []\n";
    assert_eq!(of(text), []);
    assert_eq!(of("[features]\nseeded-bugs = []\ndefault = [\"seeded-bugs\"]\n"), [3]);
    assert_eq!(of("[dependencies]\na = { path = \"a\", features = [\"seeded-bugs\"] }\n"), [2]);
    assert_eq!(of("[dependencies.a]\nfeatures = [\"seeded-bugs\"]\n"), [2]);
}

#[test]
fn system_calls() {
    let text = "use std::fs;\nuse std::{fs::File, io};\n// rustix\nlet s = \"rustix\";\n\
                rustix::io::read();\nlet offs = 1;\nuse memmap2::Mmap;\nuse io_uring as ring;\n";
    let rule = |source: &Source| rules::system_calls(source, "wal/src/disk/");
    for path in ["src/lib.rs", "wal/src/read/scan.rs", "checkpoint/src/lib.rs"] {
        assert_eq!(lines(path, text, rule), [1, 2, 5, 7, 8]);
    }
    for path in ["wal/src/disk/direct.rs", "wal/tests/disk.rs", "cli/src/main.rs", "sim/src/x.rs"] {
        assert_eq!(lines(path, text, rule), []);
    }
}

#[test]
fn unsafe_code() {
    let text = "#![deny(unsafe_code)]\n// unsafe\n\n\n\n\n\n\nunsafe { a() }\n// SAFETY: so\n\
                unsafe { b() }\n";
    let rule = |source: &Source| rules::unsafe_code(source, &["wal/src/disk/ring.rs"]);
    assert_eq!(lines("wal/src/disk/ring.rs", text, rule), [9]);
    assert_eq!(lines("wal/src/disk/other.rs", text, rule), [9, 11]);
    assert_eq!(lines("wal/tests/other.rs", text, rule), [9, 11]);
}

#[test]
fn runtimes() {
    let text = "use tokio::spawn;\nlet tokio_free = \"tokio\";\n";
    assert_eq!(lines("src/ticket.rs", text, rules::runtimes), [1]);
    assert_eq!(lines("wal/tests/a.rs", text, rules::runtimes), [1]);
    assert_eq!(lines("adapters/openraft/src/lib.rs", text, rules::runtimes), []);
}

#[test]
fn unfinished() {
    let text = "fn a() { todo!() }\nfn b() { unimplemented!(\"c\") }\ndbg!(d);\n#[ignore]\n\
                #[ignore = \"slow\"]\nlet todo = 1;\n// todo!()\nlet s = \"todo!()\";\n\
                git.ignore(e);\n";
    assert_eq!(lines("sim/src/lib.rs", text, rules::unfinished), [1, 2, 3, 4, 5]);
}

#[test]
fn clocks() {
    let text = "let now = Instant::now();\nlet wall = std::time::SystemTime::now();\n\
                fn f(now: Instant) {}\n#[cfg(test)]\nmod tests {\n    fn g() { Instant::now(); }\n\
                }\nInstant::now();\n";
    let rule = |source: &Source| rules::clocks(source, &["wal/src/disk/clock.rs"]);
    assert_eq!(lines("wal/src/write/core.rs", text, rule), [1, 2, 8]);
    assert_eq!(lines("cli/src/main.rs", text, rule), [1, 2, 8]);
    assert_eq!(lines("wal/src/disk/clock.rs", text, rule), []);
    assert_eq!(lines("wal/tests/a.rs", text, rule), []);
}

#[test]
fn threads() {
    let text = "std::thread::spawn(f);\nthread::Builder::new();\nthread::scope(|s| {});\n\
                use std::thread::{Builder, JoinHandle};\nuse std::thread::{self, JoinHandle};\n\
                thread::sleep(a.spawn());\nthread::yield_now();\n#[cfg(test)]\nmod tests {\n\
                thread::spawn(f);\n}\n";
    let rule = |source: &Source| rules::threads(source, &["wal/src/stream/threads.rs"]);
    assert_eq!(lines("wal/src/write/core.rs", text, rule), [1, 2, 3, 4]);
    assert_eq!(lines("wal/src/stream/threads.rs", text, rule), []);
    assert_eq!(lines("tests/kill.rs", text, rule), []);
}

#[test]
fn sizes() {
    let text = "a\nb\nc\n";
    assert_eq!(lines("a.rs", text, |source| rules::file_length(source, 2)), [1]);
    assert_eq!(lines("a.rs", text, |source| rules::file_length(source, 3)), []);
    let text = "short\nfour é\n1234567\n";
    assert_eq!(lines("a.rs", text, |source| rules::line_length(source, 6)), [3]);
    let text = "fn a(b: [u8; 2]) -> fn(u8) {\n    \"}\"; // }\n    '}';\n}\n\
                fn c() {\n}\ntrait D {\n    fn e();\n    fn f() {\n\n\n    }\n}\n";
    assert_eq!(lines("a.rs", text, |source| rules::function_length(source, 3)), [1, 9]);
    assert_eq!(lines("a.rs", text, |source| rules::function_length(source, 4)), []);
}

#[test]
fn names() {
    let folders = ["wal", "wal/src/utils", "core", "wal/src/score", "checkpoint/types"];
    let found = empty_names(&folders.map(str::to_owned));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn the_map() {
    let folders = ["wal", "wal/src", "wal/src/disk", "wal/src/disk/deep", "attic", "src/cellar"];
    let found = rooms_off_the_map(&folders.map(str::to_owned), "`wal/` and `wal/src/disk/`");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("attic") && found[1].starts_with("src/cellar"));
}

#[test]
fn words() {
    let glossary = "| word |\n|---|\n| good |\n## Words not used\n\n| not | but |\n|---|---|\n\
                    | sea tail, tail of the sea | end |\n| lake head | oldest |\n";
    let forbidden = rules::forbidden_words(glossary);
    assert_eq!(forbidden, ["sea tail", "tail of the sea", "lake head"]);
    let text = "the Sea Tail\nsea tailor\n/// a tail of the sea.\nlet lake_head = 1;\nlake head\n";
    let rule = |source: &Source| rules::words(source, &forbidden);
    assert_eq!(lines("docs/a.md", text, rule), [1, 3, 5]);
}

#[test]
fn machine_paths() {
    let text = ["see /", "home/me/log\nin target/", "home/x\n`/", "work/y`\nnet", "work/z\n"];
    let text = text.concat();
    assert_eq!(lines("README.md", &text, rules::machine_paths), [1, 3]);
    assert_eq!(lines("a.rs", &text, rules::machine_paths), [1, 3]);
}

#[test]
fn links() {
    let text = "[a](b.md) [c](../d.md#e)\n[f](#g) [h](https://i.j)\n[k](gone.md) [l](../m/)\n";
    let exists = |path: &str| ["docs/b.md", "d.md", "m"].contains(&path);
    assert_eq!(lines("docs/a.md", text, |page| rules::broken_links(page, exists)), [3]);
    assert_eq!(lines("docs/a.rs", text, |page| rules::broken_links(page, exists)), []);
}
