//! Units in doubt: through restarts, with their locks, decided here or at the log itself.

use crate::{contents, crash, open, put, scratch, value};
use siding::{ErrorKind, Outcome};
use siding_kv::{Db, Error, Result, Span};

/// Reads `read`, writes `written`, and is left in doubt.
fn doubt(db: &Db, gid: &str) -> Result<()> {
    let mut txn = db.begin()?;
    txn.get(b"read")?;
    txn.put(b"taken back", b"x")?;
    txn.put(b"written", gid.as_bytes())?;
    let save = txn.savepoint()?;
    txn.put(b"written", b"rolled back")?;
    txn.put(b"rolled back", b"x")?;
    txn.roll_back_to(&save)?;
    txn.delete(b"taken back")?;
    txn.prepare(gid.as_bytes())?;
    Ok(())
}

fn is_locked(db: &Db, key: &str) -> bool {
    let refused = db.begin().unwrap().get(key.as_bytes());
    match refused {
        Ok(_) => false,
        Err(Error::Busy { in_doubt, .. }) => in_doubt,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_unit_in_doubt_keeps_its_locks_through_restarts() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    put(&db, "written", "before")?;
    doubt(&db, "g")?;
    let image = crash(dir.path());
    db.close()?;
    drop(db);
    let crashed = open(image.path())?;
    let closed = open(dir.path())?;
    for db in [&crashed, &closed] {
        assert_eq!(db.in_doubt(), [b"g"]);
        assert_eq!(db.report().in_doubt, 1);
        assert!(is_locked(db, "written") && is_locked(db, "taken back"));
        assert!(!is_locked(db, "read") && !is_locked(db, "rolled back"));
        assert_eq!(value(db, "written").as_deref(), Some("before"));
        assert!(matches!(db.begin()?.scan(&Span::all()), Err(Error::Busy { in_doubt: true, .. })));
        let changes = db.changes_in_doubt(b"g")?;
        assert_eq!(changes[&b"written"[..]].as_deref(), Some(&b"g"[..]));
        assert_eq!((changes.len(), &changes[&b"taken back"[..]]), (2, &None));
        // What nobody holds goes on.
        put(db, "read", "1")?;
    }
    crashed.commit_prepared(b"g")?;
    closed.back_out_prepared(b"g")?;
    for (db, place, expected) in [(crashed, image.path(), "g"), (closed, dir.path(), "before")] {
        assert!(!is_locked(&db, "written"));
        assert_eq!(value(&db, "written").as_deref(), Some(expected));
        let now = contents(&db);
        db.close()?;
        drop(db);
        let db = open(place)?;
        assert_eq!(contents(&db), now);
        assert!(db.in_doubt().is_empty() && !is_locked(&db, "written"));
    }
    Ok(())
}

#[test]
fn a_gid_that_is_taken_gives_the_transaction_back() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    doubt(&db, "g")?;
    let mut txn = db.begin()?;
    txn.put(b"other", b"1")?;
    let refused = txn.prepare(b"g").unwrap_err();
    assert_eq!(refused.error.log_kind(), Some(ErrorKind::DuplicateGid));
    refused.txn.unwrap().commit()?;
    assert_eq!(value(&db, "other").as_deref(), Some("1"));
    assert_eq!(db.in_doubt(), [b"g"]);
    assert!(matches!(db.commit_prepared(b"h"), Err(Error::NotInDoubt(_))));
    db.commit_prepared(b"g")?;
    assert!(matches!(db.commit_prepared(b"g"), Err(Error::NotInDoubt(_))));
    // A gid can be used again once its unit has ended.
    doubt(&db, "g")?;
    db.back_out_prepared(b"g")
}

#[test]
fn a_decided_unit_is_applied_and_stays_until_it_is_ended() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    doubt(&db, "g")?;
    let decided = db.decide(b"g", Outcome::Commit)?;
    assert_eq!(value(&db, "written").as_deref(), Some("g"));
    assert!(!is_locked(&db, "written"));
    drop(decided);
    db.snapshot()?;
    db.close()?;
    drop(db);
    let db = open(dir.path())?;
    assert_eq!((db.report().redone, value(&db, "written").as_deref()), (0, Some("g")));
    let mut left = db.log().decided();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].outcome(), Outcome::Commit);
    left.remove(0).end()?;
    assert!(db.log().decided().is_empty());
    db.close()
}

/// Decides as an operator does: at the log, behind the database's back.
fn at_the_log(db: &Db, commit: bool) -> Result<()> {
    let unit = db.log().in_doubt().remove(0);
    if commit {
        unit.commit()?;
    } else {
        unit.back_out()?;
    }
    Ok(())
}

#[test]
fn a_decision_made_at_the_log_is_learned_when_a_lock_is_met() -> Result<()> {
    for commit in [true, false] {
        let dir = scratch();
        let db = open(dir.path())?;
        doubt(&db, "g")?;
        at_the_log(&db, commit)?;
        let mut txn = db.begin()?;
        assert_eq!(txn.get(b"written")?.is_some(), commit);
        txn.put(b"written", b"after")?;
        txn.commit()?;
        assert!(matches!(db.commit_prepared(b"g"), Err(Error::NotInDoubt(_))));
    }
    Ok(())
}

#[test]
fn a_decision_made_at_the_log_beats_a_later_one() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    doubt(&db, "g")?;
    at_the_log(&db, true)?;
    let late = db.back_out_prepared(b"g").unwrap_err();
    assert!(matches!(late, Error::AlreadyDecided(Outcome::Commit)), "{late}");
    assert_eq!(value(&db, "written").as_deref(), Some("g"));
    assert!(!is_locked(&db, "written"));
    Ok(())
}

#[test]
fn a_decision_made_at_the_log_is_in_the_next_snapshot() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    doubt(&db, "g")?;
    // The table looks once while it is in doubt, so that it looks from there on later.
    assert_eq!(db.learn_decisions()?, 0);
    for _ in 0..300 {
        put(&db, "filler", &"x".repeat(500))?;
    }
    at_the_log(&db, true)?;
    put(&db, "after", "1")?;
    let redo = db.snapshot()?.redo;
    let image = crash(dir.path());
    let db = open(image.path())?;
    assert_eq!(db.report().redo, redo);
    assert_eq!((db.report().redone, value(&db, "written").as_deref()), (0, Some("g")));
    Ok(())
}
