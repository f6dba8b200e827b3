//! Repair of a closed log that an open refuses: what can be put back, and what only a cut mends.

pub use siding_checkpoint::repair::{
    Copies, Cut, Diagnosis, Mend, Take, diagnose, mend, with_copies,
};
