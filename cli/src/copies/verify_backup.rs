//! `siding verify-backup`: would a restore of it go through?

use super::{Bar, look_into, manifest_lines, manifest_object, parse_id};
use crate::out::{Out, Tone, failed_but_read};
use clap::Args;
use serde_json::json;
use siding::archive::{BackupId, Inventory, gaps_of};
use siding::archive::{Histories, Piece, Source};
use siding::{Copying, ErrorKind, Result, verify_backup};
use std::path::PathBuf;

/// Which backups.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding verify-backup /backups/ledger\n\n\
    Reads every byte that a restore would read, and writes nothing. Names gaps in the log behind\n\
    the backups, and what is damaged or left over. Exits with 1 if anything cannot be restored.")]
pub(crate) struct VerifyBackupArgs {
    /// The directory that holds backups.
    dir: PathBuf,
    /// This backup alone; all of them else.
    #[arg(long, value_name = "BACKUP", value_parser = parse_id)]
    backup: Option<BackupId>,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &VerifyBackupArgs) -> Result<bool> {
    let sink = look_into(&args.dir)?;
    let found = Inventory::of(&sink)?;
    let wanted: Vec<BackupId> = match args.backup {
        Some(id) => vec![id],
        None => found.backups.iter().map(|(_, manifest)| manifest.id).collect(),
    };
    let mut fine = true;
    for id in &wanted {
        let bar = Bar::new(args.json);
        let seen = verify_backup(&sink, Some(*id), &|at: &Copying<'_>| bar.copied(at));
        bar.gone();
        match seen {
            Ok(manifest) => {
                let mut out = Out::new(args.json);
                if out.json {
                    let backup = manifest_object(&manifest);
                    out.object(&json!({"type": "backup", "ok": true, "backup": backup}));
                    continue;
                }
                let whole = out.toned(Tone::Good, "whole");
                let lines = manifest_lines(&manifest);
                lines.iter().enumerate().for_each(|(at, line)| {
                    out.line(if at == 0 { format!("{whole}: {line}") } else { line.clone() });
                });
            }
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => fine = failed_but_read(&error, args.json)?,
        }
    }
    rest(args, &found, wanted.len(), fine)
}

/// What else is in the place: gaps, damage, what is left over.
fn rest(
    args: &VerifyBackupArgs,
    found: &Inventory,
    backups: usize,
    mut fine: bool,
) -> Result<bool> {
    let pieces: Vec<Piece> = found
        .segments
        .iter()
        .map(|index| Piece { index: index.clone(), source: Source::Archive })
        .collect();
    let gaps = gaps_of(&Histories::new(&pieces));
    let mut out = Out::new(args.json);
    for (name, what) in &found.damaged {
        fine = false;
        match out.json {
            true => out.object(&json!({"type": "damaged", "file": name, "what": what})),
            false => {
                let damaged = out.toned(Tone::Bad, "damaged");
                out.line(format!("{damaged}: {name}: {what}"));
            }
        }
    }
    for name in &found.unfinished {
        match out.json {
            true => out.object(&json!({"type": "unfinished", "file": name})),
            false => out.line(format!("left over: {name}, of what was broken off or goes on")),
        }
    }
    let none = backups == 0;
    if out.json {
        out.object(&json!({
            "type": "summary",
            "ok": fine && !none,
            "backups": backups,
            "segments": found.segments.len(),
            "gaps": gaps.iter().map(|gap| gap.to_string()).collect::<Vec<_>>(),
            "damaged": found.damaged.len(),
            "unfinished": found.unfinished.len(),
            "strangers": found.strangers,
        }));
    } else {
        gaps.iter().for_each(|gap| out.line(format!("gap: {gap}")));
        if none {
            out.line("there is no complete backup");
        }
    }
    Ok(fine && !none)
}
