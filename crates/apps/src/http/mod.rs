//! HTTP: a client library with a connection pool, a server, a reverse proxy and the `curl` command (RFC 9110, 9112, 9113).
//!
//! Map: `stream` is what all of them talk over; `client` opens, keeps and reuses connections; `front` takes them in; `server` answers with the pages
//! of a scenario; `proxy` hands requests on as nginx does, `naive_cache` as nobody should; `curl` is a command on top of the client; `load` and `listen` measure, `sse` reads streams of
//! events.

pub mod client;
pub mod curl;
pub mod front;
pub mod listen;
pub mod load;
pub mod naive_cache;
pub mod proxy;
pub mod server;
pub mod sse;
pub(crate) mod stream;
pub mod tls;

pub use stream::{BoxStream, Counts, Frames, Stream};
