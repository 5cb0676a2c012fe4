//! HTTP/1.0 and 1.1 (RFC 9112): heads, and where bodies end. Bodies are counted, not kept, but for DNS messages in
//! them (RFC 8484); what comes behind 101 and CONNECT is a stream of its own.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::app::{App, Cx};
use super::{Field, Layer, Message, dns, lossy};

/// Longest head that is waited for.
const MAX_HEAD: usize = 128 << 10;
/// Most header lines of a head that are read.
const MAX_HEADERS: usize = 128;
/// Longest chunk-size line that is waited for.
const MAX_LINE: usize = 4096;
/// Most requests that wait for their responses.
const MAX_ASKED: usize = 4096;
/// Longest body that is kept for a look inside: a DNS message.
pub(super) const MAX_KEPT: usize = 65_535;

/// The methods of RFC 9110 §9, PATCH, and those that Wireshark knows a request by.
const METHODS: [&str; 13] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "MKCOL",
    "NOTIFY", "M-SEARCH",
];

/// A connection.
#[derive(Debug)]
pub(super) struct Http1 {
    sides: [Side; 2],
    /// Who asks.
    client: Option<usize>,
    /// Methods whose responses are awaited; interim responses (100, 103) do not count.
    asked: VecDeque<String>,
    /// What the connection became.
    tunnel: Option<Box<App>>,
    depth: u8,
}

#[derive(Debug, Default)]
struct Side {
    buffer: Vec<u8>,
    state: State,
    /// Body bytes of this message so far.
    body: u64,
    /// The head's layer, while bytes of the same piece are read.
    head: Option<(u64, usize)>,
    /// A body that is looked into.
    kept: Option<Vec<u8>>,
    chunked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
    Tunnel,
    /// Not understood.
    Lost,
}

/// A head that was read.
struct Head {
    summary: String,
    message: Message,
    details: Vec<Field>,
    length: Option<u64>,
    chunked: bool,
    /// Kept for a look inside.
    dns: bool,
    upgrade: Option<String>,
    status: Option<u16>,
}

/// Whether a direction begins with a request or a response. `None`: too short to tell.
pub(super) fn looks_like(bytes: &[u8]) -> Option<bool> {
    let begins = |word: &[u8]| {
        let n = word.len().min(bytes.len());
        (bytes[..n] == word[..n]).then_some(n == word.len())
    };
    let words = METHODS.iter().map(|m| begins(format!("{m} ").as_bytes())).chain([begins(b"HTTP/1.")]);
    let mut short = false;
    for word in words.flatten() {
        if word {
            return Some(true);
        }
        short = true;
    }
    if short { None } else { Some(false) }
}

impl Http1 {
    pub(super) fn new(depth: u8) -> Http1 {
        Http1 { sides: Default::default(), client: None, asked: VecDeque::new(), tunnel: None, depth }
    }

    pub(super) fn feed(&mut self, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            rest = match self.sides[dir].state {
                State::Head | State::ChunkSize | State::Trailer => self.line(dir, rest, cx),
                State::Length(n) => self.body(dir, rest, n, cx),
                State::Chunk(n) => self.body(dir, rest, n, cx),
                State::UntilClose => self.body(dir, rest, u64::MAX, cx),
                State::ChunkEnd => {
                    // CR LF behind a chunk's data.
                    let n = rest.iter().position(|b| *b == b'\n').map_or(rest.len().min(2), |p| p + 1);
                    if rest[..n].ends_with(b"\n") {
                        self.sides[dir].state = State::ChunkSize;
                    }
                    &rest[n..]
                }
                State::Tunnel => {
                    if let Some(app) = &mut self.tunnel {
                        app.feed(dir, rest, cx);
                    }
                    &[]
                }
                State::Lost => match looks_like(rest) {
                    // A message begins with the segment: found again.
                    Some(true) if before == bytes.len() => {
                        self.sides[dir].state = State::Head;
                        rest
                    }
                    _ => &[],
                },
            };
        }
    }

    /// Collects a head, a chunk-size line or a trailer.
    fn line<'b>(&mut self, dir: usize, bytes: &'b [u8], cx: &mut Cx<'_>) -> &'b [u8] {
        let side = &mut self.sides[dir];
        let old = side.buffer.len();
        let most = if side.state == State::ChunkSize { MAX_LINE } else { MAX_HEAD };
        side.buffer.extend_from_slice(&bytes[..bytes.len().min(most)]);
        // Empty lines before a request line are to be ignored (RFC 9112 §2.2).
        let blank = side.buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let begin = if side.state == State::Head { blank } else { 0 };
        let end = match side.state {
            State::ChunkSize => find(&side.buffer, b"\n").map(|p| p + 1),
            State::Trailer if side.buffer.starts_with(b"\r\n") => Some(2),
            _ => {
                // What was searched before is not searched again.
                let from = begin.max(old.saturating_sub(3)).min(side.buffer.len());
                let after = &side.buffer[from..];
                find(after, b"\r\n\r\n")
                    .map(|p| from + p + 4)
                    .or_else(|| find(after, b"\n\n").map(|p| from + p + 2))
            }
        };
        let Some(end) = end else {
            if side.buffer.len() >= most {
                side.buffer.clear();
                side.state = State::Lost;
            }
            return &[];
        };
        let text: Vec<u8> = side.buffer[begin..end].to_vec();
        side.buffer.clear();
        let used = end.saturating_sub(old).min(bytes.len());
        match side.state {
            State::ChunkSize => self.chunk_size(dir, &text),
            State::Trailer => self.done(dir, cx),
            _ => self.head(dir, &text, cx),
        }
        &bytes[used..]
    }

    fn chunk_size(&mut self, dir: usize, line: &[u8]) {
        let side = &mut self.sides[dir];
        let digits: String =
            line.iter().take_while(|b| b.is_ascii_hexdigit()).map(|&b| char::from(b)).collect();
        side.state = match u64::from_str_radix(&digits, 16) {
            Ok(0) => State::Trailer,
            Ok(n) => State::Chunk(n),
            Err(_) => State::Lost,
        };
    }

    fn body<'b>(&mut self, dir: usize, bytes: &'b [u8], left: u64, cx: &mut Cx<'_>) -> &'b [u8] {
        let side = &mut self.sides[dir];
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (here, rest) = bytes.split_at(n);
        side.body += n as u64; // widening
        if let Some(kept) = side.kept.as_mut().filter(|k| k.len() + n <= MAX_KEPT) {
            kept.extend_from_slice(here);
        }
        let from_client = self.client == Some(dir);
        let message = Message::HttpBody { bytes: n, end: false, from_client, stream: None };
        // Chunks of one piece are one layer.
        match cx.layers.last_mut() {
            Some(Layer { message: Message::HttpBody { bytes, .. }, len, summary, .. })
                if summary.is_empty() =>
            {
                *bytes += n;
                *len += n;
            }
            _ => cx.put(Layer::new("HTTP", "", n, message).own(0)),
        }
        let left = left - n as u64;
        let side = &mut self.sides[dir];
        side.state = match side.state {
            State::Length(_) => State::Length(left),
            State::Chunk(_) if left == 0 => State::ChunkEnd,
            State::Chunk(_) => State::Chunk(left),
            other => other,
        };
        if side.state == State::Length(0) {
            self.done(dir, cx);
        }
        rest
    }

    /// A message is complete.
    fn done(&mut self, dir: usize, cx: &mut Cx<'_>) {
        let from_client = self.client == Some(dir);
        let side = &mut self.sides[dir];
        let bytes = usize::try_from(side.body).unwrap_or(usize::MAX);
        let chunked = std::mem::take(&mut side.chunked);
        let here = side.head.take().filter(|(turn, _)| *turn == cx.turn);
        let closed = side.state == State::UntilClose;
        side.state = State::Head;
        side.body = 0;
        let kept = side.kept.take();
        match here.and_then(|(_, i)| cx.layers.get_mut(i)) {
            Some(head) if chunked => {
                head.summary = head.summary.replacen("chunked", &format!("{bytes} B chunked"), 1);
            }
            Some(_) => {}
            None => {
                let how = if closed { ", connection closed" } else { "" };
                let text = format!("body end ({bytes} B{how})");
                let message = Message::HttpBody { bytes: 0, end: true, from_client, stream: None };
                cx.put(Layer::new("HTTP", text, 0, message));
            }
        }
        if let Some(layer) = kept.and_then(|k| dns::message(&k)) {
            cx.put(layer.own(0));
        }
    }

    fn head(&mut self, dir: usize, text: &[u8], cx: &mut Cx<'_>) {
        let Some(head) = read(text) else {
            let line = lossy(text.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default());
            cx.put(Layer::new("HTTP", format!("malformed head: {line}"), text.len(), Message::Other));
            self.sides[dir].state = State::Lost;
            return;
        };
        let mut inner = None;
        let bodyless = match (&head.message, head.status) {
            (Message::HttpRequest { method, target, .. }, _) => {
                self.client.get_or_insert(dir);
                if self.asked.len() < MAX_ASKED {
                    self.asked.push_back(method.clone());
                }
                inner = dns_in_target(target);
                head.length.is_none() && !head.chunked
            }
            (_, Some(100 | 102..=199)) => true,
            (_, Some(status)) => {
                self.client.get_or_insert(1 - dir);
                let method = self.asked.pop_front().unwrap_or_default();
                if status == 101 || method == "CONNECT" && (200..300).contains(&status) {
                    self.become_tunnel(dir, &head, text.len(), cx);
                    return;
                }
                method == "HEAD" || matches!(status, 204 | 304)
            }
            _ => true,
        };
        let side = &mut self.sides[dir];
        side.head = Some((cx.turn, cx.layers.len()));
        side.chunked = head.chunked;
        side.kept = head.dns.then(Vec::new);
        side.body = 0;
        side.state = match (bodyless, head.chunked, head.length) {
            (true, ..) | (_, false, Some(0)) => State::Head,
            (_, true, _) => State::ChunkSize,
            (_, _, Some(n)) => State::Length(n),
            (_, _, None) => State::UntilClose,
        };
        cx.put(Layer::new("HTTP", head.summary, text.len(), head.message).with(head.details));
        if let Some(layer) = inner {
            cx.put(layer);
        }
    }

    fn become_tunnel(&mut self, dir: usize, head: &Head, len: usize, cx: &mut Cx<'_>) {
        cx.put(
            Layer::new("HTTP", head.summary.clone(), len, head.message.clone()).with(head.details.clone()),
        );
        let app = match head.upgrade.as_deref() {
            Some(to) => App::upgraded(to, self.depth + 1),
            None => App::deeper(self.depth + 1),
        };
        self.tunnel = Some(Box::new(app));
        for side in &mut self.sides {
            side.state = State::Tunnel;
        }
        // What the client sent on before it knew.
        let early = std::mem::take(&mut self.sides[1 - dir].buffer);
        if let Some(app) = self.tunnel.as_mut().filter(|_| !early.is_empty()) {
            app.feed(1 - dir, &early, cx);
        }
    }

    pub(super) fn lost(&mut self, dir: usize, missing: u64) {
        let side = &mut self.sides[dir];
        side.kept = None;
        side.state = match side.state {
            State::Length(n) if n > missing => State::Length(n - missing),
            State::Length(n) if n == missing => State::Head,
            State::Chunk(n) if n > missing => State::Chunk(n - missing),
            State::UntilClose => State::UntilClose,
            State::Tunnel => {
                if let Some(app) = &mut self.tunnel {
                    app.lost(dir, missing);
                }
                State::Tunnel
            }
            _ => State::Lost,
        };
        side.body += if side.state == State::Head { 0 } else { missing };
        side.buffer.clear();
    }

    pub(super) fn end(&mut self, dir: usize, cx: &mut Cx<'_>) {
        match self.sides[dir].state {
            State::UntilClose => self.done(dir, cx),
            State::Tunnel => {
                if let Some(app) = &mut self.tunnel {
                    app.end(dir, cx);
                }
            }
            State::Length(_) | State::Chunk(_) | State::ChunkSize | State::ChunkEnd | State::Trailer => {
                let text = format!("body cut short after {} B", self.sides[dir].body);
                let from_client = self.client == Some(dir);
                let message = Message::HttpBody { bytes: 0, end: true, from_client, stream: None };
                cx.put(Layer::new("HTTP", text, 0, message));
                self.sides[dir].state = State::Lost;
            }
            State::Head | State::Lost => {}
        }
    }

    pub(super) fn part_of(&self, dir: usize) -> Option<&'static str> {
        let side = &self.sides[dir];
        match side.state {
            State::Head => (!side.buffer.is_empty()).then_some("HTTP"),
            State::Length(_)
            | State::Chunk(_)
            | State::ChunkSize
            | State::ChunkEnd
            | State::Trailer
            | State::UntilClose => Some("HTTP body"),
            State::Tunnel => self.tunnel.as_ref().and_then(|t| t.part_of(dir)),
            State::Lost => None,
        }
    }

    pub(super) fn tls_version(&self) -> Option<u16> {
        self.tunnel.as_ref().and_then(|t| t.tls_version())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// Headers that are worth their room in a request's line, then in a response's.
const TOLD_REQUEST: [&str; 9] = [
    "host",
    "range",
    "if-none-match",
    "if-modified-since",
    "expect",
    "upgrade",
    "origin",
    "authorization",
    "cookie",
];
const TOLD_RESPONSE: [&str; 6] =
    ["location", "content-range", "content-encoding", "set-cookie", "upgrade", "age"];

/// Reads a whole head.
fn read(text: &[u8]) -> Option<Head> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    if text.starts_with(b"HTTP/") {
        let mut response = httparse::Response::new(&mut lines);
        let config = &mut httparse::ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(true);
        config.allow_obsolete_multiline_headers_in_responses(true);
        config.parse_response(&mut response, text).ok()?;
        let (code, reason) = (response.code?, response.reason.unwrap_or_default());
        let version = response.version?;
        let summary = if reason.is_empty() { code.to_string() } else { format!("{code} {reason}") };
        let details = vec![
            Field::new("http.response.version", format!("HTTP/1.{version}")),
            Field::new("http.response.code", code),
            Field::new("http.response.phrase", reason),
        ];
        let message = Message::HttpResponse { status: code, stream: None };
        return Some(headers(summary, message, details, response.headers, Some(code)));
    }
    let mut request = httparse::Request::new(&mut lines);
    request.parse(text).ok()?;
    let (method, target, version) = (request.method?, request.path?, request.version?);
    let host = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case("host"));
    let authority = host.map_or_else(String::new, |h| lossy(h.value));
    let details = vec![
        Field::new("http.request.method", method),
        Field::new("http.request.uri", target),
        Field::new("http.request.version", format!("HTTP/1.{version}")),
    ];
    let summary = format!("{method} {} HTTP/1.{version}", super::cut(target));
    let message =
        Message::HttpRequest { method: method.into(), target: target.into(), authority, stream: None };
    Some(headers(summary, message, details, request.headers, None))
}

fn headers(
    mut summary: String,
    message: Message,
    mut details: Vec<Field>,
    lines: &[httparse::Header<'_>],
    status: Option<u16>,
) -> Head {
    let value = |name: &str| lines.iter().rev().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let length = value("content-length").and_then(|v| std::str::from_utf8(v).ok()?.trim().parse().ok());
    let chunked = value("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with(b"chunked"));
    let kind = value("content-type").map(|v| lossy(v.split(|b| *b == b';').next().unwrap_or(v)));
    if let Some(kind) = kind.as_deref().filter(|_| status.is_some()) {
        let _ = write!(summary, " {kind}");
    }
    match length {
        Some(n) if !chunked && (n > 0 || status.is_some()) => {
            let _ = write!(summary, " {n} B");
        }
        _ if chunked => summary.push_str(" chunked"),
        _ => {}
    }
    let told: &[&str] = if status.is_some() { &TOLD_RESPONSE } else { &TOLD_REQUEST };
    for name in told {
        for h in lines.iter().filter(|h| h.name.eq_ignore_ascii_case(name)) {
            let _ = write!(summary, " {}: {}", h.name, lossy(h.value));
        }
    }
    for h in lines.iter().filter(|h| !h.name.is_empty()) {
        details.push(Field::new(format!("http.{}", h.name.to_ascii_lowercase()), lossy(h.value)));
    }
    let upgrade = value("upgrade").map(|v| lossy(v).to_ascii_lowercase());
    let dns = kind.as_deref() == Some("application/dns-message");
    Head { summary: super::cut(&summary), message, details, length, chunked, dns, upgrade, status }
}

/// The question of a DoH request by GET (RFC 8484 §4.1.1).
pub(super) fn dns_in_target(target: &str) -> Option<Layer> {
    let (_, query) = target.split_once('?')?;
    let text = query.split('&').find_map(|p| p.strip_prefix("dns="))?;
    let mut bytes = Vec::new();
    let (mut bits, mut have) = (0_u32, 0_u32);
    for c in text.bytes().take(2 * MAX_KEPT).take_while(|c| *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have & 0xff) as u8); // masked to eight bits
        }
    }
    dns::message(&bytes).map(|l| l.own(0))
}
