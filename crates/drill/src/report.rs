//! Results in words: packetdrill's line with the ladder around a failure, the count, JUnit XML.

use core::fmt::Write;

use crate::run::{Fault, Happened, HappenedKind, Verdict, secs};
use crate::suite::Ran;

/// Lines of the ladder before what went wrong.
const LADDER_BEFORE: usize = 8;
/// And after it: what the host sent instead.
const LADDER_AFTER: usize = 6;

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// As written.
    pub passed: usize,
    /// Not as written.
    pub failed: usize,
    /// Not understood, or not to be had.
    pub unsupported: usize,
}

impl Count {
    /// Counts results.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Ran>) -> Count {
        let mut count = Count::default();
        for ran in all {
            match ran.outcome.verdict {
                Verdict::Passed => count.passed += 1,
                Verdict::Failed(_) => count.failed += 1,
                Verdict::Unsupported(_) => count.unsupported += 1,
            }
        }
        count
    }
}

impl core::fmt::Display for Count {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} passed, {} failed, {} unsupported", self.passed, self.failed, self.unsupported)
    }
}

/// `passed`, `failed` or `unsupported`.
pub fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::Unsupported(_) => "unsupported",
    }
}

/// What went wrong, if anything did.
pub fn fault(verdict: &Verdict) -> Option<&Fault> {
    match verdict {
        Verdict::Passed => None,
        Verdict::Failed(fault) | Verdict::Unsupported(fault) => Some(fault),
    }
}

/// `file:line: message`, with its details below.
pub fn message(path: &str, fault: &Fault) -> String {
    let mut text = format!("{path}:{}: {}", fault.line, fault.message);
    for detail in &fault.details {
        text.push('\n');
        text.push_str(detail);
    }
    text
}

fn row(h: &Happened, unicode: bool) -> String {
    let arrow = match (h.kind, unicode) {
        (HappenedKind::Inbound, true) => "──▶",
        (HappenedKind::Inbound, false) => "-->",
        (HappenedKind::Outbound, true) => "◀──",
        (HappenedKind::Outbound, false) => "<--",
        (HappenedKind::Stray, true) => "◀┄┄",
        (HappenedKind::Stray, false) => "<..",
        (HappenedKind::Call | HappenedKind::Shell | HappenedKind::Code, _) => "   ",
    };
    let line = if h.line == 0 { String::new() } else { h.line.to_string() };
    let at = secs(h.at);
    format!("{line:>5} {at:>12} {arrow} {}", h.text)
}

/// Every packet and call, one a line; `◀──` is what the host sent, `◀┄┄` what it sent unasked.
pub fn ladder(happened: &[Happened], unicode: bool) -> String {
    happened.iter().fold(String::new(), |mut text, h| {
        let _ = writeln!(text, "{}", row(h, unicode));
        text
    })
}

/// The part of the ladder around a fault.
pub fn ladder_around(happened: &[Happened], line: u32, unicode: bool) -> String {
    let at = happened.iter().rposition(|h| h.line != 0 && h.line <= line).unwrap_or(0);
    let from = at.saturating_sub(LADDER_BEFORE);
    let to = (at + 1 + LADDER_AFTER).min(happened.len());
    ladder(&happened[from.min(to)..to], unicode)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no other control characters.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// JUnit XML as CI servers read it: one suite, one case a script and variant; what is unsupported was skipped.
pub fn junit(all: &[Ran]) -> String {
    let count = Count::of(all);
    let total: f64 = all.iter().map(|r| r.took.as_secs_f64()).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"drill\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{total:.3}\">",
        all.len(),
        count.failed,
        count.unsupported
    );
    for ran in all {
        let path = ran.case.path.display().to_string();
        let _ = write!(
            text,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            ran.case.variant.name(),
            escaped(&path),
            ran.took.as_secs_f64()
        );
        match &ran.outcome.verdict {
            Verdict::Passed => text.push_str("/>\n"),
            Verdict::Failed(fault) => {
                let body = escaped(&message(&path, fault));
                let _ = writeln!(
                    text,
                    "><failure message=\"{}\">{body}</failure></testcase>",
                    escaped(&fault.message)
                );
            }
            Verdict::Unsupported(fault) => {
                let _ = writeln!(
                    text,
                    "><skipped message=\"{}\"/></testcase>",
                    escaped(&format!("line {}: {}", fault.line, fault.message))
                );
            }
        }
    }
    text.push_str("</testsuite>\n");
    text
}
