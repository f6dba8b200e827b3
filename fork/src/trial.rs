//! A rebuilding that writes nothing: whether one would come to its end.

use crate::mover::{Action, Move, Task};
use crate::pool::Pool;
use siding_wal::chain::{Copies as _, Fetch};
use siding_wal::format::SPtr;
use siding_wal::stream::RecordBuf;
use siding_wal::units::Moving;
use siding_wal::{Lsn, Result};

/// Whether what is lost of a unit's moved records can be had from their originals; false if nothing
/// is lost. It goes the whole way of a rebuilding, up to the number of records and their hash.
///
/// Costs a read of each moved record.
///
/// # Errors
///
/// What is wrong with an original or an extent.
pub fn can_rebuild(moving: Moving, source: &dyn Fetch, pool: &Pool) -> Result<bool> {
    let mut buf = RecordBuf::new();
    let mut one = Move::new(Task::Rebuild, moving, Lsn::MAX);
    loop {
        match one.next_action() {
            Action::Read(lsn) => {
                let header = source.fetch(lsn, &mut buf)?;
                one.record(lsn, &header, buf.record())?;
            }
            Action::ReadExtent(at) => match pool.extent(one.unit(), at) {
                Ok(extent) => one.extent(&extent)?,
                Err(error) => {
                    let head = pool.head_of(one.unit(), at);
                    if !one.lost(head.as_ref())? {
                        return Err(error);
                    }
                }
            },
            Action::ReadHead(at) => one.head(pool.head_of(one.unit(), at).as_ref()),
            // Where it would stand is of no account.
            Action::Append(_) => one.appended(SPtr::NONE),
            Action::Sync | Action::Fork(_) => return Ok(true),
            Action::Nothing => return Ok(false),
        }
    }
}
