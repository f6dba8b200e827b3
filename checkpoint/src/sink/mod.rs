//! Where copies go: backups and the archive.
//!
//! A sink holds things under flat names, each whole and durable, or not there: a directory does,
//! and so does an object store. Nothing in it is ever changed.

pub mod conformance;
mod directory;

pub use directory::DirectorySink;

use std::fmt::Debug;
use std::io;

/// A place for copies.
///
/// Names are plain file names of letters, digits, `-` and `.`, as [`plain`] has it; any other is
/// refused with `InvalidInput`. Calls may come from several threads at once. `sink::conformance`
/// holds every implementation to this.
pub trait Sink: Send + Sync + Debug {
    /// Begins to put something under a name. It is there once [`Put::finish`] has returned, and
    /// takes the place of what had the name.
    ///
    /// # Errors
    ///
    /// What the place says.
    ///
    /// # Crash
    ///
    /// Before `finish` returns: it is there, whole, or what was there before is.
    fn put(&self, name: &str) -> io::Result<Box<dyn Put>>;

    /// Opens what has a name.
    ///
    /// # Errors
    ///
    /// `NotFound` if nothing has; else what the place says.
    fn open(&self, name: &str) -> io::Result<Box<dyn Stored>>;

    /// Names that begin with `prefix`, in order, each with its bytes, rounded up where the place
    /// keeps whole blocks.
    ///
    /// # Errors
    ///
    /// What the place says.
    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>>;

    /// Removes what has a name.
    ///
    /// # Errors
    ///
    /// `NotFound` if nothing has; else what the place says.
    ///
    /// # Crash
    ///
    /// Before it returns: it is there, or it is not.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Where it is, for messages.
    fn place(&self) -> String;
}

/// Something that is being put. Dropped before it is finished, it was never there.
pub trait Put: Send {
    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// What the place says; then it cannot be finished.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes it durable, and gives it its name.
    ///
    /// # Errors
    ///
    /// What the place says.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Something that a sink holds.
pub trait Stored: Send + Sync {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// What the place says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has none.
    ///
    /// # Errors
    ///
    /// What the place says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads from `offset` on until `buf` is full or it ends; returns how many bytes. Any offset
    /// and any length.
    ///
    /// # Errors
    ///
    /// What the place says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// Whether something can have this name.
#[must_use]
pub fn plain(name: &str) -> bool {
    let letters = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(letters)
}

/// Reads all of something, no more than `most` bytes of it.
///
/// # Errors
///
/// `FileTooLarge` if it has more; else what the place says.
pub fn read_whole(stored: &dyn Stored, most: u64) -> io::Result<Vec<u8>> {
    let len = stored.len()?;
    let size = usize::try_from(len).ok().filter(|_| len <= most);
    let mut bytes = vec![0; size.ok_or(io::ErrorKind::FileTooLarge)?];
    let read = stored.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Puts something that is in memory.
///
/// # Errors
///
/// What the place says.
///
/// # Crash
///
/// As [`Sink::put`].
pub fn put_whole(sink: &dyn Sink, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut put = sink.put(name)?;
    put.write(bytes)?;
    put.finish()
}
