//! An archive and the backups in it are checked without being restored: every file is read, its
//! checksums compared, every batch and record of the log verified, and the plan asked what can be
//! reached with what is sound.

use super::index::{Compression, SegmentIndex};
use super::inventory::Inventory;
use super::pack::{read_segment, unpack};
use super::scan::Indexer;
use crate::backup::{blocks, verify_files};
use crate::restore::{
    BackupId, Gap, Piece, Planner, Reachable, Seen, Source, Target, Wanted, plan,
};
use crate::sink::Sink;
use siding_wal::format::{EXTENT_FILE_HEADER_LEN, ExtentFileHeader, LogId, wide};
use siding_wal::{Error, ErrorKind, Result};
use std::collections::BTreeSet;

/// What an archive comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Segments that are whole.
    pub segments: u64,
    /// Bytes of their log.
    pub bytes: u64,
    /// Backups that can be restored to their ends.
    pub backups: Vec<BackupId>,
    /// What is damaged or missing, by name, each with what is wrong.
    pub findings: Vec<(String, String)>,
    /// Log that is missing though there is older.
    pub gaps: Vec<Gap>,
    /// What can be restored, of each history with a backup.
    pub reachable: Vec<Reachable>,
    /// Shipping or a backup under way, or broken off.
    pub unfinished: Vec<String>,
    /// What is not Siding's.
    pub strangers: Vec<String>,
}

impl ArchiveReport {
    /// Whether nothing is wrong; what is unfinished or a stranger is not.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.gaps.is_empty()
    }
}

/// Reads all that a sink holds and proves what can be restored of it. Writes nothing. `told` hears
/// each name once it was looked at.
///
/// Costs a read of everything.
///
/// # Errors
///
/// The sink cannot be listed. What is wrong with what it holds is no error, but a finding.
pub fn verify_archive(sink: &dyn Sink, told: &dyn Fn(&str)) -> Result<ArchiveReport> {
    let found = Inventory::of(sink)?;
    let mut report = ArchiveReport {
        findings: found.damaged.clone(),
        unfinished: found.unfinished.clone(),
        strangers: found.strangers.clone(),
        ..ArchiveReport::default()
    };
    let mut sound = Vec::new();
    for index in found.segments {
        let name = index.segment_name();
        match verify_segment(sink, &index) {
            Ok(()) => {
                report.segments = report.segments.saturating_add(1);
                report.bytes = report.bytes.saturating_add(index.plain.len);
                sound.push(Piece { index, source: Source::Archive });
            }
            Err(error) => report.findings.push((name.clone(), error.to_string())),
        }
        told(&name);
    }
    for extents in &found.extents {
        let name = extents.name();
        let read = verify_extents(sink, &name, extents);
        report.findings.extend(read.err().map(|error| (name.clone(), error.to_string())));
        told(&name);
    }
    let backups = found.backups.iter().map(|(_, manifest)| manifest.clone()).collect();
    let seen = Seen { backups, pieces: sound };
    for (name, manifest) in &found.backups {
        let end = Target::BackupEnd(Some(manifest.id));
        let wanted = Wanted { backup: Some(manifest.id), ..Wanted::from(end) };
        let planned = plan(&seen, &wanted).map(drop).map_err(Error::from);
        match planned.and_then(|()| verify_files(sink, manifest)) {
            Ok(()) => report.backups.push(manifest.id),
            Err(error) => report.findings.push((name.clone(), error.to_string())),
        }
        told(name);
    }
    reach(&seen, &mut report);
    Ok(report)
}

/// What can be had of each history, and what is missing.
fn reach(seen: &Seen, report: &mut ArchiveReport) {
    let logs: BTreeSet<LogId> = seen.pieces.iter().map(|it| it.index.log_id).collect();
    for id in logs {
        let pieces: Vec<Piece> =
            seen.pieces.iter().filter(|it| it.index.log_id == id).cloned().collect();
        let backups = seen.backups.iter().filter(|it| it.log_id == id).collect();
        let planner = Planner::new(&pieces, backups, id);
        report.gaps.extend(super::gaps_of(planner.histories()));
        let branches = planner.histories().branches();
        let ways = branches.iter().filter_map(|branch| planner.way(branch, None, None));
        report.reachable.extend(ways.map(|way| way.reachable));
    }
}

/// Verifies a segment, and that its index says what is in it.
pub(crate) fn verify_segment(sink: &dyn Sink, index: &SegmentIndex) -> Result<()> {
    let told = index.joints.iter().map(|it| it.end).collect();
    let mut indexer = Indexer::new(Some(index.log_id), told);
    let name = index.segment_name();
    read_segment(sink, index, &mut |block| indexer.feed(block).map_err(|it| it.file(&name)))?;
    let read = indexer.finish(index.sealed)?;
    if index.compression != Compression::None {
        // Not every bit of a frame is in what comes out of it.
        blocks(sink, &name, (&name, &index.stored), &|_| {}, &mut |_, _| Ok(()))?;
    }
    let (stored, compression) = (index.stored.clone(), index.compression);
    if (SegmentIndex { stored, compression, ..read }) == *index {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "the index does not say what the segment holds")
        .file(index.index_name())
        .advise("ship the segment again, or use another copy of the archive"))
}

fn verify_extents(sink: &dyn Sink, name: &str, what: &super::ArchivedExtents) -> Result<()> {
    let (mut len, mut header) = (0_u64, None);
    unpack(sink, name, what.compression, &mut |block| {
        if len == 0 {
            let head = block.get(..EXTENT_FILE_HEADER_LEN).unwrap_or_default();
            header = ExtentFileHeader::decode(head).ok();
        }
        len = len.saturating_add(wide(block.len()));
        Ok(())
    })?;
    let ours = header.is_some_and(|it| it.log_id == what.log_id && it.number == what.number);
    if ours && len == what.len {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "the extent file is damaged, or is another one")
        .file(name)
        .advise("use another copy of the archive"))
}
