//! What the report shows: gathered once, then only looked at.

use super::ReportArgs;
use crate::owner::Known;
use crate::why::Held;
use crate::{text, units, why};
use siding::disk::{Clock as _, SystemClock};
use siding::{
    Discipline, ErrorKind, ExtentInfo, Kind, Lsn, Positions, ReadOnly, Record, Result, SegmentInfo,
    SegmentState, Usage,
};
use siding_wal::format::MarkPayload;
use std::collections::BTreeMap;

/// Looks at a log whose owner trims faster than it is read.
const LOOKS: u32 = 4;

/// Everything the report shows.
#[derive(Debug)]
pub(super) struct Data {
    /// When it was gathered, in milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) directory: String,
    pub(super) log_id: String,
    pub(super) discipline: Discipline,
    pub(super) segment_size: u64,
    pub(super) write_unit: u32,
    pub(super) incarnation: u32,
    pub(super) epoch: u32,
    /// Who has it open.
    pub(super) usage: Usage,
    /// Who told of units and pins: the owner, or the files.
    pub(super) source: &'static str,
    /// How it ends.
    pub(super) end: String,
    pub(super) trouble: Option<String>,
    pub(super) positions: Positions,
    pub(super) segments: Vec<Segment>,
    pub(super) units: Vec<Unit>,
    pub(super) pins: Vec<Held>,
    pub(super) extent_files: Vec<(String, u64)>,
    pub(super) samples: Vec<Sample>,
    /// What is not known, each with the reason.
    pub(super) unknown: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// A file of the main log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) info: SegmentInfo,
    /// Bytes of log in it.
    pub(super) kept: u64,
    /// Records in it.
    pub(super) records: u64,
    /// Live units with records in it that were not moved.
    pub(super) units: Vec<u64>,
    /// What else needs something at or below its end: kinds of pins, by their names.
    pub(super) pins: Vec<&'static str>,
}

/// A live unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) known: Known,
    /// Records that it needs on the main log, by segment.
    pub(super) parts: BTreeMap<u64, u64>,
    /// Where its fork records stand, as far as they are kept.
    pub(super) forks: Vec<Lsn>,
    /// Its extents, oldest first.
    pub(super) extents: Vec<ExtentInfo>,
    /// Why some of its extents are not shown.
    pub(super) problem: Option<String>,
}

/// How much main log was kept at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) time_ms: u64,
    pub(super) lsn: Lsn,
    pub(super) retained: u64,
}

impl Data {
    /// Bytes of main log that are kept.
    pub(super) fn retained(&self) -> u64 {
        self.positions.end.since(self.positions.oldest)
    }

    /// Bytes of all extent files.
    pub(super) fn secondary(&self) -> u64 {
        self.extent_files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Segments with log in them, oldest first.
    pub(super) fn used(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kept > 0)
    }

    /// Looks at the log, and reads all of it.
    pub(super) fn gather(args: &ReportArgs) -> Result<Self> {
        let mut log = args.place.look()?;
        let mut scan = Scan::default();
        let mut cut = None;
        for look in 0..LOOKS {
            if look > 0 {
                log.refresh()?;
            }
            scan = Scan::default();
            cut = scan.read(&log).err();
            // Whoever has it open trimmed what was being read: then it is read from its new
            // beginning.
            if cut.as_ref().is_none_or(|error| error.kind() != ErrorKind::Trimmed) {
                break;
            }
        }
        let at_ms = SystemClock::new().wall_ms();
        let (known, source) = units::known(&args.place, &log);
        let (pins, _) = why::held(&args.place, &log);
        let mut unknown = Vec::new();
        let units: Vec<Unit> =
            known.into_iter().map(|unit| scan.unit(&log, unit, &mut unknown)).collect();
        let segments = scan.segments(log.segments()?, &log, &units, &pins);
        let extent_files = log.extent_files().unwrap_or_else(|error| {
            unknown.push(format!("how large the secondary log is: {error}"));
            Vec::new()
        });
        if let Some(error) = &cut {
            unknown.push(format!("what stands behind the place where reading ended: {error}"));
        }
        unknown.extend(not_known(&log, source));
        let id = log.identity();
        let trouble = log.trouble().or(cut.filter(|error| error.kind() != ErrorKind::Trimmed));
        Ok(Self {
            at_ms,
            directory: log.path().map_or_else(|| "-".into(), |path| path.display().to_string()),
            log_id: text::hex(&id.log_id),
            discipline: id.discipline,
            segment_size: id.segment_size,
            write_unit: log.write_unit(),
            incarnation: log.incarnation(),
            epoch: log.epoch(),
            usage: log.usage(),
            source,
            end: log
                .row()
                .map_or_else(|| "open".to_owned(), |row| format!("[{}] {}", row.letter, row.name)),
            trouble: trouble.map(|error| error.to_string()),
            positions: log.positions(),
            segments,
            units,
            pins,
            extent_files,
            samples: scan.samples,
            unknown,
            notes: log.notes(),
        })
    }
}

/// What no look from outside can tell.
fn not_known(log: &ReadOnly, source: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut say = |text: &str| unknown.push(text.to_owned());
    if source == "files" {
        say("which units are held where they are: only the owner of a log in use knows, and it \
             was not there to be asked");
    } else {
        say("what became live, or durable, between the answers of the owner and the look at the \
             files: they are of two moments");
    }
    if log.in_use() {
        say("records that were not known to be durable when the log was looked at");
    }
    say("retained bytes before the oldest MARK that is kept, and those of the secondary log over \
         time: nobody writes them down");
    unknown
}

/// One reading of the whole main log.
#[derive(Debug, Default)]
struct Scan {
    /// Records of each segment.
    records: BTreeMap<u64, u64>,
    /// Records of each unit that was live at the look, by segment.
    parts: BTreeMap<u64, BTreeMap<u64, u64>>,
    forks: BTreeMap<u64, Vec<Lsn>>,
    samples: Vec<Sample>,
}

impl Scan {
    fn read(&mut self, log: &ReadOnly) -> Result<()> {
        let size = log.identity().segment_size.max(1);
        let floors: BTreeMap<u64, Lsn> =
            log.units().iter().map(|unit| (unit.unit, unit.floor.unwrap_or(Lsn::MAX))).collect();
        let mut records = log.records(Lsn::ZERO)?;
        while let Some(record) = records.next()? {
            let segment = record.lsn().get() / size;
            *self.records.entry(segment).or_default() += 1;
            self.take(&record, segment, floors.get(&record.unit()).copied());
        }
        Ok(())
    }

    fn take(&mut self, record: &Record<'_>, segment: u64, floor: Option<Lsn>) {
        match (record.kind(), floor) {
            (Kind::Mark | Kind::Close, _) => self.samples.extend(sample(record)),
            (Kind::Fork, Some(_)) => {
                self.forks.entry(record.unit()).or_default().push(record.lsn());
            }
            (_, Some(floor)) if record.lsn() >= floor => {
                let parts = self.parts.entry(record.unit()).or_default();
                *parts.entry(segment).or_default() += 1;
            }
            _ => {}
        }
    }

    fn unit(&self, log: &ReadOnly, known: Known, unknown: &mut Vec<String>) -> Unit {
        let number = known.0.unit;
        let (mut extents, broken) =
            if known.0.secondary_records > 0 { log.extents_of(number) } else { (Vec::new(), None) };
        extents.reverse();
        if let Some(error) = &broken {
            let unit = text::unit(number);
            unknown.push(format!("the rest of the extents of unit {unit}: {error}"));
        }
        let problem = known.0.problem.clone().or(broken.map(|error| error.to_string()));
        Unit {
            parts: self.parts.get(&number).cloned().unwrap_or_default(),
            forks: self.forks.get(&number).cloned().unwrap_or_default(),
            extents,
            problem,
            known,
        }
    }

    fn segments(
        &self,
        infos: Vec<SegmentInfo>,
        log: &ReadOnly,
        units: &[Unit],
        pins: &[Held],
    ) -> Vec<Segment> {
        let oldest = log.positions().oldest;
        let mut segments = Vec::new();
        for info in infos {
            let end = info.kept_end.unwrap_or(info.first);
            let begin = info.first.max(oldest);
            let in_it = |unit: &&Unit| unit.parts.contains_key(&info.number);
            let holders = units.iter().filter(in_it).map(|unit| unit.known.0.unit);
            let needs = |kind: &&str| {
                pins.iter().any(|pin| pin.kind == **kind && pin.lsn < end.get() && end > begin)
            };
            segments.push(Segment {
                kept: end.since(begin.min(end)),
                records: self.records.get(&info.number).copied().unwrap_or(0),
                units: holders.collect(),
                pins: ["redo", "commits", "keypoint"].into_iter().filter(needs).collect(),
                info,
            });
        }
        segments
    }
}

fn sample(record: &Record<'_>) -> Option<Sample> {
    let mark = MarkPayload::decode(record.raw()).ok()?;
    let lsn = record.lsn();
    Some(Sample { time_ms: mark.time_ms, lsn, retained: lsn.since(mark.oldest.min(lsn)) })
}

impl Segment {
    /// Whether it is used, and nothing needs what stands in it: it waits for an older one.
    pub(super) fn waits(&self) -> bool {
        self.info.state == SegmentState::Sealed && self.units.is_empty() && self.pins.is_empty()
    }

    /// Who holds it, in words; `most` units by name.
    pub(super) fn holders(&self, most: usize) -> String {
        let units = self.units.iter().take(most).map(|unit| format!("unit {}", text::unit(*unit)));
        let more = self.units.len().saturating_sub(most);
        let more = (more > 0).then(|| format!("{more} units more"));
        let pins = self.pins.iter().map(|kind| match *kind {
            "redo" => "the redo position".to_owned(),
            "commits" => "committed units that redo may need".to_owned(),
            _ => "the last keypoint".to_owned(),
        });
        let all: Vec<String> = units.chain(more).chain(pins).collect();
        match (all.is_empty(), self.info.state) {
            (false, _) => all.join(", "),
            (true, SegmentState::Open) => "new records go here".to_owned(),
            (true, SegmentState::Sealed) => "nobody: it waits for an older one".to_owned(),
            (true, _) => "nobody".to_owned(),
        }
    }
}
