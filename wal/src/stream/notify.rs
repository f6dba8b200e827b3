//! Callbacks of tickets: run on a thread of their own, so that strangers' code holds up nobody.
//! Wakers of futures are called where the flush was done, but under the same rules: they may not
//! wait, for whoever flushes would wait for itself, and a panic in one ends there.

use super::{Stream, lock};
use crate::write::{Callback, Done, Outcome};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a callback or a waker now: a call that would wait must refuse instead.
#[must_use]
pub fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Runs a callback; a panic in it ends there.
pub fn run(callback: Callback, outcome: Outcome) {
    guarded(|| callback(outcome));
}

/// Runs strangers' code.
fn guarded(call: impl FnOnce()) {
    let before = IN_CALLBACK.replace(true);
    // What it shared with others is the embedder's to keep whole.
    let _ = catch_unwind(AssertUnwindSafe(call));
    IN_CALLBACK.set(before);
}

/// A callback and what it is told.
pub(super) type Job = (Callback, Outcome);

/// Hands callbacks to the notifier thread, once there is one.
#[derive(Default)]
pub(super) struct Notifier {
    queue: Mutex<Option<Sender<Job>>>,
}

impl Notifier {
    /// The receiving end, for the thread that runs the callbacks.
    pub(super) fn start(&self) -> Receiver<Job> {
        let (sender, receiver) = channel();
        *lock(&self.queue) = Some(sender);
        receiver
    }

    pub(super) fn stop(&self) {
        *lock(&self.queue) = None;
    }

    fn hand_over(&self, callback: Callback, outcome: Outcome) {
        let sent = match &*lock(&self.queue) {
            Some(queue) => queue.send((callback, outcome)),
            None => Err(std::sync::mpsc::SendError((callback, outcome))),
        };
        if let Err(std::sync::mpsc::SendError((callback, outcome))) = sent {
            run(callback, outcome);
        }
    }
}

impl Stream {
    /// Tells those who wait for these batches.
    pub(super) fn settle(&self, batches: Vec<Arc<Done>>, outcome: Outcome) {
        for done in batches {
            let (wakers, callbacks) = done.settle(outcome);
            wakers.into_iter().for_each(|waker| guarded(|| waker.wake()));
            for callback in callbacks {
                self.notifier.hand_over(callback, outcome);
            }
        }
    }
}
