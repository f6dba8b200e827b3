//! One transaction after the other: what it sees, what it leaves.

use crate::{open, put, scratch, value};
use siding_kv::{Error, Result, Span};

#[test]
fn a_transaction_sees_itself_and_nobody_else_sees_it() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    put(&db, "a", "1")?;
    let mut txn = db.begin()?;
    txn.put(b"b", b"2")?;
    txn.delete(b"a")?;
    assert_eq!(txn.get(b"a")?, None);
    assert_eq!(txn.get(b"b")?.as_deref(), Some(&b"2"[..]));
    assert_eq!((value(&db, "a").as_deref(), value(&db, "b")), (Some("1"), None));
    txn.commit()?;
    assert_eq!((value(&db, "a"), value(&db, "b").as_deref()), (None, Some("2")));
    Ok(())
}

#[test]
fn what_was_backed_out_or_dropped_was_never_there() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let mut txn = db.begin()?;
    txn.put(b"a", b"1")?;
    txn.back_out()?;
    let mut txn = db.begin()?;
    txn.put(b"b", b"1")?;
    drop(txn);
    assert!(db.view(siding_kv::Map::is_empty));
    // Their locks are free again.
    put(&db, "a", "2")?;
    put(&db, "b", "2")?;
    db.close()?;
    assert_eq!(value(&open(dir.path())?, "a").as_deref(), Some("2"));
    Ok(())
}

#[test]
fn sums_are_kept_and_what_is_no_number_is_refused() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    put(&db, "text", "five")?;
    let mut txn = db.begin()?;
    assert_eq!(txn.increment(b"n", 5)?, 5);
    assert_eq!(txn.increment(b"n", -7)?, -2);
    assert!(matches!(txn.increment(b"text", 1), Err(Error::NotANumber(_))));
    assert!(matches!(txn.increment(b"n", i64::MIN), Err(Error::NotANumber(_))));
    assert_eq!(txn.increment(b"n", 0)?, -2);
    txn.commit()?;
    Ok(())
}

#[test]
fn savepoints_nest_and_those_rolled_over_are_gone() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    put(&db, "a", "0")?;
    let mut txn = db.begin()?;
    let start = txn.savepoint()?;
    txn.put(b"a", b"1")?;
    let outer = txn.savepoint()?;
    txn.delete(b"a")?;
    txn.put(b"b", b"1")?;
    let inner = txn.savepoint()?;
    txn.put(b"a", b"2")?;
    txn.put(b"a", b"3")?;
    txn.roll_back_to(&inner)?;
    assert_eq!(txn.get(b"a")?, None);
    txn.roll_back_to(&outer)?;
    assert_eq!((txn.get(b"a")?.as_deref(), txn.get(b"b")?), (Some(&b"1"[..]), None));
    assert!(matches!(txn.roll_back_to(&inner), Err(Error::Ended)));
    txn.put(b"c", b"1")?;
    txn.commit()?;
    let mut nothing = db.begin()?;
    nothing.put(b"a", b"9")?;
    nothing.roll_back_to(&start).unwrap_err();
    let own = nothing.savepoint()?;
    nothing.put(b"a", b"8")?;
    nothing.roll_back_to(&own)?;
    drop(nothing);
    db.close()?;
    let db = open(dir.path())?;
    assert_eq!(db.report().redone, 3);
    assert_eq!(value(&db, "a").as_deref(), Some("1"));
    assert_eq!((value(&db, "b"), value(&db, "c").as_deref()), (None, Some("1")));
    Ok(())
}

#[test]
fn a_scan_is_in_order_and_shows_own_changes() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    for key in ["b/2", "a/1", "b/1", "c"] {
        put(&db, key, "old")?;
    }
    let mut txn = db.begin()?;
    txn.delete(b"b/1")?;
    txn.put(b"b/3", b"new")?;
    let keys = |found: Vec<(Vec<u8>, Vec<u8>)>| {
        found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys(txn.scan(&Span::prefix(b"b/"))?), ["b/2", "b/3"]);
    assert_eq!(keys(txn.scan(&Span::between(b"a", b"b/3"))?), ["a/1", "b/2"]);
    assert_eq!(keys(txn.scan(&Span::all())?), ["a/1", "b/2", "b/3", "c"]);
    // Backwards there is nothing.
    assert!(txn.scan(&Span::between(b"z", b"a"))?.is_empty());
    Ok(())
}

#[test]
fn locks_last_until_the_end_and_the_holder_is_named() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let mut holder = db.begin()?;
    holder.put(b"a", b"1")?;
    let reader = db.begin()?;
    match reader.get(b"a") {
        Err(Error::Busy { key, holder: by, in_doubt: false }) => {
            assert_eq!((key, by), (b"a".to_vec(), holder.id()));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(reader.scan(&Span::all()), Err(Error::Busy { .. })));
    holder.commit()?;
    assert_eq!(reader.get(b"a")?.as_deref(), Some(&b"1"[..]));
    let mut writer = db.begin()?;
    assert!(matches!(writer.put(b"a", b"2"), Err(Error::Busy { .. })));
    reader.commit()?;
    writer.put(b"a", b"2")?;
    writer.commit()?;
    Ok(())
}

#[test]
fn what_the_log_refuses_has_not_happened() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let mut txn = db.begin()?;
    txn.put(b"a", b"1")?;
    let refused = txn.put(b"a", &vec![0; 1 << 20]).unwrap_err();
    assert_eq!(refused.log_kind(), Some(siding::ErrorKind::TooLarge), "{refused}");
    assert_eq!(txn.get(b"a")?.as_deref(), Some(&b"1"[..]));
    txn.commit()?;
    assert_eq!(value(&db, "a").as_deref(), Some("1"));
    Ok(())
}
