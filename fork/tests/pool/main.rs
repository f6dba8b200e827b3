//! The secondary log on a disk whose power goes, whose calls fail and whose bytes rot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod damage;
mod faults;
mod history;
mod space;
mod sweeping;
mod world;
