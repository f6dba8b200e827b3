//! The first floor of Siding: forking, so that one stuck unit never pins the log.
//!
//! The records of a unit that lasts are copied to the secondary log, and a fork record with two
//! pointers is written on the main log (GB2301910): from there on the chain goes on among the
//! copies, and the main log can be trimmed past the originals.

#![forbid(unsafe_code)]

mod mover;
mod pace;
pub mod policy;
pub mod pool;
mod rebuild;
mod round;
mod stand_in;

pub use mover::{Action, Move, Task};
pub use pace::{DEFAULT_PACE, Pace};
pub use round::{Mover, Order, Round};
pub use stand_in::{Originals, StandIn};
