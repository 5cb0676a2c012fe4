//! The reassembly queue and the scoreboard against models that only know sets of bytes and of segments.

use proptest::prelude::*;
use wire::Frame;
use wire::tcp::{Flags, Header, OptionSet, Sack, SackBlock, SeqNum};

use super::fixture::*;
use crate::call::{Call, Fd, OptValue, Ret, SockOpt};

/// A segment between the two, from `from`, with right checksums.
fn segment(from: usize, header: &Header, payload: &[u8]) -> Frame {
    let [src, dst] = [from, 1 - from].map(|n| ADDRS[n].parse::<std::net::Ipv4Addr>().expect("an address"));
    let mut tcp = vec![0; header.header_len()];
    header.emit(&mut tcp);
    tcp.extend(payload);
    tcp[16..18].fill(0);
    let sum = wire::tcp::checksum_v4(src, dst, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let total = u16::try_from(20 + tcp.len()).expect("a packet");
    let mut b = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0];
    b.extend(src.octets());
    b.extend(dst.octets());
    b[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = wire::checksum::sum(&b).finish();
    b[10..12].copy_from_slice(&sum.to_be_bytes());
    b.extend(tcp);
    Frame::from_vec(b)
}

/// Two hosts without timestamps, a connection, and the client's and the server's next absolute sequence numbers.
fn connected() -> (Pair, Fd, Fd, [SeqNum; 2], [u16; 2]) {
    let mut pair = Pair::new(0);
    for host in [C, S] {
        pair.sysctl(host, "net.ipv4.tcp_timestamps", "0");
    }
    let (client, server) = pair.established();
    let last = pair.seen.iter().rfind(|s| s.from == C).expect("the third segment").header;
    (pair, client, server, [last.seq, last.ack], [last.src_port, last.dst_port])
}

fn byte(at: usize) -> u8 {
    (at % 251) as u8 // below 251
}

/// Bytes of the stream that the model looks at.
const STREAM: usize = 12_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// RFC 2018 §3, RFC 2883, RFC 9293 §3.10.7.4: ACK and SACK blocks tell exactly what has arrived, the newest first, and
    /// the application reads every byte once.
    #[test]
    fn reassembly_is_a_set_of_bytes(pieces in prop::collection::vec((0..STREAM - 1, 1usize..1460), 1..40)) {
        let (mut pair, _, server, [seq, ack], [port, to]) = connected();
        pair.rule = mute(C);
        let mut have = vec![false; STREAM + 1]; // the last never
        let mut read = Vec::new();
        let mut most = 0;
        let whole = (0..STREAM).step_by(1000).map(|at| (at, 1000));
        let count = pieces.len();
        for (n, (at, len)) in pieces.into_iter().chain(whole).enumerate() {
            let len = len.min(STREAM - at);
            let payload: Vec<u8> = (at..at + len).map(byte).collect();
            let header = Header {
                src_port: port, dst_port: to, seq: seq + at as u32, ack, flags: Flags::ACK, window: 5000, // below 12,000
                ..Header::default()
            };
            pair.forget();
            pair.inject(S, &segment(C, &header, &payload));
            pair.run_ms(60);
            let before = have.clone();
            have[at..at + len].fill(true);
            let next = have.iter().position(|b| !b).expect("the last never");
            let said = pair.seen.iter().rfind(|s| s.from == S).expect("an ACK").header;
            prop_assert_eq!(said.ack, seq + next as u32, "after {} of {}", n, count);
            let sack = said.options.sack();
            let mut blocks: Vec<SackBlock> = sack.as_slice().to_vec();
            let place = |n: SeqNum| usize::try_from(n.minus(seq)).expect("in the stream");
            let runs = runs(&have, next);
            // Linux remembers four (`selective_acks`); what it forgot is neither reported nor joined again.
            most = if runs.is_empty() { 0 } else { most.max(runs.len()) };
            let exact = most < 4;
            // A block that is no stretch beyond the ACK is a D-SACK: all of it was there before, and it goes first.
            if let Some(d) = blocks.first().map(|b| (place(b.left), place(b.right)))
                && exact
                && !runs.contains(&d)
            {
                prop_assert!(before[d.0..d.1].iter().all(|b| *b), "{:?} is reported twice and came once", d);
                blocks.remove(0);
            }
            prop_assert!(!exact || blocks.len() == runs.len(), "{:?} {:?}", blocks, runs);
            for block in &blocks {
                let (left, right) = (place(block.left), place(block.right));
                prop_assert!(left < right && have[left..right].iter().all(|b| *b), "{}-{} never came", left, right);
                prop_assert!(!exact || runs.contains(&(left, right)), "{}-{} of {:?}", left, right, runs);
            }
            if at > next && exact && let Some(first) = blocks.first() {
                prop_assert!(!first.left.after(seq + at as u32) && first.right.after(seq + at as u32), "the newest first");
            }
            if n % 3 == 0 && next > read.len() {
                read.extend(pair.recv(S, server, 1 << 20).expect("data"));
            }
        }
        if read.len() < STREAM {
            read.extend(pair.recv(S, server, 1 << 20).expect("the rest"));
        }
        prop_assert!(read.len() == STREAM && read.iter().enumerate().all(|(n, b)| *b == byte(n)));
    }

    /// RFC 6675 §3: what counts as SACKed is the union of all valid blocks beyond the cumulative ACK; what is lost or
    /// was sent again is never more than what is in flight.
    #[test]
    fn the_scoreboard_is_a_set_of_segments(
        acks in prop::collection::vec((0usize..2, prop::collection::vec((0usize..10, 1usize..5), 0..4)), 1..30)
    ) {
        let (mut pair, client, _, [seq, ack], [port, to]) = connected();
        pair.rule = Box::new(|_| Fate::Drop);
        prop_assert_eq!(pair.send(C, client, 14_600), Ok(14_600));
        let mut sacked = [false; 10];
        let mut una = 0;
        for (advance, blocks) in acks {
            // A cumulative ACK that ends where something is SACKed would take that back.
            if advance > 0 && una < 9 && !sacked[una + 1] {
                una += 1;
            }
            let mut told: Vec<SackBlock> = Vec::new();
            for (at, len) in blocks {
                let (from, to) = (at.max(una + 1), (at + len).min(10));
                if from < to {
                    sacked[from..to].fill(true);
                    let edge = |n: usize| seq + 1460 * n as u32; // at most ten
                    told.push(SackBlock { left: edge(from), right: edge(to) });
                }
            }
            let options = OptionSet { sack: told.into_iter().collect::<Sack>(), ..OptionSet::default() };
            let header = Header {
                src_port: to, dst_port: port, seq: ack, ack: seq + 1460 * una as u32, flags: Flags::ACK, window: 60_000,
                options: options.build().expect("four blocks fit"),
                ..Header::default()
            };
            pair.inject(C, &segment(S, &header, &[]));
            let info = info(&mut pair, client);
            let beyond = u32::try_from(sacked[una..].iter().filter(|s| **s).count()).expect("ten");
            let (unacked, sacked_out, lost, retrans) = (info(24), info(28), info(32), info(36));
            prop_assert_eq!(unacked, 10 - una as u32); // ten
            prop_assert_eq!(sacked_out, beyond);
            prop_assert!(sacked_out + lost <= unacked && retrans <= unacked - sacked_out, "{} {}", lost, retrans);
        }
    }
}

/// Stretches of bytes beyond `next`.
fn runs(have: &[bool], next: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = next;
    while let Some(left) = (at..have.len()).find(|n| have[*n]) {
        let right = (left..have.len()).find(|n| !have[*n]).unwrap_or(have.len());
        found.push((left, right));
        at = right;
    }
    found
}

/// Words of `TCP_INFO` by their offsets.
fn info(pair: &mut Pair, fd: Fd) -> impl Fn(usize) -> u32 {
    let bytes = match pair.call(C, &Call::GetSockOpt { fd, opt: SockOpt::TCP_INFO }) {
        Ok(Ret::Opt(OptValue::Bytes(bytes))) => bytes.to_vec(),
        other => panic!("{other:?}"),
    };
    move |at| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
