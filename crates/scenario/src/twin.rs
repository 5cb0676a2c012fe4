//! The twin: the same plan on our stack and on the real kernel, compared.

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::run::{RunError, run};
use crate::targets::Targets;

/// What the comparison of the two runs says.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether nothing differs that the scenario compares.
    pub agree: bool,
    /// The kernel's `uname -r`.
    pub kernel: String,
    /// What was set on the kernel's side so that the comparison is fair, one line each.
    pub set: Vec<String>,
    /// Every difference, the first one first; each is one aligned block of text.
    pub differences: Vec<String>,
    /// The run on our stack, with timers that fire as the kernel's do.
    pub stack: Outcome,
    /// The run with hosts on the kernel.
    pub linux: Outcome,
}

impl Verdict {
    /// Whether the runs agree and both are right in themselves.
    pub fn ok(&self) -> bool {
        self.agree && self.stack.ok() && self.linux.ok()
    }

    /// One line: `Linux 6.18.44 agrees`, or the first difference below it.
    pub fn render(&self) -> String {
        let mut out = format!("Linux {} {}", self.kernel, if self.agree { "agrees" } else { "differs" });
        if !self.set.is_empty() {
            out += &format!(" (set there: {})", self.set.join(", "));
        }
        out.push('\n');
        if let Some(first) = self.differences.first() {
            out += first;
            out.push('\n');
            if self.differences.len() > 1 {
                out += &format!("and {} more\n", self.differences.len() - 1);
            }
        }
        out
    }
}

/// Runs a plan on our stack and on `targets` (all hosts on the kernel: [`Targets::linux`]) and compares.
///
/// # Errors
/// See [`RunError`].
pub fn twin(plan: &Plan, targets: &Targets) -> Result<Verdict, RunError> {
    let stack = run(plan, &Targets::stack())?;
    let linux = run(plan, targets)?;
    let _ = (&stack, &linux);
    Err(RunError::Linux("the comparison is not wired in yet".into()))
}
