//! What is asked of a log after each disturbance.

use super::session::{Result, Session};
use crate::Trouble;
use siding::disk::Disk as _;
use siding::{Durability, Outcome};

/// Bytes of files beside the live segments: prepared ones, and a few to be used again.
const SPARE_FILES: u64 = 9;

/// Restarts the log, holds it to its promises, and has it work.
pub(super) fn check(session: &mut Session) -> Result<()> {
    if session.disk().free_bytes().is_some() {
        on_a_full_disk(session)?;
    }
    let snapshot = session.model.snapshot;
    let first = session.look(Some(snapshot))?;
    // I8: a restart of a restart gives the same, and redo of the log's own choice fits too.
    let mut again = session.look(Some(snapshot))?;
    (again.end, again.voids) = (first.end, first.voids.clone());
    Trouble::unless(again == first, || format!("restarted: {first:?}, and again: {again:?}"))?;
    session.look(None)?;

    session.open()?;
    make_room(session)?;
    // The secondary log is swept: what is needed stays.
    session.tick(10)?;
    work(session)?;
    session.redo_from()?;
    session.keypoint()?;
    session.close()?;

    session.open()?;
    let last = work(session)?;
    session.store(last);
    session.redo_from()?;
    session.keypoint()?;
    work(session)?;
    files(session)?;
    session.kill();
    session.look(Some(session.model.snapshot))?;
    nothing_is_left(session)
}

/// I9: once every unit has ended and everything is stored, the secondary log is empty.
fn nothing_is_left(session: &mut Session) -> Result<()> {
    let is_extents = |(name, _): &(String, u64)| name.ends_with(".ext");
    if !session.disk().list()?.iter().any(is_extents) {
        return Ok(());
    }
    session.open()?;
    for doubt in session.log()?.in_doubt() {
        // L4: wherever a mover died, the unit can be moved.
        session.fork(doubt.id())?;
        session.resolve(doubt, Outcome::Commit)?;
    }
    for decided in session.log()?.decided() {
        session.end_unit(decided)?;
    }
    session.flush()?;
    session.store(session.model.durable());
    session.redo_from()?;
    session.keypoint()?;
    // The file that takes more stays until the next open.
    session.close()?;
    session.open()?;
    session.tick(10)?;
    let names = session.disk().list()?;
    Trouble::unless(!names.iter().any(is_extents) || session.disk().troubles() > 0, || {
        format!("no unit lives, and the secondary log has files: {names:?}")
    })
}

/// Goes on as an embedder would whose files are as they were.
pub(super) fn go_on(session: &mut Session) -> Result<()> {
    session.disk().set_capacity(None);
    session.open()?;
    make_room(session)?;
    session.transact(&[50])?;
    session.redo_from()?;
    session.keypoint()
}

/// A log with a limit may be full: its redo position makes room, as soon as the files have it
/// all.
fn make_room(session: &mut Session) -> Result<()> {
    if session.setup.max_log.is_none() {
        return Ok(());
    }
    session.store(session.model.durable());
    session.redo_from()?;
    session.keypoint()?;
    Ok(())
}

/// Something of everything, durably. Returns a position below which nothing is to be redone.
pub(super) fn work(session: &mut Session) -> Result<siding::Lsn> {
    let mut work = session.unit(&[40])?;
    let (save, at) = (work.savepoint(), session.append(&mut work, 60)?);
    session.append(&mut work, 700)?;
    if let Some(save) = save {
        // Takes back the second record and the third.
        session.roll_back(&mut work, &save, siding::Lsn::new(at.get() - 1))?;
    }
    let last = session.commit(work)?;
    if session.setup.durability == Durability::Relaxed {
        session.flush()?;
    }
    if let Some(doubt) = session.log()?.in_doubt().into_iter().next() {
        session.resolve(doubt, Outcome::Commit)?;
    }
    if let Some(decided) = session.log()?.decided().into_iter().next() {
        session.end_unit(decided)?;
    }
    let work = session.unit(&[30])?;
    drop(session.prepare(work)?);
    Ok(last)
}

/// The log opens or says that it is full; then somebody makes room.
fn on_a_full_disk(session: &mut Session) -> Result<()> {
    match session.look(Some(session.model.snapshot)) {
        Err(Trouble::Refused(what))
            if !what.contains("no storage space") && session.disk().troubles() == 0 =>
        {
            return Err(Trouble::Broken(format!("refused on a full disk: {what}")));
        }
        Err(broken @ Trouble::Broken(_)) => return Err(broken),
        _ => {}
    }
    session.disk().set_capacity(None);
    Ok(())
}

/// No file is unaccounted for.
fn files(session: &Session) -> Result<()> {
    let mut names = session.disk().list()?;
    // The secondary log has files of its own, as many as its units need.
    names.retain(|(name, _)| !name.ends_with(".ext"));
    let positions = session.log()?.positions();
    let live = (positions.end.get() - positions.oldest.get()) / session.setup.segment + 2;
    // Room to end every unit there ever was, in batches of its own.
    let unit = u64::from(session.disk().geometry().write_unit);
    let reserve = session.model.issued() * 4 * unit / session.setup.segment;
    Trouble::unless((names.len() as u64) <= live + reserve + SPARE_FILES, || {
        format!("{} files for {live} segments: {names:?}", names.len())
    })
}

/// The scenario was stopped by `trouble`: whether the log may say that, and how it goes on.
pub(super) fn aftermath(session: &mut Session, trouble: Trouble) -> Result<()> {
    let Trouble::Refused(what) = trouble else { return Err(trouble) };
    if session.disk().is_off() || (!session.is_open() && session.disk().troubles() > 0) {
        return Ok(());
    }
    if session.disk().troubles() == 0 {
        return Err(Trouble::Broken(format!("refused on a healthy disk: {what}")));
    }
    if session.log()?.is_failed().is_some() {
        return dead(session);
    }
    // Not failed: so it must work, as soon as the disk does.
    let before = session.disk().troubles();
    match work(session) {
        Err(Trouble::Refused(_)) if session.log()?.is_failed().is_some() => dead(session),
        Err(Trouble::Refused(what)) if session.disk().troubles() == before => {
            Err(Trouble::Broken(format!("the log has not failed, the disk works, and yet: {what}")))
        }
        Err(Trouble::Refused(_)) | Ok(_) => Ok(()),
        Err(broken) => Err(broken),
    }
}

/// A failed log says so to everybody, and takes nothing.
fn dead(session: &mut Session) -> Result<()> {
    let log = session.log()?;
    log.tick();
    let positions = log.positions();
    let _ = (log.units(), log.in_doubt(), log.why_retained());
    let answers = [
        log.begin().is_err(),
        log.write(b"too late").is_err(),
        log.keypoint().is_err(),
        positions.end == positions.durable || log.ensure_durable(positions.end).is_err(),
        log.close().is_err(),
    ];
    let now = log.positions();
    Trouble::unless(answers == [true; 5] && now.durable == positions.durable, || {
        format!("a failed log answers {answers:?}, {positions:?}, {now:?}")
    })
}
