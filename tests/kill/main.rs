//! Real kills: a child process works on a log in real files, says through a pipe what was
//! acknowledged, and is killed with SIGKILL at any moment; then the log is opened here, and held
//! to what the child said. `SIDING_KILL_ROUNDS` asks for more kills, `SIDING_KILL_SEED` for the
//! same chance again (the moment of a kill stays the machine's).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod child;
mod model;
mod restart;

use model::Model;
use siding::{Backend, Options};
use siding_sim::Rng;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Whether this process is the child, and where its log lies.
const CHILD: &str = "SIDING_KILL_CHILD";
const BACKEND: &str = "SIDING_KILL_BACKEND";
const SEED: &str = "SIDING_KILL_SEED";
const ROUNDS: &str = "SIDING_KILL_ROUNDS";

/// Small segments and many keypoints: files are recycled all the time.
fn options(backend: Backend) -> Options {
    Options::new()
        .backend(backend)
        .segment_size(64 << 10)
        .ring_size(256 << 10)
        .keypoint_bytes(128 << 10)
}

#[test]
fn what_was_acknowledged_survives_kills_direct() {
    kill_again_and_again(Backend::Direct);
}

#[test]
fn what_was_acknowledged_survives_kills_uring() {
    kill_again_and_again(Backend::Uring);
}

#[test]
fn what_was_acknowledged_survives_kills_uring_durable() {
    kill_again_and_again(Backend::UringDurable);
}

#[test]
fn what_was_acknowledged_survives_kills_mmap() {
    kill_again_and_again(Backend::Mmap);
}

#[test]
fn what_was_acknowledged_survives_kills_buffered() {
    kill_again_and_again(Backend::Buffered);
}

/// The child's role: returns at once where nobody asked for it.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let backend = std::env::var(BACKEND).unwrap().parse().unwrap();
        let seed = std::env::var(SEED).unwrap().parse().unwrap();
        child::work(Path::new(&dir), backend, seed);
    }
}

/// One after the other: each needs the machine to get anything done before it is killed.
static TURN: Mutex<()> = Mutex::new(());

fn kill_again_and_again(backend: Backend) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number(SEED).unwrap_or_else(|| RandomState::new().hash_one(backend));
    let rounds = number(ROUNDS).unwrap_or(10);
    println!("{backend}: {SEED}={seed}, {rounds} kills or more");
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    let mut round = 0;
    // On a busy machine a child may get next to nothing done before it is killed.
    let slow = |round, model: &Model| rounds >= 10 && round < 30 * rounds && !model.is_worth_it();
    while round < rounds || slow(round, &model) {
        // Some are killed while they open the log, most while they work on it.
        let working = rng.chance(4, 5);
        // Durable writes through a ring wait for a tick of the clock where others are busy.
        let slow = if backend == Backend::UringDurable { 4 } else { 1 };
        let after = if working { slow * (20 + rng.below(60)) } else { rng.below(20) };
        let after = Duration::from_millis(after);
        let said = run_and_kill(dir.path(), backend, rng.next_u64(), working, after);
        for line in &said {
            model.heard(round, line);
        }
        restart::check(dir.path(), backend, &mut rng, &mut model);
        round += 1;
    }
    println!("{backend}: {round} kills, {}", model.summary());
    assert!(rounds < 10 || model.is_worth_it(), "{}", model.summary());
}

/// Runs a child until it is killed, `after` it began to run (or, `working`, to work); what it
/// said, up to the last whole line.
fn run_and_kill(
    dir: &Path,
    backend: Backend,
    seed: u64,
    working: bool,
    after: Duration,
) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .env(BACKEND, backend.name())
        .env(SEED, seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = BufReader::new(child.stderr.take().unwrap());
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in pipe.lines() {
            tell.send(line.unwrap()).unwrap();
        }
    });
    let mut said = Vec::new();
    if working {
        said.push(told.recv_timeout(Duration::from_secs(60)).expect("the child opens its log"));
    }
    std::thread::sleep(after);
    // SIGKILL: nothing in the child runs any more.
    child.kill().unwrap();
    let status = child.wait().unwrap();
    said.extend(told);
    reader.join().unwrap();
    assert!(status.code().is_none(), "the child ended by itself: {status}\n{}", said.join("\n"));
    said
}
