//! Which files are compiled: the targets of each package, and what their `mod` lines name.

use crate::lexer::Source;
use std::collections::BTreeSet;

/// The Rust files that no target reaches.
pub(crate) fn dead_files(sources: &[Source]) -> Vec<String> {
    let mut reached = BTreeSet::new();
    for manifest in sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        for root in targets(manifest, sources) {
            reach(root, true, sources, &mut reached);
        }
    }
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    rust.filter(|source| !reached.contains(source.path.as_str()))
        .map(|source| source.at(0, "no target reaches this file; name it or remove it"))
        .collect()
}

/// The files that start a target of the package.
fn targets<'a>(manifest: &Source, sources: &'a [Source]) -> Vec<&'a Source> {
    let folder = manifest.path.trim_end_matches("Cargo.toml");
    let named: Vec<String> = manifest
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("path = "))
        .map(|path| format!("{folder}{}", path.trim().trim_matches('"')))
        .collect();
    let is_root = |source: &&Source| {
        let Some(path) = source.path.strip_prefix(folder) else { return false };
        let parts: Vec<&str> = path.split('/').collect();
        let by_place = match parts.as_slice() {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
            ["tests" | "benches" | "examples", rest @ ..] | ["src", "bin", rest @ ..] => {
                matches!(rest, [file] if file.ends_with(".rs")) || matches!(rest, [_, "main.rs"])
            }
            _ => false,
        };
        by_place || named.contains(&source.path)
    };
    sources.iter().filter(|source| source.path.ends_with(".rs")).filter(is_root).collect()
}

fn reach<'a>(
    source: &'a Source,
    root: bool,
    sources: &'a [Source],
    reached: &mut BTreeSet<&'a str>,
) {
    if !reached.insert(&source.path) {
        return;
    }
    for path in children(source, root) {
        if let Some(child) = sources.iter().find(|source| source.path == path) {
            reach(child, false, sources, reached);
        }
    }
}

/// The paths that the `mod` lines of a file may mean.
fn children(source: &Source, root: bool) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let owns_folder = root || file == "mod.rs";
    let stem = file.trim_end_matches(".rs");
    let base = if owns_folder { folder.to_owned() } else { join(folder, stem) };
    let mut paths = Vec::new();
    for at in source.words("mod") {
        let rest = source.code[at + 3..].trim_start();
        let name = identifier(rest);
        if name.is_empty() || !rest[name.len()..].trim_start().starts_with(';') {
            continue;
        }
        if let Some(path) = path_attribute(source, at) {
            paths.push(resolve(folder, &path));
            continue;
        }
        let base =
            inline_modules(source, at).iter().fold(base.clone(), |base, name| join(&base, name));
        paths.push(join(&base, &format!("{name}.rs")));
        paths.push(join(&base, &format!("{name}/mod.rs")));
    }
    paths
}

/// The names of the inline modules around `at`, outermost first.
fn inline_modules(source: &Source, at: usize) -> Vec<String> {
    let mut around = Vec::new();
    for start in source.words("mod").take_while(|start| *start < at) {
        let rest = source.code[start + 3..].trim_start();
        let name = identifier(rest);
        let opens = rest[name.len()..].trim_start().starts_with('{');
        if opens && source.block(start).is_some_and(|block| block.contains(&at)) {
            around.push(name);
        }
    }
    around
}

/// What a `#[path = ".."]` just before `at` says.
fn path_attribute(source: &Source, at: usize) -> Option<String> {
    let from = source.code[..at].rfind(['}', ';', '{']).map_or(0, |end| end + 1);
    let attribute = from + source.code[from..at].find("#[path")?;
    source.text[attribute..at].split('"').nth(1).map(str::to_owned)
}

fn identifier(code: &str) -> String {
    code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Where `path` leads from `folder`.
pub(crate) fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn a_file_is_reached_by_every_kind_of_mod_line() {
    let file = Source::new;
    let mut sources = vec![
        file("a/Cargo.toml", "[package]\nname = \"a\"\n[[bin]]\npath = \"odd/start.rs\"\n"),
        file("a/src/lib.rs", "mod one;\npub(crate) mod two { mod three; }\n// mod gone;"),
        file("a/src/one.rs", "mod deep;\n#[cfg(test)]\n#[path = \"../near.rs\"]\nmod far;"),
        file("a/src/one/deep/mod.rs", "mod deeper;"),
        file("a/src/one/deep/deeper.rs", ""),
        file("a/near.rs", ""),
        file("a/src/two/three.rs", ""),
        file("a/odd/start.rs", ""),
        file("a/tests/end.rs", "mod support;"),
        file("a/tests/support/mod.rs", ""),
        file("a/tests/folder/main.rs", "mod part;"),
        file("a/tests/folder/part.rs", ""),
        file("a/build.rs", ""),
    ];
    assert_eq!(dead_files(&sources), Vec::<String>::new());
    for path in ["a/src/gone.rs", "a/src/deep.rs", "a/tests/folder/spare.rs", "b.rs"] {
        sources.push(file(path, ""));
        let dead = dead_files(&sources);
        assert_eq!(dead.len(), 1, "{path}");
        assert!(dead[0].starts_with(&format!("{path}:1: ")), "{dead:?}");
        sources.pop();
    }
}
