//! The archive: what is shipped, what is made of it, and what a crash leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod index;
mod prune;
#[cfg(feature = "seeded-bugs")]
mod seeded;
mod ship;
#[path = "../support/mod.rs"]
mod support;
mod verify;
