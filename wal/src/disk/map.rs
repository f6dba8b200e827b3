//! A file mapped for writing: stores, and `msync`.
//!
//! Nothing is ever loaded from the map: a store into it may be lost by the device, and a load
//! would still show it. No slice of it exists either, so whoever else changes the file changes
//! nothing the compiler relies on.
#![allow(unsafe_code, reason = "a store goes to memory that is not the program's own")]

use super::transfer::refuse;
use memmap2::{Advice, MmapRaw};
use std::fs::File;
use std::io;

/// A shared mapping of a whole file, as long as the file was when it was made.
#[derive(Debug)]
pub(super) struct Map {
    raw: MmapRaw,
}

impl Map {
    /// # Errors
    ///
    /// What the operating system says.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let raw = MmapRaw::map_raw(file)?;
        // A page that is not in memory comes alone, and not as part of a large piece that would be
        // written whole.
        raw.advise(Advice::Random)?;
        Ok(Self { raw })
    }

    /// Bytes that are mapped.
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Stores `bytes` from `at` on. The file must have that range, and blocks on the device for
    /// it: a store beyond the end, or where the device has no room, ends the process.
    ///
    /// # Errors
    ///
    /// The range is not mapped.
    pub(super) fn store(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let end = at.checked_add(bytes.len()).filter(|end| *end <= self.len());
        if end.is_none() {
            return Err(refuse(format!("{} bytes at {at} are not mapped", bytes.len())));
        }
        // SAFETY: the range lies in the mapping, which lives as long as `self`; `bytes` is not
        // part of it, for no slice of it is ever made. Two threads that store to the same place
        // leave bytes of both, as two writes of a file do, and nobody in this program loads them.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.raw.as_mut_ptr().add(at),
                bytes.len(),
            );
        }
        Ok(())
    }

    /// Forces a range to stable storage. Never tried again: after a failure the next one succeeds
    /// over lost bytes.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(super) fn sync(&self, at: usize, len: usize) -> io::Result<()> {
        self.raw.flush_range(at, len)
    }
}
