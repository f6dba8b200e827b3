//! Forking through the front door: units whose records were moved are as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod ages;
mod directories;
mod full;
mod lost;
mod lost_behind;
mod lost_redo;
mod meanwhile;
mod moves;
mod place;
mod reads;
mod room;
mod stuck;
#[path = "../support/mod.rs"]
mod support;
