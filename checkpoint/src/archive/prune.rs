//! What an archive may let go of is removed.

use super::inventory::Inventory;
use super::retention::{Pruning, Retention, retain};
use crate::sink::Sink;
use siding_wal::{Error, ErrorKind, Result};
use std::io;

/// Removes what the rule does not keep, of all logs in a sink, at a time in milliseconds since
/// 1970; or only says what would go.
///
/// Do it from one place at a time. A restore that runs may miss what goes; a backup or an archiver
/// that runs misses nothing.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if a manifest cannot be read: what that backup needs is not known. What
/// the sink says: then a part is gone, in the order given, and another try goes on.
///
/// # Crash
///
/// A part is gone, in the order given: every backup that has its manifest has all it needs; what
/// has none, and segments without an index, are of no use, and the inventory says so.
pub fn prune(sink: &dyn Sink, rule: &Retention, now_ms: u64, dry_run: bool) -> Result<Pruning> {
    let found = Inventory::of(sink)?;
    if let Some((name, what)) = found.damaged.iter().find(|(name, _)| name.ends_with(".manifest")) {
        let what = format!("nothing is removed while a manifest cannot be read: {what}");
        return Err(Error::new(ErrorKind::Corrupt, what)
            .file(name)
            .advise("remove it, if that backup is given up, or put another copy in its place"));
    }
    let pruning = retain(&found, rule, now_ms);
    for name in pruning.remove.iter().filter(|_| !dry_run) {
        match sink.remove(name) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|cause| {
                Error::io("a file of the archive cannot be removed", cause).file(name)
            })?,
        }
    }
    Ok(pruning)
}
