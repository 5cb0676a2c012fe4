//! What any bytes must not break. Shared by the fuzz targets and by the test that replays their corpus.

use wire::packet::Packet;
use wire::{Medium, arp, capture, ethernet, gre, icmpv4, icmpv6, igmp, ipv4, ipv6, ndp, tcp, udp, vxlan};

/// A whole frame: every level, every field, and the slices stand where they say they do.
pub(crate) fn packet(bytes: &[u8]) {
    for medium in [Medium::Ethernet, Medium::Ip] {
        let packet = Packet::parse(bytes, medium);
        let quoted = packet.innermost().quoted_level();
        for level in packet.levels().chain(quoted.as_ref()) {
            assert!(level.offset <= level.payload_offset);
            let at = &bytes[level.payload_offset..][..level.payload.len()];
            assert!(level.payload.is_empty() || core::ptr::eq(at, level.payload));
            let _ = (level.transport_checksum_valid(), level.quoted(), level.ports(), level.ttl());
            let _ = level.ipv6().map(|six| six.extensions().map(|e| e.options().count()).sum::<usize>());
        }
        assert!(packet.levels().count() <= wire::packet::MAX_TUNNELS + 1);
        assert!(packet.problem_offset <= bytes.len());
        let mut seen = 0;
        for field in wire::filter::fields() {
            field.values_with_quoted(&packet, &mut |_| seen += 1);
        }
        assert!(seen > 0, "frame is always there");
        let _ = format!("{packet:?}");
    }
}

/// `parse(emit(parse(b)))` is `parse(b)`; where nothing in the header is reserved, the bytes are equal too.
macro_rules! again {
    ($bytes:expr, $header:path, $emit:ident, $exact:expr) => {
        if let Ok((header, n)) = <$header>::parse($bytes) {
            assert_eq!(header.header_len(), n);
            let mut out = vec![0xee; n];
            header.$emit(&mut out);
            if $exact {
                assert_eq!(out, $bytes[..n]);
            }
            out.extend(&$bytes[n..]); // lengths inside may cover what follows
            assert_eq!(<$header>::parse(&out), Ok((header, n)));
        }
    };
}

/// Every header parser on the same bytes.
pub(crate) fn headers(bytes: &[u8]) {
    again!(bytes, ethernet::Header, emit, true);
    again!(bytes, arp::Packet, emit, true);
    again!(bytes, ipv4::Header, emit_raw, true);
    again!(bytes, ipv6::Header, emit, true);
    again!(bytes, ipv6::FragmentHeader, emit, false);
    again!(bytes, udp::Header, emit, true);
    again!(bytes, tcp::Header, emit, true);
    again!(bytes, gre::Header, emit, false);
    again!(bytes, vxlan::Header, emit, false);
    again!(bytes, icmpv4::Message, emit, false);
    again!(bytes, icmpv6::Message, emit, false);
    again!(bytes, igmp::Message, emit, false);
    again!(bytes, ndp::Message, emit, false);
    let _ = icmpv4::Quoted::parse(bytes).map(|q| q.upper.len());
}

/// Options, extension headers and records, the first byte choosing how many records are announced.
pub(crate) fn options(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut walk = ipv6::ext::walk(wire::ip::Protocol(*first), rest);
    let mut headers = 0;
    for header in walk.by_ref().flatten() {
        headers += 1;
        assert!(header.options().count() <= header.bytes.len());
    }
    assert!(headers <= ipv6::ext::MAX_HEADERS && walk.upper().1 <= rest.len());
    let announced = u16::from(*first);
    assert!(igmp::igmp_records(rest, announced).count() <= announced.into());
    assert!(icmpv6::mld_records(rest, announced).count() <= announced.into());
    for option in ndp::options(rest).map_while(Result::ok) {
        let mut out = vec![0; option.header_len()];
        option.emit(&mut out);
        assert_eq!(ndp::options(&out).next().unwrap().unwrap(), option);
    }
    let short = &rest[..rest.len().min(40)];
    let tcp = tcp::Options::from_bytes(short).expect("at most 40 bytes");
    assert_eq!(&tcp.as_bytes()[..short.len()], short);
    assert!(tcp.iter().all(|(at, _)| at < tcp.len()));
    let _ = (tcp.sack(), tcp.fast_open(), tcp.md5());
    let v4 = ipv4::Options::from_bytes(short).expect("at most 40 bytes");
    assert_eq!(v4.iter().filter(Result::is_err).count() + v4.iter().flatten().count(), v4.iter().count());
}

/// A file of any format.
pub(crate) fn capture_file(bytes: &[u8]) {
    let Ok(file) = capture::read(bytes) else { return };
    for packet in &file.packets {
        assert!(packet.offset < bytes.len());
        assert_eq!(file.interfaces[packet.interface].link_type, packet.link_type);
        let _ = packet.parse();
    }
    let _ = file.problem.map(|p| p.to_string());
}

/// A filter: an error points into the text; what parses is displayed as it was and matches something or not.
pub(crate) fn filter(bytes: &[u8]) {
    const FRAME: [u8; 40] = [
        0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // IPv4
        0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0, // TCP
    ];
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    match wire::filter::Filter::parse(text) {
        Ok(filter) => {
            assert_eq!(filter.to_string(), text);
            let _ = filter.matches(&Packet::parse(&FRAME, Medium::Ip));
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.offset), "{error:?}");
            assert!(text.is_char_boundary(error.offset + error.len), "{error:?}");
            assert!(!error.message.is_empty());
        }
    }
}
