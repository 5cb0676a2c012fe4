//! The findings: one file per behaviour that a newcomer would ask about. Each reads the journal and its
//! packets and says only what it can point at.

mod ageing;
mod connect;
mod dad;
mod dns;
mod echo;
mod faults;
mod fragments;
mod gratuitous;
mod groups;
mod hop;
mod icmp_errors;
mod nat;
mod no_answer;
mod order;
mod page_broken;
mod page_times;
mod pmtu;
mod ports;
mod proxy;
mod quic;
mod ratelimit;
mod redirect;
mod refused;
mod request_layers;
mod resolution;
mod session;
mod sockets;
mod spoof;
mod static_entry;
mod tcp;
mod tunnel;
mod udp;
mod websocket;

use core::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use stack::neigh::NudState;
use stack::record::{AddrChange, IfIndex, IfaceInfo, Journal, NodeId, NodeKind, What};
use wire::arp::Operation;
use wire::{Instant, MacAddr, ndp};

use crate::dissect::Dissection;
use crate::explain::{Decides, Explanation, Folklore, Ref, Sentence};
use crate::traffic::{Traffic, Transmission, node_name};

/// A finding: looks at the case, says what it found.
pub(crate) type Finding = fn(&Case<'_>, &mut Findings);

/// All findings. Sentences are sorted by time afterwards, so that the order here does not matter.
pub(crate) const ALL: &[Finding] = &[
    faults::find,
    resolution::find,
    no_answer::find,
    ageing::find,
    static_entry::find,
    gratuitous::find,
    proxy::find,
    spoof::find,
    dad::find,
    dns::find,
    hop::find,
    icmp_errors::find,
    ratelimit::find,
    pmtu::find,
    fragments::find,
    redirect::find,
    nat::find,
    tunnel::find,
    groups::find,
    quic::find,
    udp::find,
    refused::find,
    connect::find,
    ports::find,
    page_broken::find,
    page_times::find,
    request_layers::find,
    websocket::find,
    session::find,
    echo::find,
    tcp::find,
];

/// How many packets back a finding looks for the one that another is about.
const LOOK_BACK: usize = 4096;

/// A journal made ready for questions.
pub(crate) struct Case<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) traffic: &'a Traffic,
    /// The packets by number, the first at index 0.
    numbered: Vec<&'a Transmission>,
    /// Questions for link-layer addresses: ARP requests and neighbour solicitations, without probes for
    /// one's own address.
    pub(crate) questions: Vec<Question>,
    /// Neighbour entries and what became of them.
    pub(crate) entries: Vec<Entry>,
    /// Who got which address during the run, first come first served.
    later_addrs: BTreeMap<IpAddr, NodeId>,
    /// Made when a finding asks for it.
    dissection: OnceCell<Dissection>,
}

/// Somebody asked who has an address.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) node: NodeId,
    pub(crate) addr: IpAddr,
    pub(crate) number: u32,
    pub(crate) at: Instant,
    pub(crate) unicast: bool,
    pub(crate) answer: Option<Answer>,
}

/// The first answer that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) number: u32,
    pub(crate) from: NodeId,
    pub(crate) at: Instant,
    pub(crate) mac: Option<MacAddr>,
}

/// The life of a neighbour entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) node: NodeId,
    pub(crate) ifindex: IfIndex,
    pub(crate) addr: IpAddr,
    pub(crate) steps: Vec<EntryStep>,
}

/// One change of a neighbour entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryStep {
    pub(crate) record: usize,
    pub(crate) at: Instant,
    pub(crate) to: Option<NudState>,
    pub(crate) lladdr: Option<MacAddr>,
}

/// A claim of who has an address: an ARP reply or gratuitous request, a neighbour advertisement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) addr: IpAddr,
    pub(crate) mac: MacAddr,
    /// Nobody is addressed with it: announcement, gratuitous reply, unsolicited advertisement.
    pub(crate) gratuitous: bool,
}

/// What a packet claims about an address.
pub(crate) fn claim(t: &Transmission) -> Option<Claim> {
    if let Some(a) = t.view.arp() {
        let request = a.operation == Operation::REQUEST;
        if request && !a.is_gratuitous() || a.sender_ip.is_unspecified() {
            return None;
        }
        let gratuitous = a.is_gratuitous();
        return Some(Claim { addr: a.sender_ip.into(), mac: a.sender_mac, gratuitous });
    }
    let Some(ndp::Message::NeighborAdvert(na)) = t.view.ndp() else { return None };
    let options = ndp::options(t.view.payload()).map_while(Result::ok);
    let target =
        options.filter_map(|o| if let ndp::Opt::TargetLinkLayer(m) = o { Some(m) } else { None }).next();
    let mac = target.or(t.view.macs().map(|m| m.0))?;
    Some(Claim { addr: na.target.into(), mac, gratuitous: !na.solicited })
}

/// Which address a packet asks for; probes for one's own address do not count.
pub(crate) fn asks_for(t: &Transmission) -> Option<IpAddr> {
    if let Some(a) = t.view.arp() {
        let asks = a.operation == Operation::REQUEST && !a.is_gratuitous() && !a.is_probe();
        return asks.then(|| a.target_ip.into());
    }
    match t.view.ndp() {
        Some(ndp::Message::NeighborSolicit { target })
            if t.view.ip().is_some_and(|ip| !ip.src.is_unspecified()) =>
        {
            Some((*target).into())
        }
        _ => None,
    }
}

impl<'a> Case<'a> {
    pub(crate) fn new(journal: &'a Journal, traffic: &'a Traffic) -> Case<'a> {
        let mut case = Case {
            journal,
            traffic,
            numbered: traffic.numbered().collect(),
            questions: Vec::new(),
            entries: entries(journal),
            later_addrs: later_addrs(journal),
            dissection: OnceCell::new(),
        };
        for t in traffic.numbered() {
            // A router that passes a tunnel's packet on neither asks nor answers.
            let author = case.author(t);
            if let (Some(addr), true) = (asks_for(t), author == t.from) {
                let unicast = t.view.inner_macs().is_some_and(|(_, dst)| !dst.is_multicast());
                case.questions.push(Question {
                    node: t.from,
                    addr,
                    number: t.number,
                    at: t.at,
                    unicast,
                    answer: None,
                });
            }
            if let Some(claim) = claim(t).filter(|c| !c.gratuitous) {
                for a in &t.arrivals {
                    let open = case.questions.iter_mut().rev().find(|q| {
                        q.node == a.node && q.addr == claim.addr && q.at <= a.at && q.answer.is_none()
                    });
                    if let Some(q) = open {
                        let mac = Some(claim.mac);
                        q.answer = Some(Answer { number: t.number, from: author, at: a.at, mac });
                    }
                }
            }
        }
        case
    }

    /// Who wrote the innermost packet: the sender, unless a tunnel's packet was only passed on.
    fn author(&self, t: &Transmission) -> NodeId {
        let outer = t.view.ip().filter(|_| t.view.is_tunnelled());
        outer.and_then(|ip| self.owner_of_ip(ip.src)).unwrap_or(t.from)
    }

    pub(crate) fn name(&self, node: NodeId) -> &'a str {
        node_name(self.journal, node)
    }

    /// What stands in the packets.
    pub(crate) fn dissection(&self) -> &Dissection {
        self.dissection.get_or_init(|| Dissection::of(self.journal, self.traffic))
    }

    pub(crate) fn packets(&self) -> impl Iterator<Item = &'a Transmission> + use<'a> {
        self.traffic.numbered()
    }

    pub(crate) fn packet(&self, number: u32) -> Option<&'a Transmission> {
        self.numbered.get((number as usize).checked_sub(1)?).copied()
    }

    /// The packets before one, the latest first; not more than a good while back.
    pub(crate) fn before(&self, number: u32) -> impl Iterator<Item = &'a Transmission> + use<'a, '_> {
        let end = (number as usize).saturating_sub(1).min(self.numbered.len());
        self.numbered[..end].iter().rev().take(LOOK_BACK).copied()
    }

    /// The interface that has this MAC address.
    pub(crate) fn owner_of_mac(&self, mac: MacAddr) -> Option<(NodeId, &'a IfaceInfo)> {
        self.ifaces().find(|(_, i)| i.mac == mac && mac != MacAddr::ZERO)
    }

    /// The node that has this address: at the start, or since it got it.
    pub(crate) fn owner_of_ip(&self, addr: IpAddr) -> Option<NodeId> {
        let at_start = self.ifaces().find(|(_, i)| i.addrs.iter().any(|a| a.0 == addr)).map(|(n, _)| n);
        at_start.or_else(|| self.later_addrs.get(&addr).copied())
    }

    /// A host's name, or the address when no host has it.
    pub(crate) fn who(&self, addr: IpAddr) -> String {
        match self.owner_of_ip(addr) {
            Some(node) if !self.is_seen(node) => self.name(node).to_string(),
            _ => addr.to_string(),
        }
    }

    /// Whose MAC address this is, in words.
    pub(crate) fn whose_mac(&self, mac: MacAddr) -> String {
        match self.owner_of_mac(mac) {
            Some((node, _)) => format!("{}'s {mac}", self.name(node)),
            None => mac.to_string(),
        }
    }

    /// Nodes of a capture are addresses: nothing is known of them but their packets.
    pub(crate) fn is_seen(&self, node: NodeId) -> bool {
        self.journal.nodes.get(node.0 as usize).is_some_and(|n| n.kind == NodeKind::Seen)
    }

    /// Has a neighbour table of its own that is known: neither a switch nor an address in a capture.
    pub(crate) fn is_host(&self, node: NodeId) -> bool {
        let kind = self.journal.nodes.get(node.0 as usize).map(|n| &n.kind);
        matches!(kind, Some(NodeKind::Stack | NodeKind::Linux(_)))
    }

    fn ifaces(&self) -> impl Iterator<Item = (NodeId, &'a IfaceInfo)> + use<'a> {
        let nodes = self.journal.nodes.iter().enumerate();
        nodes.flat_map(|(i, n)| {
            let id = NodeId(u32::try_from(i).expect("NodeId is 32 bits"));
            n.ifaces.iter().map(move |iface| (id, iface))
        })
    }

    /// An `nstat` counter at the end.
    pub(crate) fn counter(&self, node: NodeId, name: &str) -> Option<u64> {
        let info = self.journal.nodes.get(node.0 as usize)?;
        info.counters.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Every node's id.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        (0..self.journal.nodes.len()).map(|i| NodeId(u32::try_from(i).expect("NodeId is 32 bits")))
    }

    /// The calls of a node that have returned: call record, return record, call text, result text.
    pub(crate) fn results(&self) -> Vec<Returned<'a>> {
        let mut open = BTreeMap::new();
        let mut all = Vec::new();
        for (record, r) in self.journal.records.iter().enumerate() {
            match &r.what {
                What::Call { program, seq, text } => {
                    open.insert((r.node, *program, *seq), (record, text.as_str()));
                }
                What::Return { program, seq, text, .. } => {
                    if let Some((call, call_text)) = open.remove(&(r.node, *program, *seq)) {
                        all.push(Returned {
                            node: r.node,
                            program: *program,
                            call,
                            record,
                            at: r.at,
                            call_text,
                            result: text,
                        });
                    }
                }
                _ => {}
            }
        }
        all
    }
}

/// A system call that returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned<'a> {
    pub(crate) node: NodeId,
    pub(crate) program: u32,
    pub(crate) call: usize,
    pub(crate) record: usize,
    pub(crate) at: Instant,
    pub(crate) call_text: &'a str,
    pub(crate) result: &'a str,
}

impl Returned<'_> {
    /// `sendto` of `sendto(3, …)`.
    pub(crate) fn call_name(&self) -> &str {
        self.call_text.split('(').next().unwrap_or("")
    }

    /// The first argument of the call.
    pub(crate) fn fd(&self) -> Option<&str> {
        self.call_text.split(['(', ',', ')']).nth(1).map(str::trim)
    }

    /// `ECONNREFUSED` of `-1 ECONNREFUSED (Connection refused)`.
    pub(crate) fn errno(&self) -> Option<&str> {
        self.result.strip_prefix("-1 ").and_then(|t| t.split(' ').next())
    }
}

/// A length of time in at most four digits: `3.072 s`, `44.37 us`.
pub(crate) fn about(ns: u64) -> String {
    let mut unit = 1;
    while ns / unit >= 10_000 {
        unit *= 10;
    }
    crate::ladder::span(ns / unit * unit)
}

fn later_addrs(journal: &Journal) -> BTreeMap<IpAddr, NodeId> {
    let mut addrs = BTreeMap::new();
    for r in &journal.records {
        if let What::Addr { addr, change: AddrChange::Preferred, .. } = r.what {
            addrs.entry(addr).or_insert(r.node);
        }
    }
    addrs
}

fn entries(journal: &Journal) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (record, r) in journal.records.iter().enumerate() {
        let What::Neigh { ifindex, addr, lladdr, to, .. } = r.what else { continue };
        let step = EntryStep { record, at: r.at, to, lladdr };
        match entries.iter_mut().find(|e| e.node == r.node && e.ifindex == ifindex && e.addr == addr) {
            Some(entry) => entry.steps.push(step),
            None => entries.push(Entry { node: r.node, ifindex, addr, steps: vec![step] }),
        }
    }
    entries
}

/// What the findings say.
pub(crate) struct Findings {
    out: Explanation,
    /// By host: what the run set, in order.
    sysctls: Vec<(String, Vec<(String, String)>)>,
    /// By host: values in force at the end, as far as the journal tells.
    in_force: Vec<Vec<(String, String)>>,
    packet_times: Vec<u64>,
    record_times: Vec<u64>,
}

impl Findings {
    pub(crate) fn new(journal: &Journal, traffic: &Traffic) -> Findings {
        Findings {
            out: Explanation::default(),
            sysctls: sysctls_set(journal),
            in_force: journal.nodes.iter().map(|n| n.sysctls.clone()).collect(),
            packet_times: traffic.numbered().map(|t| t.at.as_nanos()).collect(),
            record_times: journal.records.iter().map(|r| r.at.as_nanos()).collect(),
        }
    }

    /// Says a sentence (without its full stop) about packets and records. Without any, it is not said:
    /// what cannot be pointed at is not known.
    pub(crate) fn say(&mut self, finding: &'static str, text: String, refs: impl IntoIterator<Item = Ref>) {
        let refs = in_order(refs);
        let Some(at_ns) = self.when(&refs) else { return };
        let text = self.capitalised(text);
        if self.out.sentences.iter().any(|s| s.text == text) {
            return;
        }
        self.out.sentences.push(Sentence { finding, text, refs, at_ns });
    }

    /// A sentence begins with a capital, a host's name is written as it is.
    fn capitalised(&self, text: String) -> String {
        let first = text.split([' ', '\'']).next().unwrap_or("");
        let mut chars = text.chars();
        match chars.next() {
            Some(c) if self.sysctls.iter().all(|(name, _)| name != first) => {
                c.to_uppercase().collect::<String>() + chars.as_str()
            }
            _ => text,
        }
    }

    /// A change of state is told when it is complete, packets when the first was sent.
    fn when(&self, refs: &[Ref]) -> Option<u64> {
        let packets = refs.iter().filter(|r| matches!(r, Ref::Packet(_))).filter_map(|r| self.time(*r)).min();
        packets.or_else(|| refs.iter().filter_map(|r| self.time(*r)).max())
    }

    fn time(&self, r: Ref) -> Option<u64> {
        match r {
            Ref::Packet(n) => self.packet_times.get((n as usize).checked_sub(1)?).copied(),
            Ref::Record(i) => self.record_times.get(i).copied(),
        }
    }

    /// Names a sysctl of a host that decides what was seen, with the value in force.
    pub(crate) fn decides(&mut self, host: &str, sysctl: &str) {
        let set = self.set(host, |name| name == sysctl);
        // What was set for one interface decides there: `conf.eth0.proxy_arp` for `conf.all.proxy_arp`.
        let name = match set.or_else(|| self.set(host, |name| same_but_interface(name, sysctl))) {
            Some((name, _)) => name,
            None => sysctl.to_string(),
        };
        self.decided(host, name);
    }

    /// Names a socket option that decides, with the value that the program set.
    pub(crate) fn decides_option(&mut self, host: &str, option: &str, value: &str) {
        let (name, value, host) = (option.to_string(), value.to_string(), host.to_string());
        let d = Decides { name, value, host, default: false };
        if !self.out.decides.contains(&d) {
            self.out.decides.push(d);
        }
    }

    /// A sysctl's value in force on a host: set by the run, told by the host, or the default.
    pub(crate) fn value(&self, host: &str, sysctl: &str) -> Option<String> {
        let at = self.sysctls.iter().position(|(n, _)| n == host)?;
        let in_force = self.in_force[at].iter().rfind(|(n, _)| n == sysctl).map(|(_, v)| v.clone());
        let set = self.set(host, |n| n == sysctl).map(|(_, v)| v);
        in_force.or(set).or_else(|| default_of(sysctl).map(str::to_string))
    }

    /// The same for a setting of neighbour entries, which every interface has for itself: `default` is only
    /// what a new interface starts with (Linux: neighbour.c neigh_parms_alloc).
    pub(crate) fn decides_neigh(&mut self, case: &Case<'_>, node: NodeId, addr: IpAddr, key: &str) {
        let family = if addr.is_ipv4() { "ipv4" } else { "ipv6" };
        let entry = case.entries.iter().find(|e| e.node == node && e.addr == addr);
        let ifaces = case.journal.nodes.get(node.0 as usize).map_or(&[][..], |n| n.ifaces.as_slice());
        let iface = entry.and_then(|e| ifaces.iter().find(|i| i.ifindex == e.ifindex));
        let iface = iface.map_or("default", |i| &i.name);
        self.decided(case.name(node), format!("net.{family}.neigh.{iface}.{key}"));
    }

    fn decided(&mut self, host: &str, name: String) {
        let set = self.set(host, |n| n == name);
        let at = self.sysctls.iter().position(|(n, _)| n == host);
        let in_force = at.and_then(|i| self.in_force[i].iter().rfind(|(n, _)| *n == name));
        let known = in_force.or(set.as_ref()).map(|(_, value)| value.clone());
        let usual = default_of(&name);
        let default = set.is_none() && known.as_deref().is_none_or(|v| usual.is_none_or(|u| u == v));
        let value = known.unwrap_or_else(|| usual.unwrap_or_default().to_string()).replace('\t', " ");
        let d = Decides { name, value, host: host.to_string(), default };
        if !self.out.decides.contains(&d) {
            self.out.decides.push(d);
        }
    }

    /// What the run set last of those that are meant.
    fn set(&self, host: &str, is_meant: impl Fn(&str) -> bool) -> Option<(String, String)> {
        let all = self.sysctls.iter().find(|(n, _)| n == host).map_or(&[][..], |(_, all)| all.as_slice());
        all.iter().rfind(|(name, _)| is_meant(name)).cloned()
    }

    /// Says what people say, and what happened.
    pub(crate) fn folklore(&mut self, says: &str, fact: String, refs: impl IntoIterator<Item = Ref>) {
        let refs = in_order(refs);
        let Some(at_ns) = self.when(&refs) else { return };
        if self.out.folklore.iter().all(|f| f.says != says) {
            self.out.folklore.push(Folklore { says: says.to_string(), fact, refs, at_ns });
        }
    }

    pub(crate) fn finish(mut self) -> Explanation {
        self.out.sentences.sort_by_key(|s| s.at_ns);
        resolution::make_short(&mut self.out.sentences);
        order::put(&mut self.out.sentences);
        self.out
    }
}

/// What the run set on each host by `sysctl` commands.
fn sysctls_set(journal: &Journal) -> Vec<(String, Vec<(String, String)>)> {
    let mut all: Vec<(String, Vec<(String, String)>)> = Vec::new();
    all.extend(journal.nodes.iter().map(|n| (n.name.clone(), Vec::new())));
    for r in &journal.records {
        let What::Admin { text } = &r.what else { continue };
        let assignment = text.strip_prefix("sysctl -w ").and_then(|t| t.split_once('='));
        if let (Some((name, value)), Some((_, set))) = (assignment, all.get_mut(r.node.0 as usize)) {
            set.push((name.trim().replace('/', "."), value.trim().to_string()));
        }
    }
    all
}

/// `net.ipv4.conf.eth0.proxy_arp` and `net.ipv4.conf.all.proxy_arp`.
fn same_but_interface(a: &str, b: &str) -> bool {
    let parts = |name: &str| name.split('.').map(str::to_string).collect::<Vec<_>>();
    let (a, b) = (parts(a), parts(b));
    let same = |i: usize| a.get(i) == b.get(i);
    a.len() == 5 && b.len() == 5 && same(0) && same(1) && same(2) && same(4)
}

/// Packets first, each once.
fn in_order(refs: impl IntoIterator<Item = Ref>) -> Vec<Ref> {
    let mut refs: Vec<Ref> = refs.into_iter().collect();
    refs.sort_unstable();
    refs.dedup();
    refs
}

/// Defaults of Linux 6.18 for the sysctls that findings name (TRUTH §12).
fn default_of(sysctl: &str) -> Option<&'static str> {
    let last = sysctl.rsplit('.').next()?;
    Some(match last {
        "base_reachable_time_ms" => "30000",
        "delay_first_probe_time" => "5",
        "ucast_solicit" | "mcast_solicit" => "3",
        "retrans_time_ms" => "1000",
        "gc_stale_time" => "60",
        "unres_qlen" => "101",
        "arp_accept" | "arp_ignore" | "arp_announce" | "proxy_arp" | "arp_notify" => "0",
        "icmp_ratelimit" | "ratelimit" => "1000",
        "icmp_ratemask" => "6168",
        "mtu_expires" => "600",
        "min_pmtu" => "552",
        "ip_no_pmtu_disc" | "ip_nonlocal_bind" => "0",
        "ip_default_ttl" => "64",
        "ipfrag_time" => "30",
        "ip6frag_time" => "60",
        "dad_transmits" => "1",
        "accept_redirects" | "send_redirects" | "autoconf" | "accept_ra" => "1",
        "rmem_default" => "212992",
        "tcp_syn_retries" => "6",
        "tcp_syn_linear_timeouts" => "4",
        "tcp_synack_retries" => "5",
        "ip_local_port_range" => "32768 60999",
        "tcp_congestion_control" => "cubic",
        "tcp_early_retrans" => "3",
        "tcp_retries2" => "15",
        "tcp_orphan_retries" | "tcp_abort_on_overflow" | "tcp_rfc1337" | "tcp_mtu_probing" => "0",
        "tcp_fin_timeout" => "60",
        "tcp_keepalive_time" => "7200",
        "tcp_keepalive_intvl" => "75",
        "tcp_keepalive_probes" => "9",
        "tcp_sack" | "tcp_recovery" | "tcp_timestamps" | "tcp_syncookies" => "1",
        "tcp_max_syn_backlog" => "2048",
        "tcp_tw_reuse" => "2",
        "tcp_rmem" => "4096 131072 33554432",
        "somaxconn" => "4096",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
