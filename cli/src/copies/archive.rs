//! `siding archive`: ships a closed log, and shows what an archive holds.

use super::{known, look_into, put_into};
use crate::out::{Out, Tone};
use crate::place::{Place, is_owned};
use crate::{owner, text};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use siding::archive::{
    ArchiveOptions, BackupId, Compression, Histories, Inventory, LabelAt, Piece, Retention,
    SegmentIndex, Source, archive_log, gaps_of, prune,
};
use siding::disk::{Clock as _, SystemClock};
use siding::sink::DirectorySink;
use siding::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// What to do.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n    \
    siding archive ship ledger --to /backups/ledger\n    \
    siding archive list /backups/ledger\n\n\
    A program archives its log while it is open, with Log::archive_to; see `archive status`.")]
pub(crate) struct ArchiveArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Ships what an archive does not have of a closed log, up to its end.
    Ship(ShipArgs),
    /// Shows what an archive holds: backups, segments, gaps.
    List(ListArgs),
    /// Removes what no backup that is kept needs. Says first what; removes with --apply alone.
    Prune(PruneArgs),
    /// Shows how far the archiver of a log in use is.
    Status(StatusArgs),
}

/// From where to where.
#[derive(Args, Debug)]
struct ShipArgs {
    #[command(flatten)]
    place: Place,
    /// The directory that gets it.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How segments are stored.
    #[arg(long, value_enum, default_value = "none")]
    compression: How,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum How {
    /// As they are.
    None,
    /// By zstd.
    Zstd,
}

/// Which archive.
#[derive(Args, Debug)]
struct ListArgs {
    /// The directory that holds it.
    dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What is kept.
#[derive(Args, Debug)]
struct PruneArgs {
    /// The directory that holds backups and archive.
    dir: PathBuf,
    /// So many of the newest backups with objects, of each log.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = at_least_one)]
    keep: usize,
    /// Every position of the last so many days.
    #[arg(long, value_name = "DAYS")]
    window_days: Option<u64>,
    /// This backup, with what it rests on; may be given several times.
    #[arg(long = "pin", value_name = "BACKUP", value_parser = super::parse_id)]
    pinned: Vec<BackupId>,
    /// Removes it.
    #[arg(long)]
    apply: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

fn at_least_one(word: &str) -> std::result::Result<usize, String> {
    let count = word.parse().map_err(|_| format!("`{word}` is no number"))?;
    if count == 0 { Err("one is kept at least".to_owned()) } else { Ok(count) }
}

/// Of which log.
#[derive(Args, Debug)]
struct StatusArgs {
    #[command(flatten)]
    place: Place,
}

impl ArchiveArgs {
    pub(crate) fn json(&self) -> bool {
        match &self.verb {
            Verb::Ship(args) => args.place.json,
            Verb::List(args) => args.json,
            Verb::Prune(args) => args.json,
            Verb::Status(args) => args.place.json,
        }
    }
}

pub(crate) fn run(args: &ArchiveArgs) -> Result<bool> {
    match &args.verb {
        Verb::Ship(args) => ship(args),
        Verb::List(args) => list(args),
        Verb::Prune(args) => drop_old(args),
        Verb::Status(args) => status(args),
    }
}

fn ship(args: &ShipArgs) -> Result<bool> {
    let seen = args.place.look()?;
    if is_owned(&seen) {
        return Err(Error::new(ErrorKind::InUse, "the log is in use: its owner archives it")
            .advise("see `siding archive status`; a program archives with Log::archive_to"));
    }
    let sink = put_into(&args.to)?;
    let compression = match args.compression {
        How::None => Compression::None,
        How::Zstd => Compression::Zstd,
    };
    let options = ArchiveOptions { compression, ..ArchiveOptions::default() };
    let shipped = archive_log(&seen, &*sink, options)?;
    let mut out = Out::new(args.place.json);
    let gaps: Vec<String> = shipped.gaps.iter().map(|gap| gap.to_string()).collect();
    if out.json {
        out.object(&json!({"up_to": shipped.upto.get(), "gaps": gaps}));
    } else {
        out.line(format!("everything up to {} is in {}", shipped.upto, sink.place()));
        gaps.iter().for_each(|gap| out.line(format!("gap: {gap}")));
    }
    Ok(gaps.is_empty())
}

fn list(args: &ListArgs) -> Result<bool> {
    let sink = look_into(&args.dir)?;
    let found = Inventory::of(&sink)?;
    let piece = |index: &SegmentIndex| Piece { index: index.clone(), source: Source::Archive };
    let pieces: Vec<Piece> = found.segments.iter().map(piece).collect();
    let gaps = gaps_of(&Histories::new(&pieces));
    let mut out = Out::new(args.json);
    if out.json {
        for (_, manifest) in &found.backups {
            let backup = super::manifest_object(manifest);
            out.object(&json!({"type": "backup", "backup": backup}));
        }
        for index in &found.segments {
            let label = |it: &LabelAt| json!({"name": it.name, "lsn": it.lsn.get()});
            out.object(&json!({
                "type": "segment",
                "number": index.number,
                "file": index.segment_name(),
                "from": index.first_lsn().get(),
                "to": index.end().get(),
                "incarnation": index.highest(),
                "sealed": index.sealed,
                "stored_bytes": index.stored.len,
                "first_ms": index.marks.first().map(|mark| mark.time_ms),
                "last_ms": index.marks.last().map(|mark| mark.time_ms),
                "labels": index.labels.iter().map(label).collect::<Vec<_>>(),
            }));
        }
        out.object(&json!({
            "type": "summary",
            "backups": found.backups.len(),
            "segments": found.segments.len(),
            "extents": found.extents.len(),
            "gaps": gaps.iter().map(|gap| gap.to_string()).collect::<Vec<_>>(),
            "damaged": found.damaged.iter().map(|it| &it.0).collect::<Vec<_>>(),
            "unfinished": found.unfinished,
            "strangers": found.strangers,
        }));
        return Ok(gaps.is_empty() && found.damaged.is_empty());
    }
    for (_, manifest) in &found.backups {
        super::manifest_lines(manifest).iter().for_each(|line| out.line(line));
    }
    let headings = [">segment", ">from", ">to", ">incarnation", "state", ">stored", "last mark"];
    let row = |index: &SegmentIndex| {
        let mark = index.marks.last().map(|mark| text::moment(mark.time_ms));
        vec![
            index.number.to_string(),
            index.first_lsn().to_string(),
            index.end().to_string(),
            index.highest().to_string(),
            (if index.sealed { "sealed" } else { "open" }).to_owned(),
            text::bytes(index.stored.len),
            mark.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    out.table(&headings, &found.segments.iter().map(row).collect::<Vec<_>>());
    for (name, what) in &found.damaged {
        let damaged = out.toned(Tone::Bad, "damaged");
        out.line(format!("{damaged}: {name}: {what}"));
    }
    found.unfinished.iter().for_each(|name| out.line(format!("left over: {name}")));
    gaps.iter().for_each(|gap| out.line(format!("gap: {gap}")));
    Ok(gaps.is_empty() && found.damaged.is_empty())
}

fn drop_old(args: &PruneArgs) -> Result<bool> {
    let window_ms = args.window_days.map(|days| days.saturating_mul(86_400_000));
    let rule = Retention { count: args.keep, window_ms, pinned: args.pinned.clone() };
    // A place that is not there is not made for this.
    let disk = super::read_only(&args.dir)?;
    let disk = if args.apply { super::directory(&args.dir)? } else { disk };
    let now_ms = SystemClock::new().wall_ms();
    let done = prune(&DirectorySink::new(disk), &rule, now_ms, !args.apply)?;
    let mut out = Out::new(args.json);
    let gaps: Vec<String> = done.gaps.iter().map(|gap| gap.to_string()).collect();
    if out.json {
        out.object(&json!({
            "removed": args.apply,
            "kept_backups": done.kept.iter().map(|id| text::hex(id)).collect::<Vec<_>>(),
            "files": done.remove,
            "gaps": gaps,
        }));
        return Ok(true);
    }
    let verb = if args.apply { "removed" } else { "would be removed" };
    done.remove.iter().for_each(|name| out.line(format!("{verb}: {name}")));
    done.kept.iter().for_each(|id| out.line(format!("kept: backup {}", text::hex(id))));
    gaps.iter().for_each(|gap| out.line(format!("gap: {gap}")));
    Ok(true)
}

fn status(args: &StatusArgs) -> Result<bool> {
    let seen = args.place.look()?;
    let dir = &args.place.dir;
    let rows = owner::ask(dir, "archive")?.ok_or_else(|| crate::place::no_door(&seen))?;
    let mut out = Out::new(args.place.json);
    let Some(row) = rows.first() else {
        match out.json {
            true => out.object(&json!({"archived": false})),
            false => out.line("the program does not archive its log"),
        }
        return Ok(true);
    };
    let word = |name: &str| row.get(name).cloned().unwrap_or_default();
    let number = |name: &str| owner::number(row, name);
    let gaps = number("gaps").unwrap_or(0);
    let fine = gaps == 0 && word("trouble").is_empty();
    if out.json {
        out.object(&json!({
            "archived": true,
            "owner": word("owner"),
            "place": word("place"),
            "up_to": number("up_to").map(siding::Lsn::new).and_then(known),
            "segments_due": number("segments"),
            "held_bytes": number("held"),
            "quota_bytes": number("quota"),
            "let_go": word("let_go") == "1",
            "failures": number("failures"),
            "trouble": Some(word("trouble")).filter(|it| !it.is_empty()),
            "gaps": gaps,
        }));
        return Ok(fine);
    }
    out.line(format!("{} ships to {}", word("owner"), word("place")));
    out.line(format!(
        "up to {}; {} segments are due; {} of {} are kept for it",
        word("up_to"),
        word("segments"),
        text::bytes(number("held").unwrap_or(0)),
        text::bytes(number("quota").unwrap_or(0))
    ));
    if word("let_go") == "1" {
        out.line("more is due than may be kept: what is not shipped may be trimmed, and is a gap");
    }
    if !word("trouble").is_empty() {
        let trouble = out.toned(Tone::Bad, &word("trouble"));
        out.line(format!("failed {} times: {trouble}", word("failures")));
    }
    if gaps > 0 {
        out.line(format!("{gaps} gaps: a new backup leads over them"));
    }
    Ok(fine)
}
