//! A promise of durability.

use crate::CommitError;
use crate::inner::Inner;
use siding_wal::stream::Pending;
use siding_wal::write::{Callback, Done, Outcome};
use siding_wal::{Error, ErrorKind, Lsn};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A promise that a record becomes durable: wait for it, await it on any runtime, or be called.
/// Dropping it cancels nothing.
#[derive(Debug)]
pub struct Ticket {
    log: Arc<Inner>,
    next: Lsn,
    done: Option<Arc<Done>>,
}

impl Ticket {
    pub(crate) fn new(log: &Arc<Inner>, pending: Pending) -> Self {
        log.engine().stream().kick();
        Self { log: Arc::clone(log), next: pending.placed.next, done: pending.done }
    }

    /// The position just behind the record.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.next
    }

    /// Whether the outcome is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.done.as_ref().is_none_or(|done| done.outcome() != Outcome::Pending)
    }

    /// Waits until the record is durable; returns the position just behind it.
    ///
    /// # Errors
    ///
    /// [`CommitError::Unknown`] if the log failed first.
    pub fn wait(self) -> Result<Lsn, CommitError> {
        let stream = self.log.engine().stream();
        stream.wait_durable(self.next, self.done.as_deref()).map_err(CommitError::Unknown)?;
        Ok(self.next)
    }

    /// Has `f` called once the outcome is known, on a thread of the log's own (at once and on
    /// this thread if it is known already). A panic in `f` is caught; a call of the log that
    /// would wait returns [`ErrorKind::WouldBlock`] inside it.
    pub fn on_durable(self, f: impl FnOnce(Result<Lsn, CommitError>) + Send + 'static) {
        let next = self.next;
        // The log must outlive the callback only as far as its error is asked for.
        let log = Arc::downgrade(&self.log);
        let tell: Callback = Box::new(move |outcome| {
            // Not held while `f` runs: the callback would be the one that lets the log go.
            let told = match outcome {
                Outcome::Durable => Ok(next),
                _ => told(outcome, next, log.upgrade().as_deref()),
            };
            f(told);
        });
        match &self.done {
            None => tell(Outcome::Durable),
            Some(done) => {
                if let Err(tell) = done.call_with(tell) {
                    siding_wal::stream::run_callback(tell, done.outcome());
                }
            }
        }
    }
}

fn told(outcome: Outcome, next: Lsn, log: Option<&Inner>) -> Result<Lsn, CommitError> {
    if outcome == Outcome::Durable {
        return Ok(next);
    }
    let failure = log.and_then(|log| log.engine().stream().failure());
    Err(CommitError::Unknown(
        failure.unwrap_or_else(|| Error::new(ErrorKind::Failed, "the log failed")),
    ))
}

impl Future for Ticket {
    type Output = Result<Lsn, CommitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(done) = &self.done else { return Poll::Ready(Ok(self.next)) };
        if done.wake_with(context.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(told(done.outcome(), self.next, Some(&self.log)))
    }
}
