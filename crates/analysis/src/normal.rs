//! Packets, calls and states of a run in a form in which two runs can be compared: whatever a kernel
//! chooses at random, or numbers as it likes, gets a name by order of appearance.
//!
//! The rules, all of them:
//!
//! 1. MAC addresses become `host/interface` where the journal knows them, else `mac-1`, `mac-2` …
//! 2. Ports of the ephemeral range (`ip_local_port_range` 32768–60999) become `port-1` …, together with the address
//!    whose they are: a tunnel's source port is a hash (RFC 7348 §5) with a secret that all namespaces of one kernel share.
//! 3. IPv4 identifications count only in fragments, and there by order (`id-1`); IPv6 flow labels and
//!    all checksums do not count.
//! 4. ICMP echo identifiers become `echo-1` …; echo data counts by length only (ping writes the time).
//! 5. IPv6 link-local addresses become `host/interface` where known, else `fe80-1` ….
//! 6. TCP numbers are relative; timestamp values do not count.
//! 7. Group membership reports, router solicitations and DAD probes leave after random delays: each kind
//!    is a set of its own per interface, without times and order; reports count by group, once.
//! 8. Of neighbour states, INCOMPLETE and DELAY do not count: `RTNLGRP_NEIGH` does not report them.
//!    Nor does NOARP, which needs no resolution. The same state twice in a row counts once. The time of REACHABLE → STALE does not count: the reachable
//!    time is random, 15 to 45 s (RFC 4861 §6.3.2); and when it is the last that a neighbour did in one run, the other
//!    may end with REACHABLE, if it ended within 45 s of that.
//! 9. Binary data in the text of calls (strings with escapes) does not count: it holds the same ports,
//!    identifiers and times as the packets, which are compared. Nor do the fields of `TCP_INFO`: round trips and what
//!    follows from them are measured; scripts say which ones must hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;
use stack::neigh::NudState;
use stack::record::{Journal, NodeId, What};
use wire::icmpv6::Message as Icmpv6;
use wire::{Instant, MacAddr, icmpv4, icmpv6, igmp, ndp};

use crate::ladder::events_words;
use crate::meaning::{Flows, Names, words};
use crate::traffic::{Traffic, Transmission, node_name};
use crate::view::{Layer, View};

/// What a sequence is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Packets that left an interface.
    Packets,
    /// Results of a program's calls.
    Calls,
    /// States of a neighbour entry.
    Neighbour,
    /// Packets that a stack dropped.
    Drops,
}

/// One thing that happened, ready to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What counts.
    pub key: String,
    /// For people.
    pub words: String,
    /// When.
    pub at: Instant,
    /// Its record.
    pub record: usize,
    /// The packet's number.
    pub number: Option<u32>,
    /// Its time is random by design.
    pub any_time: bool,
    /// It is REACHABLE → STALE, which comes when nothing confirmed the entry for a random time.
    pub ages: bool,
}

/// Things whose order counts.
pub type Lane = Vec<Item>;

/// All sequences of a journal, by class and place (`client eth0`, `client program ping`).
pub fn lanes(journal: &Journal) -> BTreeMap<(Class, String), Lane> {
    let mut lanes: BTreeMap<(Class, String), Lane> = BTreeMap::new();
    packet_lanes(journal, &mut lanes);
    let mut ports = Numbered::default();
    let mut last: BTreeMap<(u32, IpAddr), NudState> = BTreeMap::new();
    let mut calls: BTreeMap<(u32, u32, u32), &str> = BTreeMap::new();
    let mut macs = Macs::of(journal);
    for (record, r) in journal.records.iter().enumerate() {
        let name = node_name(journal, r.node);
        let mut push = |class, place: String, key: String, words: String, any_time| {
            let ages = class == Class::Neighbour && any_time;
            let item = Item { key, words, at: r.at, record, number: None, any_time, ages };
            lanes.entry((class, place)).or_default().push(item);
        };
        match &r.what {
            What::Call { program, seq, text } => {
                calls.insert((r.node.0, *program, *seq), text);
            }
            What::Return { program, seq, text, .. } => {
                let call = calls.get(&(r.node.0, *program, *seq)).copied().unwrap_or("?");
                let words = format!("{call} = {text}");
                let key = without_info(&without_binary(&normal_ports(&words, &mut ports)));
                let programs = journal.nodes.get(r.node.0 as usize).map(|n| n.programs.as_slice());
                let program_name =
                    programs.and_then(|p| p.get(*program as usize)).map_or("?", String::as_str);
                push(Class::Calls, format!("{name} program {program_name}"), key, words, false);
            }
            What::Neigh { addr, lladdr, to, .. } => {
                let before = match to {
                    Some(state) => last.insert((r.node.0, *addr), *state),
                    None => last.remove(&(r.node.0, *addr)),
                };
                let counted = !matches!(to, Some(NudState::Incomplete | NudState::Delay | NudState::Noarp));
                if counted && before != *to {
                    let state = to.map_or("removed", NudState::name);
                    let mac = lladdr.map_or(String::new(), |m| format!(" {}", macs.of_addr(m)));
                    let key = format!("{addr} {state}{mac}");
                    let random = matches!(to, Some(NudState::Stale)) && before == Some(NudState::Reachable);
                    push(Class::Neighbour, format!("{name} neighbour {addr}"), key.clone(), key, random);
                }
            }
            What::Drop { reason, .. } => {
                let key = reason.name().to_string();
                push(Class::Drops, name.to_string(), key.clone(), format!("drop {key}"), false);
            }
            _ => {}
        }
    }
    lanes
}

fn packet_lanes(journal: &Journal, lanes: &mut BTreeMap<(Class, String), Lane>) {
    let traffic = Traffic::of(journal);
    let mut normal = Normal { macs: Macs::of(journal), ..Normal::default() };
    let mut flows = Flows::without_ports();
    for t in traffic.numbered() {
        let text = words(&t.view, &mut flows, &Names::default());
        let place = format!("{} {}", node_name(journal, t.from), iface_name(journal, t.from, t.ifindex));
        let fate = fate(t);
        let number = Some(t.number);
        let item = |key: String, any_time| Item {
            key,
            words: format!("{}{fate}", text.short),
            at: t.at,
            record: t.record,
            number,
            any_time,
            ages: false,
        };
        match background(&t.view) {
            Some(Background::Reports(groups)) => {
                let lane = lanes.entry((Class::Packets, format!("{place} group reports"))).or_default();
                for key in groups {
                    // Reports are repeated `robustness` times, or merged: once is enough.
                    if lane.iter().all(|i| i.key != key) {
                        lane.push(item(key, true));
                    }
                }
                lane.sort_by(|a, b| a.key.cmp(&b.key));
            }
            Some(Background::Alone(kind)) => {
                let key = normal.key(&t.view, &mut flows) + &fate;
                let place = format!("{place} {kind}");
                let lane = lanes.entry((Class::Packets, place)).or_default();
                lane.push(item(key, true));
                // Each address has a delay of its own: only how often each is asked for counts.
                lane.sort_by(|a, b| a.key.cmp(&b.key));
            }
            None => {
                let key = normal.key(&t.view, &mut flows) + &fate;
                lanes.entry((Class::Packets, place)).or_default().push(item(key, false));
            }
        }
    }
}

/// What became of a packet, when it did not simply arrive.
fn fate(t: &Transmission) -> String {
    let mut causes: Vec<String> = t.losses.iter().map(|l| events_words::loss_words(&l.cause)).collect();
    causes.dedup();
    if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) }
}

enum Background {
    /// Membership reports: one key per group and what is said of it.
    Reports(Vec<String>),
    /// A kind of packet with a random delay.
    Alone(&'static str),
}

fn background(view: &View) -> Option<Background> {
    match view.layers.last()? {
        Layer::Icmpv6(Icmpv6::MldReportV2 { records }) => {
            let records = icmpv6::mld_records(view.payload(), *records).map_while(Result::ok);
            Some(Background::Reports(
                records.map(|r| format!("{} kind {}", r.group, membership(r.kind.0))).collect(),
            ))
        }
        Layer::Icmpv6(Icmpv6::MldReportV1 { group }) => {
            Some(Background::Reports(vec![format!("{group} v1")]))
        }
        Layer::Icmpv6(Icmpv6::MldDone { group }) => Some(Background::Reports(vec![format!("{group} done")])),
        Layer::Igmp(igmp::Message::ReportV3 { records }) => {
            let records = igmp::igmp_records(view.payload(), *records).map_while(Result::ok);
            Some(Background::Reports(
                records.map(|r| format!("{} kind {}", r.group, membership(r.kind.0))).collect(),
            ))
        }
        Layer::Icmpv6(Icmpv6::Ndp(ndp::Message::RouterSolicit)) => {
            Some(Background::Alone("router solicitations"))
        }
        Layer::Icmpv6(Icmpv6::Ndp(ndp::Message::NeighborSolicit { .. }))
            if view.ip().is_some_and(|ip| ip.src.is_unspecified()) =>
        {
            Some(Background::Alone("DAD probes"))
        }
        _ => None,
    }
}

/// A report of the state and a report of the change into it say the same.
fn membership(kind: u8) -> &'static str {
    match kind {
        1 | 3 => "include",
        2 | 4 => "exclude",
        5 => "allow",
        _ => "block",
    }
}

fn iface_name(journal: &Journal, node: NodeId, ifindex: u32) -> String {
    let iface =
        journal.nodes.get(node.0 as usize).and_then(|n| n.ifaces.iter().find(|i| i.ifindex == ifindex));
    iface.map_or_else(|| format!("if{ifindex}"), |i| i.name.clone())
}

/// Values named by order of appearance.
#[derive(Clone, Debug, Default)]
struct Numbered {
    seen: BTreeMap<String, usize>,
}

impl Numbered {
    fn name(&mut self, kind: &str, value: impl ToString) -> String {
        let next = self.seen.len() + 1;
        let n = self.seen.entry(value.to_string()).or_insert(next);
        format!("{kind}-{n}")
    }
}

#[derive(Clone, Debug, Default)]
struct Macs {
    known: BTreeMap<MacAddr, String>,
    link_local: BTreeMap<IpAddr, String>,
    unknown: Numbered,
}

impl Macs {
    fn of(journal: &Journal) -> Macs {
        let mut macs = Macs::default();
        for node in &journal.nodes {
            for iface in &node.ifaces {
                let name = format!("{}/{}", node.name, iface.name);
                if iface.mac != MacAddr::ZERO {
                    macs.known.entry(iface.mac).or_insert_with(|| name.clone());
                }
                for (addr, _) in &iface.addrs {
                    if is_link_local(*addr) {
                        macs.link_local.insert(*addr, format!("fe80@{name}"));
                    }
                }
            }
        }
        macs
    }

    fn of_addr(&mut self, mac: MacAddr) -> String {
        if mac.is_multicast() || mac == MacAddr::ZERO {
            return mac.to_string();
        }
        match self.known.get(&mac) {
            Some(name) => name.clone(),
            None => self.unknown.name("mac", mac),
        }
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// The ephemeral range of Linux.
fn is_ephemeral(port: u16) -> bool {
    (32768..=60999).contains(&port)
}

/// Replaces quoted strings that contain an escape by `"..."`.
fn without_binary(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c != '"' {
            continue;
        }
        let mut string = String::new();
        let mut binary = false;
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => {
                    binary = true;
                    let _ = chars.next();
                }
                other => string.push(other),
            }
        }
        out.push_str(if binary { "..." } else { &string });
        out.push('"');
    }
    out
}

/// Leaves out what `TCP_INFO` told.
fn without_info(text: &str) -> String {
    text.split_once(" {tcpi_")
        .map_or_else(|| text.to_string(), |(before, _)| format!("{before} {{tcp_info}}"))
}

/// Replaces `:54321` in an address of a call's text when the port is ephemeral.
fn normal_ports(text: &str, ports: &mut Numbered) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(':') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let ends = !rest[digits..].starts_with(|c: char| c.is_ascii_hexdigit() || c == ':');
        match rest[..digits].parse::<u16>() {
            Ok(port) if ends && is_ephemeral(port) => {
                out.push_str(&ports.name("port", port));
                rest = &rest[digits..];
            }
            _ => {}
        }
    }
    out + rest
}

#[derive(Clone, Debug, Default)]
struct Normal {
    macs: Macs,
    ports: Numbered,
    /// The addresses of the last IP header.
    between: Option<(IpAddr, IpAddr)>,
    fragments: Numbered,
    echoes: Numbered,
    link_locals: Numbered,
}

impl Normal {
    fn addr(&mut self, addr: IpAddr) -> String {
        if !is_link_local(addr) {
            return addr.to_string();
        }
        match self.macs.link_local.get(&addr) {
            Some(name) => name.clone(),
            None => self.link_locals.name("fe80", addr),
        }
    }

    fn port(&mut self, of: Option<IpAddr>, port: u16) -> String {
        match of {
            Some(addr) if is_ephemeral(port) => self.ports.name("port", format!("{addr} {port}")),
            None if is_ephemeral(port) => self.ports.name("port", port),
            _ => port.to_string(),
        }
    }

    /// Source and destination port of the packet inside the last IP header.
    fn ports(&mut self, src: u16, dst: u16) -> (String, String) {
        let (from, to) = self.between.unzip();
        (self.port(from, src), self.port(to, dst))
    }

    /// Everything of a packet that counts.
    fn key(&mut self, view: &View, flows: &mut Flows) -> String {
        let mut key = String::new();
        self.between = None;
        for layer in &view.layers {
            let text = self.layer(layer, view, flows);
            key.push_str(&text);
            key.push_str(" | ");
        }
        key
    }

    fn layer(&mut self, layer: &Layer, view: &View, flows: &mut Flows) -> String {
        match layer {
            Layer::Ethernet(h) => {
                let vlan = h.vlan.map_or(String::new(), |v| format!(" vlan {}", v.vid));
                format!("{} > {}{vlan}", self.macs.of_addr(h.src), self.macs.of_addr(h.dst))
            }
            Layer::Vlan(tag) => format!("vlan {}", tag.vid),
            Layer::Arp(a) => format!(
                "ARP {} {} {} {} {}",
                a.operation.0,
                self.macs.of_addr(a.sender_mac),
                a.sender_ip,
                self.macs.of_addr(a.target_mac),
                a.target_ip
            ),
            Layer::Ip(ip) => {
                self.between = Some((ip.src, ip.dst));
                let mut text = format!(
                    "{} > {} {} len {} ttl {} tos {} df {}",
                    self.addr(ip.src),
                    self.addr(ip.dst),
                    ip.protocol,
                    ip.total_len,
                    ip.ttl,
                    ip.tos,
                    ip.df
                );
                if ip.is_fragment() {
                    let id = self.fragments.name("id", ip.id);
                    let _ = write!(text, " {id} offset {} more {}", ip.frag_offset, ip.more_fragments);
                }
                text
            }
            Layer::Udp(h) => {
                let (src, dst) = self.ports(h.src_port, h.dst_port);
                format!("UDP {src} > {dst} len {} {}", h.len, digest(view.payload()))
            }
            Layer::Tcp(_) => {
                // Relative numbers and SYN options; ports are in nobody's words twice.
                let words = words(view, flows, &Names::default()).short;
                let (src, dst) = view.tcp().map_or((0, 0), |h| (h.src_port, h.dst_port));
                let (src, dst) = self.ports(src, dst);
                format!("TCP {src} > {dst} {words}")
            }
            Layer::Icmp(m) => {
                let text = match *m {
                    icmpv4::Message::EchoRequest { id, seq } => {
                        format!("echo {} {seq}", self.echoes.name("echo", id))
                    }
                    icmpv4::Message::EchoReply { id, seq } => {
                        format!("echo reply {} {seq}", self.echoes.name("echo", id))
                    }
                    ref other => format!("{other:?}"),
                };
                format!("ICMP {text} {}", self.quoted(view))
            }
            Layer::Icmpv6(m) => {
                let text = match *m {
                    Icmpv6::EchoRequest { id, seq } => format!("echo {} {seq}", self.echoes.name("echo", id)),
                    Icmpv6::EchoReply { id, seq } => {
                        format!("echo reply {} {seq}", self.echoes.name("echo", id))
                    }
                    Icmpv6::Ndp(message) => self.ndp(message, view),
                    other => format!("{other:?}"),
                };
                format!("ICMPv6 {text} {}", self.quoted(view))
            }
            Layer::Igmp(m) => format!("{m:?} {}", digest(view.payload())),
            Layer::Gre(h) => format!("{h:?}"),
            Layer::Vxlan(h) => format!("{h:?}"),
            Layer::FragmentBytes(n) => format!("{n} bytes {}", digest(view.payload())),
            Layer::OtherEtherType(ty) => format!("ethertype {:#06x} {}", ty.0, digest(view.payload())),
            Layer::OtherProtocol(p) => format!("{p} {}", digest(view.payload())),
            Layer::Malformed(text) => text.clone(),
        }
    }

    fn ndp(&mut self, message: ndp::Message, view: &View) -> String {
        let mut text = match message {
            ndp::Message::NeighborSolicit { target } => format!("NS {}", self.addr(target.into())),
            ndp::Message::NeighborAdvert(na) => format!(
                "NA {} router {} solicited {} override {}",
                self.addr(na.target.into()),
                na.router,
                na.solicited,
                na.override_
            ),
            ndp::Message::Redirect { target, destination } => {
                format!("redirect {} {}", self.addr(target.into()), self.addr(destination.into()))
            }
            other => format!("{other:?}"),
        };
        for option in ndp::options(view.payload()).map_while(Result::ok) {
            let option = match option {
                ndp::Opt::SourceLinkLayer(mac) => format!("source {}", self.macs.of_addr(mac)),
                ndp::Opt::TargetLinkLayer(mac) => format!("target {}", self.macs.of_addr(mac)),
                ndp::Opt::RedirectedHeader(_) => "redirected".to_string(),
                // RFC 3971 §5.3.2, RFC 7527: a random number that a looped-back DAD probe is known by.
                ndp::Opt::Unknown { kind: 14, data } => format!("nonce of {} bytes", data.len()),
                other => format!("{other:?}"),
            };
            let _ = write!(text, " [{option}]");
        }
        text
    }

    /// What an ICMP error quotes: whose packet, and how much of it.
    fn quoted(&mut self, view: &View) -> String {
        let Some(q) = view.quoted() else { return format!("{} bytes", view.payload().len()) };
        self.between = Some((q.ip.src(), q.ip.dst()));
        let ports = q.ports.map(|(a, b)| self.ports(a, b));
        let ports = ports.map_or(String::new(), |(a, b)| format!(" {a} > {b}"));
        let (src, dst) = (self.addr(q.ip.src()), self.addr(q.ip.dst()));
        format!("about {src} > {dst} {}{ports}, {} bytes quoted", q.protocol, view.payload().len())
    }
}

/// FNV-1a: equal payloads, equal text; no security wanted.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_binary_data_in_calls_are_named_alike() {
        // No group of an IPv6 address has five digits: what looks like a port is one.
        let mut ports = Numbered::default();
        let key =
            |text: &str, ports: &mut Numbered| without_info(&without_binary(&normal_ports(text, ports)));
        assert_eq!(
            key("recvfrom(3, 9, 0) = 2 \"hi\" from 192.0.2.1:40000", &mut ports),
            "recvfrom(3, 9, 0) = 2 \"hi\" from 192.0.2.1:port-1"
        );
        assert_eq!(key("[2001:db8::1]:51000 192.0.2.1:9", &mut ports), "[2001:db8::1]:port-2 192.0.2.1:9");
        assert_eq!(key("send(3, \"\\10\\0\\\"x\", 0) = 3", &mut ports), "send(3, \"...\", 0) = 3");
    }
}
