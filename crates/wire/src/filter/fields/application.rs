//! Fields of DNS, TLS, HTTP, HTTP/2 and QUIC, as far as one packet alone shows them: the message has to begin with the
//! segment's (or datagram's) payload and nothing is decrypted. A message in pieces has its fields in the first piece, as
//! far as they stand there (Wireshark: in the last); what comes later of it, and protocols that only the connection's
//! beginning tells (WebSocket, decrypted content, QUIC's short headers but for port 443), are not seen.

use super::transport::payload;
use super::{Field, Kind, Out, Scope, row};

/// Where DNS is expected: unicast and multicast.
const DNS_PORTS: [u16; 2] = [53, 5353];

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// The DNS message: a datagram's payload, or what follows the length of two octets on a stream.
fn dns<'a>(s: &Scope<'_, 'a>) -> Option<&'a [u8]> {
    let (src, dst) = s.level.ports()?;
    if !DNS_PORTS.contains(&src) && !DNS_PORTS.contains(&dst) {
        return None;
    }
    let bytes = payload(s)?;
    let message = if s.level.udp().is_some() { bytes } else { bytes.get(2..)? };
    (message.len() >= 12).then_some(message)
}

fn dns_flag(s: &Scope<'_, '_>, o: &mut Out<'_>, mask: u16) {
    o.put_some(dns(s).and_then(|m| u16_at(m, 2)).map(|flags| flags & mask != 0));
}

/// The name at `at` as Wireshark writes it, without the last dot, and where what follows it stands.
fn dns_name(m: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut after = None;
    // Pointers go backwards only. RFC 1035 §2.3.4: at most 255 octets, hence 127 labels.
    let mut lowest = at;
    for _ in 0..255 {
        let len = usize::from(*m.get(at)?);
        match len {
            0 => {
                let name = if name.is_empty() { b"<Root>".to_vec() } else { name };
                return Some((name, after.unwrap_or(at + 1)));
            }
            1..=63 => {
                if !name.is_empty() {
                    name.push(b'.');
                }
                name.extend_from_slice(m.get(at + 1..at + 1 + len)?);
                at += 1 + len;
            }
            0xc0.. => {
                let target = usize::from(u16_at(m, at)? & 0x3fff);
                after = after.or(Some(at + 2));
                if target >= lowest {
                    return None;
                }
                (lowest, at) = (target, target);
            }
            _ => return None,
        }
    }
    None
}

/// Calls `each` with every question: name and type; then returns where the records begin.
fn dns_questions(m: &[u8], mut each: impl FnMut(&[u8], u16)) -> Option<usize> {
    let mut at = 12;
    for _ in 0..u16_at(m, 4)? {
        let (name, after) = dns_name(m, at)?;
        each(&name, u16_at(m, after)?);
        at = after + 4;
    }
    Some(at)
}

/// Calls `each` with every record: type, time to live, data; EDNS's pseudo record is none.
fn dns_records(m: &[u8], mut each: impl FnMut(u16, u32, &[u8])) -> Option<()> {
    let mut at = dns_questions(m, |_, _| {})?;
    let count = [6, 8, 10].iter().filter_map(|i| u16_at(m, *i)).map(u32::from).sum::<u32>();
    for _ in 0..count {
        let (_, after) = dns_name(m, at)?;
        let len = usize::from(u16_at(m, after + 8)?);
        let data = m.get(after + 10..after + 10 + len)?;
        each(u16_at(m, after)?, u32_at(m, after + 4)?, data);
        at = after + 10 + len;
    }
    Some(())
}

/// Type, version, length, content and what follows.
type TlsRecord<'a> = (u8, u16, u16, &'a [u8], &'a [u8]);

/// A TLS record at the front: type, version, content (as much of it as there is), and what follows it.
fn tls_record(b: &[u8]) -> Option<TlsRecord<'_>> {
    let (ty, version, len) = (*b.first()?, u16_at(b, 1)?, u16_at(b, 3)?);
    let plausible = (20..=23).contains(&ty) && (0x0300..=0x0304).contains(&version);
    let plausible = plausible && len > 0 && usize::from(len) <= (1 << 14) + 2048;
    let end = (5 + usize::from(len)).min(b.len());
    plausible.then(|| (ty, version, len, &b[5..end], &b[end..]))
}

/// Calls `each` with every record: type, version, length, content.
fn tls_records<'a>(s: &Scope<'_, 'a>, mut each: impl FnMut(u8, u16, u16, &'a [u8])) {
    let mut rest = payload(s).filter(|_| s.level.tcp().is_some()).unwrap_or_default();
    while let Some((ty, version, len, content, after)) = tls_record(rest) {
        each(ty, version, len, content);
        rest = after;
    }
}

/// Calls `each` with every handshake message that is not encrypted: its type, and as much of its body as there is.
fn tls_handshakes<'a>(s: &Scope<'_, 'a>, mut each: impl FnMut(u8, &'a [u8])) {
    let mut encrypted = false;
    tls_records(s, |ty, _, len, mut content| {
        encrypted |= ty == 20;
        if ty != 22 || encrypted {
            return;
        }
        let whole = usize::from(len) == content.len();
        while let [ty, a, b, c, body @ ..] = content {
            let n = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            // An encrypted message would begin with any byte. Those that are long enough to span records are told.
            let known = matches!(ty, 0..=2 | 4 | 11..=16 | 20..=22);
            let spans = matches!(ty, 1 | 2 | 11 | 12 | 22) && n < 1 << 18;
            if !known || n > body.len() && whole && !spans {
                return;
            }
            let end = n.min(body.len());
            each(*ty, &body[..end]);
            content = &body[end..];
        }
    });
}

/// The server name of a ClientHello (RFC 6066 §3).
fn server_name(hello: &[u8]) -> Option<&[u8]> {
    let mut at = 34;
    at += 1 + usize::from(*hello.get(at)?);
    at += 2 + usize::from(u16_at(hello, at)?);
    at += 1 + usize::from(*hello.get(at)?);
    at += 2;
    while let (Some(ty), Some(len)) = (u16_at(hello, at), u16_at(hello, at + 2)) {
        let data = hello.get(at + 4..at + 4 + usize::from(len))?;
        if ty == 0 {
            return data.get(5..5 + usize::from(u16_at(data, 3)?));
        }
        at += 4 + usize::from(len);
    }
    None
}

/// Calls `each` with level and description of every alert that is not encrypted.
fn tls_alerts(s: &Scope<'_, '_>, mut each: impl FnMut(u8, u8)) {
    tls_records(s, |ty, _, len, content| {
        if let (21, 2, [level, description]) = (ty, len, content) {
            each(*level, *description);
        }
    });
}

const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// The first line of an HTTP/1 message, as much of it as there is, and the header lines behind it.
fn http<'a>(s: &Scope<'_, 'a>) -> Option<(bool, &'a [u8], &'a [u8])> {
    let bytes = payload(s).filter(|_| s.level.tcp().is_some())?;
    let request =
        METHODS.iter().any(|m| bytes.strip_prefix(*m).is_some_and(|rest| rest.first() == Some(&b' ')));
    if !request && !bytes.starts_with(b"HTTP/1.") {
        return None;
    }
    let end = bytes.windows(2).position(|w| w == b"\r\n");
    let line = &bytes[..end.unwrap_or(bytes.len())];
    Some((request, line, end.map_or(&[][..], |end| &bytes[end + 2..])))
}

/// A word of the first line.
fn http_word<'a>(s: &Scope<'_, 'a>, request: bool, n: usize) -> Option<&'a [u8]> {
    let (is_request, line, _) = http(s)?;
    line.splitn(3, |b| *b == b' ').nth(n).filter(|_| is_request == request)
}

fn http_header<'a>(s: &Scope<'_, 'a>, name: &str) -> Option<&'a [u8]> {
    let (_, _, lines) = http(s)?;
    let line = lines.split(|b| *b == b'\n').take_while(|l| *l != b"\r").find(|l| {
        let given = l.split(|b| *b == b':').next().unwrap_or_default();
        given.eq_ignore_ascii_case(name.as_bytes()) && l.len() > given.len()
    })?;
    Some(line[name.len() + 1..].trim_ascii())
}

fn http_number(s: &Scope<'_, '_>) -> Option<u16> {
    core::str::from_utf8(http_word(s, false, 1)?).ok()?.parse().ok()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Calls `each` with type, flags and stream of every HTTP/2 frame. A payload that does not consist of possible frames
/// from its first byte on has none; the last may go on in the next segment.
fn http2(s: &Scope<'_, '_>, mut each: impl FnMut(u8, u8, u32)) -> bool {
    let Some(bytes) = payload(s).filter(|_| s.level.tcp().is_some()) else { return false };
    let begins = bytes.starts_with(PREFACE);
    let frames = if begins { &bytes[PREFACE.len()..] } else { bytes };
    let walk = |each: &mut dyn FnMut(u8, u8, u32)| {
        let mut rest = frames;
        while let [a, b, c, ty, flags, after @ ..] = rest {
            let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            let Some(stream) = u32_at(after, 0) else { return false };
            // RFC 9113 §6: which frames belong to a stream, and how long they are.
            let fits = match ty {
                0 | 1 | 5 | 9 => stream != 0 && len <= 1 << 20,
                2 => stream != 0 && len == 5,
                3 => stream != 0 && len == 4,
                4 => stream == 0 && len % 6 == 0 && len <= 600,
                6 => stream == 0 && len == 8,
                7 => stream == 0 && (8..4096).contains(&len),
                8 => len == 4,
                _ => false,
            };
            if !fits || stream >> 31 != 0 {
                return false;
            }
            each(*ty, *flags, stream);
            rest = after.get(4 + len..).unwrap_or_default();
        }
        rest.is_empty()
    };
    if (frames.is_empty() && !begins) || !walk(&mut |_, _, _| {}) {
        return false;
    }
    walk(&mut each)
}

/// A QUIC packet with a long header (RFC 9000 §17.2).
struct LongHeader<'a> {
    version: u32,
    /// As in version 1: 0 Initial, 1 0-RTT, 2 Handshake, 3 Retry; `None` in a version negotiation packet.
    ty: Option<u8>,
    dcid: &'a [u8],
    scid: &'a [u8],
}

/// Calls `each` with every packet with a long header of a datagram; whether it is QUIC at all.
fn quic<'a>(s: &Scope<'_, 'a>, mut each: impl FnMut(LongHeader<'a>)) -> bool {
    let Some(mut rest) = payload(s).filter(|_| s.level.udp().is_some()) else { return false };
    let on_443 = s.level.ports().is_some_and(|(a, b)| a == 443 || b == 443);
    let mut seen = on_443 && rest[0] & 0xc0 == 0x40 && rest.len() > 20;
    while let Some((header, len)) = quic_long(rest) {
        seen = true;
        each(header);
        rest = rest.get(len..).unwrap_or_default();
    }
    seen
}

/// A long header and how long its packet is.
fn quic_long(b: &[u8]) -> Option<(LongHeader<'_>, usize)> {
    const V2: u32 = 0x6b33_43cf;
    let (first, version) = (*b.first()?, u32_at(b, 1)?);
    let known = matches!(version, 0 | 1 | V2) || version >> 8 == 0x00ff_0000;
    if first & 0x80 == 0 || !known || version != 0 && first & 0x40 == 0 {
        return None;
    }
    let dcid_len = usize::from(*b.get(5)?);
    let dcid = b.get(6..6 + dcid_len)?;
    let mut at = 6 + dcid_len;
    let scid_len = usize::from(*b.get(at)?);
    let scid = b.get(at + 1..at + 1 + scid_len)?;
    at += 1 + scid_len;
    if dcid_len > 20 || scid_len > 20 {
        return None;
    }
    let bits = first >> 4 & 3;
    // RFC 9369 §3.2: version 2 counts from 1.
    let ty = (version != 0).then(|| if version == V2 { bits.wrapping_sub(1) & 3 } else { bits });
    let len = match ty {
        None | Some(3) => b.len(),
        Some(ty) => {
            if ty == 0 {
                let (token, n) = varint(b, at)?;
                at += n + usize::try_from(token).ok()?;
            }
            let (len, n) = varint(b, at)?;
            at.checked_add(n)?.checked_add(usize::try_from(len).ok()?)?
        }
    };
    Some((LongHeader { version, ty, dcid, scid }, len))
}

/// RFC 9000 §16: a value, and the bytes that it takes.
fn varint(b: &[u8], at: usize) -> Option<(u64, usize)> {
    let n = 1_usize << (b.get(at)? >> 6);
    let bytes = b.get(at..at + n)?;
    let value = bytes.iter().fold(0_u64, |v, b| v << 8 | u64::from(*b));
    Some((value & ((1_u64 << (8 * n - 2)) - 1), n))
}

/// Whether a protocol of this file stands in the payload, which is then no mere data.
pub(super) fn is_read(s: &Scope<'_, '_>) -> bool {
    let mut tls = false;
    tls_records(s, |_, _, _, _| tls = true);
    dns(s).is_some() || tls || http(s).is_some() || http2(s, |_, _, _| {}) || quic(s, |_| {})
}

pub(super) const FIELDS: &[Field] = &[
    row("dns", Kind::Protocol, "a DNS message", |s, o| o.here(dns(s).is_some())),
    row("dns.id", Kind::Uint(16), "transaction id", |s, o| o.put_some(dns(s).and_then(|m| u16_at(m, 0)))),
    row("dns.flags.response", Kind::Bool, "a response", |s, o| dns_flag(s, o, 0x8000)),
    row("dns.flags.opcode", Kind::Uint(4), "operation; 0 is a query", |s, o| {
        o.put_some(dns(s).and_then(|m| u16_at(m, 2)).map(|f| f >> 11 & 0xf));
    }),
    row("dns.flags.authoritative", Kind::Bool, "authoritative answer", |s, o| {
        if dns(s).and_then(|m| u16_at(m, 2)).is_some_and(|f| f & 0x8000 != 0) {
            dns_flag(s, o, 0x0400);
        }
    }),
    row("dns.flags.truncated", Kind::Bool, "truncated: ask again over TCP", |s, o| dns_flag(s, o, 0x0200)),
    row("dns.flags.recdesired", Kind::Bool, "recursion desired", |s, o| dns_flag(s, o, 0x0100)),
    row("dns.flags.recavail", Kind::Bool, "recursion available", |s, o| {
        if dns(s).and_then(|m| u16_at(m, 2)).is_some_and(|f| f & 0x8000 != 0) {
            dns_flag(s, o, 0x0080);
        }
    }),
    row("dns.flags.rcode", Kind::Uint(4), "0 no error, 2 SERVFAIL, 3 NXDOMAIN", |s, o| {
        let flags = dns(s).and_then(|m| u16_at(m, 2)).filter(|f| f & 0x8000 != 0);
        o.put_some(flags.map(|f| f & 0xf));
    }),
    row("dns.count.queries", Kind::Uint(16), "questions", |s, o| {
        o.put_some(dns(s).and_then(|m| u16_at(m, 4)));
    }),
    row("dns.count.answers", Kind::Uint(16), "answers", |s, o| {
        o.put_some(dns(s).and_then(|m| u16_at(m, 6)));
    }),
    row("dns.qry.name", Kind::Bytes, "the name asked for, without the last dot", |s, o| {
        dns(s).and_then(|m| dns_questions(m, |name, _| o.put(name)));
    }),
    row("dns.qry.type", Kind::Uint(16), "1 A, 28 AAAA, 15 MX …", |s, o| {
        dns(s).and_then(|m| dns_questions(m, |_, ty| o.put(ty)));
    }),
    row("dns.a", Kind::Ipv4, "an IPv4 address in a record", |s, o| {
        dns(s).and_then(|m| {
            dns_records(m, |ty, _, data| {
                let octets = <[u8; 4]>::try_from(data).ok().filter(|_| ty == 1);
                o.put_some(octets.map(core::net::Ipv4Addr::from));
            })
        });
    }),
    row("dns.aaaa", Kind::Ipv6, "an IPv6 address in a record", |s, o| {
        dns(s).and_then(|m| {
            dns_records(m, |ty, _, data| {
                let octets = <[u8; 16]>::try_from(data).ok().filter(|_| ty == 28);
                o.put_some(octets.map(core::net::Ipv6Addr::from));
            })
        });
    }),
    row("dns.resp.ttl", Kind::Uint(32), "a record's time to live in seconds", |s, o| {
        dns(s).and_then(|m| {
            dns_records(m, |ty, ttl, _| {
                if ty != 41 {
                    o.put(ttl);
                }
            })
        });
    }),
    row("tls", Kind::Protocol, "a TLS record at the payload's beginning", |s, o| {
        let mut seen = false;
        tls_records(s, |_, _, _, _| seen = true);
        o.here(seen);
    }),
    row(
        "tls.record.content_type",
        Kind::Uint(8),
        "20 change cipher spec, 21 alert, 22 handshake, 23 data",
        |s, o| {
            tls_records(s, |ty, _, _, _| o.put(ty));
        },
    ),
    row("tls.record.version", Kind::Uint(16), "version of the record", |s, o| {
        tls_records(s, |_, version, _, _| o.put(version));
    }),
    row("tls.record.length", Kind::Uint(16), "length of the record's content", |s, o| {
        tls_records(s, |_, _, len, _| o.put(len));
    }),
    row(
        "tls.handshake.type",
        Kind::Uint(8),
        "1 ClientHello, 2 ServerHello, 11 Certificate …; not encrypted",
        |s, o| {
            tls_handshakes(s, |ty, _| o.put(ty));
        },
    ),
    row("tls.handshake.extensions_server_name", Kind::Bytes, "a ClientHello's server name", |s, o| {
        tls_handshakes(s, |ty, body| {
            if ty == 1 {
                o.put_some(server_name(body));
            }
        });
    }),
    row("tls.alert_message.level", Kind::Uint(8), "1 warning, 2 fatal; not encrypted", |s, o| {
        tls_alerts(s, |level, _| o.put(level));
    }),
    row(
        "tls.alert_message.desc",
        Kind::Uint(8),
        "0 close notify, 48 unknown CA …; not encrypted",
        |s, o| {
            tls_alerts(s, |_, description| o.put(description));
        },
    ),
    row("http", Kind::Protocol, "the beginning of an HTTP/1 message", |s, o| o.here(http(s).is_some())),
    row("http.request", Kind::Bool, "a request", |s, o| {
        if http(s).is_some_and(|h| h.0) {
            o.put(true);
        }
    }),
    row("http.request.method", Kind::Bytes, "method", |s, o| o.put_some(http_word(s, true, 0))),
    row("http.request.uri", Kind::Bytes, "target", |s, o| o.put_some(http_word(s, true, 1))),
    row("http.request.version", Kind::Bytes, "HTTP/1.0, HTTP/1.1", |s, o| o.put_some(http_word(s, true, 2))),
    row("http.host", Kind::Bytes, "the Host field", |s, o| o.put_some(http_header(s, "host"))),
    row("http.response", Kind::Bool, "a response", |s, o| {
        if http(s).is_some_and(|h| !h.0) {
            o.put(true);
        }
    }),
    row("http.response.code", Kind::Uint(24), "status code", |s, o| o.put_some(http_number(s))),
    row("http.content_type", Kind::Bytes, "the Content-Type field", |s, o| {
        o.put_some(http_header(s, "content-type"));
    }),
    row("http2", Kind::Protocol, "HTTP/2 frames, not encrypted", |s, o| o.here(http2(s, |_, _, _| {}))),
    row("http2.type", Kind::Uint(8), "0 DATA, 1 HEADERS, 3 RST_STREAM, 4 SETTINGS …", |s, o| {
        http2(s, |ty, _, _| o.put(ty));
    }),
    row("http2.flags", Kind::Uint(8), "a frame's flags", |s, o| {
        http2(s, |_, flags, _| o.put(flags));
    }),
    row("http2.streamid", Kind::Uint(32), "a frame's stream", |s, o| {
        http2(s, |_, _, stream| o.put(stream));
    }),
    row("quic", Kind::Protocol, "a QUIC packet with a long header, or any on port 443", |s, o| {
        o.here(quic(s, |_| {}));
    }),
    row("quic.version", Kind::Uint(32), "version of a long header", |s, o| {
        quic(s, |h| o.put(h.version));
    }),
    row("quic.long.packet_type", Kind::Uint(2), "0 Initial, 1 0-RTT, 2 Handshake, 3 Retry", |s, o| {
        quic(s, |h| o.put_some(h.ty));
    }),
    row("quic.dcid", Kind::Bytes, "destination connection id of a long header", |s, o| {
        quic(s, |h| o.put_some((!h.dcid.is_empty()).then_some(h.dcid)));
    }),
    row("quic.scid", Kind::Bytes, "source connection id of a long header", |s, o| {
        quic(s, |h| o.put_some((!h.scid.is_empty()).then_some(h.scid)));
    }),
];
