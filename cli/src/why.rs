//! `siding why`: why log is kept.

use crate::out::{Out, note};
use crate::place::Place;
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{Pin, PinKind, Result};

/// Which log is kept.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding why ledger\n\n\
    The first line holds most: nothing behind it is trimmed before it goes.")]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) fn run(args: &WhyArgs) -> Result<bool> {
    let log = args.place.look()?;
    let pins = log.why_retained();
    let mut out = Out::new(args.place.json);
    if out.json {
        for pin in &pins {
            out.object(&object(pin));
        }
    } else {
        lines(&mut out, &pins);
    }
    drop(out);
    let trouble = log.trouble();
    if let Some(error) = &trouble {
        note(format!("the list ends where the log can no longer be read: {error}"));
    }
    Ok(trouble.is_none())
}

fn kind(kind: PinKind) -> &'static str {
    match kind {
        PinKind::Unit => "unit",
        PinKind::Keypoint => "keypoint",
        PinKind::Redo => "redo",
        PinKind::Commits => "commits",
    }
}

fn object(pin: &Pin) -> serde_json::Value {
    json!({
        "kind": kind(pin.kind),
        "owner": pin.owner,
        "unit": pin.unit.map(text::unit),
        "lsn": pin.lsn.get(),
        "bytes": pin.bytes,
        "age_ms": pin.age_ms,
        "action": pin.action,
    })
}

fn lines(out: &mut Out, pins: &[Pin]) {
    let rows: Vec<_> = pins
        .iter()
        .map(|pin| {
            vec![
                text::bytes(pin.bytes),
                pin.age_ms.map_or_else(|| "-".into(), text::span),
                text::position(pin.lsn),
                pin.owner.clone(),
                pin.action.to_owned(),
            ]
        })
        .collect();
    out.table(&[">holds", ">age", ">from LSN", "pin", "what to do"], &rows);
}
