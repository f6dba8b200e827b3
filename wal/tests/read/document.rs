//! `docs/RECOVERY.md` and the code have the same table.

use siding_wal::read::{After, At, Case, Next, ROWS, Row};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/RECOVERY.md");
    std::fs::read_to_string(path).unwrap()
}

fn list<T: Copy>(values: &[T], name: impl Fn(T) -> &'static str) -> String {
    match values {
        [] => "-".into(),
        _ => values.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", "),
    }
}

fn yes(value: Option<bool>) -> &'static str {
    value.map_or("-", |value| if value { "yes" } else { "no" })
}

fn case(row: &Row, case: &Case) -> String {
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} |",
        row.letter,
        row.name,
        list(case.at, At::name),
        list(case.after, After::name),
        list(case.next, Next::name),
        yes(case.below_known_durable),
        yes(case.clean),
        row.decision,
    )
}

fn reason(row: &Row) -> String {
    let advice = if row.advice.is_empty() { "nothing" } else { row.advice };
    format!("| {} | {} | {advice} |", row.letter, row.why)
}

#[test]
fn the_document_has_the_tables_of_the_code() {
    let document = document();
    let lettered = |line: &&str| {
        let letter = line.strip_prefix("| ").and_then(|rest| rest.split_once(" |"));
        letter.is_some_and(|(letter, _)| letter.len() == 1)
    };
    let found: Vec<_> = document.lines().filter(lettered).collect();
    let cases = ROWS.iter().flat_map(|row| row.cases.iter().map(|set| case(row, set)));
    let expected: Vec<_> = cases.chain(ROWS.iter().map(reason)).collect();
    assert_eq!(found, expected, "\n\nThe tables should be:\n\n{}\n", expected.join("\n"));
}

#[test]
fn the_document_names_the_facts() {
    let document = document();
    let at = At::ALL.map(At::name);
    let after = After::ALL.map(After::name);
    let next = Next::ALL.map(Next::name);
    for name in at.iter().chain(&after).chain(&next) {
        assert!(document.contains(&format!("*{name}*")), "{name}");
    }
}
