//! Ending and beginning again, and what is in doubt meanwhile.

use super::session::{Result, Session};
use super::writing::bulk;
use super::{Scenario, fill, young};
use crate::Trouble;
use crate::disk::Crash;
use siding::{Decided, InDoubt, Outcome};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("clean_reopens", young, clean_reopens),
    Scenario::new("unclean_reopens", young, unclean_reopens),
    Scenario::new("taken_again", young, taken_again).relaxed(),
    // Of the batches before, all but the first are there.
    Scenario::new("stale_batches", torn_bulk, stale_batches)
        .large()
        .relaxed()
        .after(Crash::DropOnly(0)),
    Scenario::new("reopens_at_segment_end", nearly_full, reopens_at_segment_end),
    Scenario::new("prepare_decide_end", young, prepare_decide_end),
    Scenario::new("resolved_after_reopen", doubtful, resolved_after_reopen),
];

fn clean_reopens(session: &mut Session) -> Result<()> {
    for _ in 0..3 {
        session.open()?;
        session.transact(&[100])?;
        session.close()?;
        session.open()?;
        session.close()?;
    }
    Ok(())
}

fn unclean_reopens(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    session.kill();
    session.open()?;
    session.kill();
    session.open()?;
    drop(session.begin()?);
    session.kill();
    session.open()?;
    session.transact(&[200])?;
    session.kill();
    session.open()?;
    session.kill();
    Ok(())
}

/// Batches of the same sizes go where some lie that were never synced.
fn stale_batches(session: &mut Session) -> Result<()> {
    session.open()?;
    bulk(session)?;
    session.flush()?;
    session.kill();
    Ok(())
}

/// The power goes when a segment holds several batches, and none is synced.
fn torn_bulk(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    session.kill();
    session.open()?;
    bulk(session)?;
    let writes = 2;
    session.disk().cut_at(session.disk().calls() + writes);
    match session.flush() {
        Err(Trouble::Refused(_)) if session.disk().is_off() => Ok(()),
        other => Err(Trouble::Broken(format!("no power, and {other:?}"))),
    }
}

/// Batches that were never synced lie in a segment that is taken again, and again.
fn taken_again(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    session.kill();
    for _ in 0..2 {
        session.open()?;
        session.transact(&[100])?;
        session.keypoint()?;
        session.kill();
    }
    Ok(())
}

fn nearly_full(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    fill(session, 1, 2_000)?;
    session.close()
}

fn reopens_at_segment_end(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    session.close()?;
    session.open()?;
    session.transact(&[100])?;
    session.transact(&[1_500])?;
    session.close()?;
    session.open()?;
    session.close()
}

fn prepare_decide_end(session: &mut Session) -> Result<()> {
    session.open()?;
    let (one, two, three) = (session.unit(&[10, 20])?, session.unit(&[30])?, session.unit(&[5])?);
    let one = session.prepare(one)?;
    let two = session.prepare(two)?;
    let three = session.prepare(three)?;
    let mut one = session.decide(one, Outcome::Commit)?;
    one.append(b"told the first")?;
    let two = session.decide(two, Outcome::BackOut)?;
    session.end_unit(one)?;
    session.resolve(three, Outcome::BackOut)?;
    session.end_unit(two)?;
    let four = session.unit(&[40])?;
    let four = session.prepare(four)?;
    session.resolve(four, Outcome::Commit)?;
    session.close()
}

/// Several units in doubt, of several opens, with log between.
fn doubtful(session: &mut Session) -> Result<()> {
    young(session)?;
    for _ in 0..3 {
        session.open()?;
        let work = session.unit(&[10, 20])?;
        drop(session.prepare(work)?);
        session.transact(&[10_000])?;
        session.keypoint()?;
        session.kill();
    }
    session.open()?;
    session.close()
}

fn resolved_after_reopen(session: &mut Session) -> Result<()> {
    session.open()?;
    let one = doubt(session)?;
    session.resolve(one, Outcome::Commit)?;
    let two = doubt(session)?;
    let _decided = session.decide(two, Outcome::Commit)?;
    session.kill();
    session.open()?;
    let two = decided(session)?;
    session.keypoint()?;
    session.end_unit(two)?;
    let three = doubt(session)?;
    drop(session.decide(three, Outcome::BackOut)?);
    session.close()?;
    session.open()?;
    let three = decided(session)?;
    session.end_unit(three)?;
    let four = doubt(session)?;
    session.resolve(four, Outcome::BackOut)?;
    session.close()
}

pub(super) fn doubt(session: &Session) -> Result<InDoubt> {
    let first = session.log()?.in_doubt().into_iter().next();
    first.ok_or_else(|| Trouble::broken("no unit is in doubt"))
}

fn decided(session: &Session) -> Result<Decided> {
    let first = session.log()?.decided().into_iter().next();
    first.ok_or_else(|| Trouble::broken("no unit is decided"))
}
