//! `siding report`: a picture of a log, in one file.
//!
//! `data` gathers, `svg` draws, `html` puts together, `json` says the same to programs.

mod data;
mod html;
mod json;
mod markup;
mod svg;

use crate::out::{Out, note};
use crate::place::Place;
use clap::error::ErrorKind as Usage;
use clap::{Args, CommandFactory as _};
use data::Data;
use siding::{Error, Result};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Which log to draw, and where to.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding report ledger -o ledger.html\n\n\
    Reads all of the log. The file needs a browser and nothing else, and runs no script.\n\
    Of a log in use only what was durable is shown; its owner is asked for the rest, if it\n\
    answers. What is not known is said in the file.\n\
    Exits with 1 if the log can be read in part only; then that part is drawn.")]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The file to write; `-` is the standard output.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "siding-report.html",
        conflicts_with = "json"
    )]
    output: PathBuf,
    /// Write over a file that exists.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &ReportArgs) -> Result<bool> {
    if args.place.json {
        let data = Data::gather(args)?;
        let mut out = Out::new(true);
        for object in json::objects(&data) {
            out.object(&object);
        }
        return Ok(data.trouble.is_none());
    }
    let to_file = args.output != Path::new("-");
    if to_file && !args.force && args.output.symlink_metadata().is_ok() {
        usage(&exists(&args.output));
    }
    let data = Data::gather(args)?;
    let page = html::page(&data);
    let mut out = Out::new(false);
    if to_file {
        keep_out(args)?;
        write(&args.output, &page, args.force)?;
        out.line(format!("{}: {} bytes", args.output.display(), page.len()));
    } else {
        out.line(page);
    }
    drop(out);
    if let Some(trouble) = &data.trouble {
        note(format!("drawn as far as the log can be read: {trouble}"));
    }
    Ok(data.trouble.is_none())
}

fn exists(file: &Path) -> String {
    format!("{} exists; name another file, or use --force", file.display())
}

/// Says what is wrong with the call, and ends with 2.
fn usage(what: &str) -> ! {
    crate::Cli::command().error(Usage::ValueValidation, what).exit()
}

/// The folder that a file is in.
fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The log's own directories are not for reports: with `--force` one of its files could go.
fn keep_out(args: &ReportArgs) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| Error::io("the folder cannot be found", cause).file(path)
    };
    let into = folder(&args.output);
    let into = fs::canonicalize(into).map_err(io(into))?;
    let own = [Some(&args.place.dir), args.place.secondary.as_ref()];
    for dir in own.into_iter().flatten() {
        if fs::canonicalize(dir).map_err(io(dir))? == into {
            usage(&format!("{} is the log's own directory; write elsewhere", dir.display()));
        }
    }
    Ok(())
}

/// Writes the file whole or not at all: under another name first.
fn write(file: &Path, page: &str, force: bool) -> Result<()> {
    let io = |cause| Error::io("the report cannot be written", cause).file(file);
    let mut new = tempfile::Builder::new()
        .prefix(".siding-report-")
        // What the user's mask leaves of it.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder(file))
        .map_err(io)?;
    new.write_all(page.as_bytes()).map_err(io)?;
    new.as_file().sync_all().map_err(io)?;
    let done = if force { new.persist(file) } else { new.persist_noclobber(file) };
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => usage(&exists(file)),
        Err(error) => Err(io(error.error)),
    }
}
