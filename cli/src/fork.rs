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
    What of its moved records is lost is rebuilt first, from originals that are still on the main\n\
    log. What cannot be is named, and keeps no other record where it is.\n\
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

/// What came of it.
struct Done {
    unit: UnitInfo,
    /// Records that were moved.
    records: u64,
    /// Moved records of a unit of which some were lost, and none are now.
    rebuilt: u64,
    /// What of it is lost, and was not rebuilt.
    problem: Option<String>,
    through: &'static str,
}

pub(crate) fn run(args: &ForkArgs) -> Result<bool> {
    let seen = args.place.look()?;
    let done = if is_owned(&seen) { through_owner(args, &seen) } else { in_files(args, &seen) };
    match done {
        Ok(done) => {
            say(args, &done);
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

fn through_owner(args: &ForkArgs, seen: &ReadOnly) -> Result<Done> {
    let dir = &args.place.dir;
    let known = owner::units(dir)?.ok_or_else(|| no_door(seen))?;
    let unit = named(known.into_iter().map(|known| known.0), &args.unit)?;
    let request = format!("{} {:#x}", args.action(), unit.unit);
    let rows = owner::ask(dir, &request)?.ok_or_else(|| no_door(seen))?;
    let number = |name| rows.first().and_then(|row| owner::number(row, name)).unwrap_or(0);
    let problem = rows.first().and_then(|row| row.get("problem")).filter(|it| !it.is_empty());
    Ok(Done {
        unit,
        records: number("records"),
        rebuilt: number("rebuilt"),
        problem: problem.cloned(),
        through: "owner",
    })
}

fn in_files(args: &ForkArgs, seen: &ReadOnly) -> Result<Done> {
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
    worth_an_open(seen, &unit)?;
    let recovery = offline::open(&args.place, seen)?;
    let flying = recovery.in_flight().len();
    let log = recovery.finish()?;
    if flying > 0 {
        note(format!("{flying} units that were in flight are backed out, as every open does"));
    }
    let records = log.fork(unit.unit)?;
    let rebuilt =
        log.rebuilt().iter().rev().find(|it| it.unit == unit.unit).map_or(0, |it| it.records);
    let live = log.units().into_iter().find(|live| live.unit == unit.unit);
    let problem = live.and_then(|live| live.problem);
    log.close()?;
    Ok(Done { unit, records, rebuilt, problem, through: "files" })
}

/// Nothing is written for a unit that has nothing to move, if what it moved is lost for ever. What
/// others have lost keeps it from nothing; where the secondary log lies the open looks at itself.
fn worth_an_open(seen: &ReadOnly, unit: &UnitInfo) -> Result<()> {
    let lost = all_here(seen, unit);
    if lost.is_err() && (unit.records > 0 || seen.can_rebuild(unit.unit)) {
        return Ok(());
    }
    lost
}

/// Whether all moved records of the unit can be read.
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

fn say(args: &ForkArgs, done: &Done) {
    let mut out = Out::new(args.place.json);
    let Done { unit, records, rebuilt, problem, through } = done;
    let (gid, gid_hex) = text::gid_fields(&unit.gid);
    let number = text::unit(unit.unit);
    if out.json {
        out.object(&json!({
            "unit": number,
            "gid": gid,
            "gid_hex": gid_hex,
            "action": args.action(),
            "records": records,
            "rebuilt": rebuilt,
            "problem": problem,
            "through": through,
        }));
        return;
    }
    if *rebuilt > 0 {
        let what = "of its moved records some were lost; all are rebuilt from their originals";
        out.line(format!("unit {number}: {what} ({rebuilt} records)"));
    }
    out.line(match (args.action(), records) {
        ("hold", _) => format!("unit {number} is held: it is not moved by itself"),
        ("unhold", _) => format!("unit {number} may be moved"),
        (_, 0) => format!("unit {number} was moved already: there was nothing left to move"),
        (_, 1) => format!("unit {number}: 1 record moved, durable"),
        (_, count) => format!("unit {number}: {count} records moved, durable"),
    });
    if let Some(problem) = problem {
        out.line(format!("unit {number}: {problem}"));
    }
}
