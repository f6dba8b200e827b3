//! The sweep finds what is wrong with a log, and nothing where nothing is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod toy;

use siding_sim::disk::Fault;
use siding_sim::sweep::{Choices, Report};
use siding_sim::{SimDisk, Sweep, Trouble};
use siding_wal::disk::{AlignedBuf, Disk};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use toy::{Defect, Promise};

/// A sweep of the toy log; the toy's reads come from a page cache, so it must mistrust them.
fn sweep(defect: Defect) -> Sweep<'static, Promise> {
    let name = format!("{defect:?}");
    Sweep::new(&name, SimDisk::new(1), toy::append(defect), toy::check(defect))
        .choices(Choices { ghosts: true, ..Choices::default() })
        .nested_choices(Choices { ghosts: true, ..Choices::few() })
        .stop_after(3)
}

#[test]
fn a_right_log_passes_everything() {
    let start = Instant::now();
    let cuts = sweep(Defect::None).nested(2).power_cuts();
    let errors = sweep(Defect::None).nested(1).io_errors(&Fault::ALL);
    let states = cuts.states + errors.states;
    println!("{}", Report::table(&[cuts.clone(), errors.clone()]));
    println!("{} us a state", start.elapsed().as_micros() / u128::from(states));
    cuts.assert_clean();
    errors.assert_clean();
    // Create, write the head, rename, sync the directory, rewrite what was found, three pairs.
    assert_eq!((cuts.boundaries, cuts.runs), (8, 9));
    assert!(cuts.deterministic && errors.deterministic);
    assert!(cuts.tried > cuts.states && cuts.states > 2_000 && errors.states > 20_000);
}

/// The cheapest sweep that finds each defect; the ones named before it do not.
#[test]
fn every_defect_is_found_and_by_what_it_takes() {
    let cuts = |defect, depth| sweep(defect).nested(depth).power_cuts();
    let errors = |defect, depth| sweep(defect).nested(depth).io_errors(&Fault::ALL);
    let found_by = |defect| -> &str {
        match defect {
            defect if cuts(defect, 0).broken > 0 => "cuts",
            defect if cuts(defect, 1).broken > 0 => "cuts in the recovery",
            defect if errors(defect, 0).broken > 0 => "errors",
            defect if errors(defect, 1).broken > 0 => "errors in the recovery",
            _ => "nothing",
        }
    };
    for (defect, due) in [
        (Defect::None, "nothing"),
        (Defect::NameBeforeBytes, "cuts"),
        (Defect::NoDirSync, "cuts"),
        (Defect::NoSync, "cuts"),
        (Defect::AckBeforeSync, "cuts"),
        (Defect::DurableCoversAll, "cuts"),
        (Defect::NoChecksum, "cuts"),
        (Defect::LeftoversStay, "cuts in the recovery"),
        (Defect::FoundNotSynced, "cuts in the recovery"),
        (Defect::RetriedSync, "errors"),
        // Power that goes is an error too.
        (Defect::ErrorSwallowed, "cuts"),
        (Defect::CacheTrusted, "errors in the recovery"),
        (Defect::UnreadableIsEnd, "errors in the recovery"),
    ] {
        assert_eq!(found_by(defect), due, "{defect:?}");
    }
}

#[test]
fn a_violation_can_be_replayed_and_read() {
    for (report, defect) in [
        (sweep(Defect::NoSync).power_cuts(), Defect::NoSync),
        (sweep(Defect::LeftoversStay).nested(1).power_cuts(), Defect::LeftoversStay),
        (sweep(Defect::CacheTrusted).nested(1).io_errors(&[Fault::Eio]), Defect::CacheTrusted),
        (sweep(Defect::UnreadableIsEnd).nested(1).io_errors(&[]), Defect::UnreadableIsEnd),
    ] {
        assert!(report.broken >= 1 && report.broken == report.violations.len() as u64);
        for violation in &report.violations {
            println!("{violation}");
            let again = sweep(defect).replay(&violation.steps).unwrap_err();
            let Trouble::Broken(what) = again else { panic!("{again:?}") };
            assert_eq!(what, violation.what);
            // The same way leads a right log nowhere bad.
            sweep(Defect::None).replay(&violation.steps).unwrap();
        }
    }
    let report = sweep(Defect::NoSync).power_cuts();
    let words = report.violations[0].to_string();
    let due = "power goes in call 6 (write 2048 bytes at 2560 of log); nothing pending survives";
    assert!(words.contains(due), "{words}");
    assert!(std::panic::catch_unwind(|| report.assert_clean()).is_err());
    assert!(sweep(Defect::None).replay(&[]).is_err());
}

#[test]
fn equal_seeds_give_equal_reports_and_others_other_subsets() {
    let run = |seed| {
        let report = sweep(Defect::NoSync).seed(seed).stop_after(1_000).power_cuts();
        report.violations.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    let nested = |one_in, seed| {
        let report = sweep(Defect::None).nested(2).nested_one_in(one_in).seed(seed).power_cuts();
        report.assert_clean();
        report.nested
    };
    assert_ne!(nested(3, 1), nested(3, 2));
    assert!(nested(4, 1) * 2 < nested(1, 1));
}

#[test]
fn panics_are_violations_with_their_words() {
    let check = |_: Arc<SimDisk>, _: &mut ()| -> Result<(), Trouble> { panic!("a bad check") };
    let report = Sweep::new("", SimDisk::new(1), |_| (), check).power_cuts();
    assert_eq!(report.violations[0].what, "the check panicked: a bad check");
    let scenario = |disk: Arc<SimDisk>| {
        assert!(disk.create("a").is_ok(), "no file");
    };
    let report = Sweep::new("", SimDisk::new(1), scenario, |_, ()| Ok(())).power_cuts();
    assert_eq!(report.broken, 1);
    assert_eq!(report.violations[0].what, "the scenario panicked: no file");
}

#[test]
fn a_refusal_is_a_violation_on_a_healthy_disk_alone() {
    let scenario = |disk: Arc<SimDisk>| disk.sync_dir().is_ok();
    let check = |disk: Arc<SimDisk>, _: &mut bool| {
        disk.sync_dir()?;
        Ok(())
    };
    let sweep = Sweep::new("", SimDisk::new(1), scenario, check).nested(1);
    sweep.power_cuts().assert_clean();
    sweep.io_errors(&Fault::ALL).assert_clean();
    let refuses = |_: Arc<SimDisk>, _: &mut bool| Err(Trouble::from(std::fmt::Error));
    let report = Sweep::new("", SimDisk::new(1), scenario, refuses).stop_after(2).power_cuts();
    assert_eq!(report.broken, 2);
    assert!(report.violations[0].what.starts_with("refused on a healthy disk"));
}

#[test]
fn what_a_check_promised_must_hold_too() {
    let check = |disk: Arc<SimDisk>, promised: &mut bool| {
        let there = disk.open("a").is_ok();
        Trouble::unless(there || !*promised, || "a is gone".to_owned())?;
        if !there {
            disk.create("a")?;
        }
        // And no directory sync.
        *promised = true;
        Ok(())
    };
    let sweep = Sweep::new("", SimDisk::new(1), |_| false, check);
    sweep.power_cuts().assert_clean();
    let report = sweep.nested(1).power_cuts();
    assert!(report.violations.iter().all(|violation| violation.what == "a is gone"));
    assert!(report.broken > 0);
}

#[test]
fn power_goes_at_every_pair_of_boundaries() {
    const CALLS: u64 = 3;
    let write = |disk: &SimDisk| -> std::io::Result<()> {
        let file = disk.open("a")?;
        let bytes = AlignedBuf::zeroed(512);
        (0..CALLS).try_for_each(|place| file.write_at(place * 512, &[&bytes], false))
    };
    // The call in which the power went; none: it did not.
    let cut = |disk: &SimDisk| disk.is_off().then(|| disk.calls() - 1);
    let pairs = Mutex::new(BTreeSet::new());
    let scenario = |disk: Arc<SimDisk>| {
        let _ = write(&disk);
        vec![cut(&disk)]
    };
    let check = |disk: Arc<SimDisk>, ways: &mut Vec<Option<u64>>| {
        if let [first, second] = ways[..] {
            pairs.lock().unwrap().insert((first, second));
        }
        let written = write(&disk);
        ways.push(cut(&disk));
        Ok(written?)
    };
    let start = SimDisk::new(1);
    let file = start.create("a").unwrap();
    file.write_at(0, &[&AlignedBuf::zeroed(4 * 512)], true).unwrap();
    start.sync_dir().unwrap();
    let sweep = Sweep::new("", start, scenario, check).choices(Choices::few()).nested(1);
    sweep.power_cuts().assert_clean();
    drop(sweep);
    let boundaries = || (0..CALLS).map(Some).chain([None]);
    let due = boundaries().flat_map(|one| boundaries().map(move |two| (one, two)));
    assert_eq!(pairs.into_inner().unwrap(), due.collect());
}

#[test]
fn each_pending_change_survives_alone_and_is_missing_alone() {
    let scenario = |disk: Arc<SimDisk>| {
        let file = disk.open("a").unwrap();
        for place in 0..20 {
            let mut bytes = AlignedBuf::zeroed(512);
            bytes.fill(7);
            if file.write_at(place * 512, &[&bytes], false).is_err() {
                break;
            }
        }
    };
    let start = SimDisk::new(1);
    let file = start.create("a").unwrap();
    file.write_at(0, &[&AlignedBuf::zeroed(20 * 512)], true).unwrap();
    start.sync_dir().unwrap();
    let sweep = |each_max| {
        let choices =
            Choices { kill: false, random: 0, tears: 0, shorn: 0, each_max, ghosts: false };
        Sweep::new("", start.clone(), scenario, |_, ()| Ok(())).choices(choices).power_cuts()
    };
    // After each cut another number is pending, and twenty at the end. One is all; of two, the
    // one alone is the other missing.
    let sum: u64 = (3..=20).sum();
    assert_eq!(sweep(usize::MAX).by_end[2..4], [sum + 20 + 1, sum + 20 + 1]);
    let few: u64 = (3..=20).map(|count| count.min(4)).sum();
    assert_eq!(sweep(4).by_end[2..4], [few + 4 + 1, few + 4 + 1]);
    assert_eq!(sweep(0).by_end[2..4], [0, 0]);
}

#[test]
fn runs_that_differ_are_reported() {
    let turn = AtomicU8::new(0);
    let scenario = |disk: Arc<SimDisk>| {
        let mut bytes = AlignedBuf::zeroed(512);
        bytes[0] = turn.fetch_add(1, Ordering::SeqCst);
        disk.create("a").and_then(|file| file.write_at(0, &[&bytes], false)).is_ok()
    };
    let report = Sweep::new("", SimDisk::new(1), scenario, |_, _| Ok(())).power_cuts();
    assert!(!report.deterministic);
}

#[test]
fn reports_add_up() {
    let mut sum = sweep(Defect::None).power_cuts();
    let (one, two) = (sum.clone(), sweep(Defect::NoSync).power_cuts());
    sum.merge(two.clone());
    assert_eq!((sum.states, sum.broken), (one.states + two.states, 3));
    assert_eq!(sum.violations.len(), 3);
    let table = Report::table(&[one, two]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(sum.to_string().contains("None"));
}
