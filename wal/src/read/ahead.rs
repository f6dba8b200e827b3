//! Reads ahead of a scan, so that the device works while the scan verifies: through a pipe where
//! the disk has one, else in threads. It goes on in the next segment before the scan gets there.

use crate::disk::{AlignedBuf, LogFile, ReadPipe};
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

/// Threads that read in turn.
#[derive(Debug)]
struct Threads {
    workers: Vec<Worker>,
    /// Who reads what was asked for, in the order it was.
    asked: VecDeque<usize>,
    /// Takes the next job.
    turn: usize,
    spare: Vec<AlignedBuf>,
    current: (AlignedBuf, usize),
    stretch: usize,
}

/// Where a stretch of a file lies: segment number and offset.
type Place = (u64, u64);

/// Where a scan goes: the end of the segment it is in, and what comes behind it.
#[derive(Debug)]
pub(super) struct Route {
    /// The segment it is in.
    pub(super) number: u64,
    /// Bytes of every segment.
    pub(super) end: u64,
    /// The segment behind it, and where its batches begin.
    pub(super) next: Option<(u64, Arc<dyn LogFile>, u64)>,
}

/// Reads stretches of equal length, one behind the other, a few at a time.
#[derive(Debug)]
pub(super) struct Ahead {
    pipe: Option<Box<dyn ReadPipe>>,
    /// Places under way, in the order they were asked for.
    under_way: VecDeque<Place>,
    /// Where to read next.
    next: Place,
    route: Option<Route>,
    /// Place and length of the stretch that is being handed out.
    current: Option<(Place, usize)>,
    depth: usize,
    stretch: usize,
}

impl Ahead {
    /// Reads `depth` stretches of `stretch` bytes at a time.
    pub(super) fn new(depth: usize, stretch: usize) -> Self {
        let (under_way, next) = (VecDeque::new(), (0, 0));
        Self { pipe: None, under_way, next, route: None, current: None, depth, stretch }
    }

    /// Says where the scan goes.
    pub(super) fn set_route(&mut self, route: Route) {
        self.route = Some(route);
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
        if self.pipe.is_none() {
            let threads = || Threads::start(self.depth, self.stretch);
            self.pipe = file.pipe(self.depth, self.stretch).or_else(threads);
        }
        if self.pipe.is_none() {
            // There is nobody to read ahead.
            return file.read_at(offset, room);
        }
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
        let place = (number, offset);
        if let Some(count) = self.hand_out(place, room) {
            return Ok(count);
        }
        if self.under_way.front().is_none_or(|front| *front != place) {
            // Another place than foreseen; what is under way is of no use.
            while !self.under_way.is_empty() {
                let _ = self.take();
            }
            self.next = place;
        }
        self.ask(number, file)?;
        let len = self.take()?;
        self.current = Some((place, len));
        self.ask(number, file)?;
        Ok(self.hand_out(place, room).unwrap_or(0))
    }

    /// Copies from the current stretch, if it holds the place.
    fn hand_out(&mut self, place: Place, room: &mut [u8]) -> Option<usize> {
        let (at, len) = self.current.filter(|(at, _)| at.0 == place.0)?;
        let skip = usize::try_from(place.1.checked_sub(at.1)?).ok()?;
        let bytes = self.pipe.as_mut()?.current().get(skip..)?;
        if bytes.is_empty() && len == self.stretch {
            return None;
        }
        let count = bytes.len().min(room.len());
        room.get_mut(..count)?.copy_from_slice(bytes.get(..count)?);
        Some(count)
    }

    /// Asks for the next stretches, as many as may be under way.
    fn ask(&mut self, number: u64, file: &Arc<dyn LogFile>) -> io::Result<()> {
        while self.under_way.len() < self.depth {
            let route = self.route.as_ref().filter(|route| route.number == number);
            let behind = route.and_then(|route| route.next.as_ref());
            let file = match behind {
                _ if self.next.0 == number => file,
                Some((next, file, _)) if *next == self.next.0 => file,
                // What comes behind that is not known yet.
                _ => return Ok(()),
            };
            let Some(pipe) = &mut self.pipe else { return Ok(()) };
            pipe.ask(file, self.next.1)?;
            self.under_way.push_back(self.next);
            let then = self.next.1.saturating_add(wide(self.stretch));
            let over = route.is_some_and(|route| then >= route.end);
            self.next = match behind {
                Some((next, _, from)) if over && self.next.0 == number => (*next, *from),
                // The segment behind the next one.
                _ if over => (u64::MAX, 0),
                _ => (self.next.0, then),
            };
        }
        Ok(())
    }

    /// Waits for the stretch that was asked for first.
    fn take(&mut self) -> io::Result<usize> {
        self.under_way.pop_front();
        self.current = None;
        match &mut self.pipe {
            Some(pipe) => pipe.next(),
            None => Ok(0),
        }
    }
}

impl Threads {
    /// None if there are no threads to be had; then the scan reads for itself.
    fn start(depth: usize, stretch: usize) -> Option<Box<dyn ReadPipe>> {
        let workers: Vec<_> = (0..depth).map_while(|_| Worker::start().ok()).collect();
        let whole = workers.len() == depth && depth > 0;
        let current = (AlignedBuf::default(), 0);
        let (asked, spare) = (VecDeque::new(), Vec::new());
        let threads = Self { workers, asked, turn: 0, spare, current, stretch };
        whole.then(|| -> Box<dyn ReadPipe> { Box::new(threads) })
    }
}

impl ReadPipe for Threads {
    fn ask(&mut self, file: &Arc<dyn LogFile>, offset: u64) -> io::Result<()> {
        let buf = self.spare.pop().unwrap_or_else(|| AlignedBuf::zeroed(self.stretch));
        let job = Job { file: Arc::clone(file), offset, buf };
        let turn = self.turn;
        if self.workers.get(turn).is_none_or(|worker| worker.jobs.send(job).is_err()) {
            return Err(ended());
        }
        self.asked.push_back(turn);
        self.turn = (turn + 1) % self.workers.len().max(1);
        Ok(())
    }

    fn next(&mut self) -> io::Result<usize> {
        let first = self.asked.pop_front().and_then(|worker| self.workers.get(worker));
        let done = first.and_then(|worker| worker.done.recv().ok()).ok_or_else(ended)?;
        match done.result {
            Ok(len) => {
                let (old, _) = std::mem::replace(&mut self.current, (done.buf, len));
                self.spare.extend(Some(old).filter(|old| !old.is_empty()));
                Ok(len)
            }
            Err(cause) => {
                self.spare.push(done.buf);
                Err(cause)
            }
        }
    }

    fn current(&mut self) -> &[u8] {
        self.current.0.get(..self.current.1).unwrap_or_default()
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that reads ahead has ended")
}

impl Drop for Threads {
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
