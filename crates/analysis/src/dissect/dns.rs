//! DNS messages (RFC 1035 §4, EDNS RFC 6891, SVCB RFC 9460), in datagrams and behind a length on a stream.
//!
//! A message counts as DNS only when all of its sections can be read to the end.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::app::Cx;
use super::reader::Reader;
use super::{Field, Layer, Message, hex, lossy};

/// Longest name in text (RFC 1035 §2.3.4: 255 octets; each may print as `\ddd`).
const MAX_NAME: usize = 1024;
/// Most records read of a message; a message of 64 KiB holds at most 5,957 of 11 octets.
const MAX_RECORDS: usize = 6_000;

const HEADER: usize = 12;

struct Record {
    name: String,
    ty: u16,
    class: u16,
    ttl: u32,
    /// The data in words.
    data: String,
    range: (usize, usize),
}

/// A message behind its length of two octets (RFC 1035 §4.2.2); `buffer` holds what is not complete.
pub(super) fn stream(buffer: &mut Vec<u8>, bytes: &[u8], cx: &mut Cx<'_>) {
    buffer.extend_from_slice(bytes);
    let mut at = 0;
    while let Some(head) = buffer.get(at..at + 2) {
        let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let Some(text) = buffer.get(at + 2..at + 2 + len) else { break };
        let layer = message(text).unwrap_or_else(|| {
            Layer::new("DNS", format!("malformed message ({len} B)"), len, Message::Other)
        });
        cx.put(Layer { len: len + 2, header: len + 2, ..layer });
        at += 2 + len;
    }
    buffer.drain(..at);
}

/// Whether a stream begins as DNS over TCP does. `None`: too short to tell.
pub(super) fn looks_like_stream(bytes: &[u8]) -> Option<bool> {
    let head = bytes.get(..2 + HEADER)?;
    let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
    let count = |at: usize| usize::from(u16::from_be_bytes([head[2 + at], head[3 + at]]));
    let opcode = head[4] >> 3 & 0xf;
    Some(len >= HEADER && opcode <= 6 && count(4) <= 16 && count(4) * 5 + (count(6) + count(8)) * 11 <= len)
}

/// A whole message; `None` when it is none.
pub(super) fn message(bytes: &[u8]) -> Option<Layer> {
    let mut r = Reader::new(bytes);
    let (id, flags) = (r.u16()?, r.u16()?);
    let counts = [r.u16()?, r.u16()?, r.u16()?, r.u16()?];
    let opcode = flags >> 11 & 0xf;
    if opcode > 6 || counts[0] > 64 {
        return None;
    }
    let mut questions = Vec::new();
    for _ in 0..counts[0] {
        let from = r.at();
        let name = name(bytes, &mut r)?;
        let (ty, class) = (r.u16()?, r.u16()?);
        questions.push((name, ty, class, (from, r.at())));
    }
    let mut sections: [Vec<Record>; 3] = Default::default();
    let mut edns = None;
    let mut rcode = flags & 0xf;
    for (section, count) in sections.iter_mut().zip(&counts[1..]) {
        for _ in 0..usize::from(*count).min(MAX_RECORDS) {
            let record = record(bytes, &mut r)?;
            if record.ty == OPT {
                // RFC 6891 §6.1.3: the upper bits of the code, version, DO.
                rcode |= u16::try_from(record.ttl >> 24).unwrap_or(0) << 4;
                edns = Some((record.class, record.ttl & 0x8000 != 0));
            }
            section.push(record);
        }
    }
    if !r.is_empty() {
        return None;
    }
    let response = flags & 0x8000 != 0;
    let (qname, qtype) = questions.first().map_or_else(Default::default, |q| (q.0.clone(), type_name(q.1)));
    let mut text = if qname.is_empty() { String::new() } else { format!("{qname} {qtype}") };
    if opcode != 0 {
        let _ = write!(text, " {}", opcode_name(opcode));
    }
    let rcode_text = rcode_name(rcode);
    let message = if response {
        answer_words(&mut text, &qname, &sections);
        let _ = write!(text, " · {rcode_text}");
        for (bit, word) in [(0x0400, " aa"), (0x0200, " tc"), (0x0020, " ad")] {
            text.push_str(if flags & bit != 0 { word } else { "" });
        }
        Message::DnsResponse {
            id,
            name: qname,
            ty: qtype,
            rcode: rcode_text,
            answers: sections[0].len(),
            authoritative: flags & 0x0400 != 0,
            truncated: flags & 0x0200 != 0,
        }
    } else {
        text.push('?');
        text.push_str(if flags & 0x0100 != 0 { " rd" } else { "" });
        Message::DnsQuery { id, name: qname, ty: qtype }
    };
    if let Some((size, wants_dnssec)) = edns {
        let _ = write!(text, " edns {size}{}", if wants_dnssec { " do" } else { "" });
    }
    let _ = write!(text, " id {id:#06x}");
    let details = details(id, flags, rcode, counts, &questions, &sections);
    Some(Layer::new("DNS", super::cut(&text), bytes.len(), message).with(details))
}

/// The answers behind the question, or where a referral points, or for how long there is none.
fn answer_words(text: &mut String, qname: &str, sections: &[Vec<Record>; 3]) {
    const SHOWN: usize = 4;
    let [answers, authority, additional] = sections;
    let mut last = qname;
    let mut first = true;
    for a in answers.iter().take(SHOWN) {
        let name = if a.name == last { String::new() } else { format!("{} ", a.name) };
        let (ty, data, ttl) = (type_name(a.ty), &a.data, a.ttl);
        // The first answer of the question's own type does not repeat it.
        let named = first && text.ends_with(&format!(" {ty}"));
        let ty = if named { String::new() } else { format!("{ty} ") };
        let _ = write!(text, "{}{name}{ty}{data} ttl {ttl}", if first { " " } else { ", " });
        first = false;
        last = &a.name;
    }
    if answers.len() > SHOWN {
        let _ = write!(text, ", {} more", answers.len() - SHOWN);
    }
    if !answers.is_empty() {
        return;
    }
    let servers: Vec<&Record> = authority.iter().filter(|a| a.ty == NS).collect();
    if let Some(ns) = servers.first() {
        let _ = write!(text, " → {} NS {}", ns.name, ns.data);
        if servers.len() > 1 {
            let _ = write!(text, " and {} more", servers.len() - 1);
        }
        if let Some(glue) = additional.iter().find(|a| a.name.eq_ignore_ascii_case(&ns.data)) {
            let _ = write!(text, " ({})", glue.data);
        }
    } else if let Some(soa) = authority.iter().find(|a| a.ty == SOA) {
        let _ = write!(text, " none, SOA {} ttl {}", soa.name, soa.ttl);
    }
}

fn details(
    id: u16,
    flags: u16,
    rcode: u16,
    counts: [u16; 4],
    questions: &[(String, u16, u16, (usize, usize))],
    sections: &[Vec<Record>; 3],
) -> Vec<Field> {
    let bit = |mask: u16| u8::from(flags & mask != 0);
    let mut fields = vec![
        Field::new("dns.id", format!("{id:#06x}")).at(0, 2),
        Field::new("dns.flags", format!("{flags:#06x}")).at(2, 4).of(vec![
            Field::new("dns.flags.response", bit(0x8000)),
            Field::new("dns.flags.opcode", opcode_name(flags >> 11 & 0xf)),
            Field::new("dns.flags.authoritative", bit(0x0400)),
            Field::new("dns.flags.truncated", bit(0x0200)),
            Field::new("dns.flags.recdesired", bit(0x0100)),
            Field::new("dns.flags.recavail", bit(0x0080)),
            Field::new("dns.flags.authenticated", bit(0x0020)),
            Field::new("dns.flags.checkdisable", bit(0x0010)),
            Field::new("dns.flags.rcode", rcode_name(rcode)),
        ]),
    ];
    for (i, name) in
        ["dns.count.queries", "dns.count.answers", "dns.count.auth_rr", "dns.count.add_rr"].iter().enumerate()
    {
        fields.push(Field::new(*name, counts[i]).at(4 + 2 * i, 6 + 2 * i));
    }
    for (name, ty, class, (from, to)) in questions {
        fields.push(Field::new("dns.qry", format!("{name} {}", type_name(*ty))).at(*from, *to).of(vec![
            Field::new("dns.qry.name", name),
            Field::new("dns.qry.type", type_name(*ty)),
            Field::new("dns.qry.class", class_name(*class)),
        ]));
    }
    for (section, word) in sections.iter().zip(["dns.answers", "dns.authority", "dns.additional"]) {
        for a in section {
            let text = format!("{} {} {} ttl {}", a.name, type_name(a.ty), a.data, a.ttl);
            let (name, ty) = (Field::new("dns.resp.name", &a.name), type_name(a.ty));
            fields.push(Field::new(word, text).at(a.range.0, a.range.1).of(vec![
                name,
                Field::new("dns.resp.type", ty),
                Field::new("dns.resp.class", class_name(a.class)),
                Field::new("dns.resp.ttl", a.ttl),
                Field::new("dns.resp.data", &a.data),
            ]));
        }
    }
    fields
}

/// A name with its dots, compression followed backwards only (RFC 1035 §4.1.4).
fn name(whole: &[u8], r: &mut Reader<'_>) -> Option<String> {
    let mut text = String::new();
    let mut far: Option<Reader<'_>> = None;
    let mut lowest = r.at();
    for _ in 0..MAX_NAME {
        let len = match &mut far {
            Some(far) => far.u8()?,
            None => r.u8()?,
        };
        match len {
            0 => {
                if text.is_empty() {
                    text.push('.');
                }
                return Some(text);
            }
            1..=63 => {
                let label = match &mut far {
                    Some(far) => far.take(len.into())?,
                    None => r.take(len.into())?,
                };
                for &b in label {
                    match b {
                        b'.' | b'\\' => {
                            text.push('\\');
                            text.push(char::from(b));
                        }
                        0x21..=0x7e => text.push(char::from(b)),
                        _ => {
                            let _ = write!(text, "\\{b:03}");
                        }
                    }
                }
                text.push('.');
                if text.len() > MAX_NAME {
                    return None;
                }
            }
            0xc0.. => {
                let low = match &mut far {
                    Some(far) => far.u8()?,
                    None => r.u8()?,
                };
                let at = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                if at >= lowest {
                    return None;
                }
                lowest = at;
                far = Some(Reader::new(whole));
                far.as_mut()?.take(at)?;
            }
            _ => return None,
        }
    }
    None
}

fn record(whole: &[u8], r: &mut Reader<'_>) -> Option<Record> {
    let from = r.at();
    let name = name(whole, r)?;
    let (ty, class, ttl) = (r.u16()?, r.u16()?, r.u32()?);
    let len = usize::from(r.u16()?);
    let begin = r.at();
    let bytes = r.take(len)?;
    // Names in the data may point anywhere before: read with the whole message at hand.
    let mut inside = Reader::new(whole.get(..begin + len)?);
    inside.take(begin)?;
    let data = data(whole, bytes, &mut inside, ty).unwrap_or_else(|| hex(bytes));
    Some(Record { name, ty, class, ttl, data, range: (from, r.at()) })
}

const NS: u16 = 2;
const SOA: u16 = 6;
const OPT: u16 = 41;

/// A record's data as zone files write it.
fn data(whole: &[u8], bytes: &[u8], r: &mut Reader<'_>, ty: u16) -> Option<String> {
    Some(match ty {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
        // NS, CNAME, PTR, DNAME
        NS | 5 | 12 | 39 => name(whole, r)?,
        15 => {
            let preference = r.u16()?;
            format!("{preference} {}", name(whole, r)?)
        }
        SOA => {
            let (mname, rname) = (name(whole, r)?, name(whole, r)?);
            format!("{mname} {rname} serial {} minimum {}", r.u32()?, {
                r.take(12)?;
                r.u32()?
            })
        }
        16 => {
            let mut r = Reader::new(bytes);
            let mut texts = Vec::new();
            while !r.is_empty() {
                texts.push(format!("\"{}\"", lossy(r.vec8()?)));
            }
            texts.join(" ")
        }
        33 => {
            let (priority, weight, port) = (r.u16()?, r.u16()?, r.u16()?);
            format!("{priority} {weight} {port} {}", name(whole, r)?)
        }
        // SVCB, HTTPS
        64 | 65 => {
            let priority = r.u16()?;
            format!("{priority} {}{}", name(whole, r)?, svc_params(r)?)
        }
        257 => {
            let mut r = Reader::new(bytes);
            let flags = r.u8()?;
            let tag = lossy(r.vec8()?);
            format!("{flags} {tag} \"{}\"", lossy(r.rest()))
        }
        OPT => format!("{} option bytes", bytes.len()),
        _ => return None,
    })
}

/// RFC 9460 §14.3.2.
fn svc_params(r: &mut Reader<'_>) -> Option<String> {
    let mut text = String::new();
    while !r.is_empty() {
        let (key, value) = (r.u16()?, r.vec16()?);
        let mut v = Reader::new(value);
        match key {
            1 => {
                let mut ids = Vec::new();
                while let Some(id) = v.vec8() {
                    ids.push(lossy(id));
                }
                let _ = write!(text, " alpn={}", ids.join(","));
            }
            3 => {
                let _ = write!(text, " port={}", v.u16()?);
            }
            4 => {
                let addrs: Vec<String> =
                    value.as_chunks::<4>().0.iter().map(|a| Ipv4Addr::from(*a).to_string()).collect();
                let _ = write!(text, " ipv4hint={}", addrs.join(","));
            }
            6 => {
                let addrs: Vec<String> =
                    value.as_chunks::<16>().0.iter().map(|a| Ipv6Addr::from(*a).to_string()).collect();
                let _ = write!(text, " ipv6hint={}", addrs.join(","));
            }
            _ => {
                let _ = write!(text, " key{key}");
            }
        }
    }
    Some(text)
}

fn type_name(ty: u16) -> String {
    let name = match ty {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        other => return format!("TYPE{other}"),
    };
    name.to_string()
}

fn class_name(class: u16) -> String {
    match class {
        1 => "IN".to_string(),
        3 => "CH".to_string(),
        254 => "NONE".to_string(),
        255 => "ANY".to_string(),
        other => format!("CLASS{other}"),
    }
}

fn opcode_name(opcode: u16) -> String {
    match opcode {
        0 => "QUERY".to_string(),
        1 => "IQUERY".to_string(),
        2 => "STATUS".to_string(),
        4 => "NOTIFY".to_string(),
        5 => "UPDATE".to_string(),
        6 => "DSO".to_string(),
        other => format!("OPCODE{other}"),
    }
}

fn rcode_name(rcode: u16) -> String {
    let name = match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        other => return format!("RCODE{other}"),
    };
    name.to_string()
}
