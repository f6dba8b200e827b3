//! The rules about code. Each takes a file and says what is wrong in it, and where.

use crate::lexer::Source;
use crate::modules::resolve;

/// The crates a user links; what they may do is narrower than what tests and commands may.
const LIBRARY: [&str; 7] = [
    "src/",
    "wal/src/",
    "fork/src/",
    "checkpoint/src/",
    "syncpoint/src/",
    "scope/src/",
    "standby/src/",
];

fn starts_with_any(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

/// Whether a file is test or bench code as a whole.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches")
}

/// The operating system is touched in one folder of the library.
pub(crate) fn system_calls(source: &Source, allowed: &str) -> Vec<String> {
    if !starts_with_any(&source.path, &LIBRARY) || source.path.starts_with(allowed) {
        return Vec::new();
    }
    let words = ["fs", "rustix", "io_uring", "memmap2", "libc", "nix"];
    let found = words.iter().flat_map(|word| source.words(word).map(move |at| (at, word)));
    let what = |word| format!("`{word}` outside {allowed}: go through the trait `Disk`");
    found.map(|(at, word)| source.at(at, &what(word))).collect()
}

/// `unsafe` stands in the allowed files, and each with its reason.
pub(crate) fn unsafe_code(source: &Source, allowed: &[&str]) -> Vec<String> {
    let excused = |at: usize| {
        let line = source.text[..at].matches('\n').count();
        let before = source.text.lines().take(line + 1).skip(line.saturating_sub(5));
        before.into_iter().any(|line| line.contains("SAFETY:"))
    };
    let judge = |at| match allowed.contains(&source.path.as_str()) {
        false => Some(source.at(at, "`unsafe` outside the files that may")),
        true if excused(at) => None,
        true => Some(source.at(at, "`unsafe` without a `SAFETY:` just above")),
    };
    source.words("unsafe").filter_map(judge).collect()
}

/// Async runtimes stay with those who chose one.
pub(crate) fn runtimes(source: &Source) -> Vec<String> {
    if starts_with_any(&source.path, &["adapters/", "syncpoint/", "benches/"]) {
        return Vec::new();
    }
    let found = ["tokio", "async_std", "smol"].into_iter().flat_map(|word| source.words(word));
    found.map(|at| source.at(at, "an async runtime below adapters/")).collect()
}

/// Nothing unfinished, nothing switched off.
pub(crate) fn unfinished(source: &Source) -> Vec<String> {
    let macros = ["todo", "unimplemented", "dbg"]
        .into_iter()
        .flat_map(|word| source.words(word).map(move |at| (at, word.len())))
        .filter(|(at, len)| source.code[at + len..].starts_with('!'));
    let ignored = source.words("ignore").filter(|at| source.code[..*at].trim_end().ends_with("#["));
    let found = macros.map(|(at, _)| at).chain(ignored);
    found.map(|at| source.at(at, "unfinished or switched off; finish it or take it out")).collect()
}

/// Time is an argument: one file reads the clock.
pub(crate) fn clocks(source: &Source, allowed: &[&str]) -> Vec<String> {
    let found = ["Instant", "SystemTime"]
        .into_iter()
        .flat_map(|word| source.words(word).map(move |at| (at, word.len())))
        .filter(|(at, len)| source.code[at + len..].trim_start().starts_with("::now"));
    outside(source, found.map(|(at, _)| at), allowed)
        .map(|at| source.at(at, "a clock is read here; take the time as an argument"))
        .collect()
}

/// Threads are started by drivers.
pub(crate) fn threads(source: &Source, allowed: &[&str]) -> Vec<String> {
    let starts = |at: &usize| {
        let path = source.code[*at..].split(['(', ';']).next().unwrap_or_default();
        ["spawn", "Builder", "scope"].iter().any(|word| path.contains(word))
    };
    let found = source.words("thread").filter(|at| source.code[at + 6..].starts_with("::"));
    outside(source, found.filter(starts), allowed)
        .map(|at| source.at(at, "a thread is started here; let a driver do it"))
        .collect()
}

/// The offsets that lie neither in tests nor in an allowed file.
fn outside<'a>(
    source: &Source,
    found: impl Iterator<Item = usize> + 'a,
    allowed: &[&str],
) -> impl Iterator<Item = usize> + 'a {
    let excused = is_test(&source.path) || allowed.contains(&source.path.as_str());
    let tests = source.test_blocks();
    found.filter(move |at| !excused && !tests.iter().any(|block| block.contains(at)))
}

/// A file fits a reader's head.
pub(crate) fn file_length(source: &Source, most: usize) -> Vec<String> {
    let lines = source.text.lines().count();
    let what = format!("the file has {lines} lines, {most} is the most");
    if lines > most { vec![source.at(0, &what)] } else { Vec::new() }
}

/// A line fits two windows side by side.
pub(crate) fn line_length(source: &Source, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > most {
            let path = &source.path;
            found.push(format!("{path}:{}: {columns} columns, {most} is the most", index + 1));
        }
    }
    found
}

/// A function fits a screen.
pub(crate) fn function_length(source: &Source, most: usize) -> Vec<String> {
    let too_long = |at: usize| {
        let body = body_of(source, at)?;
        let lines = source.code[at..body.end].matches('\n').count() + 1;
        let what = format!("the function has {lines} lines, {most} is the most");
        (lines > most).then(|| source.at(at, &what))
    };
    source.words("fn").filter_map(too_long).collect()
}

/// The braces of the function whose `fn` stands at `at`; none for a signature or a type.
fn body_of(source: &Source, at: usize) -> Option<std::ops::Range<usize>> {
    let rest = &source.code[at + 2..];
    if !rest.trim_start().starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let mut depth = 0_i32;
    for (offset, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return source.block(at + 2 + offset),
            _ => {}
        }
    }
    None
}

/// One word, one meaning.
pub(crate) fn words(source: &Source, forbidden: &[String]) -> Vec<String> {
    let lower = source.text.to_lowercase();
    let found = forbidden.iter().flat_map(|word| {
        let found = lower.match_indices(word.as_str()).map(|(at, _)| at).collect::<Vec<_>>();
        found.into_iter().map(move |at| (at, word))
    });
    let what = |word| format!("`{word}` is not our word; see docs/GLOSSARY.md");
    found
        .filter(|(at, word)| {
            let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
            edge(lower[..*at].chars().next_back()) && edge(lower[at + word.len()..].chars().next())
        })
        .map(|(at, word)| {
            // Lower case may have another length; the line is the same.
            let line = lower[..at].matches('\n').count() + 1;
            format!("{}:{line}: {}", source.path, what(word))
        })
        .collect()
}

/// The words that the glossary's last table says we do not use.
pub(crate) fn forbidden_words(glossary: &str) -> Vec<String> {
    let table = glossary.split("## Words not used").nth(1).unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(','))
        .map(|word| word.trim().to_lowercase())
        .collect()
}

/// What holds on one machine alone has no place in a file.
pub(crate) fn machine_paths(source: &Source) -> Vec<String> {
    // Put together here, so that this file does not name them.
    let roots = ["home", "root", "Users", "work"].map(|name| format!("/{name}/"));
    let absolute = |at: &usize| {
        let before = source.text[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '}'))
    };
    let found = roots.iter().flat_map(|root| source.text.match_indices(root.as_str()));
    found
        .filter(|(at, _)| absolute(at))
        .map(|(at, root)| source.at(at, &format!("a path of one machine: `{root}`")))
        .collect()
}

/// The links of a page that lead to no file of the repository.
pub(crate) fn broken_links(source: &Source, exists: impl Fn(&str) -> bool) -> Vec<String> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = |at: usize| source.text[at + 2..].split([')', '#']).next().unwrap_or_default();
    let found = source.text.match_indices("](").map(|(at, _)| (at, target(at)));
    found
        .filter(|(_, target)| !target.is_empty() && !target.contains("://"))
        .filter(|(_, target)| !exists(&resolve(folder, target)))
        .map(|(at, target)| source.at(at, &format!("`{target}` is not there")))
        .collect()
}
