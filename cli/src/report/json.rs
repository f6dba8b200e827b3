//! The same for programs: one object a line, each with its `type`.

use super::data::{Data, Segment, Unit};
use crate::info::ladder;
use crate::place::pid;
use crate::{text, units};
use serde_json::{Map, Value, json};
use siding::Usage;

/// Everything that is drawn, and what is not.
pub(super) fn objects(data: &Data) -> Vec<Value> {
    let mut objects = vec![log(data)];
    objects.extend(data.segments.iter().map(segment));
    for one in &data.units {
        objects.extend(unit(one, data.source));
    }
    objects.extend(data.pins.iter().map(|pin| typed("pin", pin.object(data.source))));
    objects.extend(
        data.extent_files
            .iter()
            .map(|(name, bytes)| json!({ "type": "extent_file", "file": name, "bytes": bytes })),
    );
    objects.extend(data.samples.iter().map(|sample| {
        json!({
            "type": "retained",
            "time_ms": sample.time_ms,
            "lsn": sample.lsn.get(),
            "retained_main_bytes": sample.retained,
        })
    }));
    objects
}

fn typed(name: &str, object: Value) -> Value {
    let mut typed = Map::new();
    typed.insert("type".to_owned(), json!(name));
    if let Value::Object(fields) = object {
        typed.extend(fields);
    }
    Value::Object(typed)
}

fn log(data: &Data) -> Value {
    let positions: Map<_, _> = ladder(&data.positions)
        .into_iter()
        .map(|(name, lsn)| (name.replace(' ', "_"), json!(lsn.get())))
        .collect();
    json!({
        "type": "log",
        "at_ms": data.at_ms,
        "directory": data.directory,
        "log_id": data.log_id,
        "discipline": data.discipline.name(),
        "segment_size": data.segment_size,
        "write_unit": data.write_unit,
        "incarnation": data.incarnation,
        "epoch": data.epoch,
        "in_use": data.usage != Usage::Closed,
        "pid": pid(data.usage),
        "source": data.source,
        "end_name": data.end,
        "trouble": data.trouble,
        "positions": positions,
        "retained_main_bytes": data.retained(),
        "retained_secondary_bytes": data.secondary(),
        "unknown": data.unknown,
        "notes": data.notes,
    })
}

fn segment(segment: &Segment) -> Value {
    let units: Vec<String> = segment.units.iter().map(|unit| text::unit(*unit)).collect();
    json!({
        "type": "segment",
        "number": segment.info.number,
        "state": segment.info.state.name(),
        "first": segment.info.first.get(),
        "kept": segment.kept,
        "records": segment.records,
        "bytes": segment.info.bytes,
        "units": units,
        "pins": segment.pins,
        "waits": segment.waits(),
    })
}

/// A unit, and its extents, oldest first.
fn unit(unit: &Unit, source: &str) -> Vec<Value> {
    let mut object = typed("unit", units::object(&unit.known, source));
    let number = text::unit(unit.known.0.unit);
    if let Value::Object(fields) = &mut object {
        let parts = unit.parts.iter();
        let parts: Vec<Value> = parts
            .map(|(segment, records)| json!({ "segment": segment, "records": records }))
            .collect();
        let forks: Vec<u64> = unit.forks.iter().map(|lsn| lsn.get()).collect();
        fields.insert("parts".to_owned(), json!(parts));
        fields.insert("forks".to_owned(), json!(forks));
        fields.insert("problem".to_owned(), json!(unit.problem));
    }
    let extents = unit.extents.iter().map(|extent| {
        json!({
            "type": "extent",
            "unit": number,
            "move": extent.moves,
            "file": extent.file,
            "offset": extent.offset,
            "records": extent.records,
            "bytes": extent.bytes,
            "oldest": extent.oldest.get(),
            "newest": extent.newest.get(),
        })
    });
    std::iter::once(object).chain(extents).collect()
}
