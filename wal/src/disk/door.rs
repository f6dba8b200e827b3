//! A private socket in a log's directory: the door through which operators ask the owner.
//!
//! It is bound in a directory that nobody else may enter, closed to others there, and only then
//! renamed to where it is found: at no instant is it more open than at last. Whoever opens it
//! holds the directory's lock, so what stands there already was left by an owner who is dead.

use super::dir::Dir;
use super::{Clock, SystemClock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The name of the socket.
pub const DOOR_NAME: &str = "admin.sock";

/// Where it is made.
const HALL: &str = "admin.sock.new";

/// Its name while it is made.
const MADE: &str = "admin.sock.new/s";

/// The longest path that fits a socket's address everywhere.
const LONGEST: usize = 100;

/// How long the door stays shut when a visitor cannot be let in.
const BREATH: Duration = Duration::from_millis(100);

/// A visitor who has gone must not end the process by a signal.
#[cfg(not(target_vendor = "apple"))]
const QUIET: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const QUIET: SendFlags = SendFlags::empty();

const PRIVATE_DIR: Mode = Mode::from_raw_mode(0o700);
const PRIVATE_FILE: Mode = Mode::from_raw_mode(0o600);

/// A socket that takes one visitor at a time, until it is closed.
#[derive(Debug)]
pub struct Door {
    dir: Dir,
    listener: UnixListener,
    /// Hangs up when the door is closed.
    closed: Arc<UnixStream>,
    closer: Mutex<Option<UnixStream>>,
}

/// Somebody at the door.
#[derive(Debug)]
pub struct Visitor {
    stream: UnixStream,
    closed: Arc<UnixStream>,
    clock: SystemClock,
}

/// What became ready.
enum Ready {
    Stream,
    Closed,
    TooLate,
}

impl Door {
    /// Opens the door in a directory; mode 0600 from its first instant. Replaces one that is
    /// there: the caller holds the directory's lock.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = Dir::open(path, false)?;
        sweep(&dir)?;
        rustix::fs::mkdirat(dir.file(), HALL, PRIVATE_DIR)?;
        let listener = made(&dir);
        // Whatever happened, nothing stays of the making.
        let swept = sweep(&dir);
        let listener = listener?;
        swept?;
        let (closed, closer) = UnixStream::pair()?;
        listener.set_nonblocking(true)?;
        Ok(Self { dir, listener, closed: Arc::new(closed), closer: Mutex::new(Some(closer)) })
    }

    /// Waits for the next visitor; none once the door is closed.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn visitor(&self) -> io::Result<Option<Visitor>> {
        loop {
            match wait(&self.listener, PollFlags::IN, &self.closed, None)? {
                Ready::Closed | Ready::TooLate => return Ok(None),
                Ready::Stream => {}
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let closed = Arc::clone(&self.closed);
                    return Ok(Some(Visitor { stream, closed, clock: SystemClock::new() }));
                }
                // They went away again.
                Err(error) if passing(&error) => {}
                // Too many files are open, say: that passes too, but not at once.
                Err(_) => match wait(&*self.closed, PollFlags::IN, &self.closed, Some(BREATH))? {
                    Ready::TooLate => {}
                    Ready::Stream | Ready::Closed => return Ok(None),
                },
            }
        }
    }

    /// Closes the door and takes it away; whoever waits at it is told. Does nothing a second
    /// time.
    pub fn close(&self) {
        let closer = self.closer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if closer.is_some() {
            // One that stays is replaced by the next owner.
            let _ = self.dir.remove(DOOR_NAME);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// Binds the socket in the hall, closes it to others, and puts it into its place.
fn made(dir: &Dir) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(address(dir, MADE))?;
    rustix::fs::chmodat(dir.file(), MADE, PRIVATE_FILE, AtFlags::empty())?;
    rustix::fs::renameat(dir.file(), MADE, dir.file(), DOOR_NAME)?;
    Ok(listener)
}

/// Removes the hall, and what a crash left in it.
fn sweep(dir: &Dir) -> io::Result<()> {
    let remove = |name: &str, flags| match rustix::fs::unlinkat(dir.file(), name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(io::Error::from(error)),
    };
    remove(MADE, AtFlags::empty())?;
    remove(HALL, AtFlags::REMOVEDIR)
}

/// A path that fits a socket's address, by the directory's descriptor where it must.
fn address(dir: &Dir, name: &str) -> PathBuf {
    let plain = dir.path().join(name);
    if plain.as_os_str().len() <= LONGEST {
        return plain;
    }
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.file().as_raw_fd()))
}

/// An error of one visitor, not of the door.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

/// Waits until `stream` is ready for what is wanted, the door is closed, or it is too late.
fn wait(
    stream: &impl std::os::fd::AsFd,
    wanted: PollFlags,
    closed: &UnixStream,
    left: Option<Duration>,
) -> io::Result<Ready> {
    let left = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    let mut fds = [PollFd::new(stream, wanted), PollFd::new(closed, PollFlags::IN)];
    match poll(&mut fds, left.as_ref()) {
        Ok(0) => return Ok(Ready::TooLate),
        Ok(_) => {}
        // Asked again by the caller, with what is left of the time.
        Err(Errno::INTR) => return Ok(Ready::Stream),
        Err(error) => return Err(error.into()),
    }
    let [_, closed] = fds;
    Ok(if closed.revents().is_empty() { Ready::Stream } else { Ready::Closed })
}

impl Visitor {
    /// The first line the visitor says, without its end; at most `most` bytes, within `patience`.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the line is longer, `TimedOut`, `UnexpectedEof`, `ConnectionAborted` if
    /// the door is closed meanwhile; else what the operating system says.
    pub fn line(&self, most: usize, patience: Duration) -> io::Result<Vec<u8>> {
        let until = self.until(patience);
        let mut line = Vec::new();
        loop {
            self.ready(PollFlags::IN, until)?;
            let mut piece = [0; 512];
            let (count, _) = match rustix::net::recv(&self.stream, &mut piece, RecvFlags::empty()) {
                Ok(got) => got,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let piece = piece.get(..count).unwrap_or_default();
            let end = piece.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(piece.get(..end.unwrap_or(count)).unwrap_or_default());
            if line.len() > most {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if end.is_some() {
                return Ok(line);
            }
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Says `text` to the visitor, within `patience`.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `ConnectionAborted`, or what the operating system says.
    pub fn say(&self, text: &[u8], patience: Duration) -> io::Result<()> {
        let until = self.until(patience);
        let mut rest = text;
        while !rest.is_empty() {
            self.ready(PollFlags::OUT, until)?;
            match rustix::net::send(&self.stream, rest, QUIET) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn until(&self, patience: Duration) -> u64 {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.clock.monotonic_ms().saturating_add(patience)
    }

    fn ready(&self, wanted: PollFlags, until: u64) -> io::Result<()> {
        let left = Duration::from_millis(until.saturating_sub(self.clock.monotonic_ms()));
        match wait(&self.stream, wanted, &self.closed, Some(left))? {
            Ready::Stream if left.is_zero() => Err(io::ErrorKind::TimedOut.into()),
            Ready::Stream => Ok(()),
            Ready::Closed => Err(io::ErrorKind::ConnectionAborted.into()),
            Ready::TooLate => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
