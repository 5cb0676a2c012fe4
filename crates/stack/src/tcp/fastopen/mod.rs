//! TCP Fast Open (RFC 7413): data in the SYN, allowed by a cookie of an earlier connection.
//!
//! | file | about |
//! |---|---|
//! | `client` | cookies asked for and used, what the SYN-ACK says of them |
//! | `server` | connections made from a SYN alone, their SYN-ACK timer, the queue's limit |
//! | `keys` | `tcp_fastopen_key`, and the cookies that it makes |
//! | `blackhole` | middleboxes that swallow such connections |
//!
//! Linux: net/ipv4/tcp_fastopen.c; tcp.c `tcp_sendmsg_fastopen`; tcp_output.c `tcp_send_syn_data`.

mod blackhole;
mod client;
pub(crate) mod keys;
mod server;

use wire::tcp::{FastOpen as WireOption, Opt, Options};

pub(crate) use blackhole::Blackhole;
pub(crate) use client::Request;
pub(crate) use server::Removed;

use super::request::RequestSock;

/// Bits of `tcp_fastopen` (include/net/tcp.h).
pub(crate) const CLIENT_ENABLE: i32 = 0x1;
pub(crate) const SERVER_ENABLE: i32 = 0x2;
/// Data in the SYN without any cookie.
pub(crate) const CLIENT_NO_COOKIE: i32 = 0x4;
/// A SYN's data is taken without a cookie.
pub(crate) const SERVER_COOKIE_NOT_REQD: i32 = 0x200;
/// Every listener is one for Fast Open, without `TCP_FASTOPEN`.
pub(crate) const SERVER_WO_SOCKOPT1: i32 = 0x400;

/// `TCP_FASTOPEN_COOKIE_MIN`, `TCP_FASTOPEN_COOKIE_MAX`
const COOKIE_LENGTHS: core::ops::RangeInclusive<usize> = 4..=16;

/// What a Fast Open option holds, or that there is none (`struct tcp_fastopen_cookie`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// `None`: no option; 0: a request for a cookie.
    len: Option<u8>,
    bytes: [u8; 16],
    /// In the experimental option (254, 0xF989).
    pub(crate) experimental: bool,
}

impl Cookie {
    /// No option.
    pub(crate) const NONE: Cookie = Cookie { len: None, bytes: [0; 16], experimental: false };
    /// A request for a cookie.
    pub(crate) const REQUEST: Cookie = Cookie { len: Some(0), bytes: [0; 16], experimental: false };

    /// A cookie of 4 to 16 bytes.
    pub(crate) fn new(bytes: &[u8]) -> Cookie {
        assert!(COOKIE_LENGTHS.contains(&bytes.len()), "the caller checked its length");
        let mut cookie = Cookie { len: Some(bytes.len() as u8), ..Cookie::NONE }; // at most 16
        cookie.bytes[..bytes.len()].copy_from_slice(bytes);
        cookie
    }

    /// Reads the option of a segment with SYN (`tcp_parse_fastopen_option`): of several the last one counts, one of odd
    /// length is passed over, one of a wrong length is none.
    pub(crate) fn read(options: &Options) -> Cookie {
        let mut found = Cookie::NONE;
        if options.fast_open().is_none() {
            return found;
        }
        for (_, option) in options.iter() {
            let Opt::FastOpen(option) = option else { continue };
            let len = option.cookie.len();
            if len % 2 == 1 {
                continue;
            }
            found = match len {
                0 => Cookie::REQUEST,
                n if COOKIE_LENGTHS.contains(&n) => Cookie::new(option.cookie),
                _ => Cookie::NONE,
            };
            found.experimental = option.experimental;
        }
        found
    }

    /// The option to send; `None` for none.
    pub(crate) fn option(&self) -> Option<WireOption<'_>> {
        let len = usize::from(self.len?);
        Some(WireOption { cookie: &self.bytes[..len], experimental: self.experimental })
    }

    /// The cookie's bytes; empty for a request or no option.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len.unwrap_or(0))]
    }

    /// There is an option.
    pub(crate) fn is_some(&self) -> bool {
        self.len.is_some()
    }

    /// It asks for a cookie.
    pub(crate) fn is_request(&self) -> bool {
        self.len == Some(0)
    }

    /// It holds a cookie.
    pub(crate) fn is_cookie(&self) -> bool {
        self.len.is_some_and(|n| n > 0)
    }
}

/// Why the data in the SYN was of no use (`enum tcp_fastopen_client_fail`, `tcpi_fastopen_client_fail`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientFail {
    /// `TFO_STATUS_UNSPEC`
    #[default]
    Unspecified = 0,
    /// `TFO_COOKIE_UNAVAILABLE`
    CookieUnavailable = 1,
    /// `TFO_DATA_NOT_ACKED`
    DataNotAcked = 2,
    /// `TFO_SYN_RETRANSMITTED`
    SynRetransmitted = 3,
}

/// Fast Open state of one connection.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are Linux's bits, one for one")]
pub(crate) struct FastOpen {
    /// A server's connection whose handshake is not complete: what its SYN-ACK is made from (`fastopen_rsk`).
    pub(crate) pending: Option<Box<RequestSock>>,
    /// A `sendmsg` or `connect` that opens it is under way (`fastopen_req`).
    pub(crate) request: Option<Box<Request>>,
    /// `connect` returned, the SYN waits for the first write (`DEFER_CONNECT`).
    pub(crate) deferred: bool,
    /// `TCP_FASTOPEN_CONNECT`: `connect` waits for data when it may.
    pub(crate) connect: bool,
    /// No cookie is asked for or needed (`TCP_FASTOPEN_NO_COOKIE`).
    pub(crate) no_cookie: bool,
    /// The SYN carried the option (`syn_fastopen`), in its experimental form.
    pub(crate) option_sent: bool,
    pub(crate) experimental: bool,
    /// Fast Open was in disgrace lately: success rehabilitates it (`syn_fastopen_ch`).
    pub(crate) on_probation: bool,
    /// Made from a SYN (`syn_fastopen_child`).
    pub(crate) child: bool,
    /// The SYN carried data (`syn_data`), and all of it was taken (`syn_data_acked`).
    pub(crate) syn_data: bool,
    pub(crate) syn_data_acked: bool,
    pub(crate) client_fail: ClientFail,
}

impl FastOpen {
    /// `tcp_passive_fastopen`: data may be sent though the third ACK has not come.
    pub(crate) fn server_pending(&self) -> bool {
        self.pending.is_some()
    }
}

/// What a socket says about Fast Open before it is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prep {
    /// `TCP_FASTOPEN`: connections whose handshake is not complete that a listener bears (`fastopenq.max_qlen`).
    pub(crate) max_qlen: u32,
    /// `TCP_FASTOPEN_KEY`
    pub(crate) keys: Option<Box<keys::Keys>>,
    /// `TCP_FASTOPEN_CONNECT`
    pub(crate) connect: bool,
    /// `TCP_FASTOPEN_NO_COOKIE`
    pub(crate) no_cookie: bool,
}

impl Prep {
    /// There is something that a connection does not inherit.
    pub(crate) fn has_queue(&self) -> bool {
        self.max_qlen != 0 || self.keys.is_some()
    }

    /// What a connection inherits from its listener: `inet_csk_clone_lock` clears the queue's part.
    pub(crate) fn inherited(&self) -> Prep {
        Prep { connect: self.connect, no_cookie: self.no_cookie, ..Prep::default() }
    }
}

/// `struct fastopen_queue` of a listener.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Connections without their third ACK, and those that a RST ended less than a minute ago.
    pub(crate) qlen: u32,
    /// Until when each of the latter counts, oldest first; at most `max_qlen` of them.
    pub(crate) reset: std::collections::VecDeque<wire::Instant>,
}
