//! Runs a plan: builds the world, lets it run, checks what was expected.

use core::fmt;

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::targets::Targets;

/// Why a plan could not be run at all. What a run shows is an [`Outcome`], even when it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// `--on` names a host that is not there, or a kind of host that this build or machine does not have.
    Target(String),
    /// The world refused a part of the plan, such as a command before the start.
    Setup(String),
    /// A host on the real kernel failed.
    Linux(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Target(text) => write!(f, "--on: {text}"),
            RunError::Setup(text) => write!(f, "setting up: {text}"),
            RunError::Linux(text) => write!(f, "real kernel: {text}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs a plan. With every host on our stack this takes milliseconds, needs no rights and gives the same
/// journal for the same seed; with any host on the real kernel it takes as long as it takes.
///
/// # Errors
/// See [`RunError`].
pub fn run(plan: &Plan, targets: &Targets) -> Result<Outcome, RunError> {
    targets.check(plan.hosts.iter().map(String::as_str)).map_err(RunError::Target)?;
    Err(RunError::Setup("the world is not wired in yet".into()))
}
