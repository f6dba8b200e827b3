//! The words of a suite that others have to pass: what was broken, what was asked, what came.

use std::fmt;
use std::io::{self, ErrorKind};

/// The promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The name of the check that failed.
    pub check: &'static str,
    /// What was asked and what came.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

impl std::error::Error for Broken {}

/// The outcome of one check: nothing, or what was asked and what came.
pub type Verdict<T = ()> = Result<T, String>;

/// What went through.
///
/// # Errors
///
/// It failed.
pub fn ok<T>(what: &str, result: io::Result<T>) -> Verdict<T> {
    result.map_err(|error| format!("{what} failed: {error}"))
}

/// Whether it failed as it should.
///
/// # Errors
///
/// It went through, or failed in another way.
pub fn fails<T>(what: &str, result: io::Result<T>, kind: ErrorKind) -> Verdict {
    match result {
        Ok(_) => Err(format!("{what} went through; {kind} was due")),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{what} gave {} ({error}); {kind} was due", error.kind())),
    }
}

/// Whether what came is what was due.
///
/// # Errors
///
/// It is not.
pub fn same<T: PartialEq + fmt::Debug>(what: &str, came: T, due: T) -> Verdict {
    if came == due { Ok(()) } else { Err(format!("{what} is {came:?}; {due:?} was due")) }
}

/// Whether a condition holds.
///
/// # Errors
///
/// It does not.
pub fn holds(what: &str, condition: bool) -> Verdict {
    if condition { Ok(()) } else { Err(what.to_owned()) }
}
