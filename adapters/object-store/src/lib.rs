#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod open;
mod put;
mod runtime;
mod sink;
mod stored;

pub use object_store;
pub use open::{Options, open_sink, open_sink_with};
pub use sink::{ObjectSink, Transfer};
