//! The decision table for the end of the log is total and unambiguous.

use siding_wal::read::{After, At, Decision, Facts, Next, ROWS, judge};

#[test]
fn every_combination_of_facts_matches_exactly_one_case() {
    let mut count = 0;
    for facts in Facts::all() {
        let cases = ROWS.iter().flat_map(|row| row.cases.iter().map(move |case| (row, case)));
        let matching: Vec<_> =
            cases.filter(|(_, case)| case.holds(&facts)).map(|(row, _)| row.letter).collect();
        assert_eq!(matching.len(), 1, "{facts:?} matches {matching:?}");
        assert_eq!(judge(&facts).map(|row| row.letter), matching.first().copied());
        count += 1;
    }
    assert_eq!(count, At::ALL.len() * After::ALL.len() * Next::ALL.len() * 4);
}

#[test]
fn letters_are_unique_in_order_and_each_is_reached() {
    let letters: Vec<char> = ROWS.iter().map(|row| row.letter).collect();
    let expected: Vec<char> = ('A'..).take(letters.len()).collect();
    assert_eq!(letters, expected);
    for row in ROWS {
        assert!(Facts::all().any(|facts| judge(&facts).is_some_and(|r| r.letter == row.letter)));
        let refuses = matches!(row.decision, Decision::Refuse(_));
        assert_eq!(refuses, !row.advice.is_empty(), "{} tells what to do", row.letter);
    }
}

#[test]
fn nothing_known_durable_is_ever_cut() {
    for facts in Facts::all() {
        let durable = facts.below_known_durable || facts.next == Next::Above;
        let proven = facts.after == After::Proof && !facts.clean;
        let changes = facts.next == Next::Change;
        if (durable || proven) && !changes {
            let row = judge(&facts).unwrap();
            assert!(matches!(row.decision, Decision::Refuse(_)), "{facts:?}: {}", row.letter);
        }
    }
}
