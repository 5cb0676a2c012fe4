//! The access log: a line for each request when it is over, in the common or nginx's combined format.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Version;
use http::header::{REFERER, USER_AGENT};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, Exchange, Front, Note};

/// Which line is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// None.
    Off,
    /// The common log format.
    Common,
    /// nginx's `combined`: common, Referer and User-Agent.
    #[default]
    Combined,
}

/// What nginx logs when the client went away before an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request that will be logged when this goes.
pub(crate) struct Entry {
    front: Arc<Front>,
    remote: IpAddr,
    request: String,
    status: u16,
    bytes: u64,
    referer: Option<String>,
    agent: Option<String>,
    note: Note,
}

impl Entry {
    pub(super) fn new(front: Arc<Front>, exchange: &Exchange) -> Entry {
        let text = |name| exchange.header(name).map(str::to_string);
        let (mut request, mut referer, mut agent) = (String::new(), None, None);
        if front.log != LogFormat::Off {
            request = format!("{} {} {}", exchange.method, exchange.target, version(exchange.version));
            (referer, agent) = (text(REFERER), text(USER_AGENT));
        }
        let status = CLIENT_CLOSED_REQUEST;
        Entry {
            front,
            remote: exchange.peer.ip(),
            request,
            status,
            bytes: 0,
            referer,
            agent,
            note: exchange.note.clone(),
        }
    }

    /// A request that could not be read.
    pub(super) fn unread(front: Arc<Front>, remote: IpAddr, status: u16) -> Entry {
        Entry {
            front,
            remote,
            request: String::new(),
            status,
            bytes: 0,
            referer: None,
            agent: None,
            note: Note::default(),
        }
    }

    pub(super) fn answered(&mut self, answer: &Answer) {
        self.status = answer.status.as_u16();
    }

    pub(super) fn sent(&mut self, n: usize) {
        self.bytes += n as u64;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.front.log == LogFormat::Off {
            return;
        }
        let Entry { remote, request, status, bytes, .. } = self;
        let time = time_local(SystemTime::now());
        let request = escape(request);
        let mut line = format!("{remote} - - [{time}] \"{request}\" {status} {bytes}");
        if self.front.log == LogFormat::Combined {
            let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".into(), escape);
            line.push_str(&format!(" \"{}\" \"{}\"", text(&self.referer), text(&self.agent)));
        }
        line.push_str(&self.note.take());
        self.front.cx.print(line);
    }
}

/// As in the log of nginx.
pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// nginx's `log_escape` default: quotes, backslashes and control characters as `\xHH`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => out.push_str(&format!("\\x{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// `22/Nov/2026:21:48:54 +0000`.
pub(crate) fn time_local(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // "Sun, 06 Nov 1994 08:49:37 GMT": its parts are of fixed width.
    let text = httpdate::fmt_http_date(UNIX_EPOCH + core::time::Duration::from_secs(since));
    let part = |range: core::ops::Range<usize>| text.get(range).unwrap_or_default();
    format!("{}/{}/{}:{} +0000", part(5..7), part(8..11), part(12..16), part(17..25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_quotes_are_written_as_nginx_writes_them() {
        let at = UNIX_EPOCH + core::time::Duration::from_secs(784_111_777);
        assert_eq!(time_local(at), "06/Nov/1994:08:49:37 +0000");
        assert_eq!(escape("GET /\"\\\n HTTP/1.1"), "GET /\\x22\\x5C\\x0A HTTP/1.1");
    }
}
