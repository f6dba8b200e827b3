//! One futex word a batch: those who wait for a batch wait on its word, and nobody else is woken.

use crate::disk::FutexWord;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Among so many of the last wakers is looked whether one is known.
const RECENT: usize = 16;

const PENDING: u32 = 0;
const DURABLE: u32 = 1;
const FAILED: u32 = 2;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not known to be on stable storage yet.
    Pending,
    /// On stable storage, with everything before it.
    Durable,
    /// The log failed first: it may or may not be on stable storage.
    Failed,
}

/// A callback that is told how a batch ended.
pub type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// Who is told when a batch is durable.
#[derive(Default)]
pub struct Done {
    word: FutexWord,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Done").field(&self.outcome()).finish()
    }
}

impl Done {
    /// What became of the batch.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.word.load() {
            PENDING => Outcome::Pending,
            DURABLE => Outcome::Durable,
            _ => Outcome::Failed,
        }
    }

    /// Waits until the batch is durable or the log failed.
    pub fn wait(&self) -> Outcome {
        loop {
            match self.outcome() {
                Outcome::Pending => {
                    self.word.wait(PENDING, None);
                }
                outcome => return outcome,
            }
        }
    }

    /// Has `waker` woken once the outcome is known. False if it is known already.
    pub fn wake_with(&self, waker: &Waker) -> bool {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if self.outcome() != Outcome::Pending {
            return false;
        }
        // Who asks again asked not long ago; to look at all of them is too slow for thousands.
        let mut recent = listeners.wakers.iter().rev().take(RECENT);
        if !recent.any(|known| known.will_wake(waker)) {
            listeners.wakers.push(waker.clone());
        }
        true
    }

    /// Has `callback` called once the outcome is known; hands it back if it is known already.
    ///
    /// # Errors
    ///
    /// The callback, if the outcome is known: the caller runs it.
    pub fn call_with(&self, callback: Callback) -> Result<(), Callback> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if self.outcome() != Outcome::Pending {
            return Err(callback);
        }
        listeners.callbacks.push(callback);
        Ok(())
    }

    /// Settles the outcome and wakes the threads that wait. Returns the strangers' code that wants
    /// to hear of it: wakers, and callbacks.
    #[must_use]
    pub(crate) fn settle(&self, outcome: Outcome) -> (Vec<Waker>, Vec<Callback>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        // The word goes up under the listeners' lock, so that nobody registers behind it.
        self.word.store(if outcome == Outcome::Durable { DURABLE } else { FAILED });
        let Listeners { wakers, callbacks } = std::mem::take(&mut *listeners);
        drop(listeners);
        self.word.wake_all();
        (wakers, callbacks)
    }
}
