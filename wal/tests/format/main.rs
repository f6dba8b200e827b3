//! Format v1 held still: what decoders refuse, what they survive, and what the bytes are.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod rules;
mod samples;
