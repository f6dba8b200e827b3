//! The rings of one directory, and what is done through them.

use super::ring::{Request, Ring};
use super::transfer::bytes;
use super::{AlignedBuf, LogFile, ReadPipe};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a request of a bulk transfer: more in one gain nothing.
const PIECE: usize = 1 << 20;

/// Bytes of the buffer that the kernel knows beforehand, for small durable writes.
const SMALL: usize = 64 << 10;

/// Reads of single records in flight at once.
const SMALL_READS: usize = 32;

/// Rings that are kept for the next call: as many as threads that write at once.
const IDLE: usize = 3;

/// Idle rings; a call takes one for itself, or makes one.
#[derive(Debug)]
pub(super) struct Rings {
    idle: Mutex<Vec<Ring>>,
    depth: usize,
    /// Durable writes and syncs too go through a ring.
    durable: bool,
}

impl Rings {
    /// # Errors
    ///
    /// No ring is to be had.
    pub(super) fn new(depth: usize, durable: bool) -> io::Result<Self> {
        let rings = Self { idle: Mutex::default(), depth: depth.max(1), durable };
        let first = rings.make()?;
        rings.idle().push(first);
        Ok(rings)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Ring>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> io::Result<Ring> {
        let own = if self.durable { vec![AlignedBuf::zeroed(SMALL)] } else { Vec::new() };
        Ring::new(self.depth.max(SMALL_READS), own)
    }

    pub(super) fn durable(&self) -> bool {
        self.durable
    }

    /// A ring of its own for as long as `work` takes; one that broke is not kept.
    fn with<T>(&self, work: impl FnOnce(&mut Ring) -> io::Result<T>) -> io::Result<T> {
        let idle = self.idle().pop();
        let mut ring = match idle {
            Some(ring) => ring,
            None => self.make()?,
        };
        let result = work(&mut ring);
        let mut idle = self.idle();
        if !ring.is_broken() && idle.len() < IDLE {
            idle.push(ring);
        }
        result
    }

    /// Lets go of a file that is being closed.
    pub(super) fn forget(&self, id: u64) {
        self.idle().iter_mut().for_each(|ring| ring.forget(id));
    }

    /// Writes all of `bufs`, one behind the other, from `offset` on.
    ///
    /// The outer error: a call into the kernel failed, and nothing is known of what was to be
    /// written. The inner one: a write failed, as any may.
    pub(super) fn write(
        &self,
        file: (u64, BorrowedFd<'_>),
        offset: u64,
        bufs: &[&[u8]],
        durable: bool,
        granule: usize,
    ) -> io::Result<io::Result<()>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 {
            return Ok(Ok(()));
        }
        self.with(|ring| {
            if total <= SMALL && fill(ring, bufs) {
                let mut requests = [Request::write_own(offset, total, durable)];
                ring.run(file, &mut requests, 1, granule)?;
                return Ok(outcome(&mut requests));
            }
            // Many small slices would be as many small writes.
            let gathered = match bufs.len() > 1 && total / bufs.len() < SMALL {
                true => Some(gather(bufs, total)),
                false => None,
            };
            let whole = gathered.as_ref().map(|buf| [buf.as_slice()]);
            let bufs = whole.as_ref().map_or(bufs, |whole| whole.as_slice());
            let mut at = offset;
            let mut requests = Vec::new();
            for piece in bufs.iter().flat_map(|buf| buf.chunks(PIECE)) {
                requests.push(Request::write(at, piece, durable));
                at = at.saturating_add(bytes(piece.len()));
            }
            ring.run(file, &mut requests, self.depth, granule)?;
            Ok(outcome(&mut requests))
        })
    }

    /// Makes what was written durable; errors as for a write.
    pub(super) fn sync(&self, file: (u64, BorrowedFd<'_>)) -> io::Result<io::Result<()>> {
        self.with(|ring| {
            let mut requests = [Request::sync()];
            ring.run(file, &mut requests, 1, 1)?;
            Ok(outcome(&mut requests))
        })
    }

    /// Fills every buffer from its offset on, as far as the file reaches, many at a time, and
    /// says of each how far.
    ///
    /// # Errors
    ///
    /// A call into the kernel failed.
    pub(super) fn read(
        &self,
        file: (u64, BorrowedFd<'_>),
        reads: &mut [(u64, &mut [u8])],
        granule: usize,
    ) -> io::Result<Vec<io::Result<usize>>> {
        let mut requests: Vec<_> =
            reads.iter_mut().map(|(offset, buf)| Request::read(*offset, buf)).collect();
        // Small ones: as many at a time as the ring has room for.
        self.with(|ring| ring.run(file, &mut requests, SMALL_READS, granule))?;
        let unread = || Err(io::Error::other("the read was not begun"));
        Ok(requests.into_iter().map(|request| request.result.unwrap_or_else(unread)).collect())
    }
}

/// Copies the slices into the ring's own buffer, if it has one.
fn fill(ring: &mut Ring, bufs: &[&[u8]]) -> bool {
    let Some(own) = ring.own(0) else { return false };
    let mut from = 0;
    for buf in bufs {
        let to = from + buf.len();
        let Some(room) = own.get_mut(from..to) else { return false };
        room.copy_from_slice(buf);
        from = to;
    }
    true
}

fn gather(bufs: &[&[u8]], total: usize) -> AlignedBuf {
    let mut whole = AlignedBuf::with_capacity(total);
    bufs.iter().for_each(|buf| whole.extend_from_slice(buf));
    whole
}

/// The first error in the order of the file.
fn outcome(requests: &mut [Request<'_>]) -> io::Result<()> {
    requests.iter_mut().find_map(|request| request.result.take()?.err()).map_or(Ok(()), Err)
}

/// A stretch of a file that is being read, or was.
#[derive(Debug)]
struct Stretch {
    file: Arc<dyn LogFile>,
    offset: u64,
    buf: usize,
    answer: Option<i32>,
}

/// Reads stretches of equal length, several at a time, into buffers that the kernel knows
/// beforehand.
#[derive(Debug)]
pub(super) struct Reader {
    ring: Ring,
    free: Vec<usize>,
    under_way: VecDeque<Stretch>,
    current: Option<(usize, usize)>,
}

impl Reader {
    /// Reads `depth` stretches of `stretch` bytes at a time.
    ///
    /// # Errors
    ///
    /// No ring is to be had.
    pub(super) fn new(depth: usize, stretch: usize) -> io::Result<Self> {
        // One more: that which is looked at.
        let bufs = (0..=depth).map(|_| AlignedBuf::zeroed(stretch)).collect();
        let ring = Ring::new(depth, bufs)?;
        Ok(Self { ring, free: (0..=depth).collect(), under_way: VecDeque::new(), current: None })
    }

    /// Whether the kernel was asked.
    fn submit(&mut self, file: &Arc<dyn LogFile>, offset: u64, buf: usize) -> bool {
        let Self { ring, under_way, .. } = self;
        let Some(descriptor) = file.descriptor() else { return false };
        let mut take = |buf, answer| note(under_way, buf, answer);
        ring.start_read(descriptor, offset, buf, &mut take).is_ok()
    }

    /// Waits for the stretch that was asked for first.
    fn wait(&mut self) {
        while self.under_way.front().is_some_and(|stretch| stretch.answer.is_none()) {
            let Self { ring, under_way, .. } = self;
            if ring.wait_read(&mut |buf, answer| note(under_way, buf, answer)).is_err() {
                self.nothing_comes();
            }
        }
    }

    /// The ring broke: what has no answer gets none, and is read by plain calls.
    fn nothing_comes(&mut self) {
        self.under_way.iter_mut().for_each(|stretch| _ = stretch.answer.get_or_insert(0));
    }

    /// What the ring did in part, or not at all, plain calls finish; they say what is wrong, and
    /// where the file ends.
    fn finish(&mut self, stretch: &Stretch) -> io::Result<usize> {
        let Some(buf) = self.ring.own(stretch.buf) else { return Ok(0) };
        let moved = usize::try_from(stretch.answer.unwrap_or(0)).unwrap_or(0).min(buf.len());
        let whole = moved - moved % super::ALIGNMENT;
        match buf.get_mut(whole..) {
            Some(rest) if !rest.is_empty() => {
                let at = stretch.offset.saturating_add(bytes(whole));
                Ok(whole + stretch.file.read_at(at, rest)?)
            }
            _ => Ok(whole),
        }
    }
}

fn note(under_way: &mut VecDeque<Stretch>, buf: u64, answer: i32) {
    let mut mine = under_way.iter_mut().filter(|stretch| bytes(stretch.buf) == buf);
    if let Some(stretch) = mine.next() {
        stretch.answer = Some(answer);
    }
}

impl ReadPipe for Reader {
    fn ask(&mut self, file: &Arc<dyn LogFile>, offset: u64) -> io::Result<()> {
        let Some(buf) = self.free.pop() else {
            return Err(io::Error::other("more stretches were asked for than fit"));
        };
        let answer = if self.submit(file, offset, buf) { None } else { Some(0) };
        self.under_way.push_back(Stretch { file: Arc::clone(file), offset, buf, answer });
        if self.ring.is_broken() {
            self.nothing_comes();
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<usize> {
        self.wait();
        let Some(stretch) = self.under_way.pop_front() else {
            return Err(io::Error::other("no stretch was asked for"));
        };
        self.free.extend(self.current.take().map(|(old, _)| old));
        let result = self.finish(&stretch);
        match &result {
            Ok(len) => self.current = Some((stretch.buf, *len)),
            Err(_) => self.free.push(stretch.buf),
        }
        result
    }

    fn current(&mut self) -> &[u8] {
        let Some((buf, len)) = self.current else { return &[] };
        self.ring.own(buf).and_then(|buf| buf.get(..len)).unwrap_or_default()
    }
}
