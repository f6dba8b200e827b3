//! A record, as people and programs read it.

use crate::text;
use serde_json::{Map, Value, json};
use siding::{Kind, Lsn, Record};
use siding_wal::format::{
    Decision, KeypointBegin, KeypointChunk, KeypointEnd, MarkPayload, PreparePayload, flags,
    label_of,
};

/// How much of a payload is shown without being asked for.
const PREVIEW: usize = 40;

/// What the record says, by name.
fn fields(record: &Record<'_>) -> Vec<(&'static str, Value)> {
    let bytes = record.raw();
    match record.kind() {
        Kind::Compensation => {
            vec![("undo_next", json!(record.undo_next().map(Lsn::get)))]
        }
        Kind::Prepare => PreparePayload::decode(bytes).map_or_else(
            |_| Vec::new(),
            |prepare| {
                let (gid, gid_hex) = text::gid_fields(&prepare.gid);
                vec![
                    ("gid", json!(gid)),
                    ("gid_hex", json!(gid_hex)),
                    ("first", json!(prepare.first.get())),
                    ("prepared_ms", json!(prepare.prepared_ms)),
                ]
            },
        ),
        Kind::Commit | Kind::Abort => {
            Decision::decode(bytes).map_or_else(|_| Vec::new(), |it| decision(record, &it))
        }
        Kind::KeypointBegin => KeypointBegin::decode(bytes)
            .map_or_else(|_| Vec::new(), |begin| vec![("redo", json!(begin.redo.get()))]),
        Kind::KeypointChunk => KeypointChunk::decode(bytes).map_or_else(
            |_| Vec::new(),
            |chunk| {
                vec![
                    ("index", json!(chunk.index)),
                    ("units", json!(chunk.units.len())),
                    ("segments", json!(chunk.segments.len())),
                ]
            },
        ),
        Kind::KeypointEnd => KeypointEnd::decode(bytes).map_or_else(
            |_| Vec::new(),
            |end| {
                vec![
                    ("begin", json!(end.begin.get())),
                    ("chunks", json!(end.chunks)),
                    ("redo", json!(end.redo.get())),
                    ("oldest", json!(end.oldest.get())),
                ]
            },
        ),
        Kind::Mark | Kind::Close => MarkPayload::decode(bytes).map_or_else(
            |_| Vec::new(),
            |mark| {
                let fields = [("time_ms", mark.time_ms), ("oldest", mark.oldest.get())];
                let fields = fields.into_iter().map(|(name, value)| (name, json!(value)));
                fields.chain(label_of(bytes).map(|label| ("label", json!(label)))).collect()
            },
        ),
        _ => Vec::new(),
    }
}

fn decision(record: &Record<'_>, decision: &Decision) -> Vec<(&'static str, Value)> {
    let is = |bit: u8| record.flags() & bit != 0;
    let mut fields = vec![
        ("ends", json!(is(flags::END))),
        ("heuristic", json!(is(flags::HEURISTIC))),
        ("cause", json!(decision.cause.name())),
        ("oldest", json!(decision.oldest.get())),
    ];
    if !decision.who.is_empty() {
        fields.push(("who", json!(decision.who)));
    }
    fields
}

/// The record for programs; `payload`: with its bytes.
pub(crate) fn object(record: &Record<'_>, payload: bool) -> Value {
    let mut object = Map::new();
    let unit = (record.unit() != 0).then(|| text::unit(record.unit()));
    object.insert("lsn".into(), json!(record.lsn().get()));
    object.insert("kind".into(), json!(record.kind().name()));
    object.insert("unit".into(), json!(unit));
    object.insert("prev".into(), json!(record.prev().get()));
    object.insert("resource".into(), json!(record.resource()));
    object.insert("len".into(), json!(record.raw().len()));
    for (name, value) in fields(record) {
        object.insert(name.into(), value);
    }
    if payload {
        object.insert("payload_hex".into(), json!(text::hex(record.raw())));
    }
    Value::Object(object)
}

/// What the record says, in words.
pub(crate) fn words(record: &Record<'_>) -> String {
    let mut words: Vec<String> = match record.kind() {
        Kind::Data => vec![text::preview(record.payload(), PREVIEW)],
        _ => fields(record).into_iter().filter_map(|(name, value)| word(name, &value)).collect(),
    };
    if record.kind() == Kind::Compensation {
        words.push(text::preview(record.payload(), PREVIEW));
    }
    words.join("  ")
}

fn word(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some(name.to_owned()),
        Value::String(_) if name == "gid_hex" => None,
        Value::String(text) => Some(format!("{name} {}", text.escape_debug())),
        value => Some(format!("{name} {value}")),
    }
}
