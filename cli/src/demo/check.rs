//! What must be true after a restart, whatever was killed when. Pure: facts in, findings out.
//!
//! 1. Every transfer that was acknowledged is in the history, as it was acknowledged; none that
//!    was backed out is. One that is there without an acknowledgement is fine: the kill came
//!    between the commit and the word of it.
//! 2. No transfer is half there: each account, teller and branch has what the history says.
//! 3. The money is right: what all accounts have is what they had plus what the history moved.
//! 4. Every unit that was left in doubt is in doubt, shows nothing, holds its locks, and its
//!    records say just what a commit would do.

use super::bank::{Bank, OPENING, TELLERS, Transfer, account_key, branch_key, teller_key};
use siding_kv::{Changes, Map};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the demo knows because a worker said so, or because it decided it itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) committed: HashMap<u64, Transfer>,
    pub(super) backed_out: HashSet<u64>,
    pub(super) in_doubt: BTreeMap<Vec<u8>, Transfer>,
}

/// A unit in doubt, as it was found.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub(super) gid: Vec<u8>,
    pub(super) changes: Changes,
    /// How many DATA records a walk back along its chain found, or why it did not end.
    pub(super) records: Result<usize, String>,
    /// Whether somebody else was kept from its account.
    pub(super) locked: bool,
}

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Acknowledged, and not there (or no longer in doubt).
    pub(super) lost: Vec<String>,
    /// Balances that the history does not explain.
    pub(super) half: Vec<String>,
    /// Backed out or not decided, and there.
    pub(super) undead: Vec<String>,
    /// Units in doubt that are not as they were prepared, sums that are wrong, keys unheard of.
    pub(super) wrong: Vec<String>,
    /// Transfers in the history that nobody acknowledged.
    pub(super) unacknowledged: u64,
    /// What all accounts have, and should have.
    pub(super) money: (i64, i64),
}

impl Findings {
    /// Everything is as it must be.
    pub(super) fn none(&self) -> bool {
        self.all().next().is_none()
    }

    /// Everything that is wrong, one text each.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.lost.iter().chain(&self.half).chain(&self.undead).chain(&self.wrong)
    }
}

/// Looks at everything.
pub(super) fn check(bank: &Bank, map: &Map, doubts: &[Doubt], ledger: &Ledger) -> Findings {
    let mut findings = Findings::default();
    let history = read_history(map, &mut findings);
    compare_history(&history, ledger, &mut findings);
    compare_balances(bank, map, &history, &mut findings);
    compare_doubts(map, doubts, &history, ledger, &mut findings);
    findings
}

type History = HashMap<u64, Transfer>;

fn read_history(map: &Map, findings: &mut Findings) -> History {
    let mut history = History::new();
    for (key, value) in map {
        if [&b"account/"[..], b"teller/", b"branch/"].iter().any(|it| key.starts_with(it)) {
            continue;
        }
        match Transfer::from_history(key, value) {
            Some(transfer) => drop(history.insert(transfer.id, transfer)),
            None => findings.wrong.push(format!("a key unheard of: `{}`", text(key))),
        }
    }
    history
}

fn compare_history(history: &History, ledger: &Ledger, findings: &mut Findings) {
    for (id, transfer) in &ledger.committed {
        match history.get(id) {
            Some(found) if found == transfer => {}
            Some(found) => findings.lost.push(format!("{transfer} was acknowledged, is {found}")),
            None => findings.lost.push(format!("{transfer} was acknowledged, and is not there")),
        }
    }
    for id in &ledger.backed_out {
        if let Some(transfer) = history.get(id) {
            findings.undead.push(format!("{transfer} was backed out, and is there"));
        }
    }
    for id in history.keys() {
        if !ledger.committed.contains_key(id) && !ledger.backed_out.contains(id) {
            findings.unacknowledged += 1;
        }
    }
}

fn balance(map: &Map, key: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(map.get(key)?.as_slice().try_into().ok()?))
}

fn compare_balances(bank: &Bank, map: &Map, history: &History, findings: &mut Findings) {
    let mut expected: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    let branches = bank.all_branches();
    expected.extend((0..bank.accounts).map(|number| (account_key(number), OPENING)));
    expected.extend((0..branches * TELLERS).map(|number| (teller_key(number), OPENING)));
    expected.extend((0..branches).map(|number| (branch_key(number), OPENING)));
    for transfer in history.values() {
        for key in keys(transfer) {
            match expected.get_mut(&key) {
                Some(balance) => *balance += transfer.delta,
                None => findings.wrong.push(format!("{transfer} is of no `{}`", text(&key))),
            }
        }
    }
    for (key, expected) in &expected {
        let found = balance(map, key);
        if found != Some(*expected) {
            let found = found.map_or("nothing".to_owned(), |found| found.to_string());
            let what = format!("`{}` has {found}, and {expected} by the history", text(key));
            findings.half.push(what);
        }
    }
    let moved: i64 = history.values().map(|transfer| transfer.delta).sum();
    let total = |prefix: &[u8], count: u32| {
        let of = map.iter().filter(|(key, _)| key.starts_with(prefix));
        let has: i64 = of.filter_map(|(key, _)| balance(map, key)).sum();
        (has, i64::from(count) * OPENING + moved)
    };
    findings.money = total(b"account/", bank.accounts);
    let totals = [
        ("accounts", findings.money),
        ("tellers", total(b"teller/", branches * TELLERS)),
        ("branches", total(b"branch/", branches)),
    ];
    for (whose, (has, should)) in totals {
        if has != should {
            findings.wrong.push(format!("all {whose} have {has}, and should have {should}"));
        }
    }
}

fn keys(transfer: &Transfer) -> [Vec<u8>; 3] {
    [account_key(transfer.account), teller_key(transfer.teller), branch_key(transfer.branch)]
}

/// The transfer that a unit in doubt will make.
pub(super) fn transfer_of(doubt: &Doubt) -> Option<Transfer> {
    let line = doubt.changes.iter().find(|(key, _)| key.starts_with(b"history/"));
    line.and_then(|(key, value)| Transfer::from_history(key, value.as_deref()?))
}

fn compare_doubts(
    map: &Map,
    doubts: &[Doubt],
    history: &History,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    for (gid, transfer) in &ledger.in_doubt {
        if !doubts.iter().any(|doubt| doubt.gid == *gid) {
            let gid = text(gid);
            findings.lost.push(format!("{transfer} was prepared as `{gid}`, and is not in doubt"));
        }
    }
    for doubt in doubts {
        let gid = text(&doubt.gid);
        let Some(transfer) = transfer_of(doubt) else {
            findings.wrong.push(format!("`{gid}` is in doubt, and has no line of history"));
            continue;
        };
        if ledger.in_doubt.get(&doubt.gid).is_some_and(|prepared| *prepared != transfer) {
            findings.wrong.push(format!("`{gid}` is in doubt with another transfer: {transfer}"));
        }
        if ledger.committed.contains_key(&transfer.id) {
            findings.lost.push(format!("{transfer} was acknowledged, and is in doubt"));
        }
        if history.contains_key(&transfer.id) {
            findings.undead.push(format!("{transfer} is in doubt, and there"));
        }
        findings.wrong.extend(flaws(map, doubt, &transfer).map(|it| format!("`{gid}`: {it}")));
    }
}

/// What is wrong with one unit in doubt. Nobody could change what it has locked, so a commit
/// leaves each balance at what it is now, plus the amount.
fn flaws(map: &Map, doubt: &Doubt, transfer: &Transfer) -> impl Iterator<Item = String> {
    let mut flaws = Vec::new();
    for key in keys(transfer) {
        let will = doubt.changes.get(&key).and_then(|value| value.as_deref());
        let will = will.and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)));
        if will.is_none() || will != balance(map, &key).map(|now| now + transfer.delta) {
            flaws.push(format!("`{}` would be {will:?}", text(&key)));
        }
    }
    match &doubt.records {
        Ok(records) if *records == doubt.changes.len() && *records == 4 => {}
        Ok(records) => flaws.push(format!("{records} records, not 4")),
        Err(error) => flaws.push(format!("its records cannot be read: {error}")),
    }
    if !doubt.locked {
        flaws.push("its locks are not held".to_owned());
    }
    flaws.into_iter()
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::bank::Dice;

    const BANK: Bank = Bank { accounts: 100, branches: 3, spare: 1, segment: 64 };

    struct World {
        map: Map,
        doubts: Vec<Doubt>,
        ledger: Ledger,
    }

    fn put(map: &mut Map, key: &[u8], by: i64) -> Option<Vec<u8>> {
        let sum = balance(map, key).unwrap_or(0) + by;
        map.insert(key.to_vec(), sum.to_le_bytes().to_vec())
    }

    fn history_line(transfer: &Transfer) -> Vec<u8> {
        let line = transfer.to_string();
        line.split_once(' ').map(|(_, rest)| rest.as_bytes().to_vec()).unwrap_or_default()
    }

    fn make(map: &mut Map, transfer: &Transfer) {
        for key in keys(transfer) {
            put(map, &key, transfer.delta);
        }
        map.insert(transfer.key(), history_line(transfer));
    }

    /// Twenty transfers, one backed out, one in doubt, one that nobody acknowledged.
    fn world() -> World {
        let mut map = Map::new();
        let branches = BANK.all_branches();
        let all = (0..BANK.accounts).map(account_key).chain((0..branches).map(branch_key));
        for key in all.chain((0..branches * TELLERS).map(teller_key)) {
            put(&mut map, &key, OPENING);
        }
        let mut ledger = Ledger::default();
        let mut dice = Dice::new(7);
        for id in 0..20 {
            let transfer = BANK.transfer(id, &mut dice);
            make(&mut map, &transfer);
            ledger.committed.insert(id, transfer);
        }
        ledger.backed_out.insert(20);
        make(&mut map, &BANK.transfer(21, &mut dice));
        let transfer = BANK.at(22, 3, &mut dice);
        let mut after = map.clone();
        make(&mut after, &transfer);
        let mut touched = keys(&transfer).to_vec();
        touched.push(transfer.key());
        let changes = touched.into_iter().map(|key| (key.clone(), after.remove(&key))).collect();
        ledger.in_doubt.insert(b"g".to_vec(), transfer);
        let doubt = Doubt { gid: b"g".to_vec(), changes, records: Ok(4), locked: true };
        World { map, doubts: vec![doubt], ledger }
    }

    /// Lost, half, undead, wrong: after `harm` was done.
    fn counts(harm: impl FnOnce(&mut World)) -> [usize; 4] {
        let mut world = world();
        harm(&mut world);
        let World { map, doubts, ledger } = &world;
        let found = check(&BANK, map, doubts, ledger);
        assert_eq!(found.none(), found.all().count() == 0);
        [found.lost.len(), found.half.len(), found.undead.len(), found.wrong.len()]
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        let World { map, doubts, ledger } = world();
        let found = check(&BANK, &map, &doubts, &ledger);
        assert!(found.none(), "{found:?}");
        assert_eq!(found.unacknowledged, 1);
        assert_eq!(found.money.0, found.money.1);
    }

    #[test]
    fn a_transfer_that_is_gone_is_lost_and_one_that_lost_its_history_is_half_too() {
        let whole = |world: &mut World| {
            let transfer = world.ledger.committed[&5];
            keys(&transfer).iter().for_each(|key| drop(put(&mut world.map, key, -transfer.delta)));
            world.map.remove(&transfer.key());
        };
        assert_eq!(counts(whole), [1, 0, 0, 0]);
        let line = |world: &mut World| drop(world.map.remove(&world.ledger.committed[&5].key()));
        assert_eq!(counts(line), [1, 3, 0, 3]);
    }

    #[test]
    fn each_part_that_is_missing_is_found() {
        for part in 0..3 {
            let harm = |world: &mut World| {
                let transfer = world.ledger.committed[&5];
                put(&mut world.map, &keys(&transfer)[part], -transfer.delta);
            };
            assert_eq!(counts(harm), [0, 1, 0, 1]);
        }
    }

    #[test]
    fn a_transfer_that_changed_is_lost() {
        let harm = |world: &mut World| {
            let Some(transfer) = world.ledger.committed.get_mut(&5) else { return };
            transfer.delta += 1;
        };
        assert_eq!(counts(harm), [1, 0, 0, 0]);
    }

    #[test]
    fn what_was_backed_out_must_not_be_there() {
        let harm = |world: &mut World| world.ledger.backed_out.extend([21]);
        assert_eq!(counts(harm), [0, 0, 1, 0]);
    }

    #[test]
    fn a_key_unheard_of_is_named() {
        let harm = |world: &mut World| drop(world.map.insert(b"stranger".to_vec(), Vec::new()));
        assert_eq!(counts(harm), [0, 0, 0, 1]);
    }

    #[test]
    fn a_unit_in_doubt_must_be_there_and_show_nothing() {
        assert_eq!(counts(|world| world.doubts.clear()), [1, 0, 0, 0]);
        let shows = |world: &mut World| {
            let transfer = world.ledger.in_doubt[&b"g"[..]];
            make(&mut world.map, &transfer);
        };
        // Its changes no longer fit the balances either.
        assert_eq!(counts(shows), [0, 0, 1, 3]);
        let told = |world: &mut World| {
            let transfer = world.ledger.in_doubt[&b"g"[..]];
            world.ledger.committed.insert(22, transfer);
        };
        assert_eq!(counts(told), [2, 0, 0, 0]);
    }

    #[test]
    fn each_flaw_of_a_unit_in_doubt_is_found() {
        let harms: [fn(&mut Doubt); 5] = [
            |doubt| doubt.locked = false,
            |doubt| doubt.records = Ok(3),
            |doubt| doubt.records = Err("damaged".into()),
            |doubt| doubt.changes.retain(|key, _| !key.starts_with(b"history/")),
            |doubt| {
                let branch = doubt.changes.get_mut(&branch_key(3)[..]);
                branch.and_then(Option::as_mut).unwrap()[0] ^= 1;
            },
        ];
        for harm in harms {
            assert_eq!(counts(|world| harm(&mut world.doubts[0])), [0, 0, 0, 1]);
        }
        let other = |world: &mut World| {
            let Some(prepared) = world.ledger.in_doubt.get_mut(&b"g"[..]) else { return };
            prepared.delta += 1;
        };
        assert_eq!(counts(other), [0, 0, 0, 1]);
    }
}
