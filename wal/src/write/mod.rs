//! The write side, pure: batches, the writer, and what is decided under the append lock.

mod batch;
mod commits;
mod core;
mod done;
mod redo;
mod reserve;
mod writer;

pub use batch::{Batch, Recent};
pub use commits::Commits;
pub use core::{COUNTER_BITS, Core, Draft, Placed, Verdict};
pub use done::{Callback, Done, Outcome};
pub use redo::{Held, InProgress, Redo};
pub use writer::{Action, Class, Refusal, Start, Writer};
