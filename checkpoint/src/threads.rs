//! The threads of this floor: the keeper's, and those that copy.

use crate::engine::Engine;
use siding_wal::stream::Stream;
use siding_wal::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often the keeper looks when nobody wakes it.
const PERIOD: Duration = Duration::from_millis(50);

impl Engine {
    /// Starts flusher, notifier and keeper. They end once the engine is abandoned.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub fn spawn(engine: &Arc<Self>) -> Result<Vec<JoinHandle<()>>> {
        let mut threads = Stream::spawn(engine.stream())?;
        let keeper = Arc::clone(engine);
        let keep = Builder::new().name("siding-keeper".to_owned()).spawn(move || {
            while !keeper.is_closed() {
                keeper.wake.wait(0, Some(PERIOD));
                keeper.wake.store(0);
                keeper.tick();
            }
        });
        let keep = keep.map_err(|cause| Error::io("a thread cannot be started", cause));
        match keep {
            Ok(keep) => threads.push(keep),
            Err(error) => {
                engine.abandon();
                return Err(error);
            }
        }
        Ok(threads)
    }

    /// Runs a close that its caller may not wait for. False if there is no thread for it.
    #[must_use]
    pub fn close_elsewhere(close: impl FnOnce() + Send + 'static) -> bool {
        Builder::new().name("siding-closer".to_owned()).spawn(close).is_ok()
    }
}

/// Does something with each of `all`, on so many threads; one is this one. The results in order,
/// or the first error; after one nothing else is begun.
///
/// # Errors
///
/// What `one` says.
pub(crate) fn each<T: Sync, R: Send>(
    threads: usize,
    all: &[T],
    one: impl Fn(usize, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<R>)>> = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            all.get(index).map(|item| (index, item))
        } {
            let result = one(index, item);
            if result.is_err() {
                next.store(all.len(), Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(all.len()) {
            // With fewer threads it takes longer.
            let _ = Builder::new().name("siding-copier".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
