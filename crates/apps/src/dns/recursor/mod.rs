//! The recursive resolver: from the root down, by referrals (RFC 1034 §5.3.3), with a cache. Times are BIND's
//! (lib/dns/resolver.c): 800 ms for a server in each of the first three rounds over all servers, then twice that and twice
//! again, 10 s for the whole question; SERVFAIL is remembered for a second. Of several servers the one with the
//! shortest smoothed round trip is asked first, unknown ones before it. QNAME minimisation is relaxed (RFC 9156), on as
//! in BIND and unbound.
//!
//! Map: `resolver` answers questions from the cache and by walks, `walk` goes from zone to zone, `ask` asks the servers of one.

mod ask;
mod resolver;
mod walk;

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::https::ForwardHttps;
use super::server::{port, udp_size, yes};
use super::service::{Encrypted, own_addresses, serve};
use super::zone;
use crate::app::read_table;
use crate::tls::server::below;
use crate::tls::{ClientOptions, ServerOptions, ServerTls};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};
use resolver::Resolver;
use walk::{Servers, servers_of};

/// The table of `app = "dns-recursor"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsRecursor {
    /// The root servers as a `named.root` file: NS records of `.` and their addresses.
    #[serde(default)]
    pub hints: Option<String>,
    /// Asks these resolvers instead of walking from the root.
    #[serde(default)]
    pub forward: Vec<IpAddr>,
    /// Asks `forward` over TLS (RFC 7858, port 853); nobody on the way can read or forge what is said.
    #[serde(default)]
    pub forward_tls: Option<ForwardTls>,
    /// Asks `forward` over HTTPS (RFC 8484), on a connection that is kept.
    #[serde(default)]
    pub forward_https: Option<ForwardHttps>,
    /// Answers over TLS, too, with this certificate.
    #[serde(default)]
    pub tls: Option<ServerOptions>,
    /// Answers over HTTPS, too, at `/dns-query` on port 443, with this certificate.
    #[serde(default)]
    pub https: Option<ServerOptions>,
    /// Whether queries have random IDs; true unless given. Otherwise they count up.
    #[serde(default = "yes")]
    pub random_id: bool,
    /// Whether each query leaves from a random port; true unless given. Otherwise all leave from `query_port`.
    #[serde(default = "yes")]
    pub random_port: bool,
    /// The port of all queries when it is not random; 53053 unless given.
    #[serde(default = "query_port")]
    pub query_port: u16,
    /// Whether the letters of a question change case at random (0x20); false unless given.
    #[serde(default)]
    pub mix_case: bool,
    /// Whether each server is asked for no more of the name than it needs (RFC 9156); true unless given.
    #[serde(default = "yes")]
    pub qname_minimisation: bool,
    /// The longest time that records are kept, in s; a day unless given, as unbound's `cache-max-ttl`.
    #[serde(default = "max_ttl")]
    pub max_ttl: u32,
    /// The longest time that the absence of records is kept, in s; three hours unless given, as BIND's `max-ncache-ttl`.
    #[serde(default = "max_negative_ttl")]
    pub max_negative_ttl: u32,
    /// Sets of records in the cache at most; 10,000 unless given.
    #[serde(default = "cache_entries")]
    pub cache_entries: usize,
    /// The largest reply over UDP; 1232 unless given.
    #[serde(default = "udp_size")]
    pub udp_size: u16,
    /// Its port; 53 unless given.
    #[serde(default = "port")]
    pub port: u16,
    /// The addresses that it listens on; all of its host's unless given.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
    /// Prints a line per question, as BIND with `querylog yes`; true unless given.
    #[serde(default = "yes")]
    pub log: bool,
    /// Prints what it asks of whom, and what it learns; false unless given.
    #[serde(default)]
    pub trace: bool,
}

/// How resolvers are asked over TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardTls {
    /// The name that their certificate must prove.
    pub name: String,
    /// More about the TLS.
    #[serde(default)]
    pub tls: ClientOptions,
}

fn query_port() -> u16 {
    53_053
}

fn max_ttl() -> u32 {
    86_400
}

fn max_negative_ttl() -> u32 {
    10_800
}

fn cache_entries() -> usize {
    10_000
}

/// Reads the table.
///
/// # Errors
/// What is wrong with keys and hints.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let config: DnsRecursor = read_table(table)?;
    let of_tls = config.tls.as_ref().map_or_else(Vec::new, |tls| below("tls", tls.check(env)));
    let of_forward = config
        .forward_tls
        .as_ref()
        .map_or_else(Vec::new, |forward| below("forward_tls", below("tls", forward.tls.check(env))));
    let of_https = config.https.as_ref().map_or_else(Vec::new, |tls| below("https", tls.check(env)));
    let of_forward_https = config
        .forward_https
        .as_ref()
        .map_or_else(Vec::new, |forward| below("forward_https", forward.check(env)));
    let mut problems = [of_tls, of_https, of_forward, of_forward_https].concat();
    let mut wrong = |key: &str, message: &str, help: &str| {
        problems.push(Problem { path: vec![key.into()], message: message.into(), help: Some(help.into()) });
    };
    let encrypted =
        [("forward_tls", config.forward_tls.is_some()), ("forward_https", config.forward_https.is_some())];
    for (key, _) in encrypted.iter().filter(|(_, given)| *given && config.forward.is_empty()) {
        wrong(key, "nobody is asked so", "give the resolvers' addresses: forward = [\"198.51.100.53\"]");
    }
    if encrypted.iter().all(|(_, given)| *given) {
        wrong(
            "forward_https",
            "resolvers are asked either over TLS or over HTTPS",
            "leave one of the two out",
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Arc::new(Recursor::new(config)?))
}

/// A recursive resolver whose hints are read.
#[derive(Debug)]
pub struct Recursor {
    config: DnsRecursor,
    roots: Servers,
}

impl Recursor {
    /// Reads the hints.
    ///
    /// # Errors
    /// Hints that do not parse, with the line; neither hints nor forwarders.
    pub fn new(config: DnsRecursor) -> Result<Recursor, Vec<Problem>> {
        let problem = |path: &[&str], message: String| {
            vec![Problem { path: path.iter().map(|&key| key.into()).collect(), message, help: None }]
        };
        let roots = match &config.hints {
            Some(text) => {
                let records =
                    zone::records(&Name::root(), text).map_err(|e| problem(&["hints"], e.to_string()))?;
                let servers = servers_of(&records, &records, &Name::root());
                if servers.iter().all(|(_, addresses)| addresses.is_empty()) {
                    return Err(problem(&["hints"], "the hints name no root server with an address".into()));
                }
                servers
            }
            None if config.forward.is_empty() => {
                return Err(problem(&[], "a recursor needs `hints` or `forward`".into()));
            }
            None => Vec::new(),
        };
        Ok(Recursor { config, roots })
    }
}

impl App for Recursor {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let addresses = own_addresses(&cx, &self.config.listen);
            let port = self.config.port;
            let own = self.config.tls.clone();
            let tls = own.map(|options| ServerTls::new(&options, &cx.env().pki, Some(&cx))).transpose();
            let https = self.config.https.clone();
            let tls = tls.map_err(|error| error.to_string());
            match (Resolver::new(self, cx.clone()), tls) {
                (Ok(resolver), Ok(tls)) => {
                    serve(&cx, Arc::new(resolver), addresses, port, Encrypted { tls, https }).await
                }
                (Err(error), _) | (_, Err(error)) => {
                    cx.print(format!("dns-recursor: {error}"));
                    1
                }
            }
        })
    }

    fn serves(&self) -> bool {
        true
    }
}
