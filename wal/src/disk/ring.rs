//! The ring: many reads and writes in flight at once, through `io_uring`.
//!
//! The kernel works on buffers by their addresses, behind the compiler's back. Two types keep
//! that safe: [`Ring::run`] comes back only once the kernel has let go of every buffer it was
//! lent, and [`Ring::start_read`] reads into buffers that are the ring's own.
//!
//! A call into the kernel that failed leaves requests in the ring that the next call would still
//! submit: a write that was given up could land later. So after a failed call a ring is never
//! entered again. What the kernel had taken is waited for, what it had not it never will, and
//! whoever wrote takes the file for lost.
#![allow(unsafe_code, reason = "the kernel is lent buffers by their addresses")]

use super::AlignedBuf;
use super::transfer::bytes;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// `RWF_DSYNC`: forced to the device before it counts as done.
const DSYNC: i32 = 2;

/// The most bytes of one request: what is left is asked for again.
const MOST: u32 = 1 << 30;

/// An operation on a file, by slot or by number.
macro_rules! on {
    ($file:expr, $operation:ident $(, $rest:expr)*) => {
        match $file {
            Known::Slot(slot) => opcode::$operation::new(slot $(, $rest)*),
            Known::Number(fd) => opcode::$operation::new(fd $(, $rest)*),
        }
    };
}

/// One request of many, with a buffer that is lent to the kernel until [`Ring::run`] returns.
#[derive(Debug)]
pub(super) struct Request<'b> {
    offset: u64,
    buf: Lent<'b>,
    done: usize,
    /// What came of it; none before it is finished.
    pub(super) result: Option<io::Result<usize>>,
}

#[derive(Debug)]
enum Lent<'b> {
    Write {
        buf: &'b [u8],
        durable: bool,
    },
    Read(&'b mut [u8]),
    /// The first so many bytes of the ring's first own buffer.
    Own {
        len: usize,
        durable: bool,
    },
    Sync,
}

impl<'b> Request<'b> {
    fn new(offset: u64, buf: Lent<'b>) -> Self {
        Self { offset, buf, done: 0, result: None }
    }

    pub(super) fn write(offset: u64, buf: &'b [u8], durable: bool) -> Self {
        Self::new(offset, Lent::Write { buf, durable })
    }

    pub(super) fn read(offset: u64, buf: &'b mut [u8]) -> Self {
        Self::new(offset, Lent::Read(buf))
    }

    /// The first `len` bytes of the ring's first own buffer.
    pub(super) fn write_own(offset: u64, len: usize, durable: bool) -> Self {
        Self::new(offset, Lent::Own { len, durable })
    }

    pub(super) fn sync() -> Self {
        Self::new(0, Lent::Sync)
    }

    fn len(&self) -> usize {
        match &self.buf {
            Lent::Write { buf, .. } => buf.len(),
            Lent::Read(buf) => buf.len(),
            Lent::Own { len, .. } => *len,
            Lent::Sync => 0,
        }
    }

    /// The request for what is left of it. The pointer is good for as long as `'b` lasts, or for
    /// as long as the ring's own buffer `own`, which the kernel knows or not.
    fn entry(&mut self, file: Known, own: (*const u8, bool)) -> squeue::Entry {
        let at = self.offset.saturating_add(bytes(self.done));
        let left = u32::try_from(self.len().saturating_sub(self.done)).unwrap_or(MOST);
        let flags = |durable: bool| if durable { DSYNC } else { 0 };
        let done = self.done;
        match (&mut self.buf, own) {
            (Lent::Write { buf, durable }, _) => {
                let rest = buf.get(done..).unwrap_or_default().as_ptr();
                on!(file, Write, rest, left).offset(at).rw_flags(flags(*durable)).build()
            }
            (Lent::Read(buf), _) => {
                let rest = buf.get_mut(done..).unwrap_or_default().as_mut_ptr();
                on!(file, Read, rest, left).offset(at).build()
            }
            (Lent::Own { durable, .. }, (own, true)) => {
                let (rest, flags) = (own.wrapping_add(done), flags(*durable));
                on!(file, WriteFixed, rest, left, 0).offset(at).rw_flags(flags).build()
            }
            (Lent::Own { durable, .. }, (own, false)) => {
                let (rest, flags) = (own.wrapping_add(done), flags(*durable));
                on!(file, Write, rest, left).offset(at).rw_flags(flags).build()
            }
            (Lent::Sync, _) => on!(file, Fsync).flags(types::FsyncFlags::DATASYNC).build(),
        }
    }

    /// Takes note of what the kernel says; true if something is left to be asked for.
    fn answered(&mut self, answer: i32, granule: usize) -> bool {
        let left = self.len().saturating_sub(self.done);
        let Ok(moved) = usize::try_from(answer) else {
            let error = io::Error::from_raw_os_error(answer.saturating_neg());
            // A sync that was interrupted may have lost what it had begun.
            if error.kind() == ErrorKind::Interrupted && !matches!(self.buf, Lent::Sync) {
                return true;
            }
            self.result = Some(Err(error));
            return false;
        };
        let whole = moved - moved.checked_rem(granule).unwrap_or(0);
        let outcome = match &self.buf {
            Lent::Sync => Some(Ok(0)),
            _ if moved > left => {
                Some(Err(io::Error::other(format!("{moved} bytes moved where {left} were asked"))))
            }
            Lent::Read(_) => {
                self.done += moved;
                // A read that stops inside a granule has met the end of the file.
                let ended = moved == 0 || whole != moved || self.done == self.len();
                ended.then_some(Ok(self.done))
            }
            _ if whole == 0 && left > 0 => Some(Err(io::Error::new(
                ErrorKind::WriteZero,
                format!("a write of {left} bytes moved {moved}"),
            ))),
            _ => {
                self.done += whole;
                (self.done == self.len()).then_some(Ok(self.done))
            }
        };
        self.result = outcome;
        self.result.is_none()
    }
}

/// A file as the kernel knows it: by its slot in the ring, or by its number.
#[derive(Clone, Copy)]
enum Known {
    Slot(types::Fixed),
    Number(types::Fd),
}

/// One ring; whoever has it has it alone.
pub(super) struct Ring {
    io: IoUring,
    /// Requests that were put into the ring and not answered.
    in_flight: usize,
    /// A call failed: never enter it again.
    broken: bool,
    /// The identity of the file in slot 0, if there is one, and whether there are slots.
    slot: Option<u64>,
    slots: bool,
    /// Buffers of its own, and whether the kernel is reading into each. Dropped after the ring:
    /// see `drop`.
    own: Vec<(AlignedBuf, bool)>,
    /// Whether the kernel knows them beforehand.
    fixed: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring for `depth` requests in flight, with buffers of its own.
    ///
    /// # Errors
    ///
    /// The kernel has none, or does not let us have one.
    pub(super) fn new(depth: usize, own: Vec<AlignedBuf>) -> io::Result<Self> {
        let entries = u32::try_from(depth.clamp(1, 1024)).unwrap_or(1).next_power_of_two();
        // Without interrupts, where the kernel knows how.
        let io = IoUring::builder()
            .setup_coop_taskrun()
            .build(entries)
            .or_else(|_| IoUring::builder().build(entries))?;
        let slots = io.submitter().register_files(&[-1]).is_ok();
        let places: Vec<IoSlice<'_>> = own.iter().map(|buf| IoSlice::new(buf)).collect();
        // SAFETY: `IoSlice` is promised to be laid out as the kernel's iovec. The ring owns the
        // buffers, which are never grown, and they are dropped after it.
        let fixed = unsafe {
            let places = std::slice::from_raw_parts(places.as_ptr().cast(), places.len());
            io.submitter().register_buffers(places).is_ok()
        };
        let own = own.into_iter().map(|buf| (buf, false)).collect();
        Ok(Self { io, in_flight: 0, broken: false, slot: None, slots, own, fixed })
    }

    /// A buffer of its own; none while the kernel has it.
    pub(super) fn own(&mut self, index: usize) -> Option<&mut AlignedBuf> {
        self.own.get_mut(index).and_then(|(buf, lent)| if *lent { None } else { Some(buf) })
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The file of this identity, in the slot if there is one.
    fn know(&mut self, id: u64, file: BorrowedFd<'_>) -> Known {
        let number = Known::Number(types::Fd(file.as_raw_fd()));
        if !self.slots {
            return number;
        }
        if self.slot != Some(id) {
            self.slot = None;
            let updated = self.io.submitter().register_files_update(0, &[file.as_raw_fd()]);
            if !matches!(updated, Ok(1)) {
                self.slots = false;
                return number;
            }
            self.slot = Some(id);
        }
        Known::Slot(types::Fixed(0))
    }

    /// Lets go of the file of this identity: the slot would keep a removed file's bytes.
    pub(super) fn forget(&mut self, id: u64) {
        if self.slot == Some(id) && !self.broken {
            self.slot = None;
            const NONE: RawFd = -1;
            let _ = self.io.submitter().register_files_update(0, &[NONE]);
        }
    }

    /// Does all requests, at most `depth` at a time; what was done in part is finished. After one
    /// that failed no further one is begun, and has no result. The kernel has let go of all
    /// buffers when this returns, however it returns.
    ///
    /// # Errors
    ///
    /// A call into the kernel failed: nothing is known of any request without a result, and the
    /// ring is of no more use.
    pub(super) fn run(
        &mut self,
        (id, file): (u64, BorrowedFd<'_>),
        requests: &mut [Request<'_>],
        depth: usize,
        granule: usize,
    ) -> io::Result<()> {
        if self.broken {
            return Err(broken());
        }
        let known = self.know(id, file);
        let own = self.own.first().map_or(std::ptr::null(), |(own, _)| own.as_ptr());
        let own = (own, self.fixed);
        let mut waiting: VecDeque<usize> = (0..requests.len()).collect();
        let mut failed = false;
        loop {
            while !failed && self.in_flight < depth.max(1) {
                let Some(index) = waiting.pop_front() else { break };
                let Some(request) = requests.get_mut(index) else { break };
                let entry = request.entry(known, own).user_data(bytes(index));
                // SAFETY: the buffer is borrowed for longer than this call, or the ring's own, and
                // the call does not return before the kernel has answered or can no longer take
                // the request.
                if unsafe { self.put(&entry) }.is_err() {
                    waiting.push_front(index);
                    break;
                }
            }
            if self.in_flight == 0 {
                return Ok(());
            }
            let mut take = |index: u64, answer: i32| {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(request) = requests.get_mut(index) else { return };
                if request.answered(answer, granule) {
                    waiting.push_front(index);
                } else if matches!(request.result, Some(Err(_))) {
                    failed = true;
                }
            };
            if let Err(cause) = self.enter(1) {
                self.break_off(&mut take);
                return Err(cause);
            }
            self.reap(&mut take);
        }
    }

    /// Begins to fill the buffer of this index from `offset` on. While it is under way nothing
    /// else may be run.
    ///
    /// # Errors
    ///
    /// It was not begun; or a call into the kernel failed, and the ring is of no more use. Then
    /// `take` was told what was answered meanwhile, and nothing is under way.
    pub(super) fn start_read(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        index: usize,
        take: &mut dyn FnMut(u64, i32),
    ) -> io::Result<()> {
        let fixed = self.fixed;
        let Some((buf, lent @ false)) = self.own.get_mut(index).filter(|_| !self.broken) else {
            return Err(broken());
        };
        let fd = Known::Number(types::Fd(file.as_raw_fd()));
        let (place, len) = (buf.as_mut_ptr(), u32::try_from(buf.len()).unwrap_or(MOST));
        let entry = match (fixed, u16::try_from(index)) {
            (true, Ok(known)) => on!(fd, ReadFixed, place, len, known).offset(offset).build(),
            _ => on!(fd, Read, place, len).offset(offset).build(),
        };
        *lent = true;
        // SAFETY: the buffer is the ring's own and not to be had while it is lent, that is until
        // the kernel has answered, or can no longer take the request.
        let put = unsafe { self.put(&entry.user_data(bytes(index))) };
        if put.is_err() {
            self.returned(index);
            return Err(broken());
        }
        self.enter(0).inspect_err(|_| {
            self.break_off(take);
            self.own.iter_mut().for_each(|(_, lent)| *lent = false);
        })
    }

    /// Waits until a read has ended, and tells `take` of all that have: buffer and answer.
    ///
    /// # Errors
    ///
    /// As [`Ring::start_read`].
    pub(super) fn wait_read(&mut self, take: &mut dyn FnMut(u64, i32)) -> io::Result<()> {
        let entered = if self.broken { Err(broken()) } else { self.enter(1) };
        if let Err(cause) = entered {
            self.break_off(take);
            self.own.iter_mut().for_each(|(_, lent)| *lent = false);
            return Err(cause);
        }
        let mut ended = Vec::new();
        self.reap(&mut |index, answer| ended.push((index, answer)));
        for (index, answer) in ended {
            self.returned(usize::try_from(index).unwrap_or(usize::MAX));
            take(index, answer);
        }
        Ok(())
    }

    fn returned(&mut self, index: usize) {
        if let Some((_, lent)) = self.own.get_mut(index) {
            *lent = false;
        }
    }

    /// Puts a request into the ring.
    ///
    /// # Safety
    ///
    /// What it names must stay until it is answered, or [`Ring::break_off`] returned.
    // SAFETY: for callers; see above.
    unsafe fn put(&mut self, entry: &squeue::Entry) -> Result<(), squeue::PushError> {
        // SAFETY: the caller promises it.
        unsafe { self.io.submission().push(entry) }?;
        self.in_flight += 1;
        Ok(())
    }

    /// Hands the kernel what was put, and waits for so many answers; comes back without them
    /// after a signal.
    fn enter(&self, want: usize) -> io::Result<()> {
        match self.io.submit_and_wait(want) {
            Ok(_) => Ok(()),
            Err(cause) if cause.kind() == ErrorKind::Interrupted => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// Takes the answers that are there.
    fn reap(&mut self, take: &mut dyn FnMut(u64, i32)) {
        let answers = self.io.completion().map(|answer: cqueue::Entry| {
            take(answer.user_data(), answer.result());
        });
        self.in_flight = self.in_flight.saturating_sub(answers.count());
    }

    /// Gives the ring up: waits for what the kernel has taken, without calling it again.
    fn break_off(&mut self, take: &mut dyn FnMut(u64, i32)) {
        self.broken = true;
        let mut queue = self.io.submission();
        queue.sync();
        let never_taken = queue.len();
        drop(queue);
        loop {
            self.reap(take);
            if self.in_flight <= never_taken {
                self.in_flight = 0;
                return;
            }
            // Any call lets the kernel post what it has; only time brings the rest.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.in_flight > 0 {
            if self.broken || self.enter(1).is_err() {
                self.break_off(&mut |_, _| {});
            } else {
                self.reap(&mut |_, _| {});
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("a call into this ring failed before")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a request that the kernel answers so, and how often it was asked.
    fn played(mut request: Request<'_>, answers: &[i32]) -> (Result<usize, ErrorKind>, usize) {
        for (asked, answer) in answers.iter().enumerate() {
            if !request.answered(*answer, 4) {
                let result = request.result.take().unwrap();
                return (result.map_err(|error| error.kind()), asked + 1);
            }
        }
        panic!("{request:?} goes on");
    }

    #[test]
    fn what_was_done_in_part_is_asked_for_again() {
        let write = || Request::write(0, &[0; 16], true);
        assert_eq!(played(write(), &[16]), (Ok(16), 1));
        assert_eq!(played(write(), &[4, 8, 4]), (Ok(16), 3));
        // Only whole granules count; EINTR is 4.
        assert_eq!(played(write(), &[7, -4, 12]), (Ok(16), 3));
        assert_eq!(played(write(), &[0]), (Err(ErrorKind::WriteZero), 1));
        assert_eq!(played(write(), &[8, 3]), (Err(ErrorKind::WriteZero), 2));
        assert_eq!(played(write(), &[12, 5]), (Err(ErrorKind::Other), 2));
        assert_eq!(played(write(), &[4, -28]), (Err(ErrorKind::StorageFull), 2));
        let mut room = [0; 16];
        let mut read = |answers: &[i32]| played(Request::read(0, &mut room), answers);
        assert_eq!(read(&[16]), (Ok(16), 1));
        assert_eq!(read(&[8, -4, 8]), (Ok(16), 3));
        assert_eq!(read(&[8, 0]), (Ok(8), 2), "the file ends");
        assert_eq!(read(&[8, 3]), (Ok(11), 2), "the file ends inside a granule");
        assert_eq!(read(&[17]), (Err(ErrorKind::Other), 1));
        assert_eq!(played(Request::sync(), &[0]), (Ok(0), 1));
        // A sync that was interrupted may have lost what it had begun.
        assert_eq!(played(Request::sync(), &[-4]), (Err(ErrorKind::Interrupted), 1));
    }
}
