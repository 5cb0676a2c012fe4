//! Pages as the table writes them, and which one a path means.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, SET_COOKIE};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::front::{Answer, AnswerBody};
use crate::units::{Size, Span};

/// The largest page.
const MAX_PAGE: u64 = 1 << 30;

/// A page.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// Its status; 200 unless given, 302 with a `location`.
    pub status: Option<u16>,
    /// The type of its content; by the ending of its path unless given.
    pub r#type: Option<String>,
    /// Its text.
    pub body: Option<String>,
    /// The text this many times.
    pub repeat: Option<u32>,
    /// So many bytes of text that does not compress instead of a body.
    pub size: Option<Size>,
    /// More header fields.
    pub headers: BTreeMap<String, String>,
    /// Cookies to set, each as a `Set-Cookie` field.
    pub set_cookie: Vec<String>,
    /// Where to go instead.
    pub location: Option<String>,
    /// How long it takes before there is an answer.
    pub delay: Option<Span>,
    /// Sends the body in pieces of this size (chunked in HTTP/1.1).
    pub chunk: Option<Size>,
    /// The time between pieces, and between events.
    pub interval: Option<Span>,
    /// Computes the answer.
    pub handler: Option<Handler>,
    /// How many events there are in all.
    pub events: Option<u32>,
    /// Server-sent events: a stream ends after so many, as behind a proxy with limits.
    pub events_at_once: Option<u32>,
    /// Server-sent events: how long a client waits before it asks for a stream again; its own time unless given.
    pub retry: Option<Span>,
    /// What a request must have in a cookie, as `name=value`; 403 without it.
    pub requires_cookie: Option<String>,
    /// Its ETag, or `false` for none; made of its content unless given.
    pub etag: Option<Tag>,
    /// When it was modified, as an HTTP date.
    pub last_modified: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// Paths to push with it (HTTP/2).
    pub push: Vec<String>,
    /// Methods that it takes; GET and HEAD unless given or its handler takes more.
    pub methods: Vec<String>,
}

/// What `etag` says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tag {
    /// Whether there is one.
    Has(bool),
    /// It, without its quotes.
    Is(String),
}

/// What computes an answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Handler {
    /// The request as text.
    Echo,
    /// The fields of a form, from the query or the body.
    Form,
    /// How often it was asked, and how often by POST.
    Counter,
    /// How often the client with this cookie came; sets the cookie.
    Session,
    /// A JSON-RPC 2.0 service with `add` and `echo`.
    JsonRpc,
    /// The events since `?since=N`, at once.
    Poll,
    /// The same, but waits for the next one when there is none.
    LongPoll,
    /// The events as they happen (server-sent events).
    Events,
    /// The events as they happen, by WebSocket.
    Websocket,
}

impl Page {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        let default = if self.location.is_some() { 302 } else { 200 };
        self.status
            .and_then(|n| StatusCode::from_u16(n).ok())
            .unwrap_or(StatusCode::from_u16(default).expect("valid"))
    }

    /// What does not fit; the key and a message.
    pub(super) fn check(
        &self,
        path: &str,
        pages: &BTreeMap<String, Page>,
    ) -> Result<(), (&'static str, String)> {
        if !path.starts_with('/') {
            return Err(("", format!("the path {path:?} must begin with /")));
        }
        if let Some(status) = self.status
            && !(200..=599).contains(&status)
        {
            return Err(("status", format!("{status} is no status of an answer: 200 to 599")));
        }
        if self.body.is_some() && self.size.is_some() {
            return Err(("size", "a page has either a body or a size".into()));
        }
        let length =
            self.body.as_ref().map_or(0, |body| body.len() as u64 * u64::from(self.repeat.unwrap_or(1)));
        if length > MAX_PAGE || self.size.is_some_and(|size| size.0 > MAX_PAGE) {
            return Err(("size", "a page is at most 1g".into()));
        }
        if self.chunk.is_some_and(|chunk| chunk.0 == 0) {
            return Err(("chunk", "a piece has at least one byte".into()));
        }
        for (name, value) in &self.headers {
            let name_ok = HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !name_ok || HeaderValue::from_str(value).is_err() {
                return Err(("headers", format!("{name}: {value} is no header field")));
            }
        }
        for text in
            self.set_cookie.iter().chain(&self.location).chain(&self.cache_control).chain(&self.r#type)
        {
            if HeaderValue::from_str(text).is_err() {
                return Err(("", format!("{text:?} cannot stand in a header field")));
            }
        }
        if let Some(date) = &self.last_modified
            && httpdate::parse_http_date(date).is_err()
        {
            let example = "Sun, 06 Nov 1994 08:49:37 GMT";
            return Err(("last_modified", format!("{date:?} is no HTTP date such as {example:?}")));
        }
        if let Some(missing) = self.push.iter().find(|path| !pages.contains_key(*path)) {
            return Err(("push", format!("there is no page {missing:?} to push")));
        }
        if let Some(method) = self.methods.iter().find(|name| Method::from_bytes(name.as_bytes()).is_err()) {
            return Err(("methods", format!("{method:?} is no method")));
        }
        Ok(())
    }

    /// Methods that it takes.
    pub(super) fn methods(&self) -> Vec<Method> {
        if !self.methods.is_empty() {
            return self.methods.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok()).collect();
        }
        let mut methods = vec![Method::GET, Method::HEAD];
        match self.handler {
            Some(Handler::Echo) => methods.extend([Method::POST, Method::PUT, Method::DELETE, Method::PATCH]),
            Some(Handler::Form | Handler::Counter | Handler::Session) => methods.push(Method::POST),
            Some(Handler::JsonRpc) => return vec![Method::POST],
            Some(Handler::Poll | Handler::LongPoll | Handler::Events | Handler::Websocket) | None => {}
        }
        methods
    }

    /// What it answers when nothing is computed.
    pub(super) fn fixed(&self) -> Answer {
        let mut answer = Answer::new(self.status());
        let body = self.content();
        if !body.is_empty() {
            let kind = self.r#type.as_deref().unwrap_or("text/html");
            answer = answer.with(CONTENT_TYPE, kind);
        }
        for (name, value) in &self.headers {
            let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
            if let (Ok(name), Ok(value)) = pair {
                answer.headers.insert(name, value);
            }
        }
        for cookie in &self.set_cookie {
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                answer.headers.append(SET_COOKIE, cookie);
            }
        }
        if let Some(location) = &self.location {
            answer = answer.with(LOCATION, location);
        }
        if let Some(cache) = &self.cache_control {
            answer = answer.with(http::header::CACHE_CONTROL, cache);
        }
        if answer.status == StatusCode::OK {
            let tag = match &self.etag {
                None | Some(Tag::Has(true)) => format!("\"{:016x}\"", fnv(&body)),
                Some(Tag::Is(tag)) => format!("\"{tag}\""),
                Some(Tag::Has(false)) => String::new(),
            };
            if !tag.is_empty() {
                answer = answer.with(ETAG, &tag);
            }
            if let Some(date) = &self.last_modified {
                answer = answer.with(LAST_MODIFIED, date);
            }
        }
        answer.push.clone_from(&self.push);
        answer.body = AnswerBody::Whole(body);
        answer
    }

    fn content(&self) -> Bytes {
        if let Some(size) = self.size {
            return noise(size.bytes());
        }
        let body = self.body.as_deref().unwrap_or_default();
        match self.repeat {
            None => Bytes::copy_from_slice(body.as_bytes()),
            Some(n) => Bytes::from(body.repeat(usize::try_from(n).unwrap_or(usize::MAX))),
        }
    }
}

/// Printable text that does not compress below three quarters: base 64 of a fixed generator (xorshift64).
fn noise(len: usize) -> Bytes {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ALPHABET[usize::try_from(state >> 58).expect("six bits")]
    };
    (0..len).map(|_| letter()).collect()
}

/// FNV-1a: an ETag only has to tell versions apart.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The type by the ending of a path.
fn type_of(path: &str) -> &'static str {
    match path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending) {
        "css" => "text/css",
        "js" => "text/javascript",
        "json" => "application/json",
        "txt" => "text/plain",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "bin" => "application/octet-stream",
        _ => "text/html",
    }
}

/// The pages of one host.
#[derive(Debug)]
pub(super) struct Site {
    exact: BTreeMap<String, Page>,
    /// By what comes before the `*`, the longest first.
    prefixes: Vec<(String, Page)>,
}

impl Site {
    pub(super) fn new(pages: &BTreeMap<String, Page>) -> Site {
        let (mut exact, mut prefixes) = (BTreeMap::new(), Vec::new());
        for (path, page) in pages {
            let mut page = page.clone();
            page.r#type.get_or_insert_with(|| type_of(path).into());
            match path.strip_suffix('*') {
                Some(prefix) => prefixes.push((prefix.to_string(), page)),
                None => drop(exact.insert(path.clone(), page)),
            }
        }
        prefixes.sort_by_key(|(prefix, _)| core::cmp::Reverse(prefix.len()));
        Site { exact, prefixes }
    }

    pub(super) fn page(&self, path: &str) -> Option<&Page> {
        let prefixed = || self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        self.exact.get(path).or_else(|| prefixed().map(|(_, page)| page))
    }
}
