//! The ring on a bad day: calls into the kernel that fail, are interrupted, or do less than they
//! say; a kernel that has no ring for us. `strace` falsifies the answers; where it is not to be
//! had, or there is no ring anyway, these tests say so and pass.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test says what is wrong by failing"
)]

use siding_wal::disk::{AlignedBuf, Backend, Disk, LogFile, ReadPipe, open_dir};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const DIR: &str = "SIDING_TEST_RING_DIR";
const TASK: &str = "SIDING_TEST_RING_TASK";
const LEN: usize = 8 << 20;
const STRETCH: usize = 1 << 20;

/// Not a test of its own: the task the others look at, in a process of its own.
/// Without a directory and a task it does nothing.
#[test]
fn task() {
    let (Ok(dir), Ok(task)) = (std::env::var(DIR), std::env::var(TASK)) else { return };
    let (backend, task) = task.split_once(' ').unwrap();
    let disk = open_dir(Path::new(&dir), backend.parse().unwrap(), false).unwrap();
    println!("outcome: {}", perform(&*disk, task));
}

fn perform(disk: &dyn Disk, task: &str) -> String {
    let mut said = disk.name().to_owned();
    let mut say = |what: &str| write!(said, ", {what}").unwrap();
    let outcome = |result: std::io::Result<()>| match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    match task {
        "write" | "durable write" => {
            let durable = task == "durable write";
            let len = if durable { 8192 } else { LEN };
            let (x, y) = (disk.open("x").unwrap(), disk.open("y").unwrap());
            let (twos, threes) = (AlignedBuf::from(vec![2; LEN].as_slice()), vec![3; LEN]);
            let threes = AlignedBuf::from(threes.as_slice());
            say(&outcome(x.write_at(0, &[&twos[..len]], durable)));
            say(&outcome(x.write_at(0, &[&twos[..4096]], false)));
            say(&outcome(x.sync()));
            // The rings of the directory go on: nothing that was given up may come along.
            say(&outcome(y.write_at(0, &[&threes[..len]], durable)));
            say(&holds(&*x));
            say(&holds(&*y));
        }
        "read ahead" => {
            let file = disk.open("x").unwrap();
            let Some(pipe) = file.pipe(3, STRETCH) else { return said };
            say(&read_ahead(&file, pipe));
        }
        "read many" => {
            let file = disk.open("x").unwrap();
            let mut bufs = vec![AlignedBuf::zeroed(4096); 40];
            let mut reads: Vec<(u64, &mut [u8])> =
                (0..).step_by(8192).zip(bufs.iter_mut().map(|buf| &mut **buf)).collect();
            let counts = file.read_many(&mut reads);
            let all = counts.iter().all(|count| matches!(count, Ok(4096)));
            let right = bufs.iter().all(|buf| buf.iter().all(|byte| *byte == 1));
            say(if all && right { "all right" } else { "wrong" });
        }
        _ => panic!("no task {task}"),
    }
    said
}

fn read_ahead(file: &Arc<dyn LogFile>, mut pipe: Box<dyn ReadPipe>) -> String {
    let mut offsets = (0..LEN as u64).step_by(STRETCH);
    for offset in offsets.by_ref().take(3) {
        pipe.ask(file, offset).unwrap();
    }
    let mut total = 0;
    while total < LEN {
        let count = match pipe.next() {
            Ok(count) => count,
            Err(error) => return error.to_string(),
        };
        if count == 0 || pipe.current().iter().any(|byte| *byte != 1) {
            return "wrong bytes".to_owned();
        }
        total += count;
        if let Some(offset) = offsets.next() {
            pipe.ask(file, offset).unwrap();
        }
    }
    "all right".to_owned()
}

/// The bytes of a file, if they are all the same.
fn holds(file: &dyn LogFile) -> String {
    let mut buf = AlignedBuf::zeroed(LEN);
    file.read_at(0, &mut buf).unwrap();
    let mut runs: Vec<u8> = buf.to_vec();
    runs.dedup();
    format!("{runs:?}")
}

/// Runs a task under strace; what it said, and what the files hold once it has ended. None: there
/// is no strace here, or no ring.
fn traced(backend: Backend, task: &str, inject: &str) -> Option<(String, [u8; 2])> {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for name in ["x", "y"] {
        std::fs::write(temp.path().join(name), vec![1; LEN]).unwrap();
        std::fs::File::open(temp.path().join(name)).unwrap().sync_all().unwrap();
    }
    let lacking = open_dir(temp.path(), backend, false).unwrap().name() != backend.name();
    let works = |strace: &mut Command| strace.output().is_ok_and(|out| out.status.success());
    if lacking || !works(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        eprintln!("skipped, for want of strace or a ring: {backend} {task}");
        return None;
    }
    let out = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=io_uring_setup,io_uring_enter"])
        .args(["-e", &format!("inject={inject}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "task", "--nocapture"])
        .env(DIR, temp.path())
        .env(TASK, format!("{backend} {task}"))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = text.lines().find_map(|line| line.split("outcome: ").nth(1));
    let said = said.unwrap_or_else(|| panic!("no outcome: {text}")).to_owned();
    let first = |name: &str| std::fs::read(temp.path().join(name)).unwrap()[LEN / 2];
    Some((said, [first("x"), first("y")]))
}

const FENCED: &str = "the file is fenced: a ring broke while it was written";
const EIO: &str = "Input/output error (os error 5)";

#[test]
fn a_call_that_failed_fences_the_file_and_its_requests_never_land() {
    let Some(came) = traced(Backend::Uring, "write", "io_uring_enter:error=EIO:when=1") else {
        return;
    };
    let due = format!("uring, {EIO}, {FENCED}, {FENCED}, ok, [1], [3]");
    assert_eq!(came, (due, [1, 3]));
    let (task, inject) = ("durable write", "io_uring_enter:error=EIO:when=1");
    let (said, _) = traced(Backend::UringDurable, task, inject).unwrap();
    assert_eq!(said, format!("uring-durable, {EIO}, {FENCED}, {FENCED}, ok, [1], [3, 1]"));
}

#[test]
fn a_call_that_fails_later_is_waited_for() {
    // What the first call took is written by the kernel, whatever is said of the second.
    let inject = "io_uring_enter:error=ENOMEM:when=2";
    let Some((said, _)) = traced(Backend::Uring, "write", inject) else { return };
    let enomem = "Cannot allocate memory (os error 12)";
    assert!(said.starts_with(&format!("uring, {enomem}, {FENCED}, {FENCED}, ok, ")), "{said}");
    assert!(said.ends_with(", [3]"), "{said}");
}

#[test]
fn signals_and_calls_that_did_nothing_are_no_failures() {
    for inject in
        ["error=EINTR:when=1", "error=EINTR:when=2+2", "retval=2:when=1", "retval=0:when=2"]
    {
        let inject = format!("io_uring_enter:{inject}");
        let Some(came) = traced(Backend::Uring, "write", &inject) else { return };
        assert_eq!(came, ("uring, ok, ok, ok, ok, [2], [3]".to_owned(), [2, 3]), "{inject}");
        let (said, _) = traced(Backend::UringDurable, "durable write", &inject).unwrap();
        assert_eq!(said, "uring-durable, ok, ok, ok, ok, [2, 1], [3, 1]", "{inject}");
    }
}

#[test]
fn reads_go_on_by_plain_calls() {
    for when in ["1", "2", "4", "1+", "3+"] {
        let inject = format!("io_uring_enter:error=EIO:when={when}");
        for task in ["read ahead", "read many"] {
            let Some((said, _)) = traced(Backend::Uring, task, &inject) else { return };
            assert_eq!(said, "uring, all right", "{task}, {inject}");
        }
    }
}

#[test]
fn without_a_ring_plain_calls_do_the_same() {
    for error in ["ENOSYS", "EPERM", "ENOMEM"] {
        let inject = format!("io_uring_setup:error={error}");
        let Some(came) = traced(Backend::Uring, "write", &inject) else { return };
        assert_eq!(came, ("direct, ok, ok, ok, ok, [2], [3]".to_owned(), [2, 3]), "{error}");
        let (said, _) = traced(Backend::Uring, "read ahead", &inject).unwrap();
        assert_eq!(said, "direct", "there is no pipe");
        let (said, _) = traced(Backend::Uring, "read many", &inject).unwrap();
        assert_eq!(said, "direct, all right");
    }
}
