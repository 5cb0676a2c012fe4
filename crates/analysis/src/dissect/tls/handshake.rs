//! TLS handshake messages (RFC 8446 §4, RFC 5246 §7.4) in words and fields; TCP's records and QUIC's CRYPTO frames carry
//! the same ones.

use std::fmt::Write as _;

use super::certificate;
use super::names::{
    extension_name, group_name, handshake_name, is_grease, signature_name, suite, suite_name, version_name,
};
use crate::dissect::reader::Reader;
use crate::dissect::{Field, Layer, Message, hex, lossy};

/// A ServerHello with this random is a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Most of a list's entries that are told in fields.
const MAX_LISTED: usize = 64;

/// What a connection's messages have said so far.
#[derive(Clone, Debug, Default)]
pub(in crate::dissect) struct Known {
    pub(in crate::dissect) client_random: Option<[u8; 32]>,
    pub(in crate::dissect) server_random: Option<[u8; 32]>,
    /// The version agreed on.
    pub(in crate::dissect) version: Option<u16>,
    pub(in crate::dissect) suite: Option<u16>,
    /// Suites that the client offered.
    pub(in crate::dissect) offered: Vec<u16>,
    pub(in crate::dissect) alpn: Option<String>,
    session_id: Vec<u8>,
    /// The client's last hello offered early data.
    pub(in crate::dissect) early_data: bool,
    /// The token of a server's stateless resets (RFC 9000 §18.2).
    pub(in crate::dissect) reset_token: Option<[u8; 16]>,
}

impl Known {
    /// What is good to know before the handshake is read again.
    pub(in crate::dissect) fn beforehand(self) -> Known {
        Known {
            client_random: self.client_random,
            alpn: self.alpn,
            reset_token: self.reset_token,
            ..Known::default()
        }
    }
}

/// A message's words, and its fields.
#[derive(Default)]
struct Said {
    words: String,
    fields: Vec<Field>,
}

impl Said {
    fn word(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        if !text.is_empty() {
            let _ = write!(self.words, " {text}");
        }
    }

    fn field(&mut self, field: Field) {
        self.fields.push(field);
    }
}

/// A whole message: type, length of three octets, body.
pub(in crate::dissect) fn message(ty: u8, body: &[u8], known: &mut Known, from_client: bool) -> Layer {
    let mut said = Said::default();
    let retry = ty == 2 && body.get(2..34) == Some(&RETRY_RANDOM[..]);
    let name = if retry { "HelloRetryRequest" } else { handshake_name(ty).unwrap_or("handshake message") };
    said.field(Field::new("tls.handshake.type", format!("{name} ({ty})")).at(0, 1));
    said.field(Field::new("tls.handshake.length", body.len()).at(1, 4));
    let understood = match ty {
        1 => client_hello(body, known, &mut said),
        2 => server_hello(body, known, &mut said, retry),
        4 => ticket(body, known, &mut said),
        8 => extensions_only(body, known, &mut said),
        11 => certificates(body, known, &mut said),
        12 => server_key_exchange(body, known, &mut said),
        13 => certificate_request(body, known, &mut said),
        15 => certificate_verify(body, known, &mut said),
        16 => client_key_exchange(body, known, &mut said),
        22 => certificate_status(body, &mut said),
        24 => {
            let asked = body.first() == Some(&1);
            said.word(if asked { "(update_requested)" } else { "" });
            Some(())
        }
        25 => {
            let algorithm = body.get(..2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            let name = match algorithm {
                1 => "zlib",
                2 => "brotli",
                3 => "zstd",
                _ => "?",
            };
            said.word(format!("({name}, {} B)", body.len()));
            Some(())
        }
        _ => Some(()),
    };
    if understood.is_none() {
        said.word("(malformed)");
    }
    let message = Message::TlsHandshake { ty, name, from_client };
    let text = format!("{name}{}", said.words);
    Layer::new("TLS", crate::dissect::cut(&text), body.len() + 4, message).with(said.fields)
}

fn client_hello(body: &[u8], known: &mut Known, said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    let version = r.u16()?;
    let random: [u8; 32] = r.take(32)?.try_into().ok()?;
    known.client_random = Some(random);
    known.session_id = r.vec8()?.to_vec();
    said.field(Field::new("tls.handshake.version", version_name(version)).at(4, 6));
    said.field(Field::new("tls.handshake.random", hex(&random)).at(6, 38));
    said.field(Field::new("tls.handshake.session_id", hex(&known.session_id)));
    let suites = r.vec16()?;
    known.offered = suites.as_chunks::<2>().0.iter().map(|s| u16::from_be_bytes(*s)).collect();
    known.offered.truncate(MAX_LISTED);
    let names = known.offered.iter().map(|s| Field::new("tls.handshake.ciphersuite", suite_name(*s)));
    let end = 4 + r.at();
    let names = names.collect();
    said.field(
        Field::new("tls.handshake.ciphersuites", suites.len() / 2).at(end - suites.len(), end).of(names),
    );
    r.vec8()?;
    known.early_data = false;
    if !r.is_empty() {
        hello_extensions(&mut r, known, said, true)?;
    }
    Some(())
}

fn server_hello(body: &[u8], known: &mut Known, said: &mut Said, retry: bool) -> Option<()> {
    let mut r = Reader::new(body);
    let version = r.u16()?;
    let random: [u8; 32] = r.take(32)?.try_into().ok()?;
    let session_id = r.vec8()?;
    let suite = r.u16()?;
    r.u8()?;
    said.field(Field::new("tls.handshake.version", version_name(version)).at(4, 6));
    said.field(Field::new("tls.handshake.random", hex(&random)).at(6, 38));
    said.field(Field::new("tls.handshake.session_id", hex(session_id)));
    said.field(Field::new("tls.handshake.ciphersuite", suite_name(suite)));
    said.word(suite_name(suite));
    known.suite = Some(suite);
    let mut agreed = version;
    if !r.is_empty() {
        agreed = hello_extensions(&mut r, known, said, false)?.unwrap_or(version);
    }
    known.version = Some(agreed);
    if retry {
        return Some(());
    }
    known.server_random = Some(random);
    if agreed < 0x0304 && !session_id.is_empty() && session_id == known.session_id {
        said.word("resumed");
    }
    Some(())
}

/// A hello's extensions; the version that `supported_versions` of a server names.
fn hello_extensions(
    r: &mut Reader<'_>,
    known: &mut Known,
    said: &mut Said,
    client: bool,
) -> Option<Option<u16>> {
    let base = 4 + r.at() + 2;
    let mut all = Reader::new(r.vec16()?);
    let mut version = None;
    let mut fields = Vec::new();
    while !all.is_empty() {
        let from = base + all.at();
        let ty = all.u16()?;
        let data = all.vec16()?;
        let mut value = String::new();
        // A malformed extension is told as its bytes; the ones behind it stand on their own.
        match extension(ty, data, client, known, &mut value) {
            Some(Some(v)) => version = Some(v),
            Some(None) => {}
            None => value = format!("malformed: {}", hex(data)),
        }
        let to = base + all.at();
        match ty {
            0 if client => said.word(format!("SNI {value}")),
            16 if !value.is_empty() => said.word(format!("ALPN {value}")),
            41 => said.word("PSK"),
            42 => said.word("early_data"),
            51 if !client => said.word(&value),
            5 if client => {}
            _ => {}
        }
        if client && ty == 42 {
            known.early_data = true;
        }
        let name = format!("tls.handshake.extension.{}", extension_name(ty));
        fields.push(Field::new(name, value).at(from, to));
    }
    said.field(Field::new("tls.handshake.extensions", fields.len()).of(fields));
    Some(version)
}

/// An extension's value in words; the version, when it says one.
fn extension(
    ty: u16,
    data: &[u8],
    client: bool,
    known: &mut Known,
    value: &mut String,
) -> Option<Option<u16>> {
    let mut r = Reader::new(data);
    let pairs = |bytes: &[u8], name: fn(u16) -> String| {
        let all = bytes.as_chunks::<2>().0.iter().take(MAX_LISTED).map(|p| u16::from_be_bytes(*p));
        all.filter(|p| !is_grease(*p)).map(name).collect::<Vec<_>>().join(",")
    };
    match ty {
        0 if client => {
            let mut list = Reader::new(r.vec16()?);
            list.u8()?;
            *value = lossy(list.vec16()?);
        }
        10 => *value = pairs(r.vec16()?, group_name),
        13 | 50 => *value = pairs(r.vec16()?, signature_name),
        16 => {
            let mut list = Reader::new(r.vec16()?);
            let mut names = Vec::new();
            while let Some(name) = list.vec8().filter(|_| names.len() < MAX_LISTED) {
                names.push(lossy(name));
            }
            if !client {
                known.alpn = names.first().cloned();
            }
            *value = names.join(",");
        }
        41 if !client => *value = format!("identity {}", r.u16()?),
        43 if client => *value = pairs(r.vec8()?, |v| version_name(v).to_string()),
        43 => {
            let version = r.u16()?;
            *value = version_name(version).to_string();
            return Some(Some(version));
        }
        51 if client => {
            let mut list = Reader::new(r.vec16()?);
            let mut names = Vec::new();
            while let Some(group) = list.u16().filter(|_| names.len() < MAX_LISTED) {
                list.vec16()?;
                if !is_grease(group) {
                    names.push(group_name(group));
                }
            }
            *value = names.join(",");
        }
        51 => *value = group_name(r.u16()?),
        57 if !client => {
            // RFC 9000 §18: numbers and values; 2 is the token of stateless resets.
            while let Some(parameter) = r.varint() {
                let content = r.vec_varint()?;
                if let (2, Ok(token)) = (parameter, content.try_into()) {
                    known.reset_token = Some(token);
                }
            }
            *value = format!("{} B", data.len());
        }
        _ => *value = if data.is_empty() { String::new() } else { format!("{} B", data.len()) },
    }
    Some(None)
}

fn extensions_only(body: &[u8], known: &mut Known, said: &mut Said) -> Option<()> {
    hello_extensions(&mut Reader::new(body), known, said, false).map(drop)
}

fn is_13(known: &Known) -> bool {
    known.version == Some(0x0304)
}

fn ticket(body: &[u8], known: &Known, said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    let lifetime = r.u32()?;
    let mut words = format!("lifetime {lifetime} s");
    said.field(Field::new("tls.handshake.session_ticket_lifetime_hint", lifetime).at(4, 8));
    if is_13(known) {
        r.u32()?;
        r.vec8()?;
        let ticket = r.vec16()?;
        let mut extensions = Reader::new(r.vec16()?);
        said.field(Field::new("tls.handshake.session_ticket_length", ticket.len()));
        while let Some(ty) = extensions.u16() {
            let data = extensions.vec16()?;
            if let (42, Some(most)) = (ty, Reader::new(data).u32()) {
                let _ = write!(words, ", early_data {most} B");
            }
        }
    }
    said.word(format!("({words})"));
    Some(())
}

fn certificates(body: &[u8], known: &Known, said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    if is_13(known) {
        r.vec8()?;
    }
    let mut list = Reader::new(r.vec24()?);
    let (mut count, mut staple) = (0_usize, None);
    let mut first = None;
    while !list.is_empty() {
        let der = list.vec24()?;
        count += 1;
        if count <= MAX_LISTED {
            let (short, fields) = certificate::words(der);
            first = first.or(Some(short.clone()));
            said.field(Field::new("tls.handshake.certificate", short).of(fields));
        }
        if is_13(known) {
            let mut extensions = Reader::new(list.vec16()?);
            while let Some(ty) = extensions.u16() {
                let data = extensions.vec16()?;
                staple = if ty == 5 { Some(data.len()) } else { staple };
            }
        }
    }
    let certs = if count == 1 { "1 cert".to_string() } else { format!("{count} certs") };
    let who = first.map_or(String::new(), |f| format!(", {f}"));
    let staple = staple.map_or(String::new(), |n| format!(", OCSP staple {n} B"));
    said.word(if count == 0 { "(none)".to_string() } else { format!("({certs}{who}{staple})") });
    Some(())
}

fn server_key_exchange(body: &[u8], known: &Known, said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    if !known.suite.and_then(suite).is_some_and(|s| s.name.contains("ECDHE")) {
        return Some(());
    }
    // RFC 8422 §5.4: named_curve is 3.
    if r.u8()? == 3 {
        let group = group_name(r.u16()?);
        let point = r.vec8()?.len();
        said.field(Field::new("tls.handshake.server_named_curve", &group).at(5, 7));
        said.field(Field::new("tls.handshake.server_point_len", point).at(7, 8));
        said.word(group);
        if known.version == Some(0x0303) {
            let scheme = signature_name(r.u16()?);
            said.field(Field::new("tls.handshake.sig_hash_alg", &scheme));
            said.word(scheme);
        }
    }
    Some(())
}

fn certificate_request(body: &[u8], known: &mut Known, said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    if is_13(known) {
        r.vec8()?;
        let mut said_elsewhere = Said::default();
        hello_extensions(&mut r, known, &mut said_elsewhere, true)?;
        said.fields.extend(said_elsewhere.fields);
        return Some(());
    }
    let kinds = r.vec8()?;
    said.field(Field::new("tls.handshake.cert_types", hex(kinds)));
    Some(())
}

fn certificate_verify(body: &[u8], known: &Known, said: &mut Said) -> Option<()> {
    if known.version.unwrap_or(0) >= 0x0303 {
        let scheme = signature_name(Reader::new(body).u16()?);
        said.field(Field::new("tls.handshake.sig_hash_alg", &scheme).at(4, 6));
        said.word(scheme);
    }
    Some(())
}

fn client_key_exchange(body: &[u8], known: &Known, said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    let name = known.suite.and_then(suite).map_or("", |s| s.name);
    if name.starts_with("TLS_RSA_") {
        let n = r.vec16()?.len();
        said.word(format!("RSA-encrypted premaster ({n} B)"));
        said.field(Field::new("tls.handshake.epms_len", n).at(4, 6));
    } else if name.contains("ECDHE") {
        let n = r.vec8()?.len();
        said.field(Field::new("tls.handshake.client_point_len", n).at(4, 5));
    }
    Some(())
}

fn certificate_status(body: &[u8], said: &mut Said) -> Option<()> {
    let mut r = Reader::new(body);
    let kind = r.u8()?;
    let n = r.vec24()?.len();
    said.word(format!("({} {n} B)", if kind == 1 { "OCSP" } else { "status" }));
    said.field(Field::new("tls.handshake.certificate_status.length", n));
    Some(())
}
