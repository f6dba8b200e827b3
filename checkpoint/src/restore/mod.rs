//! Restore: the plan, what it is made of, and a log put together as it says.

mod cut;
mod history;
mod log;
pub(crate) mod note;
mod plan;
mod refusal;

pub use history::{Branch, Gap, Histories, Piece, Source};
pub use log::{LogParts, RestoredLog, restore_log_to};
pub use plan::{BackupId, Part, Plan, Seen, Target, Wanted, plan};
pub use refusal::{Reachable, Refusal, Why};
