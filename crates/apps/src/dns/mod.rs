//! The Domain Name System: who answers, who asks on behalf of others, who asks for itself, and who lies.
//!
//! Messages and zones are hickory-proto's (RFC 1035, RFC 6891); what a server answers, how a resolver walks and how long
//! anybody waits is ours, because that is what a row shows, and because every ID, port and choice comes from the scenario's
//! seed.
//!
//! Map: `message` is how messages are answered, cut to size, framed and written down; `zone` is RFC 1034 §4.3.2 over
//! master-file text; `service` is UDP, TCP and TLS around anything that answers, `https` is HTTP around it; [`server`] is authoritative; `cache`,
//! `exchange` and [`recursor`] are the recursive resolver with BIND's timings; [`resolv_conf`] and [`stub`] are glibc's
//! `getaddrinfo`; [`dig`] and [`getent`] are commands; [`forger`] lies.

mod cache;
pub mod dig;
mod exchange;
pub mod forger;
pub mod getent;
mod https;
mod message;
mod random;
pub mod recursor;
pub mod resolv_conf;
pub mod server;
mod service;
pub mod stub;
mod zone;
