//! `siding why`: why log is kept.

use crate::out::{Out, note};
use crate::owner::{self, Row};
use crate::place::Place;
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{ForkEffect, Lsn, Pin, PinKind, ReadOnly, Result};

/// Which log is kept.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding why ledger\n\n\
    The first line holds most: nothing behind it is trimmed before it goes.\n\
    Segments, cost, gain: what a unit keeps, and what moving it would copy and free; only the\n\
    owner of a log in use knows. See `siding fork`.")]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) place: Place,
}

/// A pin, whoever told of it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) kind: String,
    pub(crate) owner: String,
    pub(crate) unit: Option<String>,
    pub(crate) lsn: u64,
    pub(crate) bytes: u64,
    pub(crate) age_ms: Option<u64>,
    pub(crate) action: String,
    pub(crate) effect: Option<ForkEffect>,
}

pub(crate) fn run(args: &WhyArgs) -> Result<bool> {
    let log = args.place.look()?;
    let (pins, source) = held(&args.place, &log);
    let mut out = Out::new(args.place.json);
    if out.json {
        for pin in &pins {
            out.object(&pin.object(source));
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

/// Every pin, as the owner of the log knows them, if it answers, else as the files tell; and who
/// told.
pub(crate) fn held(place: &Place, log: &ReadOnly) -> (Vec<Held>, &'static str) {
    let from_files = || log.why_retained().iter().map(Held::of).collect();
    match log.in_use().then(|| owner::ask(&place.dir, "why")) {
        Some(Ok(Some(rows))) => (rows.iter().filter_map(Held::told).collect(), "owner"),
        Some(Err(error)) => {
            note(format!("read from the files, without what is not durable: {error}"));
            (from_files(), "files")
        }
        Some(Ok(None)) | None => (from_files(), "files"),
    }
}

impl Held {
    fn of(pin: &Pin) -> Self {
        let kind = match pin.kind {
            PinKind::Unit => "unit",
            PinKind::Keypoint => "keypoint",
            PinKind::Redo => "redo",
            PinKind::Update => "update",
            PinKind::Commits => "commits",
            PinKind::Archive => "archive",
            PinKind::Backup => "backup",
            PinKind::Originals => "originals",
        };
        Self {
            kind: kind.to_owned(),
            owner: pin.owner.clone(),
            unit: pin.unit.map(text::unit),
            lsn: pin.lsn.get(),
            bytes: pin.bytes,
            age_ms: pin.age_ms,
            action: pin.action.to_owned(),
            effect: pin.effect,
        }
    }

    /// As the owner of the log told it.
    fn told(row: &Row) -> Option<Self> {
        Some(Self {
            kind: row.get("kind")?.clone(),
            owner: row.get("owner")?.clone(),
            unit: row.get("unit").filter(|unit| !unit.is_empty()).cloned(),
            lsn: owner::number(row, "lsn")?,
            bytes: owner::number(row, "bytes")?,
            age_ms: owner::number(row, "age_ms"),
            action: row.get("action")?.clone(),
            effect: owner::effect(row),
        })
    }

    /// For programs.
    pub(crate) fn object(&self, source: &str) -> serde_json::Value {
        let effect = self.effect.as_ref();
        json!({
            "kind": self.kind,
            "owner": self.owner,
            "unit": self.unit,
            "lsn": self.lsn,
            "bytes": self.bytes,
            "age_ms": self.age_ms,
            "action": self.action,
            "oldest_segment": effect.and_then(|effect| effect.oldest),
            "segments": effect.map(|effect| effect.segments),
            "cost": effect.map(|effect| effect.cost),
            "gain": effect.map(|effect| effect.gain),
            "source": source,
        })
    }
}

fn lines(out: &mut Out, pins: &[Held]) {
    let rows: Vec<_> = pins
        .iter()
        .map(|pin| {
            let effect = pin.effect.as_ref();
            let shown = |value: Option<u64>| value.map_or_else(|| "-".into(), text::bytes);
            vec![
                text::bytes(pin.bytes),
                pin.age_ms.map_or_else(|| "-".into(), text::span),
                text::position(Lsn::new(pin.lsn)),
                pin.owner.escape_debug().to_string(),
                effect.map_or_else(|| "-".into(), |effect| effect.segments.to_string()),
                shown(effect.map(|effect| effect.cost)),
                shown(effect.map(|effect| effect.gain)),
                pin.action.clone(),
            ]
        })
        .collect();
    let headings =
        [">holds", ">age", ">from LSN", "pin", ">segments", ">cost", ">gain", "what to do"];
    out.table(&headings, &rows);
}
