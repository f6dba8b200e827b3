//! What the front door promises, on a simulated disk and without threads.

mod cursors;
mod dropping;
mod keypoints;
mod rollback;
#[path = "../support/mod.rs"]
mod support;
