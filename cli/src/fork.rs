//! `siding fork`: moves a unit's records to the secondary log, or says that it stays.

use crate::offline;
use crate::out::{Out, failed_but_read, note};
use crate::owner;
use crate::place::{Place, is_owned, no_door};
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{Error, ErrorKind, ReadOnly, Result, UnitInfo, UnitState};

/// Which unit, and whether it is to go.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding fork ledger transfer-7\n\n\
    The unit goes on as before and holds no main log any more; a keypoint trims what it held.\n\
    What pins a log in use is moved by itself, where that pays: see `siding why`.\n\
    A log in use is asked through its admin socket; a closed one is opened for it: name the place\n\
    of its secondary log, if the program that uses it does.\n\
    Exits with 1, and changes nothing, if the unit does not live or has no room to go to.")]
pub(crate) struct ForkArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The unit's number, or its gid.
    #[arg(value_name = "UNIT|GID")]
    unit: String,
    /// Keep it from being moved by itself, until `--unhold` or the next open.
    #[arg(long, conflicts_with = "unhold")]
    hold: bool,
    /// Let it be moved by itself again.
    #[arg(long)]
    unhold: bool,
}

impl ForkArgs {
    fn action(&self) -> &'static str {
        match (self.hold, self.unhold) {
            (true, _) => "hold",
            (_, true) => "unhold",
            _ => "fork",
        }
    }
}

pub(crate) fn run(args: &ForkArgs) -> Result<bool> {
    let seen = args.place.look()?;
    let done = if is_owned(&seen) {
        through_owner(args, &seen).map(|done| (done, "owner"))
    } else {
        in_files(args, &seen).map(|done| (done, "files"))
    };
    match done {
        Ok(((unit, records), through)) => {
            say(args, &unit, records, through);
            Ok(true)
        }
        Err(error) if refused(&error) => failed_but_read(&error, args.place.json),
        Err(error) => Err(error),
    }
}

/// Errors that say: it was not done, and the log is well.
fn refused(error: &Error) -> bool {
    use ErrorKind::{InUse, Invalid, LogFull, NotFound, UnitEnded};
    matches!(error.kind(), NotFound | Invalid | InUse | LogFull | UnitEnded)
}

fn through_owner(args: &ForkArgs, seen: &ReadOnly) -> Result<(UnitInfo, u64)> {
    let dir = &args.place.dir;
    let known = owner::units(dir)?.ok_or_else(|| no_door(seen))?;
    let unit = named(known.into_iter().map(|known| known.0), &args.unit)?;
    let request = format!("{} {:#x}", args.action(), unit.unit);
    let rows = owner::ask(dir, &request)?.ok_or_else(|| no_door(seen))?;
    let records = rows.first().and_then(|row| owner::number(row, "records"));
    Ok((unit, records.unwrap_or(0)))
}

fn in_files(args: &ForkArgs, seen: &ReadOnly) -> Result<(UnitInfo, u64)> {
    if let Some(trouble) = seen.trouble() {
        return Err(trouble);
    }
    let unit = named(seen.units().into_iter(), &args.unit)?;
    if args.action() != "fork" {
        let what = format!("nobody has the log open: nothing moves unit {:#x}", unit.unit);
        return Err(Error::new(ErrorKind::Invalid, what)
            .advise("a unit is held while its log is open: ask again then"));
    }
    if unit.state == UnitState::InFlight {
        let what = format!("unit {:#x} was in flight, and the next open ends it", unit.unit);
        return Err(Error::new(ErrorKind::Invalid, what).advise("nothing is to be moved"));
    }
    all_here(seen, &unit)?;
    let recovery = offline::open(&args.place, seen)?;
    let flying = recovery.in_flight().len();
    let log = recovery.finish()?;
    if flying > 0 {
        note(format!("{flying} units that were in flight are backed out, as every open does"));
    }
    let records = log.fork(unit.unit)?;
    log.close()?;
    Ok((unit, records))
}

/// Nothing is written for a unit of which moved records cannot be read. What others have lost keeps
/// it from nothing; where the secondary log lies the open looks at itself.
fn all_here(seen: &ReadOnly, unit: &UnitInfo) -> Result<()> {
    if unit.secondary_records > 0 {
        let mut records = seen.unit_records(unit.unit)?;
        while records.next()?.is_some_and(|record| record.lsn() > unit.first) {}
    }
    Ok(())
}

/// The live unit that is meant.
fn named(units: impl Iterator<Item = UnitInfo>, named: &str) -> Result<UnitInfo> {
    let number = text::parse_unit(named);
    let mut found: Vec<UnitInfo> =
        units.filter(|unit| Some(unit.unit) == number || unit.gid == named.as_bytes()).collect();
    if found.len() > 1 {
        let what = format!("`{named}` is the number of one unit and the gid of another");
        return Err(Error::new(ErrorKind::Invalid, what).advise("name it by its number, 0x…"));
    }
    found.pop().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("no unit `{named}` is live"))
            .advise("see `siding units`")
    })
}

fn say(args: &ForkArgs, unit: &UnitInfo, records: u64, through: &str) {
    let mut out = Out::new(args.place.json);
    let (gid, gid_hex) = text::gid_fields(&unit.gid);
    let number = text::unit(unit.unit);
    if out.json {
        out.object(&json!({
            "unit": number,
            "gid": gid,
            "gid_hex": gid_hex,
            "action": args.action(),
            "records": records,
            "through": through,
        }));
        return;
    }
    out.line(match (args.action(), records) {
        ("hold", _) => format!("unit {number} is held: it is not moved by itself"),
        ("unhold", _) => format!("unit {number} may be moved"),
        (_, 0) => format!("unit {number} was moved already: there was nothing left to move"),
        (_, 1) => format!("unit {number}: 1 record moved, durable"),
        (_, count) => format!("unit {number}: {count} records moved, durable"),
    });
}
