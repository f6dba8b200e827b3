//! The write side, pure: batches, the writer, and what is decided under the append lock.

mod batch;
mod core;
mod done;
mod writer;

pub use batch::Batch;
pub use core::{Core, Draft, Placed, Verdict};
pub use done::{Callback, Done, Outcome};
pub use writer::{Action, Class, Recent, Refusal, Start, Writer};
