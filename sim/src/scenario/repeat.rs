//! Repeat history: effects reach the files before commit, and are undone.

use super::session::{Result, Session};
use super::{Scenario, fill, young};
use siding::Outcome;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("undo", young, undo).repeating(),
    Scenario::new("undo_after_restart", young, undo_after_restart).repeating(),
    Scenario::new("undo_of_old_units", old, undo_of_old_units).repeating(),
    Scenario::new("end_while_trimming", old, end_while_trimming).repeating().relaxed(),
];

fn undo(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut one = session.unit(&[10, 20])?;
    let two = session.unit(&[30, 40, 50])?;
    session.transact(&[60])?;
    let (save, at) = (one.savepoint(), session.append(&mut one, 70)?);
    if let Some(save) = save {
        session.roll_back(&mut one, &save, siding::Lsn::new(at.get() - 1))?;
    }
    session.append(&mut one, 80)?;
    session.back_out(one)?;
    drop(two);
    session.tick(10)?;
    let three = session.unit(&[90])?;
    let three = session.prepare(three)?;
    session.resolve(three, Outcome::BackOut)?;
    let four = session.unit(&[11])?;
    session.commit(four)?;
    session.close()
}

fn undo_after_restart(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut one = session.unit(&[10, 20, 30])?;
    let two = session.unit(&[40])?;
    let (save, at) = (one.savepoint(), session.append(&mut one, 70)?);
    if let Some(save) = save {
        session.roll_back(&mut one, &save, siding::Lsn::new(at.get() - 1))?;
    }
    session.append(&mut one, 80)?;
    drop(session.prepare(two)?);
    session.transact(&[50])?;
    session.keypoint()?;
    session.append(&mut one, 60)?;
    session.flush()?;
    session.kill();
    session.open()?;
    session.transact(&[50])?;
    session.kill();
    session.open()?;
    session.close()
}

/// A log whose first segment is full, and whose effects are all in the files.
fn old(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    let doubt = session.log()?.in_doubt().into_iter().next();
    doubt.map_or(Ok(()), |doubt| session.resolve(doubt, Outcome::Commit))?;
    fill(session, 1, 3_000)?;
    session.flush()?;
    session.close()
}

/// A unit that is older than the redo position: undo needs what redo does not.
fn undo_of_old_units(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut one = session.unit(&[10, 20])?;
    session.transact(&[2_000])?;
    session.transact(&[2_000])?;
    let stored = session.transact(&[100])?;
    session.append(&mut one, 30)?;
    session.store(stored);
    session.redo_from()?;
    session.keypoint()?;
    session.keypoint()?;
    session.kill();
    session.open()?;
    session.redo_from()?;
    session.keypoint()?;
    session.close()
}

/// A unit ends, not durably, between a keypoint that lists it and the trimming that follows.
fn end_while_trimming(session: &mut Session) -> Result<()> {
    session.open()?;
    let one = session.unit(&[10, 20])?;
    session.transact(&[2_000])?;
    session.transact(&[2_000])?;
    let stored = session.transact(&[100])?;
    session.flush()?;
    session.store(stored);
    session.redo_from()?;
    session.commit_meanwhile(("control", false), one)?;
    session.keypoint()?;
    session.kill();
    Ok(())
}
