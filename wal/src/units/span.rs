//! What a unit wrote to a segment: the directory of a sealed segment is made of it.

use super::Units;
use crate::Lsn;
use crate::format::DirectoryEntry;

/// A unit's share of a segment, as far as it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    segment: u64,
    oldest: Lsn,
    newest: Lsn,
    count: u64,
    bytes: u64,
}

/// Takes note of a record.
pub(super) fn note(spans: &mut Vec<Span>, lsn: Lsn, next: Lsn, segment_size: u64) {
    let segment = lsn.get().checked_div(segment_size).unwrap_or(0);
    let bytes = next.since(lsn);
    match spans.last_mut().filter(|last| last.segment == segment) {
        Some(last) => {
            last.newest = lsn;
            last.count = last.count.saturating_add(1);
            last.bytes = last.bytes.saturating_add(bytes);
        }
        None => spans.push(Span { segment, oldest: lsn, newest: lsn, count: 1, bytes }),
    }
}

impl Units {
    /// Segments have this many bytes.
    pub fn set_segment_size(&mut self, bytes: u64) {
        self.segment_size = bytes;
    }

    /// What live units wrote to `segment` since the table was made, lowest number first.
    #[must_use]
    pub fn directory(&self, segment: u64) -> Vec<DirectoryEntry> {
        let entries = self.live.iter().filter_map(|(unit, entry)| {
            let span = entry.spans.iter().find(|span| span.segment == segment)?;
            let Span { oldest, newest, count, bytes, .. } = *span;
            Some(DirectoryEntry { unit: *unit, oldest, newest, count, bytes })
        });
        let mut entries: Vec<DirectoryEntry> = entries.collect();
        entries.sort_unstable_by_key(|entry| entry.unit);
        entries
    }

    /// Forgets what was written to `segment` and those before it: their directories are written.
    pub fn forget_spans(&mut self, segment: u64) {
        for entry in self.live.values_mut() {
            entry.spans.retain(|span| span.segment > segment);
        }
    }
}
