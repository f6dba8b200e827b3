//! Format v1 held still: the document, the bytes, what decoders refuse and what they survive.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod document;
mod example;
mod flips;
mod golden;
mod hex;
mod image;
mod label;
mod properties;
mod rules;
mod samples;
mod tables;
