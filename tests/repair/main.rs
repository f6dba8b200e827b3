//! A damaged log is mended from copies of its segments, or cut; and no step of that loses more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::cast_possible_truncation
)]

mod crashes;
mod cutting;
mod extents;
mod putting_back;
#[path = "../support/mod.rs"]
mod support;
mod world;
