//! Why a connection ended (RFC 6455 §7.4), and which code an error of the peer deserves.

use core::fmt;

use tokio_tungstenite::tungstenite::Error;

/// Who closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// We sent the first Close frame.
    Us,
    /// We did, because the peer broke the protocol: what it says to that is not looked at (RFC 6455 §7.1.7).
    Failure,
    /// The peer did.
    Peer,
    /// Nobody: the connection broke.
    Nobody,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the first Close frame; 1005 when it had none, 1006 when there was no such frame.
    pub code: u16,
    /// The reason beside it.
    pub reason: String,
    /// Who sent that frame.
    pub by: By,
    /// Whether the other side answered it with its own.
    pub clean: bool,
}

impl Closed {
    /// Without a Close frame.
    pub(super) fn broken(why: impl fmt::Display) -> Closed {
        Closed { code: ABNORMAL, reason: why.to_string(), by: By::Nobody, clean: false }
    }
}

/// `by the peer: 1001 going away "see you", answered`.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = code_name(self.code);
        match self.by {
            By::Us | By::Failure => write!(f, "by us: {} {name}", self.code)?,
            By::Peer => write!(f, "by the peer: {} {name}", self.code)?,
            By::Nobody => return write!(f, "{} {name}: {}", self.code, self.reason),
        }
        if !self.reason.is_empty() {
            write!(f, " {:?}", self.reason)?;
        }
        match (self.by, self.clean) {
            (By::Failure, _) => Ok(()),
            (_, true) => f.write_str(", answered"),
            (_, false) => f.write_str(", not answered"),
        }
    }
}

/// A Close frame without a code (never sent).
pub(super) const NO_CODE: u16 = 1005;
/// No Close frame (never sent).
pub(super) const ABNORMAL: u16 = 1006;
/// The heartbeat failed, or another condition that the server did not expect.
pub(super) const INTERNAL: u16 = 1011;

/// A code's name in IANA's register.
pub fn code_name(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1005 => "no status",
        1006 => "abnormal closure",
        1007 => "invalid payload data",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "mandatory extension",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        1015 => "TLS handshake",
        3000..=3999 => "registered",
        4000..=4999 => "private",
        _ => "reserved",
    }
}

/// Whether a Close frame may carry it (RFC 6455 §7.4).
pub(super) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What a peer's error is answered with, and the reason; `None` when there is nobody to answer.
pub(super) fn answer_to(error: &Error) -> Option<(u16, String)> {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(why) => Some((1002, why.to_string())),
        Error::Utf8(why) => Some((1007, why.clone())),
        Error::Capacity(why) => Some((1009, why.to_string())),
        _ => None,
    }
}
