//! `siding probe`: what this disk does with each way to it, and which options follow from that.
//!
//! Everything is measured in a directory of its own below the one that is named, which goes when
//! the probe ends; nothing else there is read or written, so a log may lie beside it.

mod advice;
mod measure;

use crate::out::{Out, Tone, note};
use advice::{Advice, Row, What};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use measure::Scratch;
use serde_json::json;
use siding::{Backend, Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::Duration;

/// How often everything is measured, in turns: what else the disk does shows in the spread.
const ROUNDS: u32 = 3;

/// What begins the name of the directory that is measured in.
const SCRATCH: &str = ".siding-probe-";

/// Room that must be left beside what the probe writes.
const ROOM: u64 = 512 << 20;

/// Which disk, and how long.
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// A directory on the disk; a temporary one in it is used and removed.
    dir: PathBuf,
    /// About how long it may take, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One thing to be measured.
#[derive(Clone, Copy, Debug)]
struct Cell {
    what: What,
    backend: Backend,
    unit: u32,
    depth: usize,
    busy: bool,
}

/// Measures all there is to measure, and says what follows.
///
/// # Errors
///
/// The directory is not there or cannot be written, its disk has too little room, or a write
/// failed.
pub(crate) fn run(args: &ProbeArgs) -> Result<bool> {
    if !args.dir.is_dir() {
        let what = "there is no such directory";
        return Err(Error::new(ErrorKind::NotFound, what).file(&args.dir));
    }
    let io = |cause| Error::io("no directory to measure in can be made", cause).file(&args.dir);
    left_behind(args).map_err(io)?;
    let dir = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&args.dir).map_err(io)?;
    let mut out = Out::new(args.json);
    let mut scratches = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|backend| *backend != Backend::Memory) {
        let scratch = Scratch::new(&dir.path().join(backend.name()), backend)?;
        if scratches.is_empty() && scratch.free().is_some_and(|free| free < ROOM) {
            let what = format!("the disk has less than {} MiB left", ROOM >> 20);
            return Err(Error::new(ErrorKind::Invalid, what).file(&args.dir));
        }
        for text in scratch.notes() {
            say_note(&mut out, backend, &text);
        }
        if scratch.is_itself() {
            scratches.push(scratch);
        }
    }
    let rows = measure_all(args, &mut scratches)?;
    let advice = advice::advise(&rows);
    print(&mut out, &rows, &advice);
    drop(scratches);
    dir.close().map_err(|cause| {
        Error::io("what was measured in cannot be removed", cause).file(&args.dir)
    })?;
    Ok(true)
}

/// A probe that was killed leaves its directory; whose it is only the user knows.
fn left_behind(args: &ProbeArgs) -> std::io::Result<()> {
    for entry in std::fs::read_dir(&args.dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            let path = entry.path();
            note(format!("{} is left from a probe that did not end; remove it", path.display()));
        }
    }
    Ok(())
}

fn say_note(out: &mut Out, backend: Backend, text: &str) {
    if out.json {
        out.object(&json!({ "note": text, "backend": backend.name() }));
    } else {
        note(format!("{backend}: {text}"));
    }
}

/// What is measured on each of them: small durable writes of each unit, alone and beside busy
/// threads; then long ones and reads, at each depth where there is a ring.
fn cells(scratches: &[Scratch]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for scratch in scratches {
        let (backend, geometry) = (scratch.backend(), scratch.geometry());
        let mut units = vec![geometry.min_write_unit, geometry.write_unit];
        units.dedup();
        for unit in units {
            for busy in [false, true] {
                cells.push(Cell { what: What::Durable, backend, unit, depth: 1, busy });
            }
        }
        let depths: &[usize] = if backend == Backend::Uring { &[1, 2, 4, 8] } else { &[1] };
        // The two with a ring differ in durable writes alone.
        for depth in depths.iter().copied().filter(|_| backend != Backend::UringDurable) {
            for what in [What::Write, What::Read] {
                cells.push(Cell { what, backend, unit: measure::PIECE, depth, busy: false });
            }
        }
    }
    cells
}

fn measure_all(args: &ProbeArgs, scratches: &mut [Scratch]) -> Result<Vec<Row>> {
    let cells = cells(scratches);
    let rounds = usize::try_from(ROUNDS).unwrap_or(1);
    let bar = ProgressBar::new(u64::try_from(cells.len() * rounds).unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let count = u32::try_from(cells.len().max(1)).unwrap_or(1);
    let each = Duration::from_secs(args.seconds) / count / ROUNDS;
    let mut taken = vec![Vec::new(); cells.len()];
    for (index, cell) in (0..rounds).flat_map(|_| cells.iter().enumerate()) {
        bar.set_message(format!("{} {}", cell.backend, cell.what.name()));
        let own = scratches.iter_mut().find(|scratch| scratch.backend() == cell.backend);
        let Some(scratch) = own else { continue };
        let (value, p99_us) = scratch.measure(cell, each)?;
        taken[index].push(Row {
            what: cell.what,
            backend: cell.backend,
            unit: cell.unit,
            depth: cell.depth,
            busy: cell.busy,
            safe: cell.unit >= scratch.geometry().write_unit,
            value,
            p99_us,
            spread: 1.0,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(taken.into_iter().filter_map(middle).collect())
}

/// The middle one of a row's measurements, with how far they lie apart.
fn middle(mut rows: Vec<Row>) -> Option<Row> {
    rows.sort_by(|one, other| one.value.total_cmp(&other.value));
    let spread = rows.last()?.value / rows.first()?.value.max(1e-9);
    rows.get(rows.len() / 2).map(|row| Row { spread, ..*row })
}

fn print(out: &mut Out, rows: &[Row], advice: &Advice) {
    if out.json {
        for row in rows {
            out.object(&json!({
                "measured": row.what.name(), "backend": row.backend.name(), "unit": row.unit,
                "depth": row.depth, "busy": row.busy, "value": row.value,
                "per": row.what.per(), "p99_us": row.p99_us, "spread": row.spread,
            }));
        }
        out.object(&json!({
            "recommended": {
                "backend": advice.backend.name(), "write_unit": advice.unit,
                "bulk_depth": advice.depth,
            },
            "reasons": advice.reasons,
            "disturbed": advice.disturbed,
        }));
        return;
    }
    let table: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.what.name().to_owned(),
                row.backend.to_string(),
                row.unit.to_string(),
                row.depth.to_string(),
                if row.busy { "busy" } else { "idle" }.to_owned(),
                format!("{:.0}", row.value / row.what.scale()),
                row.what.shown().to_owned(),
                format!("{:.0}", row.p99_us),
                format!("{:.2}", row.spread),
            ]
        })
        .collect();
    out.table(
        &["measured", "backend", ">unit", ">depth", "cpu", ">value", "", ">p99 us", ">spread"],
        &table,
    );
    out.line("");
    let heading = format!(
        "Options::new().backend(Backend::{:?}).write_unit({}).bulk_depth({})",
        advice.backend, advice.unit, advice.depth
    );
    let tone = if advice.disturbed { Tone::Bad } else { Tone::Good };
    out.line(format!("recommended: {}", out.toned(tone, &heading)));
    for reason in &advice.reasons {
        out.line(format!("  {reason}"));
    }
}
