//! A log whose files were damaged says so, or shows what it always showed.
//!
//! Every bit flipped, every length, every file gone: each time the log is opened, redone, its
//! chains walked and its records read from the oldest on, and all of it is held against what the
//! whole log shows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::as_conversions)]

mod disk;
mod flips;
mod history;
mod kinds;
mod lengths;
mod moved;
mod pairs;
#[path = "../support/mod.rs"]
mod support;
mod witness;
