//! What the fuzz targets do with their bytes: one plain function each, so that a test can feed
//! them too. A function that returns is content; one that panics has found something.

#![forbid(unsafe_code)]

mod decoders;
mod files;
mod ops;
mod recovery;
mod seal;

pub use decoders::{batch, extent, manifest, payloads, record, segment_index};
pub use files::{IMAGES, image};
pub use ops::ops;
pub use recovery::segment_recovery;
