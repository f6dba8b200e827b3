//! Bad input and faults, each by itself: a clear error that says what, where and what now, and
//! nothing is lost. Bits and lengths, all of them, are in `tests/damage`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

mod disks;
mod files;
mod input;
#[path = "../support/mod.rs"]
mod support;
