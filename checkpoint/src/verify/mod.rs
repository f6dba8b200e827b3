//! Verification of a whole log: every file, every header, every batch, every record, every chain
//! and keypoint that can be reached. Nothing is written, and what is wrong stops nothing: behind
//! a finding it goes on where the next whole batch stands.

mod checks;
mod walk;

use crate::live::UnitInfo;
use crate::open::Progress;
use crate::reader::{ReadOnly, Usage};
use siding_wal::chain::{ChainStart, Walk};
use siding_wal::disk::{Clock, Disk};
use siding_wal::format::{
    LogId, UnitEntry, UnitState, extent_file_name, parse_extent_name, parse_segment_name,
    segment_file_name,
};
use siding_wal::read::{
    ControlState, HeaderState, Inventory, Numbered, Row, Segment, Segments, inventory, row,
};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use walk::Ground;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The letter of the table's row, if it is one of those.
    pub letter: Option<char>,
    /// What it is called.
    pub name: &'static str,
    /// The segment it is in.
    pub segment: Option<u64>,
    /// The file of the secondary log it is in.
    pub extent: Option<u64>,
    /// Where it is.
    pub lsn: Option<Lsn>,
    /// What was found.
    pub what: String,
    /// What to do now, if that is known.
    pub advice: Option<&'static str>,
}

/// What a verification looked at and found.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Whether the log was in use: then only what was durable was looked at.
    pub usage: Usage,
    /// How the log ends; none of a log in use, or if the end was not reached.
    pub row: Option<&'static Row>,
    /// Where what was looked at ends.
    pub end: Lsn,
    /// Live segments.
    pub segments: u64,
    /// Whole batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of log that were looked at.
    pub bytes: u64,
    /// Complete keypoints.
    pub keypoints: u64,
    /// Live units whose chains were walked.
    pub units: u64,
    /// What is wrong; empty: the log is sound.
    pub findings: Vec<Finding>,
    /// What was odd and is not wrong.
    pub notes: Vec<String>,
}

/// Verifies the log in a directory, whether somebody has it open or not; its secondary log lies
/// beside it if no other place is named.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is no log, or the directory cannot be listed. What is wrong
/// with a log is no error but a [`Finding`].
pub fn verify(
    disk: &Arc<dyn Disk>,
    secondary: Option<Arc<dyn Disk>>,
    clock: &Arc<dyn Clock>,
    progress: &dyn Fn(&Progress),
) -> Result<Verification> {
    match ReadOnly::open(Arc::clone(disk), Arc::clone(clock)) {
        Ok(log) => {
            let log = match secondary {
                Some(disk) => log.with_secondary(disk),
                None => log,
            };
            Ok(of_log(&log, progress))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
        Err(error) => {
            let files = inventory(&**disk)?;
            Ok(of_files(&files, &error, progress))
        }
    }
}

/// The headers hold together: everything is looked at, from the oldest segment to the end.
fn of_log(log: &ReadOnly, progress: &dyn Fn(&Progress)) -> Verification {
    let found = log.survey();
    let ground = Ground {
        segments: found.segments.clone(),
        known_durable: found.known_durable,
        clean_end: found.clean_end,
        limit: if log.in_use() { log.positions().end } else { Lsn::MAX },
        keypoint: found.keypoint,
        log: Some(log),
    };
    let mut seen = ground.walk(progress);
    seen.usage = log.usage();
    if log.in_use() {
        seen.row = None;
    }
    seen.notes.extend(log.notes());
    let trouble = log.trouble().map(|error| Finding::of(&error));
    let known = |new: &Finding| seen.findings.iter().any(|old| old.same_place(new));
    if let Some(trouble) = trouble.filter(|new| !known(new)) {
        seen.findings.push(trouble);
    }
    for unit in log.units() {
        seen.units += 1;
        match chain(log, &unit) {
            Ok(note) => seen.notes.extend(note),
            Err(finding) => seen.findings.push(finding),
        }
    }
    // Redo has to read them, until a keypoint carries a redo position above the commit.
    for unit in log.needed_by_redo() {
        match redo_chain(log, &unit) {
            Ok(note) => seen.notes.extend(note),
            Err(finding) => seen.findings.push(finding),
        }
    }
    seen
}

/// The headers do not hold together: what is wrong with them, and all that stands behind those
/// that are whole.
fn of_files(files: &Inventory, refusal: &Error, progress: &dyn Fn(&Progress)) -> Verification {
    let (slot, id) = match &files.control {
        ControlState::Slot(slot) => (Some(slot), Some(slot.log_id)),
        _ => (None, most_frequent(files)),
    };
    let headers = files.numbered.values().filter_map(|file| Some((file, valid(file, id?)?)));
    let size = headers.clone().map(|(_, segment)| segment.header.segment_size).next();
    let mut segments = Segments::new(id.unwrap_or_default(), size.unwrap_or(1));
    for (_, segment) in headers.filter(|(_, one)| Some(one.header.segment_size) == size) {
        segments.insert(segment);
    }
    let ground = Ground {
        segments,
        known_durable: slot.map_or(Lsn::ZERO, |slot| slot.durable),
        clean_end: slot.filter(|slot| slot.clean).map(|slot| slot.durable),
        limit: Lsn::MAX,
        keypoint: (Lsn::ZERO, Lsn::ZERO),
        log: None,
    };
    let mut seen = ground.walk(progress);
    let mut findings = vec![Finding::of(refusal)];
    let behind = std::mem::take(&mut seen.findings);
    let of_headers = files.numbered.values().filter_map(|file| wrong_header(file, id));
    for finding in of_headers.chain(behind) {
        // A gap is found once by the survey, and once more by whoever comes to it.
        let again = |old: &Finding| {
            old.segment == finding.segment
                || (old.letter == Some('M') && finding.letter == Some('M'))
        };
        if !findings.iter().any(again) {
            findings.push(finding);
        }
    }
    seen.row = None;
    seen.findings = findings;
    seen
}

fn valid(file: &Numbered, id: LogId) -> Option<Segment> {
    let HeaderState::Valid(header) = &file.header else { return None };
    let ours = header.log_id == id && header.number == file.number;
    let open = file.file.as_ref().filter(|_| ours)?;
    Some(Segment { number: file.number, header: header.clone(), file: Arc::clone(open) })
}

/// The log that most headers name.
fn most_frequent(files: &Inventory) -> Option<LogId> {
    let mut votes: BTreeMap<LogId, u32> = BTreeMap::new();
    for file in files.numbered.values() {
        if let HeaderState::Valid(header) = &file.header {
            *votes.entry(header.log_id).or_default() += 1;
        }
    }
    votes.into_iter().max_by_key(|(_, count)| *count).map(|(id, _)| id)
}

/// What is wrong with a file's header by itself.
fn wrong_header(file: &Numbered, id: Option<LogId>) -> Option<Finding> {
    let (letter, what) = match &file.header {
        HeaderState::Blank => return None,
        HeaderState::Valid(header) if Some(header.log_id) != id => {
            (None, "the segment is of another log".to_owned())
        }
        HeaderState::Valid(header) if header.number != file.number => {
            (None, format!("the file is segment {:016x} under a wrong name", header.number))
        }
        HeaderState::Valid(_) => return None,
        HeaderState::Foreign => (None, "the file is not Siding's".to_owned()),
        HeaderState::Malformed(malformed) => (Some('P'), format!("the header: {malformed}")),
        HeaderState::Version(version) => (Some('N'), format!("it is of the version {version}")),
        HeaderState::Feature(bits) => (Some('N'), format!("it needs the features {bits:#x}")),
        HeaderState::Unreadable(cause) => (Some('L'), format!("the header: {cause}")),
    };
    let by_row = letter.and_then(row);
    Some(Finding {
        letter,
        name: by_row.map_or("foreign file", |row| row.name),
        segment: Some(file.number),
        extent: None,
        lsn: None,
        what,
        advice: by_row.map(|row| row.advice).or(Some("move it out of the directory")),
    })
}

/// Walks a live unit's chain from its newest record to its oldest, as an operator's tool or a
/// restart would. Says what is odd, or what is wrong.
fn chain(log: &ReadOnly, unit: &UnitInfo) -> std::result::Result<Option<String>, Finding> {
    let Ok(start) = log.chain_of(unit.unit) else { return Ok(None) };
    let all = unit.records.saturating_add(unit.secondary_records);
    follow(log, start, unit.state, |count, oldest| {
        let whole = oldest == unit.first && count == all;
        (!whole).then(|| format!("{count} of {all} records, the oldest at {oldest}"))
    })
}

/// The same of a unit that has ended: redo reads what was moved, whatever came behind it.
fn redo_chain(log: &ReadOnly, unit: &UnitEntry) -> std::result::Result<Option<String>, Finding> {
    let UnitEntry { head, floor, sec, .. } = *unit;
    let start = ChainStart { unit: unit.unit, head, floor, sec };
    follow(log, start, unit.state, |_, oldest| {
        (oldest != unit.first).then(|| format!("the oldest record that is found is at {oldest}"))
    })
}

/// Walks a chain; `odd` says what is wrong with how many records there are, and the oldest.
fn follow(
    log: &ReadOnly,
    start: ChainStart,
    state: UnitState,
    odd: impl Fn(u64, Lsn) -> Option<String>,
) -> std::result::Result<Option<String>, Finding> {
    let mut walk = Walk::records(start);
    let (mut last, mut count) = (start.head, 0_u64);
    let mut extent = None;
    let broken = loop {
        match walk.step(log) {
            Ok(Some((lsn, _))) => (last, count) = (lsn, count + 1),
            Ok(None) => match odd(count, last) {
                None => return Ok(None),
                Some(what) => break what,
            },
            Err(error) if error.kind() == ErrorKind::Trimmed && log.in_use() => return Ok(None),
            Err(error) => {
                last = error.lsn().unwrap_or(last);
                extent = file_name(&error).and_then(parse_extent_name);
                let missing = error.kind() == ErrorKind::Missing && extent.is_some();
                if missing && log.in_use() {
                    return Ok(Some(not_there(start.unit)));
                }
                break error.what().to_owned();
            }
        }
    };
    let on_main = extent.is_none();
    Err(Finding {
        letter: None,
        name: if on_main { "chain not whole" } else { "moved records lost" },
        segment: on_main.then(|| log.survey().segments.number_of(last)),
        extent,
        lsn: on_main.then_some(last),
        what: format!("unit {:#x}, {}: {broken}", start.unit, state.name()),
        advice: Some("restore the directory from a copy, or resolve the unit knowing this"),
    })
}

/// Of a log in use: that a unit has ended, or was moved again, is seen later than its files go.
fn not_there(unit: u64) -> String {
    format!("unit {unit:#x} was not followed: its files may have been replaced meanwhile")
}

fn file_name(error: &Error) -> Option<&str> {
    error.path().and_then(|path| path.file_name()).and_then(|name| name.to_str())
}

impl Finding {
    /// What an error that refuses a log says, as a finding.
    pub(crate) fn of(error: &Error) -> Self {
        let name = file_name(error);
        let by_row = error.letter().and_then(row);
        let title = by_row.map(|row| format!("{} [{}]: ", row.name, row.letter));
        let what = title.and_then(|title| error.what().strip_prefix(&title));
        Self {
            letter: error.letter(),
            name: by_row.map_or_else(|| kind_name(error.kind()), |row| row.name),
            segment: name.and_then(parse_segment_name),
            extent: name.and_then(parse_extent_name),
            lsn: error.lsn(),
            what: what.unwrap_or(error.what()).to_owned(),
            advice: error.advice(),
        }
    }

    fn same_place(&self, other: &Self) -> bool {
        (self.letter, self.lsn) == (other.letter, other.lsn)
    }

    /// The file it is in.
    #[must_use]
    pub fn file(&self) -> Option<String> {
        self.extent.map(extent_file_name).or_else(|| self.segment.map(segment_file_name))
    }
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ForeignFile => "foreign file",
        ErrorKind::Missing => "missing",
        ErrorKind::UnsupportedVersion => "newer version",
        ErrorKind::Io => "unreadable",
        _ => "damaged",
    }
}
