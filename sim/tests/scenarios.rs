//! The production log under power cuts, failing calls, and two crashes in a row.
//!
//! `SIDING_SWEEP=recycle` goes through the scenarios that have this in their names alone, and
//! `SIDING_SWEEP_SEED` leaves to another seed what is left to chance.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use siding_sim::disk::{FailedSync, Fault};
use siding_sim::scenario::{self, Scenario};
use siding_sim::sweep::{Choices, Report};

/// Scenarios with segments of 8 MiB, whose checks take long.
const LARGE: [&str; 3] = ["several_batches", "stale_batches", "filled_in_steps"];

fn seed() -> u64 {
    std::env::var("SIDING_SWEEP_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// Sweeps every scenario so; none may find anything.
fn nothing_is_found(sweep: impl Fn(Scenario) -> Report) {
    let only = std::env::var("SIDING_SWEEP").unwrap_or_default();
    let all = scenario::all().into_iter().filter(|it| it.name.contains(&only));
    let reports: Vec<Report> = all.map(sweep).collect();
    println!("{}", Report::table(&reports));
    assert!(!reports.is_empty(), "no scenario has `{only}` in its name");
    for report in reports {
        report.assert_clean();
        // A log that is created takes its id from the system.
        assert!(report.deterministic || report.name == "first_open", "{}", report.name);
    }
}

#[test]
fn power_goes_at_every_boundary() {
    for unit in [512, 4096] {
        nothing_is_found(|it| {
            let it = it.write_unit(unit);
            let report = it.sweep(seed()).power_cuts();
            assert_eq!(report.boundaries, it.trace().len() as u64, "{}", it.name);
            report
        });
    }
}

/// A crash at every boundary, and another one at every boundary of the restart behind it. Of the
/// second ones of large logs, one in twenty.
#[test]
fn power_goes_twice_at_every_pair_of_boundaries() {
    nothing_is_found(|it| {
        if LARGE.contains(&it.name) {
            return it.two_crashes(seed()).nested_one_in(20).power_cuts();
        }
        let report = it.two_crashes(seed()).power_cuts();
        let (second, first) = (report.nested, report.boundaries);
        assert!(second > 20 * first, "{}: {second} disks behind a second crash", it.name);
        report
    });
}

#[test]
fn every_call_fails_once_and_for_ever() {
    let faults = [Fault::Eio, Fault::Enospc];
    nothing_is_found(|it| it.sweep(seed()).choices(Choices::few()).io_errors(&faults));
}

/// Signals, calls that take half a minute, and writes that land after their error.
#[test]
fn calls_are_interrupted_or_late() {
    // There another thread's work is done by this one, which cannot wait for itself.
    let alone = |it: &Scenario| it.name == "filled_in_steps";
    for fault in [Fault::Eintr, Fault::Stall, Fault::Late] {
        nothing_is_found(|it| match fault == Fault::Stall && alone(&it) {
            true => Report { deterministic: true, ..Report::default() },
            false => it.sweep(seed()).choices(Choices::few()).io_errors(&[fault]),
        });
    }
}

/// Where the power went there is garbage, a whole write unit of it. Not where the first segment of
/// a log is made: then there is none yet, and the open says so.
#[test]
fn a_write_leaves_garbage_where_the_power_goes() {
    let choices = Choices { shorn: 4, random: 0, tears: 0, each_max: 0, ..Choices::default() };
    for unit in [512, 4096] {
        nothing_is_found(|it| match it.name == "first_open" {
            true => Report { deterministic: true, ..Report::default() },
            false => it.write_unit(unit).sweep(seed()).choices(choices.clone()).power_cuts(),
        });
    }
}

/// Mapped files are written in whole folios (fact M17).
#[test]
fn power_goes_while_folios_are_written() {
    nothing_is_found(|it| {
        let it = it.write_unit(4096).mapped(64 << 10);
        it.sweep(seed()).choices(Choices::few()).power_cuts()
    });
}

/// Large logs, with several batches that wait for one sync, on direct I/O alone.
#[test]
fn syncs_fail_in_every_way() {
    for way in [FailedSync::Reverted, FailedSync::Scattered, FailedSync::Kept] {
        nothing_is_found(|it| {
            if LARGE.contains(&it.name) && way != FailedSync::Scattered {
                return Report { deterministic: true, ..Report::default() };
            }
            let sweep = it.failed_sync(way).sweep(seed()).choices(Choices::few());
            sweep.io_errors(&[Fault::Eio])
        });
    }
}
