//! `siding units`: the units of work that live.

use crate::out::{Out, note};
use crate::owner::{self, Known};
use crate::place::Place;
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{ForkEffect, Lsn, ReadOnly, Result, UnitInfo};
use std::collections::BTreeMap;

/// Which units to list.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding units ledger\n\n\
    The owner of a log in use is asked, if it answers; else what is durable is read.\n\
    Moved: records on the secondary log. Segments, cost, gain: sealed segments that the unit\n\
    keeps, bytes to copy so that it leaves the oldest, bytes of log that this frees. See\n\
    `siding fork`.\n\
    A unit's records: siding dump ledger --uow 0x10000000001")]
pub(crate) struct UnitsArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only units in doubt.
    #[arg(long)]
    in_doubt: bool,
}

pub(crate) fn run(args: &UnitsArgs) -> Result<bool> {
    let log = args.place.look()?;
    let (mut units, source) = known(&args.place, &log);
    if args.in_doubt {
        units.retain(|(unit, _)| unit.state == siding::UnitState::InDoubt);
    }
    let mut out = Out::new(args.place.json);
    if out.json {
        for unit in &units {
            out.object(&object(unit, source));
        }
    } else if units.is_empty() {
        out.line("no unit is live");
    } else {
        lines(&mut out, &units);
    }
    drop(out);
    let trouble = log.trouble();
    if let Some(error) = &trouble {
        note(format!("the list ends where the log can no longer be read: {error}"));
    }
    Ok(trouble.is_none())
}

/// The live units, as the owner of the log knows them, if it answers, else as they stand in the
/// files; and who told.
pub(crate) fn known(place: &Place, log: &ReadOnly) -> (Vec<Known>, &'static str) {
    let from_files = || {
        let effects = log.fork_effects().unwrap_or_else(|error| {
            note(format!("which segments the units keep cannot be read: {error}"));
            Vec::new()
        });
        let mut effects: BTreeMap<u64, ForkEffect> =
            effects.into_iter().map(|effect| (effect.unit, effect)).collect();
        let known = |unit: UnitInfo| {
            let effect = effects.remove(&unit.unit);
            (unit, effect)
        };
        log.units().into_iter().map(known).collect()
    };
    match log.in_use().then(|| owner::units(&place.dir)) {
        Some(Ok(Some(units))) => (units, "owner"),
        Some(Err(error)) => {
            note(format!("read from the files, without what is not durable: {error}"));
            (from_files(), "files")
        }
        Some(Ok(None)) | None => (from_files(), "files"),
    }
}

/// A unit, for programs.
pub(crate) fn object((unit, effect): &Known, source: &str) -> serde_json::Value {
    let effect = effect.as_ref();
    let (gid, gid_hex) = text::gid_fields(&unit.gid);
    json!({
        "unit": text::unit(unit.unit),
        "state": unit.state.name(),
        "gid": gid,
        "gid_hex": gid_hex,
        "age_ms": unit.age_ms,
        "in_doubt_ms": unit.in_doubt_ms,
        "records": unit.records,
        "bytes": unit.bytes,
        "secondary_records": unit.secondary_records,
        "secondary_bytes": unit.secondary_bytes,
        "moves": unit.moves,
        "held": unit.held,
        "problem": unit.problem,
        "oldest_segment": effect.and_then(|effect| effect.oldest),
        "segments": effect.map(|effect| effect.segments),
        "cost": effect.map(|effect| effect.cost),
        "gain": effect.map(|effect| effect.gain),
        "first": unit.first.get(),
        "head": unit.head.get(),
        "floor": unit.floor.map(Lsn::get),
        "source": source,
    })
}

fn lines(out: &mut Out, units: &[Known]) {
    let rows: Vec<_> = units.iter().map(cells).collect();
    let headings = [
        "unit",
        "state",
        "gid",
        ">age",
        ">records",
        ">bytes",
        ">moved",
        ">bytes",
        ">segments",
        ">cost",
        ">gain",
        ">first LSN",
        ">newest LSN",
    ];
    out.table(&headings, &rows);
    for (unit, _) in units {
        if let Some(problem) = &unit.problem {
            out.line(format!("unit {}: {}", text::unit(unit.unit), problem.escape_debug()));
        }
    }
}

fn cells((unit, effect): &Known) -> Vec<String> {
    let held = if unit.held { ", held" } else { "" };
    let moved = unit.secondary_records > 0;
    let effect = effect.as_ref().filter(|effect| effect.segments > 0);
    let bytes = |of: fn(&ForkEffect) -> u64| {
        effect.map_or_else(|| "-".into(), |effect| text::bytes(of(effect)))
    };
    vec![
        text::unit(unit.unit),
        format!("{}{held}", unit.state.name()),
        if unit.gid.is_empty() { "-".into() } else { text::shown(&unit.gid) },
        unit.age_ms.map_or_else(|| "-".into(), text::span),
        unit.records.to_string(),
        text::bytes(unit.bytes),
        if moved { unit.secondary_records.to_string() } else { "-".into() },
        if moved { text::bytes(unit.secondary_bytes) } else { "-".into() },
        effect.map_or_else(|| "-".into(), |effect| effect.segments.to_string()),
        bytes(|effect| effect.cost),
        bytes(|effect| effect.gain),
        text::position(unit.first),
        text::position(unit.head),
    ]
}
