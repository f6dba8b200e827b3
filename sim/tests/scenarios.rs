//! The production log under power cuts and failing calls.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use siding_sim::disk::{FailedSync, Fault};
use siding_sim::scenario;
use siding_sim::sweep::Choices;
use std::time::Instant;

#[test]
fn sweep_all() {
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mode = std::env::var("MODE").unwrap_or_default();
    let one_in = std::env::var("ONE_IN").map_or(1, |it| it.parse().unwrap());
    let unit = std::env::var("UNIT").map_or(512, |it| it.parse().unwrap());
    let failed = match std::env::var("SYNC").unwrap_or_default().as_str() {
        "reverted" => FailedSync::Reverted,
        "scattered" => FailedSync::Scattered,
        "kept" => FailedSync::Kept,
        _ => FailedSync::Lost,
    };
    let stop = std::env::var("STOP").map_or(2, |it| it.parse().unwrap());
    let mut reports = Vec::new();
    for it in scenario::all().into_iter().filter(|it| it.name.contains(&only)) {
        let start = Instant::now();
        let sweep = it.write_unit(unit).failed_sync(failed).sweep(1).stop_after(stop);
        let report = match mode.as_str() {
            "io" => sweep.choices(Choices::few()).io_errors(&Fault::ALL),
            "nested" => sweep.choices(Choices::few()).nested(1).nested_one_in(one_in).power_cuts(),
            "nested-io" => sweep
                .choices(Choices::few())
                .nested(1)
                .nested_one_in(one_in)
                .io_errors(&[Fault::Eio, Fault::Enospc]),
            _ => sweep.power_cuts(),
        };
        for violation in &report.violations {
            eprintln!("{violation}");
        }
        eprintln!("{} {:?} det {}", it.name, start.elapsed(), report.deterministic);
        reports.push(report);
    }
    println!("{}", siding_sim::sweep::Report::table(&reports));
}

#[test]
fn trace() {
    let only = std::env::var("SCENARIO").unwrap_or_default();
    for it in scenario::all().into_iter().filter(|it| it.name == only) {
        for call in it.trace() {
            println!("{call}");
        }
    }
}

/// Two crashes in a row, at every pair of boundaries of a short run.
#[test]
fn two_crashes_at_every_pair_of_boundaries() {
    for name in ["keypoint_behind_a_segment_change", "clean_reopens", "fork_and_end"] {
        let report = scenario::named(name).two_crashes(1).power_cuts();
        report.assert_clean();
        assert!(report.nested > 1_000, "{name}: {} disks behind a second crash", report.nested);
    }
}
