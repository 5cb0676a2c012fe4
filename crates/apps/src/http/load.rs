//! `page-load`: fetches a page with its objects and prints what its own connections counted.

use core::time::Duration;
use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::client::{Client, Config, Error, Request, Version};
use super::tls;
use crate::app::read_table;
use crate::tls::ClientOptions;
use crate::units::{Span, ms};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The largest object that is read.
const MAX_BODY: usize = 1 << 30;
/// Objects of one page.
const MAX_OBJECTS: u32 = 10_000;

/// How a page is fetched.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.0: a connection for each object.
    #[serde(rename = "1.0")]
    Http10,
    /// HTTP/1.1 with kept connections.
    #[default]
    #[serde(rename = "1.1")]
    Http11,
    /// HTTP/1.1, all requests at once on each connection.
    #[serde(rename = "1.1-pipelining")]
    Pipelining,
    /// HTTP/2.
    #[serde(rename = "2")]
    Http2,
    /// HTTP/3.
    #[serde(rename = "3")]
    Http3,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Http10 => "HTTP/1.0",
            Mode::Http11 => "HTTP/1.1",
            Mode::Pipelining => "HTTP/1.1 pipelining",
            Mode::Http2 => "HTTP/2",
            Mode::Http3 => "HTTP/3",
        }
    }
}

/// Fetches a page and its objects, and prints what it cost.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PageLoad {
    /// The page.
    pub url: String,
    /// How.
    pub mode: Mode,
    /// Its objects: so many, at the page's path with `{n}` from 1 in `objects_at`.
    pub objects: u32,
    /// Their path, such as `/object/{n}`.
    pub objects_at: String,
    /// Paths of objects with a name; `path u=0` gives it an urgency (RFC 9218).
    pub paths: Vec<String>,
    /// HTTP/1 connections at a time; 6 unless given.
    pub connections: Option<usize>,
    /// Requests under way on one connection when they are pipelined; 100 unless given.
    pub depth: Option<usize>,
    /// Header fields of every request, as a browser's.
    pub headers: std::collections::BTreeMap<String, String>,
    /// Whether the server may push.
    pub push: bool,
    /// The time between the starts of two objects; none unless given.
    pub every: Option<Span>,
    /// Fetches the objects one after the other instead of at once.
    pub in_turn: bool,
    /// The receive window of an HTTP/2 stream and connection; 65,535 unless given.
    pub window: Option<u32>,
    /// The pause between the page and its objects.
    pub wait: Option<Span>,
    /// The method of the objects; GET unless given.
    pub method: Option<String>,
    /// Prints a line for each object, in the order of their ends, and how many were in time.
    pub each: bool,
    /// What an object may take that is in time; a round trip and a half, as the first connection measured it, unless given.
    pub in_time: Option<Span>,
    /// TLS for `https`.
    pub tls: ClientOptions,
}

fn problem(key: &str, message: String) -> Problem {
    Problem { path: vec![key.into()], message, help: None }
}

fn check_url(key: &str, text: &str) -> Option<Problem> {
    Request::get(text).err().map(|error| problem(key, error.to_string()))
}

/// Reads a `page-load` table.
///
/// # Errors
/// What is wrong with it.
pub fn read_page_load(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let load: PageLoad = read_table(table)?;
    let mut problems: Vec<Problem> = check_url("url", &load.url).into_iter().collect();
    if load.objects > MAX_OBJECTS {
        problems.push(problem("objects", format!("at most {MAX_OBJECTS}")));
    }
    if load.objects > 0 && !load.objects_at.contains("{n}") {
        problems.push(problem("objects_at", "it must contain {n}, such as \"/object/{n}\"".into()));
    }
    if load.method.as_ref().is_some_and(|name| Method::from_bytes(name.as_bytes()).is_err()) {
        problems.push(problem("method", "it is no method".into()));
    }
    for mut found in load.tls.check(env) {
        found.path.insert(0, "tls".into());
        problems.push(found);
    }
    if problems.is_empty() { Ok(Arc::new(load)) } else { Err(problems) }
}

/// What one object came to.
struct Object {
    path: String,
    /// How long its connection took to open, when it was opened for it.
    connect: Option<Duration>,
    /// From its request to its end.
    took: Duration,
    began: Duration,
    first: Duration,
    ended: Duration,
    bytes: usize,
    pushed: bool,
    status: u16,
}

impl PageLoad {
    fn client(&self, cx: &Cx) -> Client {
        let window = self.window.unwrap_or(65_535);
        let tls = Arc::new(tls::Client::new(self.tls.clone(), cx));
        Client::new(Config {
            version: match (self.mode, self.url.starts_with("https:")) {
                (Mode::Http10, _) => Version::Http10,
                (Mode::Http11 | Mode::Pipelining, _) => Version::Http11,
                (Mode::Http2, true) => Version::Http2,
                (Mode::Http2, false) => Version::Http2PriorKnowledge,
                (Mode::Http3, _) => Version::Http3,
            },
            per_host: self.connections.unwrap_or(6).max(1),
            pipeline: if self.mode == Mode::Pipelining { self.depth.unwrap_or(100).max(1) } else { 1 },
            push: self.push,
            stream_window: window,
            connection_window: window,
            tls: Some(tls.clone()),
            quic: Some(tls),
            ..Config::default()
        })
    }

    fn paths(&self) -> Vec<String> {
        let numbered = (1..=self.objects).map(|n| self.objects_at.replace("{n}", &n.to_string()));
        numbered.chain(self.paths.iter().cloned()).collect()
    }

    fn request(&self, text: &str) -> Result<Request, Error> {
        let (path, priority) = text.split_once(' ').map_or((text, None), |(path, rest)| (path, Some(rest)));
        let mut request = Request::get(&self.url)?;
        if !path.is_empty() {
            request.url = request.url.join(path).map_err(|error| Error::Url(error.to_string()))?;
        }
        for (name, value) in &self.headers {
            request = request.header(name, value)?;
        }
        match priority {
            Some(priority) => request.header("Priority", priority),
            None => Ok(request),
        }
    }

    async fn load(self: Arc<Self>, cx: &Cx) -> Result<bool, Error> {
        let start = Instant::now();
        let client = self.client(cx);
        let page = fetch(&client, self.request("")?, String::new(), start).await?;
        if let Some(wait) = self.wait {
            tokio::time::sleep(wait.0).await;
        }
        let mut objects = Vec::new();
        let mut under_way = Vec::new();
        for (n, path) in self.paths().into_iter().enumerate() {
            if let (Some(every), true) = (self.every, n > 0) {
                tokio::time::sleep(every.0).await;
            }
            let mut request = self.request(&path)?;
            if let Some(method) = &self.method {
                request.method =
                    Method::from_bytes(method.as_bytes()).map_err(|_| Error::Url(method.clone()))?;
            }
            let (name, client) = (format!("{} {path}", request.method), client.clone());
            let cx = cx.clone();
            let fetching = async move {
                let fetched = fetch(&client, request, path, start).await;
                fetched.inspect_err(|error| cx.print(format!("page-load: {name}: {error}")))
            };
            if self.in_turn {
                objects.push(fetching.await?);
            } else {
                under_way.push(net::spawn(fetching));
            }
        }
        for task in under_way {
            // It ends only by itself: nobody aborts it.
            objects.push(task.await.map_err(|_| Error::Empty)??);
        }
        let took = start.elapsed();
        if self.each {
            objects.sort_by_key(|object| object.ended);
            for (n, object) in objects.iter().enumerate() {
                let Object { path, began, first, ended, bytes, pushed, status, .. } = object;
                let [began, first, ended] = [began, first, ended].map(|time| ms(*time));
                let pushed = if *pushed { ", pushed" } else { "" };
                cx.print(format!(
                    "{}. {path}: {status}, asked {began}, first byte {first}, done {ended}, {bytes} B{pushed}",
                    n + 1
                ));
            }
            let limit = self.in_time.map_or(page.connect.unwrap_or_default() * 3 / 2, |span| span.0);
            let in_time = objects.iter().filter(|object| object.took <= limit).count();
            cx.print(format!("in time: {in_time} of {}", objects.len()));
        }
        let all = core::iter::once(&page).chain(&objects);
        let bad = all.clone().filter(|object| object.status != 200).count();
        let bodies = all.map(|object| object.bytes).sum();
        self.report(&client, &page, [bodies, objects.len() + 1], took, cx);
        if bad > 0 {
            cx.print(format!("{bad} answers were not 200"));
        }
        Ok(bad == 0)
    }

    fn report(
        &self,
        client: &Client,
        page: &Object,
        [bodies, requests]: [usize; 2],
        took: Duration,
        cx: &Cx,
    ) {
        let connections = client.connections();
        let sum = |index: usize, received: bool| -> u64 {
            let side =
                |counts: &super::Counts| if received { counts.received.get() } else { counts.sent.get() };
            connections.iter().map(|connection| side(&connection.counts)[index]).sum()
        };
        let name = self.mode.name();
        // QUIC's streams are not counted by what they carry.
        let headers = match self.mode {
            Mode::Http3 => String::new(),
            _ => format!("headers {} B up, {} B down; ", sum(1, false), sum(1, true)),
        };
        // Of the length that the first handshake took.
        let tenths =
            (took.as_nanos() * 10).checked_div(page.connect.unwrap_or_default().as_nanos()).unwrap_or(0);
        cx.print(format!(
            "{name}: {requests} requests on {} connections in {} ({}.{} round trips); {headers}bodies {bodies} B",
            connections.len(),
            ms(took),
            tenths / 10,
            tenths % 10,
        ));
    }
}

async fn fetch(client: &Client, request: Request, path: String, start: Instant) -> Result<Object, Error> {
    let began = start.elapsed();
    let response = client.send(request).await?;
    let (first, status, pushed) = (start.elapsed(), response.status.as_u16(), response.pushed);
    let clock = response.body.clock();
    let bytes = response.body.collect(MAX_BODY).await?.len();
    let timings = clock();
    let took = timings.wait + timings.receive.unwrap_or_default();
    Ok(Object {
        path,
        connect: timings.connect,
        took,
        began,
        first,
        ended: start.elapsed(),
        bytes,
        pushed,
        status,
    })
}

impl App for PageLoad {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.load(&cx).await {
                Ok(good) => i32::from(!good),
                Err(error) => {
                    cx.print(format!("page-load: {error}"));
                    1
                }
            }
        })
    }
}
