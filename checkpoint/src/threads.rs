//! The keeper's thread.

use crate::engine::Engine;
use siding_wal::stream::Stream;
use siding_wal::{Error, Result};
use std::sync::Arc;
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
