//! The `siding` command.

#![forbid(unsafe_code)]

mod bench;
mod demo;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Looks at, proves and operates Siding logs.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Measures Siding beside the floor of this machine.
    Bench(bench::BenchArgs),
    /// Kills a bank again and again, and proves that nothing is lost.
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Bench(args) => bench::run(&args).map(outcome).map_err(Into::into),
        Verb::Demo(args) => demo::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("siding: {error}");
        ExitCode::from(3)
    })
}

/// 0: fine. 1: findings.
fn outcome(fine: bool) -> ExitCode {
    if fine { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
