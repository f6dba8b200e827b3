//! Which log is meant, and how it is shown.

use clap::Args;
use siding::{Error, ErrorKind, Log, ReadOnly, Result, Usage};
use std::path::PathBuf;

/// Which log, and how it is shown.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where its secondary log lies, if not in the same directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) secondary: Option<PathBuf>,
}

impl Place {
    /// Looks at the log, whoever has it open.
    pub(crate) fn look(&self) -> Result<ReadOnly> {
        let log = Log::open_read_only(&self.dir)?;
        match &self.secondary {
            Some(secondary) => log.secondary(secondary),
            None => Ok(log),
        }
    }
}

/// Who has the log open, for people.
pub(crate) fn usage(usage: Usage) -> String {
    match usage {
        Usage::Closed => "no".to_owned(),
        Usage::Open(owner) => match owner.pid {
            Some(pid) => format!("by process {pid}"),
            None => "by a process that is not known".to_owned(),
        },
        Usage::Unknown => "not known".to_owned(),
    }
}

/// The process that has the log open, for programs.
pub(crate) fn pid(usage: Usage) -> Option<u32> {
    match usage {
        Usage::Open(owner) => owner.pid,
        Usage::Closed | Usage::Unknown => None,
    }
}

/// Whether there is an owner to ask. Where that cannot be known, the lock will tell.
pub(crate) fn is_owned(log: &ReadOnly) -> bool {
    matches!(log.usage(), Usage::Open(_))
}

/// The log is in use, and its owner cannot be asked.
pub(crate) fn no_door(log: &ReadOnly) -> Error {
    let what = format!("the log is in use {}, which has no admin socket", usage(log.usage()));
    let error = Error::new(ErrorKind::Locked, what)
        .advise("close it there, or have it opened with Options::admin");
    match log.path() {
        Some(path) => error.file(path),
        None => error,
    }
}
