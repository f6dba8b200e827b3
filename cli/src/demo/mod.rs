//! `siding demo`: a bank whose process is killed again and again, and what must be true after it.
//!
//! A worker process makes transfers with many threads and says which are committed, after commit
//! has returned and not before. It is killed with SIGKILL, under load and during restarts. After
//! each kill the demo opens the bank itself, which is a restart, and checks everything: see
//! `check`. Some units are left in doubt on purpose, and stay so while transfers pass: the log is
//! kept flat all the same, for they are moved to the secondary log; see `retained`. At the end
//! they are decided.
//!
//! A kill leaves the page cache to the kernel. That a power cut loses nothing either is what the
//! simulated disk of the test rig shows, not this.

mod bank;
mod check;
mod process;
mod retained;
mod rounds;
mod said;
mod show;
mod worker;

use bank::Bank;
use clap::error::ErrorKind as Usage;
use clap::{Args, CommandFactory as _, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// What goes wrong is told to a person.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What to do, and where.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    hidden: Option<Hidden>,
    /// An empty directory, or one to create; without it a temporary one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Kills under load; every second is followed by one during the restart.
    #[arg(long, default_value_t = 6, value_parser = count(1, 1_000))]
    kills: u32,
    /// Milliseconds of work before each kill, at most; half of it at least.
    #[arg(long, default_value_t = 1_500, value_parser = count(50, u32::MAX))]
    millis: u32,
    /// The same in seconds.
    #[arg(long, conflicts_with = "millis", value_parser = count(1, 86_400))]
    seconds: Option<u32>,
    /// Threads that make transfers.
    #[arg(long, default_value_t = 8, value_parser = count(1, 200))]
    threads: u32,
    #[command(flatten)]
    bank: Bank,
    /// Units to leave in doubt before each kill.
    #[arg(long, default_value_t = 2, value_parser = count(0, 100))]
    doubts: u32,
    /// Where the dice start; the same seed does not make the same run, threads and kills see to it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the temporary directory.
    #[arg(long)]
    keep: bool,
    /// One JSON object a line; the last one sums up.
    #[arg(long)]
    json: bool,
    /// A short run: 4 kills, 500 ms each, 2,000 accounts, segments of 512 KiB.
    #[arg(long)]
    smoke: bool,
    /// Plants a fault that must be found. Not in release builds.
    #[cfg_attr(debug_assertions, arg(long, hide = true, value_enum))]
    #[cfg_attr(not(debug_assertions), arg(skip))]
    plant: Option<Plant>,
}

/// Numbers from one to another.
fn count(from: u32, to: u32) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(from)..=i64::from(to))
}

#[derive(Subcommand, Clone, Debug)]
enum Hidden {
    /// The process that is killed.
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Faults of a worker's, to see that they are found.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    /// Acknowledges before it commits.
    Early,
    /// Forgets a part of a transfer.
    Half,
    /// Commits what it says it backed out.
    Undead,
    /// Never prepares what it says is in doubt.
    Unprepared,
    /// Moves no unit that is stuck out of the way.
    Unmoved,
}

impl DemoArgs {
    /// Whether programs read the output.
    pub(crate) fn json(&self) -> bool {
        self.json
    }
}

/// Runs the demo. True: everything was as it must be.
///
/// # Errors
///
/// The bank could not be opened, or a worker could not go on.
pub(crate) fn run(args: &DemoArgs) -> siding::Result<bool> {
    if let Some(Hidden::Worker(worker)) = &args.hidden {
        worker::run(worker);
    }
    demo(args.clone()).map_err(|error| match error.downcast() {
        Ok(error) => match *error {
            siding_kv::Error::Log(error) => error,
            other => siding::Error::new(siding::ErrorKind::Io, other.to_string()),
        },
        Err(other) => siding::Error::new(siding::ErrorKind::Io, other.to_string()),
    })
}

fn demo(mut args: DemoArgs) -> Result<bool> {
    if let Some(seconds) = args.seconds {
        args.millis = seconds.saturating_mul(1_000);
    }
    if args.smoke {
        (args.kills, args.millis, args.bank.accounts) = (4, 500, 2_000);
        args.bank.segment = 512;
    }
    args.bank.spare = args.kills * args.doubts;
    if !args.bank.segment.is_power_of_two() {
        usage("a segment must be a power of two");
    }
    if args.bank.all_branches() > args.bank.accounts {
        usage("there must be at least as many accounts as branches and units in doubt");
    }
    let place = Place::new(&args)?;
    let fine = rounds::run(&args, &place.dir)?;
    place.leave(&args, fine)?;
    Ok(fine)
}

/// Where the bank is.
struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Place {
    fn new(args: &DemoArgs) -> Result<Self> {
        let Some(dir) = &args.dir else {
            let dir = tempfile::Builder::new().prefix("siding-demo-").tempdir()?.keep();
            return Ok(Self { dir, temporary: true });
        };
        std::fs::create_dir_all(dir).map_err(|cause| at(dir, cause))?;
        if std::fs::read_dir(dir).map_err(|cause| at(dir, cause))?.next().is_some() {
            usage(&format!(
                "{} is not empty; the demo needs a directory of its own",
                dir.display()
            ));
        }
        Ok(Self { dir: dir.clone(), temporary: false })
    }

    /// Cleans up what nobody asked for and nobody needs.
    fn leave(&self, args: &DemoArgs, fine: bool) -> Result<()> {
        let remove = self.temporary && fine && !args.keep;
        if remove {
            std::fs::remove_dir_all(&self.dir).map_err(|cause| at(&self.dir, cause))?;
        }
        if !args.json {
            let kept = if remove { "removed; --keep keeps it" } else { "kept" };
            println!("{}: {kept}", self.dir.display());
        }
        Ok(())
    }
}

fn at(dir: &Path, cause: std::io::Error) -> String {
    format!("{}: {cause}", dir.display())
}

/// How many transfers are acknowledged.
fn acknowledged(ledger: &check::Ledger) -> u64 {
    u64::try_from(ledger.committed.len()).unwrap_or(u64::MAX)
}

/// Says what is wrong with the call, and ends with 2.
fn usage(what: &str) -> ! {
    crate::Cli::command().error(Usage::ValueValidation, what).exit()
}
