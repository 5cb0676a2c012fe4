//! Reads pcapng block by block: any byte order, any number of sections and interfaces.

use super::{BYTE_ORDER_MAGIC, Direction, SecretsType, block, option};
use crate::Instant;
use crate::capture::{CaptureError, LinkType};
use std::borrow::Cow;

/// An interface description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What its packets begin with.
    pub link_type: LinkType,
    /// Most bytes captured of a packet; 0 is no limit.
    pub snap_len: u32,
    /// Its name; empty when none was written.
    pub name: String,
    /// Its description; empty when none was written.
    pub description: String,
    resolution: Resolution,
    /// Added to time stamps, in seconds.
    offset_s: i64,
}

impl Interface {
    /// An interface of a format without descriptions.
    pub(crate) const fn bare(link_type: LinkType, snap_len: u32) -> Interface {
        Interface {
            link_type,
            snap_len,
            name: String::new(),
            description: String::new(),
            resolution: Resolution::Decimal(6),
            offset_s: 0,
        }
    }

    /// The time of a stamp of this interface, kept within what [`Instant`] can say.
    fn instant(&self, ticks: u64) -> Instant {
        let ns = match self.resolution {
            Resolution::Decimal(n @ 0..=9) => i128::from(ticks) * 10_i128.pow(9 - u32::from(n)),
            Resolution::Decimal(n @ 10..=28) => i128::from(ticks) / 10_i128.pow(u32::from(n) - 9),
            Resolution::Decimal(_) => 0, // more digits than a 64-bit stamp has
            Resolution::Binary(n) => (i128::from(ticks) * 1_000_000_000) >> n,
        };
        let ns = ns + i128::from(self.offset_s) * 1_000_000_000;
        Instant::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

/// A second has 10^n or 2^n ticks; n up to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    Decimal(u8),
    Binary(u8),
}

/// A packet of any of the packet blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Number of the interface in its section.
    pub interface: usize,
    /// When; simple packet blocks have no time.
    pub at: Option<Instant>,
    /// The bytes captured.
    pub bytes: &'a [u8],
    /// Bytes the packet had.
    pub original_len: u32,
    /// Which way it went.
    pub direction: Direction,
    /// Comments, in order.
    pub comments: Vec<Cow<'a, str>>,
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// A section begins; interfaces are counted anew.
    Section {
        /// shb_hardware.
        hardware: Cow<'a, str>,
        /// shb_os.
        os: Cow<'a, str>,
        /// shb_userappl.
        application: Cow<'a, str>,
        /// Comments on the section.
        comments: Vec<Cow<'a, str>>,
    },
    /// An interface.
    Interface(Interface),
    /// A packet.
    Packet(Packet<'a>),
    /// Keys for decryption.
    Secrets {
        /// Of what kind.
        kind: SecretsType,
        /// The keys.
        bytes: &'a [u8],
    },
    /// Any other block, not read.
    Other {
        /// Its type.
        kind: u32,
        /// What stands between its lengths.
        body: &'a [u8],
    },
}

/// Reads blocks one by one, each with its offset in the file; stops after the first error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Order,
    /// Of the current section.
    interfaces: Vec<Interface>,
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, b: &[u8], at: usize) -> u16 {
        let v = crate::field::u16_at(b, at);
        if self == Order::Little { v.swap_bytes() } else { v }
    }

    fn u32(self, b: &[u8], at: usize) -> u32 {
        let v = crate::field::u32_at(b, at);
        if self == Order::Little { v.swap_bytes() } else { v }
    }
}

/// The body of a block, and where it stands in the file.
#[derive(Clone, Copy)]
struct Body<'a> {
    bytes: &'a [u8],
    offset: usize,
    order: Order,
}

impl<'a> Body<'a> {
    fn need(&self, what: &'static str, n: usize) -> Result<(), CaptureError> {
        if self.bytes.len() < n {
            return Err(CaptureError::Truncated {
                offset: self.offset,
                what,
                need: n,
                have: self.bytes.len(),
            });
        }
        Ok(())
    }

    /// Options from byte `at` of the body on. What does not fit ends them: readers are lenient here, as
    /// files in the wild leave out the end of options and even padding.
    fn options(self, at: usize) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.bytes.get(at..).unwrap_or(&[]);
        core::iter::from_fn(move || {
            let head = rest.get(..4)?;
            let (code, len) = (self.order.u16(head, 0), usize::from(self.order.u16(head, 2)));
            let value = rest.get(4..4 + len)?;
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
            (code != option::END).then_some((code, value))
        })
    }
}

impl<'a> Reader<'a> {
    /// Reads from the section header at the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, order: Order::Little, interfaces: Vec::new(), failed: false }
    }

    fn step(&mut self) -> Result<Block<'a>, CaptureError> {
        let offset = self.at;
        let rest = &self.bytes[offset..];
        let truncated =
            |need: usize| CaptureError::Truncated { offset, what: "pcapng block", need, have: rest.len() };
        if rest.len() < 12 {
            return Err(truncated(12));
        }
        // The section header's type reads the same in both orders; its magic tells which one follows.
        if crate::field::u32_at(rest, 0) == block::SECTION_HEADER {
            self.order = match crate::field::u32_at(rest, 8) {
                BYTE_ORDER_MAGIC => Order::Big,
                m if m.swap_bytes() == BYTE_ORDER_MAGIC => Order::Little,
                value => return Err(CaptureError::BadMagic { offset: offset + 8, value }),
            };
        } else if offset == 0 {
            return Err(CaptureError::UnknownFormat { first: crate::field::u32_at(rest, 0) });
        }
        let kind = self.order.u32(rest, 0);
        let len = self.order.u32(rest, 4) as usize; // at least 32 bits wide
        if len < 12 || !len.is_multiple_of(4) {
            return Err(CaptureError::BadLength { offset: offset + 4, what: "pcapng block", value: len });
        }
        let whole = rest.get(..len).ok_or_else(|| truncated(len))?;
        let trailing = self.order.u32(whole, len - 4) as usize;
        if trailing != len {
            let what = "pcapng block's trailing length";
            return Err(CaptureError::BadLength { offset: offset + len - 4, what, value: trailing });
        }
        let body = Body { bytes: &whole[8..len - 4], offset: offset + 8, order: self.order };
        let block = self.block(kind, body)?;
        self.at += len;
        Ok(block)
    }

    fn block(&mut self, kind: u32, body: Body<'a>) -> Result<Block<'a>, CaptureError> {
        match kind {
            block::SECTION_HEADER => self.section(body),
            block::INTERFACE => self.interface(body),
            block::ENHANCED_PACKET => {
                body.need("enhanced packet block", 20)?;
                let id = body.order.u32(body.bytes, 0);
                self.stamped_packet(body, id)
            }
            block::PACKET => {
                body.need("packet block", 20)?;
                let id = body.order.u16(body.bytes, 0).into();
                self.stamped_packet(body, id)
            }
            block::SIMPLE_PACKET => self.simple_packet(body),
            block::SECRETS => {
                body.need("decryption secrets block", 8)?;
                let kind = SecretsType(body.order.u32(body.bytes, 0));
                let len = body.order.u32(body.bytes, 4) as usize; // at least 32 bits wide
                body.need("decryption secrets", len.saturating_add(8))?;
                Ok(Block::Secrets { kind, bytes: &body.bytes[8..8 + len] })
            }
            kind => Ok(Block::Other { kind, body: body.bytes }),
        }
    }

    fn section(&mut self, body: Body<'a>) -> Result<Block<'a>, CaptureError> {
        body.need("section header block", 16)?;
        let major = body.order.u16(body.bytes, 4);
        if major != 1 {
            return Err(CaptureError::BadVersion { offset: body.offset + 4, value: major });
        }
        self.interfaces.clear();
        let (mut hardware, mut os, mut application) = (Cow::default(), Cow::default(), Cow::default());
        let mut comments = Vec::new();
        for (code, value) in body.options(16) {
            match code {
                option::COMMENT => comments.push(text(value)),
                option::SHB_HARDWARE => hardware = text(value),
                option::SHB_OS => os = text(value),
                option::SHB_APPLICATION => application = text(value),
                _ => {}
            }
        }
        Ok(Block::Section { hardware, os, application, comments })
    }

    fn interface(&mut self, body: Body<'a>) -> Result<Block<'a>, CaptureError> {
        body.need("interface description block", 8)?;
        let link_type = LinkType(body.order.u16(body.bytes, 0));
        let mut interface = Interface::bare(link_type, body.order.u32(body.bytes, 4));
        for (code, value) in body.options(8) {
            match (code, value) {
                (option::IF_NAME, _) => interface.name = text(value).into_owned(),
                (option::IF_DESCRIPTION, _) => interface.description = text(value).into_owned(),
                (option::IF_TSRESOL, [n, ..]) => {
                    interface.resolution =
                        if n & 0x80 == 0 { Resolution::Decimal(*n) } else { Resolution::Binary(n & 0x7f) };
                }
                (option::IF_TSOFFSET, [_, _, _, _, _, _, _, _]) => {
                    let v: [u8; 8] = crate::field::array(value, 0);
                    interface.offset_s = match body.order {
                        Order::Little => i64::from_le_bytes(v),
                        Order::Big => i64::from_be_bytes(v),
                    };
                }
                _ => {}
            }
        }
        self.interfaces.push(interface.clone());
        Ok(Block::Interface(interface))
    }

    fn interface_of(&self, body: Body<'_>, id: u32) -> Result<(usize, &Interface), CaptureError> {
        let unknown =
            CaptureError::UnknownInterface { offset: body.offset, id, known: self.interfaces.len() };
        let index = id as usize; // at least 32 bits wide
        self.interfaces.get(index).map(|i| (index, i)).ok_or(unknown)
    }

    /// Enhanced and obsolete packet blocks differ only in the width of the interface.
    fn stamped_packet(&self, body: Body<'a>, id: u32) -> Result<Block<'a>, CaptureError> {
        let (index, interface) = self.interface_of(body, id)?;
        let word = |at| body.order.u32(body.bytes, at);
        let ticks = (u64::from(word(4)) << 32) | u64::from(word(8));
        let captured = word(12) as usize; // at least 32 bits wide
        body.need("captured packet", captured.saturating_add(20))?;
        let mut packet = Packet {
            interface: index,
            at: Some(interface.instant(ticks)),
            bytes: &body.bytes[20..20 + captured],
            original_len: word(16),
            direction: Direction::Unknown,
            comments: Vec::new(),
        };
        for (code, value) in body.options(20 + captured.next_multiple_of(4)) {
            match (code, value) {
                (option::COMMENT, _) => packet.comments.push(text(value)),
                (option::EPB_FLAGS, [_, _, _, _]) => {
                    packet.direction = match body.order.u32(value, 0) & 3 {
                        1 => Direction::Inbound,
                        2 => Direction::Outbound,
                        _ => Direction::Unknown,
                    };
                }
                _ => {}
            }
        }
        Ok(Block::Packet(packet))
    }

    /// Of the first interface, without a time or options, cut to its snap length.
    fn simple_packet(&self, body: Body<'a>) -> Result<Block<'a>, CaptureError> {
        body.need("simple packet block", 4)?;
        let (index, interface) = self.interface_of(body, 0)?;
        let original_len = body.order.u32(body.bytes, 0);
        let limit = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let captured = original_len.min(limit) as usize; // at least 32 bits wide
        body.need("captured packet", captured.saturating_add(4))?;
        Ok(Block::Packet(Packet {
            interface: index,
            at: None,
            bytes: &body.bytes[4..4 + captured],
            original_len,
            direction: Direction::Unknown,
            comments: Vec::new(),
        }))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(usize, Block<'a>), CaptureError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.bytes.len() {
            return None;
        }
        let offset = self.at;
        let step = self.step();
        self.failed = step.is_err();
        Some(step.map(|block| (offset, block)))
    }
}

/// Texts are UTF-8; what is not becomes replacement characters.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
