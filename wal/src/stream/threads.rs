//! The two threads of a stream: the flusher and the notifier.

use super::{Stream, notify};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};

impl Stream {
    /// Starts flusher and notifier. They end once [`Stream::stop`] is called.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub fn spawn(stream: &Arc<Self>) -> Result<Vec<JoinHandle<()>>> {
        let jobs = stream.notifier.start();
        let flusher = Arc::clone(stream);
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|cause| Error::io("a thread cannot be started", cause))
        };
        Ok(vec![
            spawn("siding-flusher", Box::new(move || flusher.flush_for_ever()))?,
            spawn(
                "siding-notifier",
                Box::new(move || {
                    for (callback, outcome) in jobs {
                        notify::run(callback, outcome);
                    }
                }),
            )?,
        ])
    }

    fn flush_for_ever(&self) {
        loop {
            self.flusher.wait(0, None);
            self.flusher.store(0);
            self.flush_all();
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }
}
