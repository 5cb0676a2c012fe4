//! A transparent cache that knows requests and answers but not Upgrade, as there were many when WebSocket was made: it takes
//! whatever looks like a request for one, also in what a page says over its socket. Why client frames are masked (RFC 6455
//! §10.3; Huang et al., "Talking to Yourself for Fun and Profit", 2011).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::locked;
use crate::app::read_table;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The largest request head, and the largest answer that is kept.
const MAX_HEAD: usize = 16 << 10;
const MAX_ANSWER: usize = 1 << 20;
/// Answers that are kept, and requests of one connection that wait for theirs.
const MAX_KEPT: usize = 1000;
const MAX_WAITING: usize = 100;
/// Header fields of one message.
const MAX_FIELDS: usize = 64;

/// A cache between clients and servers that believes everything to be HTTP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NaiveCache {
    /// Its port; 80 unless given.
    pub port: Option<u16>,
    /// Servers by the name in a request's Host: `{ "shop.example" = "shop:80" }`.
    pub upstream: BTreeMap<String, String>,
}

/// Reads its table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let cache: NaiveCache = read_table(table)?;
    let wrong = |(name, server): (&String, &String)| {
        let port = server.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let help = Some(format!("\"{name}\" = \"{name}:80\""));
        let problem = |message| Problem { path: vec!["upstream".into(), name.clone()], message, help };
        port.is_none().then(|| problem(format!("{server:?} is no name:port")))
    };
    let problems: Vec<Problem> = cache.upstream.iter().filter_map(wrong).collect();
    if problems.is_empty() { Ok(Arc::new(cache)) } else { Err(problems) }
}

/// Host and target.
type Key = (String, String);

struct Running {
    table: Arc<NaiveCache>,
    kept: Mutex<BTreeMap<Key, Bytes>>,
    cx: Cx,
}

impl App for NaiveCache {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let port = self.port.unwrap_or(80);
            let listener = match net::TcpListener::bind(("0.0.0.0", port)).await {
                Ok(listener) => listener,
                Err(error) => {
                    cx.print(format!("naive-cache: port {port}: {error}"));
                    return 1;
                }
            };
            let running = Arc::new(Running { table: self, kept: Mutex::default(), cx });
            while let Ok((stream, _)) = listener.accept().await {
                let running = running.clone();
                // Whoever goes away is gone.
                net::spawn(async move { drop(running.connection(stream).await) });
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// A request of this head; `None` when it is none, or not complete.
fn request(bytes: &[u8]) -> Option<Key> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(bytes).ok().filter(|status| status.is_complete())?;
    let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"))?;
    let host = String::from_utf8_lossy(host.value).into_owned();
    (request.method == Some("GET")).then(|| Some((host, request.path?.to_string()))).flatten()
}

/// The status and the length of a whole answer.
fn answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = answer.parse(bytes).ok()? else { return None };
    let length = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body = length.and_then(|field| core::str::from_utf8(field.value).ok()?.trim().parse::<usize>().ok());
    let whole = head.checked_add(body.unwrap_or(0))?;
    (bytes.len() >= whole).then_some((answer.code?, whole))
}

/// Where something stands in bytes.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Running {
    async fn connection(&self, mut client: net::TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        loop {
            let mut head = Vec::new();
            while find(&head, b"\r\n\r\n").is_none() {
                if head.len() > MAX_HEAD || client.read_buf(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            let key = request(&head);
            let kept = key.as_ref().and_then(|key| locked(&self.kept).get(key).cloned());
            if let (Some((host, target)), Some(kept)) = (&key, kept) {
                self.cx.print(format!("HIT {host}{target}"));
                client.write_all(&kept).await?;
                continue;
            }
            let Some(server) = key.as_ref().and_then(|(host, _)| self.table.upstream.get(host)) else {
                let refusal = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                return client.write_all(refusal).await;
            };
            let mut server = net::TcpStream::connect(server.as_str()).await?;
            server.set_nodelay(true)?;
            server.write_all(&head).await?;
            return self.relay(client, server, key).await;
        }
    }

    /// Hands everything on, and looks for requests and answers in it.
    async fn relay(
        &self,
        mut client: net::TcpStream,
        mut server: net::TcpStream,
        first: Option<Key>,
    ) -> io::Result<()> {
        let mut waiting: VecDeque<Key> = first.into_iter().collect();
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        loop {
            tokio::select! {
                biased;
                n = server.read(&mut down) => {
                    let n = n?;
                    if n == 0 {
                        return client.shutdown().await;
                    }
                    client.write_all(&down[..n]).await?;
                    answered.extend_from_slice(&down[..n]);
                    self.answers(&mut answered, &mut waiting);
                }
                n = client.read(&mut up) => {
                    let n = n?;
                    if n == 0 {
                        return server.shutdown().await;
                    }
                    server.write_all(&up[..n]).await?;
                    asked.extend_from_slice(&up[..n]);
                    self.requests(&mut asked, &mut waiting);
                }
            }
        }
    }

    /// What it does not understand it passes over.
    fn requests(&self, asked: &mut Vec<u8>, waiting: &mut VecDeque<Key>) {
        while let Some(at) = find(asked, b"GET ") {
            let Some(end) = find(&asked[at..], b"\r\n\r\n") else { break };
            if let Some(key) = request(&asked[at..]).filter(|_| waiting.len() < MAX_WAITING) {
                self.cx.print(format!("request for {}{}", key.0, key.1));
                waiting.push_back(key);
            }
            asked.drain(..at + end + 4);
        }
        asked.drain(..asked.len().saturating_sub(MAX_HEAD));
    }

    fn answers(&self, answered: &mut Vec<u8>, waiting: &mut VecDeque<Key>) {
        while let Some(at) = find(answered, b"HTTP/1.1 ") {
            let Some((status, whole)) = answer(&answered[at..]) else { break };
            if let Some((host, target)) = waiting.pop_front() {
                let mut kept = locked(&self.kept);
                if status == 200 && kept.len() < MAX_KEPT {
                    self.cx.print(format!("KEPT {host}{target}"));
                    kept.insert((host, target), Bytes::copy_from_slice(&answered[at..at + whole]));
                }
            }
            answered.drain(..at + whole);
        }
        answered.drain(..answered.len().saturating_sub(MAX_ANSWER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_seen_in_whatever_bytes() {
        let get = b"GET /a.js HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        assert_eq!(request(get), Some(("shop.example".into(), "/a.js".into())));
        for bytes in
            [&get[..20], b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x81\x05hello"]
        {
            assert_eq!(request(bytes), None);
        }
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"), Some((200, 41)));
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), None);
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n"), None);
    }
}
