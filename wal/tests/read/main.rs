//! The read side, tested on logs that are built by hand and damaged on purpose.

#![allow(
    unreachable_pub,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, which know how large their logs are and stop at the first surprise"
)]

mod damage;
mod document;
mod forward;
mod history;
mod random;
mod rows;
mod support;
mod survey;
mod table;
