//! What the demo shows: rows for people, or one JSON object a line.

use super::DemoArgs;
use super::check::Findings;
use super::process::Counts;
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
    pub(super) kept: u64,
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
    pub(super) kept: u64,
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
                "retained_main_bytes": row.kept,
            });
            println!("{line}");
            return;
        }
        self.bar.suspend(|| {
            println!(
                "{:>8} {:>6} {:>13} {:>8} {:>6} {:>6} {:>6} {:>9} {:>8} {:>8} ms {:>11}",
                row.name,
                row.kills,
                grouped(row.acknowledged),
                grouped(row.unacknowledged),
                found.lost.len(),
                found.half.len(),
                wrong,
                row.in_doubt,
                grouped(row.redone),
                grouped(row.restart_ms),
                bytes(row.kept),
            );
        });
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
            "retained_main_bytes": sum.decided.kept_in_doubt,
            // Nothing is moved to a secondary log yet.
            "retained_secondary_bytes": 0,
            "retained_main_bytes_after": sum.kept,
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
        let (before, after) = (bytes(decided.kept_in_doubt), bytes(sum.kept));
        println!("Log kept while units were in doubt: {before}; at the end: {after}.");
        println!("The log lies in {}.", self.log.display());
    }
}

const HEAD: &str = "   after  kills  acknowledged  unheard   lost   half  wrong  in doubt   \
                    redone     restart    log kept";

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
