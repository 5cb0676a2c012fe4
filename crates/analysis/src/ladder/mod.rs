//! The ladder: time downwards, a column per host, packets as arrows between them. Data first ([`Row`]s,
//! which `--json` prints), text second ([`Ladder::render`]).
//!
//! Two hosts stand left and right with their states outside; three have a lifeline each; more are a list
//! `client -> router  words`. Colour and Unicode only help: everything is said in words too.

mod canvas;
mod events;
mod fold;
mod rows;
mod text;

use core::time::Duration;

pub(crate) use text::{span, wrap};
/// Words for losses, shared with the comparison of runs.
pub(crate) mod events_words {
    pub(crate) use super::events::loss_words;
}
/// Text of an exact width.
pub(crate) mod text_width {
    use super::canvas::{cut, width};

    /// `text` cut or filled with blanks to `columns`.
    pub(crate) fn pad(text: &str, columns: usize) -> String {
        let text = cut(text, columns, true);
        let missing = columns.saturating_sub(width(&text));
        text + &" ".repeat(missing)
    }
}

use serde::Serialize;
use stack::record::{Journal, NodeKind};

use wire::filter::Filter;

use crate::dissect::Dissection;
use crate::housekeeping::Housekeeping;
use crate::traffic::{Traffic, Transmission};

/// Widest line ever printed, unless the caller asks for more.
pub const WIDTH: usize = 100;

/// What to show.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first line: the scenario's name and question, or the file's name.
    pub title: Option<String>,
    /// Only these packets, with the numbers and times that they have among all.
    pub filter: Option<Filter>,
    /// The calls of `ping` and `traceroute` are shown, and repeated rows one by one instead of `the same 29 times more`.
    pub unfold: bool,
    /// A silence this long gets a row of its own; zero for never.
    pub idle: Duration,
    /// System calls and their results.
    pub calls: bool,
    /// How the hosts were set up before anything happened, the routes that come with every address, and
    /// IPv6's housekeeping where IPv6 does nothing else.
    pub setup: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            title: None,
            filter: None,
            unfold: false,
            idle: Duration::from_secs(3),
            calls: true,
            setup: false,
        }
    }
}

impl Options {
    /// Whether the filter lets a packet through.
    pub fn shows(&self, t: &Transmission) -> bool {
        let matches = |f: &Filter| f.matches(&wire::packet::Packet::parse(&t.view.bytes, t.medium));
        self.filter.as_ref().is_none_or(matches)
    }
}

/// A host of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its number in the journal.
    pub node: u32,
    /// Its name.
    pub name: String,
    /// Its addresses at the start, without prefix lengths.
    pub addrs: Vec<String>,
    /// `stack`, `linux 6.18.44`, `seen`.
    pub on: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// When, in nanoseconds from the journal's zero.
    pub at_ns: u64,
    /// What.
    pub what: RowKind,
    /// The records it shows, as indices into the journal.
    pub records: Vec<usize>,
}

/// The kinds of row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "row", rename_all = "kebab-case")]
pub enum RowKind {
    /// A packet.
    Packet(Box<PacketRow>),
    /// Something else at one host.
    Event(EventRow),
    /// Nothing happened for a while.
    Idle {
        /// How long.
        ns: u64,
    },
    /// The rows before came again and again.
    Folded {
        /// How many rows make one turn.
        period: usize,
        /// How often they came again.
        times: usize,
        /// The first and last packet left out.
        packets: Option<(u32, u32)>,
        /// When the last of them happened.
        until_ns: u64,
        /// They are alike, not the same: descriptors, ports and other numbers differ.
        alike: bool,
    },
}

/// A packet's row: both ends of its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PacketRow {
    /// `#3`: what the explanation and the capture cite.
    pub number: u32,
    /// The sender's column; `None` when the sender is no column (a packet seen only on arrival).
    pub from: Option<usize>,
    /// The receivers' columns; where it was lost on its way, the columns it was meant for.
    pub to: Vec<usize>,
    /// tcpdump's words, short; of a packet whose content is known, the content's words ([`crate::dissect`]).
    pub words: String,
    /// tcpdump's words, in full.
    pub long: String,
    /// Length in bytes, link-layer header included.
    pub len: usize,
    /// When it arrived where.
    pub arrivals: Vec<ArrivalAt>,
    /// It arrived nowhere.
    pub lost: bool,
    /// Why it was lost somewhere, in words.
    pub causes: Vec<String>,
    /// What was done to it without losing it.
    pub altered: Vec<String>,
    /// What happened at the sender just before.
    pub before: Vec<Label>,
    /// What happened at a receiver because of it.
    pub after: Vec<Label>,
}

/// An arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArrivalAt {
    /// The receiver's column.
    pub column: usize,
    /// When.
    pub at_ns: u64,
}

/// Words beside an arrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Whose.
    pub column: usize,
    /// When.
    pub at_ns: u64,
    /// What kind.
    pub kind: EventKind,
    /// The words.
    pub text: String,
    /// The record.
    pub record: usize,
}

/// A row that is no packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// At which column.
    pub column: usize,
    /// What kind.
    pub kind: EventKind,
    /// The words.
    pub text: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A neighbour entry, a socket, an address, a link changed its state.
    State,
    /// A packet was dropped.
    Drop,
    /// A timer ran.
    Timer,
    /// A system call or its result.
    Call,
    /// A result that the scenario did not expect.
    Unexpected,
    /// A command changed the host.
    Admin,
    /// A sentence.
    Note,
}

/// The whole picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ladder {
    /// Its first line.
    pub title: Option<String>,
    /// The hosts, from left to right.
    pub columns: Vec<Column>,
    /// What happened, in order.
    pub rows: Vec<Row>,
    /// Packets that have no row: IPv6's housekeeping (see [`Options::setup`]).
    pub hidden: Vec<u32>,
    /// The faults of the scenario in its words, to be cited as `fault 1`.
    pub faults: Vec<String>,
}

impl Ladder {
    /// Draws a journal.
    pub fn new(journal: &Journal, options: &Options) -> Ladder {
        Ladder::with_traffic(journal, &Traffic::of(journal), options)
    }

    /// Draws a journal whose packets have been followed already.
    pub fn with_traffic(journal: &Journal, traffic: &Traffic, options: &Options) -> Ladder {
        Ladder::dissected(journal, traffic, &Dissection::of(journal, traffic), options)
    }

    /// Draws a journal whose packets have been followed and taken apart already.
    pub fn dissected(
        journal: &Journal,
        traffic: &Traffic,
        dissection: &Dissection,
        options: &Options,
    ) -> Ladder {
        let columns = columns(journal, traffic, options);
        let hidden = if options.setup { Housekeeping::default() } else { Housekeeping::of(journal, traffic) };
        let mut rows = rows::of(journal, (traffic, dissection), &columns, options, &hidden);
        if !options.unfold {
            rows = fold::repeats(rows);
        }
        if !options.idle.is_zero() {
            rows = fold::idle(rows, options.idle);
        }
        let by_filter = |n: &u32| {
            options.filter.is_none() || traffic.numbered().any(|t| t.number == *n && options.shows(t))
        };
        let hidden = hidden.packets.into_iter().filter(by_filter).collect();
        Ladder { title: options.title.clone(), columns, rows, hidden, faults: journal.faults.clone() }
    }

    /// The ladder as text, lines of at most `width` columns (at least 60). `color` adds ANSI colours,
    /// `unicode` draws lines and arrows with box characters instead of `-->` and `x`.
    pub fn render(&self, width: usize, color: bool, unicode: bool) -> String {
        text::render(self, width.max(60), color, unicode)
    }
}

/// Every host that has something to show; switches are part of the wire.
fn columns(journal: &Journal, traffic: &Traffic, options: &Options) -> Vec<Column> {
    let mut used = vec![false; journal.nodes.len()];
    let mut use_node = |node: stack::record::NodeId| {
        if let Some(u) = used.get_mut(node.0 as usize) {
            *u = true;
        }
    };
    if options.filter.is_some() {
        for t in traffic.numbered().filter(|t| options.shows(t)) {
            use_node(t.from);
            t.arrivals.iter().for_each(|a| use_node(a.node));
        }
    } else {
        journal.records.iter().for_each(|r| use_node(r.node));
    }
    let shown = journal.nodes.iter().enumerate().filter(|(i, n)| used[*i] && n.kind != NodeKind::Switch);
    shown
        .map(|(i, n)| Column {
            node: u32::try_from(i).expect("NodeId is 32 bits"),
            name: n.name.clone(),
            addrs: shown_addrs(n),
            on: match &n.kind {
                NodeKind::Stack => "stack".to_string(),
                NodeKind::Linux(release) => format!("linux {release}"),
                NodeKind::Switch => "switch".to_string(),
                NodeKind::Seen => "seen".to_string(),
            },
        })
        .collect()
}

/// A host's own addresses: not loopback, and link-local ones only when there are no others.
fn shown_addrs(node: &stack::record::NodeInfo) -> Vec<String> {
    let all: Vec<std::net::IpAddr> =
        node.ifaces.iter().flat_map(|i| i.addrs.iter().map(|a| a.0)).filter(|a| !a.is_loopback()).collect();
    // An address in a capture of several interfaces is one.
    let all: Vec<std::net::IpAddr> =
        all.iter().enumerate().filter(|(i, a)| !all[..*i].contains(a)).map(|(_, a)| *a).collect();
    let is_link_local = |a: &std::net::IpAddr| match a {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    let global: Vec<String> = all.iter().filter(|a| !is_link_local(a)).map(ToString::to_string).collect();
    if global.is_empty() { all.iter().map(ToString::to_string).collect() } else { global }
}

#[cfg(test)]
mod tests;
