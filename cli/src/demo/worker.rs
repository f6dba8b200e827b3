//! The process that is killed: many threads that make transfers, until it is.

use super::Plant;
use super::bank::{
    Bank, Dice, Transfer, branch_key, carry_out, carry_out_with_a_detour, left_gid, numbered,
    two_phase_gid,
};
use super::retained::Sample;
use super::said::{Said, Voice};
use clap::Args;
use siding::Lsn;
use siding_kv::{Db, Error, Result, Txn};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A snapshot is taken after this many segments of log.
const SNAPSHOT: u64 = 2;

/// So many segments behind the last snapshot's redo position transfers wait for the next one:
/// what a restart has to redo is bounded, however fast the machine is.
const AHEAD: u64 = 4;

/// Between two looks at how much log is kept.
const LOOK: Duration = Duration::from_millis(50);

/// What a worker is told.
#[derive(Args, Clone, Debug)]
pub(super) struct WorkerArgs {
    /// Where the bank is.
    #[arg(long)]
    pub(super) dir: PathBuf,
    #[command(flatten)]
    pub(super) bank: Bank,
    /// Which worker this is: part of the number of every transfer.
    #[arg(long)]
    pub(super) round: u32,
    /// Threads.
    #[arg(long)]
    pub(super) threads: u32,
    /// Units to leave in doubt.
    #[arg(long)]
    pub(super) doubts: u32,
    /// The first of the spare branches for them.
    #[arg(long)]
    pub(super) first_spare: u32,
    /// Where the dice start.
    #[arg(long)]
    pub(super) seed: u64,
    /// A fault to plant.
    #[arg(long, value_enum)]
    pub(super) plant: Option<Plant>,
}

/// Why a thread ends.
enum Stop {
    /// Nobody listens any more: the demo is gone, and so is the purpose.
    Unheard,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Self::Unheard
    }
}

/// Works until it is killed, or cannot go on.
pub(super) fn run(args: &WorkerArgs) -> ! {
    let Ok(voice) = Voice::new() else { std::process::exit(3) };
    match args.bank.options(args.plant).open(&args.dir) {
        Ok(db) => work(args, &db, &voice),
        Err(error) => give_up(&voice, error.into()),
    }
}

fn work(args: &WorkerArgs, db: &Db, voice: &Voice) -> ! {
    if let Err(unheard) = voice.say(&Said::Open) {
        give_up(voice, unheard.into());
    }
    let ahead = Ahead::new(args, db);
    let ahead = &ahead;
    thread::scope(|scope| -> ! {
        for number in 0..args.threads {
            let mut teller = Teller::new(args, db, voice, ahead, number);
            scope.spawn(move || give_up(voice, teller.work()));
        }
        scope.spawn(move || give_up(voice, leave_in_doubt(args, db, voice)));
        scope.spawn(move || give_up(voice, tell_what_is_kept(args, db, voice)));
        give_up(voice, take_snapshots(db, voice, ahead))
    })
}

/// One thread cannot go on: neither can the others.
fn give_up(voice: &Voice, why: Stop) -> ! {
    if let Stop::Failed(error) = why {
        // If nobody hears this either, there is nobody to tell.
        let _ = voice.say(&Said::Failed(error.to_string()));
    }
    std::process::exit(3)
}

/// How far the log is ahead of the last snapshot.
struct Ahead {
    segment: u64,
    /// The redo position of the last snapshot.
    snapshot: AtomicU64,
}

impl Ahead {
    fn new(args: &WorkerArgs, db: &Db) -> Self {
        let snapshot = AtomicU64::new(db.report().redo.get());
        Self { segment: args.bank.segment_bytes(), snapshot }
    }

    /// Whether it is ahead by so many segments.
    fn by(&self, db: &Db, segments: u64) -> bool {
        let snapshot = Lsn::new(self.snapshot.load(Ordering::Relaxed));
        let end = db.log().positions().end;
        end.since(snapshot.min(end)) >= self.segment * segments
    }
}

/// One thread's work.
struct Teller<'a> {
    args: &'a WorkerArgs,
    db: &'a Db,
    voice: &'a Voice,
    ahead: &'a Ahead,
    number: u32,
    dice: Dice,
}

impl<'a> Teller<'a> {
    fn new(
        args: &'a WorkerArgs,
        db: &'a Db,
        voice: &'a Voice,
        ahead: &'a Ahead,
        number: u32,
    ) -> Self {
        let dice = Dice::new(args.seed ^ (u64::from(number) << 32));
        Self { args, db, voice, ahead, number, dice }
    }

    fn work(&mut self) -> Stop {
        let mut count = 0;
        loop {
            while self.ahead.by(self.db, AHEAD) {
                thread::sleep(Duration::from_millis(1));
            }
            let id = numbered(self.args.round, self.number, count);
            let transfer = self.args.bank.transfer(id, &mut self.dice);
            let made = match self.make(&transfer) {
                Err(Stop::Failed(Error::Busy { .. })) => {
                    self.voice.say(&Said::TurnedAway).map_err(Into::into)
                }
                made => made,
            };
            match made {
                Ok(()) => count += 1,
                Err(stop) => return stop,
            }
        }
    }

    /// One transfer. Some take a detour, some are backed out, some go through two phases.
    fn make(&mut self, transfer: &Transfer) -> std::result::Result<(), Stop> {
        let mut txn = self.db.begin()?;
        let how = self.dice.below(32);
        match how {
            0 | 1 => carry_out_with_a_detour(&mut txn, transfer)?,
            2 if self.args.plant == Some(Plant::Half) => self.half(&mut txn, transfer)?,
            _ => carry_out(&mut txn, transfer)?,
        }
        if how == 3 {
            if self.args.plant == Some(Plant::Undead) {
                txn.commit()?;
            } else {
                txn.back_out()?;
            }
            return Ok(self.voice.say(&Said::BackedOut(transfer.id))?);
        }
        if self.args.plant == Some(Plant::Early) {
            self.voice.say(&Said::Committed(*transfer))?;
            txn.commit()?;
            return Ok(());
        }
        if how == 4 {
            let gid = two_phase_gid(transfer.id);
            txn.prepare(&gid).map_err(Error::from)?;
            self.db.commit_prepared(&gid)?;
        } else {
            txn.commit()?;
        }
        Ok(self.voice.say(&Said::Committed(*transfer))?)
    }

    /// A planted fault: one part of the transfer is not done.
    fn half(&self, txn: &mut Txn, transfer: &Transfer) -> Result<()> {
        carry_out(txn, transfer)?;
        txn.increment(&branch_key(transfer.branch), -transfer.delta - 1)?;
        Ok(())
    }
}

/// Prepares units whose coordinator never comes back, each at a branch of its own.
fn leave_in_doubt(args: &WorkerArgs, db: &Db, voice: &Voice) -> Stop {
    let mut dice = Dice::new(args.seed);
    for count in 0..args.doubts {
        thread::sleep(Duration::from_millis(20));
        let id = numbered(args.round, 255, u64::from(count));
        let branch = args.bank.branches + args.first_spare + count;
        let transfer = args.bank.at(id, branch, &mut dice);
        while let Err(error) = prepare(db, &transfer, args.plant) {
            // A unit that is on its way through two phases is in doubt for a moment.
            let Error::Busy { .. } = error else { return error.into() };
            thread::sleep(Duration::from_millis(1));
        }
        if let Err(unheard) = voice.say(&Said::Prepared(transfer)) {
            return unheard.into();
        }
    }
    loop {
        thread::park();
    }
}

fn prepare(db: &Db, transfer: &Transfer, plant: Option<Plant>) -> Result<()> {
    let mut txn = db.begin()?;
    carry_out(&mut txn, transfer)?;
    if plant == Some(Plant::Unprepared) {
        return txn.back_out();
    }
    Ok(txn.prepare(&left_gid(transfer.id))?)
}

/// Keeps the log small while everybody works.
fn take_snapshots(db: &Db, voice: &Voice, ahead: &Ahead) -> Stop {
    loop {
        if ahead.by(db, SNAPSHOT) {
            match db.snapshot() {
                Ok(taken) => ahead.snapshot.store(taken.redo.get(), Ordering::Relaxed),
                Err(error) => return error.into(),
            }
            if let Err(unheard) = voice.say(&Said::Snapshot) {
                return unheard.into();
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Looks again and again at how much log is kept.
fn tell_what_is_kept(args: &WorkerArgs, db: &Db, voice: &Voice) -> Stop {
    loop {
        match Sample::look(db, &args.dir) {
            Ok(sample) => {
                if let Err(unheard) = voice.say(&Said::Kept(sample)) {
                    return unheard.into();
                }
            }
            Err(error) => return Error::Log(error).into(),
        }
        thread::sleep(LOOK);
    }
}
