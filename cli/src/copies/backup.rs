//! `siding backup`: copies a log, and the files it brings up to date, while work goes on.

use super::{Bar, manifest_lines, manifest_object, parse_id, put_into};
use crate::offline;
use crate::out::{Out, note};
use crate::owner;
use crate::place::{Place, is_owned, no_door};
use clap::Args;
use siding::archive::{BackupId, Inventory};
use siding::sink::Sink;
use siding::{
    BackupOptions, Copying, Error, ErrorKind, Manifest, ObjectFile, ReadOnly, Result, object_file,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at how far the owner is.
const PAUSE: Duration = Duration::from_millis(100);

/// What goes where.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding backup ledger --to /backups/ledger\n\n\
    A log in use is asked through its admin socket: the program that has it open says what its\n\
    files are, and work goes on. A closed log is opened for it; name the files then:\n    \
    siding backup ledger --to /backups/ledger --object 1=ledger.pages\n\
    One place may hold many backups, and an archive; what log it has is not copied again.\n\
    Restore with `siding restore`, check with `siding verify-backup`.")]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The directory that gets the backup.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A file of an object of a closed log, by the object's number; may be given several times.
    #[arg(long = "object", value_name = "NUMBER=FILE", value_parser = parse_object)]
    objects: Vec<(u16, PathBuf)>,
    /// Goes on from this backup in the same place, or from the newest one: copies log and extents
    /// alone.
    #[arg(long, value_name = "BACKUP|last")]
    after: Option<String>,
    /// The most MiB a second.
    #[arg(long, value_name = "MIB", conflicts_with = "full_speed")]
    rate: Option<u64>,
    /// As fast as it goes, whoever else uses the disks.
    #[arg(long)]
    full_speed: bool,
}

fn parse_object(word: &str) -> std::result::Result<(u16, PathBuf), String> {
    let (number, file) = word.split_once('=').ok_or("say NUMBER=FILE")?;
    let number = number.parse().map_err(|_| format!("`{number}` is no object's number"))?;
    Ok((number, PathBuf::from(file)))
}

impl BackupArgs {
    /// Bytes a second; none: the default.
    fn bytes(&self) -> Option<u64> {
        let rate = self.rate.map(|mib| mib.saturating_mul(1 << 20).max(1));
        rate.or(self.full_speed.then_some(0))
    }

    /// The backup to go on from.
    fn after(&self, sink: &dyn Sink) -> Result<Option<BackupId>> {
        match self.after.as_deref() {
            None => Ok(None),
            Some("last") => {
                let newest = Inventory::of(sink)?.backups.pop();
                let newest = newest.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "there is no backup to go on from")
                        .file(&self.to)
                        .advise("take a whole one first")
                })?;
                Ok(Some(newest.1.id))
            }
            Some(digits) => {
                parse_id(digits).map(Some).map_err(|what| Error::new(ErrorKind::Invalid, what))
            }
        }
    }
}

pub(crate) fn run(args: &BackupArgs) -> Result<bool> {
    let seen = args.place.look()?;
    let bar = Bar::new(args.place.json);
    let manifest = if is_owned(&seen) {
        through_owner(args, &seen, &bar)
    } else {
        in_files(args, &seen, &bar)
    };
    bar.gone();
    let manifest = manifest?;
    let mut out = Out::new(args.place.json);
    if out.json {
        out.object(&manifest_object(&manifest));
    } else {
        manifest_lines(&manifest).iter().for_each(|line| out.line(line));
    }
    Ok(true)
}

fn through_owner(args: &BackupArgs, seen: &ReadOnly, bar: &Bar) -> Result<Manifest> {
    if !args.objects.is_empty() {
        let what = "the program that has the log open says itself what its files are";
        return Err(Error::new(ErrorKind::Invalid, what).advise("leave --object out"));
    }
    let sink = put_into(&args.to)?;
    let after = args.after(&*sink)?.map_or_else(|| "-".to_owned(), |id| crate::text::hex(&id));
    let rate = args.bytes().map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    let io = |cause| Error::io("the directory cannot be found", cause).file(&args.to);
    let into = args.to.canonicalize().map_err(io)?;
    let request = format!("back-up {rate} {after} {}", into.display());
    let dir = &args.place.dir;
    owner::ask(dir, &request)?.ok_or_else(|| no_door(seen))?;
    loop {
        let rows = owner::ask(dir, "backup-status")?.ok_or_else(gone)?;
        let row = rows.first().ok_or_else(gone)?;
        let number = |name| owner::number(row, name).unwrap_or(0);
        bar.so_far(number("done"), number("len"));
        let text = |name: &str| row.get(name).map(String::as_str).unwrap_or_default();
        match text("state") {
            "done" => {
                let id = parse_id(text("id")).map_err(|what| Error::new(ErrorKind::Io, what))?;
                return Manifest::read(&*sink, id);
            }
            "failed" => {
                return Err(Error::new(owner::kind_named(text("kind")), text("error").to_owned()));
            }
            _ => std::thread::sleep(PAUSE),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Io, "the owner of the log has gone while it took the backup")
        .advise("there is no backup; take another one")
}

fn in_files(args: &BackupArgs, seen: &ReadOnly, bar: &Bar) -> Result<Manifest> {
    if let Some(trouble) = seen.trouble() {
        return Err(trouble);
    }
    let open = |(number, path): &(u16, PathBuf)| object_file(*number, Path::new(path));
    let objects: Vec<ObjectFile> = args.objects.iter().map(open).collect::<Result<_>>()?;
    let sink = put_into(&args.to)?;
    let after = args.after(&*sink)?;
    let recovery = offline::open(&args.place, seen)?;
    let flying = recovery.in_flight().len();
    let log = recovery.finish()?;
    if flying > 0 {
        note(format!("{flying} units that were in flight are backed out, as every open does"));
    }
    let told = |at: &Copying<'_>| bar.copied(at);
    let mut options = BackupOptions::new().progress(&told);
    // Nobody else is at work: there is nobody to spare.
    options = options.rate(args.bytes().unwrap_or(0));
    if let Some(after) = after {
        options = options.after(after);
    }
    let manifest = log.backup_to(&*sink, &objects, &options)?;
    log.close()?;
    Ok(manifest)
}
