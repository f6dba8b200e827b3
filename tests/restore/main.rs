//! Restore to any position behind the end of a backup: what comes back is what the log said there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod after;
mod archive;
mod branches;
mod check;
mod directories;
mod driver;
mod labels;
mod object;
mod oracle;
mod points;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod world;
