//! The deterministic disk and world that Siding is tested in.
//!
//! One `u64` seed decides everything that is left to chance here, so a failure is its seed and
//! the steps a report prints. The code under test is the production code: it is handed a
//! [`SimDisk`] where it would be handed a directory.
//!
//! - [`SimDisk`]: a directory in memory that knows what would survive a power cut, and that cuts
//!   the power or fails at any call;
//! - [`Sweep`]: runs a scenario with a cut, or a failure, at every call it makes, and asks after
//!   each whether every promise was kept;
//! - [`scenario`]: lives of the production log, and what is asked after each disturbance;
//! - [`oracle`]: what a log was told, and what it must therefore give back;
//! - [`Clock`]: time that passes when a test says so;
//! - [`Rng`]: chance from a seed.

#![forbid(unsafe_code)]

mod clock;
pub mod disk;
pub mod oracle;
mod rng;
pub mod scenario;
pub mod sweep;

pub use clock::Clock;
pub use disk::SimDisk;
pub use rng::Rng;
pub use sweep::{Sweep, Trouble};
