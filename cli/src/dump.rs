//! `siding dump`: the records of a log.

use crate::out::{Out, Tone, error_object, note};
use crate::place::Place;
use crate::record;
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{Error, ErrorKind, Kind, Lsn, ReadOnly, Record, Records, Result};
use std::time::Duration;

/// Between two looks at a log that is followed: at first, and when nothing comes.
const BRIEF: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(1);

/// Which records to print.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  siding dump ledger --kind prepare,commit,abort\n  \
    siding dump ledger --uow transfer-7 --hex\n  siding dump ledger -f --json\n\n\
    Of a log in use only what was durable is shown. Of a live unit those records that were moved\n\
    to the secondary log are shown too, wherever the main log begins.\n\
    -f pins nothing: what is trimmed before it was read is said, and it goes on at the oldest\n\
    position kept.")]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only records of this unit: its number, or the gid of a live one.
    #[arg(long, value_name = "UNIT|GID")]
    uow: Option<String>,
    /// Only records of these kinds: DATA, CLR, PREPARE, COMMIT, ABORT, END, KP_BEGIN, MARK …
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kind: Vec<Kind>,
    /// From this position on; below the oldest one kept there is nothing.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from: u64,
    /// Up to this position, which is not included.
    #[arg(long, value_name = "LSN")]
    to: Option<u64>,
    /// Go on, and print what becomes durable later, until it is interrupted or `--to` is reached.
    #[arg(short, long)]
    follow: bool,
    /// With the bytes of each record.
    #[arg(long)]
    hex: bool,
}

fn kind(name: &str) -> std::result::Result<Kind, String> {
    Kind::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("no record is called so; there are {}", names.join(", "))
    })
}

pub(crate) fn run(args: &DumpArgs) -> Result<bool> {
    let log = args.place.look()?;
    let unit = args.uow.as_deref().map(|named| unit_named(&log, named)).transpose()?;
    let mut out = Out::new(args.place.json);
    if !out.json {
        let heading = row(["LSN", "kind", "unit", "previous", "bytes", "says"]);
        let heading = out.toned(Tone::Faint, &heading);
        out.line(heading);
    }
    let oldest = log.positions().oldest;
    let mut from = Lsn::new(args.from);
    let mut whole = true;
    if let Some(unit) = unit.filter(|unit| from < oldest && was_moved(&log, *unit)) {
        whole = moved(args, &log, unit, &mut out);
        from = oldest;
    }
    whole &= on_main(args, &log, unit, from, &mut out)?;
    Ok(whole)
}

fn was_moved(log: &ReadOnly, unit: u64) -> bool {
    log.units().iter().any(|live| live.unit == unit && live.secondary_records > 0)
}

impl DumpArgs {
    fn wants(&self, unit: Option<u64>, record: &Record<'_>) -> bool {
        unit.is_none_or(|unit| record.unit() == unit)
            && (self.kind.is_empty() || self.kind.contains(&record.kind()))
    }

    fn to(&self) -> Lsn {
        self.to.map_or(Lsn::MAX, Lsn::new)
    }
}

/// The records of a unit that stand on the secondary log alone. False if they cannot be read.
fn moved(args: &DumpArgs, log: &ReadOnly, unit: u64, out: &mut Out) -> bool {
    let end = log.positions().oldest.min(args.to());
    let mut show = || -> Result<()> {
        let mut records = log.unit_chain(unit)?;
        while let Some(record) = records.next()?.filter(|record| record.lsn() < end) {
            if record.lsn().get() >= args.from && args.wants(Some(unit), &record) {
                print(out, &record, args.hex);
            }
        }
        Ok(())
    };
    show().map_err(|error| broken(out, &error)).is_ok()
}

/// The records of the main log. False if it ends where it cannot be read.
fn on_main(
    args: &DumpArgs,
    log: &ReadOnly,
    unit: Option<u64>,
    from: Lsn,
    out: &mut Out,
) -> Result<bool> {
    let mut records = log.records(from)?;
    let (mut pause, mut seen) = (BRIEF, from);
    loop {
        match records.next() {
            Ok(Some(record)) if record.lsn() >= args.to() => return Ok(true),
            Ok(Some(record)) => {
                (pause, seen) = (BRIEF, record.lsn());
                if args.wants(unit, &record) {
                    print(out, &record, args.hex);
                }
            }
            Ok(None) if args.follow => {
                out.flush();
                std::thread::sleep(pause);
                pause = LONG.min(pause * 2);
                records.refresh()?;
            }
            Ok(None) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Trimmed && args.follow => {
                records = behind(args, seen, out)?;
            }
            Err(error) if error.kind() == ErrorKind::Trimmed => return Err(error),
            Err(error) => {
                broken(out, &error);
                return Ok(false);
            }
        }
    }
}

/// Whoever follows fell behind what is kept: says so, and goes on there.
fn behind(args: &DumpArgs, seen: Lsn, out: &mut Out) -> Result<Records> {
    let log = args.place.look()?;
    let oldest = log.positions().oldest;
    if out.json {
        out.object(&json!({ "trimmed": { "behind": seen.get(), "below": oldest.get() } }));
    }
    out.flush();
    note(format!("trimmed before it was read: what stood behind {seen}, below {oldest}"));
    log.records(oldest)
}

fn broken(out: &mut Out, error: &Error) {
    if out.json {
        out.object(&error_object(error));
    }
    out.flush();
    note(error.to_string());
}

/// The unit somebody means by its number, or by the gid it has while it lives.
pub(crate) fn unit_named(log: &ReadOnly, named: &str) -> Result<u64> {
    let by_gid = log.units().into_iter().find(|unit| unit.gid == named.as_bytes());
    by_gid.map(|unit| unit.unit).or_else(|| text::parse_unit(named)).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("no live unit has the gid `{named}`"))
            .advise("see `siding units`; a unit that has ended is named by its number")
    })
}

fn print(out: &mut Out, record: &Record<'_>, hex: bool) {
    if out.json {
        out.object(&record::object(record, hex));
        return;
    }
    let unit = if record.unit() == 0 { "-".to_owned() } else { text::unit(record.unit()) };
    let (lsn, prev) = (record.lsn().to_string(), text::position(record.prev()));
    let (len, words) = (record.raw().len().to_string(), record::words(record));
    out.line(row([&lsn, record.kind().name(), &unit, &prev, &len, &words]));
    if hex {
        for line in text::hex_dump(record.raw()) {
            out.line(line);
        }
    }
}

fn row(cells: [&str; 6]) -> String {
    let [lsn, kind, unit, prev, len, words] = cells;
    let line = format!("{lsn:>12}  {kind:<9}  {unit:<15}  {prev:>12}  {len:>8}  {words}");
    line.trim_end().to_owned()
}
