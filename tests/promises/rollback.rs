//! Rolling back to savepoints.

use crate::support::{open, recover, redone};
use siding::{Error, ErrorKind, Result};
use siding_sim::SimDisk;

#[test]
fn what_an_undo_handler_saw_before_it_failed_stays_taken_back() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    let start = unit.savepoint();
    for payload in [b"2", b"3", b"4"] {
        unit.append(payload)?;
    }
    let mut seen = Vec::new();
    let refused = unit.roll_back_to(&start, |record| {
        if record.payload() == b"2" {
            return Err(Error::new(ErrorKind::Callback, "not this one"));
        }
        seen.push(record.payload().to_vec());
        Ok(Vec::new())
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Callback);
    assert_eq!(seen, [b"4", b"3"]);
    unit.commit()?;
    log.close()?;
    assert_eq!(redone(&recover(&disk)?)?, [b"1", b"2"]);
    Ok(())
}

#[test]
fn a_savepoint_that_was_itself_taken_back_brings_nothing_back() -> Result<()> {
    let disk = SimDisk::new(1);
    let log = open(&disk)?;
    let mut unit = log.begin()?;
    unit.append(b"1")?;
    let early = unit.savepoint();
    unit.append(b"2")?;
    let late = unit.savepoint();
    unit.append(b"3")?;
    unit.roll_back_to(&early, |_| Ok(Vec::new()))?;
    unit.append(b"4")?;
    unit.roll_back_to(&late, |record| {
        assert_eq!(record.payload(), b"4", "the others were taken back before");
        Ok(Vec::new())
    })?;
    unit.append(b"5")?;
    unit.commit()?;
    log.close()?;
    assert_eq!(redone(&recover(&disk)?)?, [b"1", b"5"]);
    Ok(())
}

#[test]
fn a_savepoint_of_another_unit_is_refused() -> Result<()> {
    let log = open(&SimDisk::new(1))?;
    let mut unit = log.begin()?;
    let mut other = log.begin()?;
    other.append(b"1")?;
    let save = unit.savepoint();
    let refused = other.roll_back_to(&save, |_| panic!("nothing is to be undone"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    unit.append(b"2")?;
    unit.roll_back_to(&save, |_| Ok(Vec::new()))?;
    assert_eq!(unit.commit().is_ok(), other.commit().is_ok());
    Ok(())
}
