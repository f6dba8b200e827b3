//! Restore: the plan, what it is made of, and a log put together as it says.

mod commit;
mod cut;
mod history;
mod log;
mod mark;
pub(crate) mod note;
mod plan;
mod refusal;
mod run;

pub use commit::{UnitName, plan_before_commit};
pub use history::{Branch, Gap, Histories, Piece, Source};
pub use log::{Given, LogParts, RestoredLog, Taken, restore_log_to};
pub use mark::RESTORING;
pub(crate) use mark::unfinished;
pub use plan::{BackupId, Part, Plan, Seen, Target, Wanted, plan};
pub(crate) use plan::{Planner, Way};
pub use refusal::{Reachable, Refusal, Why};
pub use run::{Targets, plan_restore, restore};
