//! Expectations as run: filters, counts, times and states, read and looked up.

use core::time::Duration;
use std::net::IpAddr;

use stack::DropReason;
use stack::mib::COUNTERS;
use stack::neigh::NudState;
use wire::filter::Filter;
use wire::{Instant, MacAddr};

use super::{Checks, Names};
use crate::diagnostic::suggest;
use crate::file::{self, Content, Count, LossWord, OneOrMany, Only};
use crate::source::{join, place};
use crate::values::{self, BadValue, CountRange, show};

/// An expectation as run.
#[derive(Clone, Debug)]
pub(crate) struct ExpectPlan {
    /// In one line.
    pub(crate) text: String,
    /// Line of the file.
    pub(crate) line: usize,
    pub(crate) only: Option<Only>,
    /// How far from a time is still right, in virtual time.
    pub(crate) tolerance: Duration,
    pub(crate) what: What,
}

/// A host and, if it matters, one interface of it (`eth1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlaceOf {
    pub(crate) host: usize,
    pub(crate) iface: Option<String>,
}

/// When packets must be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At any time.
    Any,
    /// Only those within this range count.
    Within(Instant, Instant),
    /// Exactly these, one at each time.
    Each(Vec<(Instant, Instant)>),
}

/// What must be seen.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Packet { filter: Filter, from: Option<PlaceOf>, to: Option<PlaceOf>, count: CountRange, when: When },
    Order { filters: Vec<Filter>, from: Option<PlaceOf>, to: Option<PlaceOf> },
    Neighbour { host: usize, addr: IpAddr, want: NeighbourWant },
    Counter { host: usize, name: String, value: CountRange },
    Output { host: usize, text: String, count: CountRange },
    Finding { text: String, count: CountRange },
    Dropped { host: usize, reason: DropReason, count: CountRange },
    Lost { cause: LossWord, count: CountRange },
    Table { host: usize, name: String, contains: String, count: CountRange },
    Socket { host: usize, local: LocalEnd, states: Vec<Option<&'static str>> },
}

/// The local end of sockets; what is `None` may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalEnd {
    pub(crate) addr: Option<IpAddr>,
    pub(crate) port: Option<u16>,
}

/// TCP's states as `ss` prints them (iproute2: misc/ss.c `sstate_name`).
const TCP_STATES: &[&str] = &[
    "LISTEN",
    "SYN-SENT",
    "SYN-RECV",
    "ESTAB",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
    "UNCONN",
];

/// What must be in the neighbour table.
#[derive(Clone, Debug)]
pub(crate) enum NeighbourWant {
    /// At a time (the end unless given): the state (`None`: no entry) and the MAC address, as far as given.
    At { at: Option<(Instant, Instant)>, state: Option<Option<NudState>>, lladdr: Option<MacAddr> },
    /// These states in this order; others may stand between them.
    Through(Vec<Option<NudState>>),
}

/// How far from a time is still right, unless the file says otherwise.
const DEFAULT_TOLERANCE: Duration = Duration::from_millis(5);

const KINDS: &[&str] =
    &["packet", "order", "neighbour", "socket", "counter", "output", "finding", "dropped", "lost", "table"];

pub(crate) fn plan(checks: &mut Checks<'_>, content: &Content, names: &Names) -> Vec<ExpectPlan> {
    let mut plans = Vec::new();
    for (i, expect) in content.expect.iter().enumerate() {
        let path = place!("expect", i);
        let before = checks.found.len();
        let mut reader = Reader { checks, path, expect, names };
        let what = reader.read();
        let tolerance = reader.tolerance();
        let line = reader.line();
        if let Some(what) = what
            && reader.checks.found.len() == before
        {
            let text = describe(&what, names);
            plans.push(ExpectPlan { text, line, only: expect.only, tolerance, what });
        }
    }
    plans
}

struct Reader<'a, 'b> {
    checks: &'a mut Checks<'b>,
    path: String,
    expect: &'a file::Expect,
    names: &'a Names,
}

impl Reader<'_, '_> {
    fn at(&self, field: &str) -> String {
        join(&self.path, field)
    }

    fn line(&self) -> usize {
        let given = KINDS.iter().find_map(|k| self.checks.source.key(&self.at(k)));
        self.checks.source.diagnostic(given, "").position().map_or(0, |(line, _)| line)
    }

    fn tolerance(&mut self) -> Duration {
        let at = self.at("tolerance");
        let read = self.expect.tolerance.as_ref().and_then(|t| self.checks.value(&at, values::duration(t)));
        read.unwrap_or(DEFAULT_TOLERANCE)
    }

    fn read(&mut self) -> Option<What> {
        let file::Expect {
            packet,
            order,
            neighbour,
            socket,
            counter,
            output,
            finding,
            dropped,
            lost,
            table,
            ..
        } = self.expect;
        let given = [
            packet.is_some(),
            order.is_some(),
            neighbour.is_some(),
            socket.is_some(),
            counter.is_some(),
            output.is_some(),
            finding.is_some(),
            dropped.is_some(),
            lost.is_some(),
            table.is_some(),
        ];
        let kinds: Vec<&str> = KINDS.iter().copied().zip(given).filter(|(_, g)| *g).map(|(k, _)| k).collect();
        let [kind] = kinds[..] else {
            let message =
                if kinds.is_empty() { "this expects nothing" } else { "this expects several things at once" };
            self.checks.at_key(&self.path, message, format!("write exactly one of {}", KINDS.join(", ")));
            return None;
        };
        self.misplaced(kind);
        match kind {
            "packet" => self.packet(),
            "order" => self.order(),
            "neighbour" => self.neighbour(),
            "socket" => self.socket(),
            "counter" => self.counter(),
            "output" => {
                let text = self.expect.output.clone()?;
                let count = self.count(CountRange::AT_LEAST_ONE);
                Some(What::Output { host: self.on()?, text, count })
            }
            "finding" => {
                let text = self.expect.finding.clone()?;
                let count = self.count(CountRange::AT_LEAST_ONE);
                Some(What::Finding { text, count })
            }
            "dropped" => self.dropped(),
            "lost" => {
                let count = self.count(CountRange::AT_LEAST_ONE);
                Some(What::Lost { cause: self.expect.lost?, count })
            }
            _ => {
                let Some(contains) = self.expect.contains.clone() else {
                    let help = "add contains = \"192.0.2.2\"".to_string();
                    self.checks.at_key(&self.at("table"), "`table` needs `contains`", help);
                    return None;
                };
                let count = self.count(CountRange::AT_LEAST_ONE);
                Some(What::Table { host: self.on()?, name: self.expect.table.clone()?, contains, count })
            }
        }
    }

    /// Fields that mean nothing with this kind of expectation would be silently useless: they are errors.
    fn misplaced(&mut self, kind: &str) {
        let allowed: &[&str] = match kind {
            "packet" => &["from", "to", "count", "at", "tolerance"],
            "order" => &["from", "to"],
            "neighbour" => &["on", "state", "lladdr", "at", "tolerance"],
            "socket" => &["on", "state"],
            "counter" => &["on", "value"],
            "output" | "dropped" => &["on", "count"],
            "finding" | "lost" => &["count"],
            _ => &["on", "contains", "count"],
        };
        let all = ["from", "to", "count", "at", "tolerance", "state", "lladdr", "value", "contains", "on"];
        for field in all {
            let at = self.at(field);
            if self.checks.source.has(&at) && !allowed.contains(&field) {
                let help = format!("with `{kind}` there may stand {}", allowed.join(", "));
                self.checks.at_key(&at, format!("`{field}` means nothing with `{kind}`"), help);
            }
        }
    }

    fn on(&mut self) -> Option<usize> {
        let at = self.at("on");
        match &self.expect.on {
            Some(name) => self.checks.host(&at, name, self.names),
            None if self.names.hosts.len() == 1 => Some(0),
            None => {
                let path = self.path.clone();
                self.checks.at_key(&path, "on which host?", "add on = \"client\"".to_string());
                None
            }
        }
    }

    fn count(&mut self, default: CountRange) -> CountRange {
        let at = self.at("count");
        self.range(&at, self.expect.count.clone()).unwrap_or(default)
    }

    fn range(&mut self, at: &str, count: Option<Count>) -> Option<CountRange> {
        match count? {
            Count::Exactly(n) => Some(CountRange::exactly(n)),
            Count::Range(text) => self.checks.value(at, values::count(&text)),
        }
    }

    fn filter(&mut self, at: &str, text: &str) -> Option<Filter> {
        let read = Filter::parse(text).map_err(|e| BadValue {
            part: e.offset..e.offset + e.len,
            message: e.message.clone(),
            help: e.hint.clone(),
        });
        self.checks.value(at, read)
    }

    fn place(&mut self, field: &str, text: &Option<String>) -> Option<PlaceOf> {
        let text = text.as_ref()?;
        let at = self.at(field);
        let (name, iface) = match text.split_once(':') {
            Some((name, iface)) => (name, Some(iface)),
            None => (text.as_str(), None),
        };
        let Some(host) = self.names.host(name) else {
            let help = suggest(name, self.names.host_names());
            self.checks.inside(&at, 0..name.len(), format!("no host is named `{name}`"), help);
            return None;
        };
        let ifaces = &self.names.hosts[host].ifaces;
        if let Some(iface) = iface
            && !ifaces.iter().any(|i| i == iface)
        {
            let help = suggest(iface, ifaces.iter().map(String::as_str));
            let message = format!("`{name}` has no interface `{iface}`");
            self.checks.inside(&at, name.len() + 1..text.len(), message, help);
        }
        Some(PlaceOf { host, iface: iface.map(str::to_string) })
    }

    fn packet(&mut self) -> Option<What> {
        let at = self.at("packet");
        let filter = self.filter(&at, self.expect.packet.as_ref()?)?;
        let (from, to) = (self.place("from", &self.expect.from), self.place("to", &self.expect.to));
        let when = self.when();
        let default = match &when {
            When::Each(times) => CountRange::exactly(times.len() as u64), // lengths fit
            When::Any | When::Within(..) => CountRange::AT_LEAST_ONE,
        };
        let count = self.count(default);
        Some(What::Packet { filter, from, to, count, when })
    }

    fn when(&mut self) -> When {
        let at = self.at("at");
        match &self.expect.at {
            None => When::Any,
            Some(OneOrMany::One(text)) => match self.checks.value(&at, values::range(text)) {
                Some((from, to)) => When::Within(from, to),
                None => When::Any,
            },
            Some(OneOrMany::Many(list)) => When::Each(
                list.iter()
                    .enumerate()
                    .filter_map(|(i, text)| {
                        self.checks.value(&join(&at, &i.to_string()), values::range(text))
                    })
                    .collect(),
            ),
        }
    }

    fn order(&mut self) -> Option<What> {
        let at = self.at("order");
        let list = self.expect.order.as_ref()?;
        let filters: Vec<Filter> = list
            .iter()
            .enumerate()
            .filter_map(|(i, text)| self.filter(&join(&at, &i.to_string()), text))
            .collect();
        let (from, to) = (self.place("from", &self.expect.from), self.place("to", &self.expect.to));
        Some(What::Order { filters, from, to })
    }

    /// `:80`, `server:80`, `192.0.2.1:*`, and the states.
    fn socket(&mut self) -> Option<What> {
        let text = self.expect.socket.as_ref()?;
        let (at, state_at) = (self.at("socket"), self.at("state"));
        let read = || {
            let (host, port) = text.rsplit_once(':')?;
            let port = if port == "*" { None } else { Some(port.parse().ok()?) };
            let addr = match (host, self.names.host(host)) {
                ("" | "*", _) => None,
                (_, Some(host)) => self.names.hosts[host].ipv4,
                (other, None) => Some(other.parse().ok()?),
            };
            Some(LocalEnd { addr, port })
        };
        let Some(local) = read() else {
            let help = "write `:80`, `server:80` or `192.0.2.1:*`".to_string();
            self.checks.at_value(&at, format!("`{text}` is no local end of a socket"), help);
            return None;
        };
        let Some(list) = &self.expect.state else {
            self.checks.at_key(
                &at,
                "`socket` needs `state`",
                "add state = [\"SYN-SENT\", \"ESTAB\"]".to_string(),
            );
            return None;
        };
        let mut states = Vec::new();
        for word in list.as_slice() {
            match TCP_STATES.iter().find(|s| *s == word) {
                Some(state) => states.push(Some(*state)),
                None if word == "none" => states.push(None),
                None => {
                    let help = suggest(word, TCP_STATES.iter().copied().chain(["none"]))
                        .unwrap_or_else(|| format!("use {} or none", TCP_STATES.join(", ")));
                    self.checks.at_value(&state_at, format!("`{word}` is no state of a TCP socket"), help);
                }
            }
        }
        Some(What::Socket { host: self.on()?, local, states })
    }

    fn neighbour(&mut self) -> Option<What> {
        let text = self.expect.neighbour.as_ref()?;
        let at = self.at("neighbour");
        let addr: Option<IpAddr> = match self.names.host(text) {
            Some(host) => self.names.hosts[host].ipv4.or(self.names.hosts[host].ipv6),
            None => text.parse().ok(),
        };
        let Some(addr) = addr else {
            let help = suggest(text, self.names.host_names());
            self.checks.at_value(&at, format!("`{text}` is neither an address nor a host"), help);
            return None;
        };
        let host = self.on()?;
        let state_at = self.at("state");
        if let Some(OneOrMany::Many(list)) = &self.expect.state {
            if self.expect.at.is_some() || self.expect.lladdr.is_some() {
                let help = "a list of states has no time; write one state with `at` for that".to_string();
                self.checks.at_key(&state_at, "a list of states together with `at` or `lladdr`", help);
            }
            let states = list
                .iter()
                .enumerate()
                .filter_map(|(i, text)| self.checks.value(&join(&state_at, &i.to_string()), state(text)))
                .collect();
            return Some(What::Neighbour { host, addr, want: NeighbourWant::Through(states) });
        }
        let state = match &self.expect.state {
            Some(OneOrMany::One(text)) => self.checks.value(&state_at, state(text)),
            _ => None,
        };
        let lladdr = self.lladdr();
        if state.is_none() && lladdr.is_none() {
            self.checks.at_key(
                &at,
                "nothing is said about the neighbour",
                "add state = \"REACHABLE\"".to_string(),
            );
        }
        let time = match self.when() {
            When::Any => None,
            When::Within(from, to) => Some((from, to)),
            When::Each(_) => {
                self.checks.at_value(&self.at("at"), "one time is enough for a state", None);
                None
            }
        };
        Some(What::Neighbour { host, addr, want: NeighbourWant::At { at: time, state, lladdr } })
    }

    fn lladdr(&mut self) -> Option<MacAddr> {
        let text = self.expect.lladdr.as_ref()?;
        let host = self.names.host(text).and_then(|h| self.names.hosts[h].mac);
        let mac = host.or_else(|| text.parse().ok());
        if mac.is_none() {
            let help = suggest(text, self.names.host_names());
            self.checks.at_value(
                &self.at("lladdr"),
                format!("`{text}` is neither a host nor a MAC address"),
                help,
            );
        }
        mac
    }

    fn counter(&mut self) -> Option<What> {
        let name = self.expect.counter.clone()?;
        let at = self.at("counter");
        if !COUNTERS.iter().any(|(_, n)| *n == name) {
            let help = suggest(&name, COUNTERS.iter().map(|(_, n)| *n));
            self.checks.at_value(&at, format!("nstat has no counter `{name}`"), help);
        }
        let value_at = self.at("value");
        let Some(value) = self.range(&value_at, self.expect.value.clone()) else {
            if self.expect.value.is_none() {
                self.checks.at_key(
                    &at,
                    "`counter` needs `value`",
                    "add value = 1, or value = \"1..\"".to_string(),
                );
            }
            return None;
        };
        Some(What::Counter { host: self.on()?, name, value })
    }

    fn dropped(&mut self) -> Option<What> {
        let text = self.expect.dropped.as_ref()?;
        let Some(reason) = DropReason::from_name(text) else {
            let help = suggest(text, DropReason::ALL.iter().map(|r| r.name()));
            self.checks.at_value(&self.at("dropped"), format!("no drop reason is named `{text}`"), help);
            return None;
        };
        let count = self.count(CountRange::AT_LEAST_ONE);
        Some(What::Dropped { host: self.on()?, reason, count })
    }
}

const STATES: &[NudState] = &[
    NudState::Incomplete,
    NudState::Reachable,
    NudState::Stale,
    NudState::Delay,
    NudState::Probe,
    NudState::Failed,
    NudState::Noarp,
    NudState::Permanent,
];

fn state(text: &str) -> Result<Option<NudState>, BadValue> {
    if text == "none" {
        return Ok(None);
    }
    STATES.iter().find(|s| s.name() == text).map(|s| Some(*s)).ok_or_else(|| {
        let help = suggest(text, STATES.iter().map(|s| s.name()).chain(["none"])).unwrap_or_default();
        BadValue::new(text, format!("`{text}` is no state of a neighbour"), help)
    })
}

fn show_range(range: &(Instant, Instant)) -> String {
    match range {
        (from, to) if from == to => show(*from),
        (from, to) if *to == Instant::FAR_FUTURE => format!("{}..", show(*from)),
        (from, to) => format!("{}..{}", show(*from), show(*to)),
    }
}

fn describe(what: &What, names: &Names) -> String {
    let host = |h: &usize| names.hosts[*h].name.as_str();
    let place = |word: &str, p: &Option<PlaceOf>| match p {
        None => String::new(),
        Some(PlaceOf { host: h, iface: None }) => format!(" {word} {}", host(h)),
        Some(PlaceOf { host: h, iface: Some(i) }) => format!(" {word} {}:{i}", host(h)),
    };
    let name = |s: &Option<NudState>| s.map_or("none", NudState::name);
    match what {
        What::Packet { filter, from, to, count, when } => {
            let times = match when {
                When::Any => String::new(),
                When::Within(from, to) => format!(" at {}", show_range(&(*from, *to))),
                When::Each(list) => {
                    format!(" at {}", list.iter().map(show_range).collect::<Vec<_>>().join(", "))
                }
            };
            format!("packets `{}`{}{}: {count}{times}", filter.as_str(), place("from", from), place("to", to))
        }
        What::Order { filters, from, to } => {
            let list: Vec<&str> = filters.iter().map(Filter::as_str).collect();
            format!("packets{}{} in this order: {}", place("from", from), place("to", to), list.join(" → "))
        }
        What::Neighbour { host: h, addr, want } => {
            let mut text = format!("{addr} in the neighbour table of {}", host(h));
            match want {
                NeighbourWant::Through(states) => {
                    text +=
                        &format!(" goes through {}", states.iter().map(name).collect::<Vec<_>>().join(" → "));
                }
                NeighbourWant::At { at, state, lladdr } => {
                    if let Some(state) = state {
                        text += &format!(" is {}", name(state));
                    }
                    if let Some(mac) = lladdr {
                        text += &format!(" at {mac}");
                    }
                    text +=
                        &at.as_ref().map_or(", at the end".into(), |t| format!(", time {}", show_range(t)));
                }
            }
            text
        }
        What::Counter { host: h, name, value } => format!("{name} of {} is {value}", host(h)),
        What::Output { host: h, text, count } => {
            format!("lines with `{text}` printed on {}: {count}", host(h))
        }
        What::Finding { text, count } => format!("sentences of the explanation with `{text}`: {count}"),
        What::Dropped { host: h, reason, count } => {
            format!("packets dropped by {} for {}: {count}", host(h), reason.name())
        }
        What::Lost { cause, count } => format!("packets lost on the wire by {}: {count}", cause.word()),
        What::Table { host: h, name, contains, count } => {
            format!("lines of `{name}` on {} with `{contains}`: {count}", host(h))
        }
        What::Socket { host: h, local, states } => {
            let addr = local.addr.map_or_else(|| "*".to_string(), |a| a.to_string());
            let port = local.port.map_or_else(|| "*".to_string(), |p| p.to_string());
            let states: Vec<&str> = states.iter().map(|s| s.unwrap_or("none")).collect();
            format!("sockets at {addr}:{port} on {} go through {}", host(h), states.join(" → "))
        }
    }
}
