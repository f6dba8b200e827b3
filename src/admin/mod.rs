//! What an operator asks of an open log, through the socket in its directory.
//!
//! One request a visit: a line of words. The answer is lines of `name=value` pairs between tabs,
//! then a line that says `ok`, or `error`, a kind and a message. `docs/ADMIN.md` is normative.
//! One thread serves one visitor after the other, each within bounds of size and time.

mod backup;

pub(crate) use backup::{Backer, Backups};

use crate::inner::Inner;
use crate::{InDoubt, Outcome};
use siding_checkpoint::{ArchiveStatus, ForkEffect, Pin, PinKind, Positions, UnitInfo};
use siding_wal::disk::{Door, Visitor};
use siding_wal::format::Cause;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::fmt::{Display, Write as _};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The longest request, in bytes: that for a backup has a path in it.
const MAX_REQUEST: usize = 4096;

/// How long a visitor may take to say what they want.
const TO_ASK: Duration = Duration::from_secs(2);

/// How long a visitor may take to read the answer.
const TO_READ: Duration = Duration::from_secs(10);

/// Resolves a unit as an operator asks for.
pub(crate) type Resolver = Arc<dyn Fn(InDoubt, Outcome) -> Result<()> + Send + Sync>;

/// What operators may do.
pub(crate) struct Operators {
    /// The directory that gets a socket, if one does.
    pub(crate) door: Option<PathBuf>,
    /// How the embedder resolves a unit.
    pub(crate) resolver: Option<Resolver>,
    /// How the embedder backs itself up.
    pub(crate) backer: Option<Backer>,
}

/// Opens the socket, and starts the thread that answers.
pub(crate) fn open(log: &Arc<Inner>, path: &Path) -> Result<(Arc<Door>, JoinHandle<()>)> {
    let door = Door::open(path).map_err(|cause| {
        Error::io("the admin socket cannot be opened", cause)
            .file(path)
            .advise("see who else writes into the directory, or open the log without it")
    })?;
    let door = Arc::new(door);
    let (doorman, log) = (Arc::clone(&door), Arc::downgrade(log));
    let thread = Builder::new()
        .name("siding-admin".to_owned())
        .spawn(move || serve(&doorman, &log))
        .map_err(|cause| Error::io("a thread cannot be started", cause))?;
    Ok((door, thread))
}

fn serve(door: &Door, log: &Weak<Inner>) {
    // An error of the socket itself ends the service, not the log.
    while let Ok(Some(visitor)) = door.visitor() {
        let answer = request(&visitor).and_then(|request| {
            let log = log.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "closed"))?;
            answer(&log, &request)
        });
        let text = match answer {
            Ok(lines) => format!("{lines}ok\n"),
            Err(error) => refusal(&error),
        };
        // Whoever has gone does not need it.
        let _ = visitor.say(text.as_bytes(), TO_READ);
    }
}

fn refusal(error: &Error) -> String {
    format!("error\t{:?}\t{}\n", error.kind(), escaped(&error.to_string()))
}

fn request(visitor: &Visitor) -> Result<String> {
    let line = visitor.line(MAX_REQUEST, TO_ASK).map_err(|cause| {
        let what = match cause.kind() {
            io::ErrorKind::InvalidData => format!("a request has {MAX_REQUEST} bytes at most"),
            io::ErrorKind::TimedOut => "no request came in time".to_owned(),
            _ => "a request is a line".to_owned(),
        };
        Error::new(ErrorKind::Invalid, what)
    })?;
    String::from_utf8(line).map_err(|_| Error::new(ErrorKind::Invalid, "a request is text"))
}

/// The lines that answer a request.
fn answer(log: &Arc<Inner>, request: &str) -> Result<String> {
    let (verb, rest) = request.trim().split_once(' ').unwrap_or((request.trim(), ""));
    let mut lines = String::new();
    match verb {
        "units" if rest.is_empty() => {
            // Without the effects the rest is still true.
            let effects = log.engine().fork_effects().unwrap_or_default();
            for unit in log.engine().units() {
                let effect = effects.iter().find(|effect| effect.unit == unit.unit);
                put_unit(&mut lines, &unit, effect);
            }
        }
        "why" if rest.is_empty() => {
            for pin in log.engine().why_retained() {
                put_pin(&mut lines, &pin);
            }
        }
        "positions" if rest.is_empty() => put_positions(&mut lines, &log.engine().positions()),
        "keypoint" if rest.is_empty() => {
            let begin = log.engine().keypoint()?;
            put(&mut lines, &[("begin", &begin)]);
        }
        "fork" | "hold" | "unhold" => {
            let unit = unit_number(rest.trim())?;
            let before = log.engine().rebuilt().len();
            let records = steer(log, verb, unit)?;
            let rebuilt = log.engine().rebuilt().into_iter().skip(before);
            let rebuilt = rebuilt.rev().find(|it| it.unit == unit).map_or(0, |it| it.records);
            let live = log.engine().units().into_iter().find(|live| live.unit == unit);
            put(
                &mut lines,
                &[
                    ("unit", &format!("{unit:#x}")),
                    ("records", &records),
                    ("rebuilt", &rebuilt),
                    ("problem", &or_empty(live.and_then(|live| live.problem))),
                ],
            );
        }
        "archive" if rest.is_empty() => {
            if let Some(status) = log.engine().archive_status()? {
                put_archive(&mut lines, &status);
            }
        }
        "back-up" => {
            backup::begin(log, rest)?;
            put(&mut lines, &[("state", &"running")]);
        }
        "backup-status" if rest.is_empty() => {
            if let Some(row) = backup::status(log) {
                let pairs = row.iter().map(|(name, value)| (*name, value as &dyn Display));
                put(&mut lines, &pairs.collect::<Vec<_>>());
            }
        }
        "resolve" => {
            let (unit, outcome, who) = resolution(rest)?;
            resolve(log, unit, outcome, who)?;
            put(&mut lines, &[("unit", &format!("{unit:#x}")), ("outcome", &named(outcome))]);
        }
        _ => {
            let what = "no such request; there are units, why, positions, keypoint, \
                        fork UNIT, hold UNIT, unhold UNIT, archive, back-up RATE|- AFTER|- DIR, \
                        backup-status, and resolve UNIT commit|back-out WHO";
            return Err(Error::new(ErrorKind::Invalid, what));
        }
    }
    Ok(lines)
}

fn unit_number(word: &str) -> Result<u64> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    number.map_err(|_| Error::new(ErrorKind::Invalid, format!("`{word}` is no unit's number")))
}

/// Moves a unit, or says whether it may be moved by itself. Returns how many records were moved.
fn steer(log: &Inner, verb: &str, unit: u64) -> Result<u64> {
    let engine = log.engine();
    if engine.units().iter().all(|live| live.unit != unit) {
        let what = format!("no unit {unit:#x} with records is live");
        return Err(Error::new(ErrorKind::NotFound, what).advise("see `siding units`"));
    }
    match verb {
        "hold" => engine.hold_unit(unit),
        "unhold" => engine.unhold_unit(unit),
        _ => return engine.fork_unit(unit),
    }
    Ok(0)
}

fn resolution(words: &str) -> Result<(u64, Outcome, &str)> {
    let wrong = || Error::new(ErrorKind::Invalid, "resolve UNIT commit|back-out WHO");
    let (unit, rest) = words.trim().split_once(' ').ok_or_else(wrong)?;
    let (outcome, who) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
    let unit = unit_number(unit).map_err(|_| wrong())?;
    let outcome = match outcome {
        "commit" => Outcome::Commit,
        "back-out" => Outcome::BackOut,
        _ => return Err(wrong()),
    };
    Ok((unit, outcome, who.trim()))
}

/// Has a unit decided heuristically, by the embedder if it wants to.
fn resolve(log: &Arc<Inner>, unit: u64, outcome: Outcome, who: &str) -> Result<()> {
    if !log.is_in_use() {
        let what = "the log is being recovered; nothing is decided meanwhile";
        return Err(Error::new(ErrorKind::InUse, what).advise("ask again when it is in use"));
    }
    let (gid, repeats) = {
        let core = log.engine().stream().core();
        (core.in_doubt(unit)?.gid.clone(), core.repeats_history())
    };
    let doubt = InDoubt::new(log, unit, gid).heuristically(Cause::Operator, who);
    match (log.resolver(), outcome) {
        (Some(resolver), _) => {
            // What the embedder shares with it is the embedder's to keep whole.
            let done = catch_unwind(AssertUnwindSafe(|| resolver(doubt, outcome)));
            let panicked =
                |_| Err(Error::new(ErrorKind::Callback, "the program's own handler panicked"));
            done.unwrap_or_else(panicked)?;
            if log.engine().stream().core().in_doubt(unit).is_ok() {
                let what = format!("the program left unit {unit:#x} in doubt");
                return Err(Error::new(ErrorKind::Callback, what));
            }
            Ok(())
        }
        (None, Outcome::Commit) if !repeats => {
            let what = "the program that has the log open does not take what is committed so";
            Err(Error::new(ErrorKind::Invalid, what).advise(
                "close the log and resolve the unit then, or open it with Options::resolve",
            ))
        }
        (None, Outcome::Commit) => doubt.commit().map(|_| ()).map_err(Error::from),
        (None, Outcome::BackOut) if !repeats => doubt.back_out(),
        // The program's undo handler does the rest, in the background or at its next open.
        (None, Outcome::BackOut) => doubt.decide(Outcome::BackOut).map(|_| ()).map_err(Error::from),
    }
}

fn named(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Commit => "commit",
        Outcome::BackOut => "back-out",
    }
}

/// A line of pairs. What a value holds of tabs and ends of lines is escaped.
fn put(lines: &mut String, pairs: &[(&str, &dyn Display)]) {
    for (index, (name, value)) in pairs.iter().enumerate() {
        let tab = if index == 0 { "" } else { "\t" };
        // Writing into a string cannot fail.
        let _ = write!(lines, "{tab}{name}={}", escaped(&value.to_string()));
    }
    lines.push('\n');
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
    out
}

/// A value that may be absent: then the text is empty.
fn or_empty(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn put_unit(lines: &mut String, unit: &UnitInfo, effect: Option<&ForkEffect>) {
    let gid: String = unit.gid.iter().map(|byte| format!("{byte:02x}")).collect();
    put(
        lines,
        &[
            ("unit", &format!("{:#x}", unit.unit)),
            ("state", &unit.state.name()),
            ("gid", &gid),
            ("first", &unit.first),
            ("head", &unit.head),
            ("floor", &or_empty(unit.floor)),
            ("records", &unit.records),
            ("bytes", &unit.bytes),
            ("age_ms", &or_empty(unit.age_ms)),
            ("in_doubt_ms", &unit.in_doubt_ms),
            ("secondary_records", &unit.secondary_records),
            ("secondary_bytes", &unit.secondary_bytes),
            ("moves", &unit.moves),
            ("held", if unit.held { &"1" } else { &"0" }),
            ("problem", &or_empty(unit.problem.as_deref())),
            ("oldest_segment", &or_empty(effect.and_then(|effect| effect.oldest))),
            ("segments", &effect.map_or(0, |effect| effect.segments)),
            ("cost", &effect.map_or(0, |effect| effect.cost)),
            ("gain", &effect.map_or(0, |effect| effect.gain)),
        ],
    );
}

fn put_pin(lines: &mut String, pin: &Pin) {
    let kind = match pin.kind {
        PinKind::Unit => "unit",
        PinKind::Keypoint => "keypoint",
        PinKind::Redo => "redo",
        PinKind::Update => "update",
        PinKind::Commits => "commits",
        PinKind::Backup => "backup",
        PinKind::Archive => "archive",
        PinKind::Originals => "originals",
    };
    let effect = pin.effect.as_ref();
    put(
        lines,
        &[
            ("kind", &kind),
            ("lsn", &pin.lsn),
            ("bytes", &pin.bytes),
            ("age_ms", &or_empty(pin.age_ms)),
            ("unit", &or_empty(pin.unit.map(|unit| format!("{unit:#x}")))),
            ("owner", &pin.owner),
            ("action", &pin.action),
            ("oldest_segment", &or_empty(effect.and_then(|effect| effect.oldest))),
            ("segments", &or_empty(effect.map(|effect| effect.segments))),
            ("cost", &or_empty(effect.map(|effect| effect.cost))),
            ("gain", &or_empty(effect.map(|effect| effect.gain))),
        ],
    );
}

fn put_archive(lines: &mut String, status: &ArchiveStatus) {
    let shipped = &status.shipped;
    put(
        lines,
        &[
            ("owner", &status.owner),
            ("place", &status.place),
            ("up_to", &shipped.upto),
            ("segments", &shipped.segments),
            ("held", &status.held_bytes),
            ("quota", &status.quota),
            ("let_go", if status.let_go { &"1" } else { &"0" }),
            ("failures", &shipped.failures),
            ("trouble", &or_empty(shipped.trouble.as_deref())),
            ("gaps", &shipped.gaps.len()),
        ],
    );
}

fn put_positions(lines: &mut String, at: &Positions) {
    let pairs: [(&str, &Lsn); 7] = [
        ("oldest", &at.oldest),
        ("redo", &at.redo),
        ("keypoint_begin", &at.keypoint_begin),
        ("keypoint_end", &at.keypoint_end),
        ("durable", &at.durable),
        ("written", &at.written),
        ("end", &at.end),
    ];
    put(lines, &pairs.map(|(name, lsn)| (name, lsn as &dyn Display)));
}
