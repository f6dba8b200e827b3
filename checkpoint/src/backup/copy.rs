//! Files on their way into a sink: each block with a checksum, at a pace, and read again if it was
//! caught half written.

use super::hold::Hold;
use super::manifest::{BLOCK, BackupFile, FileKind};
use super::options::BackupOptions;
use super::{Copying, unread, unwritten};
use crate::sink::{Put, Sink};
use siding_fork::Pace;
use siding_wal::disk::{ALIGNMENT, AlignedBuf, Clock, FutexWord, LogFile};
use siding_wal::format::wide;
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that may be copied at once, whatever the rate.
const BURST: u64 = 4 << 20;

/// How often a block is read that is not whole, and the milliseconds between.
const READS: u32 = 20;
const BETWEEN_MS: u64 = 5;

fn sleep(ms: u64) {
    if ms > 0 {
        FutexWord::default().wait(0, Some(Duration::from_millis(ms)));
    }
}

/// At full speed, while others commit: milliseconds of work, and of rest behind them, in which
/// commits find the disk to themselves.
const WORK_MS: u64 = 8;
const REST_MS: u64 = 14;

/// Keeps all threads of a backup together.
enum Throttle {
    /// There are no threads whom it could disturb.
    Alone,
    /// At a rate.
    Rate(Mutex<Pace>, Arc<dyn Clock>),
    /// As fast as it goes, with rests while others commit.
    Rests(Mutex<Rests>, Arc<dyn Clock>),
}

/// Since when it works, or until when it rests.
#[derive(Default)]
struct Rests {
    since_ms: u64,
    /// Where the log ended then.
    end: Lsn,
}

impl Rests {
    /// Milliseconds to rest from `now_ms` on, with the log ending at `end`. Pure.
    fn wait_ms(&mut self, now_ms: u64, end: Lsn) -> u64 {
        if now_ms >= self.since_ms.saturating_add(WORK_MS) {
            let busy = end > self.end && self.since_ms > 0;
            self.since_ms = now_ms.saturating_add(if busy { REST_MS } else { 0 });
            self.end = end;
        }
        self.since_ms.saturating_sub(now_ms)
    }
}

impl Throttle {
    fn new(rate: u64, clock: Option<&Arc<dyn Clock>>) -> Self {
        let Some(clock) = clock.map(Arc::clone) else { return Self::Alone };
        if rate == 0 {
            return Self::Rests(Mutex::default(), clock);
        }
        let mut pace = Pace::new(rate);
        pace.spend(rate.saturating_sub(BURST));
        Self::Rate(Mutex::new(pace), clock)
    }

    /// Waits until so many bytes may be copied; the log ends at `end`.
    fn take(&self, bytes: usize, end: Lsn) {
        let wait = match self {
            Self::Alone => 0,
            Self::Rate(pace, clock) => {
                let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                let now = clock.monotonic_ms();
                let _earned = pace.allowed(now);
                pace.spend(wide(bytes));
                pace.wait_ms(0, now).unwrap_or_default()
            }
            Self::Rests(rests, clock) => {
                let mut rests = rests.lock().unwrap_or_else(PoisonError::into_inner);
                rests.wait_ms(clock.monotonic_ms(), end)
            }
        };
        sleep(wait);
    }
}

/// What is copied.
pub(super) struct Source<'a> {
    pub(super) kind: FileKind,
    pub(super) name: &'a str,
    pub(super) stored: String,
    pub(super) file: &'a dyn LogFile,
    /// Bytes of it.
    pub(super) len: u64,
}

/// Puts what a backup copies. Dropped before it is [`Copier::done`], it takes back what it put.
pub(super) struct Copier<'a> {
    pub(super) sink: &'a dyn Sink,
    pub(super) options: &'a BackupOptions<'a>,
    pub(super) hold: &'a Hold<'a>,
    threads: bool,
    throttle: Throttle,
    put: Mutex<Vec<String>>,
}

impl Drop for Copier<'_> {
    fn drop(&mut self) {
        for name in self.put.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // What stays is named as a leftover.
            let _ = self.sink.remove(&name);
        }
    }
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        sink: &'a dyn Sink,
        options: &'a BackupOptions<'a>,
        hold: &'a Hold<'a>,
        clock: Option<&Arc<dyn Clock>>,
    ) -> Self {
        let (threads, throttle) = (clock.is_some(), Throttle::new(options.rate, clock));
        Self { sink, options, hold, threads, throttle, put: Mutex::default() }
    }

    /// How many files are copied at a time.
    pub(super) fn threads(&self) -> usize {
        if self.threads { self.options.threads } else { 1 }
    }

    /// The backup is complete: what was put stays.
    pub(super) fn done(&self) {
        self.put.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Before so many bytes are read: whether the backup goes on, and when.
    pub(super) fn take(&self, bytes: usize) -> Result<()> {
        let end = self.hold.check()?;
        self.throttle.take(bytes, end);
        Ok(())
    }

    /// Copies a file.
    pub(super) fn file(&self, from: Source<'_>) -> Result<BackupFile> {
        let written = |cause| unwritten(self.sink, &from.stored, cause);
        let mut put = self.sink.put(&from.stored).map_err(written)?;
        let blocks = self.blocks(&from, &mut *put)?;
        // From here on it may be there.
        self.put.lock().unwrap_or_else(PoisonError::into_inner).push(from.stored.clone());
        put.finish().map_err(written)?;
        let Source { kind, name, stored, len, .. } = from;
        Ok(BackupFile { kind, name: name.to_owned(), stored, len, blocks })
    }

    fn blocks(&self, from: &Source<'_>, put: &mut dyn Put) -> Result<Vec<u32>> {
        let (mut blocks, mut buf, mut at) = (Vec::new(), AlignedBuf::zeroed(BLOCK), 0);
        while at < from.len {
            let count = usize::try_from(from.len.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
            self.take(count)?;
            read_full(from.file, at, buf.as_mut_slice(), count)
                .map_err(|cause| unread(from.name, cause))?;
            self.settle(from, at, buf.as_mut_slice().get_mut(..count).unwrap_or_default())?;
            let block = buf.as_slice().get(..count).unwrap_or_default();
            blocks.push(crc32c::crc32c(block));
            put.write(block).map_err(|cause| unwritten(self.sink, &from.stored, cause))?;
            at = at.saturating_add(wide(count));
            (self.options.told)(&Copying { name: from.name, done: at, len: from.len });
        }
        Ok(blocks)
    }

    /// Reads what is not whole again until it is.
    fn settle(&self, from: &Source<'_>, at: u64, bytes: &mut [u8]) -> Result<()> {
        let (FileKind::Object(object), Some((size, check))) = (from.kind, self.options.check)
        else {
            return Ok(());
        };
        if seeded!(TornBlockTaken) {
            return Ok(());
        }
        let mut again = AlignedBuf::default();
        for (index, block) in bytes.chunks_mut(size).enumerate() {
            let offset = at.saturating_add(wide(index.saturating_mul(size)));
            for _ in 0..READS {
                if check(object, block) {
                    break;
                }
                sleep(if self.threads { BETWEEN_MS } else { 0 });
                self.hold.check()?;
                again.resize(size.max(ALIGNMENT));
                // A smaller one lies within what is read at once.
                let from_page = offset.checked_rem(wide(ALIGNMENT)).unwrap_or_default();
                let skip = usize::try_from(from_page).unwrap_or_default();
                let count = skip.saturating_add(block.len());
                read_full(from.file, offset.saturating_sub(from_page), &mut again, count)
                    .map_err(|cause| unread(from.name, cause))?;
                block.copy_from_slice(again.get(skip..count).unwrap_or_default());
            }
            if !check(object, block) {
                let what = format!(
                    "the block of {} bytes at byte {offset} is not whole, {READS} times read",
                    block.len()
                );
                return Err(Error::new(ErrorKind::Corrupt, what)
                    .file(from.name)
                    .advise("repair the file; or see that no write leaves a block half written"));
            }
        }
        Ok(())
    }
}

/// Reads `want` bytes, and zeros what the file does not have, or the read brought beyond.
pub(super) fn read_full(
    file: &dyn LogFile,
    at: u64,
    block: &mut [u8],
    want: usize,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < want {
        let rest = block.get_mut(filled..want.next_multiple_of(ALIGNMENT)).unwrap_or_default();
        let read = file.read_at(at.saturating_add(wide(filled)), rest)?;
        if read == 0 {
            break;
        }
        filled = filled.saturating_add(read);
    }
    block.get_mut(filled.min(want)..).unwrap_or_default().fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_while_others_write_and_only_then() {
        let mut rests = Rests::default();
        let mut at = |now, end| rests.wait_ms(now, Lsn::new(end));
        assert_eq!(at(1_000, 100), 0, "the first look says nothing");
        assert_eq!(at(1_007, 200), 0, "it has worked too little");
        assert_eq!(at(1_008, 200), REST_MS, "others wrote");
        assert_eq!(at(1_010, 300), REST_MS - 2, "another thread rests as long");
        assert_eq!(at(1_008 + REST_MS, 400), 0);
        assert_eq!(at(1_008 + REST_MS + WORK_MS, 400), REST_MS, "they wrote since");
        let mut now = 1_008 + 2 * REST_MS + WORK_MS;
        for _ in 0..100 {
            assert_eq!(at(now, 400), 0, "nobody writes");
            now += 3;
        }
    }
}
