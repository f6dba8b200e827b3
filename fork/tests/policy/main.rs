//! When to move what: each rule by name, an oracle that tries everything, and logs in which units
//! are stuck for ever.

#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, which know how large their logs are and stop at the first surprise"
)]

mod liveness;
mod oracle;
mod pace;
mod rules;
mod support;
