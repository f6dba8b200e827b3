//! Positions with names.

use crate::check::{expected, restored};
use crate::points::history;
use crate::support::{StillClock, quiet};
use siding::{ErrorKind, Kind, Log, Lsn, Options, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use siding_wal::format::label_of;
use std::sync::Arc;

/// Names and the positions they stand for, and how many marks there are.
fn labels(log: &Log) -> Result<(Vec<(String, Lsn)>, usize)> {
    let (mut labels, mut marks) = (Vec::new(), 0);
    let mut records = log.records(log.positions().oldest)?;
    while let Some(record) = records.next()? {
        if record.kind() == Kind::Mark {
            marks += 1;
            labels.extend(label_of(record.raw()).map(|name| (name.to_owned(), record.lsn())));
        }
    }
    Ok((labels, marks))
}

#[test]
fn a_label_is_durable_when_it_returns_and_more_than_a_mark() -> Result<()> {
    let (disk, clock) = (SimDisk::new(1), StillClock::new());
    let options: Options = quiet().without_threads(clock.clone());
    let log = options.open_on(Arc::new(disk.clone()))?.finish()?;
    clock.advance(1_000);
    log.tick();
    let marks = labels(&log)?.1;
    let at = log.label("before the import")?;
    assert!(log.positions().durable >= at);
    clock.advance(1_000);
    log.tick();
    let (found, after) = labels(&log)?;
    assert_eq!(after, marks + 2, "a label is protected by the mark behind it, as a commit is");
    assert!(matches!(&found[..], [(name, lsn)] if name == "before the import" && *lsn < at));
    log.abandon();
    let log = quiet().open_on(Arc::new(disk.crash(Crash::DropAll)))?.finish()?;
    assert_eq!(labels(&log)?.0, found);
    Ok(())
}

#[test]
fn a_label_that_is_no_name_is_refused() -> Result<()> {
    let log = quiet().open_on(Arc::new(SimDisk::new(1)))?.finish()?;
    let end = log.positions().end;
    for name in ["", &"x".repeat(256)] {
        assert_eq!(log.label(name).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(log.positions().end, end);
    log.label(&"x".repeat(255))?;
    Ok(())
}

#[test]
fn what_a_label_names_can_be_restored_to() -> Result<()> {
    for seed in 0..6 {
        let (mut world, backup) = history(seed)?;
        let label = world.log.label("here")?;
        for _ in 0..40 {
            world.step()?;
        }
        world.keep()?;
        assert!(world.records()?.0.iter().any(|record| record.end == label));
        let expected = expected(&world, label)?;
        restored(&world, &backup, label, seed, &expected)?;
    }
    Ok(())
}
