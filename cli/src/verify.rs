//! `siding verify`: is the whole log sound?

use crate::out::{Out, Tone};
use crate::place::{Place, pid, usage};
use crate::text;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use siding::{Finding, Log, Lsn, Result, Usage, Verification};

/// Which log to verify.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding verify ledger\n\n\
    Reads all of the log, and writes nothing. The letters are those of docs/RECOVERY.md.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) fn run(args: &VerifyArgs) -> Result<bool> {
    let bar = bar(args.place.json);
    let seen = Log::verify_with(&args.place.dir, args.place.secondary.as_deref(), |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done.min(progress.total));
    });
    bar.finish_and_clear();
    let seen = seen?;
    let mut out = Out::new(args.place.json);
    if out.json {
        objects(&mut out, &seen);
    } else {
        lines(&mut out, &seen);
    }
    Ok(seen.findings.is_empty())
}

/// A bar on the terminal, if somebody looks at one.
fn bar(json: bool) -> ProgressBar {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    ProgressStyle::with_template(style)
        .map(|style| bar.with_style(style))
        .unwrap_or_else(|_| ProgressBar::hidden())
}

fn objects(out: &mut Out, seen: &Verification) {
    for finding in &seen.findings {
        out.object(&json!({
            "type": "finding",
            "letter": finding.letter.map(String::from),
            "name": finding.name,
            "segment": finding.segment,
            "file": finding.file(),
            "lsn": finding.lsn.map(Lsn::get),
            "what": finding.what,
            "advice": finding.advice,
        }));
    }
    out.object(&json!({
        "type": "summary",
        "ok": seen.findings.is_empty(),
        "findings": seen.findings.len(),
        "in_use": seen.usage != Usage::Closed,
        "pid": pid(seen.usage),
        "letter": seen.row.map(|row| row.letter.to_string()),
        "end_name": seen.row.map(|row| row.name),
        "end": seen.end.get(),
        "segments": seen.segments,
        "batches": seen.batches,
        "records": seen.records,
        "bytes": seen.bytes,
        "keypoints": seen.keypoints,
        "units": seen.units,
        "notes": seen.notes,
    }));
}

fn lines(out: &mut Out, seen: &Verification) {
    for finding in &seen.findings {
        show(out, finding);
    }
    for note in &seen.notes {
        out.line(format!("note: {note}"));
    }
    let what = format!(
        "{} segments, {} batches, {} records, {} keypoints, {} live units, {}",
        seen.segments,
        seen.batches,
        seen.records,
        seen.keypoints,
        seen.units,
        text::bytes(seen.bytes)
    );
    let end = match (seen.row, seen.usage) {
        (Some(row), _) => format!("ends at {} [{}] {}", seen.end, row.letter, row.name),
        (None, Usage::Closed) => "the end was not reached".to_owned(),
        (None, used) => format!("up to {}, what was durable; in use {}", seen.end, usage(used)),
    };
    let verdict = match seen.findings.len() {
        0 => out.toned(Tone::Good, "sound"),
        1 => out.toned(Tone::Bad, "1 finding"),
        count => out.toned(Tone::Bad, &format!("{count} findings")),
    };
    out.line(format!("{verdict}: {what}; {end}"));
}

fn show(out: &mut Out, finding: &Finding) {
    let letter = finding.letter.map_or_else(|| "-".to_owned(), String::from);
    let title = out.toned(Tone::Bad, &format!("[{letter}] {}", finding.name));
    let segment = finding.segment.map(|number| format!("segment {number}"));
    let lsn = finding.lsn.map(|lsn| format!("LSN {lsn}"));
    let parts = [segment, lsn, finding.file()].into_iter().flatten();
    let place: Vec<String> = std::iter::once(title).chain(parts).collect();
    out.line(place.join("  "));
    out.line(format!("    {}", finding.what));
    if let Some(advice) = finding.advice.filter(|advice| !advice.is_empty()) {
        out.line(format!("    {advice}"));
    }
}
