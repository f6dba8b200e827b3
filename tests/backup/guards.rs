//! Updates in progress, by many threads: nobody sees a recovery point that passes one.

use siding::{Log, Lsn, Options, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often each thread updates.
const TIMES: u32 = 2_000;

/// So many threads update while another one asks for the recovery point all the time, as a backup
/// does. The first update that a recovery point passed though it was not done, with that point.
/// `updating` runs what each thread does.
pub(crate) fn race(
    threads: u16,
    updating: &(dyn Fn(&mut dyn FnMut()) + Sync),
) -> Result<Option<(Lsn, u64)>> {
    let dir = tempfile::tempdir().unwrap();
    let log: Log = Options::new().open(dir.path())?.finish()?;
    let (asked, rounds, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let passed = std::sync::Mutex::new(None);
    let update = |object: u16| -> Result<()> {
        let mut unit = log.begin()?;
        for _ in 0..TIMES {
            let update = unit.update(object, b"update")?;
            // Whoever asked before the record had its place was told of no more than its place;
            // whoever asked since was told of it.
            let round = rounds.load(Ordering::SeqCst);
            while rounds.load(Ordering::SeqCst) == round {
                std::thread::yield_now();
            }
            let told = asked.load(Ordering::SeqCst);
            if told > update.lsn().get() {
                passed.lock().unwrap().get_or_insert((update.lsn(), told));
            }
            update.done();
        }
        unit.commit()?;
        Ok(())
    };
    std::thread::scope(|scope| {
        let (update, log, asked, rounds, over) = (&update, &log, &asked, &rounds, &over);
        let asker = scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                asked.fetch_max(log.recovery_point(&[]).get(), Ordering::SeqCst);
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        let updaters: Vec<_> = (0..threads)
            .map(|object| scope.spawn(move || updating(&mut || update(object).unwrap())))
            .collect();
        updaters.into_iter().for_each(|it| it.join().unwrap());
        over.store(true, Ordering::SeqCst);
        asker.join().unwrap();
    });
    let passed = *passed.lock().unwrap();
    assert!(log.recovery_point(&[]) == log.positions().end, "all are done");
    log.close()?;
    Ok(passed)
}

#[test]
fn no_recovery_point_passes_an_update_in_progress() -> Result<()> {
    // One alone is passed by the end of the log, several by each other.
    for threads in [1, 3] {
        assert_eq!(race(threads, &|update| update())?, None);
    }
    Ok(())
}
