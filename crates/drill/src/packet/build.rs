//! From a packet of the script to bytes for the wire, with the live addresses, ports and numbers.

use std::net::IpAddr;

use wire::checksum::{pseudo_v4, pseudo_v6, sum};
use wire::ip::Protocol;

use super::icmp;
use crate::ast::{Icmp, IpInfo, Quoted, TcpOption, Tos};

/// What a packetdrill packet's TTL is when the script says none.
const TTL: u8 = 255;
/// Bytes of the quoted transport header in an ICMP error.
const QUOTED_BYTES: usize = 8;

/// A TCP segment with live numbers.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<TcpOption>,
    pub(crate) len: usize,
}

/// Who sends to whom, with ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) src: (IpAddr, u16),
    pub(crate) dst: (IpAddr, u16),
}

pub(crate) fn build_tcp(flow: Flow, info: IpInfo, segment: &Segment) -> Vec<u8> {
    let mut options = Vec::new();
    segment.options.iter().for_each(|o| o.emit(&mut options));
    let header = 20 + options.len();
    let mut out = Vec::with_capacity(header + segment.len);
    out.extend(flow.src.1.to_be_bytes());
    out.extend(flow.dst.1.to_be_bytes());
    out.extend(segment.seq.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    let words = u16::try_from(header / 4).expect("60 bytes at most") << 12 | segment.flags;
    out.extend(words.to_be_bytes());
    out.extend(segment.window.to_be_bytes());
    out.extend([0, 0]);
    out.extend(segment.urgent.to_be_bytes());
    out.extend(options);
    out.resize(header + segment.len, 0);
    checksum(&mut out, 16, flow, Protocol::TCP);
    ip(flow, info, Protocol::TCP, &out)
}

pub(crate) fn build_udp(flow: Flow, info: IpInfo, len: u16) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(flow.src.1.to_be_bytes());
    out.extend(flow.dst.1.to_be_bytes());
    out.extend(len.saturating_add(8).to_be_bytes());
    out.extend([0, 0]);
    out.resize(8 + usize::from(len), 0);
    checksum(&mut out, 6, flow, Protocol::UDP);
    ip(flow, info, Protocol::UDP, &out)
}

/// `quoted` is the flow of the packet that the message quotes; the sequence number in it is live.
pub(crate) fn build_icmp(flow: Flow, info: IpInfo, message: &Icmp, seq: u32) -> Result<Vec<u8>, String> {
    let v6 = flow.src.0.is_ipv6();
    let (ty, code) = icmp::numbers(message, v6)?;
    let mut out = vec![ty, code, 0, 0, 0, 0, 0, 0];
    match message.mtu {
        Some(mtu) if v6 => out[4..8].copy_from_slice(&mtu.to_be_bytes()),
        Some(mtu) => {
            let mtu = u16::try_from(mtu).map_err(|_| format!("mtu {mtu} is out of range"))?;
            out[6..8].copy_from_slice(&mtu.to_be_bytes());
        }
        None => {}
    }
    if message.kind.starts_with("echo") {
        out[4..6].copy_from_slice(&message.id.to_be_bytes());
    }
    match message.quoted {
        Quoted::Raw { len } => {
            if usize::from(len) < out.len() {
                return Err(format!("icmp_bytes {len} smaller than icmp header length 8"));
            }
            out.resize(usize::from(len), 0);
        }
        // The quoted packet went the other way.
        Quoted::Tcp { len, .. } | Quoted::Udp { len } => {
            let is_tcp = matches!(message.quoted, Quoted::Tcp { .. });
            let protocol = if is_tcp { Protocol::TCP } else { Protocol::UDP };
            let mut inner = Vec::new();
            inner.extend(flow.dst.1.to_be_bytes());
            inner.extend(flow.src.1.to_be_bytes());
            if is_tcp {
                inner.extend(seq.to_be_bytes());
            } else {
                inner.extend(len.saturating_add(8).to_be_bytes());
                inner.extend([0, 0]);
            }
            let whole = usize::from(len) + if is_tcp { 20 } else { 8 };
            let back = Flow { src: flow.dst, dst: flow.src };
            let mut packet = ip(back, IpInfo::default(), protocol, &vec![0; whole]);
            let header = if v6 { 40 } else { 20 };
            packet.truncate(header);
            packet.extend(&inner[..QUOTED_BYTES]);
            out.extend(packet);
        }
    }
    let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
    if v6 {
        checksum(&mut out, 2, flow, protocol);
    } else {
        let check = sum(&out).finish();
        out[2..4].copy_from_slice(&check.to_be_bytes());
    }
    Ok(ip(flow, info, protocol, &out))
}

fn checksum(segment: &mut [u8], at: usize, flow: Flow, protocol: Protocol) {
    let pseudo = match (flow.src.0, flow.dst.0) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            pseudo_v4(s, d, protocol, u16::try_from(segment.len()).expect("fits an IP packet"))
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            pseudo_v6(s, d, protocol, u32::try_from(segment.len()).expect("fits an IP packet"))
        }
        _ => unreachable!("both ends of a run have the same family"),
    };
    let mut check = (pseudo + sum(segment)).finish();
    if check == 0 && protocol == Protocol::UDP {
        check = 0xffff;
    }
    segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
}

fn ip(flow: Flow, info: IpInfo, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let tos = match info.tos {
        Tos::Ecn(bits) | Tos::Byte(bits) => bits,
        Tos::Unsaid | Tos::Ect01 => 0,
    };
    let ttl = if info.ttl == 0 { TTL } else { info.ttl };
    let mut out = Vec::with_capacity(40 + payload.len());
    match (flow.src.0, flow.dst.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out.extend([0x45, tos]);
            let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
            out.extend(total.to_be_bytes());
            out.extend([0, 0, 0, 0, ttl, protocol.0, 0, 0]);
            out.extend(src.octets());
            out.extend(dst.octets());
            let check = sum(&out).finish();
            out[10..12].copy_from_slice(&check.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let first = 6 << 28 | u32::from(tos) << 20 | info.flow_label;
            out.extend(first.to_be_bytes());
            out.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend([protocol.0, ttl]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        _ => unreachable!("both ends of a run have the same family"),
    }
    out.extend(payload);
    out
}
