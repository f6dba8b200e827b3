//! `siding keypoint`: takes a keypoint, and trims what it allows.

use crate::offline;
use crate::out::{Out, note};
use crate::owner;
use crate::place::{Place, is_owned, no_door};
use crate::text;
use clap::Args;
use serde_json::json;
use siding::{Lsn, ReadOnly, Result};

/// Of which log.
#[derive(Args, Debug)]
#[command(after_help = "Example: siding keypoint ledger\n\n\
    A log in use is asked through its admin socket; a closed one is opened for it.")]
pub(crate) struct KeypointArgs {
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) fn run(args: &KeypointArgs) -> Result<bool> {
    let seen = args.place.look()?;
    let before = seen.positions().oldest;
    let (begin, through) = if is_owned(&seen) {
        let rows = owner::ask(&args.place.dir, "keypoint")?.ok_or_else(|| no_door(&seen))?;
        let begin = rows.first().and_then(|row| owner::number(row, "begin"));
        (Lsn::new(begin.unwrap_or_default()), "owner")
    } else {
        (in_files(args, &seen)?, "files")
    };
    let after = args.place.look()?.positions().oldest;
    let mut out = Out::new(args.place.json);
    let freed = after.since(before);
    if out.json {
        out.object(&json!({
            "begin": begin.get(),
            "oldest": after.get(),
            "trimmed_bytes": freed,
            "through": through,
        }));
    } else {
        out.line(format!("keypoint at {begin}; oldest is {after}, {} trimmed", text::bytes(freed)));
    }
    Ok(true)
}

fn in_files(args: &KeypointArgs, seen: &ReadOnly) -> Result<Lsn> {
    let recovery = offline::open(&args.place, seen)?;
    let flying = recovery.in_flight().len();
    let log = recovery.finish()?;
    if flying > 0 {
        note(format!("{flying} units that were in flight are backed out, as every open does"));
    }
    let begin = log.keypoint()?;
    log.close()?;
    Ok(begin)
}
