//! The production log under power cuts and failing calls.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use siding_sim::scenario;
use std::time::Instant;

#[test]
fn sweep_all() {
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut reports = Vec::new();
    for it in scenario::all().into_iter().filter(|it| it.name.contains(&only)) {
        let start = Instant::now();
        let report = it.sweep(1).stop_after(3).power_cuts();
        eprintln!("{} {:?} det {}", it.name, start.elapsed(), report.deterministic);
        for violation in &report.violations {
            eprintln!("{violation}");
        }
        reports.push(report);
    }
    println!("{}", siding_sim::sweep::Report::table(&reports));
}
