//! Programs as run: a command with its arguments, or a script of system calls whose every line is read once
//! before the run, so that a typing error is shown under its word and not as a failed call.

use core::ops::Range;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use sim::program::script::{Step, StepKind, When};
use stack::call::Fd;
use stack::call::text::{CallTextError, Env, Expect, parse_call};
use wire::Instant;

use super::shell;
use super::{Checks, Names, admin};
use crate::commands::{COMMANDS, command};
use crate::diagnostic::suggest;
use crate::file::{self, Content, OneOrMany};
use crate::source::{join, place};
use crate::values::{self, BadValue};

/// A program as run.
#[derive(Clone, Debug)]
pub(crate) struct ProgramPlan {
    /// Index of its host.
    pub(crate) host: usize,
    pub(crate) name: String,
    pub(crate) start: Instant,
    pub(crate) what: What,
    /// The line of the file on which each step of a script stands.
    pub(crate) lines: Vec<usize>,
}

/// What a program does.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// System calls and commands.
    Script(Vec<Step>),
    /// `ping -c 3 server`, host names still in it.
    Command(Vec<String>),
    /// A program above the sockets, and the status that it must end with.
    #[cfg(feature = "apps")]
    App(apps::Ready, i32),
}

/// Lines of one script.
const MAX_LINES: usize = 10_000;
/// Steps of one script after its `repeat`s.
const MAX_STEPS: usize = 1_000_000;

pub(crate) fn plan(checks: &mut Checks<'_>, content: &Content, names: &Names) -> Vec<ProgramPlan> {
    let mut plans = Vec::new();
    for (i, program) in content.programs.iter().enumerate() {
        let path = place!("programs", i);
        let host = checks.host(&join(&path, "host"), &program.host, names);
        let start = program.at.as_ref().and_then(|t| checks.value(&join(&path, "at"), values::instant(t)));
        let run = join(&path, "run");
        let (what, name) = match (&program.run, &program.app) {
            (Some(OneOrMany::One(command)), None) => {
                (command_line(checks, &run, program, command, names), first_word(command))
            }
            (Some(OneOrMany::Many(lines)), None) => {
                (script(checks, &run, lines, names, host).map(What::Script), "script".into())
            }
            (None, Some(app)) => (configured(checks, &path, program, app, names), app.clone()),
            (run, _) => {
                let what = if run.is_some() { "both `run` and `app`" } else { "neither `run` nor `app`" };
                let help =
                    "a program is either a command or system calls (`run`), or one that is built in (`app`)";
                checks.at_key(&path, format!("this program has {what}"), Some(help.into()));
                continue;
            }
        };
        if program.app.is_none() && !program.with.is_empty() {
            checks.at_key(&join(&path, "with"), "only an `app` is configured by `with`", None);
        }
        #[cfg(feature = "apps")]
        if program.exit.is_some() && what.as_ref().is_some_and(|what| !matches!(what, What::App(..))) {
            let help = "system calls have their results beside them, and lines that are printed can be expected (`output`)";
            checks.at_key(&join(&path, "exit"), "this program has no exit status to meet", Some(help.into()));
        }
        let name = program.name.clone().unwrap_or(name);
        if let (Some(host), Some(what)) = (host, what) {
            let line =
                |s: &Step| checks.source.diagnostic(Some(s.span.clone()), "").position().map_or(0, |p| p.0);
            let lines = match &what {
                What::Script(steps) => steps.iter().map(line).collect(),
                What::Command(_) => Vec::new(),
                #[cfg(feature = "apps")]
                What::App(..) => Vec::new(),
            };
            plans.push(ProgramPlan { host, name, start: start.unwrap_or(Instant::ZERO), what, lines });
        }
    }
    plans
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or("program").into()
}

fn command_line(
    checks: &mut Checks<'_>,
    path: &str,
    #[cfg_attr(not(feature = "apps"), expect(unused_variables, reason = "there are fewer commands"))]
    program: &file::Program,
    text: &str,
    names: &Names,
) -> Option<What> {
    let words = match shell::words(text) {
        Ok(words) => words,
        Err((at, message)) => {
            checks.inside(path, at, message, None);
            return None;
        }
    };
    let spans: Vec<_> = words.iter().map(|(_, span)| span.clone()).collect();
    let words: Vec<String> = words.into_iter().map(|(word, _)| word).collect();
    let word_at = |n: usize| spans.get(n).cloned().unwrap_or(0..text.len());
    let first = words.first().map_or("", String::as_str);
    #[cfg(feature = "apps")]
    if let Some(command) = apps::command(first) {
        let app = (command.read)(&words, &names.for_apps(&program.host, checks.seed));
        return match app {
            Ok(app) => Some(What::App(app, program.exit.unwrap_or(0))),
            Err(error) => {
                checks.inside(path, word_at(error.word), error.message, error.help);
                None
            }
        };
    }
    if !COMMANDS.contains(&first) {
        let start = text.find(first).unwrap_or(0);
        #[cfg(feature = "apps")]
        let known = COMMANDS.iter().copied().chain(apps::COMMANDS.iter().map(|c| c.name));
        #[cfg(not(feature = "apps"))]
        let known = COMMANDS.iter().copied();
        let known = suggest(first, known).map_or(String::new(), |s| s + "; ");
        let help = format!("{known}for system calls write a list of lines: run = ['s = socket(…)', …]");
        checks.inside(
            path,
            start..start + first.len(),
            format!("no command `{first}` is built in"),
            Some(help),
        );
        return None;
    }
    match command(&words, &names.for_programs(0), 1) {
        Ok(_) => Some(What::Command(words)),
        Err(error) => {
            checks.inside(path, word_at(error.word), error.message, error.help);
            None
        }
    }
}

#[cfg(feature = "apps")]
fn configured(
    checks: &mut Checks<'_>,
    path: &str,
    program: &file::Program,
    app: &str,
    names: &Names,
) -> Option<What> {
    let Some(kind) = apps::kind(app) else {
        let known = suggest(app, apps::KINDS.iter().map(|kind| kind.name));
        checks.at_value(&join(path, "app"), format!("no program `{app}` is built in"), known);
        return None;
    };
    match (kind.read)(&program.with, &names.for_apps(&program.host, checks.seed)) {
        Ok(app) => Some(What::App(app, program.exit.unwrap_or(0))),
        Err(problems) => {
            for problem in problems {
                let mut place = join(path, "with");
                for part in &problem.path {
                    let below = join(&place, part);
                    // What is missing is missing from the table around it.
                    if !checks.source.has(&below) {
                        break;
                    }
                    place = below;
                }
                if !checks.source.has(&place) {
                    place = join(path, "app");
                }
                match line_of(&program.with, &problem) {
                    Some(line) => checks.inside(&place, line, problem.message, problem.help),
                    None => checks.at_value(&place, problem.message, problem.help),
                }
            }
            None
        }
    }
}

/// The bytes of the line that a problem with a text of several lines names first: `line 4 of the zone: …`.
#[cfg(feature = "apps")]
fn line_of(
    table: &serde_json::Map<String, serde_json::Value>,
    problem: &apps::Problem,
) -> Option<Range<usize>> {
    let (number, _) = problem.message.strip_prefix("line ")?.split_once(" of ")?;
    let (first, rest) = problem.path.split_first()?;
    let value = rest.iter().try_fold(table.get(first)?, |value, key| value.get(key))?;
    let before = number.parse::<usize>().ok()?.checked_sub(1)?;
    let mut lines = value.as_str()?.split_inclusive('\n');
    let start = lines.by_ref().take(before).map(str::len).sum::<usize>();
    Some(start..start + lines.next()?.trim_end().len())
}

#[cfg(not(feature = "apps"))]
fn configured(checks: &mut Checks<'_>, path: &str, _: &file::Program, app: &str, _: &Names) -> Option<What> {
    checks.at_value(&join(path, "app"), format!("this build has no program `{app}`"), None);
    None
}

/// Puts the line of the file's script before a failure that a script names by its step: `step 3: …`.
pub(crate) fn with_line(program: &ProgramPlan, failure: &str) -> String {
    let step = failure.strip_prefix("step ").and_then(|f| f.split_once(": "));
    let found =
        step.and_then(|(n, rest)| Some((program.lines.get(n.parse::<usize>().ok()?.checked_sub(1)?)?, rest)));
    found.map_or_else(|| failure.into(), |(line, rest)| format!("line {line}: {rest}"))
}

/// Names of a script while it is read: a variable is any number, because only the run knows which.
struct ScriptEnv<'a> {
    names: &'a Names,
    /// `None` when the file names a host that is not there: what is wrong with the script itself is said all the same.
    host: Option<usize>,
    variables: Vec<String>,
}

impl Env for ScriptEnv<'_> {
    fn fd(&self, name: &str) -> Option<Fd> {
        let at = self.variables.iter().position(|v| v == name)?;
        Fd::try_from(at).ok().map(|n| n + 3)
    }

    fn host(&self, name: &str, ipv6: bool) -> Option<IpAddr> {
        let host = &self.names.hosts[self.names.host(name)?];
        if ipv6 { host.ipv6 } else { host.ipv4 }
    }

    fn ifindex(&self, name: &str) -> Option<u32> {
        if name == "lo" {
            return Some(1);
        }
        let Some(host) = self.host else {
            // Any number will do: nothing will run.
            return Some(2);
        };
        let at = self.names.hosts[host].ifaces.iter().position(|n| n == name)?;
        u32::try_from(at).ok().map(|n| n + 2)
    }

    fn names(&self) -> Vec<String> {
        let hosts = self.names.host_names().map(str::to_string);
        hosts
            .chain(self.variables.iter().cloned())
            .chain(self.host.iter().flat_map(|h| self.names.hosts[*h].ifaces.iter().cloned()))
            .collect()
    }
}

fn script(
    checks: &mut Checks<'_>,
    path: &str,
    lines: &[String],
    names: &Names,
    host: Option<usize>,
) -> Option<Vec<Step>> {
    if lines.len() > MAX_LINES {
        checks.at_value(path, format!("a script of more than {MAX_LINES} lines"), None);
        return None;
    }
    let order = unrolled(checks, path, lines)?;
    let mut env = ScriptEnv { names, host, variables: Vec::new() };
    let mut steps = Vec::new();
    let mut when = When::Next;
    let mut bad_lines = BTreeSet::new();
    for Turn { line: i, round } in order {
        let at = join(path, &i.to_string());
        let span = checks.source.value(&at).unwrap_or_default();
        let text = match round {
            Some(n) if lines[i].contains(ROUND) => Cow::Owned(lines[i].replace(ROUND, &n.to_string())),
            _ => Cow::Borrowed(lines[i].as_str()),
        };
        match step(&text, span, &mut env) {
            Ok(Line::When(next)) => when = next,
            Ok(Line::Step(mut step)) => {
                step.when = when;
                when = When::Next;
                steps.push(step);
            }
            // A line that is wrong each time round is told once.
            Err(bad) if bad_lines.insert(i) => match text {
                Cow::Borrowed(_) => checks.inside(&at, bad.part, bad.message, bad.help),
                Cow::Owned(_) => checks.at_value(&at, bad.message, bad.help),
            },
            Err(_) => {}
        }
    }
    let good = bad_lines.is_empty();
    good.then_some(steps)
}

/// What stands for the number of the round (from 1) in the lines of a `repeat`; of the innermost.
const ROUND: &str = "$i";

/// A line that has its turn.
struct Turn {
    line: usize,
    /// The round of the `repeat` around it.
    round: Option<usize>,
}

/// The lines in the order in which they are run: what stands between `repeat 100` and `end` comes 100 times.
fn unrolled(checks: &mut Checks<'_>, path: &str, lines: &[String]) -> Option<Vec<Turn>> {
    /// A `repeat`: its line, how often, and where its turns begin.
    type Open = (usize, usize, usize);
    let mut open: Vec<Open> = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let at = join(path, &i.to_string());
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("repeat"), times, None) => {
                let Some(times) = times.and_then(|n| n.parse().ok()).filter(|n| *n > 0) else {
                    let help = "write `repeat 100`, then the lines, then `end`".to_string();
                    checks.at_value(&at, "how often?", Some(help));
                    return None;
                };
                open.push((i, times, turns.len()));
            }
            (Some("end"), None, None) => {
                let Some((_, times, start)) = open.pop() else {
                    checks.at_value(&at, "`end` without `repeat`", None);
                    return None;
                };
                let body: Vec<Turn> = turns.split_off(start);
                if body.len().saturating_mul(times) > MAX_STEPS - turns.len().min(MAX_STEPS) {
                    checks.at_value(&at, format!("a script of more than {MAX_STEPS} steps"), None);
                    return None;
                }
                for n in 1..=times {
                    let round = |t: &Turn| Turn { line: t.line, round: t.round.or(Some(n)) };
                    turns.extend(body.iter().map(round));
                }
            }
            _ => turns.push(Turn { line: i, round: None }),
        }
    }
    if let Some((line, ..)) = open.pop() {
        let at = join(path, &line.to_string());
        checks.at_value(&at, "`repeat` without `end`", None);
        return None;
    }
    Some(turns)
}

enum Line {
    When(When),
    Step(Step),
}

fn step(line: &str, span: Range<usize>, env: &mut ScriptEnv<'_>) -> Result<Line, BadValue> {
    let trimmed = line.trim_start();
    let indent = line.len() - trimmed.len();
    let (word, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let shift = |mut bad: BadValue| {
        let by = indent + word.len() + 1;
        bad.part = bad.part.start + by..bad.part.end + by;
        bad
    };
    let plain =
        |what: StepKind| Line::Step(Step { when: When::Next, what, expect: None, span: span.clone() });
    match word {
        "at" => values::instant(rest).map(|t| Line::When(When::At(t))).map_err(shift),
        "sleep" => values::duration(rest).map(|d| plain(StepKind::Sleep(d))).map_err(shift),
        "ip" | "sysctl" => admin(line).map(|a| plain(StepKind::Admin(a))),
        _ => call(line, span, env),
    }
}

/// `[variable =] call(…) [= expectation]`
fn call(line: &str, span: Range<usize>, env: &mut ScriptEnv<'_>) -> Result<Line, BadValue> {
    let help = "write a system call with its result, such as `sendto(s, \"hello\", server:9) = 5`, or `sleep 1s`, `at 5s`, \
                `repeat 100` … `end`, `ip …`, `sysctl …`";
    let Some(open) = line.find('(') else {
        return Err(BadValue::new(line, "this is neither a system call nor a command", help));
    };
    let Some(close) = closing(line, open) else {
        return Err(BadValue::new(line, "a bracket is not closed", help));
    };
    let (variable, from) = match line[..open].split_once('=') {
        Some((name, _)) => (Some(name.trim()), line[..open].find('=').unwrap_or(0) + 1),
        None => (None, 0),
    };
    let at = |offset: usize, error: CallTextError| BadValue {
        part: offset + error.offset..offset + error.offset + error.len,
        message: error.message,
        help: error.hint,
    };
    parse_call(&line[from..=close], env).map_err(|e| at(from, e))?;
    if let Some(name) = variable {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("`{name}` is no name for a variable");
            return Err(BadValue {
                part: 0..from - 1,
                message,
                help: Some("use letters, digits and _".into()),
            });
        }
        env.variables.push(name.into());
    }
    let rest = &line[close + 1..];
    let expect = match rest.trim() {
        "" => None,
        wanted if wanted.starts_with('=') => {
            let value = wanted[1..].trim_start();
            // A number keeps its sign of equality, the other terms have none.
            let term =
                if value.starts_with(|c: char| c.is_ascii_digit() || c == '-') { wanted } else { value };
            let offset = line.rfind(term).unwrap_or(close + 1);
            Expect::parse(term, env).map_err(|e| at(offset, e))?;
            Some(term.to_string())
        }
        other => {
            let start = line.rfind(other).unwrap_or(close);
            let message = "after the call stands neither nothing nor `= result`".to_string();
            return Err(BadValue { part: start..start + other.len(), message, help: Some(help.into()) });
        }
    };
    let text = line[..=close].trim().to_string();
    Ok(Line::Step(Step { when: When::Next, what: StepKind::Call(text), expect, span }))
}

/// The bracket that closes the one at `open`, quotes respected.
fn closing(line: &str, open: usize) -> Option<usize> {
    let mut depth = 0_u32;
    let mut quoted = false;
    let mut escaped = false;
    for (i, c) in line.char_indices().skip_while(|(i, _)| *i < open) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}
