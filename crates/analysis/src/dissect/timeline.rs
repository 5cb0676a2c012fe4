//! Conversations with their milestones: when a connection was asked for and stood, when TLS began and was done, and every
//! request with its response's first and last byte. What phase bars and tables of round trips are made of.
//!
//! Times are those of the packets: a request when it was sent, an answer when it reached who asked (where the journal says so,
//! else when it was sent). A message that was sent again counts from its first transmission to its first arrival.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

use serde::Serialize;
use stack::record::NodeId;

use super::{Layer, Message, PacketLayers};
use crate::traffic::{Traffic, Transmission};

/// A TCP or QUIC connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conversation {
    /// As in [`super::PacketLayers::conversation`].
    pub number: u32,
    /// `TCP` or `QUIC`.
    pub transport: &'static str,
    /// Who asked for it, as its first packet's source; none when that packet had no ports.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// The packets, in the order of sending.
    pub packets: Vec<u32>,
    /// When its first packet was sent.
    pub begin_ns: u64,
    /// When the client could send data: the SYN-ACK was there. Not for QUIC, nor for a capture that begins later.
    pub connected_ns: Option<u64>,
    /// When the ClientHello was sent.
    pub tls_begin_ns: Option<u64>,
    /// When the client had the server's Finished. With False Start and early data a request may have been sent before.
    pub tls_end_ns: Option<u64>,
    /// Requests, in the order in which they were sent.
    pub exchanges: Vec<Exchange>,
}

/// A request and its response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// The HTTP/2 or HTTP/3 stream.
    pub stream: Option<u64>,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// The host that it is for.
    pub authority: String,
    /// The packet that completes its head.
    pub request_packet: u32,
    /// When that packet was sent.
    pub request_ns: u64,
    /// The final response's status; interim ones do not count.
    pub status: Option<u16>,
    /// The packet that completes the response's head.
    pub response_packet: Option<u32>,
    /// When it was there.
    pub response_ns: Option<u64>,
    /// Body bytes.
    pub bytes: usize,
    /// The last packet of the response.
    pub end_packet: Option<u32>,
    /// When it was there.
    pub end_ns: Option<u64>,
}

/// Every conversation of a journal's packets.
pub(super) fn of(packets: &BTreeMap<u32, PacketLayers>, traffic: &Traffic) -> Vec<Conversation> {
    // By number: the conversation, the node of its client, and the packets that were there.
    let mut all: BTreeMap<u32, (Conversation, NodeId)> = BTreeMap::new();
    // When a message was at its conversation's client: by the packet that carried it first, of all that did.
    let mut reached: BTreeMap<u32, u64> = BTreeMap::new();
    for t in traffic.numbered() {
        let Some(packet) = packets.get(&t.number) else { continue };
        let Some(number) = packet.conversation else { continue };
        let (c, client) = match all.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match begin(number, t) {
                Some(c) => new.insert((c, t.from)),
                None => continue,
            },
        };
        c.packets.push(t.number);
        let arrived = t.arrivals.iter().filter(|a| a.node == *client).map(|a| a.at.as_nanos()).min();
        let Some(arrived) = arrived else { continue };
        let first = packet.repeats.unwrap_or(t.number);
        reached.entry(first).and_modify(|at| *at = arrived.min(*at)).or_insert(arrived);
        if t.view.tcp().is_some_and(|h| h.flags.syn() && h.flags.ack()) {
            c.connected_ns.get_or_insert(arrived);
        }
    }
    for t in traffic.numbered() {
        let Some(packet) = packets.get(&t.number).filter(|p| p.repeats.is_none()) else { continue };
        let Some((c, _)) = packet.conversation.and_then(|n| all.get_mut(&n)) else { continue };
        let now = t.at.as_nanos();
        let at_client = reached.get(&t.number).copied().unwrap_or(now);
        for layer in &packet.layers {
            message(c, layer, t.number, now, at_client);
        }
    }
    all.into_values().map(|(c, _)| c).collect()
}

fn begin(number: u32, t: &Transmission) -> Option<Conversation> {
    let ip = t.view.inner_ip()?;
    let tcp = t.view.tcp().map(|h| (h.src_port, h.dst_port));
    let ports = tcp.or(t.view.udp().map(|h| (h.src_port, h.dst_port)))?;
    Some(Conversation {
        number,
        transport: if tcp.is_some() { "TCP" } else { "QUIC" },
        client: SocketAddr::new(ip.src, ports.0),
        server: SocketAddr::new(ip.dst, ports.1),
        packets: Vec::new(),
        begin_ns: t.at.as_nanos(),
        connected_ns: None,
        tls_begin_ns: None,
        tls_end_ns: None,
        exchanges: Vec::new(),
    })
}

fn message(c: &mut Conversation, layer: &Layer, number: u32, now: u64, at_client: u64) {
    match &layer.message {
        Message::TlsHandshake { ty: 1, .. } => {
            c.tls_begin_ns.get_or_insert(now);
        }
        Message::TlsHandshake { ty: 20, from_client: false, .. } => {
            c.tls_end_ns.get_or_insert(at_client);
        }
        Message::HttpRequest { method, target, authority, stream } => {
            // QUIC sends a stream's bytes again in other packets.
            let again = |e: &Exchange| stream.is_some() && e.stream == *stream;
            if c.exchanges.iter().any(again) {
                return;
            }
            c.exchanges.push(Exchange {
                stream: *stream,
                method: method.clone(),
                target: target.clone(),
                authority: authority.clone(),
                request_packet: number,
                request_ns: now,
                status: None,
                response_packet: None,
                response_ns: None,
                bytes: 0,
                end_packet: None,
                end_ns: None,
            });
        }
        Message::HttpResponse { status, stream } if *status >= 200 => {
            let open = c.exchanges.iter_mut().find(|e| e.stream == *stream && e.status.is_none());
            if let Some(e) = open {
                e.status = Some(*status);
                e.response_packet = Some(number);
                e.response_ns = Some(at_client);
                e.end_packet = Some(number);
                e.end_ns = Some(at_client);
            }
        }
        Message::HttpBody { bytes, from_client: false, stream, .. } => {
            let open = c.exchanges.iter_mut().rev().find(|e| e.stream == *stream && e.status.is_some());
            if let Some(e) = open {
                e.bytes += bytes;
                e.end_packet = Some(number);
                e.end_ns = Some(at_client);
            }
        }
        _ => {}
    }
}
