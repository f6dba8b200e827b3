//! What the front door promises, on a simulated disk and without threads.

mod keypoints;
#[path = "../support/mod.rs"]
mod support;
