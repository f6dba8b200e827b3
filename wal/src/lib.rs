//! The ground floor of Siding: one stream of records on a disk.
//!
//! Format, segments, writer, chains, scan and unit table live here; what they mean for a database
//! (keypoints, restart, trimming) lives one floor up, and the front door is the crate `siding`.

#![deny(unsafe_code)]

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
compile_error!("`seeded-bugs` is for tests: no build without debug assertions has it");

/// Whether a bug is seeded here: never, without the feature `seeded-bugs`.
#[cfg(not(feature = "seeded-bugs"))]
#[doc(hidden)]
#[macro_export]
macro_rules! seeded {
    ($bug:ident) => {
        false
    };
}

/// Whether a bug is seeded here.
#[cfg(feature = "seeded-bugs")]
#[doc(hidden)]
#[macro_export]
macro_rules! seeded {
    ($bug:ident) => {
        $crate::seeded::is_seeded($crate::seeded::Bug::$bug)
    };
}

pub mod chain;
pub mod disk;
mod error;
pub mod format;
mod lsn;
pub mod read;
#[cfg(feature = "seeded-bugs")]
#[doc(hidden)]
pub mod seeded;
pub mod stream;
pub mod units;
pub mod write;

pub use error::{Error, ErrorKind, Result};
pub use lsn::Lsn;
