//! The plan of a restore against histories made up at random, and against a naive reckoning of
//! what can be had of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod histories;
mod oracle;
mod retain;
mod rules;
mod world;
