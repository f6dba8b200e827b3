//! What the backends ask of the kernel, and what they make of its answers: the calls are read and
//! falsified by `strace`. Where that is not to be had, these tests say so and pass.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use siding_wal::disk::{AlignedBuf, Backend, open_dir};
use std::io;
use std::path::Path;
use std::process::Command;

const DIR: &str = "SIDING_TEST_CALLS_DIR";
const TASK: &str = "SIDING_TEST_CALLS_TASK";

/// Not a test of its own: the task the others look at, in a process of its own.
/// Without a directory and a task it does nothing.
#[test]
fn task() {
    let (Ok(dir), Ok(task)) = (std::env::var(DIR), std::env::var(TASK)) else { return };
    let (backend, task) = task.split_once(' ').unwrap();
    match perform(Path::new(&dir), backend.parse().unwrap(), task) {
        Ok(count) => println!("outcome: {count}"),
        Err(error) => match error.raw_os_error() {
            Some(number) => println!("outcome: error {number}"),
            None => println!("outcome: {:?}", error.kind()),
        },
    }
}

fn perform(dir: &Path, backend: Backend, task: &str) -> io::Result<usize> {
    if task == "make" {
        return open_dir(&dir.join("a/b"), backend, true).map(|_| 0);
    }
    let disk = open_dir(dir, backend, false)?;
    let file = disk.open("x")?;
    let mut buf = AlignedBuf::zeroed(8192);
    match task {
        "write" => file.write_at(0, &[&buf], false).map(|()| 0),
        "durable write" => file.write_at(0, &[&buf], true).map(|()| 0),
        "two durable writes" => {
            file.write_at(0, &[&buf], true)?;
            file.write_at(0, &[&buf], true).map(|()| 0)
        }
        // It begins where the file ends.
        "long durable write" => file.write_at(16384, &[&buf, &buf], true).map(|()| 0),
        "sync" => file.sync().map(|()| 0),
        // How often a durable write goes through, once one sync did not.
        "sync, then writes" => {
            let failed = file.sync().is_err();
            let written = (0..3).filter(|_| file.write_at(0, &[&buf], true).is_ok()).count();
            Ok(if failed { written } else { 100 })
        }
        "sync_dir" => disk.sync_dir().map(|()| 0),
        "read" => file.read_at(0, &mut buf),
        _ => panic!("no task {task}"),
    }
}

const WATCHED: &str =
    "mkdir,mkdirat,pread64,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range";

/// Runs a task, with the kernel's answers falsified as `inject` says; returns the outcome and the
/// calls that touched the log. None: there is no strace here, or no direct I/O to look at.
fn traced(backend: Backend, task: &str, inject: &str) -> Option<(String, String)> {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(temp.path().join("x"), [1; 16384]).unwrap();
    let lacking = open_dir(temp.path(), backend, false).unwrap().name() != backend.name();
    let works = |strace: &mut Command| strace.output().is_ok_and(|out| out.status.success());
    if lacking || !works(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        return None;
    }
    let log = temp.path().join("trace");
    let mut strace = Command::new("strace");
    // The loader reads files too, and must not be lied to.
    for path in ["", "x", "a", "a/b"] {
        strace.arg("-P").arg(temp.path().join(path).components().as_path());
    }
    strace.arg("-f").arg("-o").arg(&log).args(["-e", &format!("trace={WATCHED}")]);
    if !inject.is_empty() {
        strace.args(["-e", &format!("inject={inject}")]);
    }
    let program = std::env::current_exe().unwrap();
    let out = strace
        .arg(program)
        .args(["--exact", "task", "--nocapture"])
        .env(DIR, temp.path())
        .env(TASK, format!("{backend} {task}"))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let outcome = text.lines().find_map(|line| line.split("outcome: ").nth(1));
    let outcome = outcome.unwrap_or_else(|| panic!("no outcome: {text}"));
    let calls = std::fs::read_to_string(&log).unwrap();
    Some((outcome.to_owned(), calls.lines().filter_map(call).collect::<Vec<_>>().join(" ")))
}

/// The name of a traced call, with what matters of its arguments.
fn call(line: &str) -> Option<String> {
    let (name, rest) = line.split_once(' ')?.1.trim().split_once('(')?;
    if !WATCHED.split(',').any(|watched| watched == name) {
        return None;
    }
    let dsync = if rest.contains("RWF_DSYNC") { "+dsync" } else { "" };
    Some(format!("{name}{dsync}"))
}

/// Rows of: backend, task, what is falsified, the outcome due, the calls due.
type Row = (Backend, &'static str, &'static str, &'static str, &'static str);

fn check(rows: &[Row]) {
    for (backend, task, inject, outcome, calls) in rows {
        match traced(*backend, task, inject) {
            None => eprintln!("skipped, for want of strace or direct I/O: {backend} {task}"),
            Some(came) => {
                let due = ((*outcome).to_owned(), (*calls).to_owned());
                assert_eq!(came, due, "{backend}, {task}, {inject}");
            }
        }
    }
}

use Backend::{Buffered, Direct, Mmap, Uring, UringDurable};

#[test]
fn durable_means_forced_to_the_device() {
    check(&[
        (Direct, "write", "", "0", "pwritev2"),
        (Direct, "durable write", "", "0", "pwritev2+dsync"),
        (Direct, "sync", "", "0", "fdatasync"),
        (Direct, "sync_dir", "", "0", "fsync"),
        (Direct, "make", "", "0", "mkdir fsync mkdir fsync"),
        (Buffered, "write", "", "0", "pwrite64"),
        (Buffered, "durable write", "", "0", "pwrite64 fdatasync"),
        (Buffered, "sync", "", "0", "fdatasync"),
        (Buffered, "sync_dir", "", "0", "fsync"),
        (Buffered, "make", "", "0", "mkdir fsync mkdir fsync"),
        // What little there is goes by plain calls; a ring and a map are seen by none of these.
        (Uring, "write", "", "0", "pwritev2"),
        (Uring, "durable write", "", "0", "pwritev2+dsync"),
        (Uring, "sync", "", "0", "fdatasync"),
        (UringDurable, "write", "", "0", "pwritev2"),
        (UringDurable, "durable write", "", "0", ""),
        (UringDurable, "sync", "", "0", ""),
        (Mmap, "write", "", "0", ""),
        (Mmap, "durable write", "", "0", ""),
        (Mmap, "long durable write", "", "0", "pwrite64 pwrite64 pwrite64 pwrite64 fdatasync"),
        (Mmap, "sync", "", "0", "fdatasync"),
    ]);
}

#[test]
fn what_was_done_in_part_is_finished() {
    check(&[
        (Direct, "write", "pwritev2:retval=4096:when=1", "0", "pwritev2 pwritev2"),
        (
            Direct,
            "durable write",
            "pwritev2:retval=512:when=1",
            "0",
            "pwritev2+dsync pwritev2+dsync",
        ),
        (
            Direct,
            "durable write",
            "pwritev2:error=EINTR:when=1",
            "0",
            "pwritev2+dsync pwritev2+dsync",
        ),
        (Buffered, "write", "pwrite64:retval=1:when=1", "0", "pwrite64 pwrite64"),
        (
            Buffered,
            "durable write",
            "pwrite64:error=EINTR:when=1",
            "0",
            "pwrite64 pwrite64 fdatasync",
        ),
        (Direct, "read", "pread64:error=EINTR:when=1", "8192", "pread64 pread64"),
        (Buffered, "read", "pread64:retval=100:when=1", "8192", "pread64 pread64"),
        // An old kernel: refused before anything was done, so another way may be tried.
        (
            Direct,
            "durable write",
            "pwritev2:error=EOPNOTSUPP:when=1",
            "0",
            "pwritev2+dsync pwritev fdatasync",
        ),
        (
            Direct,
            "two durable writes",
            "pwritev2:error=ENOSYS:when=1",
            "0",
            "pwritev2+dsync pwritev fdatasync pwritev fdatasync",
        ),
    ]);
}

#[test]
fn what_failed_is_said_and_never_tried_again() {
    check(&[
        (Direct, "write", "pwritev2:error=EIO", "error 5", "pwritev2"),
        (Direct, "durable write", "pwritev2:error=EIO", "error 5", "pwritev2+dsync"),
        (Direct, "durable write", "pwritev2:error=ENOSPC", "error 28", "pwritev2+dsync"),
        (Direct, "durable write", "pwritev2:error=EDQUOT", "error 122", "pwritev2+dsync"),
        (Direct, "durable write", "pwritev2:retval=0", "WriteZero", "pwritev2+dsync"),
        (Direct, "durable write", "pwritev2:retval=100", "WriteZero", "pwritev2+dsync"),
        (Direct, "durable write", "pwritev2:retval=8193", "Other", "pwritev2+dsync"),
        (Direct, "read", "pread64:error=EIO", "error 5", "pread64"),
        (Direct, "sync_dir", "fsync:error=EIO", "error 5", "fsync"),
        (Direct, "make", "fsync:error=EIO:when=2", "error 5", "mkdir fsync mkdir fsync"),
        (Buffered, "write", "pwrite64:error=ENOSPC", "error 28", "pwrite64"),
        (Buffered, "write", "pwrite64:retval=0", "WriteZero", "pwrite64"),
        (Buffered, "durable write", "fdatasync:error=ENOSPC", "error 28", "pwrite64 fdatasync"),
        (Buffered, "read", "pread64:error=EIO", "error 5", "pread64"),
        // A sync that was interrupted may have lost what it had begun.
        (
            Buffered,
            "durable write",
            "fdatasync:error=EINTR:when=1",
            "error 4",
            "pwrite64 fdatasync",
        ),
        (Direct, "sync", "fdatasync:error=EINTR:when=1", "error 4", "fdatasync"),
        (Direct, "sync", "fdatasync:error=EIO", "error 5", "fdatasync"),
        (Direct, "sync_dir", "fsync:error=EINTR:when=1", "error 4", "fsync"),
        (Mmap, "sync", "fdatasync:error=EIO", "error 5", "fdatasync"),
        // A map would go on showing what was lost.
        (Mmap, "sync, then writes", "fdatasync:error=EIO", "0", "fdatasync"),
        (Mmap, "long durable write", "pwrite64:error=ENOSPC", "error 28", "pwrite64"),
    ]);
}
