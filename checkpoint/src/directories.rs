//! Segment directories: which live units hold a sealed segment.
//!
//! The directory of a segment is written behind its seal, as ordinary records in chunks, and is a
//! hint: what it says of a unit is believed once the record it names agrees. One that is missing
//! or torn is made anew by a scan of its segment; it is never corruption.

use crate::engine::Engine;
use crate::steps::{Steps, scan_from};
use siding_wal::format::{DirectoryChunk, DirectoryEntry, Kind, wide};
use siding_wal::read::{Runs, Segments};
use siding_wal::stream::RecordBuf;
use siding_wal::{Lsn, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Records that are looked at for the rest of a directory behind its first chunk.
const LOOKED_AT: u32 = 100_000;

/// The directories of the retained segments.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    /// Where the first chunk of each directory stands.
    written: BTreeMap<u64, Lsn>,
    /// What the directories say, as far as somebody asked.
    known: BTreeMap<u64, Arc<Vec<DirectoryEntry>>>,
    /// Segments from this one on were written in this open from their start: the unit table
    /// knows what is in them.
    complete_from: u64,
    /// The next segment whose directory is to be written.
    next: u64,
}

impl Directories {
    /// What an open found; `first` is the first segment that only this open writes to.
    pub(crate) fn new(written: BTreeMap<u64, Lsn>, first: u64) -> Self {
        Self { written, known: BTreeMap::new(), complete_from: first, next: first }
    }

    /// Where the directory of a segment stands; zero if it is not written.
    pub(crate) fn lsn_of(&self, segment: u64) -> Lsn {
        self.written.get(&segment).copied().unwrap_or(Lsn::ZERO)
    }

    /// Forgets segments below `oldest`.
    fn trimmed(&mut self, oldest: u64) {
        self.written = self.written.split_off(&oldest);
        self.known = self.known.split_off(&oldest);
    }
}

impl Engine {
    /// Writes the directories of segments that were sealed since this was called last.
    ///
    /// Crash between the chunks of one: it is torn, and is made by a scan if somebody asks.
    pub(crate) fn write_directories(&self) -> Result<()> {
        let stream = self.stream();
        let mut directories = self.directories();
        loop {
            let segment = directories.next;
            let entries = {
                let core = stream.core();
                if core.writer.placing() <= segment {
                    return Ok(());
                }
                core.units.directory(segment)
            };
            // The reserve of a full log is not for hints.
            if stream.core().in_reserve() {
                return Ok(());
            }
            let settings = stream.settings();
            let limit = (64 << 10).min(settings.max_record).min(settings.ring_size / 40);
            let per_chunk = (limit.saturating_sub(20) / 40).max(1);
            let chunks = entries.len().div_ceil(per_chunk).max(1);
            for index in 0..chunks {
                let from = index.saturating_mul(per_chunk);
                let units = entries.iter().skip(from).take(per_chunk).copied().collect();
                let (index, chunks) = (count(index), count(chunks));
                let chunk = DirectoryChunk { segment, index, chunks, units };
                let placed = stream.append_of_log(Kind::Directory, &chunk.encode())?;
                if index == 0 {
                    directories.written.insert(segment, placed.lsn);
                }
            }
            stream.core().units.forget_spans(segment);
            directories.known.insert(segment, Arc::new(entries));
            directories.next = segment.saturating_add(1);
        }
    }

    /// Which units hold each sealed segment, oldest segment first. Where a directory would have to
    /// be made by a scan the list ends, at or above `free_below`, or after so many scans.
    pub(crate) fn sealed(
        &self,
        free_below: Lsn,
        mut scans: u64,
    ) -> Result<Vec<(u64, Arc<Vec<DirectoryEntry>>)>> {
        let stream = self.stream();
        let segments = stream.segments();
        let oldest = segments.oldest_number().unwrap_or(0);
        let open = stream.core().writer.placing();
        let mut directories = self.directories();
        directories.trimmed(oldest);
        let mut all = Vec::new();
        for segment in oldest..open {
            let entries = match directories.known.get(&segment) {
                Some(known) => Arc::clone(known),
                // Not written yet, or not for want of room: the unit table knows.
                None if segment >= directories.next.max(directories.complete_from) => {
                    Arc::new(stream.core().units.directory(segment))
                }
                None => {
                    let lsn = directories.lsn_of(segment);
                    let limit = stream.core().writer.durable();
                    let lives = |unit| stream.core().units.get(unit).is_some();
                    let entries = match written(&segments, limit, segment, lsn)? {
                        Some(entries) => entries,
                        None if scans == 0 || segment >= segments.number_of(free_below) => break,
                        None => {
                            scans -= 1;
                            scan_for_directory(&segments, limit, segment, &lives)?
                        }
                    };
                    let entries = Arc::new(entries);
                    directories.known.insert(segment, Arc::clone(&entries));
                    entries
                }
            };
            all.push((segment, entries));
        }
        Ok(all)
    }
}

/// The directory of a sealed segment, for one who may read below `limit`: as it was written at
/// `lsn`, else made by a scan of the segment. `lives` says whether a unit has an entry.
///
/// # Errors
///
/// What the scan says.
pub(crate) fn directory(
    segments: &Segments,
    limit: Lsn,
    segment: u64,
    lsn: Lsn,
    lives: &dyn Fn(u64) -> bool,
) -> Result<Vec<DirectoryEntry>> {
    match written(segments, limit, segment, lsn)? {
        Some(entries) => Ok(entries),
        None => scan_for_directory(segments, limit, segment, lives),
    }
}

/// Reads a directory whose first chunk stands at `lsn`; none if it is not there, or not whole.
fn written(
    segments: &Segments,
    limit: Lsn,
    segment: u64,
    lsn: Lsn,
) -> Result<Option<Vec<DirectoryEntry>>> {
    if lsn.is_zero() || lsn >= limit {
        return Ok(None);
    }
    if let Some(entries) = read_small_directory(segments, segment, lsn) {
        return Ok(Some(entries));
    }
    let scan = scan_from(segments, lsn)?;
    let mut steps = Steps::new(scan.limit(limit), lsn);
    let (mut entries, mut next) = (Vec::new(), 0);
    for _ in 0..LOOKED_AT {
        let Some((_, header, payload)) = steps.step()? else { return Ok(None) };
        if header.kind != Kind::Directory {
            continue;
        }
        match DirectoryChunk::decode(payload) {
            Ok(chunk) if chunk.segment == segment && chunk.index == next => {
                entries.extend(chunk.units);
                next += 1;
                if next >= chunk.chunks {
                    return Ok(Some(entries));
                }
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The same of a directory that is one chunk, as most are: a scan would read a MiB to find it.
fn read_small_directory(
    segments: &Segments,
    segment: u64,
    lsn: Lsn,
) -> Option<Vec<DirectoryEntry>> {
    // Any incarnation that the files name may have written it.
    let newest = segments.iter().map(|segment| segment.header.incarnation).max()?;
    let mut buf = RecordBuf::expecting(Runs::default());
    let header = buf.read(segments, newest, lsn).ok()?;
    let chunk = DirectoryChunk::decode(buf.payload()).ok()?;
    let whole = header.kind == Kind::Directory && (chunk.index, chunk.chunks) == (0, 1);
    (whole && chunk.segment == segment).then_some(chunk.units)
}

/// Makes the directory of a segment from its records.
fn scan_for_directory(
    segments: &Segments,
    limit: Lsn,
    segment: u64,
    lives: &dyn Fn(u64) -> bool,
) -> Result<Vec<DirectoryEntry>> {
    let (from, to) = (segments.first_lsn(segment), segments.first_lsn(segment + 1));
    let limit = limit.min(to);
    let scan = scan_from(segments, from)?;
    let mut steps = Steps::new(scan.limit(limit), from);
    let mut found: HashMap<u64, DirectoryEntry> = HashMap::new();
    while let Some((lsn, header, _)) = steps.step()? {
        if lsn >= to {
            break;
        }
        if header.unit == 0 || header.kind == Kind::Fork {
            continue;
        }
        let bytes = wide(header.padded_len());
        let entry = found.entry(header.unit).or_insert(DirectoryEntry {
            unit: header.unit,
            oldest: lsn,
            newest: lsn,
            count: 0,
            bytes: 0,
        });
        entry.newest = lsn;
        entry.count = entry.count.saturating_add(1);
        entry.bytes = entry.bytes.saturating_add(bytes);
    }
    let mut entries: Vec<DirectoryEntry> =
        found.into_values().filter(|entry| lives(entry.unit)).collect();
    entries.sort_unstable_by_key(|entry| entry.unit);
    Ok(entries)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
