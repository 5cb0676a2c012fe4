//! TCP: RFC 9293 as Linux does it.
//!
//! ```text
//! tcp_rcv (demux) ─▶ TcpSock { Tcb }  ── segments ─▶ glue ─▶ IP
//!                 ├▶ RequestSock (SYN queue) ─ third ACK ─▶ child ─▶ accept queue of a Listener
//!                 ├▶ TimeWaitSock
//!                 └▶ Listener ─▶ RequestSock, or a cookie
//! ```
//!
//! A connection is a [`tcb::Tcb`] whose methods take a [`cx::Cx`]: time, settings and counters come in, segments, timers
//! and wake-ups go out; [`glue`] takes such a step and carries its effects on. Only `input`, `output`, `timer` and
//! `close` sequence things; every other file answers one question.
//!
//! | files | about |
//! |---|---|
//! | `sock`, `tables`, `bind`, `ports`, `demux`, `glue`, `short`, `ways`, `spare` | the four kinds of socket, who owns a tuple or a port |
//! | `call`, `send`, `recv`, `info` | what system calls do |
//! | `connect`, `listen`, `request`, `child`, `syncookie`, `options`, `isn`, `fastopen/`, `metrics` | opening |
//! | `input`, `validate`, `ack`, `sack`, `urgent`, `ecn`, `rx/` | what arrives |
//! | `output`, `nagle`, `build`, `rtx`, `skb`, `send_buffer`, `retransmit`, `mtuprobe` | what is sent |
//! | `recovery/`, `rtt`, `rto`, `rate`, `cc/` | losing and repairing |
//! | `mem`, `notes` | what queues cost the host; what a sender is told afterwards |
//! | `timer`, `persist`, `keepalive` | waiting |
//! | `close`, `reset`, `time_wait`, `tw` | ending |
pub(crate) mod ack;
pub(crate) mod bind;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod cc;
pub(crate) mod child;
pub(crate) mod chrono;
pub(crate) mod close;
pub(crate) mod connect;
pub(crate) mod cx;
pub(crate) mod demux;
pub(crate) mod ecn;
pub(crate) mod fastopen;
pub(crate) mod glue;
pub(crate) mod info;
pub(crate) mod input;
pub(crate) mod isn;
pub(crate) mod keepalive;
pub(crate) mod listen;
pub(crate) mod mem;
pub(crate) mod metrics;
pub(crate) mod mtuprobe;
pub(crate) mod nagle;
pub(crate) mod notes;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod persist;
pub(crate) mod ports;
pub(crate) mod rate;
pub(crate) mod recovery;
pub(crate) mod recv;
pub(crate) mod recycle;
pub(crate) mod request;
pub(crate) mod reset;
pub(crate) mod retransmit;
pub(crate) mod rto;
pub(crate) mod rtt;
pub(crate) mod rtx;
pub(crate) mod rx;
pub(crate) mod sack;
pub(crate) mod send;
pub(crate) mod send_buffer;
pub(crate) mod shared;
pub(crate) mod short;
pub(crate) mod skb;
pub(crate) mod sock;
pub(crate) mod spare;
pub(crate) mod syncookie;
pub(crate) mod tables;
pub(crate) mod tcb;
#[cfg(test)]
mod tests;
pub(crate) mod time_wait;
pub(crate) mod timer;
pub(crate) mod tw;
pub(crate) mod urgent;
pub(crate) mod validate;
pub(crate) mod ways;

/// Names a socket of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpId(pub(crate) u32);
