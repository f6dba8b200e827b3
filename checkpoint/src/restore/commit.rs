//! Where a unit committed: found in the log that a sink has, for a restore to just before it.

use super::plan::{Part, Plan, Target, Wanted};
use super::run::plan_restore;
use crate::archive::read_segment;
use crate::backup::{Manifest, StopUnit};
use crate::sink::Sink;
use siding_wal::format::{Kind, PreparePayload, RecordHeader, wide};
use siding_wal::read::Walk;
use siding_wal::{Error, ErrorKind, Lsn, Result};

/// How a unit is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitName<'a> {
    /// By its number.
    Number(u64),
    /// By its gid; the last unit that had it, if several did.
    Gid(&'a [u8]),
}

/// What is known of the unit so far.
struct Search<'a> {
    name: UnitName<'a>,
    unit: Option<u64>,
    commit: Option<(u64, Lsn)>,
}

impl Search<'_> {
    fn record(&mut self, lsn: Lsn, header: &RecordHeader, payload: &[u8]) {
        match (header.kind, self.name) {
            (Kind::Prepare, UnitName::Gid(gid))
                if PreparePayload::decode(payload).is_ok_and(|it| it.gid == gid) =>
            {
                self.unit = Some(header.unit);
            }
            (Kind::Commit, _) if Some(header.unit) == self.unit => {
                self.commit = Some((header.unit, lsn));
            }
            _ => {}
        }
    }
}

/// The plan of a restore to just before a unit committed: every record before its COMMIT. `wanted`
/// says of which log and history; its target counts for nothing. Writes nothing.
///
/// Costs a read of all log from the oldest backup that serves on.
///
/// # Errors
///
/// As [`plan_restore`]; [`ErrorKind::NotFound`] if the log that can be reached has no COMMIT of it;
/// what is wrong with the log.
pub fn plan_before_commit(sink: &dyn Sink, wanted: &Wanted, name: UnitName<'_>) -> Result<Plan> {
    let all = |target, backup| Wanted { target, backup, ..wanted.clone() };
    let newest = plan_restore(sink, &all(Target::End, wanted.backup))?;
    let oldest = plan_restore(sink, &all(Target::Lsn(newest.reachable.from), wanted.backup))?;
    let whole = plan_restore(sink, &all(Target::End, Some(oldest.backup)))?;
    let unit = match name {
        UnitName::Number(unit) => Some(unit),
        // Its PREPARE may lie far below.
        UnitName::Gid(gid) => {
            let manifest = Manifest::read(sink, whole.backup)?;
            let known = manifest.units.iter().find(|it: &&StopUnit| it.gid == gid);
            known.map(|it| it.unit)
        }
    };
    let mut search = Search { name, unit, commit: None };
    for part in &whole.log {
        look(sink, part, &mut search)?;
    }
    let Some((unit, lsn)) = search.commit else {
        let what = format!("no COMMIT of the unit can be reached: {}", whole.reachable);
        return Err(Error::new(ErrorKind::NotFound, what)
            .advise("name a unit that committed there, or restore to a position"));
    };
    plan_restore(sink, &all(Target::Unit(unit, lsn), wanted.backup))
}

/// Goes through a piece of log.
fn look(sink: &dyn Sink, part: &Part, search: &mut Search<'_>) -> Result<()> {
    let index = &part.piece.index;
    let mut walk = Walk::new(Some(index.log_id));
    read_segment(sink, index, &mut |block| {
        walk.feed(block, &mut |_, _, records| {
            for (lsn, header, payload) in records {
                if lsn.plus(wide(header.padded_len())) <= part.upto {
                    search.record(lsn, &header, payload);
                }
            }
        })
        .map_err(|error| error.file(index.segment_name()))
    })
}
