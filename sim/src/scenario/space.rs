//! Segments ahead, keypoints, trimming, recycling, and no room.

use super::session::{Result, Session};
use super::writing::bulk;
use super::{Scenario, fill, young};
use crate::Trouble;
use siding::Outcome;
use siding::disk::Disk as _;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("prepare_segments", young, prepare_segments),
    Scenario::new("filled_in_steps", young, filled_in_steps).large().relaxed(),
    Scenario::new("keypoints", young, keypoints),
    Scenario::new("keypoint_behind_a_segment_change", spanning, behind_a_change).relaxed(),
    Scenario::new("redo_and_trim", old, redo_and_trim),
    Scenario::new("recycle", old, recycle),
    Scenario::new("deferred_apply", spanning, deferred_apply),
    Scenario::new("full_disk", young, full_disk),
    Scenario::new("log_at_its_limit", young, log_at_its_limit).at_most(256 << 10),
];

/// Three segments, of which the embedder's files have the first two.
fn old(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    let doubt = session.log()?.in_doubt().into_iter().next();
    doubt.map_or(Ok(()), |doubt| session.resolve(doubt, Outcome::Commit))?;
    fill(session, 2, 0)?;
    let stored = session.transact(&[100])?;
    session.store(stored);
    fill(session, 3, 30_000)?;
    session.close()
}

fn prepare_segments(session: &mut Session) -> Result<()> {
    session.open()?;
    session.tick(10)?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    session.tick(10)?;
    session.kill();
    Ok(())
}

fn filled_in_steps(session: &mut Session) -> Result<()> {
    session.open()?;
    session.kill();
    session.open()?;
    bulk(session)?;
    // A step is synced between the writes of several batches and the sync that covers them.
    session.tick_meanwhile(("0000000000000001.seg", true))?;
    session.flush()?;
    session.kill();
    Ok(())
}

fn keypoints(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut one = session.unit(&[100])?;
    let two = session.unit(&[100])?;
    session.keypoint()?;
    session.append(&mut one, 50)?;
    let two = session.prepare(two)?;
    session.keypoint()?;
    session.commit(one)?;
    let two = session.decide(two, Outcome::Commit)?;
    session.keypoint()?;
    session.end_unit(two)?;
    let _three = session.unit(&[10])?;
    session.keypoint()?;
    session.kill();
    Ok(())
}

/// A log whose first segment is full but for a unit that lives in it.
fn spanning(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    let doubt = session.log()?.in_doubt().into_iter().next();
    doubt.map_or(Ok(()), |doubt| session.resolve(doubt, Outcome::Commit))?;
    let work = session.unit(&[333])?;
    drop(session.prepare(work)?);
    fill(session, 1, 3_000)?;
    session.flush()?;
    session.close()
}

/// A unit begun in the first segment is committed in the second, which holds nothing else yet
/// and is not begun on the disk: the keypoint must not forget it.
fn behind_a_change(session: &mut Session) -> Result<()> {
    session.open()?;
    let doubt = super::restart::doubt(session)?;
    session.resolve(doubt, Outcome::BackOut)?;
    let mut old = session.unit(&[100])?;
    let mut between = session.end();
    while session.end().get() < session.setup.segment {
        between = session.transact(&[600])?;
    }
    session.append(&mut old, 50)?;
    session.commit(old)?;
    session.keypoint()?;
    session.store(between);
    session.redo_from()?;
    session.keypoint()?;
    session.transact(&[100])?;
    session.flush()?;
    session.kill();
    Ok(())
}

fn redo_and_trim(session: &mut Session) -> Result<()> {
    session.open()?;
    session.redo_from()?;
    session.keypoint()?;
    let stored = session.transact(&[100])?;
    session.store(stored);
    session.redo_from()?;
    session.keypoint()?;
    session.transact(&[100])?;
    session.kill();
    session.open()?;
    session.redo_from()?;
    session.keypoint()?;
    session.close()
}

fn recycle(session: &mut Session) -> Result<()> {
    session.open()?;
    session.redo_from()?;
    session.keypoint()?;
    session.transact(&[16_000])?;
    session.tick(10)?;
    session.transact(&[16_000])?;
    let stored = session.transact(&[16_000])?;
    session.tick(10)?;
    session.transact(&[16_000])?;
    session.store(stored);
    session.redo_from()?;
    session.keypoint()?;
    // On into the segments that were used before.
    for _ in 0..7 {
        session.transact(&[16_000])?;
        session.tick(10)?;
    }
    session.kill();
    Ok(())
}

/// Units that begin below the redo position and commit above it.
fn deferred_apply(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut one = session.unit(&[100])?;
    let two = session.unit(&[200])?;
    session.transact(&[2_000])?;
    session.transact(&[2_000])?;
    let stored = session.transact(&[100])?;
    session.append(&mut one, 300)?;
    session.commit(one)?;
    session.transact(&[50])?;
    session.store(stored);
    session.keypoint()?;
    session.redo_from()?;
    session.keypoint()?;
    let doubt = super::restart::doubt(session)?;
    session.resolve(doubt, Outcome::Commit)?;
    session.commit(two)?;
    session.keypoint()?;
    session.transact(&[60])?;
    session.kill();
    Ok(())
}

/// The disk fills up: new work stops, what lives can be ended, and with room it goes on.
fn full_disk(session: &mut Session) -> Result<()> {
    session.open()?;
    let live = session.unit(&[100])?;
    let doubt = session.unit(&[100])?;
    let doubt = session.prepare(doubt)?;
    let used: u64 = session.disk().list()?.iter().map(|(_, len)| len).sum();
    session.disk().set_capacity(Some(used + (100 << 10)));
    let mut full = 0;
    for _ in 0..40 {
        match session.transact(&[8_000]) {
            Err(Trouble::Refused(what)) if what.starts_with("the log is full") => full += 1,
            other => drop(other?),
        }
        if full == 2 {
            break;
        }
    }
    if session.disk().troubles() == 0 {
        Trouble::unless(full == 2, || "the disk never fills".to_owned())?;
    }
    session.commit(live)?;
    session.resolve(doubt, Outcome::Commit)?;
    session.keypoint()?;
    session.disk().set_capacity(None);
    session.transact(&[8_000])?;
    session.kill();
    Ok(())
}

/// The log's own limit: a redo position makes room.
fn log_at_its_limit(session: &mut Session) -> Result<()> {
    session.open()?;
    let doubt = super::restart::doubt(session)?;
    session.resolve(doubt, Outcome::Commit)?;
    let mut stored = session.transact(&[100])?;
    for _ in 0..40 {
        match session.transact(&[14_000]) {
            Ok(next) => stored = next,
            Err(Trouble::Refused(what)) if what.starts_with("the log is full") => break,
            Err(other) => return Err(other),
        }
    }
    session.store(stored);
    session.redo_from()?;
    session.keypoint()?;
    session.transact(&[14_000])?;
    session.transact(&[14_000])?;
    session.close()
}
