//! What the front door promises, on a simulated disk and without threads.

mod cursors;
mod dropping;
mod keypoints;
mod opening;
mod rollback;
mod space;
#[path = "../support/mod.rs"]
mod support;
mod undoing;
mod updates;
