//! Where requests run: a small runtime of the adapter's own, that any thread may wait for.

use std::future::Future;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::task::AbortHandle;

/// Threads that requests run on; they wait for the network, and sign what they send.
const WORKERS: usize = 2;

/// A runtime that can be used and dropped anywhere, inside another runtime too.
#[derive(Debug)]
pub(crate) struct Runtime {
    tokio: Option<Tokio>,
}

/// Something that runs. Dropped, it goes on.
pub(crate) struct Running<T> {
    answer: Receiver<T>,
    task: AbortHandle,
}

impl Runtime {
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(WORKERS).thread_name("siding-object-store").enable_all();
        Ok(Self { tokio: Some(builder.build()?) })
    }

    /// Begins something.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<Running<T>> {
        let tokio = self.tokio.as_ref().ok_or_else(gone)?;
        let (send, answer) = sync_channel(1);
        let task = tokio.spawn(async move {
            // Whoever asked may have stopped waiting.
            let _ = send.send(future.await);
        });
        Ok(Running { answer, task: task.abort_handle() })
    }

    /// Does something, and waits for it. A channel and not `block_on`: that would panic on a
    /// thread that drives another runtime.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        self.start(future)?.wait()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            tokio.shutdown_background();
        }
    }
}

impl<T> Running<T> {
    pub(crate) fn wait(self) -> io::Result<T> {
        self.answer.recv().map_err(|_| gone())
    }

    /// Waits no longer than this; it goes on all the same.
    pub(crate) fn wait_for(&self, limit: Duration) -> Option<T> {
        self.answer.recv_timeout(limit).ok()
    }

    /// Ends it where it is.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

fn gone() -> io::Error {
    io::Error::other("a request to the object store was ended before it was answered; try again")
}
