//! WebSocket (RFC 6455) over tokio-tungstenite: the upgrade of an HTTP/1.1 connection, messages and their fragments, the
//! heartbeat of pings, and a close that says why.
//!
//! ```no_run
//! # async fn example(cx: apps::Cx) -> Result<(), apps::ws::Failed> {
//! use apps::ws::{Client, Event, Settings};
//! let client = Client::new("ws://server/chat", Settings::default());
//! let mut session = client.connect(&cx).await?.session;
//! session.text("hello").await?;
//! if let Event::Text(answer) = session.next().await {
//!     println!("{answer}");
//! }
//! session.close(1000, "done").await;
//! # Ok(()) }
//! ```
//!
//! permessage-deflate (RFC 7692) is not spoken: tungstenite has no such thing. Offers of it are not taken up, and a server
//! that uses it unasked is left. Nor is WebSocket over HTTP/2 (RFC 8441): such requests get 426.
//!
//! Map: `upgrade` is the handshake of both sides, `session` the connection after it, `server` and `client` are programs.

mod client;
mod close;
mod server;
mod session;
mod steps;
mod upgrade;

pub use client::{Client, Connected, Failed, WsClient, read as read_client};
pub use close::{By, Closed, code_name};
pub use server::{Does, WsServer, read as read_server};
pub use session::{Event, Session};

pub(crate) use client::check_url;
pub(crate) use server::{Doing, serve};
pub(crate) use upgrade::{Terms, accept};

use core::time::Duration;

/// How a connection is kept and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest message that is taken, all its fragments together (close code 1009); 1 MiB.
    pub max_message: usize,
    /// The largest frame that is taken (1009); 1 MiB.
    pub max_frame: usize,
    /// The time between two pings of ours; none are sent without it.
    pub ping: Option<Duration>,
    /// How long a pong is waited for before the connection is given up (1011); 20 s, as in Python's `websockets`.
    pub pong_timeout: Duration,
    /// A server takes frames without a mask, which RFC 6455 §5.1 forbids.
    pub accept_unmasked: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_message: 1 << 20,
            max_frame: 1 << 20,
            ping: None,
            pong_timeout: Duration::from_secs(20),
            accept_unmasked: false,
        }
    }
}

/// What a table says about them is checked here: the keys and what is wrong.
pub(crate) fn check_sizes(
    sizes: &[(&str, Option<crate::units::Size>)],
    times: &[(&str, Option<crate::units::Span>)],
) -> Vec<crate::Problem> {
    let problem = |key: &str, message: String| crate::Problem {
        path: vec![key.into()],
        message,
        help: Some(format!("{key} = \"{}\"", if key.starts_with("max") { "64k" } else { "20s" })),
    };
    let sizes = sizes.iter().filter(|(_, size)| size.is_some_and(|size| !(125..=MAX_SIZE).contains(&size.0)));
    let sizes =
        sizes.map(|(key, _)| problem(key, "between 125 bytes, the longest control frame, and 1g".into()));
    let times = times.iter().filter(|(_, span)| span.is_some_and(|span| span.0 < SHORTEST));
    let times = times.map(|(key, _)| problem(key, format!("at least {} ms", SHORTEST.as_millis())));
    sizes.chain(times).collect()
}

/// The largest limit that may be set.
const MAX_SIZE: u64 = 1 << 30;
/// The shortest time between pings, and for an answer.
const SHORTEST: Duration = Duration::from_millis(1);
