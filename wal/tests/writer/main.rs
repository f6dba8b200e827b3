//! The pure side of writing: the writer, and what is decided under the append lock.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, which know how large their logs are and stop at the first surprise"
)]

mod files;
mod model;
mod ops;
mod properties;
mod reserve;
mod steps;
