//! Restore: the plan, and what it is made of.

mod history;
mod plan;
mod refusal;

pub use history::{Branch, Gap, Histories, Piece, Source};
pub use plan::{BackupId, Part, Plan, Seen, Target, Wanted, plan};
pub use refusal::{Reachable, Refusal, Why};
