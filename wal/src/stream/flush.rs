//! Flushing: whoever holds the token does what the writer says until nobody wants more.

use super::{Stream, lock};
use crate::disk::AlignedBuf;
use crate::format::{HEADER_LEN, segment_file_name, size};
use crate::read::Segment;
use crate::write::{Action, Done, Outcome};
use crate::{Error, ErrorKind, Lsn, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

/// The right to write to the stream's files, and the file that is written to.
#[derive(Debug)]
pub(super) struct Token {
    segment: Option<Arc<Segment>>,
}

impl Token {
    pub(super) fn new(segment: Option<Arc<Segment>>) -> Self {
        Self { segment }
    }
}

impl Stream {
    /// Waits until everything below `upto` is durable; flushes itself where nobody else does.
    /// `done` is the word of the batch that holds the record just below `upto`.
    ///
    /// # Errors
    ///
    /// The log failed first: whether the record is durable is unknown.
    pub fn wait_durable(&self, upto: Lsn, done: Option<&Done>) -> Result<()> {
        let Some(done) = done else { return Ok(()) };
        loop {
            match done.outcome() {
                Outcome::Durable => return Ok(()),
                Outcome::Failed => return Err(self.failed()),
                Outcome::Pending => self.may_wait()?,
            }
            match self.try_token() {
                Some(mut token) => {
                    self.flush_until(&mut token, upto);
                    drop(token);
                    self.hand_on();
                }
                None => {
                    done.wait();
                }
            }
        }
    }

    /// Whether this thread may wait: not inside a callback or a waker. Ask before something is
    /// written whose durability is waited for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`].
    pub fn may_wait(&self) -> Result<()> {
        if super::in_callback() {
            let what = "the call would wait inside a callback";
            return Err(Error::new(ErrorKind::WouldBlock, what)
                .advise("submit, and go on in the ticket's callback; or hand it to a thread"));
        }
        Ok(())
    }

    pub(super) fn failed(&self) -> Error {
        self.failure().unwrap_or_else(|| Error::new(ErrorKind::Failed, "the log failed"))
    }

    /// Has the flusher, or without one the caller, do what is wanted.
    pub fn kick(&self) {
        if self.settings.threads {
            self.wake_flusher();
        } else {
            self.flush_all();
        }
    }

    /// If somebody came while the token was held, the flusher goes on.
    fn hand_on(&self) {
        if self.settings.threads && self.core().writer.has_work() {
            self.wake_flusher();
        }
    }

    fn wake_flusher(&self) {
        if self.flusher.fetch_max(1) == 0 {
            self.flusher.wake_one();
        }
    }

    fn try_token(&self) -> Option<MutexGuard<'_, Token>> {
        match self.token.try_lock() {
            Ok(token) => Some(token),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Flushes until nothing is wanted.
    pub fn flush_all(&self) {
        loop {
            let Some(mut token) = self.try_token() else {
                // The holder looks again after it has let go, and hands on.
                return;
            };
            self.flush_until(&mut token, Lsn::MAX);
            drop(token);
            if !self.core().writer.has_work() {
                return;
            }
        }
    }

    /// Does what the writer says until all below `upto` is durable, or nothing is left to do.
    fn flush_until(&self, token: &mut Token, upto: Lsn) {
        loop {
            let action = {
                let mut core = self.core();
                if core.writer.durable() >= upto {
                    return;
                }
                core.writer.next_action()
            };
            let Some(action) = action else { return };
            match self.act(token, &action) {
                Ok(()) => {
                    // The preparer may be about to learn that these bytes were lost.
                    drop(lock(&self.filling));
                    let told = {
                        let mut core = self.core();
                        if core.writer.failure().is_some() {
                            return;
                        }
                        let told = core.writer.complete(&action);
                        let durable = core.writer.durable();
                        core.units.settle(durable);
                        told
                    };
                    self.settle(told, Outcome::Durable);
                    // The slot proves that the segment exists: without it a file cut to nothing
                    // would pass for one that was prepared.
                    let sealed = matches!(action, Action::Open { .. });
                    if sealed && self.write_control(false).is_err() {
                        return;
                    }
                    self.wake_upkeep(&action);
                }
                Err(error) => {
                    self.fail(error);
                    return;
                }
            }
        }
    }

    /// Tells whoever keeps the stream small, if something may be due.
    fn wake_upkeep(&self, action: &Action) {
        let due = match action {
            Action::Open { .. } => true,
            Action::Write { batches, .. } => {
                let end = batches.last().map_or(0, |last| last.end.get());
                let due = end >= self.wake_at.load(Ordering::Relaxed);
                if due {
                    self.wake_at.store(u64::MAX, Ordering::Relaxed);
                }
                due
            }
            _ => false,
        };
        if due && let Some(upkeep) = self.upkeep() {
            upkeep.wake();
        }
    }

    fn act(&self, token: &mut Token, action: &Action) -> Result<()> {
        if let Action::Open { number, kept_end, kept_digest } = action {
            let segment = self.open_segment(*number, *kept_end, *kept_digest)?;
            token.segment = Some(segment);
            return Ok(());
        }
        let Some(segment) = &token.segment else {
            return Err(Error::new(ErrorKind::Missing, "no segment is open"));
        };
        let name = segment_file_name(segment.number);
        match action {
            Action::Write { batches, durable } => {
                let start = batches.first().map_or(Lsn::ZERO, |first| first.start);
                let offset = segment.offset_of(start);
                let durable = *durable && !crate::seeded!(AckBeforeSync);
                let bytes: Vec<&[u8]> = batches.iter().map(|batch| batch.bytes()).collect();
                segment.file.write_at(offset, &bytes, durable).map_err(|cause| {
                    failure("a batch cannot be written", cause).at(start).file(name)
                })
            }
            _ if crate::seeded!(AckBeforeSync) => Ok(()),
            _ => segment
                .file
                .sync()
                .or_else(|cause| match crate::seeded!(RetriedFsync) {
                    true => segment.file.sync(),
                    false => Err(cause),
                })
                .map_err(|cause| failure("the segment cannot be synced", cause).file(name)),
        }
    }

    /// Writes the header of a prepared segment, durably, and takes the segment into the stream.
    fn open_segment(&self, number: u64, kept_end: Lsn, digest: u32) -> Result<Arc<Segment>> {
        let name = segment_file_name(number);
        let file = self.take_prepared(number).ok_or_else(|| {
            Error::new(ErrorKind::Missing, "the next segment is not prepared").file(&name)
        })?;
        let header = self.segment_header(number, kept_end, digest);
        let mut unit = AlignedBuf::zeroed(size(header.write_unit));
        if let Some(front) = unit.as_mut_slice().get_mut(..HEADER_LEN) {
            front.copy_from_slice(&header.encode());
        }
        file.write_at(0, &[unit.as_slice()], true)
            .map_err(|cause| failure("a segment's header cannot be written", cause).file(&name))?;
        let segment = Segment { number, header, file };
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(segment);
        let opened = segments.get(number).cloned();
        opened.ok_or_else(|| Error::new(ErrorKind::Missing, "no segment is open").file(name))
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    ///
    /// The log failed.
    pub fn flush(&self) -> Result<()> {
        let (upto, done) = {
            let mut core = self.core();
            let end = core.writer.end();
            core.writer.want(end);
            (end, core.writer.done(Lsn::new(end.get().saturating_sub(1))))
        };
        self.wait_durable(upto, done.as_deref())
    }

    /// Makes everything below `upto` durable.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] above the end of the log; or the log failed.
    pub fn ensure_durable(&self, upto: Lsn) -> Result<()> {
        let done = {
            let mut core = self.core();
            if upto > core.writer.end() {
                let what = "the log does not reach this far";
                return Err(Error::new(ErrorKind::Invalid, what).at(upto));
            }
            core.writer.want(upto);
            core.writer.done(Lsn::new(upto.get().saturating_sub(1)))
        };
        self.wait_durable(upto, done.as_deref())
    }

    /// Whether the stream's threads are to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// A write or a sync that failed fails the log: whatever its cause, nothing is known now.
pub(super) fn failure(what: &str, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Failed, what)
        .caused_by(cause)
        .advise("the log is failed: close it, mend the disk, and open it again")
}
