//! Units that are moved to the secondary log, once and again, and end there.

use super::invariants::l1_moved_units_hold_nothing;
use super::restart::doubt;
use super::session::{Result, Session};
use super::{Scenario, fill, young};
use crate::Trouble;
use siding::Outcome;
use siding::disk::Disk as _;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("fork_in_doubt", young, in_doubt),
    Scenario::new("fork_twice", young, twice),
    Scenario::new("fork_and_commit", young, commit),
    Scenario::new("fork_not_durable", young, not_durable),
    Scenario::new("fork_and_end", moved, end),
    Scenario::new("fork_compacted", young, compacted),
    Scenario::new("fork_and_undo", young, undo).repeating(),
    Scenario::new("fork_by_itself", young, by_itself),
    Scenario::new("fork_partly", young, partly),
    Scenario::new("fork_frees", young, frees),
    Scenario::new("fork_while_appending", young, while_appending),
    Scenario::new("fork_of_the_durable", young, of_the_durable),
    Scenario::new("fork_rebuilt", young, rebuilt),
];

/// Everything committed is stored, and a keypoint says so: what nobody needs is trimmed.
fn pass_on(session: &mut Session) -> Result<()> {
    session.store(session.model.durable());
    session.redo_from()?;
    session.keypoint()
}

/// The log goes on to the next segment, and what nobody needs is trimmed.
fn next_segment(session: &mut Session) -> Result<()> {
    let next = session.end().get() / session.setup.segment + 1;
    fill(session, next, 300)?;
    session.transact(&[1_500])?;
    pass_on(session)
}

fn in_doubt(session: &mut Session) -> Result<()> {
    session.open()?;
    let work = session.unit(&[10, 700, 20])?;
    let id = work.id;
    drop(session.prepare(work)?);
    session.fork(id)?;
    next_segment(session)?;
    session.transact(&[100])?;
    session.kill();
    session.open()?;
    session.tick(10)?;
    session.fork(id)?;
    session.transact(&[100])?;
    session.close()
}

fn twice(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut work = session.unit(&[10, 700])?;
    session.flush()?;
    session.fork(work.id)?;
    session.append(&mut work, 30)?;
    let (save, at) = (work.savepoint(), session.append(&mut work, 60)?);
    session.append(&mut work, 50)?;
    session.flush()?;
    session.fork(work.id)?;
    session.append(&mut work, 40)?;
    if let Some(save) = save {
        session.roll_back(&mut work, &save, siding::Lsn::new(at.get() - 1))?;
    }
    next_segment(session)?;
    session.fork(work.id)?;
    let id = work.id;
    let doubt = session.prepare(work)?;
    session.fork(id)?;
    session.resolve(doubt, Outcome::Commit)?;
    session.kill();
    Ok(())
}

/// Its records are trimmed, and it commits: redo reads them on the secondary log.
fn commit(session: &mut Session) -> Result<()> {
    session.open()?;
    // Nothing else holds the originals: what is freed too early is gone.
    let older = doubt(session)?;
    session.resolve(older, Outcome::BackOut)?;
    let mut work = session.unit(&[10, 700])?;
    session.flush()?;
    session.fork(work.id)?;
    next_segment(session)?;
    session.append(&mut work, 20)?;
    session.commit(work)?;
    session.keypoint()?;
    session.tick(10)?;
    session.transact(&[100])?;
    pass_on(session)?;
    session.tick(10)?;
    session.transact(&[100])?;
    session.kill();
    Ok(())
}

/// Trimming and END while a fork record is not durable, and nothing else holds the log.
fn not_durable(session: &mut Session) -> Result<()> {
    session.open()?;
    let older = doubt(session)?;
    session.resolve(older, Outcome::BackOut)?;
    let work = session.unit(&[10, 700])?;
    for _ in 0..3 {
        next_segment(session)?;
    }
    session.tick(20_000)?;
    drop(work);
    session.tick(10)?;
    session.tick(10)?;
    session.transact(&[100])?;
    session.tick(10)?;
    session.kill();
    Ok(())
}

/// A log with a moved unit in doubt whose originals are trimmed.
fn moved(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    let work = session.unit(&[10, 700])?;
    let id = work.id;
    drop(session.prepare(work)?);
    let older = doubt(session)?;
    session.resolve(older, Outcome::BackOut)?;
    session.fork(id)?;
    next_segment(session)?;
    session.close()
}

fn end(session: &mut Session) -> Result<()> {
    session.open()?;
    session.tick(10)?;
    let doubt = doubt(session)?;
    let decided = session.decide(doubt, Outcome::Commit)?;
    session.transact(&[100])?;
    pass_on(session)?;
    session.tick(10)?;
    session.end_unit(decided)?;
    session.tick(10)?;
    session.transact(&[100])?;
    session.tick(10)?;
    session.kill();
    session.open()?;
    session.tick(10)?;
    session.close()
}

/// Extent files of which little lives.
fn compacted(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut doubts = Vec::new();
    for _ in 0..5 {
        let work = session.unit(&[16_000, 16_000, 16_000])?;
        let id = work.id;
        doubts.push(session.prepare(work)?);
        session.fork(id)?;
        let work = session.unit(&[50])?;
        let id = work.id;
        drop(session.prepare(work)?);
        session.fork(id)?;
    }
    for doubt in doubts {
        session.resolve(doubt, Outcome::BackOut)?;
    }
    pass_on(session)?;
    for _ in 0..4 {
        session.tick(10)?;
        session.transact(&[100])?;
    }
    session.kill();
    Ok(())
}

fn undo(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut work = session.unit(&[10, 700])?;
    session.flush()?;
    session.fork(work.id)?;
    session.append(&mut work, 20)?;
    let doubt_of = session.unit(&[30, 40])?;
    let id = doubt_of.id;
    let doubt = session.prepare(doubt_of)?;
    session.fork(id)?;
    next_segment(session)?;
    session.back_out(work)?;
    session.resolve(doubt, Outcome::BackOut)?;
    session.tick(10)?;
    session.transact(&[100])?;
    session.tick(10)?;
    session.kill();
    Ok(())
}

/// Somebody removes every extent file.
fn lose_extents(session: &Session) -> Result<()> {
    let disk = session.disk();
    let lose = || {
        for (name, _) in disk.list()?.iter().filter(|(name, _)| name.ends_with(".ext")) {
            disk.remove(name)?;
        }
        disk.sync_dir()
    };
    match lose() {
        Err(cause) if disk.is_off() || disk.troubles() == 0 => {
            Err(siding::Error::io("the extents cannot be removed", cause).into())
        }
        _ => Ok(()),
    }
}

/// Extents go missing while their originals are there: the copies are made anew, and count.
fn rebuilt(session: &mut Session) -> Result<()> {
    session.open()?;
    let work = session.unit(&[10, 700, 20])?;
    let id = work.id;
    let doubt = session.prepare(work)?;
    session.fork(id)?;
    lose_extents(session)?;
    session.fork(id)?;
    session.transact(&[100])?;
    lose_extents(session)?;
    session.tick(10)?;
    session.kill();
    drop(doubt);
    session.open()?;
    session.tick(10)?;
    lose_extents(session)?;
    let doubt = session.log()?.in_doubt().into_iter().find(|doubt| doubt.id() == id);
    let doubt = doubt.ok_or_else(|| Trouble::broken("the unit is not in doubt"))?;
    session.resolve(doubt, Outcome::Commit)?;
    session.transact(&[100])?;
    session.kill();
    session.open()?;
    pass_on(session)?;
    session.tick(10)?;
    session.close()
}

/// The policy moves what holds the log.
fn by_itself(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut busy = session.unit(&[10, 700])?;
    for _ in 0..4 {
        next_segment(session)?;
        session.append(&mut busy, 20)?;
        session.tick(2_000)?;
    }
    session.kill();
    Ok(())
}

/// L1: a stuck unit that was moved holds no segment, whatever it is asked since.
fn frees(session: &mut Session) -> Result<()> {
    session.open()?;
    let older = doubt(session)?;
    session.resolve(older, Outcome::BackOut)?;
    let work = session.unit(&[10, 700])?;
    let id = work.id;
    drop(session.prepare(work)?);
    session.fork(id)?;
    for _ in 0..2 {
        next_segment(session)?;
    }
    l1_moved_units_hold_nothing(session)?;
    session.kill();
    session.open()?;
    let doubt = doubt(session)?;
    session.resolve(doubt, Outcome::Commit)?;
    session.kill();
    Ok(())
}

fn while_appending(session: &mut Session) -> Result<()> {
    session.open()?;
    let work = session.unit(&[10, 700])?;
    session.flush()?;
    let Some(mut work) = session.fork_while_appending((".ext", true), work, 30)? else {
        return Ok(());
    };
    session.append(&mut work, 60)?;
    let id = work.id;
    drop(session.prepare(work)?);
    next_segment(session)?;
    session.fork(id)?;
    session.kill();
    Ok(())
}

fn of_the_durable(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut work = session.unit(&[10, 700])?;
    session.fork_of_what_is_durable((".ext", true), work.id)?;
    session.append(&mut work, 60)?;
    session.fork_of_what_is_durable((".ext", true), work.id)?;
    session.transact(&[100])?;
    session.kill();
    Ok(())
}

/// A unit that writes all the time is moved in parts, and what it wrote last stays.
fn partly(session: &mut Session) -> Result<()> {
    session.open()?;
    let older = doubt(session)?;
    session.resolve(older, Outcome::BackOut)?;
    let mut busy = session.unit(&[10, 700])?;
    for _ in 0..3 {
        next_segment(session)?;
        session.append(&mut busy, 20)?;
        session.tick(100)?;
    }
    let units = session.log()?.units();
    let unit = units.iter().find(|unit| unit.unit == busy.id);
    let partly = unit.is_some_and(|unit| unit.moves > 0 && unit.floor.is_some());
    // Whoever waited for the disk half a minute is not busy.
    let disturbed = session.disk().troubles() + session.disk().stalls() > 0;
    Trouble::unless(partly || disturbed, || {
        format!("a busy unit is not moved in parts: {unit:?}")
    })?;
    session.kill();
    Ok(())
}
