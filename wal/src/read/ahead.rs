//! Reads ahead of a scan in threads of its own, so that the device works while the scan verifies.

use crate::disk::{AlignedBuf, LogFile};
use crate::format::wide;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

/// A read that a thread is to do, into a buffer that comes back with it.
struct Job {
    file: Arc<dyn LogFile>,
    offset: u64,
    buf: AlignedBuf,
}

/// A read that was done.
struct Done {
    buf: AlignedBuf,
    result: io::Result<usize>,
}

#[derive(Debug)]
struct Worker {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    thread: JoinHandle<()>,
}

/// Where a stretch of a file lies: segment number and offset.
type Place = (u64, u64);

/// The stretch that is being handed out.
#[derive(Debug)]
struct Current {
    place: Place,
    buf: AlignedBuf,
    len: usize,
}

/// Reads stretches of equal length, one behind the other, a few at a time.
#[derive(Debug)]
pub(super) struct Ahead {
    workers: Vec<Worker>,
    /// Places under way, in the order they were asked for, and the worker of each.
    under_way: VecDeque<(Place, usize)>,
    /// Where to read next.
    next: Place,
    /// Takes the next job.
    turn: usize,
    current: Option<Current>,
    spare: Vec<AlignedBuf>,
    stretch: usize,
}

impl Ahead {
    /// Reads `depth` stretches of `stretch` bytes at a time. None if there are no threads to be
    /// had; then the scan reads for itself.
    pub(super) fn new(depth: usize, stretch: usize) -> Option<Self> {
        let workers: Vec<_> = (0..depth).map_while(|_| Worker::start().ok()).collect();
        (!workers.is_empty()).then(|| Self {
            workers,
            under_way: VecDeque::new(),
            next: (0, 0),
            turn: 0,
            current: None,
            spare: Vec::new(),
            stretch,
        })
    }

    /// Fills `room` from the file of segment `number` at `offset`; returns how many bytes, fewer
    /// than there is room for only if the file ends.
    pub(super) fn fill(
        &mut self,
        number: u64,
        file: &Arc<dyn LogFile>,
        offset: u64,
        room: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(wide(filled));
            match self.read(number, file, at, rest)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Reads as far as one stretch reaches, and asks for what comes behind it. Returns how many
    /// bytes; 0 only if the file ends.
    fn read(
        &mut self,
        number: u64,
        file: &Arc<dyn LogFile>,
        offset: u64,
        room: &mut [u8],
    ) -> io::Result<usize> {
        if let Some(count) = self.hand_out(number, offset, room) {
            return Ok(count);
        }
        if self.under_way.front().is_none_or(|(place, _)| *place != (number, offset)) {
            // Another place than foreseen; what is under way is of no use.
            while self.under_way.front().is_some() {
                let _ = self.take();
            }
            self.next = (number, offset);
        }
        self.ask(file);
        let place = (number, offset);
        let done = self.take()?;
        let len = match done.result {
            Ok(len) => len,
            Err(cause) => {
                self.spare.push(done.buf);
                return Err(cause);
            }
        };
        self.ask(file);
        let old = self.current.replace(Current { place, buf: done.buf, len });
        self.spare.extend(old.map(|old| old.buf));
        Ok(self.hand_out(number, offset, room).unwrap_or(0))
    }

    /// Copies from the current stretch, if it holds the place.
    fn hand_out(&self, number: u64, offset: u64, room: &mut [u8]) -> Option<usize> {
        let current = self.current.as_ref().filter(|current| current.place.0 == number)?;
        let skip = usize::try_from(offset.checked_sub(current.place.1)?).ok()?;
        let bytes = current.buf.get(..current.len)?.get(skip..)?;
        if bytes.is_empty() && current.len == self.stretch {
            return None;
        }
        let count = bytes.len().min(room.len());
        room.get_mut(..count)?.copy_from_slice(bytes.get(..count)?);
        Some(count)
    }

    /// Gives every idle worker its next stretch.
    fn ask(&mut self, file: &Arc<dyn LogFile>) {
        while self.under_way.len() < self.workers.len() {
            let buf = self.spare.pop().unwrap_or_else(|| AlignedBuf::zeroed(self.stretch));
            let job = Job { file: Arc::clone(file), offset: self.next.1, buf };
            let turn = self.turn;
            let sent = self.workers.get(turn).is_some_and(|w| w.jobs.send(job).is_ok());
            if !sent {
                return;
            }
            self.under_way.push_back((self.next, turn));
            self.next.1 = self.next.1.saturating_add(wide(self.stretch));
            self.turn = (turn + 1) % self.workers.len();
        }
    }

    /// Waits for the stretch that was asked for first.
    fn take(&mut self) -> io::Result<Done> {
        let front = self.under_way.pop_front().and_then(|(_, worker)| self.workers.get(worker));
        let done = front.and_then(|worker| worker.done.recv().ok());
        done.ok_or_else(|| io::Error::other("the thread that reads ahead has ended"))
    }
}

impl Drop for Ahead {
    /// Waits for the reads under way: afterwards no thread touches the files.
    fn drop(&mut self) {
        for Worker { jobs, done, thread } in self.workers.drain(..) {
            drop((jobs, done));
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn start() -> io::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let (finished, done) = channel();
        let thread = Builder::new().name("siding-read".into()).spawn(move || {
            for Job { file, offset, mut buf } in todo {
                let result = file.read_at(offset, buf.as_mut_slice());
                if finished.send(Done { buf, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, done, thread })
    }
}
