//! Something that is being put: in one request if it is short, in parts if it is not.
//!
//! 1. What is written is kept until there is more than a part of it. *Crash: nothing is there.*
//! 2. From then on it is sent in parts, several at once. *Crash: parts lie in the store, under no
//!    name; its own rule for unfinished uploads removes them.*
//! 3. `finish` waits for all of them, and asks the store to make them one thing under the name.
//!    *Crash: it is there, whole, or what was there before.*
//!
//! Dropped between 2 and 3, the store is asked to forget the parts.

use crate::error::told;
use crate::runtime::Running;
use crate::sink::Shared;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use siding::sink::Put;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long dropping waits for the store to forget parts; behind it that goes on by itself.
const FORGETTING: Duration = Duration::from_secs(2);

/// After so many parts they get twice as long.
const PARTS: usize = 1_000;

type Answer<T> = object_store::Result<T>;

pub(crate) struct Writing {
    shared: Arc<Shared>,
    what: String,
    path: Path,
    /// What is not sent yet.
    kept: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    /// Parts that were sent.
    parts: usize,
    running: VecDeque<Running<Answer<()>>>,
    /// Something went wrong: what was written is not all there.
    failed: bool,
}

impl Writing {
    pub(crate) fn new(shared: Arc<Shared>, name: &str, path: Path) -> Self {
        let (what, kept, running) = (format!("put `{name}`"), Vec::new(), VecDeque::new());
        Self { shared, what, path, kept, upload: None, parts: 0, running, failed: false }
    }

    fn part(&self) -> usize {
        length(self.shared.transfer.part, self.parts)
    }

    fn done<T>(&self, answer: Answer<T>) -> io::Result<T> {
        answer.map_err(|cause| told(&self.what, &self.shared.place, &cause))
    }

    /// Sends what is kept as a part, once there is room for one more under way.
    fn send(&mut self) -> io::Result<()> {
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => {
                let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
                let begun = async move { shared.store.put_multipart(&path).await };
                self.done(self.shared.runtime.wait(begun)?)?
            }
        };
        let part = upload.put_part(PutPayload::from(std::mem::take(&mut self.kept)));
        self.upload = Some(upload);
        self.parts = self.parts.saturating_add(1);
        self.running.push_back(self.shared.runtime.start(part)?);
        self.settle(self.shared.transfer.at_once)
    }

    /// Waits until fewer than this many parts are under way.
    fn settle(&mut self, at_once: usize) -> io::Result<()> {
        while self.running.len() >= at_once.max(1) {
            let Some(first) = self.running.pop_front() else { break };
            self.done(first.wait()?)?;
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.kept.len() >= self.part() {
                self.send()?;
            }
            let room = self.part().saturating_sub(self.kept.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.kept.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn complete(&mut self) -> io::Result<()> {
        if self.upload.is_none() {
            let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
            let whole = PutPayload::from(std::mem::take(&mut self.kept));
            let put = async move { shared.store.put(&path, whole).await };
            return self.done(self.shared.runtime.wait(put)?).map(drop);
        }
        if !self.kept.is_empty() {
            self.send()?;
        }
        self.settle(1)?;
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        let (upload, answer) = self.shared.runtime.wait(async move {
            let answer = upload.complete().await;
            (upload, answer)
        })?;
        // Not known to be there: it may still be forgotten.
        if answer.is_err() {
            self.upload = Some(upload);
        }
        self.done(answer).map(drop)
    }
}

impl Put for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(unfinished(&self.what, &self.shared.place));
        }
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        match self.failed {
            true => Err(unfinished(&self.what, &self.shared.place)),
            false => self.complete(),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        // A part that arrives behind the order to forget stays.
        self.running.iter().for_each(Running::stop);
        let shared = Arc::clone(&self.shared);
        let forgotten = self.shared.runtime.start(async move {
            let forgotten = upload.abort().await;
            drop(shared);
            forgotten
        });
        if let Ok(forgetting) = forgotten {
            // What the store does not forget now, it does by its own rule.
            let _ = forgetting.wait_for(FORGETTING);
        }
    }
}

/// How long the part behind so many is.
fn length(first: usize, parts: usize) -> usize {
    first.saturating_mul(1 << (parts / PARTS).min(16))
}

fn unfinished(what: &str, place: &str) -> io::Error {
    let message = format!("cannot {what} in {place}: a write failed before; begin again");
    io::Error::other(message)
}

#[test]
fn five_terabytes_fit_in_ten_thousand_parts_none_of_them_too_long() {
    let lengths = (0..10_000).map(|parts| length(8 << 20, parts));
    assert!(lengths.clone().sum::<usize>() >= 5 << 40);
    assert!(lengths.clone().max().is_some_and(|most| most <= 5 << 30));
    // Stores that want one length for all get it for long.
    assert!(lengths.take(1_000).all(|it| it == 8 << 20));
}
