//! `siding info`: what a log is.

use crate::out::{Out, Tone, error_object, note};
use crate::owner;
use crate::place::{Place, pid, usage};
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{Lsn, Positions, ReadOnly, Result, SegmentInfo, UnitState};

/// What to show.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding info ledger")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) place: Place,
}

const STATES: [UnitState; 5] = [
    UnitState::InDoubt,
    UnitState::InFlight,
    UnitState::BackingOut,
    UnitState::Committed,
    UnitState::Aborted,
];

pub(crate) fn run(args: &InfoArgs) -> Result<bool> {
    let log = args.place.look()?;
    let segments = log.segments()?;
    let mut out = Out::new(args.place.json);
    if out.json {
        objects(&mut out, &log, &segments);
    } else {
        lines(&mut out, &log, &segments);
    }
    let trouble = log.trouble();
    if let Some(error) = trouble.as_ref().filter(|_| !out.json) {
        drop(out);
        note(error.to_string());
    }
    Ok(trouble.is_none())
}

/// The positions, oldest first, by the names of the glossary.
pub(crate) fn ladder(at: &Positions) -> [(&'static str, Lsn); 7] {
    [
        ("oldest", at.oldest),
        ("redo", at.redo),
        ("keypoint begin", at.keypoint_begin),
        ("keypoint end", at.keypoint_end),
        ("durable", at.durable),
        ("written", at.written),
        ("end", at.end),
    ]
}

fn objects(out: &mut Out, log: &ReadOnly, segments: &[SegmentInfo]) {
    let id = log.identity();
    let units = log.units();
    let positions: serde_json::Map<_, _> = ladder(&log.positions())
        .into_iter()
        .map(|(name, lsn)| (name.replace(' ', "_"), json!(lsn.get())))
        .collect();
    let counts: serde_json::Map<_, _> = STATES
        .into_iter()
        .map(|state| {
            let count = units.iter().filter(|unit| unit.state == state).count();
            (state.name().replace(": ", "_").replace(' ', "_"), json!(count))
        })
        .collect();
    out.object(&json!({
        "type": "log",
        "log_id": text::hex(&id.log_id),
        "directory": log.path().map(|path| path.display().to_string()),
        "discipline": id.discipline.name(),
        "segment_size": id.segment_size,
        "write_unit": log.write_unit(),
        "incarnation": log.incarnation(),
        "epoch": log.epoch(),
        "in_use": log.in_use(),
        "pid": pid(log.usage()),
        "admin": log.in_use() && log.path().is_some_and(|path| owner::is_there(&path)),
        "clean": log.is_clean(),
        "letter": log.row().map(|row| row.letter.to_string()),
        "end_name": log.row().map(|row| row.name),
        "trouble": log.trouble().map(|error| error_object(&error)),
        "positions": positions,
        "units": counts,
        "notes": log.notes(),
    }));
    for segment in segments {
        out.object(&json!({
            "type": "segment",
            "number": segment.number,
            "state": segment.state.name(),
            "first": segment.first.get(),
            "kept_end": segment.kept_end.map(Lsn::get),
            "bytes": segment.bytes,
            "incarnation": segment.incarnation,
        }));
    }
}

fn lines(out: &mut Out, log: &ReadOnly, segments: &[SegmentInfo]) {
    let id = log.identity();
    let mut field = |name: &str, value: String| {
        let name = out.toned(Tone::Faint, &format!("{name:<12}"));
        out.line(format!("{name}  {value}"));
    };
    field("log", text::hex(&id.log_id));
    field("directory", log.path().map_or_else(|| "-".into(), |path| path.display().to_string()));
    field("discipline", id.discipline.name().to_owned());
    let (segment, unit) = (text::bytes(id.segment_size), log.write_unit());
    field("layout", format!("segments of {segment}, write unit {unit}"));
    field("incarnation", format!("{}, epoch {}", log.incarnation(), log.epoch()));
    let door = log.path().is_some_and(|path| owner::is_there(&path));
    let door = if door && log.in_use() { "; it answers operators" } else { "" };
    field("in use", format!("{}{door}", usage(log.usage())));
    let end = match log.row() {
        Some(row) => format!("[{}] {}", row.letter, row.name),
        None => "open".to_owned(),
    };
    field("end", end);
    field("units", counted(log));
    for note in log.notes() {
        field("note", note);
    }
    out.line("");
    let at = log.positions();
    let rows: Vec<_> = ladder(&at)
        .into_iter()
        .map(|(name, lsn)| {
            let behind = if lsn.is_zero() { "-".into() } else { text::bytes(at.end.since(lsn)) };
            vec![name.to_owned(), text::position(lsn), behind]
        })
        .collect();
    out.table(&["position", ">LSN", ">to the end"], &rows);
    out.line("");
    let rows: Vec<_> = segments.iter().map(row).collect();
    let headings = [">segment", "state", ">first LSN", ">kept up to", ">file", ">incarnation"];
    out.table(&headings, &rows);
}

fn counted(log: &ReadOnly) -> String {
    let units = log.units();
    let counts = STATES.into_iter().filter_map(|state| {
        let count = units.iter().filter(|unit| unit.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "none live".to_owned() } else { counts.join(", ") }
}

fn row(segment: &SegmentInfo) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        segment.number.to_string(),
        segment.state.name().to_owned(),
        segment.first.to_string(),
        segment.kept_end.map_or_else(dash, |lsn| lsn.to_string()),
        text::bytes(segment.bytes),
        segment.incarnation.map_or_else(dash, |incarnation| incarnation.to_string()),
    ]
}
