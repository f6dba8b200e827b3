//! Threads of the embedder and of the log together: callbacks, wakers, and who closes when.

use siding::{Log, Options, Result};
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
            Err(error) if error.kind() == siding::ErrorKind::Locked => {
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
        let waker =
            Waker::from(Arc::new(LetsGo(Arc::clone(&task), Mutex::new(Some(woken)))));
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
