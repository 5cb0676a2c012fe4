//! The twin's judgement: our stack's run beside a real kernel's, packet by packet.
//!
//! Every sequence of [`crate::normal`] is aligned: contents and order must be equal, times within a
//! [`Tolerance`]. Packets of different interfaces have no common order but their times.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use stack::record::Journal;
use wire::Instant;

use crate::align::{Step, align};
use crate::ladder::text_width;
use crate::normal::{Class, Item, Lane, lanes};

/// How far the kernel's times may be from the stack's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// The kernel may be this much earlier: clocks, and the TAP's own delays.
    pub early: Duration,
    /// The kernel may be this much later: scheduling noise of a busy machine.
    pub late: Duration,
    /// The kernel's timers fire on a timer wheel of this frequency, which rounds up.
    pub wheel_hz: Option<u32>,
    /// The stack's timers do so too: the wheels are out of phase, so the kernel may also be earlier, but not
    /// earlier than with ideal timers (see [`compare_on_wheel`]).
    pub stack_on_wheel: bool,
    /// `nstat` counters that must be equal, such as `UdpNoPorts`.
    pub counters: Vec<String>,
    /// Whether the packets that stacks drop count: a real kernel's are seen only with a probe.
    pub drops: bool,
    /// Sequences that are not compared at all.
    pub skip: Vec<Class>,
    /// Programs whose calls are not compared, by place: `client program ping`.
    pub skip_calls: Vec<String>,
}

/// Counters that say what happened to the scenario's own packets and to nothing else.
pub const COUNTERS: &[&str] = &[
    "IpReasmFails",
    "IpFragCreates",
    "IpReasmOKs",
    "UdpInDatagrams",
    "UdpNoPorts",
    "UdpRcvbufErrors",
    "UdpInCsumErrors",
    "IcmpOutDestUnreachs",
    "IcmpInDestUnreachs",
    "IcmpOutTimeExcds",
    "IcmpInTimeExcds",
    "IcmpOutEchoReps",
    "IcmpInEchos",
];

impl Tolerance {
    /// Against a real kernel with `CONFIG_HZ=hz`, on a machine that is also busy with other things.
    pub fn wheel(hz: u32) -> Tolerance {
        Tolerance {
            early: Duration::from_millis(2),
            late: Duration::from_millis(80),
            wheel_hz: Some(hz),
            stack_on_wheel: true,
            counters: COUNTERS.iter().map(ToString::to_string).collect(),
            drops: false,
            skip: Vec::new(),
            skip_calls: Vec::new(),
        }
    }

    /// Against a real kernel with `CONFIG_HZ=hz` in virtual time (User-Mode Linux, `time-travel=inf-cpu`), where nothing
    /// but its timer wheel comes late.
    pub fn virtual_time(hz: u32) -> Tolerance {
        let millisecond = Duration::from_millis(1);
        Tolerance { early: millisecond, late: millisecond, ..Tolerance::wheel(hz) }
    }

    /// Equal to the nanosecond: two runs of our own stack.
    pub fn exact() -> Tolerance {
        Tolerance {
            early: Duration::ZERO,
            late: Duration::ZERO,
            wheel_hz: None,
            stack_on_wheel: false,
            counters: COUNTERS.iter().map(ToString::to_string).collect(),
            drops: true,
            skip: Vec::new(),
            skip_calls: Vec::new(),
        }
    }

    /// The earliest and latest time at which the kernel may do what the stack did at `at`, and would have done at
    /// `ideal` if its timers fired at their nominal times, when that is known: no kernel's timer fires before.
    ///
    /// A wheel rounds a timeout up by at most an eighth of itself (Linux: kernel/time/timer.c, LVL_GRAN);
    /// no timeout is longer than the run so far, and one jiffy comes on top.
    pub fn window(&self, at: Instant, ideal: Option<Instant>) -> (Instant, Instant) {
        let wheel = match self.wheel_hz {
            Some(hz) => {
                let jiffy = 1_000_000_000 / u64::from(hz.max(1));
                Duration::from_nanos(at.as_nanos() / 8 + jiffy)
            }
            None => Duration::ZERO,
        };
        let earliest = match ideal {
            Some(ideal) => at.min(ideal),
            None if self.stack_on_wheel => at - wheel,
            None => at,
        };
        (earliest - self.early, at + self.late + wheel)
    }
}

/// What was compared, and what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Nothing differs.
    pub agree: bool,
    /// How many packets were compared.
    pub packets: usize,
    /// How many results of system calls.
    pub calls: usize,
    /// How many states of neighbour entries.
    pub states: usize,
    /// How many counters.
    pub counters: usize,
    /// How many lines that commands printed.
    pub lines: usize,
    /// The largest distance in time between two aligned things, in nanoseconds: positive when the kernel
    /// was later.
    pub largest_skew_ns: i64,
    /// All differences, in the order of time.
    pub differences: Vec<Difference>,
}

/// One difference, with what stands around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `client eth0`, `client program ping`, `server UdpNoPorts`.
    pub place: String,
    /// In one sentence.
    pub what: String,
    /// The stack's time, or the kernel's when only the kernel has it; nanoseconds.
    pub at_ns: u64,
    /// The sequences around it, aligned.
    pub context: Vec<Line>,
}

/// A line of the aligned sequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// This is where they differ.
    pub differs: bool,
    /// The stack's side: `0.010 ARP …`.
    pub stack: Option<String>,
    /// The kernel's side.
    pub linux: Option<String>,
}

/// Lines of context before and after a difference.
const CONTEXT: usize = 3;

/// Compares a run on our stack with the same scenario's run on a real kernel.
pub fn compare(stack: &Journal, linux: &Journal, tolerance: &Tolerance) -> Comparison {
    compare_lanes(stack, BTreeMap::new(), linux, tolerance)
}

/// As [`compare`], where the stack's timers were on a wheel, out of phase with the kernel's. `ideal` is the stack's
/// run with timers that fire at their nominal times: the kernel may do nothing earlier than that.
pub fn compare_on_wheel(
    stack: &Journal,
    ideal: &Journal,
    linux: &Journal,
    tolerance: &Tolerance,
) -> Comparison {
    compare_lanes(stack, lanes(ideal), linux, tolerance)
}

fn compare_lanes(
    stack: &Journal,
    ideal: BTreeMap<(Class, String), Lane>,
    linux: &Journal,
    tolerance: &Tolerance,
) -> Comparison {
    let mut left = lanes(stack);
    let mut right = lanes(linux);
    let mut c = Comparison::default();
    let mut places: Vec<(Class, String)> = left.keys().chain(right.keys()).cloned().collect();
    places.sort();
    places.dedup();
    for place in places {
        let is_skipped = tolerance.skip.contains(&place.0)
            || (place.0 == Class::Calls && tolerance.skip_calls.contains(&place.1));
        if (place.0 == Class::Drops && !tolerance.drops) || is_skipped {
            continue;
        }
        let (a, b) = (left.remove(&place).unwrap_or_default(), right.remove(&place).unwrap_or_default());
        let nominal = ideal.get(&place).map_or_else(Vec::new, |lane| nominal_times(&a, lane));
        let ends = (stack.end, linux.end);
        c.lane(&place, &Sides { a: &a, nominal, b: &b, ends }, tolerance);
    }
    c.compare_counters(stack, linux, tolerance);
    c.differences.sort_by_key(|d| d.at_ns);
    c.agree = c.differences.is_empty();
    c
}

impl Comparison {
    fn lane(&mut self, (class, place): &(Class, String), sides: &Sides<'_>, tolerance: &Tolerance) {
        let Sides { a, nominal, b, ends } = sides;
        let steps = align(&keys(a), &keys(b));
        let n = steps.iter().filter(|s| matches!(s, Step::Both(..))).count();
        match class {
            Class::Packets | Class::Drops => self.packets += n,
            Class::Calls => self.calls += n,
            Class::Neighbour => self.states += n,
        }
        for (i, step) in steps.iter().enumerate() {
            let found = match *step {
                Step::Both(x, y) => {
                    let nominal = nominal.get(x).copied().flatten();
                    self.time(&a[x], nominal, &b[y], tolerance).map(|what| (a[x].at, what))
                }
                Step::Left(x) if is_still_random(&a[x..], b, ends.1) => None,
                Step::Right(y) if is_still_random(&b[y..], a, ends.0) => None,
                // A thing that changed shows as one of each kind, side by side.
                Step::Left(x) => Some((a[x].at, self.only(&a[x], steps.get(i + 1), b, "the stack"))),
                Step::Right(y) if i > 0 && matches!(steps[i - 1], Step::Left(_)) => {
                    let _ = y;
                    None
                }
                Step::Right(y) => Some((b[y].at, format!("only the kernel has: {}", b[y].words))),
            };
            if let Some((at, what)) = found {
                let context = context(&steps, i, a, b);
                self.differences.push(Difference {
                    place: place.clone(),
                    what,
                    at_ns: at.as_nanos(),
                    context,
                });
            }
        }
    }

    fn only(&self, item: &Item, next: Option<&Step>, b: &[Item], whose: &str) -> String {
        match next {
            Some(Step::Right(y)) if b[*y].words != item.words => {
                format!("{whose} has: {}; the kernel: {}", item.words, b[*y].words)
            }
            Some(Step::Right(y)) => {
                format!("{} differs in {}", item.words, first_difference(&item.key, &b[*y].key))
            }
            _ => format!("only {whose} has: {}", item.words),
        }
    }

    fn time(
        &mut self,
        a: &Item,
        nominal: Option<Instant>,
        b: &Item,
        tolerance: &Tolerance,
    ) -> Option<String> {
        if a.any_time || b.any_time {
            return None;
        }
        let skew = i128::from(b.at.as_nanos()) - i128::from(a.at.as_nanos());
        let skew = i64::try_from(skew).unwrap_or(i64::MAX);
        if skew.abs() > self.largest_skew_ns.abs() {
            self.largest_skew_ns = skew;
        }
        let (earliest, latest) = tolerance.window(a.at, nominal);
        let word = if b.at < earliest {
            "earlier"
        } else if b.at > latest {
            "later"
        } else {
            return None;
        };
        Some(format!(
            "{}: the kernel {} {word}, at {} s, than the stack at {} s",
            a.words,
            crate::ladder::span(skew.unsigned_abs()),
            b.at,
            a.at
        ))
    }

    fn compare_counters(&mut self, stack: &Journal, linux: &Journal, tolerance: &Tolerance) {
        for node in &stack.nodes {
            let Some(twin) = linux.nodes.iter().find(|n| n.name == node.name) else { continue };
            let of = |counters: &[(String, u64)]| counters.iter().cloned().collect::<BTreeMap<String, u64>>();
            let (a, b) = (of(&node.counters), of(&twin.counters));
            // A side without any counters was not asked for them.
            if a.is_empty() || b.is_empty() {
                continue;
            }
            for name in &tolerance.counters {
                let (x, y) = (a.get(name).copied().unwrap_or(0), b.get(name).copied().unwrap_or(0));
                self.counters += 1;
                if x != y {
                    self.differences.push(Difference {
                        place: format!("{} {name}", node.name),
                        what: format!("{name} is {x} on the stack, {y} on the kernel"),
                        at_ns: stack.end.as_nanos(),
                        context: Vec::new(),
                    });
                }
            }
        }
    }

    /// `agree: …`, or the first difference with both sides aligned and how many more there are.
    pub fn render(&self, width: usize) -> String {
        let counts = format!(
            "{} packets, {} calls, {} neighbour states, {} counters{}",
            self.packets,
            self.calls,
            self.states,
            self.counters,
            if self.lines > 0 { format!(", {} lines printed", self.lines) } else { String::new() }
        );
        let Some(first) = self.differences.first() else {
            let sign = if self.largest_skew_ns < 0 { "earlier" } else { "later" };
            let skew = crate::ladder::span(self.largest_skew_ns.unsigned_abs() / 1000 * 1000);
            return format!("agree: {counts}; the kernel at most {skew} {sign}\n");
        };
        let mut text = String::new();
        for line in crate::ladder::wrap(&format!("differ at {}: {}", first.place, first.what), width) {
            let _ = writeln!(text, "{line}");
        }
        let half = (width.saturating_sub(5)) / 2;
        let _ = writeln!(text, "  {} | linux", text_width::pad("stack", half));
        for line in &first.context {
            let mark = if line.differs { '!' } else { ' ' };
            let side = |s: &Option<String>| text_width::pad(s.as_deref().unwrap_or("-"), half);
            let _ = writeln!(
                text,
                "{}",
                format!("{mark} {} | {}", side(&line.stack), side(&line.linux)).trim_end()
            );
        }
        for d in self.differences.iter().skip(1).take(20) {
            for line in crate::ladder::wrap(&format!("also {}: {}", d.place, d.what), width) {
                let _ = writeln!(text, "{line}");
            }
        }
        if self.differences.len() > 21 {
            let _ = writeln!(text, "and {} more differences", self.differences.len() - 21);
        }
        let _ = writeln!(text, "equal besides: {counts}");
        text
    }
}

/// One place's things on both sides.
struct Sides<'a> {
    a: &'a [Item],
    /// When each of `a` happens with ideal timers; empty or `None` where that is not known.
    nominal: Vec<Option<Instant>>,
    b: &'a [Item],
    /// When the runs ended.
    ends: (Instant, Instant),
}

/// The longest that a neighbour stays REACHABLE: 1.5 times `base_reachable_time_ms`, 30 s (RFC 4861 §6.3.2).
const LONGEST_REACHABLE: Duration = Duration::from_secs(45);

/// Whether `rest`, what only one side has, is one change at a random time that may yet come on the other side: its
/// run ended before it had to.
fn is_still_random(rest: &[Item], other: &[Item], other_end: Instant) -> bool {
    let [item] = rest else { return false };
    let Some(before) = other.last() else { return false };
    item.ages && before.key.contains(" REACHABLE") && other_end <= before.at + LONGEST_REACHABLE
}

fn keys(items: &[Item]) -> Vec<&str> {
    items.iter().map(|i| i.key.as_str()).collect()
}

/// For each thing of `lane` the time of the same in `ideal`.
fn nominal_times(lane: &[Item], ideal: &[Item]) -> Vec<Option<Instant>> {
    let mut times = vec![None; lane.len()];
    for step in align(&keys(lane), &keys(ideal)) {
        if let Step::Both(x, y) = step {
            times[x] = Some(ideal[y].at);
        }
    }
    times
}

/// The first word in which two keys differ.
fn first_difference(a: &str, b: &str) -> String {
    let differing = a.split(' ').zip(b.split(' ')).find(|(x, y)| x != y);
    differing.map_or_else(|| "its length".to_string(), |(x, y)| format!("`{x}` (stack) and `{y}` (kernel)"))
}

fn context(steps: &[Step], at: usize, a: &[Item], b: &[Item]) -> Vec<Line> {
    let from = at.saturating_sub(CONTEXT);
    let to = (at + CONTEXT + 1).min(steps.len());
    let say = |i: &Item| Some(format!("{} {}", i.at, i.words));
    let mut lines: Vec<Line> = Vec::new();
    for (i, step) in steps.iter().enumerate().take(to).skip(from) {
        let differs = i == at || !matches!(step, Step::Both(..));
        match *step {
            Step::Both(x, y) => lines.push(Line { differs, stack: say(&a[x]), linux: say(&b[y]) }),
            Step::Left(x) => lines.push(Line { differs, stack: say(&a[x]), linux: None }),
            Step::Right(y) => match lines.last_mut() {
                Some(last) if last.linux.is_none() => last.linux = say(&b[y]),
                _ => lines.push(Line { differs, stack: None, linux: say(&b[y]) }),
            },
        }
    }
    lines
}

#[cfg(test)]
mod tests;
