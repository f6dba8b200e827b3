//! `siding repair`: puts back what an archive has of a damaged log, or cuts it. Says first what it
//! would do.

use super::{Bar, directory, look_into, read_only};
use crate::out::{Out, Tone, failed_but_read};
use crate::place::Place;
use crate::text;
use clap::Args;
use serde_json::{Value, json};
use siding::disk::{Clock, Disk, SystemClock};
use siding::repair::{Diagnosis, Mend, diagnose, mend, with_copies};
use siding::{Copying, ErrorKind, Lsn, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// Which log, and how far to go.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n    \
    siding repair ledger --from /backups/ledger\n    \
    siding repair ledger --from /backups/ledger --apply\n\n\
    Without --apply it says what it would do, and writes nothing. What is put back is of this\n\
    log's own history; what stands behind it stays. Where no copy helps the log can be cut where\n\
    what is whole ends, with --cut: what was committed behind is lost then. All that is changed\n\
    is copied aside first. Exits with 1 if the log is damaged, or stays so.")]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The directory with backups and archive.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Does it.
    #[arg(long)]
    apply: bool,
    /// Cuts the log where what is whole ends, if nothing else helps.
    #[arg(long)]
    cut: bool,
    /// Where what is changed is kept; beside the log's directory else.
    #[arg(long, value_name = "DIR")]
    aside: Option<PathBuf>,
}

pub(crate) fn run(args: &RepairArgs) -> Result<bool> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let disk = if args.apply { directory(&args.place.dir)? } else { read_only(&args.place.dir)? };
    let secondary = args.place.secondary.as_deref();
    let secondary = secondary
        .map(|dir| if args.apply { directory(dir) } else { read_only(dir) })
        .transpose()?;
    let sink = args.from.as_deref().map(look_into).transpose()?;
    let sink = sink.as_ref().map(|sink| sink as &dyn siding::sink::Sink);
    with_copies(sink, |copies| {
        let bar = Bar::new(args.place.json);
        let found = diagnose(&disk, secondary.as_ref(), &clock, copies, &|at| {
            bar.so_far(at.done, at.total);
        });
        bar.gone();
        let found = match found {
            Err(error) if error.kind() == ErrorKind::Missing => {
                return failed_but_read(&error, args.place.json);
            }
            other => other?,
        };
        show(&mut Out::new(args.place.json), &found, args.cut);
        if !args.apply || found.steps.is_empty() {
            return Ok(found.is_sound());
        }
        let aside = args.aside.clone().unwrap_or_else(|| beside(args, clock.wall_ms()));
        let kept = directory(&aside)?;
        let bar = Bar::new(args.place.json);
        let of_secondary: &dyn Disk = secondary.as_deref().unwrap_or(&*disk);
        let told = |at: &Copying<'_>| bar.copied(at);
        let done = mend(&found, (&*disk, of_secondary), &*kept, copies, args.cut, &told);
        bar.gone();
        match done {
            // Refused before anything was written.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                return failed_but_read(&error, args.place.json);
            }
            other => other?,
        }
        let after = diagnose(&disk, secondary.as_ref(), &clock, copies, &|_| {})?;
        let mut out = Out::new(args.place.json);
        if out.json {
            out.object(&json!({
                "type": "repaired",
                "sound": after.is_sound(),
                "findings": after.findings.len(),
                "aside": aside.display().to_string(),
            }));
        } else {
            let verdict = match after.is_sound() {
                true => out.toned(Tone::Good, "repaired"),
                false => out.toned(Tone::Bad, "not all is well: see `siding verify`"),
            };
            out.line(format!("{verdict}; what was there before is in {}", aside.display()));
        }
        Ok(after.is_sound())
    })?
}

/// A directory beside the log's.
fn beside(args: &RepairArgs, now_ms: u64) -> PathBuf {
    let mut name = args.place.dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".before-repair-{now_ms}"));
    args.place.dir.with_file_name(name)
}

fn step_object(step: &Mend) -> Value {
    match step {
        Mend::Segment { number, keeps_rest, .. } => {
            json!({"do": "put_back_segment", "segment": number, "keeps_rest": keeps_rest})
        }
        Mend::Extents { number, .. } => json!({"do": "put_back_extents", "file": number}),
        Mend::Cut(cut) => json!({
            "do": "cut",
            "at": cut.at.end.get(),
            "segments_dropped": cut.drops,
            "loses_bytes": cut.loses,
        }),
    }
}

fn step_line(step: &Mend, cut: bool) -> String {
    match step {
        Mend::Segment { number, .. } => format!("segment {number} is put back from the archive"),
        Mend::Extents { number, .. } => {
            format!("file {number:016x}.ext of the secondary log is put back from the archive")
        }
        Mend::Cut(it) => format!(
            "{} at {}: {} that were durable are lost, {} later segments go",
            if cut { "the log is cut" } else { "with --cut the log is cut" },
            it.at.end,
            text::bytes(it.loses),
            it.drops.len()
        ),
    }
}

fn show(out: &mut Out, found: &Diagnosis, cut: bool) {
    if out.json {
        out.object(&json!({
            "type": "diagnosis",
            "sound": found.is_sound(),
            "opens": found.opens,
            "findings": found.findings.iter().map(|finding| json!({
                "letter": finding.letter.map(String::from),
                "name": finding.name,
                "file": finding.file(),
                "lsn": finding.lsn.map(Lsn::get),
                "what": finding.what,
            })).collect::<Vec<_>>(),
            "steps": found.steps.iter().map(step_object).collect::<Vec<_>>(),
            "end": found.end.get(),
            "gap": found.gap.as_ref().map(|gap| gap.to_string()),
        }));
        return;
    }
    if found.is_sound() {
        let sound = out.toned(Tone::Good, "sound");
        out.line(format!("{sound}: there is nothing to repair"));
        return;
    }
    for finding in &found.findings {
        let letter = finding.letter.map_or_else(|| "-".to_owned(), String::from);
        let title = out.toned(Tone::Bad, &format!("[{letter}] {}", finding.name));
        let file = finding.file().unwrap_or_default();
        out.line(format!("{title}  {file}  {}", finding.what));
    }
    for step in &found.steps {
        out.line(step_line(step, cut));
    }
    if found.steps.is_empty() {
        let open = if found.opens {
            "the log opens: what is damaged lies below what an open reads; trimming takes it away"
        } else {
            "nothing here helps: name an archive with --from, or restore a backup"
        };
        out.line(open);
    }
    if let Some(gap) = &found.gap {
        out.line(format!("what lies above cannot be had: {gap}"));
    }
}
