//! What the logs of a proxy say: the upstream variables behind the access log's line, and nginx's words in the error log.

use core::time::Duration;
use std::io;

use tokio::time::Instant;

use super::forward::{Forward, Passed};
use crate::http::front::{LogFormat, Note};

/// What one server came to, for the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) addr: String,
    pub(super) status: Option<u16>,
    pub(super) connect: Option<Duration>,
    pub(super) header: Option<Duration>,
    pub(super) response: Option<Duration>,
}

/// `rt=… ua="…" us="…" uct="…" uht="…" urt="…"`, the usual way to log nginx's upstream variables.
fn describe(all: &[Seen], start: Instant) -> String {
    let seconds = |time: &Duration| format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    let list = |one: &dyn Fn(&Seen) -> Option<String>| {
        all.iter().map(|seen| one(seen).unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join(", ")
    };
    let total = start.elapsed();
    format!(
        " rt={} ua=\"{}\" us=\"{}\" uct=\"{}\" uht=\"{}\" urt=\"{}\"",
        seconds(&total),
        list(&|seen| Some(seen.addr.clone())),
        list(&|seen| seen.status.map(|status| status.to_string())),
        list(&|seen| seen.connect.as_ref().map(seconds)),
        list(&|seen| seen.header.as_ref().map(seconds)),
        list(&|seen| seen.response.as_ref().map(seconds)),
    )
}

/// Sets the note when it goes, so that a request that is dropped has its times, too.
pub(super) struct Told {
    pub(super) note: Note,
    pub(super) all: Vec<Seen>,
    pub(super) start: Instant,
    /// When the server at work was asked.
    pub(super) asked: Instant,
}

impl Drop for Told {
    fn drop(&mut self) {
        let asked = self.asked;
        if let Some(last) = self.all.last_mut() {
            last.response.get_or_insert_with(|| asked.elapsed());
        }
        self.note.set(describe(&self.all, self.start));
    }
}

impl Told {
    /// How long the connection to the server at work took.
    pub(super) fn set_connect(&mut self, took: Duration) {
        if let Some(seen) = self.all.last_mut() {
            seen.connect = Some(took);
        }
    }
}

impl Forward {
    pub(super) fn complain(&self, text: &str, passed: &Passed, upstream: &str) {
        if self.proxy.access_log == LogFormat::Off {
            return;
        }
        let Passed { line, target, client, host, .. } = passed;
        let upstream = if upstream.is_empty() {
            String::new()
        } else {
            format!(", upstream: \"http://{upstream}{target}\"")
        };
        let client = client.ip();
        self.cx.print(format!(
            "[error] {text}, client: {client}, request: \"{line}\"{upstream}, host: \"{host}\""
        ));
    }
}

pub(super) fn strerror(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".into(),
        io::ErrorKind::HostUnreachable => "No route to host".into(),
        io::ErrorKind::NetworkUnreachable => "Network is unreachable".into(),
        io::ErrorKind::TimedOut => "Connection timed out".into(),
        _ => error.to_string(),
    }
}
