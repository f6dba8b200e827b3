//! The sections and tables of `docs/FORMAT.md`.

/// The document.
pub(crate) const DOCUMENT: &str = include_str!("../../../docs/FORMAT.md");

/// The lines under the heading `title`, up to the next heading.
pub(crate) fn section(title: &str) -> Vec<&'static str> {
    let mut lines = DOCUMENT
        .lines()
        .skip_while(|line| !(line.starts_with('#') && line.trim_start_matches(['#', ' ']) == title))
        .skip(1)
        .peekable();
    assert!(lines.peek().is_some(), "the document has no section `{title}`");
    lines.take_while(|line| !line.starts_with("## ") && !line.starts_with("### ")).collect()
}

/// The cells of the table under `title` whose first column is called `first`.
pub(crate) fn table(title: &str, first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let rows: Vec<_> = section(title)
        .into_iter()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "the section `{title}` has no table by `{first}`");
    rows
}

/// A name without its backticks.
pub(crate) fn name(cell: &str) -> &str {
    cell.trim_matches('`')
}
