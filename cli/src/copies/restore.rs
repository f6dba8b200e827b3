//! `siding restore`: a plan first, then what it says.

use super::{Bar, directory, look_into, parse_id, put_into};
use crate::out::{Out, failed_but_read};
use crate::text;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use siding::archive::{BackupId, Plan, Source, Target, Wanted};
use siding::disk::{Disk, LogFile};
use siding::sink::Sink;
use siding::{BackupFile, Copying, Error, ErrorKind, Lsn, Outcome, Record, Result};
use siding::{InDoubtPolicy, RestoreOptions, Restored, UnitName};
use siding::{plan_before_commit, plan_restore, restore_object, restore_to};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// From where, up to where, and where to.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n    \
    siding restore --from /backups/ledger --plan --to-time '2026-11-30 12:00:00'\n    \
    siding restore --from /backups/ledger --into ledger.new --files pages.new\n\n\
    Without a target: all that can be reached. The plan is made first, and refuses what cannot be\n\
    done with what can; with --plan it is all that happens. Targets: every record that ends at or\n\
    below --to-lsn; all up to the last mark that is not later than --to-time; what was there just\n\
    before the unit of --to-unit committed; up to the record that gave the name of --to-label.\n\
    Then open the log: redo brings the files there. Exits with 1 if the plan is refused.")]
pub(crate) struct RestoreArgs {
    /// The directory with backups and archive.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    plan: bool,
    /// Where the log goes: an empty directory, or one to create.
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    into: Option<PathBuf>,
    /// Where files of objects go; the directory of --into else.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    /// From this backup alone.
    #[arg(long, value_name = "BACKUP", value_parser = parse_id)]
    backup: Option<BackupId>,
    /// The log as this incarnation left it.
    #[arg(long, value_name = "NUMBER")]
    incarnation: Option<u32>,
    /// Of this log, where there are several.
    #[arg(long, value_name = "LOG", value_parser = parse_id)]
    log: Option<BackupId>,
    /// What becomes of units in doubt.
    #[arg(long, value_enum, default_value = "keep")]
    in_doubt: Policy,
    /// Where `--in-doubt export` puts what they would have changed, one JSON object a line.
    #[arg(long, value_name = "FILE", required_if_eq("in_doubt", "export"))]
    export: Option<PathBuf>,
    /// This object alone, while all else stays in service: its file goes back, the log into
    /// --into, of no use afterwards, and what must be redone into --redo.
    #[arg(long, value_name = "NUMBER", requires = "redo")]
    object: Option<u16>,
    /// What must be done to the object's files, in order, one JSON object a line.
    #[arg(long, value_name = "FILE", requires = "object")]
    redo: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Up to where.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct TargetArgs {
    /// Records that end at or below this.
    #[arg(long, value_name = "LSN")]
    to_lsn: Option<u64>,
    /// Up to this moment: milliseconds since 1970, or `YYYY-MM-DD HH:MM:SS` in UTC.
    #[arg(long, value_name = "TIME", value_parser = text::parse_moment)]
    to_time: Option<u64>,
    /// Just before this unit committed: its number, or its gid.
    #[arg(long, value_name = "UNIT|GID")]
    to_unit: Option<String>,
    /// Up to the record that gave this name.
    #[arg(long, value_name = "NAME")]
    to_label: Option<String>,
    /// The end of the newest backup, without the log behind it.
    #[arg(long)]
    to_backup: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// They stay in doubt.
    Keep,
    /// They are committed.
    Commit,
    /// They are backed out.
    BackOut,
    /// What they would have changed is written down, and they are backed out.
    Export,
}

impl RestoreArgs {
    fn planned(&self, sink: &dyn Sink) -> Result<Plan> {
        let to = &self.target;
        let target = match (to.to_lsn, to.to_time, &to.to_label) {
            (Some(lsn), _, _) => Target::Lsn(Lsn::new(lsn)),
            (_, Some(time), _) => Target::Time(time),
            (_, _, Some(name)) => Target::Label(name.clone()),
            _ if to.to_backup => Target::BackupEnd(self.backup),
            _ => Target::End,
        };
        let (incarnation, backup) = (self.incarnation, self.backup);
        let wanted = Wanted { target, incarnation, backup, log_id: self.log };
        match &to.to_unit {
            Some(name) => {
                let number = text::parse_unit(name).map(UnitName::Number);
                let by_gid = || UnitName::Gid(name.as_bytes());
                match plan_before_commit(sink, &wanted, number.unwrap_or_else(by_gid)) {
                    // A gid may look like a number.
                    Err(error) if number.is_some() && error.kind() == ErrorKind::NotFound => {
                        plan_before_commit(sink, &wanted, by_gid()).map_err(|_| error)
                    }
                    other => other,
                }
            }
            None => plan_restore(sink, &wanted),
        }
    }
}

pub(crate) fn run(args: &RestoreArgs) -> Result<bool> {
    let sink = look_into(&args.from)?;
    let plan = match args.planned(&sink) {
        Ok(plan) => plan,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(error) => return failed_but_read(&error, args.json),
    };
    let Some(into) = args.into.as_ref().filter(|_| !args.plan) else {
        show(&mut Out::new(args.json), &plan);
        return Ok(true);
    };
    if !args.json {
        show(&mut Out::new(false), &plan);
    }
    let bar = Bar::new(args.json);
    let done = match args.object {
        Some(object) => roll_forward(args, &sink, &plan, into, object),
        None => carry_out(args, &sink, &plan, into, &bar),
    };
    bar.gone();
    let said = done?;
    let mut out = Out::new(args.json);
    match out.json {
        true => out.object(&said.0),
        false => said.1.iter().for_each(|line| out.line(line)),
    }
    Ok(true)
}

/// What is said of what was done, to programs and to people.
type Said = (Value, Vec<String>);

/// A new file of an object in a directory. What is there already is left alone.
fn file_in(disk: &Arc<dyn Disk>, file: &BackupFile) -> Result<Option<Arc<dyn LogFile>>> {
    let io = |cause| {
        Error::io("a file cannot be put back", cause)
            .file(disk.path().unwrap_or_default().join(&file.name))
            .advise("name a place where nothing is; what a broken off restore left can be removed")
    };
    let made = disk.create(&file.name).map_err(io)?;
    disk.sync_dir().map_err(io)?;
    Ok(Some(made))
}

fn carry_out(
    args: &RestoreArgs,
    sink: &dyn Sink,
    plan: &Plan,
    into: &Path,
    bar: &Bar,
) -> Result<Said> {
    let disk = directory(into)?;
    let files = args.files.as_deref().map_or_else(|| Ok(Arc::clone(&disk)), directory)?;
    let told = |at: &Copying<'_>| bar.copied(at);
    let export = args.export.as_deref().map(split).transpose()?;
    let place = export.as_ref().map(|(place, _)| put_into(place)).transpose()?;
    let policy = match (args.in_doubt, &place, &export) {
        (Policy::Export, Some(place), Some((_, name))) => InDoubtPolicy::Export(&**place, name),
        (Policy::Commit, _, _) => InDoubtPolicy::Commit,
        (Policy::BackOut, _, _) => InDoubtPolicy::BackOut,
        _ => InDoubtPolicy::Keep,
    };
    let options = RestoreOptions::new().in_doubt(policy).who("siding restore").told(&told);
    let restored = restore_to(sink, plan, &disk, &|file| file_in(&files, file), &options)?;
    Ok(said_of(&restored, into))
}

fn said_of(restored: &Restored, into: &Path) -> Said {
    let named = |outcome: Option<Outcome>| match outcome {
        None => "in doubt",
        Some(Outcome::Commit) => "committed",
        Some(Outcome::BackOut) => "backed out",
    };
    let doubt = |doubt: &siding::Doubt| {
        let (gid, gid_hex) = text::gid_fields(&doubt.gid);
        let state = named(doubt.outcome);
        json!({"unit": text::unit(doubt.unit), "gid": gid, "gid_hex": gid_hex, "state": state})
    };
    let log = &restored.log;
    let object = json!({
        "type": "restored",
        "into": into.display().to_string(),
        "to": log.to.get(),
        "end": log.end.get(),
        "segments": log.segments,
        "recovery_point": log.recovery_point.get(),
        "in_doubt": restored.in_doubt.iter().map(doubt).collect::<Vec<_>>(),
    });
    let mut lines = vec![format!(
        "restored to {} in {}: open it, and redo from {} brings the files there",
        log.to,
        into.display(),
        log.recovery_point
    )];
    lines.extend(restored.in_doubt.iter().map(|doubt| {
        let (unit, gid) = (text::unit(doubt.unit), text::shown(&doubt.gid));
        format!("    unit {unit}, gid {gid}: {}", named(doubt.outcome))
    }));
    (object, lines)
}

/// One object: its file, and what must be done to it.
fn roll_forward(
    args: &RestoreArgs,
    sink: &dyn Sink,
    plan: &Plan,
    into: &Path,
    object: u16,
) -> Result<Said> {
    let scratch = directory(into)?;
    let files = args.files.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "a file that goes back alone needs a place: --files")
    })?;
    let files = directory(files)?;
    let (place, name) = split(args.redo.as_deref().unwrap_or(Path::new("redo")))?;
    let list = put_into(&place)?;
    let unwritten = |cause| Error::io("the list of what to redo cannot be written", cause);
    let mut put = list.put(&name).map_err(unwritten)?;
    let mut redo = |record: &Record<'_>| -> Result<()> {
        let line = json!({
            "lsn": record.lsn().get(),
            "resource": record.resource(),
            "payload_hex": text::hex(record.payload()),
        });
        put.write(format!("{line}\n").as_bytes()).map_err(unwritten)
    };
    let target = |file: &BackupFile| file_in(&files, file);
    let done = restore_object(sink, plan, object, &scratch, &target, &mut redo)?;
    put.finish().map_err(unwritten)?;
    let said = json!({
        "type": "rolled_forward",
        "object": object,
        "from": done.from.get(),
        "to": done.to.get(),
        "records": done.records,
    });
    let line = format!(
        "object {object}: its files are as of {}; {} records up to {} are to be redone, in {}",
        done.from,
        done.records,
        done.to,
        place.join(name).display()
    );
    Ok((said, vec![line]))
}

/// Directory and name of a file.
fn split(file: &Path) -> Result<(PathBuf, String)> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name =
        name.ok_or_else(|| Error::new(ErrorKind::Invalid, "this names no file").file(file))?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")).to_owned(), name.to_owned()))
}

fn show(out: &mut Out, plan: &Plan) {
    match out.json {
        true => out.object(&plan_object(plan)),
        false => plan_lines(plan).iter().for_each(|line| out.line(line)),
    }
}

fn plan_object(plan: &Plan) -> Value {
    let part = |part: &siding::archive::Part| {
        json!({
            "segment": part.piece.index.number,
            "file": match part.piece.source {
                Source::Archive => Some(part.piece.index.segment_name()),
                Source::Directory => None,
            },
            "up_to": part.upto.get(),
        })
    };
    let file =
        |file: &BackupFile| json!({"name": file.name, "stored": file.stored, "bytes": file.len});
    let doubt = |(unit, gid): &(u64, Vec<u8>)| {
        let (gid, gid_hex) = text::gid_fields(gid);
        json!({"unit": text::unit(*unit), "gid": gid, "gid_hex": gid_hex})
    };
    json!({
        "type": "plan",
        "log_id": text::hex(&plan.log_id),
        "backup": text::hex(&plan.backup),
        "then": plan.increments.iter().map(|id| text::hex(id)).collect::<Vec<_>>(),
        "objects": plan.objects.iter().map(file).collect::<Vec<_>>(),
        "extents": plan.extents.iter().map(file).collect::<Vec<_>>(),
        "log": plan.log.iter().map(part).collect::<Vec<_>>(),
        "floor": plan.floor.get(),
        "recovery_point": plan.recovery_point.get(),
        "target": plan.target.get(),
        "mark_ms": plan.mark.map(|mark| mark.time_ms),
        "in_doubt": plan.in_doubt.iter().map(doubt).collect::<Vec<_>>(),
        "incarnation": plan.incarnation,
        "reachable": super::reachable(&plan.reachable),
        "unreachable": plan.unreachable.iter().map(|gap| gap.to_string()).collect::<Vec<_>>(),
    })
}

fn plan_lines(plan: &Plan) -> Vec<String> {
    let bytes: u64 = plan.objects.iter().chain(&plan.extents).map(|file| file.len).sum();
    let mut lines = vec![format!(
        "from backup {}: {} files, {}",
        text::hex(&plan.backup),
        plan.objects.len() + plan.extents.len(),
        text::bytes(bytes)
    )];
    lines.extend(plan.increments.iter().map(|id| format!("    then {}", text::hex(id))));
    lines.push(format!(
        "log from {} to {}: {} segments; redo begins at {}",
        plan.floor,
        plan.target,
        plan.log.len(),
        plan.recovery_point
    ));
    if let Some(mark) = plan.mark {
        lines.push(format!(
            "the target is the mark of {}: nothing that was written behind it",
            text::moment(mark.time_ms)
        ));
    }
    lines.extend(plan.in_doubt.iter().map(|(unit, gid)| {
        format!(
            "in doubt at the backup's end: unit {}, gid {}",
            text::unit(*unit),
            text::shown(gid)
        )
    }));
    let it = &plan.reachable;
    let times = it.times_ms.map_or_else(
        || "no moment".to_owned(),
        |(first, last)| format!("{} to {}", text::moment(first), text::moment(last)),
    );
    lines.push(format!(
        "could be restored: {} to {}, {times}, of incarnation {} and before",
        it.from, it.to, it.incarnation
    ));
    lines.extend(plan.unreachable.iter().map(|gap| format!("not: {gap}")));
    lines
}
