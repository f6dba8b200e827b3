//! A directory as a sink: the suite on every disk, and what a power cut or a failing disk leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use siding::Backend;
use siding::disk::{Disk, open_dir};
use siding::sink::{DirectorySink, Sink, conformance, put_whole, read_whole};
use siding_sim::SimDisk;
use siding_sim::disk::{Crash, Fault, Lasts};
use std::cell::Cell;
use std::sync::Arc;

/// Two sinks on a new disk each.
fn conforms(what: &str, make: &dyn Fn() -> Arc<dyn Disk>) {
    let passed = conformance::check(&|| {
        let disk = make();
        Ok([Arc::new(DirectorySink::new(Arc::clone(&disk))), Arc::new(DirectorySink::new(disk))])
    });
    passed.unwrap_or_else(|broken| panic!("{what}: {broken}"));
}

#[test]
fn a_directory_on_a_disk_is_a_sink() {
    // On the disk the build is on: the directory for scratch files may be memory.
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for backend in Backend::ALL {
        let made = Cell::new(0);
        conforms(&backend.to_string(), &|| {
            made.set(made.get() + 1);
            let path = temp.path().join(format!("{backend}-{}", made.get()));
            open_dir(&path, backend, true).unwrap()
        });
    }
}

#[test]
fn a_directory_on_the_simulated_disk_is_a_sink() {
    for unit in [512, 4096] {
        conforms("simulated", &|| Arc::new(SimDisk::new(3).with_write_unit(unit)));
    }
}

const OLD: &[u8] = &[1; 700];

/// Bytes that take more than one write.
fn new() -> Vec<u8> {
    let mut bytes = vec![2; (1 << 20) + 900];
    bytes.extend_from_slice(&[3; 100]);
    bytes
}

/// The changes that putting something anew makes; `fault` at a call that is counted from the first.
fn put_anew(seed: u64, fault: impl Fn(&SimDisk, u64)) -> (SimDisk, bool) {
    let disk = SimDisk::new(seed);
    let sink = DirectorySink::new(Arc::new(disk.clone()));
    put_whole(&sink, "a", OLD).unwrap();
    fault(&disk, disk.calls());
    let done = put_whole(&sink, "a", &new()).is_ok();
    (disk, done)
}

/// What a reader finds under the name behind a crash.
fn found(disk: SimDisk) -> Vec<u8> {
    let sink = DirectorySink::new(Arc::new(disk));
    let names = sink.list("").unwrap();
    assert_eq!(names.len(), 1, "nothing but the name itself: {names:?}");
    read_whole(&*sink.open("a").unwrap(), 1 << 30).unwrap()
}

fn choices() -> impl Iterator<Item = Crash> {
    let all = [Crash::DropAll, Crash::KeepAll].into_iter();
    let some = (0..6).flat_map(|it| [Crash::KeepOnly(it), Crash::DropOnly(it)]);
    all.chain(some).chain((0..20).map(Crash::Random))
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_whole() {
    let calls = {
        let before = Cell::new(0);
        let (disk, done) = put_anew(1, |_, calls| before.set(calls));
        assert!(done);
        disk.calls() - before.get()
    };
    assert!(calls >= 6, "{calls} calls");
    let (mut olds, mut news) = (0, 0);
    for cut in 0..=calls {
        let (disk, done) = put_anew(1, |disk, now| disk.cut_at(now + cut));
        for choice in choices() {
            let came = found(disk.crash(choice));
            match came == OLD {
                // Once it is said to be there, it is.
                true => assert!(!done, "lost, with {choice:?} at {cut}"),
                false => assert!(came == new(), "half of it, with {choice:?} at {cut}"),
            }
            if came == OLD { olds += 1 } else { news += 1 }
        }
    }
    assert!(olds > 20 && news > 20, "{olds} {news}");
}

#[test]
fn a_failing_disk_is_said_and_leaves_the_old_or_the_new_whole() {
    let mut failed = 0;
    for fault in Fault::ALL {
        for call in 0..12 {
            let (disk, done) = put_anew(2, |disk, now| disk.fail(now + call, fault, Lasts::Once));
            failed += usize::from(!done);
            for choice in [Crash::DropAll, Crash::KeepAll, Crash::Random(call)] {
                let came = found(disk.crash(choice));
                let whole = came == new() || (!done && came == OLD);
                assert!(whole, "{fault:?} at {call}, {choice:?}");
            }
        }
    }
    assert!(failed > 20, "{failed}");
}
