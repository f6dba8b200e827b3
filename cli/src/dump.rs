//! `siding dump`: the records of a log.

use crate::out::{Out, Tone, error_object, note};
use crate::place::Place;
use crate::record;
use crate::text;
use clap::Args;
use siding::{Error, ErrorKind, Kind, Lsn, ReadOnly, Record, Result};

/// Which records to print.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  siding dump ledger --kind prepare,commit,abort\n  \
    siding dump ledger --uow transfer-7 --hex\n\n\
    Of a log in use only what was durable is shown.")]
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
    let wanted = |record: &Record<'_>| {
        unit.is_none_or(|unit| record.unit() == unit)
            && (args.kind.is_empty() || args.kind.contains(&record.kind()))
    };
    let to = args.to.map_or(Lsn::MAX, Lsn::new);
    let mut out = Out::new(args.place.json);
    let mut records = log.records(Lsn::new(args.from))?;
    if !out.json {
        let heading = row(["LSN", "kind", "unit", "previous", "bytes", "says"]);
        let heading = out.toned(Tone::Faint, &heading);
        out.line(heading);
    }
    loop {
        match records.next() {
            Ok(Some(record)) if record.lsn() >= to => return Ok(true),
            Ok(Some(record)) if wanted(&record) => print(&mut out, &record, args.hex),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Trimmed => return Err(error),
            Err(error) => {
                if out.json {
                    out.object(&error_object(&error));
                }
                drop(out);
                note(error.to_string());
                return Ok(false);
            }
        }
    }
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
