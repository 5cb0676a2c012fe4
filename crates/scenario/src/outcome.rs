//! What came out of a run: the journal, which expectations held, which faults fired, what programs printed.

use serde::Serialize;
use stack::record::Journal;

/// One expectation, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What was expected, in one line: `arp.opcode == 1 from client: 3 packets at 0 s, 1 s, 2 s`.
    pub text: String,
    /// Whether it was seen.
    pub held: bool,
    /// What was seen instead, when it did not hold.
    pub seen: Option<String>,
    /// Line of the file, from 1; 0 when it does not stand in the file.
    pub line: usize,
}

/// One fault and how often it fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    /// In the words of the file: `drop server: 2nd udp`.
    pub text: String,
    /// How many packets it touched.
    pub hits: u64,
    /// Whether the run is right when it touched none.
    pub optional: bool,
}

impl FaultReport {
    /// Whether it fired, or need not.
    pub fn ok(&self) -> bool {
        self.hits > 0 || self.optional
    }
}

/// One program of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramReport {
    /// Its host.
    pub host: String,
    /// Its name.
    pub name: String,
    /// The lines that it printed.
    pub output: Vec<String>,
    /// Calls that did not return what the file says, one sentence each.
    pub failures: Vec<String>,
    /// Whether it ended before the run did. Programs without an end need `until` in the file.
    pub ended: bool,
    /// Files that it leaves beside the capture, by name: a HAR file, a qlog.
    #[serde(skip)]
    pub files: Vec<(String, Vec<u8>)>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub journal: Journal,
    /// Every expectation of the file, in its order.
    pub expectations: Vec<Checked>,
    /// Every fault, in order; the command line's come last.
    pub faults: Vec<FaultReport>,
    /// Every program, in order.
    pub programs: Vec<ProgramReport>,
    /// Anything else that makes the run wrong: it hit a limit, a checker found a bug of ours.
    pub errors: Vec<String>,
}

impl Outcome {
    /// Whether every expectation held, every call returned what the file says, and every fault fired that had to.
    pub fn ok(&self) -> bool {
        self.problems().is_empty()
    }

    /// Everything that keeps the run from being right, one line each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.errors.clone();
        for checked in self.expectations.iter().filter(|c| !c.held) {
            let seen = checked.seen.as_deref().unwrap_or("it was not seen");
            let line = if checked.line > 0 { format!(" (line {})", checked.line) } else { String::new() };
            problems.push(format!("expected{line} {}: {seen}", checked.text));
        }
        for program in &self.programs {
            for failure in &program.failures {
                problems.push(format!("{} on {}: {failure}", program.name, program.host));
            }
        }
        for fault in self.faults.iter().filter(|f| !f.ok()) {
            problems.push(format!("the fault `{}` never fired: no packet matched it", fault.text));
        }
        problems
    }
}
