//! Restart: what was committed is there, once; what was not is not.

use crate::{contents, crash, open, options, put, scratch, value};
use siding::ErrorKind;
use siding_kv::{Error, Result, log_dir};

#[test]
fn what_was_committed_is_there_after_a_close_and_after_a_crash() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    for round in 0..50 {
        put(&db, &format!("k{}", round % 7), &format!("{round}"))?;
    }
    let mut removed = db.begin()?;
    removed.delete(b"k0")?;
    removed.commit()?;
    let mut lost = db.begin()?;
    lost.put(b"lost", b"x")?;
    db.log().ensure_durable(db.log().positions().end)?;
    let expected = contents(&db);
    let image = crash(dir.path());
    drop(lost);
    db.close()?;
    for place in [dir.path(), image.path()] {
        for _ in 0..2 {
            let db = open(place)?;
            assert_eq!(contents(&db), expected);
            assert_eq!(db.report().redone, 51);
            db.close()?;
        }
    }
    Ok(())
}

#[test]
fn redo_starts_at_the_snapshot_and_counts_nothing_twice() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let mut early = db.begin()?;
    early.increment(b"spans the snapshot", 1)?;
    for _ in 0..10 {
        let mut txn = db.begin()?;
        txn.increment(b"n", 1)?;
        txn.commit()?;
    }
    let taken = db.snapshot()?;
    assert_eq!(taken.keys, 1);
    early.commit()?;
    put(&db, "late", "1")?;
    let image = crash(dir.path());
    let db = open(image.path())?;
    assert_eq!(db.report().snapshot.as_deref().unwrap().file_name(), taken.file.file_name());
    assert_eq!((db.report().redo, db.report().redone), (taken.redo, 2));
    assert_eq!(db.view(|map| map[&b"n"[..]].clone()), 10_i64.to_le_bytes());
    assert_eq!(db.view(|map| map[&b"spans the snapshot"[..]].clone()), 1_i64.to_le_bytes());
    db.close()?;
    Ok(())
}

#[test]
fn a_second_handle_is_kept_out_and_changes_nothing() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    put(&db, "a", "1")?;
    std::fs::write(dir.path().join("snapshot.tmp"), b"being written by the owner").unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert_eq!(refused.log_kind(), Some(ErrorKind::Locked), "{refused}");
    assert!(dir.path().join("snapshot.tmp").exists());
    put(&db, "a", "2")?;
    assert_eq!(value(&db, "a").as_deref(), Some("2"));
    Ok(())
}

#[test]
fn a_log_of_another_program_is_refused_and_left_as_it_is() -> Result<()> {
    let dir = scratch();
    let log = siding::Options::new().open(log_dir(dir.path()))?.finish()?;
    log.write(b"none of ours")?;
    log.close()?;
    for _ in 0..2 {
        assert!(matches!(open(dir.path()), Err(Error::Record(_))));
    }
    let log = siding::Options::new().open(log_dir(dir.path()))?;
    assert_eq!(log.committed()?.next()?.unwrap().payload(), b"none of ours");
    Ok(())
}

#[test]
fn a_log_that_repeats_history_is_refused() -> Result<()> {
    let dir = scratch();
    let log = siding::Options::new().discipline(siding::Discipline::RepeatHistory);
    let refused = options().log(log).open(dir.path()).unwrap_err();
    assert_eq!(refused.log_kind(), Some(ErrorKind::Invalid), "{refused}");
    Ok(())
}
