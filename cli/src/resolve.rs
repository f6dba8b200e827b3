//! `siding resolve`: decides a unit in doubt without its coordinator.

use crate::offline;
use crate::out::{Out, failed_but_read, note};
use crate::owner;
use crate::place::{Place, is_owned, no_door};
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{
    Cause, Discipline, Error, ErrorKind, InDoubt, Kind, Lsn, Outcome, ReadOnly, Result, UnitInfo,
    UnitState,
};
use siding_wal::format::{Decision, PreparePayload};

/// Which unit, and how.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: siding resolve ledger transfer-7 --commit --who 'Ann, ticket 4711'\n\n\
    This decision is heuristic: the coordinator may have decided otherwise, and then the data are\n\
    damaged. Ask it first. A log in use is asked through its admin socket.\n\
    Exits with 1, and changes nothing, if the unit is not in doubt."
)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The unit's number, or its gid.
    #[arg(value_name = "UNIT|GID")]
    unit: String,
    /// Its effects count.
    #[arg(long, required_unless_present = "back_out", conflicts_with = "back_out")]
    commit: bool,
    /// They do not.
    #[arg(long)]
    back_out: bool,
    /// Who decides; stored with the decision. The default is the user's name.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
}

pub(crate) fn run(args: &ResolveArgs) -> Result<bool> {
    let dir = &args.place.dir;
    let seen = args.place.look()?;
    let owned = is_owned(&seen);
    let known = if owned {
        owner::units(dir)?.ok_or_else(|| no_door(&seen))?.into_iter().map(|known| known.0).collect()
    } else {
        if let Some(trouble) = seen.trouble() {
            return Err(trouble);
        }
        seen.units()
    };
    let unit = match in_doubt(&seen, &known, &args.unit) {
        Ok(unit) => unit,
        Err(error) => return failed_but_read(&error, args.place.json),
    };
    let (outcome, word) =
        if args.commit { (Outcome::Commit, "commit") } else { (Outcome::BackOut, "back-out") };
    let user = || std::env::var("USER").unwrap_or_default();
    let who = args.who.clone().unwrap_or_else(user).replace(['\n', '\r'], " ");
    let who = &who[..who.floor_char_boundary(255)];
    let done = if owned {
        let request = format!("resolve {:#x} {word} {who}", unit.unit);
        owner::ask(dir, &request).and_then(|rows| rows.ok_or_else(|| no_door(&seen)).map(drop))
    } else {
        in_files(args, &seen, unit.unit, outcome, who)
    };
    match done {
        Ok(()) => {}
        Err(error) if refused(&error) => return failed_but_read(&error, args.place.json),
        Err(error) => return Err(error),
    }
    say(args, &unit, word, who, if owned { "owner" } else { "files" });
    Ok(true)
}

/// Errors that say: it was not done, and the log is well.
fn refused(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyDecided
            | ErrorKind::NotFound
            | ErrorKind::Invalid
            | ErrorKind::InUse
            | ErrorKind::Callback
    )
}

fn say(args: &ResolveArgs, unit: &UnitInfo, word: &str, who: &str, through: &str) {
    let mut out = Out::new(args.place.json);
    let (gid, gid_hex) = text::gid_fields(&unit.gid);
    if out.json {
        out.object(&json!({
            "unit": text::unit(unit.unit),
            "gid": gid,
            "gid_hex": gid_hex,
            "outcome": word,
            "who": who,
            "through": through,
        }));
    } else {
        let (number, gid) = (text::unit(unit.unit), text::shown(&unit.gid));
        out.line(format!("unit {number}, gid {gid}: {word}, durable"));
    }
}

/// The unit in doubt that is meant; else what is known of it.
fn in_doubt(seen: &ReadOnly, units: &[UnitInfo], named: &str) -> Result<UnitInfo> {
    let number = text::parse_unit(named);
    let by_gid = units.iter().find(|unit| unit.gid == named.as_bytes());
    let by_number = units.iter().find(|unit| Some(unit.unit) == number);
    let unit = match (by_gid, by_number) {
        (Some(one), Some(other)) if one.unit != other.unit => {
            let what = format!("`{named}` is the number of one unit and the gid of another");
            return Err(Error::new(ErrorKind::Invalid, what).advise("name it by its number, 0x…"));
        }
        (Some(unit), _) | (None, Some(unit)) => unit,
        (None, None) => return Err(of_the_past(seen, named, number)?),
    };
    let number = text::unit(unit.unit);
    match unit.state {
        UnitState::InDoubt => Ok(unit.clone()),
        UnitState::InFlight => {
            let what = format!("unit {number} is in flight, not in doubt");
            Err(Error::new(ErrorKind::Invalid, what).advise("its own program ends it"))
        }
        state => {
            let what = format!("unit {number} is decided already ({})", state.name());
            Err(Error::new(ErrorKind::AlreadyDecided, what))
        }
    }
}

/// What the log still says of a unit that does not live.
fn of_the_past(seen: &ReadOnly, named: &str, number: Option<u64>) -> Result<Error> {
    let mut unit = number;
    let mut decided = None;
    let mut records = seen.records(Lsn::ZERO)?;
    while let Some(record) = records.next()? {
        match record.kind() {
            Kind::Prepare => {
                let prepare = PreparePayload::decode(record.raw()).ok();
                if prepare.is_some_and(|prepare| prepare.gid == named.as_bytes()) {
                    unit = Some(record.unit());
                }
            }
            Kind::Commit | Kind::Abort if Some(record.unit()) == unit => {
                decided = Some((record.unit(), record.kind(), record.lsn(), by_whom(record.raw())));
            }
            _ => {}
        }
    }
    Ok(match decided {
        Some((unit, kind, lsn, whom)) => {
            let how = if kind == Kind::Commit { "commit" } else { "back out" };
            let what = format!("unit {} is decided already: {how}{whom}", text::unit(unit));
            Error::new(ErrorKind::AlreadyDecided, what).at(lsn)
        }
        None => Error::new(ErrorKind::NotFound, format!("no unit `{named}` is in doubt"))
            .advise("see `siding units`"),
    })
}

fn by_whom(payload: &[u8]) -> String {
    match Decision::decode(payload) {
        Ok(decision) if !decision.who.is_empty() => {
            format!(", by {} {}", decision.cause.name(), decision.who.escape_debug())
        }
        Ok(decision) => format!(", by the {}", decision.cause.name()),
        Err(_) => String::new(),
    }
}

/// Opens the log, decides, and closes it.
fn in_files(
    args: &ResolveArgs,
    seen: &ReadOnly,
    unit: u64,
    outcome: Outcome,
    who: &str,
) -> Result<()> {
    let repeats = seen.identity().discipline == Discipline::RepeatHistory;
    let recovery = offline::open(&args.place, seen)?;
    let doubt = recovery.in_doubt().into_iter().find(|doubt| doubt.id() == unit);
    let doubt = doubt.ok_or_else(|| {
        let what = format!("unit {} is no longer in doubt", text::unit(unit));
        Error::new(ErrorKind::AlreadyDecided, what)
    })?;
    decide(doubt.heuristically(Cause::Operator, who), outcome, repeats)?;
    match offline::close(recovery)? {
        Some(0) => {}
        Some(count) => note(format!("{count} units that were in flight are backed out")),
        None => note("what is to be undone waits for the program's next open"),
    }
    Ok(())
}

fn decide(doubt: InDoubt, outcome: Outcome, repeats: bool) -> Result<()> {
    match outcome {
        Outcome::Commit => doubt.commit().map(drop).map_err(Error::from),
        // Only its program can undo it, and only then does it end.
        Outcome::BackOut if repeats => {
            doubt.decide(Outcome::BackOut).map(drop).map_err(Error::from)
        }
        Outcome::BackOut => doubt.back_out(),
    }
}
