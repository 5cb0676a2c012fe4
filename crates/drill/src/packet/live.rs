//! A packet that the host sent, taken apart far enough to be compared with the script's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Instant;
use wire::checksum::sum;

/// A packet from the wire.
#[derive(Clone, Debug)]
pub struct Live {
    /// When it was sent.
    pub at: Instant,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// Bytes of the IPv4 header.
    pub header_len: usize,
    /// The IPv4 header's checksum is right.
    pub checksum_ok: bool,
    /// The rest.
    pub body: LiveBody,
}

/// What it carries.
#[derive(Clone, Debug)]
pub enum LiveBody {
    /// TCP.
    Tcp(LiveTcp),
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// The header's length field.
        len: u16,
        /// Payload.
        payload: Vec<u8>,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        ty: u8,
        /// Code.
        code: u8,
        /// From the ICMP header on.
        bytes: Vec<u8>,
    },
    /// Another protocol.
    Other(u8),
}

/// A TCP segment from the wire, numbers as they are there or mapped into the script's.
#[derive(Clone, Debug)]
pub struct LiveTcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// All twelve bits beside the data offset.
    pub flags: u16,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Option bytes.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    b.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

impl Live {
    /// Reads a packet; `None` when it is no whole IP packet with a whole transport header.
    pub fn parse(at: Instant, bytes: &[u8]) -> Option<Live> {
        if bytes.first()? >> 4 == 4 {
            let header_len = usize::from(bytes[0] & 15) * 4;
            let total = usize::from(u16_at(bytes, 2)?);
            let address = |from: usize| {
                let octets: [u8; 4] = bytes.get(from..from + 4)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(octets)))
            };
            let header = bytes.get(..header_len.max(20))?;
            Some(Live {
                at,
                src: address(12)?,
                dst: address(16)?,
                tos: bytes[1],
                ttl: bytes[8],
                flow_label: 0,
                header_len,
                checksum_ok: sum(header).is_valid(),
                body: body(bytes[9], bytes.get(header_len..total)?)?,
            })
        } else {
            let first = u32_at(bytes, 0)?;
            let len = usize::from(u16_at(bytes, 4)?);
            let address = |from: usize| {
                let octets: [u8; 16] = bytes.get(from..from + 16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            };
            Some(Live {
                at,
                src: address(8)?,
                dst: address(24)?,
                tos: u8::try_from(first >> 20 & 0xff).expect("eight bits"),
                ttl: bytes[7],
                flow_label: first & 0xf_ffff,
                header_len: 40,
                checksum_ok: true,
                body: body(bytes[6], bytes.get(40..40 + len)?)?,
            })
        }
    }

    /// Payload bytes of TCP or UDP.
    pub fn payload_len(&self) -> usize {
        match &self.body {
            LiveBody::Tcp(tcp) => tcp.payload.len(),
            LiveBody::Udp { payload, .. } => payload.len(),
            LiveBody::Icmp { .. } | LiveBody::Other(_) => 0,
        }
    }

    /// The TCP part.
    pub fn tcp(&self) -> Option<&LiveTcp> {
        match &self.body {
            LiveBody::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// The TCP part, to map numbers.
    pub fn tcp_mut(&mut self) -> Option<&mut LiveTcp> {
        match &mut self.body {
            LiveBody::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// Source and destination port; 0 where there are none.
    pub fn ports(&self) -> (u16, u16) {
        match &self.body {
            LiveBody::Tcp(tcp) => (tcp.sport, tcp.dport),
            LiveBody::Udp { sport, dport, .. } => (*sport, *dport),
            LiveBody::Icmp { .. } | LiveBody::Other(_) => (0, 0),
        }
    }
}

fn body(protocol: u8, b: &[u8]) -> Option<LiveBody> {
    Some(match protocol {
        6 => {
            let words = u16_at(b, 12)?;
            let header = usize::from(words >> 12) * 4;
            LiveBody::Tcp(LiveTcp {
                sport: u16_at(b, 0)?,
                dport: u16_at(b, 2)?,
                seq: u32_at(b, 4)?,
                ack: u32_at(b, 8)?,
                flags: words & 0xfff,
                window: u16_at(b, 14)?,
                urgent: u16_at(b, 18)?,
                options: b.get(20..header)?.to_vec(),
                payload: b.get(header..)?.to_vec(),
            })
        }
        17 => LiveBody::Udp {
            sport: u16_at(b, 0)?,
            dport: u16_at(b, 2)?,
            len: u16_at(b, 4)?,
            payload: b.get(8..)?.to_vec(),
        },
        1 | 58 => LiveBody::Icmp { ty: *b.first()?, code: *b.get(1)?, bytes: b.to_vec() },
        other => LiveBody::Other(other),
    })
}

impl LiveTcp {
    /// Offset of the timestamps' data in the options.
    fn timestamps_at(&self) -> Option<usize> {
        let mut at = 0;
        while at < self.options.len() {
            match self.options[at] {
                0 | 1 => at += 1,
                kind => {
                    let len = usize::from(*self.options.get(at + 1)?);
                    if kind == 8 && len == 10 && at + len <= self.options.len() {
                        return Some(at + 2);
                    }
                    if len < 2 {
                        return None;
                    }
                    at += len;
                }
            }
        }
        None
    }

    /// TSval and TSecr.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let at = self.timestamps_at()?;
        Some((u32_at(&self.options, at)?, u32_at(&self.options, at + 4)?))
    }

    /// Puts another TSval.
    pub fn set_ts_val(&mut self, val: u32) {
        if let Some(at) = self.timestamps_at() {
            self.options[at..at + 4].copy_from_slice(&val.to_be_bytes());
        }
    }

    /// Adds `offset` to both edges of all SACK blocks.
    pub fn shift_sack(&mut self, offset: u32) {
        let mut at = 0;
        while at < self.options.len() {
            let kind = self.options[at];
            if kind <= 1 {
                at += 1;
                continue;
            }
            let len = usize::from(self.options.get(at + 1).copied().unwrap_or(0));
            if len < 2 || at + len > self.options.len() {
                return;
            }
            if kind == 5 {
                for edge in self.options[at + 2..at + len].chunks_exact_mut(4) {
                    let n = u32::from_be_bytes([edge[0], edge[1], edge[2], edge[3]]);
                    edge.copy_from_slice(&n.wrapping_add(offset).to_be_bytes());
                }
            }
            at += len;
        }
    }
}
