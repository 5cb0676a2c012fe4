//! One request's way: which servers are asked, in what time, on which connection, and whether another one may be asked
//! (`ngx_http_upstream_next`).

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep_until, timeout};

use super::log::{Seen, Told, strerror};
use super::peers::{Peer, Peers};
use super::{HttpProxy, Next};
use crate::Cx;
use crate::http::client::{ConnectionInfo, Error, Freed, Http1, Marks, Outgoing, Response, locked};
use crate::http::front::{Answer, Exchange, Limits};
use crate::http::stream::Counts;
use crate::units::Span;

const MINUTE: Duration = Duration::from_secs(60);
/// Requests of one upstream connection (`keepalive_requests`).
const KEEPALIVE_REQUESTS: u64 = 1000;

/// A kept connection to an upstream server.
struct Kept {
    peer: usize,
    conn: Arc<Http1>,
    since: Instant,
    requests: u64,
}

type Idle = Arc<Mutex<Vec<Kept>>>;

/// A proxy's way to the servers of one location.
pub(super) struct Forward {
    pub(super) proxy: Arc<HttpProxy>,
    pub(super) cx: Cx,
    max_body: usize,
    pause: Duration,
    pub(super) peers: Peers,
    idle: Idle,
}

/// A request as it goes to every server that is asked.
pub(super) struct Passed {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) line: String,
    pub(super) client: SocketAddr,
    pub(super) host: String,
}

/// Why a server did not answer.
struct Fault {
    reason: Next,
    status: StatusCode,
    /// The request had left.
    sent: bool,
    /// On a kept connection: nobody's fault, so that it costs no try.
    kept: bool,
    text: String,
}

impl Forward {
    pub(super) fn new(proxy: Arc<HttpProxy>, cx: Cx, limits: &Limits, peers: Vec<Peer>) -> Forward {
        Forward {
            proxy,
            cx,
            max_body: limits.client_max_body_size,
            pause: limits.client_body_timeout,
            peers: Peers::new(peers),
            idle: Arc::default(),
        }
    }

    pub(super) fn time(&self, span: Option<Span>) -> Duration {
        span.map_or(MINUTE, |span| span.0)
    }

    fn kept(&self, peer: usize) -> Option<Kept> {
        let limit = self.time(self.proxy.upstream_keepalive_timeout);
        let mut idle = locked(&self.idle);
        idle.retain(|kept| {
            let good = !kept.conn.is_closed() && kept.since.elapsed() < limit;
            if !good {
                kept.conn.close();
            }
            good
        });
        let at = idle.iter().rposition(|kept| kept.peer == peer)?;
        Some(idle.remove(at))
    }

    pub(super) async fn answer(&self, exchange: Exchange) -> Answer {
        let start = Instant::now();
        let mut told = Told { note: exchange.note.clone(), all: Vec::new(), start, asked: start };
        let declared = exchange.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        if declared.is_some_and(|n| n > self.max_body as u64) {
            return Answer::error(StatusCode::PAYLOAD_TOO_LARGE).closing();
        }
        let line = format!(
            "{} {} {}",
            exchange.method,
            exchange.target,
            crate::http::front::version(exchange.version)
        );
        // proxy_request_buffering is on: the whole body first.
        let body = match exchange.body.collect(self.max_body, self.pause).await {
            Ok(body) => body,
            Err(error) => return Answer::error(error.status()).closing(),
        };
        let passed = Passed {
            method: exchange.method,
            target: exchange.target,
            headers: exchange.headers,
            body,
            line,
            client: exchange.peer,
            host: exchange.host,
        };
        let all = self.peers.usable();
        let mut tries = self.proxy.proxy_next_upstream_tries.filter(|n| *n > 0).map_or(all, |n| n.min(all));
        let mut tried = Vec::new();
        let mut last = None;
        loop {
            let Some(peer) = self.peers.choose(&tried) else {
                self.complain("no live upstreams while connecting to upstream", &passed, "");
                return Answer::error(last.unwrap_or(StatusCode::BAD_GATEWAY));
            };
            told.asked = Instant::now();
            told.all.push(Seen { addr: self.name(peer), ..Seen::default() });
            let fault = match self.ask(peer, &passed, &mut told).await {
                Ok(response) => match self.judge(&response, &passed) {
                    None => {
                        self.peers.worked(peer);
                        return self.hand_back(response, told);
                    }
                    Some(fault) if tries <= 1 || !self.may_go_on(&fault, &passed, start) => {
                        drop(fault);
                        return self.hand_back(response, told);
                    }
                    Some(fault) => fault,
                },
                Err(fault) => fault,
            };
            if !fault.text.is_empty() {
                self.complain(&fault.text, &passed, &self.name(peer));
            }
            if let Some(seen) = told.all.last_mut() {
                seen.status.get_or_insert(fault.status.as_u16());
                seen.response = Some(told.asked.elapsed());
            }
            if fault.kept {
                tries += 1;
            } else {
                self.peers.failed(peer);
                tried.push(peer);
            }
            tries -= 1;
            last = Some(fault.status);
            if tries == 0 || !self.may_go_on(&fault, &passed, start) {
                return Answer::error(fault.status);
            }
        }
    }

    /// `ngx_http_upstream_next`: whether another server may be asked.
    fn may_go_on(&self, fault: &Fault, passed: &Passed, start: Instant) -> bool {
        let default = [Next::Error, Next::Timeout];
        let reasons = self.proxy.proxy_next_upstream.as_deref().unwrap_or(&default);
        let patch = matches!(passed.method, Method::POST | Method::PATCH) || passed.method.as_str() == "LOCK";
        let safe = !(fault.sent && patch) || reasons.contains(&Next::NonIdempotent);
        let in_time = self.proxy.proxy_next_upstream_timeout.is_none_or(|limit| start.elapsed() < limit.0);
        reasons.contains(&fault.reason) && !reasons.contains(&Next::Off) && safe && in_time
    }

    /// An answer that counts as a fault, when the file says so.
    fn judge(&self, response: &Response, _: &Passed) -> Option<Fault> {
        let reason = match response.status.as_u16() {
            500 => Next::Http500,
            502 => Next::Http502,
            503 => Next::Http503,
            504 => Next::Http504,
            404 => Next::Http404,
            _ => return None,
        };
        let asked = self.proxy.proxy_next_upstream.as_ref().is_some_and(|reasons| reasons.contains(&reason));
        asked.then(|| Fault { reason, status: response.status, sent: true, kept: false, text: String::new() })
    }

    fn name(&self, peer: usize) -> String {
        let (host, port) = self.peers.address(peer);
        let known = self.cx.env().hosts.get(&host).and_then(|ips| ips.first());
        known.map_or_else(|| format!("{host}:{port}"), |ip| SocketAddr::new(*ip, port).to_string())
    }

    /// One server, on a kept connection or a new one.
    async fn ask(&self, peer: usize, passed: &Passed, told: &mut Told) -> Result<Response, Fault> {
        let kept = self.kept(peer);
        let was_kept = kept.is_some();
        let (conn, requests) = match kept {
            Some(Kept { conn, requests, .. }) => {
                told.set_connect(Duration::ZERO);
                (conn, requests + 1)
            }
            None => {
                let conn = self.connect(peer).await?;
                let took = told.asked.elapsed();
                told.set_connect(took);
                (conn, 1)
            }
        };
        let marks = Arc::new(Mutex::new(Marks::new(Instant::now())));
        conn.begin();
        let out = Outgoing {
            head: self.head(passed, peer),
            body: passed.body.clone(),
            to_head: passed.method == Method::HEAD,
            expect: None,
            trace: None,
        };
        let exchange = conn.exchange(out, marks.clone(), was_kept);
        tokio::pin!(exchange);
        let (send, read) =
            (self.time(self.proxy.proxy_send_timeout), self.time(self.proxy.proxy_read_timeout));
        let began = Instant::now();
        let mut deadline = began + send.min(read);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut exchange => break Some(outcome),
                () = sleep_until(deadline) => {
                    let due = locked(&marks).sent.map_or(began + send, |sent| sent + read);
                    if due <= Instant::now() {
                        break None;
                    }
                    deadline = due;
                }
            }
        };
        let sent = locked(&marks).sent.is_some();
        let while_ =
            if sent { "reading response header from upstream" } else { "sending request to upstream" };
        let fault = |reason, status, kept, text: String| Fault {
            reason,
            status,
            sent,
            kept,
            text: format!("{text} while {while_}"),
        };
        let bad = StatusCode::BAD_GATEWAY;
        match outcome {
            None => {
                let text = "upstream timed out (110: Connection timed out)".into();
                Err(fault(Next::Timeout, StatusCode::GATEWAY_TIMEOUT, false, text))
            }
            Some(Ok(mut response)) => {
                if let Some(seen) = told.all.last_mut() {
                    (seen.status, seen.header) = (Some(response.status.as_u16()), Some(told.asked.elapsed()));
                }
                response.reused = was_kept;
                self.keep_after(peer, &conn, requests);
                Ok(response)
            }
            Some(Err(Error::Malformed(_))) => {
                Err(fault(Next::InvalidHeader, bad, false, "upstream sent invalid header".into()))
            }
            Some(Err(Error::TooLarge(_))) => {
                Err(fault(Next::InvalidHeader, bad, false, "upstream sent too big header".into()))
            }
            Some(Err(Error::Receive(error))) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(fault(Next::Error, bad, was_kept, "recv() failed (104: Connection reset by peer)".into()))
            }
            Some(Err(_)) => {
                Err(fault(Next::Error, bad, was_kept, "upstream prematurely closed connection".into()))
            }
        }
    }

    async fn connect(&self, peer: usize) -> Result<Arc<Http1>, Fault> {
        let (host, port) = self.peers.address(peer);
        let fault = |reason, status, text: String| Fault {
            reason,
            status,
            sent: false,
            kept: false,
            text: format!("{text} while connecting to upstream"),
        };
        let bad = StatusCode::BAD_GATEWAY;
        let connecting = net::TcpStream::connect((host.as_str(), port));
        let stream = match timeout(self.time(self.proxy.proxy_connect_timeout), connecting).await {
            Err(_) => {
                let text = "upstream timed out (110: Connection timed out)".into();
                return Err(fault(Next::Timeout, StatusCode::GATEWAY_TIMEOUT, text));
            }
            Ok(Err(error)) => {
                let text = match error.raw_os_error() {
                    Some(n) => format!("connect() failed ({n}: {})", strerror(&error)),
                    None => format!("connect() failed ({error})"),
                };
                return Err(fault(Next::Error, bad, text));
            }
            Ok(Ok(stream)) => stream,
        };
        let ends = stream.set_nodelay(true).and_then(|()| Ok((stream.local_addr()?, stream.peer_addr()?)));
        let (local, remote) = ends.map_err(|error| fault(Next::Error, bad, error.to_string()))?;
        let info = ConnectionInfo {
            id: 0,
            local,
            peer: remote,
            host,
            alpn: None,
            tls: Vec::new(),
            http2: false,
            counts: Arc::new(Counts::default()),
        };
        let idle = self.idle.clone();
        let free = Box::new(move |freed: Freed| match freed {
            // `keep_after` waits for that.
            Freed::Ready(_) => {}
            Freed::Closed => locked(&idle).retain(|kept| !kept.conn.is_closed()),
        });
        Ok(Http1::start(Box::new(stream), Arc::new(info), free))
    }

    /// The connection may serve again once its answer was read.
    fn keep_after(&self, peer: usize, conn: &Arc<Http1>, requests: u64) {
        if self.proxy.keepalive == 0 || requests >= KEEPALIVE_REQUESTS || conn.is_closed() {
            return;
        }
        let (idle, conn, most) = (self.idle.clone(), conn.clone(), self.proxy.keepalive);
        net::spawn(async move {
            // The reader of the body drives it; nothing else has to be done but to wait for its end.
            while conn.in_flight() > 0 && !conn.is_closed() {
                conn.idle().await;
            }
            if !conn.is_closed() {
                let mut idle = locked(&idle);
                if idle.len() >= most {
                    // The one that was unused for longest goes, as in nginx.
                    idle.remove(0).conn.close();
                }
                idle.push(Kept { peer, conn, since: Instant::now(), requests });
            }
        });
    }
}
