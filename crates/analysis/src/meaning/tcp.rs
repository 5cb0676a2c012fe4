//! TCP in words (tcpdump: print-tcp.c): flags as `S.`, sequence numbers relative to the connection's
//! first, options by name. Relative numbers need memory: [`Flows`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use wire::tcp::{Header, Opt, SeqNum};

use super::Words;
use crate::view::{Ip, View};

/// Most connections whose first numbers are remembered; further ones show absolute numbers.
const MAX_FLOWS: usize = 65_536;

/// Numbers so far beyond a connection's first are taken for its own; the largest window is 2^30.
const FITS: u32 = 1 << 30;

fn distance(first: SeqNum, n: SeqNum) -> u32 {
    n.0.wrapping_sub(first.0)
}

type Key = (IpAddr, u16, IpAddr, u16);

/// Where each direction's sequence numbers began.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    first: BTreeMap<Key, SeqNum>,
    /// Those of the connection before on the same ports: its late segments and answers count from there.
    before: BTreeMap<Key, SeqNum>,
    /// By how much each direction's windows are shifted, as its SYN said; missing where it said nothing.
    scale: BTreeMap<Key, u8>,
    /// Directions whose window was 0 when they spoke last.
    shut: BTreeSet<Key>,
    absolute: bool,
    portless: bool,
}

impl Flows {
    /// Remembers nothing: numbers stay as they are on the wire.
    pub fn absolute() -> Flows {
        Flows { absolute: true, ..Flows::default() }
    }

    /// Without the ports of SYNs, for comparing runs whose ports are random.
    pub fn without_ports() -> Flows {
        Flows { portless: true, ..Flows::default() }
    }

    pub(super) fn words(&mut self, h: &Header, packet: &View, ip: Option<&Ip>) -> Words {
        let (seq, ack) = match ip {
            Some(ip) if !self.absolute => self.relative(h, ip),
            _ => (h.seq.0, h.ack.0),
        };
        let len = packet.payload().len();
        let mut text = flags(h);
        // The ports once a connection: which one it is.
        if h.flags.syn() && !h.flags.ack() && !self.portless {
            let _ = write!(text, " {} > {}", h.src_port, h.dst_port);
        }
        // A pure ACK's own number says nothing: tcpdump leaves it out too.
        if len > 0 {
            let _ = write!(text, " seq {seq}:{}", seq.wrapping_add(u32::try_from(len).unwrap_or(0)));
        } else if h.flags.syn() || h.flags.fin() || h.flags.rst() {
            let _ = write!(text, " seq {seq}");
        }
        if h.flags.ack() {
            let _ = write!(text, " ack {ack}");
        }
        let mut long = text.clone();
        let _ = write!(long, " win {}", h.window);
        if h.flags.urg() {
            let _ = write!(text, " urg {}", h.urgent);
        }
        if let Some(ip) = ip {
            text.push_str(&self.window(h, ip));
        }
        let (some, every) = options(h, ip, self);
        text.push_str(&some);
        long.push_str(&every);
        let _ = write!(long, " length {len}");
        if len > 0 {
            let _ = write!(text, " len {len}");
        }
        Words { short: text, long: format!("Flags {long}") }
    }

    /// ` win 0`, and the window again when it opened: else it is for those who ask for everything.
    fn window(&mut self, h: &Header, ip: &Ip) -> String {
        let own = (ip.src, h.src_port, ip.dst, h.dst_port);
        let peer = (ip.dst, h.dst_port, ip.src, h.src_port);
        if h.flags.syn() {
            let scale =
                h.options.iter().find_map(|(_, o)| if let Opt::WindowScale(n) = o { Some(n) } else { None });
            match scale {
                Some(n) if self.scale.len() < MAX_FLOWS => self.scale.insert(own, n),
                _ => self.scale.remove(&own),
            };
            return String::new();
        }
        if h.flags.rst() || !h.flags.ack() {
            return String::new();
        }
        if h.window == 0 {
            if self.shut.len() < MAX_FLOWS {
                self.shut.insert(own);
            }
            return " win 0".to_string();
        }
        if !self.shut.remove(&own) {
            return String::new();
        }
        let shift = self.scale.get(&own).filter(|_| self.scale.contains_key(&peer)).copied().unwrap_or(0);
        format!(" win {}", u32::from(h.window) << shift.min(14))
    }

    /// Sequence and acknowledgment number relative to both directions' first.
    fn relative(&mut self, h: &Header, ip: &Ip) -> (u32, u32) {
        let own = (ip.src, h.src_port, ip.dst, h.dst_port);
        let peer = (ip.dst, h.dst_port, ip.src, h.src_port);
        let full = self.first.len() >= MAX_FLOWS;
        if h.flags.syn() {
            if !h.flags.ack() && self.first.get(&own).is_some_and(|&f| f != h.seq) {
                for key in [own, peer] {
                    if let Some(first) = self.first.remove(&key) {
                        self.before.insert(key, first);
                    }
                }
            }
            if !full || self.first.contains_key(&own) {
                self.first.insert(own, h.seq);
            }
        } else if h.flags.rst() {
            // A reset for a connection that never was: its number stands for itself.
            if !full {
                self.first.entry(own).or_insert(h.seq);
            }
        } else if !full {
            // Seen from the middle on: the first byte seen is number 1.
            self.first.entry(own).or_insert(SeqNum(h.seq.0.wrapping_sub(1)));
        }
        let late = self.before.get(&peer).is_some_and(|f| distance(*f, h.ack) <= FITS);
        if h.flags.ack() && !full && !h.flags.rst() && !late {
            self.first.entry(peer).or_insert(SeqNum(h.ack.0.wrapping_sub(1)));
        }
        (self.relative_to_first(&own, h.seq), self.relative_to_first(&peer, h.ack))
    }

    /// A number relative to the connection's first, or to the one's before when it fits only there.
    fn relative_to_first(&self, key: &Key, n: SeqNum) -> u32 {
        let first = self.first.get(key).copied();
        let before = self.before.get(key).filter(|b| distance(**b, n) <= FITS);
        match (first, before) {
            (Some(first), None) => distance(first, n),
            (Some(first), Some(_)) if distance(first, n) <= FITS => distance(first, n),
            (_, Some(before)) => distance(*before, n),
            (None, None) => n.0,
        }
    }

    fn relative_to_peer(&self, h: &Header, ip: Option<&Ip>, n: SeqNum) -> u32 {
        ip.map_or(n.0, |ip| self.relative_to_first(&(ip.dst, h.dst_port, ip.src, h.src_port), n))
    }
}

/// `S`, `S.`, `P.`, `.`: tcpdump's letters.
fn flags(h: &Header) -> String {
    let f = h.flags;
    let mut text = String::new();
    for (set, letter) in [
        (f.fin(), 'F'),
        (f.syn(), 'S'),
        (f.rst(), 'R'),
        (f.psh(), 'P'),
        (f.urg(), 'U'),
        (f.cwr(), 'W'),
        (f.ece(), 'E'),
        (f.ack(), '.'),
    ] {
        if set {
            text.push(letter);
        }
    }
    if text.is_empty() { "none".to_string() } else { text }
}

/// Options for the arrow (those of a SYN, SACK blocks) and all of them.
fn options(h: &Header, ip: Option<&Ip>, flows: &Flows) -> (String, String) {
    let mut some = String::new();
    let mut every = Vec::new();
    for (_, option) in &h.options {
        let (arrow, text) = match option {
            Opt::EndOfList | Opt::Nop => continue,
            Opt::Mss(mss) => (true, format!("mss {mss}")),
            Opt::SackPermitted => (true, "sackOK".to_string()),
            Opt::Timestamps(ts) => {
                if h.flags.syn() {
                    some.push_str(" ts");
                }
                (false, format!("TS val {} ecr {}", ts.val, ts.ecr))
            }
            Opt::WindowScale(n) => (true, format!("wscale {n}")),
            Opt::Sack(_) => {
                let relative = |n| flows.relative_to_peer(h, ip, n);
                let sack = h.options.sack();
                let blocks: Vec<String> = sack
                    .as_slice()
                    .iter()
                    .map(|b| format!("{{{}:{}}}", relative(b.left), relative(b.right)))
                    .collect();
                (true, format!("sack {}", blocks.concat()))
            }
            Opt::FastOpen(tfo) if tfo.cookie.is_empty() => (true, "tfo cookiereq".to_string()),
            Opt::FastOpen(_) => (true, "tfo cookie".to_string()),
            Opt::Md5(_) => (false, "md5".to_string()),
            Opt::Unknown { kind, .. } => (false, format!("unknown-{kind}")),
            Opt::Malformed(_) => (true, "malformed option".to_string()),
        };
        if arrow {
            let _ = write!(some, " {text}");
        }
        every.push(text);
    }
    let every = if every.is_empty() { String::new() } else { format!(" options [{}]", every.join(",")) };
    (some, every)
}
