//! The ground floor of Siding: one stream of records on a disk.
//!
//! Format, segments, writer, chains, scan and unit table live here; what they mean for a database
//! (keypoints, restart, trimming) lives one floor up, and the front door is the crate `siding`.

#![forbid(unsafe_code)]

pub mod chain;
pub mod disk;
mod error;
pub mod format;
mod lsn;
pub mod read;
pub mod stream;
pub mod units;
pub mod write;

pub use error::{Error, ErrorKind, Result};
pub use lsn::Lsn;
