//! QUIC (RFC 9000, 9001, 9002), thin over quinn: a server and a client that speak HTTP/0.9 on its streams, `hq-interop`, as
//! the interoperability tests of QUIC do: a stream carries `GET /20k`, its answer is as many bytes and the end.
//!
//! Map: `config` turns a file's words into quinn's own, `server` and `client` are the programs, `steps` is what a client can be
//! told, `replayer` is one on the way who says again what he cannot read, `qlog` keeps what quinn writes of its insides.

mod client;
mod config;
mod qlog;
mod replayer;
mod server;
mod steps;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

pub use client::QuicClient;
pub use config::{
    Life, client_config, client_endpoint, negotiated, server_config, server_endpoint, transport,
};
pub use qlog::{Qlog, QlogStart, Side};
pub use replayer::QuicReplayer;
pub use server::QuicServer;

/// The application protocol of both programs.
pub const ALPN: &str = "hq-interop";

/// The longest request line.
const MAX_REQUEST: usize = 4_096;
/// The longest answer: 1 GiB.
const MAX_SIZE: u64 = 1 << 30;

/// A version of QUIC that the library speaks, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32);

/// The drafts that the library speaks besides version 1.
const DRAFTS: core::ops::RangeInclusive<u32> = 29..=34;
/// A draft's number on the wire: this and its own.
const DRAFT: u32 = 0xff00_0000;

impl Version {
    /// Reads `1` or `draft-34`.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Version, String> {
        let draft = || text.strip_prefix("draft-")?.parse().ok().filter(|n| DRAFTS.contains(n));
        match (text, draft()) {
            ("1", _) => Ok(Version(1)),
            (_, Some(n)) => Ok(Version(DRAFT + n)),
            _ => Err(format!("no version `{text}` of QUIC here: 1, or draft-29 to draft-34")),
        }
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.checked_sub(DRAFT) {
            Some(n) if DRAFTS.contains(&n) => write!(f, "draft-{n}"),
            _ => write!(f, "version {}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        Version::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "QuicVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A version of QUIC: 1, or draft-29 to draft-34." })
    }
}

/// An error with its causes: quinn says `connection lost` first and why behind it.
fn because(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // A chain of causes is short; a cycle would be a bug of its library.
    for _ in 0..8 {
        let Some(cause) = source else { break };
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

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

    #[test]
    fn versions_are_those_of_the_library() {
        assert_eq!(Version::parse("1"), Ok(Version(1)));
        assert_eq!(Version::parse("draft-29"), Ok(Version(0xff00_001d)));
        assert_eq!(Version(0xff00_001d).to_string(), "draft-29");
        for wrong in ["2", "draft-28", "draft-35", "draft", ""] {
            assert!(Version::parse(wrong).is_err(), "{wrong}");
        }
    }
}
