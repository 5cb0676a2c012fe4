//! The atlas: every state of RFC 9293 §3.3.2 with every kind of segment, call and long silence; what comes back, what a read
//! says then, and the new state. `atlas.txt` is the kernel's answer (6.18.44); our stack gives the same.
//!
//! `ATLAS_WRITE=1 cargo test -p drill --test atlas` writes it anew, from the kernel when that can be had.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use drill::HappenedKind;
use drill::config::Config;
use drill::host::StackHost;
use drill::kernel::Kernel;
use drill::suite::{self, Case, Ran, Variant};
use drill::target::Host;
use stack::Granularity;

/// How to get into a state, and the numbers there.
struct State {
    name: &'static str,
    script: &'static str,
    /// The peer's next sequence number, ours, and the oldest of ours that is not acknowledged.
    next: u32,
    ours: u32,
    una: u32,
    /// There is a descriptor 4 of the connection.
    fd: bool,
}

const SETTINGS: &str = "`sysctl -q net.ipv4.tcp_timestamps=0 net.ipv4.tcp_congestion_control=cubic`\n";
const LISTEN: &str = "    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n\
    +0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0\n+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n\
    +0 bind(3, ..., ...) = 0\n+0 listen(3, 8) = 0\n";
const SYN: &str = "+0 < S 0:0(0) win 5000 <mss 1000,sackOK,nop,nop>\n";
const ACCEPTED: &str = "+.02 < . 1:1(0) ack 1 win 5000\n+0 accept(3, ..., ...) = 4\n+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n";

const STATES: &[State] = &[
    State { name: "LISTEN", script: "L", next: 0, ours: 1, una: 0, fd: false },
    State {
        name: "SYN-SENT",
        script: "    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 4\n+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n\
                 +0 connect(4, ..., ...) = -1 EINPROGRESS (x)\n",
        next: 0,
        ours: 1,
        una: 0,
        fd: true,
    },
    State { name: "SYN-RECEIVED", script: "LS", next: 1, ours: 1, una: 0, fd: false },
    State { name: "ESTABLISHED", script: "LSA", next: 1, ours: 1, una: 1, fd: true },
    State {
        name: "ESTABLISHED with data out",
        script: "LSA+0 write(4, ..., 500) = 500\n",
        next: 1,
        ours: 501,
        una: 1,
        fd: true,
    },
    State {
        name: "FIN-WAIT-1",
        script: "LSA+0 shutdown(4, SHUT_WR) = 0\n",
        next: 1,
        ours: 2,
        una: 1,
        fd: true,
    },
    State {
        name: "FIN-WAIT-2",
        script: "LSA+0 shutdown(4, SHUT_WR) = 0\n+.02 < . 1:1(0) ack 2 win 5000\n",
        next: 1,
        ours: 2,
        una: 2,
        fd: true,
    },
    State {
        name: "CLOSE-WAIT",
        script: "LSA+.02 < F. 1:1(0) ack 1 win 5000\n",
        next: 2,
        ours: 1,
        una: 1,
        fd: true,
    },
    State {
        name: "CLOSING",
        script: "LSA+0 shutdown(4, SHUT_WR) = 0\n+.02 < F. 1:1(0) ack 1 win 5000\n",
        next: 2,
        ours: 2,
        una: 1,
        fd: true,
    },
    State {
        name: "LAST-ACK",
        script: "LSA+.02 < F. 1:1(0) ack 1 win 5000\n+.06 shutdown(4, SHUT_WR) = 0\n",
        next: 2,
        ours: 2,
        una: 1,
        fd: true,
    },
    State {
        name: "TIME-WAIT",
        script: "LSA+0 shutdown(4, SHUT_WR) = 0\n+.02 < F. 1:1(0) ack 2 win 5000\n",
        next: 2,
        ours: 2,
        una: 2,
        fd: true,
    },
];

/// What happens: `<` and a segment (`N` the peer's next number, `A` ours, `U` what is not acknowledged, with offsets), or a
/// call on descriptor 4, or nothing for a while.
const EVENTS: &[(&str, &str)] = &[
    ("SYN", "< S N:N(0) win 5000 <mss 1000>"),
    ("SYN far ahead", "< S N+90000:N+90000(0) win 5000 <mss 1000>"),
    ("SYN, ACK", "< S. N:N(0) ack A win 5000 <mss 1000>"),
    ("SYN, ACK of nothing sent", "< S. N:N(0) ack A+9 win 5000 <mss 1000>"),
    ("ACK of all", "< . N:N(0) ack A win 5000"),
    ("ACK of nothing new", "< . N:N(0) ack U win 5000"),
    ("ACK of nothing sent", "< . N:N(0) ack A+100 win 5000"),
    ("ACK, window 0", "< . N:N(0) ack A win 0"),
    ("ACK, number before", "< . N-1:N-1(0) ack A win 5000"),
    ("ACK, number far ahead", "< . N+90000:N+90000(0) ack A win 5000"),
    ("data", "< P. N:N+100(100) ack A win 5000"),
    ("data, nothing acknowledged", "< P. N:N+100(100) ack U win 5000"),
    ("data beyond a hole", "< P. N+100:N+200(100) ack A win 5000"),
    ("data from before", "< P. N-1:N+99(100) ack A win 5000"),
    ("data far ahead", "< P. N+90000:N+90100(100) ack A win 5000"),
    ("data without ACK", "< - N:N+100(100) win 5000"),
    ("urgent data", "< PU. N:N+100(100) ack A win 5000 urg 100"),
    ("FIN", "< F. N:N(0) ack A win 5000"),
    ("FIN, nothing acknowledged", "< F. N:N(0) ack U win 5000"),
    ("FIN with data", "< FP. N:N+100(100) ack A win 5000"),
    ("FIN beyond a hole", "< F. N+100:N+100(0) ack A win 5000"),
    ("FIN without ACK", "< F N:N(0) win 5000"),
    ("RST", "< R N:N(0) win 0"),
    ("RST, ACK", "< R. N:N(0) ack A win 0"),
    ("RST in the window", "< R N+10:N+10(0) win 0"),
    ("RST far ahead", "< R N+90000:N+90000(0) win 0"),
    ("RST from before", "< R N-1:N-1(0) win 0"),
    ("read", "read(4, ..., 1000) = 0"),
    ("write", "write(4, ..., 100) = 100"),
    ("shutdown of writing", "shutdown(4, SHUT_WR) = 0"),
    ("shutdown of reading", "shutdown(4, SHUT_RD) = 0"),
    ("connect", "connect(4, ..., ...) = 0"),
    ("listen", "listen(4, 1) = 0"),
    ("close", "close(4) = 0"),
    (
        "linger 0 and close",
        "setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0\n+0 close(4) = 0",
    ),
    ("nothing for 8 s", "SILENCE"),
];

/// `N+100` and its like as numbers.
fn numbers(text: &str, state: &State) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['N', 'A', 'U']) {
        let (before, from) = rest.split_at(at);
        let alone = !before.ends_with(|c: char| c.is_alphabetic() || c == '_')
            && !from[1..].starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '.');
        out.push_str(before);
        if !alone {
            out.push_str(&from[..1]);
            rest = &from[1..];
            continue;
        }
        let base = match from.as_bytes()[0] {
            b'N' => state.next,
            b'A' => state.ours,
            _ => state.una,
        };
        let digits: usize = match from.as_bytes().get(1) {
            Some(b'+' | b'-') => from[2..].bytes().take_while(u8::is_ascii_digit).count(),
            _ => 0,
        };
        let offset: u32 = if digits > 0 { from[2..2 + digits].parse().expect("digits") } else { 0 };
        let n = if digits > 0 && from.as_bytes()[1] == b'-' {
            base.wrapping_sub(offset)
        } else {
            base.wrapping_add(offset)
        };
        write!(out, "{n}").expect("text");
        rest = &from[if digits > 0 { 2 + digits } else { 1 }..];
    }
    out + rest
}

/// The script of one cell, and the line where the event stands; `None` where there is no such thing.
fn cell(state: &State, event: &str) -> Option<(String, u32)> {
    let call = !event.starts_with('<') && event != "SILENCE";
    if call && !state.fd {
        return None;
    }
    let mut text = SETTINGS.to_owned();
    let mut script = state.script;
    for (letter, part) in [("L", LISTEN), ("S", SYN), ("A", ACCEPTED)] {
        if let Some(rest) = script.strip_prefix(letter) {
            text += part;
            script = rest;
        }
    }
    text += script;
    let line = u32::try_from(text.lines().count()).expect("a short script") + 1;
    match event {
        "SILENCE" => {
            let fd = if state.fd { 4 } else { 3 };
            writeln!(text, "+8 getsockopt({fd}, SOL_SOCKET, SO_ERROR, [0], [4]) = 0").expect("text");
        }
        event => {
            writeln!(text, "+.02 {}", numbers(event, state)).expect("text");
            if state.fd && !event.contains("close(") {
                text += "+.08 read(4, ..., 1000) = 0\n";
            } else {
                text += "+.08 getsockopt(3, SOL_SOCKET, SO_ERROR, [0], [4]) = 0\n";
            }
        }
    }
    Some((text, line))
}

const NAMES: [&str; 12] = [
    "",
    "ESTABLISHED",
    "SYN-SENT",
    "SYN-RECEIVED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "CLOSED",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
];

/// Numbers far from any of the connection's are accidents of initial sequence numbers.
fn comparable(text: &str) -> String {
    let word = |w: &str| match w.split(':').next().map(str::parse::<u32>) {
        Some(Ok(n)) if n > 1 << 24 => "elsewhere".to_owned(),
        _ => w.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What came of it, in one line.
fn outcome(ran: &Ran, line: u32, silence: bool) -> String {
    let mut parts: Vec<(String, u32)> = Vec::new();
    let mut state = String::new();
    let closes = ran.outcome.happened.iter().any(|h| h.text.starts_with("close("));
    let mut add = |text: String| match parts.last_mut() {
        Some((last, n)) if *last == text => *n += 1,
        _ => parts.push((text, 1)),
    };
    for h in ran.outcome.happened.iter().filter(|h| h.line == 0 || h.line >= line) {
        match h.kind {
            HappenedKind::Outbound | HappenedKind::Stray if h.text.contains("icmp") => {}
            HappenedKind::Outbound | HappenedKind::Stray => add(format!("> {}", comparable(&h.text))),
            HappenedKind::Call if !h.text.contains("Expected") => {
                let (call, result) = h.text.split_once(" = ").unwrap_or((h.text.as_str(), ""));
                let name = call.split('(').next().unwrap_or_default();
                // The last call of a cell without a descriptor only lets time pass.
                if !(name == "getsockopt" || name == "setsockopt") || silence {
                    add(format!("{name} {result}"));
                }
            }
            // A closed descriptor's number may be another's.
            HappenedKind::Code if h.line >= line && !closes => {
                let n =
                    h.text.strip_prefix("state=").and_then(|t| t.split(' ').next()?.parse::<usize>().ok());
                state = n.and_then(|n| NAMES.get(n)).map_or(String::new(), |n| (*n).to_owned());
            }
            _ => {}
        }
    }
    let mut text: Vec<String> =
        parts.into_iter().map(|(t, n)| if n > 1 { format!("{t} ({n} times)") } else { t }).collect();
    if !state.is_empty() {
        text.push(format!("= {state}"));
    }
    if text.is_empty() { "nothing".into() } else { text.join("; ") }
}

fn atlas(host: &dyn Host, jobs: usize) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cells = Vec::new();
    for state in STATES {
        for (name, event) in EVENTS {
            if let Some((text, line)) = cell(state, event) {
                let path: PathBuf = dir.path().join(format!("{}.pkt", cells.len()));
                std::fs::write(&path, text).expect("written");
                cells.push((state, *name, line, *event == "SILENCE", path));
            }
        }
    }
    let cases: Vec<Case> =
        cells.iter().map(|c| Case { path: c.4.clone(), variant: Variant::Plain }).collect();
    let ran = suite::run_all(&cases, &[("observe".into(), None)], host, jobs, &|_| {});
    let mut text = String::new();
    let mut last = "";
    for ((state, name, line, silence, _), ran) in cells.iter().zip(&ran) {
        if state.name != last {
            last = state.name;
            writeln!(text, "\n{last}").expect("text");
        }
        writeln!(text, "  {name}: {}", outcome(ran, *line, *silence)).expect("text");
    }
    text
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/atlas.txt")
}

fn assert_same(got: &str) {
    let known = std::fs::read_to_string(file()).expect("the atlas");
    let differ: Vec<String> = known
        .lines()
        .zip(got.lines())
        .filter(|(k, g)| k != g)
        .map(|(k, g)| format!("atlas: {k}\n  here: {g}"))
        .collect();
    assert!(differ.is_empty(), "{} cells differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!(known.lines().count(), got.lines().count());
}

#[test]
fn every_state_answers_every_event_as_the_kernel_does() {
    let stack = StackHost { granularity: Granularity::Wheel { hz: 250 }, ..StackHost::default() };
    if std::env::var_os("ATLAS_WRITE").is_some() {
        let text = match Kernel.make(&Config::default()) {
            Ok(_) => atlas(&Kernel, 8),
            Err(_) => atlas(&stack, 2),
        };
        std::fs::write(file(), text).expect("written");
    }
    assert_same(&atlas(&stack, 2));
}

#[test]
#[ignore = "half a minute of the kernel's time; `cargo test -p drill --test atlas -- --ignored`"]
fn the_atlas_is_this_machines_kernels() {
    assert_same(&atlas(&Kernel, 8));
}
