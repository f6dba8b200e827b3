//! The `siding` command: looks at, proves and operates Siding logs.
//!
//! Nothing writes without a verb that says so. Exit codes: 0 fine, 1 findings, 2 usage, 3 could
//! not read.

#![forbid(unsafe_code)]

mod bench;
mod copies;
mod demo;
mod dump;
mod fork;
mod info;
mod keypoint;
mod offline;
mod out;
mod owner;
mod place;
mod probe;
mod record;
mod report;
mod resolve;
mod text;
mod units;
mod verify;
mod why;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Looks at, proves and operates Siding logs.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 fine, 1 findings, 2 usage, 3 could not read."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Shows what a log is: identity, positions, segments, live units, how it ended.
    Info(info::InfoArgs),
    /// Prints the records of a log, also of one that is in use.
    Dump(dump::DumpArgs),
    /// Verifies a whole log: every header, batch, record, chain and keypoint.
    Verify(verify::VerifyArgs),
    /// Lists the units of work that live.
    Units(units::UnitsArgs),
    /// Says why log is kept: every pin, its owner, and the cheapest thing to do about it.
    Why(why::WhyArgs),
    /// Draws a log, as a page for a browser: segments, units, chains, positions, pins.
    Report(report::ReportArgs),
    /// Decides a unit in doubt without its coordinator. Writes.
    Resolve(resolve::ResolveArgs),
    /// Moves a unit's records off the main log, so that it holds none of it. Writes.
    Fork(fork::ForkArgs),
    /// Takes a keypoint and trims what it allows. Writes.
    Keypoint(keypoint::KeypointArgs),
    /// Copies a log, and the files it brings up to date, while work goes on.
    Backup(copies::backup::BackupArgs),
    /// Puts a backup back, up to any moment that the log behind it reaches. Writes elsewhere.
    Restore(copies::restore::RestoreArgs),
    /// Ships a closed log into an archive, or shows one.
    Archive(copies::archive::ArchiveArgs),
    /// Proves that backups can be restored, without restoring them.
    VerifyBackup(copies::verify_backup::VerifyBackupArgs),
    /// Mends a damaged log from an archive, or cuts it. Writes with --apply alone.
    Repair(copies::repair::RepairArgs),
    /// Measures a disk by every backend, and says which options suit it.
    Probe(probe::ProbeArgs),
    /// Measures Siding beside the floor of this machine.
    Bench(bench::BenchArgs),
    /// Kills a bank again and again, and proves that nothing is lost.
    Demo(demo::DemoArgs),
}

impl Verb {
    fn run(&self) -> siding::Result<bool> {
        match self {
            Self::Info(args) => info::run(args),
            Self::Dump(args) => dump::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Units(args) => units::run(args),
            Self::Why(args) => why::run(args),
            Self::Report(args) => report::run(args),
            Self::Resolve(args) => resolve::run(args),
            Self::Fork(args) => fork::run(args),
            Self::Keypoint(args) => keypoint::run(args),
            Self::Backup(args) => copies::backup::run(args),
            Self::Restore(args) => copies::restore::run(args),
            Self::Archive(args) => copies::archive::run(args),
            Self::VerifyBackup(args) => copies::verify_backup::run(args),
            Self::Repair(args) => copies::repair::run(args),
            Self::Probe(args) => probe::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Demo(args) => demo::run(args),
        }
    }

    fn json(&self) -> bool {
        match self {
            Self::Info(args) => args.place.json,
            Self::Dump(args) => args.place.json,
            Self::Verify(args) => args.place.json,
            Self::Units(args) => args.place.json,
            Self::Why(args) => args.place.json,
            Self::Report(args) => args.place.json,
            Self::Resolve(args) => args.place.json,
            Self::Fork(args) => args.place.json,
            Self::Keypoint(args) => args.place.json,
            Self::Backup(args) => args.place.json,
            Self::Restore(args) => args.json,
            Self::Archive(args) => args.json(),
            Self::VerifyBackup(args) => args.json,
            Self::Repair(args) => args.place.json,
            Self::Probe(args) => args.json,
            Self::Bench(_) => false,
            Self::Demo(args) => args.json(),
        }
    }
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    match verb.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => out::failed(&error, verb.json()),
    }
}
