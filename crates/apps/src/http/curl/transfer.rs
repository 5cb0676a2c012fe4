//! The requests of a `curl` command: redirects, cookies, retries, what is printed, and the exit code.

use core::time::Duration;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, RANGE,
    SET_COOKIE, USER_AGENT,
};
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::options::Options;
use super::write_out::{Outcome, fill};
use crate::Cx;
use crate::http::client::{Client, Config, Error, Event, Request, Response, Retry, Timings};
use crate::http::tls;

/// What this is compared with.
const AGENT: &str = "curl/7.88.1";
/// `--max-redirs`.
const MAX_REDIRECTS: u32 = 50;
/// The largest body, and the largest decoded one.
const MAX_BODY: usize = 1 << 30;
/// The longest pause between tries.
const LONGEST_PAUSE: u64 = 600;

/// A failure: the exit code and the message behind it.
struct Failure {
    code: i32,
    text: String,
}

fn failure(code: i32, text: impl Into<String>) -> Failure {
    Failure { code, text: text.into() }
}

/// A cookie of this run.
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

struct Run<'a> {
    options: &'a Options,
    cx: &'a Cx,
    client: Client,
    jar: Vec<Cookie>,
}

/// All URLs, one after the other; the exit status is the last one's.
pub(super) async fn run(options: &Options, cx: &Cx) -> i32 {
    let tls = Arc::new(tls::Client::new(options.tls.clone(), cx));
    let config = Config {
        version: options.version,
        per_host: 1,
        connect_timeout: options.connect_timeout,
        retry: Retry::Always,
        addresses: options
            .resolve
            .iter()
            .map(|(name, port, ips)| ((name.clone(), *port), ips.clone()))
            .collect(),
        tls: Some(tls.clone()),
        quic: Some(tls),
        alt_svc: options.alt_svc,
        ..Config::default()
    };
    let mut run = Run { options, cx, client: Client::new(config), jar: Vec::new() };
    let mut exit = 0;
    for url in &options.urls {
        exit = run.url(url).await;
    }
    run.print_jar();
    exit
}

/// The numbers of curl's exit codes, and its words (`curl_easy_strerror`, `failf`).
fn explain(error: &Error, url: &Url, since: Instant) -> Failure {
    let host = url.host_str().unwrap_or_default();
    let ms = since.elapsed().as_millis();
    match error {
        Error::Url(text) => failure(3, format!("URL using bad/illegal format or missing URL: {text}")),
        Error::Resolve(host, _) => failure(6, format!("Could not resolve host: {host}")),
        Error::Connect(_, _) => {
            let port = url.port_or_known_default().unwrap_or(0);
            failure(
                7,
                format!("Failed to connect to {host} port {port} after {ms} ms: Couldn't connect to server"),
            )
        }
        Error::ConnectTimeout(_) => failure(28, format!("Connection timed out after {ms} milliseconds")),
        Error::NoTls => failure(1, "Protocol \"https\" not supported or disabled in libcurl"),
        Error::Tls(error) if error.certificate => {
            failure(60, format!("SSL certificate problem: {}", error.text))
        }
        Error::Tls(error) => failure(35, format!("TLS connect error: {}", error.text)),
        Error::Send(error) => failure(55, format!("Send failure: {}", words(error))),
        Error::Empty => failure(52, "Empty reply from server"),
        Error::Receive(error) => failure(56, format!("Recv failure: {}", words(error))),
        Error::Partial { missing: Some(n) } => {
            failure(18, format!("transfer closed with {n} bytes remaining to read"))
        }
        Error::Partial { missing: None } => {
            failure(18, "transfer closed with outstanding read data remaining")
        }
        Error::Malformed(text) if text.contains("HTTP version") => {
            failure(1, "Received HTTP/0.9 when not allowed")
        }
        Error::Malformed(text) => failure(8, format!("Weird server reply: {text}")),
        Error::TooLarge(what) => failure(56, format!("Too large response: {what} larger than allowed")),
        // curl: CURLE_HTTP3.
        Error::Http3(error) => failure(95, format!("HTTP/3: {error}")),
        Error::EarlyDataRefused => failure(95, "HTTP/3: early data refused"),
        Error::Http2(error) => match error.reason() {
            Some(reason) if error.is_reset() => {
                let code = u32::from(reason);
                failure(92, format!("HTTP/2 stream was not closed cleanly: {reason:?} (err {code})"))
            }
            _ => failure(16, format!("Error in the HTTP2 framing layer: {error}")),
        },
    }
}

/// `strerror`.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "Connection reset by peer".into(),
        io::ErrorKind::BrokenPipe => "Broken pipe".into(),
        io::ErrorKind::TimedOut => "Connection timed out".into(),
        _ => error.to_string(),
    }
}

impl Run<'_> {
    async fn url(&mut self, text: &str) -> i32 {
        let mut tries = 0;
        loop {
            let (outcome, pause) = self.once(text).await;
            let transient = match outcome.exit {
                28 => Some("timeout"),
                7 if self.options.retry_refused => Some("connection refused"),
                0 | 22 if matches!(outcome.status, 408 | 429 | 500 | 502 | 503 | 504) => Some("HTTP error"),
                _ => None,
            };
            let left = self.options.retry - tries;
            if let (Some(why), true) = (transient, left > 0) {
                let wait = pause.unwrap_or(1 << tries.min(9)).min(LONGEST_PAUSE);
                if !self.options.silent {
                    self.cx.print(format!(
                        "Warning: Problem: {why}. Will retry in {wait} seconds. {left} retries left."
                    ));
                }
                sleep(Duration::from_secs(wait)).await;
                tries += 1;
                continue;
            }
            if outcome.exit != 0 && (!self.options.silent || self.options.show_error) {
                self.cx.print(format!("curl: ({}) {}", outcome.exit, outcome.error));
            }
            if let Some(format) = &self.options.write_out {
                self.cx.print(fill(format, &outcome));
            }
            return outcome.exit;
        }
    }

    /// One try, with its redirects; and what `Retry-After` asks for.
    async fn once(&mut self, text: &str) -> (Outcome, Option<u64>) {
        let start = Instant::now();
        let mut outcome = Outcome { url: text.into(), ..Outcome::default() };
        let with_scheme = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let before = self.client.connections().len();
        let mut pause = None;
        let limit = self.options.max_time;
        let result = match Url::parse(&with_scheme) {
            Err(error) => Err(failure(3, format!("URL using bad/illegal format or missing URL: {error}"))),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                Err(failure(1, format!("Protocol \"{}\" not supported or disabled in libcurl", url.scheme())))
            }
            Ok(url) => {
                let following = self.follow(url, start, &mut outcome, &mut pause);
                match limit {
                    None => following.await,
                    Some(limit) => match timeout(limit, following).await {
                        Ok(result) => result,
                        Err(_) => Err(failure(28, String::new())),
                    },
                }
            }
        };
        outcome.total = start.elapsed();
        outcome.connects = self.client.connections().len() - before;
        if let Err(Failure { code, mut text }) = result {
            if text.is_empty() {
                let (ms, got) = (outcome.total.as_millis(), outcome.downloaded);
                text = match outcome.connects {
                    0 => format!("Connection timed out after {ms} milliseconds"),
                    _ => format!("Operation timed out after {ms} milliseconds with {got} bytes received"),
                };
                // Nothing on it can be used any more.
                self.client.close_idle();
            }
            (outcome.exit, outcome.error) = (code, text);
        }
        (outcome, pause)
    }

    async fn follow(
        &mut self,
        mut url: Url,
        start: Instant,
        outcome: &mut Outcome,
        pause: &mut Option<u64>,
    ) -> Result<(), Failure> {
        let mut method = self.method();
        let mut data = self.options.data.clone().map(Bytes::from).unwrap_or_default();
        if self.options.get {
            let query = core::mem::take(&mut data);
            let joined = match url.query() {
                Some(before) => format!("{before}&{}", String::from_utf8_lossy(&query)),
                None => String::from_utf8_lossy(&query).into_owned(),
            };
            url.set_query(Some(&joined));
        }
        let first = url.clone();
        loop {
            let began = Instant::now();
            outcome.redirect = began.duration_since(start);
            let same_host = url.host_str() == first.host_str();
            let request = self.request(&method, &url, &data, same_host)?;
            outcome.uploaded = data.len();
            (outcome.method, outcome.scheme) = (method.to_string(), url.scheme().into());
            outcome.url = url.to_string();
            let response = self.client.send(request).await.map_err(|error| explain(&error, &url, began))?;
            let status = response.status;
            let next = response.header("location").and_then(|to| url.join(to).ok());
            *pause = response.header("retry-after").and_then(|text| text.parse().ok());
            let redirected =
                self.options.follow && status.is_redirection() && status != StatusCode::NOT_MODIFIED;
            outcome.redirect_url = next.as_ref().map(Url::to_string).unwrap_or_default();
            self.take_cookies(&url, &response);
            self.finish(response, &url, began, redirected && next.is_some(), outcome).await?;
            let (true, Some(to)) = (redirected, next) else { return Ok(()) };
            if outcome.redirects >= self.options.max_redirects.unwrap_or(MAX_REDIRECTS) {
                let limit = self.options.max_redirects.unwrap_or(MAX_REDIRECTS);
                return Err(failure(47, format!("Maximum ({limit}) redirects followed")));
            }
            outcome.redirects += 1;
            // As browsers and curl do it (RFC 9110 §15.4.2); -X stays.
            let to_get = match status.as_u16() {
                301 | 302 => method == Method::POST,
                303 => method != Method::HEAD,
                _ => false,
            };
            if to_get && self.options.method.is_none() {
                method = Method::GET;
                data.clear();
            }
            if self.options.verbose {
                self.cx.print(format!("* Issue another request to this URL: '{to}'"));
            }
            url = to;
        }
    }

    fn method(&self) -> Method {
        let options = self.options;
        let posts = options.data.is_some() && !options.get;
        options.method.clone().unwrap_or(match (options.head, posts) {
            (true, _) => Method::HEAD,
            (false, true) => Method::POST,
            (false, false) => Method::GET,
        })
    }

    fn request(&self, method: &Method, url: &Url, data: &Bytes, same_host: bool) -> Result<Request, Failure> {
        let options = self.options;
        let mut headers = HeaderMap::new();
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| failure(43, format!("{text:?} cannot stand in a header field")))
        };
        if let Some(host) = options.headers.iter().find(|(name, _)| *name == http::header::HOST) {
            headers.insert(host.0.clone(), host.1.clone());
        }
        if let (Some(user), true) = (&options.user, same_host) {
            use base64::Engine;
            let encoded = base64::engine::general_purpose::STANDARD.encode(user);
            headers.insert(AUTHORIZATION, value(&format!("Basic {encoded}"))?);
        }
        if let Some(range) = &options.range {
            headers.insert(RANGE, value(&format!("bytes={range}"))?);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if options.compressed {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("deflate, gzip, br"));
        }
        let cookies = self.cookies(url);
        if !cookies.is_empty() {
            headers.insert(COOKIE, value(&cookies)?);
        }
        if let (false, Some(kind)) = (data.is_empty(), options.data_type) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if kind == "application/json" {
                headers.insert(ACCEPT, HeaderValue::from_static(kind));
            }
        }
        let mut seen: Vec<&HeaderName> = Vec::new();
        for (name, value) in &options.headers {
            if *name == AUTHORIZATION && !same_host {
                continue;
            }
            if seen.contains(&name) {
                headers.append(name, value.clone())
            } else {
                headers.insert(name, value.clone()).is_some()
            };
            seen.push(name);
        }
        for name in &options.without {
            headers.remove(name);
        }
        let mut request = Request::new(method.clone(), url.clone()).body(data.clone());
        // More than a mebibyte waits for a 100 (curl's EXPECT_100_THRESHOLD).
        if data.len() > 1 << 20 && !options.without.contains(&http::header::EXPECT) {
            headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        request.headers = headers;
        if options.verbose {
            let cx = self.cx.clone();
            request.trace = Some(Arc::new(move |event| trace(&cx, event)));
        }
        Ok(request)
    }

    /// The body, what is printed, and the numbers.
    async fn finish(
        &self,
        response: Response,
        url: &Url,
        began: Instant,
        redirected: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let options = self.options;
        outcome.status = response.status.as_u16();
        outcome.version = match response.version {
            http::Version::HTTP_10 => "1.0",
            http::Version::HTTP_2 => "2",
            http::Version::HTTP_3 => "3",
            _ => "1.1",
        };
        outcome.content_type = response.header("content-type").unwrap_or_default().into();
        outcome.header_bytes += response.head.len();
        let connection = response.connection.clone();
        outcome.local = (connection.local.ip().to_string(), connection.local.port());
        outcome.remote = (connection.peer.ip().to_string(), connection.peer.port());
        outcome.request_bytes = usize::try_from(connection.counts.sent.get()[1]).unwrap_or(usize::MAX);
        steps(outcome, &response.timings());
        if (options.include || options.head) && !options.discard {
            self.cx.print(&response.head);
        }
        if options.fail && response.status.as_u16() >= 400 {
            return Err(failure(
                22,
                format!("The requested URL returned error: {}", response.status.as_u16()),
            ));
        }
        let coding = response.header("content-encoding").map(str::to_ascii_lowercase);
        let mut body = response.body;
        let mut whole = Vec::new();
        loop {
            let piece = body.chunk().await.map_err(|error| explain(&error, url, began))?;
            let Some(piece) = piece else { break };
            outcome.downloaded += piece.len();
            if outcome.downloaded > MAX_BODY {
                return Err(failure(63, "Maximum file size exceeded"));
            }
            if !options.discard && !redirected {
                whole.extend_from_slice(&piece);
            }
        }
        steps(outcome, &body.timings());
        if options.verbose {
            self.cx.print(format!("* Connection #{} to host {} left intact", connection.id, connection.host));
        }
        if options.discard || redirected {
            return Ok(());
        }
        if let (true, Some(coding)) = (options.compressed, coding) {
            whole = decode(&coding, &whole)?;
        }
        self.cx.print(String::from_utf8_lossy(&whole));
        Ok(())
    }

    fn cookies(&self, url: &Url) -> String {
        let (host, path) = (url.host_str().unwrap_or_default(), url.path());
        let kept = self.jar.iter().filter(|cookie| cookie.host == host && path.starts_with(&cookie.path));
        let kept = kept.map(|cookie| format!("{}={}", cookie.name, cookie.value));
        kept.chain(self.options.cookies.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    /// With `-b` or `-c` the cookies of this run are kept.
    fn take_cookies(&mut self, url: &Url, response: &Response) {
        const MOST: usize = 300;
        if self.options.jar.is_none() && self.options.cookies.is_empty() {
            return;
        }
        let host = url.host_str().unwrap_or_default().to_string();
        for text in response.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let attribute = |key: &str| {
                let found = text.split(';').skip(1).filter_map(|part| part.trim().split_once('='));
                found
                    .into_iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(key))
                    .map(|(_, value)| value.to_string())
            };
            let path = attribute("path").unwrap_or_else(|| "/".into());
            self.jar.retain(|cookie| (&*cookie.name, &cookie.host) != (name, &host));
            if attribute("max-age").as_deref() != Some("0") && self.jar.len() < MOST {
                let (name, value) = (name.to_string(), value.to_string());
                self.jar.push(Cookie { host: host.clone(), path, name, value });
            }
        }
    }

    fn print_jar(&self) {
        if self.options.jar.as_deref() == Some("-") {
            self.cx.print("# Netscape HTTP Cookie File");
            for Cookie { host, path, name, value } in &self.jar {
                self.cx.print(format!("{host}\tFALSE\t{path}\tFALSE\t0\t{name}\t{value}"));
            }
        }
    }
}

/// The times since the request began.
fn steps(outcome: &mut Outcome, timings: &Timings) {
    let add = |before: Duration, step: Option<Duration>| before + step.unwrap_or_default();
    outcome.names = add(timings.blocked, timings.dns);
    outcome.connect = add(outcome.names, timings.connect);
    let ready = add(outcome.connect, timings.tls);
    outcome.tls = if timings.tls.is_some() { ready } else { Duration::ZERO };
    outcome.pretransfer = ready;
    outcome.first_byte = ready + timings.send + timings.wait;
}

fn decode(coding: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let limit = MAX_BODY as u64;
    let read = match coding {
        "gzip" | "x-gzip" => flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut out),
        "deflate" => flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(body, 4096).take(limit).read_to_end(&mut out),
        "identity" => return Ok(body.to_vec()),
        other => {
            return Err(failure(
                61,
                format!(
                    "Unrecognized content encoding type. libcurl understands deflate, gzip, br content encodings: {other}"
                ),
            ));
        }
    };
    read.map_err(|error| failure(61, format!("Error while processing content unencoding: {error}")))?;
    Ok(out)
}

/// `-v`.
fn trace(cx: &Cx, event: &Event<'_>) {
    let marked = |mark: char, text: &str| {
        for line in text.split_terminator("\r\n") {
            cx.print(format!("{mark} {line}"));
        }
    };
    match event {
        Event::Trying(to) => cx.print(format!("*   Trying {to}...")),
        Event::ConnectFailed(to, error) => {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "Connection refused".to_string(),
                _ => words(error),
            };
            cx.print(format!("* connect to {} port {} failed: {why}", to.ip(), to.port()));
        }
        Event::Connected { host, peer } => {
            cx.print(format!("* Connected to {host} ({}) port {}", peer.ip(), peer.port()));
        }
        Event::Reused(connection) => cx.print(format!(
            "* Re-using existing connection #{} with host {}",
            connection.id, connection.host
        )),
        Event::Info(text) => cx.print(format!("* {text}")),
        Event::RequestHead(text) => marked('>', text),
        Event::ResponseHead(text) => marked('<', text),
    }
}
