//! Holds a run to its trace: packets by connection and direction.

use std::collections::BTreeMap;

use super::trace::{Host, Mark, Packet, Trace};

/// How far a time may be from the trace's.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// In seconds.
    pub seconds: f64,
    /// Of the time since the section began: a wheel's step is an eighth of the wait.
    pub share: f64,
}

/// More messages than this about one trace help nobody.
const MAX_MESSAGES: usize = 12;

/// Differences; empty is agreement.
#[derive(Debug, Default)]
pub struct Differences {
    /// One line each, the trace's side first.
    pub texts: Vec<String>,
    /// Packets whose times agree, for finding the phase of the kernel's clock.
    pub in_time: usize,
    /// Packets whose times were compared.
    pub timed: usize,
}

impl Differences {
    /// Adds a line, while there are not too many.
    pub fn say(&mut self, text: String) {
        if self.texts.len() < MAX_MESSAGES {
            self.texts.push(text);
        }
    }
}

/// Connections by the order of their first packets; a SYN where there was more than SYNs begins a new one.
#[derive(Debug, Default)]
pub struct Conns(Vec<Conn>);

#[derive(Debug)]
struct Conn {
    /// The client's and the server's.
    ports: (u16, u16),
    /// Which side sent something else than a SYN.
    begun: [bool; 2],
}

impl Conns {
    /// The connection of a packet: its number, from 0.
    pub fn of(&mut self, from: Host, ports: (u16, u16), flags: &str) -> usize {
        let ports = if from == 0 { ports } else { (ports.1, ports.0) };
        let known = self.0.iter().rposition(|c| c.ports == ports);
        let again = known.filter(|n| !(flags == "S" && self.0[*n].begun[from]));
        let conn = again.unwrap_or_else(|| {
            self.0.push(Conn { ports, begun: [false; 2] });
            self.0.len() - 1
        });
        self.0[conn].begun[from] |= !flags.contains('S');
        conn
    }

    /// The client's port and the server's of a connection.
    pub fn ports(&self, conn: usize) -> Option<(u16, u16)> {
        self.0.get(conn).map(|c| c.ports)
    }
}

type Streams<'a> = BTreeMap<(usize, Host), Vec<(f64, &'a Packet)>>;

fn streams<'a>(packets: impl Iterator<Item = (f64, &'a Packet)>) -> Streams<'a> {
    let mut conns = Conns::default();
    let mut streams: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, p) in packets {
        let conn = conns.of(p.from, p.ports, &p.flags);
        streams.entry((conn, p.from)).or_default().push((at, p));
    }
    streams
}

/// Compares the packets of sections that the trace shows (`map`: their numbers in the script) with ours, whose times
/// count from the begin of their section.
pub fn packets<'a>(
    trace: &Trace,
    map: &[usize],
    ours: impl Iterator<Item = (f64, &'a Packet)>,
    tolerance: Tolerance,
    found: &mut Differences,
) {
    if trace.packets().next().is_none() {
        return;
    }
    // The prelude's clock began before the script did.
    let mut first: BTreeMap<usize, f64> = BTreeMap::new();
    let last = trace.sections.len() - 1;
    // Of a flood the lab shows a part; its SYN-ACKs are counted.
    let flood = trace.title.contains("raw SYNs");
    let legit = trace.packets().find(|p| p.from == 0).map(|p| p.ports.0);
    let client = |p: &Packet| Some(if p.from == 0 { p.ports.0 } else { p.ports.1 });
    let theirs = streams(trace.packets().filter(|p| !flood || client(p) == legit).map(|p| {
        let base = if p.section < last { *first.entry(p.section).or_insert(p.at) } else { 0.0 };
        (p.at - base, p)
    }));
    let ours = streams(ours.filter(|(_, p)| map.contains(&p.section)));
    let keys: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for key in keys {
        let none = Vec::new();
        let (t, o) = (theirs.get(key).unwrap_or(&none), ours.get(key).unwrap_or(&none));
        stream(*key, t, o, map, tolerance, found);
    }
}

fn stream(
    key: (usize, Host),
    theirs: &[(f64, &Packet)],
    ours: &[(f64, &Packet)],
    map: &[usize],
    tolerance: Tolerance,
    found: &mut Differences,
) {
    let name = format!("conn {} {}", key.0 + 1, ["C>S", "S>C"][key.1]);
    for n in 0..theirs.len().max(ours.len()) {
        match (theirs.get(n), ours.get(n)) {
            (Some((at, p)), None) => {
                return found.say(format!("{name} packet {n}: missing {at:.4} {}", p.text));
            }
            (None, Some((at, p))) => {
                return found.say(format!("{name} packet {n}: too much {at:.4} {}", text(p)));
            }
            (Some((at, p)), Some((our_at, q))) => {
                if !same(p, q) || map[p.section] != q.section {
                    let (ours, at_section) = (text(q), q.section);
                    return found.say(format!(
                        "{name} packet {n}: {at:.4} {} | ours {our_at:.4} {ours} (section {at_section})",
                        p.text
                    ));
                }
                found.timed += 1;
                if (at - our_at).abs() <= tolerance.seconds + tolerance.share * at {
                    found.in_time += 1;
                } else {
                    found.say(format!("{name} packet {n}: {} at {at:.4}, ours {our_at:.4}", p.text));
                }
            }
            (None, None) => return,
        }
    }
}

/// Numbers behind the other side's SYN are accidents of initial sequence numbers.
fn number(a: u32, b: u32) -> bool {
    a == b || (a > 1 << 30 && b > 1 << 24)
}

fn same(p: &Packet, q: &Packet) -> bool {
    let ack = match (p.ack, q.ack) {
        (Some(a), Some(b)) => number(a, b),
        (None, None) => true,
        _ => false,
    };
    // The trace prints the first block.
    let flags = p.flags == q.flags || (p.flags.is_empty() && q.flags == "none");
    flags && number(p.seq, q.seq) && ack && p.len == q.len && p.sack.first() == q.sack.first()
}

/// A packet in the trace's words.
pub fn text(p: &Packet) -> String {
    let ack = p.ack.map_or("-".to_owned(), |a| a.to_string());
    let sack = p.sack.iter().map(|(l, r)| format!(" sack{l}-{r}")).collect::<String>();
    let mark = match p.mark {
        Mark::Pass => String::new(),
        other => format!(" **{other:?}**"),
    };
    format!("{}>{} [{}] seq {} ack {ack} len {}{sack}{mark}", p.ports.0, p.ports.1, p.flags, p.seq, p.len)
}
