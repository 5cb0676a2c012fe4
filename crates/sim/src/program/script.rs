//! A program read from a scenario: steps, one after the other.

use core::ops::Range;
use core::time::Duration;

use stack::admin::Admin;
use wire::Instant;

/// One step of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// When it begins; a step whose time has passed begins at once.
    pub when: When,
    /// What it does.
    pub what: StepKind,
    /// What the call must return, as `stack::call::text::Expect` reads it: `= 3`, `= -1 ECONNREFUSED`.
    pub expect: Option<String>,
    /// Where it stands in its file, in bytes.
    pub span: Range<usize>,
}

/// When a step begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// When the step before has ended.
    #[default]
    Next,
    /// At this time of the run.
    At(Instant),
    /// So long after the step before has ended.
    After(Duration),
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// A system call with variables, as `s = socket(AF_INET, SOCK_DGRAM, 0)`.
    Call(String),
    /// An `ip` or `sysctl` command.
    Admin(Admin),
    /// Sleeps.
    Sleep(Duration),
}
