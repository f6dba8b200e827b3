//! Backup under way while work goes on, and what a restore of it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod crashes;
mod damage;
mod guards;
mod held;
mod increments;
mod objects;
#[cfg(feature = "seeded-bugs")]
mod seeded;
#[path = "../support/mod.rs"]
mod support;
mod under_load;
mod world;
