//! Reads one trace: the header, the packets with their marks, the calls of the programs, the counters at the end.

use std::collections::BTreeMap;

use super::script::Entry;

/// Which host: 0 the client C, 1 the server S.
pub type Host = usize;

/// What the lab did with a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// Carried it.
    Pass,
    /// Lost it.
    Drop,
    /// Later by so many seconds, on top of the path's delay.
    Delay(f64),
    /// So many copies in all.
    Dup(u32),
    /// Gave a SYN the sequence number of an older one.
    Rewrite,
    /// Dropped; a router answers with this ICMP type and code.
    Icmp(u8, u8),
}

/// One TCP segment as the trace prints it; numbers relative to the last SYN of each side.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Seconds since the section began.
    pub at: f64,
    /// The section, from 0.
    pub section: usize,
    /// Who sent it.
    pub from: Host,
    /// Source and destination.
    pub ports: (u16, u16),
    /// `S`, `S.`, `P.` …
    pub flags: String,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgment number, with the ACK flag only.
    pub ack: Option<u32>,
    /// Bytes of payload.
    pub len: usize,
    /// SACK blocks.
    pub sack: Vec<(u32, u32)>,
    /// What the path did with it.
    pub mark: Mark,
    /// The sockets' states as the lab saw them beside this packet: C's and S's.
    pub states: [Option<String>; 2],
    /// The line, without the states.
    pub text: String,
}

/// `APP …`: a finished call.
#[derive(Clone, Debug)]
pub struct App {
    /// When it returned, seconds since the section began.
    pub at: f64,
    /// How long it took, seconds.
    pub took: f64,
    /// Who, and which call.
    pub what: String,
    /// `5`, `None`, `ERROR ETIMEDOUT (…)`.
    pub result: String,
}

/// One line that is neither a header nor the counters.
#[derive(Clone, Debug)]
pub enum Line {
    /// A segment.
    Packet(Packet),
    /// A finished call.
    App(App),
    /// `INJECT to S: …`: a forged packet.
    Inject {
        /// When.
        at: f64,
        /// To whom.
        to: Host,
        /// The packet, as in a packet's line.
        text: String,
    },
    /// `~state`: a socket's transition, seen by a look every 40 ms.
    State {
        /// When.
        at: f64,
    },
    /// Anything else: what the script printed.
    Note {
        /// When.
        at: f64,
        /// Its words.
        text: String,
    },
}

impl Line {
    /// When, seconds since the section began.
    pub fn at(&self) -> f64 {
        match self {
            Line::Packet(p) => p.at,
            Line::App(a) => a.at,
            Line::Inject { at, .. } | Line::State { at } | Line::Note { at, .. } => *at,
        }
    }
}

/// A whole trace.
#[derive(Debug, Default)]
pub struct Trace {
    /// The experiment: `4h2`.
    pub id: String,
    /// What it is about; empty when the file holds no TCP trace.
    pub title: String,
    /// How late things are at most, seconds.
    pub jitter: f64,
    /// Both, the client's, the server's.
    pub sysctls: [Vec<(String, String)>; 3],
    /// One-way delay in milliseconds from each host.
    pub delay_ms: [f64; 2],
    /// Of the path.
    pub mtu: u32,
    /// The lines; a new section begins where the lab restarted its clock.
    pub sections: Vec<Vec<Line>>,
    /// The client's and the server's counters at the end, without `Tcp` and `TcpExt`.
    pub counters: [BTreeMap<String, u64>; 2],
}

impl Trace {
    /// `jitter`: how late threads log, seconds; times within a section may go back by so much.
    pub fn read(id: &str, text: &str, jitter: f64) -> Trace {
        let mut trace = Trace { id: id.into(), jitter, ..Trace::default() };
        let mut section = Vec::new();
        let mut last = f64::MIN;
        for line in text.lines() {
            let words = line.trim();
            if let Some(title) = words.strip_prefix("=== # ") {
                trace.title = title.into();
            } else if words.starts_with("[sysctls") {
                trace.header(words);
            } else if let Some(counters) = words.strip_prefix("# nstat ") {
                trace.nstat(counters);
            } else if let Some((at, rest)) = stamp(words) {
                // Where there is no noise the clock goes back only when the lab set it anew.
                let again = at < last && jitter < QUIET && follows_an_end(&section, rest);
                if (at < last - jitter || again) && !section.is_empty() {
                    trace.sections.push(core::mem::take(&mut section));
                    last = at;
                } else {
                    last = last.max(at);
                }
                section.push(read_line(at, rest, trace.sections.len()));
            } else if let Some(Line::Note { text, .. }) = section.last_mut() {
                text.push('\n');
                text.push_str(words);
            } else {
                section.push(Line::Note { at: 0.0, text: words.into() });
            }
        }
        trace.sections.push(section);
        trace.sections.iter_mut().for_each(answer);
        trace
    }

    /// Reads a trace as its experiment has its parts: [`Trace::read`], then, unless the table says that its programs do not
    /// begin with a connection, [`Trace::part`].
    pub fn of(id: &str, text: &str, jitter: f64, table: &[Entry]) -> Trace {
        let mut trace = Trace::read(id, text, jitter);
        let mut entries = table.iter().filter(|e| e.ids.contains(&trace.id));
        if !entries.any(|e| e.directives.iter().any(|d| d == "noconnect")) {
            trace.part();
        }
        trace
    }

    /// The lab's clock may have restarted within the same tenth of a millisecond: after the handshake of an experiment
    /// that begins with a connection, and after the warm-up.
    pub fn part(&mut self) {
        let connects =
            self.sections.iter().flatten().any(|l| matches!(l, Line::App(a) if a.what.contains("connect")));
        let found =
            |l: &Line| matches!(l, Line::Packet(_) | Line::App(_) | Line::Note { .. } | Line::Inject { .. });
        if self.sections.len() == 1 && !connects {
            let lines: Vec<usize> =
                (0..self.sections[0].len()).filter(|n| found(&self.sections[0][*n])).collect();
            let flags = |n: usize| match lines.get(n).map(|n| &self.sections[0][*n]) {
                Some(Line::Packet(p)) => p.flags.clone(),
                _ => String::new(),
            };
            if (flags(0).as_str(), flags(1).as_str(), flags(2).as_str()) == ("S", "S.", ".")
                && lines.len() > 3
            {
                self.cut(lines[3]);
            }
        }
        let last = self.sections.last().expect("a section");
        if let Some(n) = last.iter().position(|l| matches!(l, Line::App(a) if a.what.contains("warm-up"))) {
            let next = (n + 1..last.len()).find(|n| match &last[*n] {
                Line::App(_) | Line::Note { .. } => true,
                Line::Packet(p) => p.from == 0 && p.seq > 1 && p.len > 0,
                _ => false,
            });
            if let Some(next) = next {
                self.cut(next);
            }
        }
    }

    /// The last section from this line on becomes one of its own.
    fn cut(&mut self, line: usize) {
        let rest = self.sections.last_mut().expect("a section").split_off(line);
        self.sections.push(rest);
        let n = self.sections.len() - 1;
        for line in &mut self.sections[n] {
            if let Line::Packet(p) = line {
                p.section = n;
            }
        }
    }

    fn header(&mut self, words: &str) {
        for (n, name) in ["both={", "client={", "server={"].iter().enumerate() {
            let body = words.split(name).nth(1).and_then(|r| r.split('}').next()).unwrap_or("");
            let mut rest = body;
            while let Some(((name, value), after)) = setting(rest) {
                self.sysctls[n].push((name.into(), value.into()));
                rest = after;
            }
        }
        let number = |after: &str| -> f64 {
            let text = words.split(after).nth(1).and_then(|r| r.split([' ', ']']).next()).unwrap_or("0");
            text.parse().unwrap_or(0.0)
        };
        self.delay_ms = [number("delay c>s "), number("s>c ")];
        self.mtu = number("mtu ") as u32;
    }

    fn nstat(&mut self, text: &str) {
        let host = usize::from(text.starts_with('S'));
        for pair in text.split_whitespace().filter_map(|w| w.split_once('=')) {
            let name = if pair.0 == "AO" { "ActiveOpens" } else { pair.0 };
            self.counters[host].insert(name.into(), pair.1.parse().unwrap_or(0));
        }
    }

    /// All packets in order.
    pub fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.sections.iter().flatten().filter_map(|l| match l {
            Line::Packet(p) => Some(p),
            _ => None,
        })
    }
}

/// Traces whose threads are less late than this, in seconds, were taken in virtual time.
const QUIET: f64 = 0.01;

/// A SYN of another connection after one that a RST ended: the experiment proper begins (9al).
fn follows_an_end(section: &[Line], rest: &str) -> bool {
    let ended = section.iter().rev().find_map(|l| match l {
        Line::Packet(p) => Some(p.flags.contains('R')),
        _ => None,
    });
    ended == Some(true) && rest.starts_with("C>S") && rest.contains("[S]")
}

/// An ICMP error stands near the packet that it answers: it becomes that packet's mark.
fn answer(section: &mut Vec<Line>) {
    let errors: Vec<usize> = (0..section.len())
        .filter(|n| matches!(&section[*n], Line::Inject { text, .. } if text.contains("ICMP type")))
        .collect();
    for n in errors.into_iter().rev() {
        let Line::Inject { at, text, .. } = section[n].clone() else { continue };
        let number = |after: &str| text.split(after).nth(1)?.split_whitespace().next()?.parse().ok();
        let (Some(ty), Some(code)) = (number("ICMP type "), number(" code ")) else { continue };
        let near = section[n..].iter_mut().take(6).find_map(|l| match l {
            Line::Packet(p) if p.mark == Mark::Drop && (p.at - at).abs() < 0.06 => Some(p),
            _ => None,
        });
        if let Some(p) = near {
            p.mark = Mark::Icmp(ty, code);
            section.remove(n);
        }
    }
}

/// `'name': value, …`, and what follows; a value may be quoted.
fn setting(text: &str) -> Option<((&str, &str), &str)> {
    let (name, after) = text.split_once('\'')?.1.split_once('\'')?;
    let after = after.trim_start_matches([':', ' ']);
    let (value, after) = match after.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'')?,
        None => after.split_once(',').unwrap_or((after, "")),
    };
    Some(((name, value.trim()), after))
}

fn stamp(words: &str) -> Option<(f64, &str)> {
    let (at, rest) = words.split_once(' ')?;
    let (_, decimals) = at.split_once('.')?;
    if !matches!(decimals.len(), 3 | 4) || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((at.parse().ok()?, rest.trim_start()))
}

fn read_line(at: f64, rest: &str, section: usize) -> Line {
    if (rest.starts_with("C>S ") || rest.starts_with("S>C "))
        && let Some(packet) = packet(at, rest, section)
    {
        return Line::Packet(packet);
    }
    if let Some(app) = rest.strip_prefix("APP ") {
        let (call, took) = match app.rsplit_once("(took ") {
            Some((call, took)) => (call, took.trim_end_matches("s)").parse().unwrap_or(0.0)),
            None => (app, 0.0),
        };
        let (what, result) = call.split_once(" -> ").unwrap_or((call, ""));
        return Line::App(App { at, took, what: what.trim().into(), result: result.trim().into() });
    }
    if let Some(inject) = rest.strip_prefix("INJECT to ") {
        let to = usize::from(inject.starts_with('S'));
        return Line::Inject { at, to, text: inject.get(3..).unwrap_or_default().into() };
    }
    if rest.starts_with("~state ") {
        return Line::State { at };
    }
    Line::Note { at, text: rest.into() }
}

/// `C>S 34362>80 [S] seq 0 ack - len 0 sack1-2 **DROP** | C=… S=…`
pub(crate) fn packet(at: f64, rest: &str, section: usize) -> Option<Packet> {
    let (head, states) = rest.split_once(" |").unwrap_or((rest, ""));
    let mut words = head.split_whitespace();
    let from = usize::from(words.next()? == "S>C");
    let (a, b) = words.next()?.split_once('>')?;
    let flags = words.next()?.trim_matches(['[', ']']).to_owned();
    let seq = words.nth(1)?.parse().ok()?;
    let ack = words.nth(1)?.parse().ok();
    let len = words.nth(1)?.parse().ok()?;
    let mut sack = Vec::new();
    for word in head.split_whitespace().filter_map(|w| w.strip_prefix("sack")) {
        for block in word.split(',') {
            if let Some((l, r)) = block.split_once('-') {
                sack.push((l.parse().unwrap_or(0), r.parse().unwrap_or(0)));
            }
        }
    }
    let mark = match head.split("**").nth(1) {
        None => Mark::Pass,
        Some("DROP") => Mark::Drop,
        Some("REWRITE") => Mark::Rewrite,
        Some(other) => {
            let n = other.split(", ").nth(1).map_or("", |n| n.trim_end_matches(')'));
            if other.contains("delay") { Mark::Delay(n.parse().ok()?) } else { Mark::Dup(n.parse().ok()?) }
        }
    };
    let mut found = [None, None];
    if let Some((c, s)) = states.trim().split_once(" S=") {
        found = [c.strip_prefix("C=").map(str::to_owned), Some(s.to_owned())];
    }
    Some(Packet {
        at,
        section,
        from,
        ports: (a.parse().ok()?, b.parse().ok()?),
        flags,
        seq,
        ack,
        len,
        sack,
        mark,
        states: found,
        text: head.trim().into(),
    })
}
