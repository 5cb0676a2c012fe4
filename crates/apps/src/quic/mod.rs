//! QUIC (RFC 9000, 9001, 9002), thin over quinn: a server and a client that speak HTTP/0.9 on its streams, `hq-interop`, as
//! the interoperability tests of QUIC do: a stream carries `GET /20k`, its answer is as many bytes and the end.
//!
//! Map: `config` turns a file's words into quinn's own, `server` and `client` are the programs, `qlog` keeps what quinn
//! writes of its insides.

mod client;
mod config;
mod qlog;
mod server;

pub use client::QuicClient;
pub use config::{client_endpoint, server_endpoint, transport};
pub use qlog::Qlog;
pub use server::QuicServer;

/// The application protocol of both programs.
pub const ALPN: &str = "hq-interop";

/// The longest request line.
const MAX_REQUEST: usize = 4_096;
/// The longest answer: 1 GiB.
const MAX_SIZE: u64 = 1 << 30;

/// `/20k`: how many bytes are asked for.
fn size_of(path: &str) -> Option<u64> {
    let text = path.strip_prefix('/')?;
    let digits = text.trim_end_matches(['k', 'M']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        _ => return None,
    };
    let size = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (size <= MAX_SIZE).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_how_many_bytes() {
        assert_eq!(size_of("/20k"), Some(20_000));
        assert_eq!(size_of("/3M"), Some(3_000_000));
        assert_eq!(size_of("/0"), Some(0));
        for wrong in ["20k", "/", "/k", "/20G", "/2000M", "/-1", "/20kk"] {
            assert_eq!(size_of(wrong), None, "{wrong}");
        }
    }
}
