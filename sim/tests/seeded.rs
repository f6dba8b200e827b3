//! Can the rig see? Each bug that is seeded in the library must be found by the sweeps.
#![cfg(feature = "seeded-bugs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use siding_sim::disk::Fault;
use siding_sim::scenario;
use siding_sim::sweep::{Choices, Report};
use siding_wal::seeded::{Bug, with};

#[test]
fn which() {
    for bug in Bug::ALL {
        let mut found = Vec::new();
        for it in scenario::all() {
            let sweep = it.sweep(1).stop_after(1);
            let cuts = with(bug, || sweep.power_cuts());
            let sweep = it.sweep(1).stop_after(1).choices(Choices::few());
            let errors = with(bug, || sweep.io_errors(&[Fault::Eio]));
            let sweep = it.restarts(1).stop_after(1);
            let once = with(bug, || sweep.power_cuts());
            let sweep = it.restarts(1).stop_after(1).choices(Choices::few());
            let sweep = sweep.nested(1).nested_one_in(4);
            let twice = with(bug, || sweep.power_cuts());
            let all = [cuts, errors, once, twice].map(|it| it.broken > 0);
            if all.iter().any(|it| *it) {
                let letters = all.iter().zip("cer2".chars());
                let all: String = letters.filter(|it| *it.0).map(|it| it.1).collect();
                found.push(format!("{}:{all}", it.name));
            }
        }
        println!("{bug:?}: {}", found.join(" "));
    }
    let _ = Report::default();
}
