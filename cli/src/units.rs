//! `siding units`: the units of work that live.

use crate::out::{Out, note};
use crate::owner;
use crate::place::Place;
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{Lsn, Result, UnitInfo};

/// Which units to list.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding units ledger\n\n\
    The owner of a log in use is asked, if it answers; else what is durable is read.\n\
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
    let asked = log.in_use().then(|| owner::units(&args.place.dir));
    let (mut units, source) = match asked {
        Some(Ok(Some(units))) => (units, "owner"),
        Some(Err(error)) => {
            note(format!("read from the files, without what is not durable: {error}"));
            (log.units(), "files")
        }
        Some(Ok(None)) | None => (log.units(), "files"),
    };
    if args.in_doubt {
        units.retain(|unit| unit.state == siding::UnitState::InDoubt);
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

fn object(unit: &UnitInfo, source: &str) -> serde_json::Value {
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
        "first": unit.first.get(),
        "head": unit.head.get(),
        "floor": unit.floor.map(Lsn::get),
        "source": source,
    })
}

fn lines(out: &mut Out, units: &[UnitInfo]) {
    let rows: Vec<_> = units
        .iter()
        .map(|unit| {
            vec![
                text::unit(unit.unit),
                unit.state.name().to_owned(),
                if unit.gid.is_empty() { "-".into() } else { text::shown(&unit.gid) },
                unit.age_ms.map_or_else(|| "-".into(), text::span),
                unit.records.to_string(),
                text::bytes(unit.bytes),
                text::position(unit.first),
                text::position(unit.head),
            ]
        })
        .collect();
    let headings =
        ["unit", "state", "gid", ">age", ">records", ">bytes", ">first LSN", ">newest LSN"];
    out.table(&headings, &rows);
}
