//! Why bytes could not be read as a header: what was being read, where, and what stood there.

use core::fmt;

/// Bytes that are not what a header must be. Never a panic: any bytes may arrive from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Fewer bytes than the header (or what it announces) needs.
    Truncated {
        /// The header or field, as `"IPv4 header"`.
        what: &'static str,
        /// Bytes needed, from the start of that header.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// A length field contradicts the header it stands in.
    BadLength {
        /// The field, as `"IPv4 total length"`.
        what: &'static str,
        /// Its offset from the start of the header.
        offset: usize,
        /// The value found.
        value: usize,
    },
    /// A version field holds another version than the parser reads.
    BadVersion {
        /// The header.
        what: &'static str,
        /// The version found.
        found: u8,
    },
    /// A field holds a value that the protocol does not allow.
    BadValue {
        /// The field.
        what: &'static str,
        /// Its offset from the start of the header.
        offset: usize,
        /// The value found.
        value: u32,
    },
    /// More headers, options or tunnels inside each other than this library follows.
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl ParseError {
    /// The header or field that could not be read.
    pub const fn what(&self) -> &'static str {
        match self {
            ParseError::Truncated { what, .. }
            | ParseError::BadLength { what, .. }
            | ParseError::BadVersion { what, .. }
            | ParseError::BadValue { what, .. }
            | ParseError::TooMany { what, .. } => what,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ParseError::Truncated { what, need, have } => {
                write!(f, "{what} truncated: {need} bytes needed, {have} there")
            }
            ParseError::BadLength { what, offset, value } => {
                write!(f, "{what} (byte {offset}) cannot be {value}")
            }
            ParseError::BadVersion { what, found } => write!(f, "{what} of version {found}"),
            ParseError::BadValue { what, offset, value } => {
                write!(f, "{what} (byte {offset}) cannot be {value:#x}")
            }
            ParseError::TooMany { what, limit } => write!(f, "more than {limit} {what}"),
        }
    }
}

impl core::error::Error for ParseError {}
