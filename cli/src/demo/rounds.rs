//! The course of the demo: work, kill, restart, check, again; then decide what is in doubt.

use super::bank::{Dice, account_key, is_stray, left_gid};
use super::check::{self, Doubt, Findings, Ledger};
use super::process::{Counts, Kill, timed, work_and_kill};
use super::retained::{History, Sample};
use super::show::{Row, Show, Sum};
use super::worker::WorkerArgs;
use super::{DemoArgs, Result, acknowledged};
use siding::{Kind, Outcome};
use siding_kv::{Db, Error, Options, log_dir};
use std::path::Path;
use std::time::Duration;

/// Segments of log that each kill under load lets pass at least.
const PASSING: u64 = 4;

/// Looks at what is kept of which one is shown: four or so before each kill.
fn looks_a_line(args: &DemoArgs) -> u32 {
    (args.millis / 200).max(1)
}

/// The state of a demo.
struct Demo<'a> {
    args: &'a DemoArgs,
    dir: &'a Path,
    ledger: Ledger,
    counts: Counts,
    dice: Dice,
    /// Workers started so far.
    workers: u32,
    kills: u32,
    restart_ms_max: u64,
    history: History,
    show: Show,
}

/// A bank that was opened after a kill, and what was found in it.
struct Opened {
    db: Db,
    findings: Findings,
    doubts: Vec<Doubt>,
}

/// Runs it. True: nothing was found.
pub(super) fn run(args: &DemoArgs, dir: &Path) -> Result<bool> {
    let db = args.bank.options(args.plant).open(dir)?;
    args.bank.found(&db)?;
    db.snapshot()?;
    db.close()?;
    drop(db);
    let show = Show::new(args, &log_dir(dir));
    let mut demo = Demo {
        args,
        dir,
        ledger: Ledger::default(),
        counts: Counts::default(),
        dice: Dice::new(args.seed),
        workers: 0,
        kills: 0,
        restart_ms_max: 0,
        history: History::new(args.bank.segment_bytes()),
        show,
    };
    for round in 0..args.kills {
        let opened = demo.round(round)?;
        if !opened.findings.none() {
            return demo.sum_up(opened, None);
        }
        if round + 1 == args.kills {
            return demo.decide(opened);
        }
        opened.db.close()?;
    }
    Ok(true)
}

impl Demo<'_> {
    /// One kill, or two, and the restart.
    fn round(&mut self, round: u32) -> Result<Opened> {
        let half = self.args.millis / 2;
        let load = Duration::from_millis((half + self.dice.below(half)).into());
        let load = Kill::UnderLoad(load, PASSING * self.args.bank.segment_bytes());
        self.kill(load, round, self.args.doubts)?;
        if round % 2 == 1 {
            let soon = Duration::from_millis(self.dice.below(40).into());
            self.kill(Kill::DuringRestart(soon), round, 0)?;
        }
        self.restart(round, &(round + 1).to_string())
    }

    fn kill(&mut self, kill: Kill, round: u32, doubts: u32) -> Result<()> {
        let first_spare = if doubts == 0 { 0 } else { round * doubts };
        let worker = WorkerArgs {
            dir: self.dir.to_owned(),
            bank: self.args.bank,
            round: self.workers,
            threads: self.args.threads,
            doubts,
            first_spare,
            seed: self.args.seed.wrapping_add(self.workers.into()),
            plant: self.args.plant,
        };
        self.workers += 1;
        let (show, history, each) = (&self.show, &mut self.history, looks_a_line(self.args));
        let mut looks = 0;
        let mut watch = |acknowledged, sample: Option<Sample>| {
            show.progress(acknowledged);
            let Some(sample) = sample else { return };
            history.add(round, sample);
            looks += 1;
            if looks % each == 0 {
                show.sample(acknowledged, &sample);
            }
        };
        let (ledger, counts) = (&mut self.ledger, &mut self.counts);
        work_and_kill(&worker, kill, ledger, counts, &mut watch)?;
        self.kills += 1;
        Ok(())
    }

    /// Opens the bank, looks at everything, and shows what was found.
    fn restart(&mut self, round: u32, name: &str) -> Result<Opened> {
        let options: Options = self.args.bank.options(self.args.plant);
        let (db, restart_ms) = timed(|| options.open(self.dir));
        let db = db?;
        self.restart_ms_max = self.restart_ms_max.max(restart_ms);
        let doubts = look_at_doubts(&db)?;
        let mut findings = db.view(|map| check::check(&self.args.bank, map, &doubts, &self.ledger));
        let sample = Sample::look(&db, self.dir)?;
        self.history.add(round, sample);
        findings.wrong.extend(self.history.findings());
        self.show.row(&Row {
            name,
            kills: self.kills,
            acknowledged: acknowledged(&self.ledger),
            unacknowledged: findings.unacknowledged,
            findings: &findings,
            in_doubt: doubts.len(),
            redone: db.report().redone,
            restart_ms,
            sample,
        });
        if findings.none() {
            self.settle_strays(&db, &doubts)?;
        }
        Ok(Opened { db, findings, doubts })
    }

    /// Transfers that a worker was about to decide when it was killed: nobody else will, so they
    /// are backed out. Those left in doubt that nobody heard of stay in doubt from here on.
    fn settle_strays(&mut self, db: &Db, doubts: &[Doubt]) -> Result<()> {
        for doubt in doubts {
            let Some(transfer) = check::transfer_of(doubt) else { continue };
            if is_stray(&doubt.gid) {
                db.back_out_prepared(&doubt.gid)?;
                self.ledger.backed_out.insert(transfer.id);
            } else {
                self.ledger.in_doubt.insert(left_gid(transfer.id), transfer);
            }
        }
        Ok(())
    }

    /// Decides what is in doubt, every second one each way, and looks at everything again:
    /// at once, and after another restart.
    fn decide(&mut self, opened: Opened) -> Result<bool> {
        let Opened { db, .. } = &opened;
        // Twice: the log reaches back to the older of two snapshots.
        db.snapshot()?;
        db.snapshot()?;
        let mut decided = Decided { in_doubt: self.ledger.in_doubt.len(), ..Decided::default() };
        decided.kept = Sample::look(db, self.dir)?;
        for (count, (gid, transfer)) in std::mem::take(&mut self.ledger.in_doubt).iter().enumerate()
        {
            match count % 4 {
                0 => drop(db.commit_prepared(gid).map(|lsn| lsn.get())?),
                2 => db.decide(gid, Outcome::Commit)?.end()?,
                _ => db.back_out_prepared(gid)?,
            }
            if count % 2 == 0 {
                self.ledger.committed.insert(transfer.id, *transfer);
                decided.committed += 1;
            } else {
                self.ledger.backed_out.insert(transfer.id);
                decided.backed_out += 1;
            }
        }
        db.snapshot()?;
        db.snapshot()?;
        db.close()?;
        drop(opened);
        let again = self.restart(self.args.kills, "decided")?;
        self.sum_up(again, Some(decided))
    }

    fn sum_up(&mut self, opened: Opened, decided: Option<Decided>) -> Result<bool> {
        let Opened { db, findings, doubts } = opened;
        // Extents are freed in the background, once the first look at their files is over.
        db.log().tick();
        let after = Sample::look(&db, self.dir)?;
        let decided = decided.unwrap_or(Decided {
            in_doubt: doubts.len(),
            kept: after,
            ..Decided::default()
        });
        self.show.sum(&Sum {
            acknowledged: acknowledged(&self.ledger),
            backed_out: self.ledger.backed_out.len(),
            findings: &findings,
            kills: self.kills,
            counts: self.counts,
            restart_ms_max: self.restart_ms_max,
            decided,
            after,
            history: &self.history,
        });
        db.close()?;
        Ok(findings.none())
    }
}

/// What became of the units in doubt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decided {
    pub(super) in_doubt: usize,
    pub(super) committed: usize,
    pub(super) backed_out: usize,
    /// What was kept while they were in doubt, at the end.
    pub(super) kept: Sample,
}

/// Every unit in doubt: its records along the chain, what it will change, whether it is locked.
fn look_at_doubts(db: &Db) -> Result<Vec<Doubt>> {
    let mut doubts = Vec::new();
    for unit in db.log().in_doubt() {
        let gid = unit.gid().to_vec();
        let records = unit.records_backward().and_then(|chain| {
            let mut data = 0;
            for record in chain.owned() {
                data += usize::from(record?.kind() == Kind::Data);
            }
            Ok(data)
        });
        let changes = db.changes_in_doubt(&gid)?;
        let account = changes.keys().find(|key| key.starts_with(b"account/"));
        let account = account.cloned().unwrap_or_else(|| account_key(0));
        let refused = db.begin()?.put(&account, b"stolen");
        let locked = matches!(refused, Err(Error::Busy { in_doubt: true, holder, .. })
            if holder == unit.id());
        let records = records.map_err(|error| error.to_string());
        doubts.push(Doubt { gid, changes, records, locked });
    }
    Ok(doubts)
}
