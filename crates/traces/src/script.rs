//! What the programs of an experiment did: derived from the trace, or, where that does not tell, from `experiments.txt`.
//!
//! Derived: a handshake that the lab saw before it restarted its clock is `established()`; each `APP` line is a call
//! that began `took` seconds before its time, by the main program when it took no time, by a thread of its own
//! otherwise; `INJECT` lines are forged packets.

use super::trace::{App, Host, Line, Packet, Trace, packet};

/// Steps that are told within this time began together.
const TOGETHER: f64 = 0.0004;

/// What an experiment says of its next forged packet: its distance from the receiver's `rcv_nxt` and its TSval's from
/// the last one.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// Sequence number.
    pub seq: u32,
    /// TSval.
    pub stamp: u32,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Do {
    /// A call in strace's words; the names of sockets are variables.
    Call(String),
    /// The call again and again, until it fails or gives nothing.
    Loop(String),
    /// How many half-open connections there are, and SYN-ACKs were sent to strangers.
    Count,
    /// So many SYNs of strangers arrive.
    Flood(u32),
    /// An `ip` command.
    Admin(String),
    /// Whether the lab looks away from packets.
    Hide(bool),
    /// From now on the reader of `s` runs when the trace shows it by an ACK.
    Scheduled,
    /// A pause of so many seconds.
    Sleep(f64),
    /// The host's process dies (SIGKILL).
    Kill,
    /// The host loses everything and is there again at once.
    Reboot,
    /// `ip link set tun0 up|down`
    Link(bool),
    /// A forged packet arrives; without offsets its numbers count from its connection's initial ones.
    Inject(Packet, Option<Offsets>),
    /// Only a mark.
    Nothing,
}

/// One thing that a program does.
#[derive(Clone, Debug)]
pub struct Step {
    /// The section of the script, from 0.
    pub section: usize,
    /// Seconds since the section began, or when the thread's step before is done.
    pub at: f64,
    /// `None`: the main program.
    pub thread: Option<String>,
    /// Where.
    pub host: Host,
    /// What.
    pub what: Do,
    /// The variable that a new descriptor goes into.
    pub bind: Option<String>,
    /// The result in the trace's words and when it came.
    pub expect: Option<(String, f64)>,
    /// In the words of the table, or `APP` and the trace's.
    pub text: String,
    /// Which repetition of a line of the table.
    round: u32,
}

/// A whole script.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// In order.
    pub steps: Vec<Step>,
    /// Pauses after each section but the last.
    pub gaps: Vec<f64>,
    /// Which section of the script each section of the trace shows.
    pub map: Vec<usize>,
    /// Of the hosts' randomness: ports are an accident.
    pub seed: u64,
    /// How long the last section is run.
    pub end: f64,
    /// Counters that are not compared: what moved them is not in the trace.
    pub uncounted: Vec<String>,
    /// Lines of the trace that nobody understood.
    pub unknown: Vec<String>,
    /// Sockets that an accept loop got.
    accepted: u32,
    /// Sockets that were made for one call.
    fresh: u32,
    /// Set-ups of 7c and 7d.
    cases: u32,
}

/// An entry of `experiments.txt`.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The traces that it is about.
    pub ids: Vec<String>,
    /// Its lines.
    pub directives: Vec<String>,
}

/// Reads the table: `= id id …` begins an entry, `#` a comment.
pub fn read_table(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(ids) = line.strip_prefix("= ") {
            let ids = ids.split_whitespace().map(str::to_owned).collect();
            entries.push(Entry { ids, directives: Vec::new() });
        } else {
            let entry = entries.last_mut().expect("an entry before its lines");
            entry.directives.push(line.into());
        }
    }
    entries
}

/// Settings of the derivation.
struct Plan {
    backlog: i32,
    port: u16,
    /// Whom APP lines connect to.
    to: String,
    /// Calls that took longer ran in threads of their own.
    at_once: f64,
    listen: bool,
    established: bool,
    accept: bool,
    apps: bool,
    /// `setsockopt` before `connect` and after `listen`.
    client_options: Vec<String>,
    listener_options: Vec<String>,
}

impl Script {
    /// What a trace and the table tell.
    ///
    /// # Panics
    /// The table is part of the project: what it does not say in its own words is our mistake.
    pub fn derive(trace: &Trace, table: &[Entry]) -> Script {
        let mut script = Script { seed: 42, ..Script::default() };
        let directives: Vec<&String> =
            table.iter().filter(|e| e.ids.contains(&trace.id)).flat_map(|e| &e.directives).collect();
        let has = |word: &str| directives.iter().any(|d| d.split_whitespace().next() == Some(word));
        let connects = trace.sections.iter().flatten().any(|l| match l {
            Line::App(a) => verb(&a.what).1 == "connect",
            _ => false,
        });
        let mut plan = Plan {
            backlog: 128,
            port: 80,
            to: "S".into(),
            at_once: if trace.jitter > 0.01 { trace.jitter } else { 0.0004 },
            listen: !has("nolisten"),
            established: has("established") || (!connects && !has("noconnect")),
            accept: !has("noaccept"),
            apps: !has("noapps"),
            client_options: Vec::new(),
            listener_options: Vec::new(),
        };
        for d in &directives {
            match d.split_once(' ') {
                Some(("backlog", n)) => plan.backlog = n.parse().expect("backlog"),
                Some(("gap", g)) => {
                    script.gaps = g.split_whitespace().map(|g| g.parse().expect("gap")).collect()
                }
                Some(("client", call)) => plan.client_options.push(call.into()),
                Some(("listener", call)) => plan.listener_options.push(call.into()),
                Some(("to", to)) => plan.to = to.into(),
                Some(("port", n)) => plan.port = n.parse().expect("port"),
                Some(("map", m)) => {
                    script.map = m.split_whitespace().map(|n| n.parse().expect("map")).collect()
                }
                Some(("seed", n)) => script.seed = n.parse().expect("seed"),
                Some(("uncounted", names)) => {
                    script.uncounted = names.split(' ').map(str::to_owned).collect();
                }
                Some(("end", n)) => script.end = n.parse().expect("end"),
                _ => {}
            }
        }
        script.prelude(&plan);
        // What the script tells of sections by number is what goes before the last.
        let told = directives
            .iter()
            .filter_map(|d| d.strip_prefix('@')?.split_once(':')?.0.parse::<usize>().ok())
            .max();
        let sections = trace.sections.len();
        if script.map.len() > sections {
            script.map.drain(..script.map.len() - sections);
        } else if script.map.is_empty() {
            let opens = trace.packets().next().is_some_and(|p| p.section == 0 && p.flags == "S");
            let first = usize::from(plan.established && (sections == 1 || !opens));
            let shift = first.max(told.map_or(0, |t| t + 2).saturating_sub(sections));
            script.map = (shift..sections + shift).collect();
        }
        let last = *script.map.last().expect("a section");
        for d in directives.iter().filter(|d| d.starts_with('@')) {
            script.direct(trace, last, d);
        }
        for (n, lines) in trace.sections.iter().enumerate() {
            script.section(script.map[n], lines, &plan);
        }
        script.order();
        while script.gaps.len() < last {
            script.gaps.push(0.3);
        }
        if script.end == 0.0 {
            let lines = trace.sections.last().map_or(&[][..], Vec::as_slice);
            script.end = lines.iter().map(Line::at).fold(0.0, f64::max) + 0.0015;
        }
        script
    }

    fn push(&mut self, section: usize, at: f64, host: Host, what: &str) -> &mut Step {
        let (bind, call) = match what.split_once(" = ") {
            Some((name, call)) if !name.contains('(') => (Some(name.trim().to_owned()), call),
            _ => (None, what),
        };
        let what = match call.trim() {
            "kill" => Do::Kill,
            "reboot" => Do::Reboot,
            "count" => Do::Count,
            call if call.starts_with("flood ") => Do::Flood(call[6..].parse().expect("SYNs")),
            call if call.starts_with("ip ") => Do::Admin(call.into()),
            "look" => Do::Hide(false),
            "read as scheduled" => Do::Scheduled,
            "link down" => Do::Link(false),
            "link up" => Do::Link(true),
            "nothing" => Do::Nothing,
            call => match (call.strip_prefix("loop "), call.strip_prefix("sleep ")) {
                _ if call == "hide all" => Do::Hide(true),
                (Some(call), _) => Do::Loop(call.into()),
                (_, Some(n)) => Do::Sleep(n.parse().expect("seconds")),
                _ => Do::Call(call.into()),
            },
        };
        let text = call.trim().to_owned();
        self.steps.push(Step { section, at, thread: None, host, what, bind, expect: None, text, round: 0 });
        self.steps.last_mut().expect("just pushed")
    }

    fn prelude(&mut self, plan: &Plan) {
        if plan.listen {
            self.push(0, 0.0, 1, "l = socket(AF_INET, SOCK_STREAM)");
            self.push(0, 0.0, 1, "setsockopt(l, SOL_SOCKET, SO_REUSEADDR, 1)");
            self.push(0, 0.0, 1, &format!("bind(l, S:{})", plan.port));
            for option in &plan.listener_options {
                self.push(0, 0.0, 1, option);
            }
            self.push(0, 0.0, 1, &format!("listen(l, {})", plan.backlog));
        }
        if plan.established {
            self.push(0, 0.0, 0, "c = socket(AF_INET, SOCK_STREAM)");
            for option in &plan.client_options {
                self.push(0, 0.0, 0, option);
            }
            self.push(0, 0.0, 0, &format!("connect(c, S:{})", plan.port));
            if plan.accept {
                self.push(0, 0.0, 1, "s = accept(l)");
            }
        }
    }

    fn section(&mut self, section: usize, lines: &[Line], plan: &Plan) {
        let mut offsets = None;
        for line in lines {
            match line {
                Line::Note { at, text } if text.starts_with("SYN_RECV ") => {
                    let step = self.push(section, *at, 1, "count");
                    step.expect = Some((text.clone(), *at));
                }
                Line::Note { text, .. } if text.starts_with("L ") => self.conflict(section, text),
                Line::Note { at, text } if text.starts_with("## case") => self.case(section, *at),
                Line::Note { text, .. } if text.contains("seq = rcv_nxt") => offsets = read_offsets(text),
                Line::App(app) if plan.apps && !self.app(section, app, plan) => {
                    self.unknown.push(format!("APP {} -> {}", app.what, app.result));
                }
                Line::Inject { at, to, text } => {
                    if let Some(forged) = packet(0.0, text, 0) {
                        let step = self.push(section, *at, *to, "nothing");
                        step.what = Do::Inject(forged, offsets.take());
                        step.text = format!("INJECT {text}");
                    } else {
                        self.unknown.push(format!("INJECT {text}"));
                    }
                }
                _ => {}
            }
        }
    }

    /// `L TCP | RA/none | S | 0.0.0.0 | first listening | OK | OK | EADDRINUSE | -`: two sockets that want one port.
    fn conflict(&mut self, section: usize, text: &str) {
        for line in text.lines() {
            let cells: Vec<&str> = line.trim_start_matches("L ").split(" | ").map(str::trim).collect();
            let [ty, options, a, b, _, rest @ ..] = cells.as_slice() else { continue };
            let ty = if *ty == "TCP" { "SOCK_STREAM" } else { "SOCK_DGRAM" };
            let port = 7000 + self.cases;
            self.cases += 1;
            let (first, second) = options.split_once('/').unwrap_or((options, options));
            for (name, addr, options, results) in [("a", a, first, &rest[..2]), ("b", b, second, &rest[2..])]
            {
                self.push(section, 0.0, 1, &format!("{name} = socket(AF_INET, {ty})"));
                for (mark, option) in [("RA", "SO_REUSEADDR"), ("RP", "SO_REUSEPORT")] {
                    if options.contains(mark) {
                        self.push(section, 0.0, 1, &format!("setsockopt({name}, SOL_SOCKET, {option}, 1)"));
                    }
                }
                for (call, result) in [
                    (format!("bind({name}, {addr}:{port})"), results[0]),
                    (format!("listen({name}, 5)"), results[1]),
                ] {
                    if result != "-" {
                        let step = self.push(section, 0.0, 1, &call);
                        let ok = result == "OK";
                        step.expect =
                            Some((if ok { "None".into() } else { format!("ERROR {result}") }, f64::NAN));
                        step.text = format!("{line}: {call}");
                    }
                }
            }
            self.push(section, 0.0, 1, "close(a)");
            self.push(section, 0.0, 1, "close(b)");
        }
    }

    /// A connection whose server closes first, which nobody looks at: the set-up of 7c and 7d.
    fn case(&mut self, section: usize, at: f64) {
        let port = 41_000 + self.cases;
        self.cases += 1;
        let client = [
            "hide all".to_owned(),
            "c = socket(AF_INET, SOCK_STREAM)".into(),
            format!("bind(c, C:{port})"),
            "connect(c, S:80)".into(),
        ];
        // The pause before the last case of 7c1.
        let pause = if self.cases == 10 { 2.0 } else { 0.0 };
        for call in &client {
            self.push(section, at + pause, 0, call);
        }
        self.push(section, at + pause, 1, "s = accept(l)");
        self.push(section, at + pause, 1, "close(s)");
        self.push(section, at + pause + 0.0201, 0, "close(c)");
        self.push(section, at + pause + 0.0215, 0, "look");
    }

    /// A call that the trace tells; false when it is not understood.
    #[expect(clippy::too_many_lines, reason = "a table of calls")]
    fn app(&mut self, section: usize, app: &App, plan: &Plan) -> bool {
        if app.what.contains("queued") {
            return true; // a note: the table has the calls
        }
        if let Some(what) = app.what.strip_prefix("other c: ") {
            let app = App { what: format!("c8 {what}"), ..app.clone() };
            return self.app(section, &app, plan);
        }
        if app.what.contains("reboots") {
            let host = usize::from(app.what.starts_with('s'));
            self.push(section, app.at, host, "reboot");
            return true;
        }
        let (actor, verb) = verb(&app.what);
        let start = (app.at - app.took).max(0.0);
        let waits = matches!(verb, "accept" | "recv" | "poll");
        let at_once = if waits { 0.0004 } else { plan.at_once };
        let thread = (app.took > at_once).then(|| format!("{}@{}", app.what, app.at));
        let numbered_try = app.what.starts_with("connect at +");
        self.fresh += u32::from(actor == "5th" || numbered_try || app.what.contains("another destination"));
        let numbered = app.what.strip_prefix("connect #").and_then(|n| n.parse::<u32>().ok());
        let name = match actor {
            _ if numbered.is_some() => format!("c{}", numbered.expect("just seen")),
            _ if numbered_try => format!("c9{}", self.fresh),
            "5th" => format!("c9{}", self.fresh),
            _ if app.what.contains("another destination") => format!("c9{}", self.fresh),
            _ => actor.replace('#', ""),
        };
        let host = usize::from(name.starts_with('s') || (verb == "accept"));
        let name = match (name.as_str(), host) {
            ("", 0) => "c".to_owned(),
            ("", _) => "s".to_owned(),
            _ => name,
        };
        let dontwait = if app.result.contains("EAGAIN") { ", MSG_DONTWAIT" } else { "" };
        let mut calls = Vec::new();
        match verb {
            "connect" => {
                let fresh = !self.steps.iter().any(|s| s.bind.as_deref() == Some(&name));
                if fresh {
                    calls.push(format!("{name} = socket(AF_INET, SOCK_STREAM)"));
                    // The lab's variable lets the socket before it go.
                    if let Some(n) =
                        name.strip_prefix("c9").and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 1)
                    {
                        calls.push(format!("close(c9{})", n - 1));
                    }
                    calls.extend(plan.client_options.iter().cloned());
                    if app.result.contains("EINPROGRESS") && app.took <= plan.at_once {
                        calls.push(format!("fcntl({name}, F_SETFL, O_NONBLOCK)"));
                    }
                }
                let port =
                    if app.what.contains("(81)") || app.what.contains("when all 20") { 81 } else { 80 };
                calls.push(format!("connect({name}, {}:{port})", plan.to));
            }
            "poll" => calls.push(format!("poll([{{{name}, POLLIN|POLLOUT|POLLPRI|POLLRDHUP}}], -1)")),
            "accept" if app.what.contains("loop") || app.result.contains("TimeoutError") => return true,
            "accept" if app.result.starts_with("('") => {
                // An accept loop.
                self.accepted += 1;
                let name = format!("{name}{}", self.accepted);
                let first = self.steps.iter().find(|s| s.thread.as_deref() == Some("accept"));
                let at = first.map_or(app.at, |s| s.at);
                let step = self.push(section, at, 1, &format!("{name} = accept(l)"));
                step.thread = Some("accept".into());
                step.expect = Some(("socket".into(), app.at));
                if let Some((_, data)) = app.result.split_once("data=b") {
                    let step = self.push(section, at, 1, &format!("recv({name}, 65536, MSG_DONTWAIT)"));
                    step.thread = Some("accept".into());
                    step.expect = Some((format!("b{data}"), app.at));
                }
                return true;
            }
            "accept" if app.what.contains("send banner") => {
                calls.push(format!("{name} = accept(l)"));
                calls.push(format!("send({name}, {})", app.result));
            }
            "accept" => calls.push(format!("{name} = accept(l)")),
            "send" => {
                let n = app.result.parse().unwrap_or(1u32);
                calls.push(format!("send({name}, {n}{dontwait})"));
            }
            "recv" if app.what.ends_with("then close") => {
                calls.push(format!("recv({name}, 65536)"));
                calls.push(format!("close({name})"));
            }
            "recv" => calls.push(format!("recv({name}, 65536{dontwait})")),
            "close" => calls.push(format!("close({name})")),
            "abort" => {
                calls.push(format!("setsockopt({name}, SOL_SOCKET, SO_LINGER, {{l_onoff=1, l_linger=0}})"));
                calls.push(format!("close({name})"));
            }
            "shutdown" => calls.push(format!("shutdown({name}, SHUT_WR)")),
            "SO_ERROR" => calls.push(format!("getsockopt({name}, SOL_SOCKET, SO_ERROR)")),
            "bind" if app.what.contains("(port 0)") => {
                calls.push("any = socket(AF_INET, SOCK_STREAM)".into());
                calls.push("bind(any, 0.0.0.0:0)".into());
            }
            "getpeername" => calls.push(format!("getpeername({name})")),
            _ => return false,
        }
        for call in &calls {
            let step = self.push(section, start, host, call);
            step.thread = thread.clone();
        }
        let step = self.steps.last_mut().expect("a call");
        step.expect = Some((app.result.clone(), app.at));
        step.text = format!("APP {}", app.what);
        true
    }

    /// `@[section:]time[+every*count] [thread] C|S call` of the table.
    fn direct(&mut self, trace: &Trace, last: usize, line: &str) {
        let (when, rest) = line[1..].split_once(' ').expect("a time and a call");
        let (section, when) = match when.split_once(':') {
            Some((n, when)) => (n.parse().expect("a section"), when),
            None => (last, when),
        };
        let (thread, rest) = match rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, rest),
        };
        let (host, mut call) = rest.split_once(' ').expect("a host and a call");
        let host = usize::from(host == "S");
        let mut expect = None;
        if let Some((c, e)) = call.split_once(" -> ") {
            expect = Some((e.to_owned(), f64::NAN));
            call = c;
        }
        let own;
        let when = match when.strip_prefix("syn") {
            Some(n) => {
                let nth: usize = n.parse().expect("which connection");
                own = syn_at(trace, nth).map_or_else(|| "0".to_owned(), |at| at.to_string());
                own.as_str()
            }
            None => when,
        };
        let (start, every, count) = match when.split_once('+') {
            Some((start, rest)) => {
                let (every, count) = rest.split_once('*').expect("every*count");
                (start, every.parse().expect("every"), count.parse().expect("count"))
            }
            None => (when, 0.0, 1),
        };
        let start: f64 = start.parse().expect("a time");
        for n in 0..count {
            let step = self.push(section, start + every * f64::from(n), host, call.trim());
            step.thread = thread.clone();
            step.expect = expect.clone();
            step.round = n;
        }
    }

    /// By section and time; what began together stays in the order in which it was told, round by round.
    fn order(&mut self) {
        let slot = |at: f64| ((at + 0.000_05) / TOGETHER).floor() as i64;
        self.steps.sort_by_key(|s| (s.section, slot(s.at), s.round));
    }
}

/// When the trace's last section first shows its `nth` connection, counted from 1.
fn syn_at(trace: &Trace, nth: usize) -> Option<f64> {
    let mut ports = Vec::new();
    for line in trace.sections.last()? {
        if let Line::Packet(p) = line
            && p.flags == "S"
            && !ports.contains(&p.ports)
        {
            ports.push(p.ports);
            if ports.len() == nth {
                return Some(p.at);
            }
        }
    }
    None
}

/// Who, and which call: `c#1 send again` is (`c#1`, `send`).
pub(crate) fn verb(what: &str) -> (&str, &str) {
    let word = |w: &str| -> Option<&'static str> {
        let w = w.trim_end_matches([',', ':']);
        let w = w.split('(').next().unwrap_or(w);
        [
            "connect",
            "bind",
            "accept",
            "poll",
            "send",
            "recv",
            "close",
            "abort",
            "shutdown",
            "SO_ERROR",
            "getpeername",
        ]
        .into_iter()
        .find(|v| *v == w)
    };
    let mut actor = "";
    for (n, w) in what.split_whitespace().enumerate() {
        if let Some(verb) = word(w) {
            return (actor, verb);
        }
        let is_actor = w == "5th"
            || w.starts_with(['c', 's', 'a', 'b'])
                && w[1..].trim_start_matches('#').chars().all(|c| c.is_ascii_digit());
        match n {
            0 if is_actor => actor = w,
            _ if ["blocking", "next", "getsockopt", "legit", "client"].contains(&w) => {}
            _ => return (actor, ""),
        }
    }
    (actor, "")
}

/// `SYN/seg seq = rcv_nxt+100000, TSval = last-1000`
fn read_offsets(text: &str) -> Option<Offsets> {
    let number = |after: &str| -> Option<u32> {
        let rest = text.split(after).nth(1)?;
        let n: i64 = rest.split([',', ' ']).next()?.parse().ok()?;
        Some(n as u32) // wraps as sequence numbers do
    };
    Some(Offsets {
        seq: number("rcv_nxt").or_else(|| number("seq = rcv_nxt"))?,
        stamp: number("TSval = last")?,
    })
}
