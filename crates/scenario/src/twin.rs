//! The twin: the same plan on our stack and on the real kernel, compared.

use analysis::compare::Difference;
use analysis::normal::Class;
use analysis::{Comparison, Tolerance};
use stack::record::Journal;
use stack::{Granularity, KernelProfile};

use crate::file::Compared;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::plan::programs;
use crate::run::{RunError, all_stack, kernel_clock, kernel_hz, run_with};
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
    /// Its `CONFIG_HZ`.
    pub hz: u32,
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
        self.agree && self.problems().is_empty()
    }

    /// What is wrong with either run by itself. What a file expects is written for the default kernel: what another one
    /// does not fulfil, and our stack in its place does not either, is no fault.
    pub fn problems(&self) -> Vec<String> {
        let other = KernelProfile::of_release(&self.kernel) != KernelProfile::default();
        let failed = |outcome: &Outcome, line: usize| {
            outcome.expectations.iter().any(|e| !e.held && e.line == line && line > 0)
        };
        let both = |line| other && failed(&self.stack, line) && failed(&self.linux, line);
        let mut problems = Vec::new();
        for (name, outcome) in [("stack", &self.stack), ("linux", &self.linux)] {
            let mut own = outcome.clone();
            own.expectations.retain(|e| e.held || !both(e.line));
            problems.extend(own.problems().iter().map(|problem| format!("the run on {name}: {problem}")));
        }
        problems
    }

    /// [`Verdict::render_width`] at 100 columns.
    pub fn render(&self) -> String {
        self.render_width(100)
    }

    /// One line: `Linux 6.18.44 agrees`, and how much was compared; or the first difference, aligned.
    pub fn render_width(&self, width: usize) -> String {
        let mut out = format!("Linux {} {}", self.kernel, if self.agree { "agrees" } else { "differs" });
        if !self.set.is_empty() {
            out += &format!(" (with {})", self.set.join(", "));
        }
        out.push('\n');
        out += &self.comparison.render(width);
        for problem in self.problems() {
            out += &format!("{problem}\n");
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
    let kernel = kernel_release();
    let plan = &on_profile(plan, KernelProfile::of_release(&kernel));
    let stack = run_with(plan, &Targets::stack(), kernel_clock())?;
    let linux = run_with(plan, targets, kernel_clock())?;
    let mut tolerance = match virtual_time() {
        true => Tolerance::virtual_time(kernel_hz()),
        false => Tolerance::wheel(kernel_hz()),
    };
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
    let commands = commands(plan);
    tolerance.skip_calls = commands.iter().map(|(_, place)| place.clone()).collect();
    let ideal = run_with(plan, &Targets::stack(), Granularity::Ideal)?;
    let mut comparison =
        analysis::compare_on_wheel(&stack.journal, &ideal.journal, &linux.journal, &tolerance);
    if compares(Compared::Calls) {
        for (index, place) in commands {
            let both = (&stack.programs[index].output[..], &linux.programs[index].output[..]);
            compare_output(&mut comparison, place, both, stack.journal.end.as_nanos());
        }
    }
    let differences = comparison.differences.iter().map(|d| format!("{}: {}", d.place, d.what)).collect();
    Ok(Verdict {
        differences,
        agree: comparison.agree,
        kernel,
        hz: kernel_hz(),
        set: set_there(plan, &linux.journal),
        comparison,
        stack,
        linux,
    })
}

/// The same plan with our stack's hosts behaving as that kernel, where the file does not say which.
fn on_profile(plan: &Plan, profile: KernelProfile) -> Plan {
    let mut plan = plan.clone();
    for host in &mut plan.host_plans {
        host.profile.get_or_insert(profile);
    }
    plan
}

/// The built-in commands of a plan: which program, and its place in a comparison. How often one asks the kernel depends
/// on how much time is left, which a real clock does not say twice alike, so what they print is compared.
fn commands(plan: &Plan) -> Vec<(usize, String)> {
    let programs = plan.programs.iter().enumerate();
    let commands = programs.filter(|(_, program)| matches!(program.what, programs::What::Command(_)));
    commands
        .map(|(i, program)| (i, format!("{} program {}", plan.host_plans[program.host].name, program.name)))
        .collect()
}

/// Compares what a command printed, line by line, without its times.
fn compare_output(c: &mut Comparison, place: String, both: (&[String], &[String]), at_ns: u64) {
    let without_times = |lines: &[String]| lines.iter().map(|l| without_times(l)).collect::<Vec<_>>();
    let (stack, linux) = (without_times(both.0), without_times(both.1));
    c.lines += stack.iter().zip(&linux).filter(|(a, b)| a == b).count();
    let Some(at) = (0..stack.len().max(linux.len())).find(|i| stack.get(*i) != linux.get(*i)) else { return };
    let say = |lines: &[String]| lines.get(at).map_or_else(|| "nothing more".into(), |l| format!("`{l}`"));
    let what = format!("line {}: the stack printed {}, the kernel {}", at + 1, say(both.0), say(both.1));
    c.differences.push(Difference { place, what, at_ns, context: Vec::new() });
    c.agree = false;
}

/// The figures before `ms` become `#`: `time=28.0 ms`, `2014ms`, `28.0/30.1/34.0/2.8 ms`.
fn without_times(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for i in 0..words.len() {
        let is_before_ms = words.get(i + 1).is_some_and(|next| next == "ms");
        let Some(figures) = (if is_before_ms { Some(&words[i][..]) } else { words[i].strip_suffix("ms") })
        else {
            continue;
        };
        let rest = figures.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '/');
        if rest.len() < figures.len() {
            words[i] = format!("{rest}#{}", if is_before_ms { "" } else { "ms" });
        }
    }
    words.join(" ")
}

#[cfg(feature = "linux")]
fn kernel_release() -> String {
    linux::kernel_release()
}

#[cfg(not(feature = "linux"))]
fn kernel_release() -> String {
    "(none in this build)".into()
}

/// Whether the kernel's clock is virtual, so that nothing comes late.
#[cfg(feature = "linux")]
fn virtual_time() -> bool {
    linux::uml::is_guest()
}

#[cfg(not(feature = "linux"))]
fn virtual_time() -> bool {
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_the_output_of_commands_do_not_count_and_everything_else_does() {
        for (line, without) in [
            (
                "64 bytes from 192.0.2.2: icmp_seq=1 ttl=64 time=20.0 ms",
                "64 bytes from 192.0.2.2: icmp_seq=1 ttl=64 time=# ms",
            ),
            ("2 packets transmitted, 2 received, time 1010ms", "2 packets transmitted, 2 received, time #ms"),
            ("rtt min/avg/max/mdev = 10.0/15.0/20.0/5.0 ms", "rtt min/avg/max/mdev = # ms"),
            (" 2  198.51.100.2  24.000 ms  * 3.1 ms", " 2  198.51.100.2  # ms  * # ms"),
            ("PING a (192.0.2.2) 56(84) bytes of data.", "PING a (192.0.2.2) 56(84) bytes of data."),
        ] {
            assert_eq!(without_times(line), without);
        }
        let mut c = Comparison { agree: true, ..Comparison::default() };
        let lines = |ttl, time| vec!["PING".to_string(), format!("ttl={ttl} time={time} ms")];
        compare_output(&mut c, "ping".into(), (&lines(64, 1), &lines(64, 2)), 0);
        assert!(c.agree && c.lines == 2);
        compare_output(&mut c, "ping".into(), (&lines(64, 1), &lines(63, 1)), 0);
        assert_eq!(
            c.differences[0].what,
            "line 2: the stack printed `ttl=64 time=1 ms`, the kernel `ttl=63 time=1 ms`"
        );
        assert!(!c.agree);
    }
}
