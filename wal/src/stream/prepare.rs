//! Segments ahead of use: zero-filled and synced, or recycled; a name, a blank header, and the
//! directory synced.
//!
//! A new file: 1. create, 2. zeros, 3. sync, 4. sync the directory. A recycled one: 1. its header
//! block is zeroed, durably, 2. it is renamed, 3. the directory is synced. A crash anywhere
//! leaves a blank or a short file above the live segments, or a leftover below them; both are
//! prepared anew. No record is placed in a segment before its last step is done.
//!
//! The first segment of an open that starts without a prepared one is filled in steps, ahead of
//! the writer. A failure here is not a failed log: records stop at what is prepared. But a sync
//! of the open segment is one of its records too, and if it fails, the log has failed.
//!
//! Of what is prepared, ordinary records leave the reserve ([`Core::reserve`]) free, and behind
//! it one prepared segment is kept for the next unclean open alone.
//!
//! [`Core::reserve`]: crate::write::Core::reserve

use super::flush::failure;
use super::{Stream, lock};
use crate::disk::{AlignedBuf, LogFile};
use crate::format::{segment_file_name, wide};
use crate::read::Segments;
use crate::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

/// Bytes zero-filled at a time.
const STEP: u64 = 1 << 20;

/// How far ahead of the writer a segment is filled in steps, in bytes.
pub const AHEAD: u64 = 4 << 20;

/// Trimmed segments kept for recycling.
const RECYCLED: usize = 4;

/// What stands ready behind the open segment.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The number of the last segment that exists, prepared or open.
    pub last: u64,
    /// Bytes of the open segment that are filled.
    pub filled: u64,
    /// Prepared segments, whole and synced, in a row behind the open one.
    pub ready: BTreeMap<u64, Arc<dyn LogFile>>,
    /// Files of trimmed segments, to be used again.
    pub free: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Preparer {
    now: Prepared,
    /// The open segment, while it is filled in steps.
    open: u64,
    /// There was no room for more.
    refused: bool,
}

impl Preparer {
    pub(super) fn new(now: Prepared) -> Self {
        let ready = wide(now.ready.len());
        Self { open: now.last.saturating_sub(ready), refused: false, now }
    }
}

impl Stream {
    /// Whether more should be prepared: less than the reserve and a step lies ahead.
    #[must_use]
    pub fn needs_preparing(&self) -> bool {
        let ahead = AHEAD.min(self.settings.segment_size);
        let hard = self.hard_limit(&lock(&self.preparer));
        let core = self.core();
        hard < core.writer.end().plus(core.reserve()).plus(ahead)
    }

    fn hard_limit(&self, preparer: &Preparer) -> Lsn {
        let size = self.settings.segment_size;
        let first = |number: u64| Lsn::new(number.saturating_mul(size));
        if preparer.now.ready.is_empty() {
            let filled =
                if preparer.now.last == preparer.open { preparer.now.filled } else { size };
            return first(preparer.now.last).plus(filled.min(size));
        }
        // The last one is for the next unclean open alone.
        first(preparer.now.last)
    }

    pub(super) fn update_limits(&self) {
        // Held to the end, so that of two threads the one that saw more has the last word.
        let preparer = lock(&self.preparer);
        let segments = self.segments();
        let hard = self.hard_limit(&preparer);
        let spare = self.may_have_spare(&preparer, &segments);
        let mut core = self.core();
        core.set_terms(self.settings.write_unit, segments.len());
        core.set_hard_limit(hard, !spare);
    }

    /// Whether a spare for the next unclean open is there, or may be made. Without one new work
    /// would be written into the spare that this open took, and each crash would take another
    /// segment beyond `max_log_bytes`, or find no room on a full disk to open the log at all.
    fn may_have_spare(&self, preparer: &Preparer, segments: &Segments) -> bool {
        if preparer.refused && preparer.now.ready.is_empty() {
            return false;
        }
        let Some(max) = self.settings.max_log_bytes else { return true };
        let oldest = segments.oldest_number().unwrap_or(preparer.now.last);
        let files = preparer.now.last.saturating_sub(oldest).saturating_add(2);
        let more = files.saturating_mul(self.settings.segment_size);
        !preparer.now.ready.is_empty() || more <= max
    }

    /// Prepares one step more: a part of the open segment, or one segment. One at a time; the
    /// flusher is never kept waiting for it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LogFull`] at `max_log_bytes` or on a full disk, else what the disk says. The
    /// log goes on in what is prepared.
    pub fn prepare_step(&self, paced: bool) -> Result<()> {
        self.prepare_next(lock(&self.preparing), paced)
    }

    fn prepare_next(&self, one_at_a_time: MutexGuard<'_, ()>, paced: bool) -> Result<()> {
        let (last, open, filled) = {
            let preparer = lock(&self.preparer);
            (preparer.now.last, preparer.open, preparer.now.filled)
        };
        let result = if last == open && filled < self.settings.segment_size {
            self.fill_open(open, filled)
        } else {
            self.prepare_segment(last.saturating_add(1), paced)
        };
        let refused = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::LogFull);
        lock(&self.preparer).refused = refused;
        self.update_limits();
        drop(one_at_a_time);
        result
    }

    fn fill_open(&self, open: u64, from: u64) -> Result<()> {
        let name = segment_file_name(open);
        let to = from.saturating_add(STEP).min(self.settings.segment_size);
        if let Some(segment) = self.segments().get(open) {
            fill(&*segment.file, from, to, &|| {}).map_err(|cause| full(&name, cause))?;
            // Batches that no sync has covered may lie in the same file. Who waits for them must
            // not go by a sync of his own that succeeds only because this one failed before it.
            let in_the_way = lock(&self.filling);
            if let Err(cause) = segment.file.sync() {
                let error = failure("the open segment cannot be synced", cause).file(&name);
                if !crate::seeded!(FillSyncIgnored) {
                    self.fail(error.duplicate());
                }
                return Err(error);
            }
            drop(in_the_way);
        }
        // Nothing is prepared behind it, so it is still the open one.
        lock(&self.preparer).now.filled = to;
        Ok(())
    }

    fn prepare_segment(&self, number: u64, paced: bool) -> Result<()> {
        let recycle = self.take_free(number)?;
        let recycled = recycle.map(|old| self.recycle(old, number));
        let file = match recycled {
            Some(Ok(Some(file))) => file,
            _ => self.create_segment(number, paced)?,
        };
        let mut preparer = lock(&self.preparer);
        preparer.now.ready.insert(number, file);
        preparer.now.last = number;
        Ok(())
    }

    /// A trimmed segment that can become segment `number`; none if a new file may be made.
    fn take_free(&self, number: u64) -> Result<Option<u64>> {
        let size = self.settings.segment_size;
        let oldest = self.segments().oldest_number().unwrap_or(number);
        let files = number.saturating_sub(oldest).saturating_add(1);
        let max = self.settings.max_log_bytes;
        loop {
            let mut preparer = lock(&self.preparer);
            // One that is recycled was counted before.
            let others = wide(preparer.now.free.len()).saturating_sub(1);
            let total = files.saturating_add(others).saturating_mul(size);
            let free = preparer.now.free.pop();
            drop(preparer);
            match (max.filter(|max| total > *max), free) {
                (None, free) => return Ok(free),
                // What an earlier failure left over the limit is of no use.
                (Some(_), Some(surplus)) if others > 0 => {
                    let _ = self.disk.remove(&segment_file_name(surplus));
                }
                (Some(max), free) => {
                    lock(&self.preparer).now.free.extend(free);
                    let what = format!("the log may not grow beyond max_log_bytes ({max})");
                    return Err(Error::new(ErrorKind::LogFull, what).advise(
                        "see what retains it (why_retained), report a redo position, \
                         or raise the limit",
                    ));
                }
            }
        }
    }

    /// Gives a trimmed segment a new number. None: it cannot be used.
    fn recycle(&self, old: u64, number: u64) -> io::Result<Option<Arc<dyn LogFile>>> {
        let (from, to) = (segment_file_name(old), segment_file_name(number));
        let file = self.disk.open(&from)?;
        if file.len()? != self.settings.segment_size {
            self.disk.remove(&from)?;
            return Ok(None);
        }
        let unit = crate::format::size(self.settings.write_unit);
        let zeros = AlignedBuf::zeroed(unit.max(4096));
        file.write_at(0, &[zeros.as_slice()], !crate::seeded!(RecycledHeaderUnsynced))?;
        self.disk.rename(&from, &to)?;
        let synced = match crate::seeded!(NoDirectorySync) {
            true => Ok(()),
            false => self.disk.sync_dir(),
        };
        if synced.is_err() && crate::seeded!(RecycledNameUnsynced) {
            return Ok(Some(file));
        }
        synced.inspect_err(|_| {
            // Which name it has now nobody knows, and asking again would not tell: no record
            // may go into it, under either. A removal that fails is tried again below.
            let _ = self.disk.remove(&to);
        })?;
        Ok(Some(file))
    }

    fn create_segment(&self, number: u64, paced: bool) -> Result<Arc<dyn LogFile>> {
        let name = segment_file_name(number);
        // Without threads the caller would wait for itself.
        let paced = paced && self.settings.threads;
        let pause = || {
            if paced && !self.hurry.load(Ordering::Relaxed) && !self.is_stopping() {
                std::thread::sleep(std::time::Duration::from_millis(4));
            }
        };
        // A file that stands there was begun by this open, and a sync of it or its name failed.
        let gone = match self.disk.remove(&name) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        };
        let size = self.settings.segment_size;
        let result = gone.and_then(|()| create_filled(&*self.disk, &name, size, &pause));
        result.map_err(|cause| {
            // What was begun is of no use to anybody; a file that stays is found at the next open.
            let _ = self.disk.remove(&name);
            full(&name, cause)
        })
    }

    /// Prepares until records of `class` fit again; called by whoever needs the room.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LogFull`] if nothing can be freed either.
    pub(super) fn make_space(&self, beyond: Lsn) -> Result<()> {
        self.hurry.store(true, Ordering::Relaxed);
        if let Some(upkeep) = self.upkeep() {
            upkeep.catch_up();
        }
        let mut result = self.prepare_beyond(beyond);
        self.hurry.store(false, Ordering::Relaxed);
        if result.is_err() && self.upkeep().is_some_and(|upkeep| upkeep.make_room()) {
            result = self.prepare_beyond(beyond);
        }
        result
    }

    /// One step, unless another thread has done it meanwhile: many find at once that there is no
    /// room, and one segment is enough for all.
    fn prepare_beyond(&self, beyond: Lsn) -> Result<()> {
        let one_at_a_time = lock(&self.preparing);
        if self.core().hard_limit() > beyond {
            return Ok(());
        }
        self.prepare_next(one_at_a_time, false)
    }

    pub(super) fn take_prepared(&self, number: u64) -> Option<Arc<dyn LogFile>> {
        let mut preparer = lock(&self.preparer);
        let file = preparer.now.ready.remove(&number)?;
        preparer.open = number;
        preparer.now.filled = self.settings.segment_size;
        Some(file)
    }

    /// Files of trimmed segments: a few are kept to be used again, the rest is removed.
    pub(super) fn free(&self, numbers: impl Iterator<Item = u64>) {
        let mut surplus = Vec::new();
        {
            let free = &mut lock(&self.preparer).now.free;
            for number in numbers {
                if free.len() < RECYCLED { free.push(number) } else { surplus.push(number) }
            }
        }
        // Not under the lock: the flusher needs it when it opens a segment.
        for number in surplus {
            // A leftover that stays is removed by the next open.
            let _ = self.disk.remove(&segment_file_name(number));
        }
    }
}

/// Creates a blank segment of `len` bytes: created, filled, synced, the directory synced.
///
/// # Errors
///
/// What the disk says.
pub fn create_filled(
    disk: &dyn crate::disk::Disk,
    name: &str,
    len: u64,
    pause: &dyn Fn(),
) -> io::Result<Arc<dyn LogFile>> {
    let file = match disk.create(name) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => disk.open(name)?,
        other => other?,
    };
    fill(&*file, 0, len, pause)?;
    file.sync()?;
    if !crate::seeded!(NoDirectorySync) {
        disk.sync_dir()?;
    }
    Ok(file)
}

fn fill(file: &dyn LogFile, from: u64, to: u64, pause: &dyn Fn()) -> io::Result<()> {
    let step = to.saturating_sub(from).min(STEP);
    let zeros = AlignedBuf::zeroed(usize::try_from(step).unwrap_or_default());
    let mut at = from;
    while at < to {
        let len = usize::try_from((to - at).min(STEP)).unwrap_or_default();
        file.write_at(at, &[zeros.get(..len).unwrap_or_default()], false)?;
        at = at.saturating_add(wide(len));
        pause();
    }
    Ok(())
}

fn full(name: &str, cause: io::Error) -> Error {
    Error::io("the next segment cannot be prepared", cause)
        .file(name)
        .advise("free some room on the disk; the log goes on in what is prepared")
}
