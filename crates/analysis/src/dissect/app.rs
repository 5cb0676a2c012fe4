//! What a connection's bytes are, told by themselves; the port is only a hint (DNS over TCP has no mark of its own).
//!
//! TLS's plaintext, and what goes through an HTTP tunnel, is an [`App`] again; how deep that may go is bounded.

use super::http1::Http1;
use super::http2::Http2;
use super::tls::Tls;
use super::websocket::WebSocket;
use super::{KeyLog, Layer, dns};

/// Ports where DNS is expected: plain, over TLS, multicast.
pub(super) const DNS_PORTS: [u16; 3] = [53, 853, 5353];
/// TLS in a tunnel in TLS and the like: deeper is not looked into.
const MAX_DEPTH: u8 = 4;
/// Bytes of a direction that are looked at before it is given up.
const LOOK_AT: usize = 64;

/// What is known while bytes are fed, and where layers go.
pub(super) struct Cx<'k> {
    pub(super) keys: &'k KeyLog,
    /// The client's port and the server's.
    pub(super) ports: [u16; 2],
    /// Counts the pieces of the connection: layers of one piece may still be amended.
    pub(super) turn: u64,
    /// What these bytes completed.
    pub(super) layers: Vec<Layer>,
}

impl<'k> Cx<'k> {
    pub(super) fn new(keys: &'k KeyLog, ports: [u16; 2], turn: u64) -> Cx<'k> {
        Cx { keys, ports, turn, layers: Vec::new() }
    }

    pub(super) fn put(&mut self, layer: Layer) {
        if self.layers.len() < super::MAX_LAYERS {
            self.layers.push(layer);
        }
    }
}

/// Both directions of a byte stream.
#[derive(Debug)]
pub(super) struct App {
    kind: Kind,
    depth: u8,
}

#[derive(Debug)]
enum Kind {
    /// Not enough bytes yet.
    Unknown([Vec<u8>; 2]),
    /// Nothing that is known here.
    Opaque,
    Dns([Vec<u8>; 2]),
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    Tls(Box<Tls>),
    WebSocket(Box<WebSocket>),
}

impl Default for App {
    fn default() -> App {
        App::deeper(0)
    }
}

/// What the first bytes of a direction say.
enum Guess {
    Tls,
    Http1,
    Http2,
    Dns,
    More,
    Nothing,
}

impl App {
    /// A stream in a stream.
    pub(super) fn deeper(depth: u8) -> App {
        let kind = if depth > MAX_DEPTH { Kind::Opaque } else { Kind::Unknown(Default::default()) };
        App { kind, depth }
    }

    /// The protocol that was agreed on for what is inside (ALPN).
    pub(super) fn agreed(&mut self, alpn: &str) {
        if !matches!(self.kind, Kind::Unknown(_)) {
            return;
        }
        match alpn {
            "dot" => self.kind = Kind::Dns(Default::default()),
            "h2" => self.kind = Kind::Http2(Box::new(Http2::new())),
            "http/1.1" | "http/1.0" => self.kind = Kind::Http1(Box::new(Http1::new(self.depth))),
            _ => {}
        }
    }

    /// Bytes of a direction in order.
    pub(super) fn feed(&mut self, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        match &mut self.kind {
            Kind::Opaque => {
                // STARTTLS, and tunnels whose opening is not known here.
                if matches!(guess(bytes, &[]), Guess::Tls) && bytes[0] == 22 && self.depth <= MAX_DEPTH {
                    self.become_kind(Kind::Tls(Box::new(Tls::new(self.depth))), dir, bytes, cx);
                }
            }
            Kind::Dns(buffers) => dns::stream(&mut buffers[dir], bytes, cx),
            Kind::Http1(http) => http.feed(dir, bytes, cx),
            Kind::Http2(http) => http.feed(dir, bytes, cx),
            Kind::Tls(tls) => tls.feed(dir, bytes, cx),
            Kind::WebSocket(ws) => ws.feed(dir, bytes, cx),
            Kind::Unknown(seen) => {
                seen[dir].extend_from_slice(&bytes[..bytes.len().min(LOOK_AT)]);
                let ports = if self.depth == 0 { &cx.ports[..] } else { &cx.ports[1..] };
                let kind = match guess(&seen[dir], ports) {
                    Guess::More if seen[dir].len() < LOOK_AT => return,
                    Guess::Tls => Kind::Tls(Box::new(Tls::new(self.depth))),
                    Guess::Http2 => Kind::Http2(Box::new(Http2::new())),
                    Guess::Http1 => Kind::Http1(Box::new(Http1::new(self.depth))),
                    Guess::Dns => Kind::Dns(Default::default()),
                    Guess::More | Guess::Nothing => Kind::Opaque,
                };
                // What was too short to tell before is a part of it.
                let mut first = std::mem::take(&mut seen[dir]);
                let before = first.len() - bytes.len().min(LOOK_AT);
                first.truncate(before);
                first.extend_from_slice(bytes);
                let other = std::mem::take(&mut seen[1 - dir]);
                self.become_kind(kind, dir, &first, cx);
                if !other.is_empty() {
                    self.feed(1 - dir, &other, cx);
                }
            }
        }
    }

    /// What a 101 response agreed on.
    pub(super) fn upgraded(to: &str, depth: u8) -> App {
        let mut app = App::deeper(depth);
        match to {
            "h2c" => app.agreed("h2"),
            "websocket" => app.kind = Kind::WebSocket(Box::default()),
            _ => {}
        }
        app
    }

    /// The recognised protocol gets the bytes; it does not come back here for them.
    fn become_kind(&mut self, kind: Kind, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        self.kind = kind;
        match &mut self.kind {
            Kind::Dns(buffers) => dns::stream(&mut buffers[dir], bytes, cx),
            Kind::Http1(http) => http.feed(dir, bytes, cx),
            Kind::Http2(http) => http.feed(dir, bytes, cx),
            Kind::Tls(tls) => tls.feed(dir, bytes, cx),
            Kind::WebSocket(ws) => ws.feed(dir, bytes, cx),
            Kind::Opaque | Kind::Unknown(_) => {}
        }
    }

    /// So many bytes of a direction were never seen.
    pub(super) fn lost(&mut self, dir: usize, missing: u64) {
        match &mut self.kind {
            Kind::Opaque => {}
            Kind::Unknown(_) => self.kind = Kind::Opaque,
            Kind::Dns(buffers) => buffers[dir].clear(),
            Kind::Http1(http) => http.lost(dir, missing),
            Kind::Http2(http) => http.lost(dir, missing),
            Kind::Tls(tls) => tls.lost(dir),
            Kind::WebSocket(ws) => ws.lost(dir, missing),
        }
    }

    /// A direction has ended.
    pub(super) fn end(&mut self, dir: usize, cx: &mut Cx<'_>) {
        match &mut self.kind {
            Kind::Http1(http) => http.end(dir, cx),
            Kind::Tls(tls) => tls.end(dir, cx),
            Kind::Opaque | Kind::Unknown(_) | Kind::Dns(_) | Kind::Http2(_) | Kind::WebSocket(_) => {}
        }
    }

    /// The message of a direction that is not complete yet.
    pub(super) fn part_of(&self, dir: usize) -> Option<&'static str> {
        match &self.kind {
            Kind::Opaque | Kind::Unknown(_) => None,
            Kind::Dns(buffers) => (!buffers[dir].is_empty()).then_some("DNS"),
            Kind::Http1(http) => http.part_of(dir),
            Kind::Http2(http) => http.part_of(dir),
            Kind::Tls(tls) => tls.part_of(dir),
            Kind::WebSocket(ws) => ws.part_of(dir),
        }
    }

    /// The outermost TLS session's version.
    pub(super) fn tls_version(&self) -> Option<u16> {
        match &self.kind {
            Kind::Tls(tls) => tls.version(),
            Kind::Http1(http) => http.tls_version(),
            _ => None,
        }
    }
}

fn guess(bytes: &[u8], ports: &[u16]) -> Guess {
    match super::tls::looks_like(bytes) {
        Some(true) => return Guess::Tls,
        None if bytes.len() < 6 => return Guess::More,
        _ => {}
    }
    match super::http2::looks_like(bytes) {
        Some(true) => return Guess::Http2,
        None => return Guess::More,
        Some(false) => {}
    }
    match super::http1::looks_like(bytes) {
        Some(true) => return Guess::Http1,
        None => return Guess::More,
        Some(false) => {}
    }
    if ports.iter().any(|p| DNS_PORTS.contains(p)) {
        return match dns::looks_like_stream(bytes) {
            Some(true) => Guess::Dns,
            Some(false) => Guess::Nothing,
            None => Guess::More,
        };
    }
    Guess::Nothing
}
