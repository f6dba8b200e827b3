#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod backup;
mod change;
mod checkpoint;
mod db;
mod doubt;
mod error;
mod locks;
mod snapshot;
mod txn;
mod unapplied;

pub use backup::restore;
pub use change::{Changes, Map, decode};
pub use checkpoint::Taken;
pub use db::{Db, Options, Report, log_dir};
pub use error::{Error, Result};
pub use locks::Span;
pub use txn::{NotPrepared, Savepoint, Txn};
