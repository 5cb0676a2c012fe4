//! The twin: the same plan on our stack and on the real kernel, compared.

use analysis::normal::Class;
use analysis::{Comparison, Tolerance};
use stack::Granularity;
use stack::record::Journal;

use crate::file::Compared;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::run::{KERNEL_CLOCK, RunError, all_stack, run_with};
use crate::targets::Targets;

/// Which congestion control a namespace has.
pub(crate) const CONGESTION_CONTROL: &str = "net.ipv4.tcp_congestion_control";
/// Where the journal of a host on the kernel says so at its end.
const CONGESTION_CONTROL_TABLE: &str = "sysctl net.ipv4.tcp_congestion_control";

/// What the comparison of the two runs says.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether nothing differs that the scenario compares.
    pub agree: bool,
    /// The kernel's `uname -r`.
    pub kernel: String,
    /// What was set on the kernel's side so that the comparison is fair, one line each.
    pub set: Vec<String>,
    /// Every difference in one line, the first one first.
    pub differences: Vec<String>,
    /// The comparison itself, with what stands around each difference.
    pub comparison: Comparison,
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

    /// [`Verdict::render_width`] at 100 columns.
    pub fn render(&self) -> String {
        self.render_width(100)
    }

    /// One line: `Linux 6.18.44 agrees`, and how much was compared; or the first difference, aligned.
    pub fn render_width(&self, width: usize) -> String {
        let mut out = format!("Linux {} {}", self.kernel, if self.agree { "agrees" } else { "differs" });
        if !self.set.is_empty() {
            out += &format!(" (set there: {})", self.set.join(", "));
        }
        out.push('\n');
        out += &self.comparison.render(width);
        for (name, outcome) in [("stack", &self.stack), ("linux", &self.linux)] {
            for problem in outcome.problems() {
                out += &format!("the run on {name}: {problem}\n");
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
    targets.check(plan.hosts.iter().map(String::as_str)).map_err(RunError::Target)?;
    if let Some(why) = &plan.twin_skip {
        return Err(RunError::Target(format!("this scenario has no twin: {why}")));
    }
    if all_stack(plan, targets) {
        return Err(RunError::Target("the twin needs at least one host on the real kernel".into()));
    }
    let stack = run_with(plan, &Targets::stack(), KERNEL_CLOCK)?;
    let linux = run_with(plan, targets, KERNEL_CLOCK)?;
    let mut tolerance = Tolerance::wheel(250);
    if let Some(given) = plan.twin_tolerance {
        (tolerance.early, tolerance.late) = (given, given);
    }
    let compares = |what: Compared| plan.compare.contains(&what);
    if !compares(Compared::Counters) {
        tolerance.counters.clear();
    }
    let classes = [
        (Compared::Packets, Class::Packets),
        (Compared::Calls, Class::Calls),
        (Compared::Neighbours, Class::Neighbour),
    ];
    tolerance.skip =
        classes.into_iter().filter(|(word, _)| !compares(*word)).map(|(_, class)| class).collect();
    let ideal = run_with(plan, &Targets::stack(), Granularity::Ideal)?;
    let comparison = analysis::compare_on_wheel(&stack.journal, &ideal.journal, &linux.journal, &tolerance);
    let differences = comparison.differences.iter().map(|d| format!("{}: {}", d.place, d.what)).collect();
    Ok(Verdict {
        differences,
        agree: comparison.agree,
        kernel: kernel_release(),
        set: set_there(plan, &linux.journal),
        comparison,
        stack,
        linux,
    })
}

#[cfg(feature = "linux")]
fn kernel_release() -> String {
    linux::kernel_release()
}

#[cfg(not(feature = "linux"))]
fn kernel_release() -> String {
    "(none in this build)".into()
}

/// What is set in the namespaces: which congestion control they have (the machine's own default may be another one than
/// the scenario's), and what the file sets. The rest is as a new namespace of that kernel has it.
fn set_there(plan: &Plan, linux: &Journal) -> Vec<String> {
    let algorithms: Vec<(&str, &str)> = linux
        .nodes
        .iter()
        .filter_map(|node| {
            let (_, value) = node.tables.iter().find(|(name, _)| name == CONGESTION_CONTROL_TABLE)?;
            Some((node.name.as_str(), value.as_str()))
        })
        .collect();
    let mut set = match &algorithms[..] {
        [(_, first), rest @ ..] if rest.iter().all(|(_, value)| value == first) => {
            vec![format!("{CONGESTION_CONTROL}={first}")]
        }
        differing => {
            differing.iter().map(|(host, value)| format!("{host}:{CONGESTION_CONTROL}={value}")).collect()
        }
    };
    for host in &plan.host_plans {
        let own = host.sysctls.iter().filter(|(name, _)| name != CONGESTION_CONTROL);
        set.extend(own.map(|(name, value)| format!("{}:{name}={value}", host.name)));
    }
    set
}
