//! The read side: what stands in a directory, the scan from a batch to the end of the log, the
//! lettered table that decides where that end is, and single records at an LSN.

mod ahead;
mod batch;
mod forward;
mod identify;
mod inventory;
mod orphan;
mod random;
mod rows;
mod runs;
mod search;
mod segments;
mod survey;
mod verdict;
mod walk;
mod window;

pub use batch::Records;
pub use forward::{Forward, Step};
pub use inventory::{
    CONTROL_NAME, ControlState, HeaderState, Inventory, Numbered, control_state, inventory,
};
pub use random::{ReadBuf, read_record};
pub use rows::{Case, Decision, ROWS, Row, judge, row};
pub use runs::{Runs, Stretch};
pub use segments::{Segment, Segments};
pub use survey::{Identity, Survey, survey};
pub use verdict::{After, At, Facts, Next, Verdict};
pub use walk::{EachBatch, Walk, content_len};
