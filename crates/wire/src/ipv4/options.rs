//! IPv4 options, kept as bytes and read one by one (RFC 791 §3.1, RFC 2113). Linux: ip_options.c.

use crate::ParseError;
use crate::field::{option_data, u16_at};
use core::fmt;

/// Up to 40 bytes of options with their padding, a multiple of four long.
#[derive(Clone, Copy)]
pub struct Options {
    bytes: [u8; 40],
    len: u8,
}

/// More than 40 bytes of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("options longer than 40 bytes")
    }
}

impl core::error::Error for TooLong {}

impl Options {
    /// No options.
    pub const EMPTY: Options = Options { bytes: [0; 40], len: 0 };

    /// A copy of `bytes`, padded with End of Option List to a multiple of four.
    pub fn from_bytes(bytes: &[u8]) -> Result<Options, TooLong> {
        if bytes.len() > 40 {
            return Err(TooLong);
        }
        let mut options = Options::from_padded(bytes);
        options.len = options.len.next_multiple_of(4);
        Ok(options)
    }

    /// `bytes` is at most 40 long.
    #[expect(clippy::cast_possible_truncation, reason = "at most 40")]
    pub(super) fn from_padded(bytes: &[u8]) -> Options {
        let mut options = Options::EMPTY;
        options.bytes[..bytes.len()].copy_from_slice(bytes);
        options.len = bytes.len() as u8;
        options
    }

    /// Bytes, padding included: 0 to 40.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// No options.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// Each option in order, with its offset from the start of the options.
    pub fn iter(&self) -> OptionIter<'_> {
        OptionIter { bytes: self.as_bytes(), at: 0, done: false }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::EMPTY
    }
}

impl PartialEq for Options {
    fn eq(&self, other: &Options) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Options {}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Options {
    type Item = Result<(usize, Opt<'a>), ParseError>;
    type IntoIter = OptionIter<'a>;
    fn into_iter(self) -> OptionIter<'a> {
        self.iter()
    }
}

/// One IPv4 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt<'a> {
    /// The list ends; what follows is padding.
    EndOfList,
    /// One byte of padding between options.
    Nop,
    /// Hops write their addresses here.
    RecordRoute {
        /// Offset of the next free slot from the start of the option, counted from 1 (so 4 is the first).
        pointer: u8,
        /// Slots of four bytes each.
        route: &'a [u8],
    },
    /// LSRR: these hops, with others in between.
    LooseSourceRoute {
        /// As for record route: the next hop to visit.
        pointer: u8,
        /// Slots of four bytes each.
        route: &'a [u8],
    },
    /// SSRR: exactly these hops.
    StrictSourceRoute {
        /// As for record route: the next hop to visit.
        pointer: u8,
        /// Slots of four bytes each.
        route: &'a [u8],
    },
    /// Hops write their time of day here.
    Timestamp {
        /// Offset of the next free slot, counted from 1 (so 5 is the first).
        pointer: u8,
        /// Hops that found no room.
        overflow: u8,
        /// 0 times only, 1 with addresses, 3 only at the addresses given.
        flag: u8,
        /// Slots of four or eight bytes each.
        data: &'a [u8],
    },
    /// Routers should look closer (RFC 2113); 0 is the only value in use.
    RouterAlert(u16),
    /// Any other.
    Unknown {
        /// Option type.
        kind: u8,
        /// What stands after its length.
        data: &'a [u8],
    },
}

/// Reads options one by one; stops after the first that does not fit.
#[derive(Clone, Debug)]
pub struct OptionIter<'a> {
    bytes: &'a [u8],
    at: usize,
    done: bool,
}

impl<'a> Iterator for OptionIter<'a> {
    type Item = Result<(usize, Opt<'a>), ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let at = self.at;
        let rest = &self.bytes[at..];
        match *rest.first()? {
            0 => {
                self.done = true;
                Some(Ok((at, Opt::EndOfList)))
            }
            1 => {
                self.at += 1;
                Some(Ok((at, Opt::Nop)))
            }
            kind => match option_data(rest) {
                Ok(data) => {
                    self.at += 2 + data.len();
                    Some(Ok((at, typed(kind, data))))
                }
                Err(value) => {
                    self.done = true;
                    Some(Err(ParseError::BadLength { what: "IPv4 option length", offset: at + 1, value }))
                }
            },
        }
    }
}

fn typed(kind: u8, data: &[u8]) -> Opt<'_> {
    match (kind, data) {
        (7, [pointer, route @ ..]) => Opt::RecordRoute { pointer: *pointer, route },
        (131, [pointer, route @ ..]) => Opt::LooseSourceRoute { pointer: *pointer, route },
        (137, [pointer, route @ ..]) => Opt::StrictSourceRoute { pointer: *pointer, route },
        (68, [pointer, of, data @ ..]) => {
            Opt::Timestamp { pointer: *pointer, overflow: of >> 4, flag: of & 15, data }
        }
        (148, [_, _]) => Opt::RouterAlert(u16_at(data, 0)),
        _ => Opt::Unknown { kind, data },
    }
}
