//! Programs of the lab above the socket calls: each is thin over a well-kept library and runs on any ground that [`net`]
//! knows: a world in virtual time, a TAP, the machine's own network.
//!
//! A scenario names a program and gives it a table (`app = "echo"`, `with = { port = 7 }`), or writes a command line as a
//! user would (`run = 'curl https://shop.example/'`); [`read`] and [`command`] turn either into an [`App`] and say what is
//! wrong with it, at its place, before anything runs. The same types are there for Rust programs.
//!
//! Map: `app` is what a program is and what it is told; every other module is one family of programs. [`KINDS`] lists them.

mod app;
pub mod arq;
pub mod browser;
pub mod dns;
pub mod echo;
pub mod http;
pub mod pki;
pub mod primer;
pub mod quic;
pub mod rpc;
pub mod security;
pub mod tls;
pub mod tunnel;
pub mod units;
pub mod ws;

pub use app::{App, AppFuture, CommandError, Cx, Env, Lines, Problem, Ready, Sink, from_table};

use serde_json::{Map, Value};

/// A kind of program that a scenario can name with `app`.
pub struct Kind {
    /// As the file writes it.
    pub name: &'static str,
    /// One sentence for lists and errors.
    pub about: &'static str,
    /// Reads its table.
    pub read: ReadTable,
    /// The JSON schema of its table.
    pub schema: fn() -> schemars::Schema,
}

/// Reads a program's table: the program, or everything that is wrong with it.
pub type ReadTable = fn(&Map<String, Value>, &Env) -> Result<Ready, Vec<Problem>>;

/// All kinds, by name.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "arq-client",
        about: "sends one message over UDP, reliably: an ARQ in a program",
        read: arq::ArqClient::read,
        schema: || schemars::schema_for!(arq::ArqClient),
    },
    Kind {
        name: "arq-server",
        about: "receives such messages",
        read: from_table::<arq::ArqServer>,
        schema: || schemars::schema_for!(arq::ArqServer),
    },
    Kind {
        name: "cookie-thief",
        about: "collects what scripts bring it and uses it; in simulated worlds only",
        read: security::thief::read,
        schema: || schemars::schema_for!(security::thief::CookieThief),
    },
    Kind {
        name: "crypto-primer",
        about: "the parts that TLS is made of, one by one, with their sizes and speeds",
        read: from_table::<primer::CryptoPrimer>,
        schema: || schemars::schema_for!(primer::CryptoPrimer),
    },
    Kind {
        name: "datagram-tunnel",
        about: "one end of an encrypted tunnel for UDP between two gateways, over QUIC datagrams",
        read: tunnel::read,
        schema: || schemars::schema_for!(tunnel::DatagramTunnel),
    },
    Kind {
        name: "dns-forger",
        about: "answers DNS questions falsely, on the path or blindly; in simulated worlds only",
        read: dns::forger::read,
        schema: || schemars::schema_for!(dns::forger::DnsForger),
    },
    Kind {
        name: "dns-recursor",
        about: "a recursive DNS resolver with a cache and BIND's timings",
        read: dns::recursor::read,
        schema: || schemars::schema_for!(dns::recursor::DnsRecursor),
    },
    Kind {
        name: "dns-server",
        about: "an authoritative DNS server with zones as master-file text",
        read: dns::server::read,
        schema: || schemars::schema_for!(dns::server::DnsServer),
    },
    Kind {
        name: "echo",
        about: "the echo service of RFC 862 over TCP and UDP",
        read: from_table::<echo::Echo>,
        schema: || schemars::schema_for!(echo::Echo),
    },
    Kind {
        name: "event-comparison",
        about: "several such listeners at once, and a table of what they heard, how late and at what cost",
        read: http::listen::read_comparison,
        schema: || schemars::schema_for!(http::listen::EventComparison),
    },
    Kind {
        name: "event-listener",
        about: "hears a server's events by polling, long polling, server-sent events or WebSocket; how late, at what cost",
        read: http::listen::read_listener,
        schema: || schemars::schema_for!(http::listen::EventListener),
    },
    Kind {
        name: "getaddrinfo",
        about: "looks names up as programs do and prints what they get, and after how long",
        read: dns::getent::read,
        schema: || schemars::schema_for!(dns::getent::GetAddrInfo),
    },
    Kind {
        name: "grpc-client",
        about: "calls a gRPC server's methods, with deadlines and cancellation",
        read: rpc::grpc::read_client,
        schema: || schemars::schema_for!(rpc::grpc::GrpcClient),
    },
    Kind {
        name: "grpc-server",
        about: "a gRPC server: a calculator with unary and streaming methods",
        read: rpc::grpc::read_server,
        schema: || schemars::schema_for!(rpc::grpc::GrpcServer),
    },
    Kind {
        name: "honest-clients",
        about: "people who want a page while others attack, and a table of how many were served",
        read: security::honest::read,
        schema: || schemars::schema_for!(security::honest::HonestClients),
    },
    Kind {
        name: "http-flood",
        about: "takes a web server's places from others; in simulated worlds only",
        read: security::flood::read,
        schema: || schemars::schema_for!(security::flood::HttpFlood),
    },
    Kind {
        name: "http-proxy",
        about: "a reverse proxy with nginx's rules for 499, 502, 504 and the next upstream server",
        read: http::proxy::read,
        schema: || schemars::schema_for!(http::proxy::HttpProxy),
    },
    Kind {
        name: "http-server",
        about: "a web server with pages, handlers and limits: HTTP/1.0, 1.1 and 2",
        read: http::server::read,
        schema: || schemars::schema_for!(http::server::HttpServer),
    },
    Kind {
        name: "naive-cache",
        about: "a cache on the way that takes whatever looks like HTTP for HTTP, also in a WebSocket",
        read: http::naive_cache::read,
        schema: || schemars::schema_for!(http::naive_cache::NaiveCache),
    },
    Kind {
        name: "page-load",
        about: "fetches a page with its objects by one version of HTTP and tells what it cost",
        read: http::load::read_page_load,
        schema: || schemars::schema_for!(http::load::PageLoad),
    },
    Kind {
        name: "quic-client",
        about: "a QUIC connection and what is done with it, step by step",
        read: quic::QuicClient::read,
        schema: || schemars::schema_for!(quic::QuicClient),
    },
    Kind {
        name: "quic-replayer",
        about: "one on the way who says a QUIC client's first flight again",
        read: from_table::<quic::QuicReplayer>,
        schema: || schemars::schema_for!(quic::QuicReplayer),
    },
    Kind {
        name: "quic-server",
        about: "answers requests of HTTP/0.9 on QUIC streams",
        read: quic::QuicServer::read,
        schema: || schemars::schema_for!(quic::QuicServer),
    },
    Kind {
        name: "rpc-comparison",
        about: "the same calls by JSON over HTTP, gRPC and length-prefixed bytes, and a table of what they cost",
        read: rpc::read_comparison,
        schema: || schemars::schema_for!(rpc::RpcComparison),
    },
    Kind {
        name: "rpc-server",
        about: "a service that adds numbers, by length-prefixed bytes",
        read: from_table::<rpc::RpcServer>,
        schema: || schemars::schema_for!(rpc::RpcServer),
    },
    Kind {
        name: "ssl-stripper",
        about: "keeps clients on http and reads what passes; in simulated worlds only",
        read: security::stripper::read,
        schema: || schemars::schema_for!(security::stripper::SslStripper),
    },
    Kind {
        name: "tls-client",
        about: "says a line to a server behind TLS and tells what was agreed on and how long it took",
        read: tls::client::read,
        schema: || schemars::schema_for!(tls::client::TlsClient),
    },
    Kind {
        name: "tls-eavesdropper",
        about: "one on the way who listens now and gets the server's key later",
        read: tls::eavesdropper::read,
        schema: || schemars::schema_for!(tls::eavesdropper::TlsEavesdropper),
    },
    Kind {
        name: "tls-interceptor",
        about: "a man in the middle who speaks TLS to both sides",
        read: tls::interceptor::read,
        schema: || schemars::schema_for!(tls::interceptor::TlsInterceptor),
    },
    Kind {
        name: "tls-replayer",
        about: "one on the way who says again what he cannot read",
        read: tls::interceptor::read_replayer,
        schema: || schemars::schema_for!(tls::interceptor::TlsReplayer),
    },
    Kind {
        name: "tls-round-trips",
        about: "a table of the round trips that each way to set up a connection takes",
        read: tls::client::read_round_trips,
        schema: || schemars::schema_for!(tls::client::TlsRoundTrips),
    },
    Kind {
        name: "tls-server",
        about: "a service behind TLS that answers lines",
        read: tls::server::read,
        schema: || schemars::schema_for!(tls::server::TlsServer),
    },
    Kind {
        name: "tls-tunnel",
        about: "one end of a TLS tunnel between two gateways",
        read: tls::tunnel::read,
        schema: || schemars::schema_for!(tls::tunnel::TlsTunnel),
    },
    Kind {
        name: "token-forger",
        about: "tries to pass for somebody else with tokens of its own making; in simulated worlds only",
        read: security::forger::read,
        schema: || schemars::schema_for!(security::forger::TokenForger),
    },
    Kind {
        name: "ws-client",
        about: "opens a WebSocket and says, pings, fragments and closes, step by step",
        read: ws::read_client,
        schema: || schemars::schema_for!(ws::WsClient),
    },
    Kind {
        name: "ws-server",
        about: "a WebSocket server: echo, chat or a stream of events, with heartbeat and limits",
        read: ws::read_server,
        schema: || schemars::schema_for!(ws::WsServer),
    },
];

/// A command that a scenario can write with `run`.
pub struct Command {
    /// Its first word.
    pub name: &'static str,
    /// Reads its words, the first included.
    pub read: fn(&[String], &Env) -> Result<Ready, CommandError>,
}

/// All commands, by name.
pub const COMMANDS: &[Command] = &[
    Command { name: "browser", read: browser::command::read },
    Command { name: "curl", read: http::curl::read },
    Command { name: "dig", read: dns::dig::command },
    Command { name: "getent", read: dns::getent::command },
    Command { name: "host", read: dns::getent::host_command },
    Command { name: "openssl", read: tls::s_client::read },
];

/// The kind of this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The command of this name.
pub fn command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}
