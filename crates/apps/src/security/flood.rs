//! `http-flood`: takes a web server's places from the others, without much traffic of its own: connections that say nothing, heads that
//! never end (slowloris), bodies that come a byte at a time, and bodies that are large.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use net::TcpStream;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::{is_simulated, wrong};
use crate::app::read_table;
use crate::http::client::locked;
use crate::units::{Size, Span};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// What each connection does.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It says nothing at all.
    Idle,
    /// A header field now and then, and never the blank line.
    SlowHeaders,
    /// A byte of the body now and then.
    SlowBody,
    /// A body as large and as fast as it goes.
    LargeBody,
}

/// One who takes places.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpFlood {
    /// The server: `server:80`.
    pub to: String,
    /// What the connections do.
    pub kind: Kind,
    /// How many there are at a time.
    pub connections: usize,
    /// The time between two pieces, and before a closed connection is opened again; 1 s unless given.
    #[serde(default = "second")]
    pub interval: Span,
    /// How large the bodies are said to be; 1 MiB unless given.
    #[serde(default = "mebibyte")]
    pub size: Size,
    /// Where bodies go; `/` unless given.
    #[serde(default = "slash")]
    pub path: String,
    /// When it gives up.
    pub r#for: Span,
}

fn second() -> Span {
    Span(Duration::from_secs(1))
}

fn mebibyte() -> Size {
    Size(1 << 20)
}

fn slash() -> String {
    "/".into()
}

/// Connections at a time at most.
const CONNECTIONS: usize = 10_000;
/// What is written at a time of a large body.
const PIECE: usize = 16 << 10;

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let app: HttpFlood = read_table(table)?;
    let mut problems = Vec::new();
    if !(1..=CONNECTIONS).contains(&app.connections) {
        problems.push(wrong(
            "connections",
            format!("{} is not within 1 to {CONNECTIONS}", app.connections),
            "100",
        ));
    }
    if app.interval.0.is_zero() {
        problems.push(wrong("interval", "nobody can do that without a pause", "\"1s\""));
    }
    if !app.to.contains(':') {
        problems.push(wrong("to", format!("{:?} has no port", app.to), "\"server:80\""));
    }
    if !app.path.starts_with('/') || app.path.contains([' ', '\r', '\n']) {
        problems.push(wrong("path", format!("{:?} is no path", app.path), "\"/\""));
    }
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

#[derive(Default)]
struct Counts {
    opened: usize,
    refused: usize,
    closed: usize,
    bytes: u64,
    answers: BTreeMap<String, usize>,
}

impl HttpFlood {
    fn first_words(&self) -> String {
        let host = self.to.split(':').next().unwrap_or_default();
        match self.kind {
            Kind::Idle => String::new(),
            Kind::SlowHeaders => format!("GET {} HTTP/1.1\r\nHost: {host}\r\n", self.path),
            Kind::SlowBody | Kind::LargeBody => format!(
                "POST {} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
                self.path, self.size.0
            ),
        }
    }

    /// One connection after the other until it is time to stop. They do not all begin at once.
    async fn keep_one(self: Arc<Self>, number: usize, counts: Arc<Mutex<Counts>>, end: Instant) {
        let share = u32::try_from(self.connections).unwrap_or(u32::MAX).max(1);
        sleep(self.interval.0 / share * u32::try_from(number).unwrap_or(0)).await;
        while Instant::now() < end {
            match timeout_at(end, TcpStream::connect(self.to.as_str())).await {
                Ok(Ok(stream)) => {
                    locked(&counts).opened += 1;
                    if timeout_at(end, self.hold(stream, &counts)).await.is_err() {
                        return;
                    }
                    locked(&counts).closed += 1;
                }
                Ok(Err(_)) => locked(&counts).refused += 1,
                Err(_) => return,
            }
            sleep(self.interval.0).await;
        }
    }

    /// Holds a connection until the server has enough of it.
    async fn hold(&self, mut stream: TcpStream, counts: &Mutex<Counts>) {
        let (mut read, mut write) = stream.split();
        let reading = async {
            let mut buffer = [0; 4096];
            let mut first = true;
            // It ends with the connection, however that ends.
            while let Ok(n @ 1..) = read.read(&mut buffer).await {
                if first {
                    let text = String::from_utf8_lossy(&buffer[..n]);
                    let status = text.split(' ').nth(1).unwrap_or("?").to_string();
                    *locked(counts).answers.entry(status).or_default() += 1;
                }
                first = false;
            }
        };
        let writing = async {
            let mut piece = self.first_words().into_bytes();
            let mut left = self.size.0;
            loop {
                if write.write_all(&piece).await.is_err() {
                    return;
                }
                locked(counts).bytes += piece.len() as u64;
                piece = match self.kind {
                    Kind::Idle => return core::future::pending().await,
                    Kind::SlowHeaders => b"X-More: to come\r\n".to_vec(),
                    Kind::SlowBody if left > 0 => vec![b'x'],
                    Kind::LargeBody if left > 0 => {
                        vec![b'x'; PIECE.min(usize::try_from(left).unwrap_or(PIECE))]
                    }
                    // All is said: the answer is waited for.
                    Kind::SlowBody | Kind::LargeBody => return core::future::pending().await,
                };
                left = left.saturating_sub(piece.len() as u64);
                if self.kind != Kind::LargeBody {
                    sleep(self.interval.0).await;
                }
            }
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    }
}

impl App for HttpFlood {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if !is_simulated(&cx) {
                return 1;
            }
            let counts: Arc<Mutex<Counts>> = Arc::default();
            let end = Instant::now() + self.r#for.0;
            let one = |n| net::spawn(self.clone().keep_one(n, counts.clone(), end));
            let all: Vec<_> = (0..self.connections).map(one).collect();
            for one in all {
                // When it panics the lab ends.
                let _ = one.await;
            }
            let counts = locked(&counts);
            let answers: Vec<String> =
                counts.answers.iter().map(|(status, n)| format!("{n} answers {status}")).collect();
            let answers = if answers.is_empty() { "no answer".into() } else { answers.join(", ") };
            cx.print(format!(
                "{} connections opened, {} closed by the server, {} refused; {} bytes sent; {answers}",
                counts.opened, counts.closed, counts.refused, counts.bytes
            ));
            0
        })
    }
}
