//! TCP as its packets show it: SYNs and SYN-ACKs sent again, which packet completed a handshake, data and FINs sent
//! again and how far apart, resets, and who ended in TIME-WAIT (RFC 9293 §3.5, §3.6; TRUTH 1 to 5).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use stack::record::{NodeId, What};
use wire::tcp::Flags;

use super::{Case, Findings, about};
use crate::explain::Ref;
use crate::traffic::Transmission;

/// Times that a sentence lists; the rest is counted.
const SHOWN: usize = 12;

/// From where to where.
type Flow = (SocketAddr, SocketAddr);

/// A segment that its sender made (routers pass copies on).
struct Segment<'a> {
    t: &'a Transmission,
    flow: Flow,
    flags: Flags,
    seq: u32,
    ack: u32,
    len: usize,
}

impl Segment<'_> {
    fn is(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// It reached the host that has its destination's address.
    fn arrived(&self, case: &Case<'_>) -> bool {
        let receiver = case.owner_of_ip(self.flow.1.ip());
        self.t.arrivals.iter().any(|a| Some(a.node) == receiver && !a.changed)
    }
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let segments = segments(case);
    repeated(case, &segments, out);
    handshakes(case, &segments, out);
    resets(case, &segments, out);
    time_wait(case, out);
}

fn segments<'a>(case: &Case<'a>) -> Vec<Segment<'a>> {
    let own = case.packets().filter_map(|t| {
        let (h, ip) = (t.view.tcp()?, t.view.ip()?);
        let flow = (SocketAddr::new(ip.src, h.src_port), SocketAddr::new(ip.dst, h.dst_port));
        let len = t.view.payload().len();
        let mine = case.owner_of_ip(ip.src) == Some(t.from);
        mine.then_some(Segment { t, flow, flags: h.flags, seq: h.seq.0, ack: h.ack.0, len })
    });
    own.collect()
}

/// Segments that take sequence numbers and were sent more than once.
fn repeated(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut sent: BTreeMap<(Flow, u32), Vec<&Segment<'_>>> = BTreeMap::new();
    for s in segments {
        let takes = s.len > 0 || s.is(Flags::SYN) || s.is(Flags::FIN);
        // A keepalive's byte of before takes no number.
        if takes && !s.is(Flags::RST) {
            sent.entry((s.flow, s.seq)).or_default().push(s);
        }
    }
    for copies in sent.values().filter(|c| c.len() > 1) {
        let first = copies[0];
        let host = case.name(first.t.from);
        let what = match (first.is(Flags::SYN), first.is(Flags::ACK), first.len) {
            (true, false, _) => "its SYN".to_string(),
            (true, true, _) => "its SYN-ACK".to_string(),
            (false, _, 0) => "its FIN".to_string(),
            (false, _, len) => format!("{len} bytes"),
        };
        let start = first.t.at.as_nanos();
        let later = copies[1..].iter().take(SHOWN).map(|s| about(s.t.at.as_nanos() - start));
        let list = later.collect::<Vec<_>>().join(", ");
        let more = if copies.len() > SHOWN + 1 { ", …" } else { "" };
        let text = format!(
            "{host} sent {what} {} times, with the same sequence number: again after {list}{more}",
            copies.len()
        );
        out.say("tcp-again", text, copies.iter().map(|s| Ref::Packet(s.t.number)));
        match (first.is(Flags::SYN), first.is(Flags::ACK)) {
            (true, false) => {
                out.decides(host, "net.ipv4.tcp_syn_retries");
                out.decides(host, "net.ipv4.tcp_syn_linear_timeouts");
            }
            (true, true) => out.decides(host, "net.ipv4.tcp_synack_retries"),
            _ => {}
        }
    }
}

/// The packet with which the side that was asked had its handshake, when it was not the third one.
fn handshakes(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut done: Vec<(Flow, u32)> = Vec::new();
    for (i, answer) in segments.iter().enumerate() {
        let is_answer = answer.is(Flags::SYN) && answer.is(Flags::ACK);
        if !is_answer || done.contains(&(answer.flow, answer.seq)) || !answer.arrived(case) {
            continue;
        }
        done.push((answer.flow, answer.seq));
        let back = (answer.flow.1, answer.flow.0);
        let mut thirds = segments[i..].iter().filter(|s| {
            s.flow == back && s.is(Flags::ACK) && !s.is(Flags::SYN) && s.ack == answer.seq.wrapping_add(1)
        });
        let (Some(third), false) = (thirds.next(), answer.is(Flags::RST)) else { continue };
        if third.is(Flags::RST) || third.arrived(case) {
            continue;
        }
        let (client, server) = (case.name(third.t.from), case.name(answer.t.from));
        let lost = [Ref::Packet(answer.t.number), Ref::Packet(third.t.number)];
        let late = segments.iter().enumerate().skip(i).find(|(_, s)| {
            s.flow == back && s.is(Flags::ACK) && !s.is(Flags::SYN) && !s.is(Flags::RST) && s.arrived(case)
        });
        match late {
            Some((n, s)) => {
                let by = match (s.len, s.is(Flags::FIN)) {
                    (0, true) => "its FIN",
                    (0, false) => "its answer to a SYN-ACK that came again",
                    _ => "its first data",
                };
                let refs = lost.into_iter().chain([Ref::Packet(s.t.number)]);
                // Nobody knows the connection any more: a RST is what answers.
                let next = segments[n..].iter().find(|r| r.flow == answer.flow);
                if let Some(rst) = next.filter(|r| r.is(Flags::RST)) {
                    let text = format!(
                        "{client}'s third packet was lost and {server} forgot the connection: what {client} sent later got a RST"
                    );
                    out.say("third-ack-lost", text, refs.chain([Ref::Packet(rst.t.number)]));
                } else {
                    let text = format!(
                        "{client}'s third packet was lost; {by}, with the same acknowledgment, took its place at {server}"
                    );
                    out.say("third-ack-lost", text, refs);
                }
                let fact = format!("{client} did not send it again by itself");
                out.folklore("a lost third ACK is retransmitted", fact, [Ref::Packet(third.t.number)]);
            }
            None => {
                let text = format!(
                    "no acknowledgment of {server}'s SYN-ACK reached it: {client} believes in a connection that {server} does not have"
                );
                out.say("third-ack-lost", text, lost);
            }
        }
    }
}

fn resets(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    for (i, rst) in segments.iter().enumerate().filter(|(_, s)| s.is(Flags::RST)) {
        let back = (rst.flow.1, rst.flow.0);
        let cause = segments[..i].iter().rfind(|s| s.flow == back && s.arrived(case) && !s.is(Flags::RST));
        let Some(cause) = cause.filter(|c| c.is(Flags::SYN) && !c.is(Flags::ACK)) else { continue };
        let (host, peer) = (case.name(rst.t.from), case.name(cause.t.from));
        let text = format!("{host} answered {peer}'s SYN for port {} with a RST", rst.flow.0.port());
        out.say("tcp-refused", text, [Ref::Packet(cause.t.number), Ref::Packet(rst.t.number)]);
    }
}

/// Who ended in TIME-WAIT, by the states that our stack records.
fn time_wait(case: &Case<'_>, out: &mut Findings) {
    let mut all: BTreeMap<NodeId, Vec<Ref>> = BTreeMap::new();
    for (i, r) in case.journal.records.iter().enumerate() {
        if let What::Sock { to: Some("TIME-WAIT"), .. } = r.what {
            all.entry(r.node).or_default().push(Ref::Record(i));
        }
    }
    for (node, refs) in all {
        let text = match refs.len() {
            1 => format!("{} went to TIME-WAIT: it closed first, or at the same time", case.name(node)),
            n => format!("{} connections of {} went to TIME-WAIT", n, case.name(node)),
        };
        out.say("time-wait", text, refs);
    }
}

#[cfg(test)]
mod tests {
    use wire::Frame;
    use wire::ip::Protocol;
    use wire::tcp::{Header, SeqNum};

    use super::*;
    use crate::build::*;
    use crate::explain::explain;

    const C: (&str, u16) = ("192.0.2.1", 5000);
    const S: (&str, u16) = ("192.0.2.2", 80);
    const SYN: u16 = 0x002;
    const SYN_ACK: u16 = 0x012;
    const ACK: u16 = 0x010;
    const RST: u16 = 0x004;

    fn segment(from: (&str, u16), to: (&str, u16), flags: u16, (seq, ack): (u32, u32), data: &[u8]) -> Frame {
        let header = Header {
            src_port: from.1,
            dst_port: to.1,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags: Flags(flags),
            ..Header::default()
        };
        let mut bytes = vec![0; header.header_len()];
        header.emit(&mut bytes);
        bytes.extend_from_slice(data);
        let packet = ipv4_packet(from.0, to.0, Protocol::TCP, V4::default(), &bytes);
        let (src, dst) = if from == C { (1, 2) } else { (2, 1) };
        eth(mac(src), mac(dst), wire::ethernet::EtherType::IPV4, &packet)
    }

    fn told(h: &Hand, finding: &str) -> Vec<String> {
        let e = explain(&h.journal);
        e.sentences.iter().filter(|s| s.finding == finding).map(|s| s.text.clone()).collect()
    }

    fn pair() -> Hand {
        Hand::new(&[("client", &[C.0]), ("server", &[S.0])])
    }

    #[test]
    fn syns_sent_again_are_told_with_their_distances_and_the_sysctls() {
        let mut h = pair();
        let syn = segment(C, S, SYN, (100, 0), b"");
        for at in [0, 1_000_000, 3_000_000] {
            h.tx(at, 0, &syn);
        }
        let text = "client sent its SYN 3 times, with the same sequence number: again after 1 s, 3 s";
        assert_eq!(told(&h, "tcp-again"), [text]);
        let e = explain(&h.journal);
        let names: Vec<&str> = e.decides.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["net.ipv4.tcp_syn_retries", "net.ipv4.tcp_syn_linear_timeouts"]);
    }

    #[test]
    fn data_take_the_place_of_a_lost_third_ack_unless_a_rst_answers() {
        let run = |answer: u16| {
            let mut h = pair();
            h.pass(0, 0, 1, &segment(C, S, SYN, (100, 0), b""));
            h.pass(1, 1, 0, &segment(S, C, SYN_ACK, (900, 101), b""));
            h.tx(2, 0, &segment(C, S, ACK, (101, 901), b""));
            h.pass(3, 0, 1, &segment(C, S, ACK, (101, 901), b"hi"));
            h.pass(4, 1, 0, &segment(S, C, answer, (901, 103), b""));
            (told(&h, "third-ack-lost"), explain(&h.journal).folklore.len())
        };
        let (text, folklore) = run(ACK);
        let place = "client's third packet was lost; its first data, with the same acknowledgment, took its place at server";
        assert_eq!((text, folklore), (vec![place.to_string()], 1));
        assert!(run(RST).0[0].ends_with("got a RST"), "{:?}", run(RST));
    }

    #[test]
    fn a_whole_handshake_has_nothing_to_tell_and_a_refused_syn_does() {
        let mut h = pair();
        h.pass(0, 0, 1, &segment(C, S, SYN, (100, 0), b""));
        h.pass(1, 1, 0, &segment(S, C, SYN_ACK, (900, 101), b""));
        h.pass(2, 0, 1, &segment(C, S, ACK, (101, 901), b""));
        assert!(told(&h, "third-ack-lost").is_empty() && told(&h, "tcp-refused").is_empty());
        let mut h = pair();
        h.pass(0, 0, 1, &segment(C, S, SYN, (100, 0), b""));
        h.pass(1, 1, 0, &segment(S, C, RST | ACK, (0, 101), b""));
        assert_eq!(told(&h, "tcp-refused"), ["server answered client's SYN for port 80 with a RST"]);
    }
}
