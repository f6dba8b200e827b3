//! Many threads at once: nothing is lost between commit, apply and snapshot.

use crate::{contents, crash, crash_amid, open, options, put, scratch};
use siding::Lsn;
use siding_kv::{Db, Error, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const ACCOUNTS: u64 = 16;

fn account(number: u64) -> Vec<u8> {
    format!("account/{number:02}").into_bytes()
}

fn number(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().unwrap())
}

/// The sum over all accounts, and how many transfers there were; their history must agree.
fn sums(db: &Db) -> (i64, i64) {
    let of = |map: &siding_kv::Map, prefix: &[u8]| {
        map.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, it)| number(it)).sum()
    };
    db.view(|map| {
        let counted = of(map, b"count/");
        let history = map.keys().filter(|key| key.starts_with(b"history/")).count();
        assert_eq!(i64::try_from(history).unwrap(), counted);
        (of(map, b"account/"), counted)
    })
}

/// Tells the threads to end, also when the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A small generator; what is random here need not be good.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Moves money between two accounts and counts it, locking in one order.
fn transfer(db: &Db, thread: u64, seed: &mut u64) -> Result<()> {
    let (one, other) = (next(seed) % ACCOUNTS, next(seed) % ACCOUNTS);
    let amount = i64::try_from(next(seed) % 100).unwrap();
    let mut txn = db.begin()?;
    txn.increment(&account(one.min(other)), amount)?;
    txn.increment(&account(one.max(other)), -amount)?;
    let count = txn.increment(format!("count/{thread}").as_bytes(), 1)?;
    // Written once: if this is lost, nothing that comes later makes up for it.
    txn.put(format!("history/{thread}/{count}").as_bytes(), &amount.to_le_bytes())?;
    txn.commit()?;
    Ok(())
}

#[test]
fn the_sum_never_changes_whatever_the_threads_and_snapshots_do() -> Result<()> {
    let dir = scratch();
    let db = options().patience(Duration::from_secs(60)).open(dir.path())?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let held = AtomicBool::new(false);
    let mut images = Vec::new();
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for thread in 0..6 {
            let (db, stop, done, held) = (&db, &stop, &done, &held);
            scope.spawn(move || {
                let mut seed = thread + 1;
                while !stop.load(Ordering::Relaxed) {
                    while held.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    transfer(db, thread, &mut seed).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..30_u64 {
            std::thread::sleep(Duration::from_millis(10));
            let floor = done.load(Ordering::Relaxed);
            db.snapshot().unwrap();
            let (money, counted) = sums(&db);
            assert_eq!(money, 0);
            assert!(counted >= i64::try_from(floor).unwrap());
            if round % 10 == 9 {
                // While everybody goes on: what was acknowledged before must be in the image.
                let floor = done.load(Ordering::Relaxed);
                let image = crash_amid(dir.path()).unwrap_or_else(|| {
                    held.store(true, Ordering::Relaxed);
                    crash(dir.path())
                });
                held.store(false, Ordering::Relaxed);
                images.push((floor, image));
            }
        }
    });
    let all = contents(&db);
    drop(db);
    let db = open(dir.path())?;
    assert_eq!(contents(&db), all);
    assert_eq!(sums(&db), (0, i64::try_from(done.load(Ordering::Relaxed)).unwrap()));
    for (floor, image) in images {
        let (money, counted) = sums(&open(image.path())?);
        assert_eq!(money, 0);
        assert!(counted >= i64::try_from(floor).unwrap(), "{counted} of {floor}");
    }
    Ok(())
}

/// Runs `commit` in a thread, keeps it from being applied until a snapshot has taken its redo
/// position, and returns where the COMMIT ends and that position.
fn overtaken(db: &Db, commit: impl FnOnce(&Db) -> Lsn + Send) -> (Lsn, Lsn) {
    std::thread::scope(|scope| {
        let before = db.log().positions().durable;
        let (committed, taken) = db.view(|_| {
            let committed = scope.spawn(|| commit(db));
            while db.log().positions().durable == before {
                std::thread::yield_now();
            }
            let taken = scope.spawn(|| db.snapshot().unwrap());
            std::thread::sleep(Duration::from_millis(100));
            assert!(!committed.is_finished() && !taken.is_finished());
            (committed, taken)
        });
        (committed.join().unwrap(), taken.join().unwrap().redo)
    })
}

#[test]
fn a_snapshot_never_claims_a_commit_that_is_durable_and_not_applied() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let (commit, redo) = overtaken(&db, |db| put(db, "a", "1").unwrap());
    assert!(redo < commit, "{redo} {commit}");
    let mut txn = db.begin()?;
    txn.put(b"a", b"2")?;
    txn.prepare(b"g")?;
    let (commit, redo) = overtaken(&db, |db| db.commit_prepared(b"g").unwrap());
    assert!(redo < commit, "{redo} {commit}");
    // Once it is applied the next snapshot claims it.
    assert!(db.snapshot()?.redo >= commit);
    Ok(())
}

#[test]
fn who_locks_in_any_order_is_told_to_try_again_and_gets_through() -> Result<()> {
    let dir = scratch();
    let db = options().patience(Duration::from_millis(20)).open(dir.path())?;
    let busy = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (db, busy) = (&db, &busy);
            scope.spawn(move || {
                let mut seed = thread;
                for _ in 0..20 {
                    loop {
                        let mut txn = db.begin().unwrap();
                        let (one, other) = (next(&mut seed) % 2, next(&mut seed) % 2);
                        let result = txn
                            .increment(&account(one), 1)
                            .and_then(|_| txn.increment(&account(other), -1));
                        match result {
                            Ok(_) => drop(txn.commit().unwrap()),
                            Err(Error::Busy { .. }) => {
                                busy.fetch_add(1, Ordering::Relaxed);
                                continue;
                            }
                            Err(other) => panic!("{other}"),
                        }
                        break;
                    }
                }
            });
        }
    });
    assert_eq!(sums(&db).0, 0);
    Ok(())
}

#[test]
fn the_log_stays_small_while_one_writes() -> Result<()> {
    let dir = scratch();
    let db = open(dir.path())?;
    let mut largest = 0;
    for round in 0..40_u32 {
        for key in 0..50 {
            put(&db, &format!("k{key}"), &format!("{round}{}", "x".repeat(400)))?;
        }
        db.snapshot()?;
        let positions = db.log().positions();
        largest = largest.max(positions.end.since(positions.oldest));
    }
    // Two snapshots' worth of it, and what segments of 64 KiB and batches of 4 KiB add.
    assert!(largest < 1 << 20, "{largest}");
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 3, "the log and two snapshots");
    let on_disk: u64 = std::fs::read_dir(siding_kv::log_dir(dir.path()))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk < 2 << 20, "{on_disk}");
    let image = crash(dir.path());
    assert_eq!(contents(&open(image.path())?), contents(&db));
    Ok(())
}
