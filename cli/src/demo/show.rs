//! What the demo shows: rows for people, or one JSON object a line.

use super::DemoArgs;
use super::check::Findings;
use super::process::Counts;
use super::retained::{History, Sample};
use super::rounds::Decided;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Findings that are told one by one.
const TOLD: usize = 8;

/// One restart.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) kills: u32,
    pub(super) acknowledged: u64,
    pub(super) unacknowledged: u64,
    pub(super) findings: &'a Findings,
    pub(super) in_doubt: usize,
    pub(super) redone: u64,
    pub(super) restart_ms: u64,
    pub(super) sample: Sample,
}

/// All of it.
pub(super) struct Sum<'a> {
    pub(super) acknowledged: u64,
    pub(super) backed_out: usize,
    pub(super) findings: &'a Findings,
    pub(super) kills: u32,
    pub(super) counts: Counts,
    pub(super) restart_ms_max: u64,
    pub(super) decided: Decided,
    pub(super) after: Sample,
    pub(super) history: &'a History,
}

/// Where it is shown.
pub(super) struct Show {
    json: bool,
    bar: ProgressBar,
    log: PathBuf,
    seed: u64,
}

impl Show {
    pub(super) fn new(args: &DemoArgs, log: &Path) -> Self {
        let bar = ProgressBar::new(args.kills.into());
        if args.json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} kills, {msg}") {
            bar.set_style(style);
        }
        let show = Self { json: args.json, bar, log: log.to_owned(), seed: args.seed };
        if !args.json {
            println!(
                "A bank of {} accounts, {} branches and {} tellers; {} threads make transfers.",
                grouped(args.bank.accounts.into()),
                args.bank.all_branches(),
                args.bank.all_branches() * super::bank::TELLERS,
                args.threads,
            );
            println!("Its process is killed again and again. Its log lies in {}.", log.display());
            println!();
            println!("{HEAD}");
        }
        show
    }

    /// So far, while a worker works.
    pub(super) fn progress(&self, acknowledged: u64) {
        self.bar.set_message(format!("{} transfers acknowledged", grouped(acknowledged)));
        self.bar.tick();
    }

    /// One restart.
    pub(super) fn row(&self, row: &Row<'_>) {
        let found = row.findings;
        let wrong = found.undead.len() + found.wrong.len();
        self.bar.inc(1);
        if self.json {
            let line = json!({
                "after": row.name,
                "kills": row.kills,
                "acknowledged": row.acknowledged,
                "unacknowledged": row.unacknowledged,
                "lost": found.lost.len(),
                "half": found.half.len(),
                "wrong": wrong,
                "in_doubt": row.in_doubt,
                "redone": row.redone,
                "restart_ms": row.restart_ms,
                "retained_main_bytes": row.sample.main,
                "retained_secondary_bytes": row.sample.secondary,
                "redo_lag_bytes": row.sample.lag,
                "moves": row.sample.moves,
            });
            println!("{line}");
            return;
        }
        self.bar.suspend(|| {
            println!(
                "{:>8} {:>5} {:>12} {:>7} {:>4} {:>4} {:>5} {:>8} {:>7} {:>8} {}",
                row.name,
                row.kills,
                grouped(row.acknowledged),
                grouped(row.unacknowledged),
                found.lost.len(),
                found.half.len(),
                wrong,
                row.in_doubt,
                grouped(row.redone),
                format!("{} ms", grouped(row.restart_ms)),
                kept(&row.sample),
            );
        });
    }

    /// A moment of a round; programs get them all in the end.
    pub(super) fn sample(&self, acknowledged: u64, sample: &Sample) {
        if !self.json {
            let acknowledged = grouped(acknowledged);
            self.bar.suspend(|| println!("{acknowledged:>27} {:>78}", kept(sample)));
        }
    }

    /// The end. The last line with `--json` is a contract for scripts.
    pub(super) fn sum(&self, sum: &Sum<'_>) {
        self.bar.finish_and_clear();
        if self.json {
            println!("{}", self.contract(sum));
        } else {
            self.tell(sum);
        }
    }

    fn contract(&self, sum: &Sum<'_>) -> serde_json::Value {
        let found = sum.findings;
        json!({
            "ok": found.none(),
            "acknowledged": sum.acknowledged,
            "lost": found.lost.len(),
            "half": found.half.len(),
            "in_doubt": sum.decided.in_doubt,
            "kills": sum.kills,
            "retained_main_bytes": sum.decided.kept.main,
            "retained_secondary_bytes": sum.decided.kept.secondary,
            "retained_main_bytes_after": sum.after.main,
            "retained_secondary_bytes_after": sum.after.secondary,
            "retained_main_bytes_max": sum.history.most().main,
            "held_by_units_bytes_max": sum.history.most_held(),
            "flat": sum.history.is_flat(),
            "moves": sum.decided.kept.moves,
            "segment_bytes": sum.history.segment(),
            "retained": sum.history.told().iter().map(moment).collect::<Vec<_>>(),
            "undead": found.undead.len(),
            "wrong": found.wrong.len(),
            "unacknowledged": found.unacknowledged,
            "backed_out": sum.backed_out,
            "turned_away": sum.counts.turned_away,
            "snapshots": sum.counts.snapshots,
            "decided_committed": sum.decided.committed,
            "decided_backed_out": sum.decided.backed_out,
            "money": found.money.0,
            "money_expected": found.money.1,
            "restart_ms_max": sum.restart_ms_max,
            "seed": self.seed,
            "log": self.log.display().to_string(),
            "findings": found.all().take(TOLD).collect::<Vec<_>>(),
        })
    }

    fn tell(&self, sum: &Sum<'_>) {
        let (found, decided) = (sum.findings, sum.decided);
        println!();
        if found.none() {
            let (acknowledged, unheard) = (grouped(sum.acknowledged), found.unacknowledged);
            println!("Every one of {acknowledged} acknowledged transfers is there, and whole.");
            println!("None of {} that were backed out is.", sum.backed_out);
            println!("{unheard} more are there: the kill came between commit and the word of it.");
            println!(
                "{} units stayed in doubt, with records and locks; then {} committed, {} backed \
                 out.",
                decided.in_doubt, decided.committed, decided.backed_out,
            );
            println!("The money is right: {} in all accounts.", signed(found.money.0));
        } else {
            println!("FOUND: {} things that must not be.", grouped(count(found.all().count())));
            for what in found.all().take(TOLD) {
                println!("  {what}");
            }
        }
        println!(
            "{} kills; {} snapshots under load; the longest restart took {} ms.",
            sum.kills,
            sum.counts.snapshots,
            grouped(sum.restart_ms_max),
        );
        let turned_away = grouped(sum.counts.turned_away);
        println!("{turned_away} transfers met a lock of a unit in doubt, and were turned away.");
        tell_flat(sum);
        println!("The log lies in {}.", self.log.display());
    }
}

const HEAD: &str = "   after kills acknowledged unheard lost half wrong in doubt  redone  \
                    restart   main log  secondary  moves";

/// What is kept, in the last columns.
fn kept(sample: &Sample) -> String {
    let (main, secondary) = (bytes(sample.main), bytes(sample.secondary));
    format!("{main:>10} {secondary:>10} {:>6}", grouped(sample.moves))
}

/// A moment, for programs.
fn moment((round, sample): &(u32, Sample)) -> serde_json::Value {
    json!({
        "round": round,
        "end": sample.end,
        "main": sample.main,
        "redo_lag": sample.lag,
        "since_keypoint": sample.since,
        "secondary": sample.secondary,
        "moves": sample.moves,
    })
}

/// Whether what was kept stayed flat.
fn tell_flat(sum: &Sum<'_>) {
    let (history, kept) = (sum.history, sum.decided.kept);
    let (most, segment) = (history.most(), history.segment());
    let verdict = if history.is_flat() { "stayed flat" } else { "DID NOT STAY FLAT" };
    let passed = bytes(kept.end);
    println!(
        "Retained log {verdict} while {passed} passed {} stuck units, which were moved {} times:",
        sum.decided.in_doubt,
        grouped(kept.moves),
    );
    println!(
        "  at most {} of main log, {} segments of {}: of that {} behind the last keypoint,",
        bytes(most.main),
        most.main.div_ceil(segment.max(1)),
        bytes(segment),
        bytes(most.since),
    );
    println!(
        "  and {} in front of it for the bank's older snapshot. Units held {} at most.",
        bytes(most.lag),
        bytes(history.most_held()),
    );
    let (main, secondary) = (bytes(kept.main), bytes(kept.secondary));
    println!("  With all of them in doubt: {main} and {secondary} of secondary log;");
    let (main, secondary) = (bytes(sum.after.main), bytes(sum.after.secondary));
    println!("  decided: {main} and {secondary}.");
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// 1,234,567
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

/// 12.3 MiB, or 12.3 KiB where it is less than one.
fn bytes(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 20 { (1 << 10, "KiB") } else { (1 << 20, "MiB") };
    let tenths = bytes * 10 / unit;
    format!("{}.{} {name}", grouped(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let shown: Vec<String> = [0, 999, 1_000, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(signed(-1_000), "-1,000");
        assert_eq!((bytes(12_897_485), bytes(12_595)), ("12.3 MiB".into(), "12.2 KiB".into()));
    }
}
