//! The command as a user starts it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

mod copies;
mod forking;
mod probing;
mod reading;
mod report;
mod support;
mod writing;
