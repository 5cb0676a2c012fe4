//! GRE between the outer IP header and the packet: RFC 2784, RFC 2890. Linux: net/ipv4/ip_gre.c, gre_demux.c.

use wire::Frame;
use wire::ethernet::EtherType;
use wire::gre::{Header, set_checksum, verify_checksum};

use crate::iface::Tunnel;

/// What the tunnel header said; everything empty for tunnels without one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) protocol: EtherType,
    pub(super) key: Option<u32>,
    pub(super) sequence: Option<u32>,
    pub(super) has_checksum: bool,
    /// Bytes of the header.
    pub(super) len: usize,
}

impl Default for Read {
    fn default() -> Self {
        Read { protocol: EtherType::IPV4, key: None, sequence: None, has_checksum: false, len: 0 }
    }
}

/// Puts a GRE header before the packet.
pub(super) fn push(frame: &mut Frame, protocol: EtherType, config: &Tunnel, sequence: Option<u32>) {
    let header = Header { protocol, checksum: config.csum.then_some(0), key: config.okey, sequence };
    if config.csum {
        frame.linearize();
    }
    header.emit(frame.push(header.header_len()));
    if config.csum {
        set_checksum(frame.head_mut());
    }
}

/// Reads the header at the front of a linear frame; `None` when it is malformed or its checksum is wrong.
pub(super) fn read(frame: &Frame) -> Option<Read> {
    let (header, len) = Header::parse(frame.head()).ok()?;
    if header.checksum.is_some() && !verify_checksum(frame.head()) {
        return None;
    }
    Some(Read {
        protocol: header.protocol,
        key: header.key,
        sequence: header.sequence,
        has_checksum: header.checksum.is_some(),
        len,
    })
}
