//! A backup under load, and the database put back as of moments on the way.

use crate::{open, options, scratch};
use siding::archive::{ArchiveOptions, Target, Wanted};
use siding::disk::MemoryDisk;
use siding::sink::DirectorySink;
use siding::{BackupOptions, Lsn, RestoreOptions, plan_restore};
use siding_kv::{Db, Result, Span, restore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn sink() -> DirectorySink {
    DirectorySink::new(Arc::new(MemoryDisk::new()))
}

/// Two keys that are moved between while everything else goes on: their sum stays.
fn transfer(db: &Db, count: u64) -> Result<Lsn> {
    let mut txn = db.begin()?;
    txn.put(b"a", &count.to_le_bytes())?;
    txn.put(b"b", &(u64::MAX - count).to_le_bytes())?;
    txn.commit()
}

fn number(db: &Db, key: &[u8]) -> Result<Option<u64>> {
    let value = db.begin()?.get(key)?;
    Ok(value.map(|it| u64::from_le_bytes(it.try_into().unwrap())))
}

/// What was acknowledged: each count, with where it was durable.
fn under_load(db: &Db, work: impl FnOnce() -> Result<()>) -> Result<Vec<(Lsn, u64)>> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<Vec<(Lsn, u64)>> {
            let mut said = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let count = said.len() as u64;
                said.push((transfer(db, count)?, count));
                if count % 40 == 39 {
                    db.snapshot()?;
                }
            }
            Ok(said)
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        let said = writer.join().unwrap();
        done.and(said)
    })
}

#[test]
fn it_is_put_back_as_of_any_commit_behind_the_backup() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let sink = sink();
    db.log().archive_to(Arc::new(sink.clone()), ArchiveOptions::default())?;
    let mut end = Lsn::ZERO;
    let said = under_load(&db, || {
        thread::sleep(std::time::Duration::from_millis(150));
        end = db.backup_to(&sink, &BackupOptions::new())?.end;
        thread::sleep(std::time::Duration::from_millis(150));
        Ok(())
    })?;
    db.log().archive_now()?;
    db.close()?;
    let behind: Vec<(Lsn, u64)> = said.iter().copied().filter(|it| it.0 >= end).collect();
    assert!(behind.len() > 2, "{} of {} lie behind the backup", behind.len(), said.len());
    for at in [0, behind.len() / 2, behind.len() - 1] {
        let (lsn, count) = behind[at];
        let plan = plan_restore(&sink, &Wanted::from(Target::Lsn(lsn)))?;
        let again = scratch();
        restore(&sink, &plan, again.path(), &RestoreOptions::new())?;
        let db = options().open(again.path())?;
        assert_eq!(number(&db, b"a")?, Some(count), "as of {lsn}");
        assert_eq!(number(&db, b"b")?, Some(u64::MAX - count));
        assert_eq!(db.begin()?.scan(&Span::prefix(b""))?.len(), 2);
        // It goes on.
        transfer(&db, 7)?;
        db.snapshot()?;
        db.close()?;
    }
    Ok(())
}

#[test]
fn units_in_doubt_are_put_back_in_doubt() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let mut txn = db.begin()?;
    txn.put(b"key", b"value")?;
    txn.prepare(b"gid")?;
    db.snapshot()?;
    let sink = sink();
    db.backup_to(&sink, &BackupOptions::new())?;
    db.back_out_prepared(b"gid")?;
    db.close()?;
    let plan = plan_restore(&sink, &Wanted::from(Target::End))?;
    let again = scratch();
    restore(&sink, &plan, again.path(), &RestoreOptions::new())?;
    let db = open(again.path())?;
    assert_eq!(db.in_doubt(), [b"gid".to_vec()]);
    db.commit_prepared(b"gid")?;
    assert_eq!(db.begin()?.get(b"key")?, Some(b"value".to_vec()));
    db.close()
}
