//! Analysis: the unit table from the last complete keypoint on (ARIES, Mohan et al. 1992).

use crate::keypoint::Table;
use crate::restore::note::believes;
use siding_wal::format::{
    Decision, DirectoryChunk, Discipline, Kind, MarkPayload, RecordHeader, RestoredNote, wide,
};
use siding_wal::read::{Step, Survey, Verdict};
use siding_wal::stream::Bounds;
use siding_wal::units::{Unit, Units};
use siding_wal::write::{COUNTER_BITS, Commits};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;

/// What the scan has rebuilt so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Analysis {
    /// Units that live.
    pub(crate) units: Units,
    /// What COMMITs need of the log below them.
    pub(crate) commits: Commits,
    /// The same of COMMITs behind the KP_BEGIN that was met last.
    since: Commits,
    /// Oldest position, last complete keypoint, redo position.
    pub(crate) bounds: Bounds,
    /// Where the first chunk of each segment's directory stands.
    pub(crate) directories: BTreeMap<u64, Lsn>,
    /// The last time a MARK carried.
    pub(crate) marked_ms: u64,
    /// The largest block of unit ids among the units that were seen.
    pub(crate) unit_block: u32,
    /// Where the scan began.
    pub(crate) scanned_from: Lsn,
    /// Bytes the scan read.
    pub(crate) scanned_bytes: u64,
    /// Records the scan read.
    pub(crate) scanned_records: u64,
    /// The keypoint being collected.
    table: Table,
    /// What a restore noted.
    restored: Option<RestoredNote>,
    repeats: bool,
    segment_size: u64,
}

/// What analysis starts from: the table of the last complete keypoint, if there is one. A scan of
/// a log that was trimmed begins nowhere else: of units that have moved a keypoint alone may know.
pub(crate) fn base(found: &mut Survey, note: Option<&RestoredNote>) -> Result<Analysis> {
    let identity = found.identity;
    if let Some(note) = note {
        put_right(found, note)?;
    }
    let mut analysis = Analysis {
        repeats: identity.is_some_and(|id| id.discipline == Discipline::RepeatHistory),
        segment_size: identity.map_or(1, |id| id.segment_size.max(1)),
        // What was put back beside a restored log holds all that was committed below.
        bounds: Bounds {
            oldest: found.oldest,
            redo: note.map_or(Lsn::ZERO, |note| note.redo),
            ..Bounds::default()
        },
        restored: note.cloned(),
        ..Analysis::default()
    };
    // Before the first record is applied: the table notes which segment each lies in.
    analysis.units.set_segment_size(analysis.segment_size);
    if let Some(note) = note {
        analysis.units.restored(note.keypoint_begin, note.target);
    }
    let named = !found.keypoint.0.is_zero();
    if !named && found.segments.oldest_number().is_none_or(|oldest| oldest == 0) {
        return Ok(analysis);
    }
    match first_keypoint(found, note)? {
        Ok(complete) => {
            // Nobody named the one that trimming went by.
            found.keypoint = (complete.begin, complete.end);
            analysis.begin_with(complete);
            Ok(analysis)
        }
        // What is wrong there, the scan for what lives will say.
        Err(_) if !named => Ok(analysis),
        Err(verdict) => Err(verdict.refusal().unwrap_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the last keypoint is not whole")
                .at(found.keypoint.0)
                .advise("restore the directory from a copy")
        })),
    }
}

/// What the headers of a copied log say of trimming and keypoints was true where they were
/// written, and perhaps is not here.
fn put_right(found: &mut Survey, note: &RestoredNote) -> Result<()> {
    if found.identity.is_some_and(|identity| identity.log_id != note.log_id) {
        let what = "the note of the restore is of another log";
        return Err(Error::new(ErrorKind::ForeignFile, what)
            .advise("put the files of one log into a directory, and of no other"));
    }
    found.incarnation = found.incarnation.max(note.incarnation);
    let first = found.segments.oldest_number().unwrap_or(0);
    let slot = found.control.as_ref().map_or(Lsn::ZERO, |slot| slot.oldest);
    found.oldest = found.segments.first_lsn(first).max(slot);
    if !believes(Some(note), found.keypoint.0) {
        let here = found.segments.containing(note.keypoint_begin).is_some();
        let stop = (note.keypoint_begin, note.keypoint_end);
        found.keypoint = if here { stop } else { (Lsn::ZERO, Lsn::ZERO) };
    }
    Ok(())
}

/// The first complete keypoint to be believed that restart's scan meets; else how the scan ends.
fn first_keypoint(
    found: &Survey,
    note: Option<&RestoredNote>,
) -> Result<std::result::Result<Table, Verdict>> {
    let mut scan = found.scan()?;
    let mut table = Table::default();
    loop {
        match scan.next_batch()? {
            Step::Batch(_) => {
                for (lsn, header, payload) in scan.records() {
                    table.collect(lsn, &header, payload);
                    if let Some(complete) = table.take_complete()
                        && believes(note, complete.begin)
                    {
                        return Ok(Ok(complete));
                    }
                }
            }
            Step::Limit => {}
            Step::End(verdict) => return Ok(Err(verdict)),
        }
    }
}

impl Analysis {
    /// Nothing is known of what lives: the last keypoint cannot be read.
    pub(crate) fn unknown(found: &Survey) -> Self {
        let bounds = Bounds {
            oldest: found.oldest,
            keypoint_begin: found.keypoint.0,
            keypoint_end: found.keypoint.1,
            redo: Lsn::ZERO,
        };
        Self { bounds, ..Self::default() }
    }

    fn begin_with(&mut self, table: Table) {
        self.note_keypoint(&table);
        for entry in table.units {
            self.units.restore(entry);
        }
    }

    /// A complete keypoint's table replaces what older records said of COMMITs: those below its
    /// redo position need nothing any more, and what they needed may be gone.
    fn note_keypoint(&mut self, table: &Table) {
        self.bounds.keypoint_begin = table.begin;
        self.bounds.keypoint_end = table.end;
        self.bounds.redo = self.bounds.redo.max(table.redo);
        self.bounds.oldest = self.bounds.oldest.max(table.oldest);
        self.units.redo_carried(self.bounds.redo, Lsn::ZERO);
        for segment in table.segments.iter().filter(|segment| !segment.directory.is_zero()) {
            self.directories.insert(segment.number, segment.directory);
        }
        self.commits = Commits::default();
        self.commits.redo_carried(self.bounds.redo);
        for segment in table.segments.iter().filter(|segment| segment.commit_low < Lsn::MAX) {
            let behind = segment.number.saturating_add(1).saturating_mul(self.segment_size);
            self.commits.note(table.begin.min(Lsn::new(behind)), segment.commit_low);
        }
        self.commits.append(&self.since);
    }

    /// Applies the record that stands at `lsn`.
    pub(crate) fn apply(&mut self, lsn: Lsn, header: &RecordHeader, payload: &[u8]) -> Result<()> {
        self.scanned_records = self.scanned_records.saturating_add(1);
        let block = u32::try_from(header.unit >> COUNTER_BITS).unwrap_or(0);
        self.unit_block = self.unit_block.max(block);
        match header.kind {
            Kind::Commit => {
                let decision = Decision::decode(payload).map_err(|malformed| {
                    Error::new(ErrorKind::Corrupt, "a COMMIT holds an impossible value")
                        .at(lsn)
                        .caused_by(malformed)
                })?;
                let next = lsn.plus(wide(header.padded_len()));
                // Of a unit whose fork records do not count the table knows more than COMMIT.
                let low = self.units.get(header.unit).map_or(Lsn::MAX, Unit::live_low);
                self.commits.note(next, decision.oldest.min(low));
                self.since.note(next, decision.oldest.min(low));
            }
            Kind::Directory => {
                // A hint: one that cannot be read is not there.
                if let Ok(chunk) = DirectoryChunk::decode(payload)
                    && chunk.index == 0
                {
                    self.directories.insert(chunk.segment, lsn);
                }
            }
            Kind::Mark | Kind::Close => {
                if let Ok(mark) = MarkPayload::decode(payload) {
                    self.marked_ms = self.marked_ms.max(mark.time_ms);
                    if believes(self.restored.as_ref(), lsn) {
                        self.bounds.oldest = self.bounds.oldest.max(mark.oldest);
                    }
                }
            }
            _ => {
                if header.kind == Kind::KeypointBegin {
                    self.since = Commits::default();
                }
                self.table.collect(lsn, header, payload);
                if let Some(complete) = self.table.take_complete()
                    && believes(self.restored.as_ref(), complete.begin)
                {
                    self.note_keypoint(&complete);
                }
            }
        }
        self.units.replay(lsn, header, payload, self.repeats);
        Ok(())
    }

    /// The smallest position that committed units pin; [`Lsn::MAX`] under repeat history.
    pub(crate) fn pinned_by_commits(&self) -> Lsn {
        if self.repeats { Lsn::MAX } else { self.commits.need(self.bounds.redo) }
    }

    /// Whether the live segments reach back to everything that is needed.
    pub(crate) fn whole(&self, found: &Survey) -> Result<()> {
        let Some(first) = found.segments.oldest_number() else { return Ok(()) };
        let reach = found.segments.first_lsn(first);
        let scanned_all = self.bounds.keypoint_begin.is_zero();
        if scanned_all && first > 0 {
            let what = "segments are missing at the start, and no keypoint makes up for them";
            return Err(Error::new(ErrorKind::Missing, what)
                .at(reach)
                .advise("restore the directory from a copy"));
        }
        // Nothing at or above the redo position was ever trimmed, whatever is there now.
        let live = self.units.low().map_or(Lsn::MAX, |(low, _)| low);
        let need = live.min(self.pinned_by_commits()).min(self.bounds.redo);
        if need < reach {
            let missing = reach.since(need).div_ceil(self.segment_size.max(1));
            let what = format!("{missing} segments that are still needed are missing");
            return Err(Error::new(ErrorKind::Missing, what)
                .at(need)
                .advise("restore the missing files from a copy of the directory"));
        }
        Ok(())
    }

    /// The number of records, for reports.
    pub(crate) fn live(&self) -> u64 {
        wide(self.units.len())
    }
}
