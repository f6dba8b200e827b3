//! `siding verify-backup`: would a restore of it go through?

use super::{Bar, look_into, manifest_lines, manifest_object, parse_id};
use crate::out::{Out, Tone, failed_but_read};
use crate::text;
use clap::Args;
use serde_json::json;
use siding::archive::{ArchiveReport, BackupId, verify_archive};
use siding::sink::DirectorySink;
use siding::{Copying, ErrorKind, Manifest, Result, verify_backup};
use std::path::PathBuf;

/// Which backups.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding verify-backup /backups/ledger\n\n\
    Reads everything there, archive included, and writes nothing. Names what is damaged, gaps in\n\
    the log, what is left over, and what can be reached. With --backup it reads what a restore of\n\
    that one to its end would read. Exits with 1 if anything cannot be restored.")]
pub(crate) struct VerifyBackupArgs {
    /// The directory that holds backups.
    dir: PathBuf,
    /// This backup alone.
    #[arg(long, value_name = "BACKUP", value_parser = parse_id)]
    backup: Option<BackupId>,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &VerifyBackupArgs) -> Result<bool> {
    let sink = look_into(&args.dir)?;
    match args.backup {
        Some(id) => one(args, &sink, id),
        None => all(args, &sink),
    }
}

fn one(args: &VerifyBackupArgs, sink: &DirectorySink, id: BackupId) -> Result<bool> {
    let bar = Bar::new(args.json);
    let seen = verify_backup(sink, Some(id), &|at: &Copying<'_>| bar.copied(at));
    bar.gone();
    match seen {
        Ok(manifest) => {
            show(&mut Out::new(args.json), &manifest);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::Io => Err(error),
        Err(error) => failed_but_read(&error, args.json),
    }
}

fn show(out: &mut Out, manifest: &Manifest) {
    if out.json {
        let backup = manifest_object(manifest);
        return out.object(&json!({"type": "backup", "ok": true, "backup": backup}));
    }
    let whole = out.toned(Tone::Good, "whole");
    for (at, line) in manifest_lines(manifest).iter().enumerate() {
        out.line(if at == 0 { format!("{whole}: {line}") } else { line.clone() });
    }
}

fn all(args: &VerifyBackupArgs, sink: &DirectorySink) -> Result<bool> {
    let bar = Bar::new(args.json);
    let report = verify_archive(sink, &|name| bar.at(name));
    bar.gone();
    let report = report?;
    let mut out = Out::new(args.json);
    for id in &report.backups {
        show(&mut out, &Manifest::read(sink, *id)?);
    }
    let fine = report.is_sound() && !report.backups.is_empty();
    if out.json {
        objects(&mut out, &report, fine);
    } else {
        lines(&mut out, &report);
    }
    Ok(fine)
}

fn objects(out: &mut Out, report: &ArchiveReport, fine: bool) {
    for (name, what) in &report.findings {
        out.object(&json!({"type": "damaged", "file": name, "what": what}));
    }
    out.object(&json!({
        "type": "summary",
        "ok": fine,
        "backups": report.backups.len(),
        "segments": report.segments,
        "bytes": report.bytes,
        "findings": report.findings.len(),
        "gaps": report.gaps.iter().map(|gap| gap.to_string()).collect::<Vec<_>>(),
        "reachable": report.reachable.iter().map(super::reachable).collect::<Vec<_>>(),
        "unfinished": report.unfinished,
        "strangers": report.strangers,
    }));
}

fn lines(out: &mut Out, report: &ArchiveReport) {
    for (name, what) in &report.findings {
        let damaged = out.toned(Tone::Bad, "damaged");
        out.line(format!("{damaged}: {name}: {what}"));
    }
    report.gaps.iter().for_each(|gap| out.line(format!("gap: {gap}")));
    for name in &report.unfinished {
        out.line(format!("left over: {name}, of what was broken off or goes on"));
    }
    out.line(format!("{} segments are whole, {}", report.segments, text::bytes(report.bytes)));
    for it in &report.reachable {
        out.line(format!("can be restored: {it}"));
    }
    if report.backups.is_empty() {
        out.line("there is no complete backup");
    }
}
