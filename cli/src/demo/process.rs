//! The demo's side of a worker: started, listened to, killed.

use super::retained::Sample;
use super::said::Said;
use super::worker::WorkerArgs;
use super::{Result, acknowledged, check::Ledger};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a worker may take to open the bank.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest wait for a worker's word.
const BRIEF: Duration = Duration::from_millis(1);

/// When a worker is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// This long after it has opened the bank, and not before it has written so many bytes of
    /// log: on a slow machine too something passes the units that are stuck.
    UnderLoad(Duration, u64),
    /// This long after it was started, while it opens the bank.
    DuringRestart(Duration),
}

/// What workers said, apart from what goes into the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) turned_away: u64,
    pub(super) snapshots: u64,
}

/// A worker and the way from it.
struct Worker {
    child: Child,
    said: Receiver<Said>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whatever happens to the demo, no worker is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a worker work until it is killed, and writes what it said into the ledger. `watch` is
/// called again and again, with what is acknowledged so far, and what was kept if that is new.
pub(super) fn work_and_kill(
    args: &WorkerArgs,
    kill: Kill,
    ledger: &mut Ledger,
    counts: &mut Counts,
    watch: &mut dyn FnMut(u64, Option<Sample>),
) -> Result<()> {
    let mut worker = start(args)?;
    let started = Instant::now();
    let mut kill_at = match kill {
        Kill::UnderLoad(..) => started + PATIENCE,
        Kill::DuringRestart(after) => started + after,
    };
    let mut is_open = false;
    let mut written = Written::default();
    loop {
        let left = kill_at.saturating_duration_since(Instant::now());
        match worker.said.recv_timeout(left.clamp(BRIEF, Duration::from_millis(50))) {
            Ok(Said::Open) => {
                is_open = true;
                if let Kill::UnderLoad(after, _) = kill {
                    kill_at = Instant::now() + after;
                }
            }
            Ok(Said::Kept(sample)) => {
                written.see(&sample);
                watch(acknowledged(ledger), Some(sample));
            }
            Ok(said) => note(said, ledger, counts)?,
            Err(RecvTimeoutError::Timeout) => watch(acknowledged(ledger), None),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("a worker ended by itself: {}", worker.child.wait()?).into());
            }
        }
        let enough = match kill {
            Kill::UnderLoad(_, bytes) => !is_open || written.bytes() >= bytes,
            Kill::DuringRestart(_) => true,
        };
        let now = Instant::now();
        if now >= kill_at && (enough || now >= kill_at + PATIENCE) {
            break;
        }
    }
    if matches!(kill, Kill::UnderLoad(..)) && !is_open {
        return Err(format!("a worker did not open the bank in {} s", PATIENCE.as_secs()).into());
    }
    // SIGKILL: nothing in the worker runs any more, whatever it was doing.
    worker.child.kill()?;
    worker.child.wait()?;
    // What it had said by then is in the pipe.
    while let Ok(said) = worker.said.recv() {
        match said {
            Said::Kept(sample) => watch(acknowledged(ledger), Some(sample)),
            said => note(said, ledger, counts)?,
        }
    }
    watch(acknowledged(ledger), None);
    Ok(())
}

/// What a worker has written.
#[derive(Default)]
struct Written {
    first: Option<u64>,
    last: u64,
}

impl Written {
    fn see(&mut self, sample: &Sample) {
        self.first = self.first.or(Some(sample.end));
        self.last = sample.end;
    }

    fn bytes(&self) -> u64 {
        self.first.map_or(0, |first| self.last.saturating_sub(first))
    }
}

/// What a call returns, and the milliseconds it took.
pub(super) fn timed<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = Instant::now();
    let result = call();
    (result, u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn note(said: Said, ledger: &mut Ledger, counts: &mut Counts) -> Result<()> {
    match said {
        Said::Open | Said::Kept(_) => {}
        Said::Committed(transfer) => drop(ledger.committed.insert(transfer.id, transfer)),
        Said::Prepared(transfer) => {
            let gid = super::bank::left_gid(transfer.id);
            ledger.in_doubt.insert(gid, transfer);
        }
        Said::BackedOut(id) => drop(ledger.backed_out.insert(id)),
        Said::TurnedAway => counts.turned_away += 1,
        Said::Snapshot => counts.snapshots += 1,
        Said::Failed(why) => return Err(format!("a worker could not go on: {why}").into()),
    }
    Ok(())
}

fn start(args: &WorkerArgs) -> Result<Worker> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "worker"]).arg("--dir").arg(&args.dir);
    let numbers = [
        ("--accounts", u64::from(args.bank.accounts)),
        ("--branches", u64::from(args.bank.branches)),
        ("--spare", u64::from(args.bank.spare)),
        ("--segment", u64::from(args.bank.segment)),
        ("--round", u64::from(args.round)),
        ("--threads", u64::from(args.threads)),
        ("--doubts", u64::from(args.doubts)),
        ("--first-spare", u64::from(args.first_spare)),
        ("--seed", args.seed),
    ];
    for (name, number) in numbers {
        command.arg(name).arg(number.to_string());
    }
    if let Some(plant) = args.plant {
        command.arg("--plant").arg(format!("{plant:?}").to_lowercase());
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (tell, said) = channel();
    if let Some(pipe) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
                // A line that was cut off acknowledges nothing.
                if Said::parse(&line).is_some_and(|said| tell.send(said).is_err()) {
                    break;
                }
            }
        });
    }
    Ok(Worker { child, said })
}
