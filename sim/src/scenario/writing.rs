//! Appending and committing.

use super::session::{Result, Session};
use super::{Scenario, fill, nothing, young};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("first_open", nothing, first_open),
    Scenario::new("append_commit", young, append_commit),
    Scenario::new("group_of_64", young, group_of_64).relaxed(),
    Scenario::new("tickets", young, tickets),
    Scenario::new("batch_over_segment_end", nearly_full, batch_over_segment_end).relaxed(),
    Scenario::new("record_larger_than_remainder", nearly_full, record_larger_than_remainder),
    Scenario::new("relaxed", young, relaxed).relaxed(),
    Scenario::new("several_batches", young, several_batches).large().relaxed(),
    Scenario::new("savepoints", young, savepoints),
    Scenario::new("drops", young, drops),
    Scenario::new("many_live_units", young, many_live_units).relaxed(),
    Scenario::new("marks", young, marks).relaxed(),
];

fn first_open(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    session.close()
}

fn append_commit(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut open = session.unit(&[10])?;
    session.transact(&[100])?;
    session.transact(&[1_000, 1, 2_000])?;
    session.append(&mut open, 10)?;
    session.transact(&[300])?;
    session.commit(open)?;
    let _in_flight = session.unit(&[10, 5_000])?;
    session.transact(&[10])?;
    session.kill();
    Ok(())
}

fn group_of_64(session: &mut Session) -> Result<()> {
    session.open()?;
    for _ in 0..63 {
        session.transact(&[20])?;
    }
    let last = session.unit(&[20])?;
    let ticket = session.submit(last)?;
    session.wait(ticket)?;
    session.kill();
    Ok(())
}

fn tickets(session: &mut Session) -> Result<()> {
    session.open()?;
    let (one, two) = (session.unit(&[20])?, session.unit(&[600])?);
    let (one, two) = (session.submit(one)?, session.submit(two)?);
    session.wait(two)?;
    session.wait(one)?;
    session.kill();
    Ok(())
}

fn nearly_full(session: &mut Session) -> Result<()> {
    young(session)?;
    session.open()?;
    fill(session, 1, 4_000)?;
    session.flush()?;
    session.close()
}

fn batch_over_segment_end(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[700])?;
    let mut over = session.unit(&[700])?;
    for _ in 0..6 {
        session.transact(&[700])?;
    }
    session.append(&mut over, 700)?;
    session.commit(over)?;
    session.flush()?;
    session.transact(&[100])?;
    session.flush()?;
    session.kill();
    Ok(())
}

fn record_larger_than_remainder(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut work = session.unit(&[100])?;
    session.append(&mut work, 16_000)?;
    session.commit(work)?;
    session.transact(&[16_000])?;
    session.kill();
    Ok(())
}

/// Several un-synced batches, in one segment and over its end.
fn relaxed(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    session.transact(&[700])?;
    session.tick(1_000)?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    session.transact(&[16_000])?;
    let work = session.unit(&[50])?;
    drop(session.prepare(work)?);
    session.transact(&[100])?;
    session.keypoint()?;
    session.transact(&[200])?;
    session.kill();
    Ok(())
}

/// Two closed batches, and an open one.
pub(super) fn bulk(session: &mut Session) -> Result<()> {
    for _ in 0..3 {
        session.transact(&[600_000])?;
    }
    Ok(())
}

fn several_batches(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    bulk(session)?;
    session.flush()?;
    session.transact(&[100])?;
    session.flush()?;
    session.kill();
    Ok(())
}

fn savepoints(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut work = session.unit(&[100, 100])?;
    let first = session.append(&mut work, 90)?;
    let outer = work.savepoint();
    let mark = session.append(&mut work, 80)?;
    let inner = work.savepoint();
    let behind = session.append(&mut work, 70)?;
    assert!(first < mark && mark < behind, "records stand in order");
    if let (Some(outer), Some(inner)) = (outer, inner) {
        session.roll_back(&mut work, &inner, mark)?;
        session.append(&mut work, 60)?;
        session.transact(&[10])?;
        session.roll_back(&mut work, &outer, first)?;
    }
    session.append(&mut work, 50)?;
    let mut other = session.unit(&[40])?;
    let (save, at) = (other.savepoint(), session.append(&mut other, 30)?);
    if let Some(save) = save {
        session.roll_back(&mut other, &save, siding::Lsn::new(at.get() - 1))?;
    }
    session.append(&mut other, 20)?;
    drop(session.prepare(other)?);
    session.commit(work)?;
    session.kill();
    Ok(())
}

fn drops(session: &mut Session) -> Result<()> {
    session.open()?;
    let one = session.unit(&[100])?;
    let two = session.unit(&[100, 200])?;
    drop(session.unit(&[])?);
    drop(one);
    session.transact(&[10])?;
    session.back_out(two)?;
    let three = session.unit(&[3_000])?;
    session.transact(&[20])?;
    session.keypoint()?;
    drop(three);
    session.transact(&[30])?;
    session.close()
}

fn many_live_units(session: &mut Session) -> Result<()> {
    session.open()?;
    let mut units = Vec::new();
    for number in 0..70 {
        units.push(session.unit(&[10 + number])?);
    }
    session.keypoint()?;
    for unit in units.drain(..30) {
        session.commit(unit)?;
    }
    session.keypoint()?;
    let doubtful = units.split_off(35);
    for unit in doubtful {
        drop(session.prepare(unit)?);
    }
    session.keypoint()?;
    session.kill();
    Ok(())
}

fn marks(session: &mut Session) -> Result<()> {
    session.open()?;
    session.transact(&[100])?;
    session.tick(1_000)?;
    session.tick(1_000)?;
    session.tick(60_000)?;
    session.transact(&[100])?;
    session.tick(1_000)?;
    session.tick(58_999)?;
    session.tick(1)?;
    session.close()
}
