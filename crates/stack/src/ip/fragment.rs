//! How a packet is cut into fragments (RFC 791 §3.2, RFC 8200 §4.5). Linux: ip_output.c `ip_do_fragment`,
//! ip_options.c `ip_options_fragment`, ip6_output.c `ip6_fragment`.

use wire::frame::MAX_HEADROOM;
use wire::ip::Protocol;
use wire::{Frame, ipv4, ipv6};

/// Cuts an IPv4 packet, which starts at its header, for `mtu`. `None` when the MTU has no room for eight
/// bytes of payload. A fragment can be cut again.
pub(super) fn split_v4(frame: &Frame, mtu: usize) -> Option<Vec<Frame>> {
    let (mut header, hlen) = ipv4::Header::parse_quoted(frame.head()).ok()?;
    let room = mtu.checked_sub(hlen)? & !7;
    if room == 0 {
        return None;
    }
    let (base, more_after) = (header.frag_offset, header.more_fragments);
    let end = frame.len();
    let mut fragments = Vec::with_capacity((end - hlen).div_ceil(room));
    let mut at = hlen;
    while at < end {
        let upto = end.min(at + room);
        header.total_len = u16::try_from(hlen + upto - at).ok()?;
        header.frag_offset = base + u16::try_from(at - hlen).ok()?;
        header.more_fragments = more_after || upto < end;
        let mut fragment = slice(frame, at, upto, hlen);
        header.emit(fragment.push(hlen));
        fragments.push(fragment);
        if at == hlen && hlen > ipv4::MIN_HEADER_LEN {
            header.options = copied_options(&header.options);
        }
        at = upto;
    }
    Some(fragments)
}

/// Options without the copy bit become no-ops in all fragments but the first (RFC 791 §3.1).
fn copied_options(options: &ipv4::Options) -> ipv4::Options {
    let mut bytes = [0u8; 40];
    let len = options.len();
    bytes[..len].copy_from_slice(options.as_bytes());
    let mut at = 0;
    while at < len {
        let kind = bytes[at];
        let size = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(*bytes.get(at + 1).unwrap_or(&0)),
        };
        if size == 0 || at + size > len {
            break;
        }
        if kind & 0x80 == 0 {
            bytes[at..at + size].fill(1);
        }
        at += size;
    }
    ipv4::Options::from_bytes(&bytes[..len]).expect("as long as before")
}

/// Cuts an IPv6 packet of our own for `mtu`: a fragment header goes between the unfragmentable part (the IPv6
/// header and a hop-by-hop header) and pieces of the rest. `None` when there is no room for eight bytes.
pub(super) fn split_v6(frame: &Frame, mtu: usize, id: u32, protocol: Protocol) -> Option<Vec<Frame>> {
    let head = frame.head();
    let (header, fixed) = ipv6::Header::parse_quoted(head).ok()?;
    // Our own packets have at most a hop-by-hop header before the upper layer.
    let hop_by_hop = header.next_header == Protocol::HOPOPTS && protocol != Protocol::HOPOPTS;
    let unfragmentable = fixed + if hop_by_hop { (usize::from(*head.get(fixed + 1)?) + 1) * 8 } else { 0 };
    let before = unfragmentable + 8;
    let room = mtu.checked_sub(before)? & !7;
    if room == 0 {
        return None;
    }
    let end = frame.len();
    let mut fragments = Vec::with_capacity((end - unfragmentable).div_ceil(room));
    let mut at = unfragmentable;
    while at < end {
        let upto = end.min(at + room);
        let mut fragment = slice(frame, at, upto, before);
        let b = fragment.push(before);
        b[..unfragmentable].copy_from_slice(&head[..unfragmentable]);
        let payload = u16::try_from(before - fixed + upto - at).ok()?;
        b[4..6].copy_from_slice(&payload.to_be_bytes());
        b[if hop_by_hop { fixed } else { 6 }] = Protocol::FRAGMENT.0;
        ipv6::FragmentHeader {
            next_header: protocol,
            offset: u16::try_from(at - unfragmentable).ok()?,
            more: upto < end,
            id,
        }
        .emit(&mut b[unfragmentable..]);
        fragments.push(fragment);
        at = upto;
    }
    Some(fragments)
}

/// Bytes `at..upto` of `frame` as a frame with room for `header` bytes and the link layer's. What stands in
/// the tail stays shared.
fn slice(frame: &Frame, at: usize, upto: usize, header: usize) -> Frame {
    let cut = frame.head().len();
    let mut piece = Frame::with_headroom(MAX_HEADROOM + header, upto.min(cut).saturating_sub(at));
    if at < cut {
        piece.put(&frame.head()[at..upto.min(cut)]);
    }
    if upto > cut {
        piece.set_tail(frame.tail().slice(at.max(cut) - cut..upto - cut));
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Bytes;

    fn packet(payload_head: usize, payload_tail: usize, options: &[u8]) -> Frame {
        let options = ipv4::Options::from_bytes(options).unwrap();
        let header = ipv4::Header {
            total_len: u16::try_from(20 + options.len() + payload_head + payload_tail).unwrap(),
            id: 9,
            options,
            ..ipv4::Header::default()
        };
        let bytes: Vec<u8> = (0..payload_head + payload_tail).map(|i| (i % 251) as u8).collect();
        let mut f = Frame::with_headroom(MAX_HEADROOM, 2000);
        header.emit(f.put_zeroed(header.header_len()));
        f.put(&bytes[..payload_head]);
        f.set_tail(Bytes::from(&bytes[payload_head..]));
        f
    }

    /// TRUTH 11f: 1500 bytes over an MTU of 1000 leave as 996 and 524.
    #[test]
    fn sizes_are_linuxes_11f() {
        let f = split_v4(&packet(1480, 0, &[]), 1000).unwrap();
        assert_eq!(f.iter().map(Frame::len).collect::<Vec<_>>(), [996, 524]);
    }

    #[test]
    fn pieces_put_together_are_the_whole_across_head_and_tail() {
        for (head, tail) in [(8, 3000), (3008, 0), (1000, 2008)] {
            let whole = packet(head, tail, &[]);
            let mut rest = Vec::new();
            for f in split_v4(&whole, 576).unwrap() {
                let bytes = f.to_vec();
                let (h, n) = ipv4::Header::parse(&bytes).unwrap();
                assert!(ipv4::verify_checksum(&bytes[..n]));
                assert_eq!(usize::from(h.frag_offset), rest.len());
                assert_eq!(h.more_fragments, rest.len() + h.payload_len() < 3008);
                rest.extend_from_slice(&bytes[n..]);
            }
            assert_eq!(rest, whole.to_vec()[20..]);
        }
    }

    /// Linux: `ip_options_fragment`. Record route (7) is not copied, loose source route (131) is.
    #[test]
    fn options_without_the_copy_bit_stay_in_the_first_fragment() {
        let options = [7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 192, 0, 2, 1, 0, 0];
        let f = split_v4(&packet(100, 0, &options), 84).unwrap();
        let (first, _) = ipv4::Header::parse(&f[0].to_vec()).unwrap();
        let (second, n) = ipv4::Header::parse(&f[1].to_vec()).unwrap();
        assert_eq!(first.options.as_bytes(), options);
        assert_eq!(second.options.as_bytes(), [1, 1, 1, 1, 1, 1, 1, 131, 7, 4, 192, 0, 2, 1, 0, 0]);
        assert_eq!(n, 36);
    }

    #[test]
    fn ipv6_fragments_carry_the_header_and_the_rest_in_order() {
        let mut whole = Frame::with_headroom(0, 2100);
        ipv6::Header {
            traffic_class: 0,
            flow_label: 5,
            payload_len: 2000,
            next_header: Protocol::UDP,
            hop_limit: 64,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
        }
        .emit(whole.put_zeroed(40));
        let body: Vec<u8> = (0..2000).map(|i| (i % 251) as u8).collect();
        whole.put(&body);
        let mut rest = Vec::new();
        let fragments = split_v6(&whole, 1280, 77, Protocol::UDP).unwrap();
        assert_eq!(fragments.len(), 2);
        for f in &fragments {
            let bytes = f.to_vec();
            let (h, n) = ipv6::Header::parse(&bytes).unwrap();
            assert_eq!((h.next_header, h.flow_label), (Protocol::FRAGMENT, 5));
            let (fh, m) = ipv6::FragmentHeader::parse(&bytes[n..]).unwrap();
            assert_eq!((fh.id, usize::from(fh.offset), fh.next_header), (77, rest.len(), Protocol::UDP));
            rest.extend_from_slice(&bytes[n + m..]);
        }
        assert_eq!(rest, body);
        assert_eq!(fragments[0].len(), 1280);
    }
}
