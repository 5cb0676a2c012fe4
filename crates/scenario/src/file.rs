//! A scenario as written: the fields of the TOML file. Nothing is resolved or defaulted here; that is
//! [`crate::plan()`]'s work. The doc comments are the descriptions of the published JSON Schema.

use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

use crate::diagnostic::Diagnostic;
use crate::source::Source;
use crate::structure;

/// A scenario file: its content and where each word of it stands.
#[derive(Clone, Debug)]
pub struct File {
    /// What is written in it.
    pub content: Content,
    pub(crate) source: Source,
}

impl File {
    /// The name that [`parse`] was given.
    pub fn origin(&self) -> &str {
        &self.source.origin
    }

    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.source.text
    }
}

/// Longest file that is read; the longest of the catalogue has a hundredth of it.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads a scenario file. `origin` names it in messages: its path, or a catalogue name.
///
/// # Errors
/// Everything that is wrong with the text's shape: syntax, unknown and missing fields, wrong types. What
/// the values mean is checked by [`crate::plan()`].
pub fn parse(text: &str, origin: &str) -> Result<File, Vec<Diagnostic>> {
    if text.len() > MAX_BYTES {
        let source = Source::command_line(origin, "");
        return Err(vec![
            source.diagnostic(None, format!("longer than {MAX_BYTES} bytes: not a scenario file")),
        ]);
    }
    let (table, syntax) = DeTable::parse_recoverable(text);
    let source = Source::new(origin, text, &table);
    if !syntax.is_empty() {
        let found = syntax.iter().map(|e| source.diagnostic(e.span(), e.message().to_string()));
        let mut found: Vec<Diagnostic> = found.collect();
        found.sort_by_key(|d| d.span.as_ref().map_or(0, |s| s.start));
        return Err(found);
    }
    let found = structure::check(&source, &table, &SCHEMA);
    if !found.is_empty() {
        return Err(found);
    }
    match toml::from_str::<Content>(text) {
        Ok(content) => Ok(File { content, source }),
        Err(e) => Err(vec![source.diagnostic(e.span(), e.message().to_string())]),
    }
}

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| schemars::schema_for!(Content).to_value());

/// The JSON Schema of scenario files, for editors: what `wirelab schema` prints.
pub fn schema() -> serde_json::Value {
    SCHEMA.clone()
}

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values, however they were written.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }

    /// Whether it was written as a list.
    pub(crate) fn is_many(&self) -> bool {
        matches!(self, OneOrMany::Many(_))
    }
}

/// A wirelab scenario: a question, hosts, links, programs, faults, and what must be seen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "wirelab scenario")]
pub struct Content {
    /// The question that the run answers, one sentence with a question mark.
    pub question: String,
    /// The question in Chinese.
    pub question_zh: Option<String>,
    /// One paragraph for a newcomer: what is set up and what to look at.
    pub about: Option<String>,
    /// true when the real Linux kernel must give the same answer: `--twin` then has to agree.
    #[serde(default)]
    pub kernel: bool,
    /// `"known"`: hosts of one network know each other's MAC addresses from the start (permanent entries), so that no ARP
    /// stands between the packets of another question. They ask, unless given.
    pub neighbours: Option<Neighbours>,
    /// A feature of the build that its programs need: `boring` (BoringSSL: the static RSA key exchange and False Start).
    pub needs: Option<Need>,
    /// How long the world runs, such as `60s`. Without it: until every program has ended, and one second more.
    pub until: Option<String>,
    /// The seed of all randomness; 1 unless given.
    pub seed: Option<u32>,
    /// Hosts and routers by name.
    pub hosts: IndexMap<String, Host>,
    /// Switches by name. A link with more than two ends brings a plain switch of its own name; say more about it here.
    #[serde(default)]
    pub switches: IndexMap<String, Switch>,
    /// Links by name. Without any, all interfaces are on one network called `lan`.
    #[serde(default)]
    pub links: IndexMap<String, Link>,
    /// What runs on the hosts.
    #[serde(default)]
    pub programs: Vec<Program>,
    /// Certificates by name, for programs that speak TLS. They follow from these tables alone: every run has the same. `ca` is there
    /// without being written, and clients trust it.
    #[cfg(feature = "apps")]
    #[serde(default)]
    pub certificates: IndexMap<String, apps::pki::Certificate>,
    /// Certificates by name; this build has no program that could use them.
    #[cfg(not(feature = "apps"))]
    #[serde(default)]
    pub certificates: IndexMap<String, serde_json::Value>,
    /// What goes wrong on the wire. A fault that never fires fails the run unless it is optional.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What must be seen; the run fails when it is not.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// How the run is compared with the one on the real kernel.
    #[serde(default)]
    pub twin: Twin,
    /// Variants of this file side by side: what `wirelab compare` runs.
    pub compare: Option<Compare>,
}

/// A table of variants, each run with several seeds: `wirelab compare NAME`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// What is measured, such as `time until the page is complete`.
    pub what: String,
    /// In what, such as `ms`.
    #[serde(default)]
    pub unit: String,
    /// A part of the line with the figure, `{}` for the number: `connections in {} ms`. The last such line counts.
    pub measure: String,
    /// Runs of each cell, with as many seeds from the file's own on; 5 unless given.
    pub seeds: Option<u32>,
    /// The rows by name.
    pub rows: IndexMap<String, CompareRow>,
    /// The columns by name: what each changes of the file, such as `{ "links.lan.loss" = "1%" }`; `{}` for nothing.
    pub columns: IndexMap<String, IndexMap<String, serde_json::Value>>,
    /// What must hold of the medians, such as `HTTP/3, 2 % < HTTP/2, 2 %`.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// A row of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareRow {
    /// The program that prints the figure, by its name; any program unless given.
    pub program: Option<String>,
    /// What it changes of the file, such as `{ "hosts.client.profile" = "5.15" }`.
    #[serde(default)]
    pub set: IndexMap<String, serde_json::Value>,
}

/// What hosts know of each other at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbours {
    /// Their MAC addresses, for ever.
    Known,
    /// Nothing: they ask by ARP and neighbour discovery.
    Asked,
}

/// A feature that not every build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// BoringSSL.
    Boring,
}

impl Need {
    /// Whether this build has it.
    pub fn is_met(self) -> bool {
        match self {
            #[cfg(feature = "apps")]
            Need::Boring => apps::tls::HAS_BORING,
            #[cfg(not(feature = "apps"))]
            Need::Boring => false,
        }
    }
}

/// A host, or a router.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The addresses of `eth0` with prefix length: `192.0.2.1/24`, or a list. For more interfaces use `interfaces`.
    pub address: Option<OneOrMany<String>>,
    /// Interfaces by name, each with its addresses or a table: `{ eth0 = "192.0.2.254/24", eth1 = "198.51.100.254/24" }`.
    #[serde(default)]
    pub interfaces: IndexMap<String, Interface>,
    /// true on a router: it forwards packets between its interfaces (sysctl `ip_forward` and its IPv6 sibling).
    #[serde(default)]
    pub router: bool,
    /// Makes a router translate addresses (NAT44) for everything that leaves by one interface.
    pub nat: Option<Nat>,
    /// Routes as `ip route add` takes them: `default via 192.0.2.254`.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Commands before the run starts: `ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent`.
    #[serde(default)]
    pub setup: Vec<String>,
    /// Lines of `/etc/resolv.conf`, such as `nameserver 192.0.2.53`: programs look names up by DNS, as glibc does. Hosts
    /// with neither these nor `hosts_file` know the names of all hosts.
    #[serde(default)]
    pub resolv_conf: Vec<String>,
    /// Lines of `/etc/hosts`, such as `192.0.2.80 www.example`.
    #[serde(default)]
    pub hosts_file: Vec<String>,
    /// Sysctls by full name: `{ "net.ipv4.conf.all.arp_accept" = 1 }`.
    #[serde(default)]
    pub sysctl: IndexMap<String, SysctlValue>,
    /// Whose behaviour the host shows on our stack: `6.18` (the default), `6.12`, `5.15` or `4.4`.
    pub profile: Option<String>,
}

/// A sysctl's value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SysctlValue {
    /// A number.
    Number(i64),
    /// Text, such as two numbers.
    Text(String),
}

impl core::fmt::Display for SysctlValue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            SysctlValue::Number(n) => n.fmt(f),
            SysctlValue::Text(text) => text.fmt(f),
        }
    }
}

/// An interface: its addresses, or a table with more.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Interface {
    /// One address.
    Address(String),
    /// Several addresses.
    Addresses(Vec<String>),
    /// Addresses and more.
    Table(InterfaceTable),
}

/// An interface in full.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceTable {
    /// Addresses with prefix length.
    #[serde(default)]
    pub address: Vec<String>,
    /// The MAC address. Without it: 02:00:00:00:00:NN, counted over all interfaces in the order of the file.
    pub mac: Option<String>,
    /// The MTU in bytes; the link's unless given, and 1500 otherwise.
    pub mtu: Option<u32>,
}

/// Network address and port translation (RFC 2663, RFC 4787), as a home router does it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nat {
    /// The interface towards the outside; its address is what the outside sees.
    pub wan: String,
    /// Mapping and filtering, in the usual words: `full-cone`, `restricted-cone`, `port-restricted` or `symmetric` (the default, Linux's MASQUERADE).
    pub kind: Option<NatWord>,
    /// How long a UDP mapping lives that saw no answer yet, or only one (`nf_conntrack_udp_timeout`); 30 s unless given.
    pub udp_timeout: Option<String>,
    /// How long a UDP mapping lives that carries packets both ways (`nf_conntrack_udp_timeout_stream`); 120 s unless given.
    pub udp_timeout_stream: Option<String>,
    /// How long an ICMP query mapping lives (`nf_conntrack_icmp_timeout`); 30 s unless given.
    pub icmp_timeout: Option<String>,
    /// Ports of the outside address that always lead in: `udp 5000 -> 10.0.0.2:5000`.
    #[serde(default)]
    pub forwards: Vec<String>,
}

/// What a NAT does, after RFC 3489 §5 (RFC 4787 names the two halves, mapping and filtering).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatWord {
    /// Anyone may answer.
    FullCone,
    /// Addresses that were written to may answer.
    RestrictedCone,
    /// Addresses and ports that were written to may answer.
    PortRestricted,
    /// Another mapping for each peer.
    Symmetric,
}

/// An Ethernet switch.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// true: dynamic ARP inspection. ARP packets whose sender is not the address and MAC that the file gives to the host on that port are dropped.
    #[serde(default)]
    pub arp_inspection: bool,
    /// The VLAN of the port towards each host, such as `{ client = 10, server = 20 }`.
    #[serde(default)]
    pub vlans: IndexMap<String, u16>,
}

/// Cables between interfaces, in the words of `tc qdisc … netem`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The ends: hosts, `host:interface`, or switches. Two ends are one cable; more are cables to a switch that has the link's name.
    pub between: Vec<String>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub impairment: Impairment,
    /// The MTU of the interfaces at its ends, in bytes; 1500 unless given.
    pub mtu: Option<u32>,
    /// When the cable is out: `2s..5s`, or `2s..` for ever, or a list.
    pub down: Option<OneOrMany<String>>,
    /// Other values for what one end transmits: `from.client = { loss = "10%" }`.
    #[serde(default)]
    pub from: IndexMap<String, Impairment>,
}

/// What a link does to packets, in each direction on its own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct Impairment {
    /// Time on the way, such as `10ms`; 0 unless given.
    pub delay: Option<String>,
    /// The delay varies evenly by up to this much either way, such as `2ms`.
    pub jitter: Option<String>,
    /// Bits per second, such as `100mbit`; without limit unless given.
    pub rate: Option<String>,
    /// Packets that may wait for a busy link; 1000 unless given.
    pub limit: Option<u32>,
    /// Random loss, such as `1%`.
    pub loss: Option<String>,
    /// Bursty loss after Gilbert and Elliott: p, r, 1-h, 1-k as tc takes them, such as `1% 10% 70% 0.1%`.
    pub gemodel: Option<String>,
    /// Share of packets that overtake the ones before them, such as `25%`; needs a delay.
    pub reorder: Option<String>,
    /// Share of packets that arrive twice.
    pub duplicate: Option<String>,
    /// Share of packets with one flipped bit.
    pub corrupt: Option<String>,
}

/// A program: one process on one host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The host it runs on.
    pub host: String,
    /// When it starts; at once unless given.
    pub at: Option<String>,
    /// Its name in the output; the first word of its command otherwise, its kind, or `script`.
    pub name: Option<String>,
    /// A command (`ping -c 3 server`, `traceroute server`), or a list of lines: system calls as strace writes them, each with the
    /// result it must have (`sendto(s, "hello", server:9) = 5`), variables (`s = socket(AF_INET, SOCK_DGRAM)`), `sleep 1s`, `at 5s`,
    /// `repeat 100` … `end` around lines that come so often (`$i` in them is the number of the round, from 1), and `ip` and
    /// `sysctl` commands.
    pub run: Option<OneOrMany<String>>,
    /// Instead of `run`: a program that is built in, such as `echo` or `http-server`. It is configured by `with`.
    pub app: Option<String>,
    /// app: its configuration, such as `{ port = 8080 }`; what it may hold depends on the program.
    #[serde(default)]
    pub with: serde_json::Map<String, serde_json::Value>,
    /// The exit status that the program must end with, when it is no list of system calls; 0 unless given.
    pub exit: Option<i32>,
}

/// A fault: which packets, and what becomes of them. Exactly one of drop, delay, duplicate, corrupt, hold and forge
/// names the packets as `[PLACE:] [ORDINAL] FILTER`, such as `client->server: 2nd udp.dstport == 9`; `cut` names a link.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// These packets are lost.
    pub drop: Option<String>,
    /// These packets arrive later, by `by`.
    pub delay: Option<String>,
    /// These packets arrive more than once: `copies` more.
    pub duplicate: Option<String>,
    /// The byte at offset `byte` of these packets is inverted.
    pub corrupt: Option<String>,
    /// These packets wait until `until`, or until `packets` others have passed.
    pub hold: Option<String>,
    /// When such a packet passes, its sender gets the answer `reply` from the wire, or its receiver a changed copy of it, `copy`.
    pub forge: Option<String>,
    /// When such a packet passes, it is lost and its link is cut for the time `for`.
    pub cut: Option<String>,
    /// delay, and forge with `copy`: how much later.
    pub by: Option<String>,
    /// duplicate: how many more; 1 unless given.
    pub copies: Option<u32>,
    /// corrupt: offset of the byte from the start of the frame; one random bit is flipped unless given.
    pub byte: Option<u32>,
    /// hold: until this time of the run.
    pub until: Option<String>,
    /// hold: until this many other packets have passed in the same direction.
    pub packets: Option<u32>,
    /// forge: `arp-reply HOST-OR-MAC`, `icmp TYPE CODE` (then `from ADDRESS`, `mtu N`), `tcp-reset`, or `bytes HEX`.
    pub reply: Option<String>,
    /// forge: how a TCP segment's copy differs, in words such as `flags R`, `seq +100` (or -100), `ack +1`, `tsval -5000`,
    /// `tsecr +1`, `window 0`, `data none`, `data "other bytes"`, `no-options`, `flip 20` (one bit of
    /// the payload's byte 20, checksum right), `ce` (marked as by a congested router); it follows at once, or after `by`.
    pub copy: Option<String>,
    /// forge: true when the packet itself is lost.
    pub instead: Option<bool>,
    /// cut: for how long.
    #[serde(rename = "for")]
    pub duration: Option<String>,
    /// cut: true when the ends do not notice (no carrier loss).
    pub silent: Option<bool>,
    /// true when the run is right even if this never fires.
    #[serde(default)]
    pub optional: bool,
}

/// Something that must be seen. Exactly one of packet, order, neighbour, socket, counter, output, finding, dropped, lost
/// and table says what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Packets that match this filter, in Wireshark's field names: `arp.opcode == 1`.
    pub packet: Option<String>,
    /// Packets that match these filters appear in this order (others may stand between them).
    pub order: Option<Vec<String>>,
    /// packet: counted as they leave this host (an interface may follow: `router:eth1`).
    pub from: Option<String>,
    /// packet: counted as they arrive at this host (an interface may follow).
    pub to: Option<String>,
    /// How many: `1`, `"2.."`, `"1..3"`. Packets: at least one unless given. 0 for never.
    pub count: Option<Count>,
    /// When: `1s`, or a range `1s..2s`, or a list with one time for each.
    pub at: Option<OneOrMany<String>>,
    /// How far from `at` is still right; 5 ms unless given. A run in real time adds the twin's tolerance.
    pub tolerance: Option<String>,
    /// This address in the neighbour table of `on`: an address, or a host for its first one.
    pub neighbour: Option<String>,
    /// The sockets of `on` with this local end: `:80` (a port at any address) or `server:80`; `*` for any port. What the real
    /// kernel's sockets go through is not seen from outside: there this is not checked.
    pub socket: Option<String>,
    /// neighbour: its state at the time `at` (the end of the run unless given), `none` for no entry; or a list of states that it
    /// goes through in this order. socket: states in the words of `ss`, such as `SYN-RECV`, that they go through in this order.
    pub state: Option<OneOrMany<String>>,
    /// neighbour: its MAC address at that time; a host's name means that host's.
    pub lladdr: Option<String>,
    /// This counter of nstat on the host `on`, at the end.
    pub counter: Option<String>,
    /// counter: its value: `1`, `"2.."`, `"1..3"`.
    pub value: Option<Count>,
    /// The programs of `on` print a line that contains this text.
    pub output: Option<String>,
    /// The explanation of the run has a sentence that contains this text.
    pub finding: Option<String>,
    /// The host `on` drops a packet for this reason, in the words of `enum skb_drop_reason`, such as `NO_SOCKET`.
    pub dropped: Option<String>,
    /// A packet gets lost on the wire by this cause: fault, random, gemodel, queue, down, mtu, no-port, arp-inspection, vlan.
    pub lost: Option<LossWord>,
    /// A table of the host `on` at the end, by the command that prints it: `ip neigh`, `ip route`, `ip tcp_metrics`, `ss -uan`,
    /// `ss -tan`.
    pub table: Option<String>,
    /// table: so many of its lines (at least one unless `count` says more) contain this text; any blank is as good as another.
    pub contains: Option<String>,
    /// Whose neighbour, socket, counter, output, drop or table it is.
    pub on: Option<String>,
    /// Where it holds: `stack` or `linux` when the two differ for a known reason; both unless given.
    pub only: Option<Only>,
}

/// Where an expectation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Only {
    /// On hosts of our stack.
    Stack,
    /// On real kernels.
    Linux,
}

/// Why a packet was lost on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossWord {
    /// A fault of this file.
    Fault,
    /// Random loss on the link.
    Random,
    /// Bursty loss on the link.
    Gemodel,
    /// The link's queue was full.
    Queue,
    /// The cable was out.
    Down,
    /// Longer than the link's MTU.
    Mtu,
    /// No port leads there.
    NoPort,
    /// Dynamic ARP inspection refused it.
    ArpInspection,
    /// The VLAN is not allowed there.
    Vlan,
}

impl LossWord {
    /// As the file writes it.
    pub fn word(self) -> &'static str {
        match self {
            LossWord::Fault => "fault",
            LossWord::Random => "random",
            LossWord::Gemodel => "gemodel",
            LossWord::Queue => "queue",
            LossWord::Down => "down",
            LossWord::Mtu => "mtu",
            LossWord::NoPort => "no-port",
            LossWord::ArpInspection => "arp-inspection",
            LossWord::Vlan => "vlan",
        }
    }
}

/// How many.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Count {
    /// Exactly.
    Exactly(u64),
    /// A range: `2..`, `..3`, `2..4` (both ends count).
    Range(String),
}

/// The comparison of the two runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Twin {
    /// How far times may differ; 50 ms unless given.
    pub tolerance: Option<String>,
    /// What is compared; all of it unless given.
    pub compare: Option<Vec<Compared>>,
    /// Why there is nothing to compare, when a run on the kernel makes no sense.
    pub skip: Option<String>,
    /// `"uml"`: only kernels in virtual time are asked. The machine's own clock is too slow or too coarse for it, or its kernel
    /// seldom has what it needs.
    pub only: Option<TwinOnly>,
}

/// Which kernels are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TwinOnly {
    /// A User-Mode Linux, whose clock is virtual.
    Uml,
}

/// What the twin's verdict compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// Every packet: order, contents, time.
    Packets,
    /// Every system call's result, and when it returned; of built-in commands (`ping`) what they print, without times.
    Calls,
    /// Neighbour states.
    Neighbours,
    /// Counters at the end.
    Counters,
}
