//! The read side: what stands in a directory, the scan from a batch to the end of the log, the
//! lettered table that decides where that end is, and single records at an LSN.

mod segments;
mod verdict;

pub use segments::{Segment, Segments};
pub use verdict::{After, At, Case, Decision, Facts, Next, ROWS, Row, Verdict, judge, row};
