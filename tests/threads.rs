//! Threads of the embedder and of the log together: callbacks, wakers, and who closes when.

use siding::{ErrorKind, Log, Options, Result};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

fn directory() -> Result<TempDir> {
    tempfile::tempdir().map_err(|cause| siding::Error::io("no directory for a test", cause))
}

fn open(path: &Path) -> Result<Log> {
    Options::new().segment_size(1 << 20).open(path)?.finish()
}

/// Runs `work` on a thread; panics if it does not end.
fn ends(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel::<()>();
    std::thread::spawn(move || {
        let _done = done;
        work();
    });
    assert_eq!(wait.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected), "{what} never ends");
}

/// Waits until nobody has the log open.
fn free(path: &Path) -> Result<Log> {
    for _ in 0..2_000 {
        match open(path) {
            Err(error) if error.kind() == ErrorKind::Locked => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    open(path)
}

type Task = Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>;

/// A waker that owns its future and lets it go when woken, as a runtime that shuts down does.
struct LetsGo(Arc<Task>, Mutex<Option<std::sync::mpsc::Sender<()>>>);

impl Wake for LetsGo {
    fn wake(self: Arc<Self>) {
        let future = self.0.lock().ok().and_then(|mut task| task.take());
        drop(future);
        drop(self.1.lock().ok().and_then(|mut sender| sender.take()));
    }
}

#[test]
fn a_waker_may_let_the_last_handle_go() -> Result<()> {
    for _ in 0..20 {
        let dir = directory()?;
        let log = open(dir.path())?;
        let mut unit = log.begin()?;
        unit.append(b"awaited")?;
        let ticket = unit.submit()?;
        drop(log);
        let task: Arc<Task> = Arc::default();
        let (woken, wait) = channel();
        let waker = Waker::from(Arc::new(LetsGo(Arc::clone(&task), Mutex::new(Some(woken)))));
        let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            let _ = ticket.await;
        });
        if future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            continue;
        }
        if let Ok(mut task) = task.lock() {
            *task = Some(future);
        }
        // It may have been woken before the future was there to be let go.
        if wait.recv_timeout(Duration::from_millis(5)) != Err(RecvTimeoutError::Disconnected) {
            let woken = wait.recv_timeout(LONG);
            assert_eq!(woken, Err(RecvTimeoutError::Disconnected), "the waker never returned");
        }
        drop(task);
        drop(waker);
        let log = free(dir.path())?;
        assert!(log.report().clean, "the last handle closes the log");
    }
    Ok(())
}

#[test]
fn a_waker_that_panics_harms_nobody() -> Result<()> {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::panic_any("a waker's own trouble");
        }
    }
    let dir = directory()?;
    let log = open(dir.path())?;
    for _ in 0..20 {
        let mut unit = log.begin()?;
        unit.append(b"awaited")?;
        let mut ticket = unit.submit()?;
        let waker = Waker::from(Arc::new(Panics));
        let _ = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker));
        let mut unit = log.begin()?;
        unit.append(b"behind it")?;
        let ticket = unit.submit()?;
        // Nobody but the flusher serves it.
        for _ in 0..2_000 {
            if ticket.is_ready() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(ticket.is_ready(), "the flusher is gone");
    }
    log.close()
}

#[test]
fn a_callback_and_another_thread_may_close_at_the_same_time() -> Result<()> {
    let dir = directory()?;
    let log = open(dir.path())?;
    let (inside, wait) = channel();
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    let other = log.clone();
    unit.submit()?.on_durable(move |_| {
        let _ = inside.send(());
        std::thread::sleep(Duration::from_millis(100));
        let _ = other.close();
        other.abandon();
    });
    assert!(wait.recv().is_ok());
    ends("a close", move || {
        let _ = log.close();
    });
    free(dir.path())?.close()
}

#[test]
fn a_close_while_others_commit_is_clean_and_loses_nothing() -> Result<()> {
    for round in 0..20 {
        let dir = directory()?;
        let log = open(dir.path())?;
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let log = log.clone();
                std::thread::spawn(move || {
                    let numbers = (0_u64..).map(|number| (writer << 32 | number).to_le_bytes());
                    let kept: Vec<_> = numbers.take_while(|it| log.write(it).is_ok()).collect();
                    (kept, log.write(b"late").map_err(siding::Error::from))
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(2 + round % 5));
        let closed = loop {
            match log.close() {
                // Somebody was between a record and its COMMIT.
                Err(error) if error.kind() == ErrorKind::InUse => {}
                other => break other,
            }
        };
        closed?;
        let mut acknowledged = Vec::new();
        for writer in writers {
            let (kept, late) = writer.join().expect("a writer panicked");
            acknowledged.extend(kept.into_iter().map(|it| it.to_vec()));
            assert_eq!(late.map_err(|error| error.kind()), Err(ErrorKind::Closed));
        }
        let recovery = Options::new().open(dir.path())?;
        let report = recovery.report();
        assert!(report.clean, "round {round}: {}", report.letter);
        let mut committed = recovery.committed()?;
        let mut found = std::collections::HashSet::new();
        while let Some(record) = committed.next()? {
            found.insert(record.payload().to_vec());
        }
        assert!(acknowledged.iter().all(|payload| found.contains(payload)));
    }
    Ok(())
}

#[test]
fn a_call_that_would_wait_in_a_callback_is_refused_before_it_writes() -> Result<()> {
    let dir = directory()?;
    let log = open(dir.path())?;
    let doubt = log.begin()?.prepare(b"doubt")?;
    let inner = log.clone();
    let (said, hear) = channel();
    let mut unit = log.begin()?;
    unit.append(b"kept")?;
    unit.submit()?.on_durable(move |_| {
        let unit = || -> Result<_> {
            let mut unit = inner.begin()?;
            unit.append(b"refused")?;
            Ok(unit)
        };
        let prepared = unit().map(|unit| unit.prepare(b"gid"));
        let kinds = [
            inner.write(b"refused").map_err(|error| (error.kind(), backed_out(&error))).err(),
            unit().ok().and_then(|unit| unit.commit().err()).map(|it| (it.kind(), backed_out(&it))),
            doubt.commit().map_err(|error| (error.kind(), backed_out(&error))).err(),
            prepared
                .ok()
                .and_then(|prepared| prepared.err())
                .map(|it| (it.error.kind(), it.unit.is_some())),
            inner.keypoint().map_err(|error| (error.kind(), true)).err(),
            inner.close().map_err(|error| (error.kind(), true)).err(),
        ];
        let _ = said.send(kinds);
    });
    let kinds = hear.recv_timeout(LONG).expect("the callback never came");
    assert_eq!(kinds, [Some((ErrorKind::WouldBlock, true)); 6]);
    assert_eq!(log.in_doubt().len(), 1);
    log.close()?;
    let recovery = Options::new().open(dir.path())?;
    let mut committed = recovery.committed()?;
    assert_eq!(committed.next()?.map(|it| it.payload().to_vec()), Some(b"kept".to_vec()));
    assert!(committed.next()?.is_none());
    Ok(())
}

fn backed_out(error: &siding::CommitError) -> bool {
    matches!(error, siding::CommitError::BackedOut(_))
}

#[test]
fn an_undo_handler_that_panics_does_not_end_the_background_work() -> Result<()> {
    let dir = directory()?;
    let log = Options::new()
        .discipline(siding::Discipline::RepeatHistory)
        .segment_size(1 << 20)
        .keypoint_interval(Duration::from_millis(100))
        .undo(|_| std::panic::panic_any("the handler's own trouble"))
        .open(dir.path())?
        .finish()?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    drop(unit);
    std::thread::sleep(Duration::from_millis(300));
    let before = log.positions().keypoint_begin;
    log.write(b"2")?;
    for _ in 0..2_000 {
        if log.positions().keypoint_begin > before {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no keypoint came any more");
}

#[test]
fn many_that_find_no_room_at_once_prepare_no_more_than_is_needed() -> Result<()> {
    let dir = directory()?;
    let log = Options::new()
        .segment_size(64 << 10)
        .ring_size(1 << 20)
        .durability(siding::Durability::Relaxed)
        .open(dir.path())?
        .finish()?;
    let writers: Vec<_> = (0..32)
        .map(|_| {
            let log = log.clone();
            std::thread::spawn(move || -> Result<u64> {
                let mut most = 0;
                for _ in 0..200 {
                    log.write(&[1; 3000])?;
                    most = most.max(log.prepared_ahead());
                }
                Ok(most)
            })
        })
        .collect();
    for writer in writers {
        let most = writer.join().expect("a writer panicked")?;
        eprintln!("most {most}");
        assert!(most < 1 << 20, "{most} bytes were prepared ahead");
    }
    log.close()
}

#[test]
fn a_position_between_two_segments_can_be_waited_for() -> Result<()> {
    let dir = directory()?;
    // Without threads nobody comes by a second later and flushes all.
    let log = Options::new()
        .segment_size(64 << 10)
        .ring_size(1 << 20)
        .without_threads(Arc::new(siding::disk::SystemClock::new()))
        .open(dir.path())?
        .finish()?;
    let mut unit = log.begin()?;
    // Closed batches in two segments, and the third has the open one.
    while unit.append(&[1; 15_000])? < siding::Lsn::new(128 << 10) {}
    for void in [(64 << 10) + 1, (64 << 10) + 300, (128 << 10) + 1] {
        let other = log.clone();
        ends("waiting for a position in the void", move || {
            let waited = other.ensure_durable(siding::Lsn::new(void));
            assert!(waited.is_ok(), "{waited:?}");
        });
        // All that can stand below it.
        let last = siding::Lsn::new(void / (64 << 10) * (64 << 10) - (16 << 10));
        assert!(log.positions().durable >= last);
    }
    unit.commit()?;
    log.close()
}
