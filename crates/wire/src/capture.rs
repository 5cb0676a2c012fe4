//! Captures of either format, read whole: [`read`].

use crate::pcapng::{self, Block, Direction, Interface, SecretsType};
use crate::{Instant, Medium, packet, pcap};
use core::fmt;
use std::borrow::Cow;

/// What a captured packet begins with (tcpdump.org/linktypes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: a protocol family of four bytes in the capturing machine's order.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// `DLT_RAW` as some systems write it to files.
    pub const DLT_RAW: LinkType = LinkType(12);
    /// IPv4 or IPv6.
    pub const RAW: LinkType = LinkType(101);
    /// OpenBSD loopback: as [`LinkType::NULL`] in network order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux "cooked" capture, as of the `any` device.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// IPv4.
    pub const IPV4: LinkType = LinkType(228);
    /// IPv6.
    pub const IPV6: LinkType = LinkType(229);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: LinkType = LinkType(276);

    /// For captures of a medium.
    pub const fn of(medium: Medium) -> LinkType {
        match medium {
            Medium::Ethernet => LinkType::ETHERNET,
            Medium::Ip => LinkType::RAW,
        }
    }

    /// `bytes` without a pseudo header, and what they begin with. `None` when this library does not read
    /// the link type, or the pseudo header announces something else than IP.
    pub fn strip(self, bytes: &[u8]) -> Option<(Medium, &[u8])> {
        let header = match self {
            LinkType::ETHERNET => return Some((Medium::Ethernet, bytes)),
            LinkType::RAW | LinkType::DLT_RAW | LinkType::IPV4 | LinkType::IPV6 => 0,
            LinkType::NULL | LinkType::LOOP => 4,
            LinkType::LINUX_SLL if is_ip(bytes.get(14..16)?) => 16,
            LinkType::LINUX_SLL2 if is_ip(bytes.get(0..2)?) => 20,
            _ => return None,
        };
        let ip = bytes.get(header..)?;
        matches!(ip.first()? >> 4, 4 | 6).then_some((Medium::Ip, ip))
    }
}

fn is_ip(ethertype: &[u8]) -> bool {
    matches!(ethertype, [0x08, 0x00] | [0x86, 0xdd])
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            LinkType::NULL => "NULL",
            LinkType::ETHERNET => "ETHERNET",
            LinkType::RAW | LinkType::DLT_RAW => "RAW",
            LinkType::LOOP => "LOOP",
            LinkType::LINUX_SLL => "LINUX_SLL",
            LinkType::IPV4 => "IPV4",
            LinkType::IPV6 => "IPV6",
            LinkType::LINUX_SLL2 => "LINUX_SLL2",
            LinkType(n) => return write!(f, "link type {n}"),
        };
        f.pad(name)
    }
}

/// Why a file, or the rest of it, could not be read. Offsets are bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "offset is where in the file, value what stood there")]
pub enum CaptureError {
    /// No bytes at all.
    Empty,
    /// Neither pcapng nor pcap; `first` is the first four bytes.
    UnknownFormat { first: u32 },
    /// The file ends inside something.
    Truncated { offset: usize, what: &'static str, need: usize, have: usize },
    /// A length that cannot be.
    BadLength { offset: usize, what: &'static str, value: usize },
    /// A section header without the byte-order magic.
    BadMagic { offset: usize, value: u32 },
    /// A major version this library does not read.
    BadVersion { offset: usize, value: u16 },
    /// A packet of an interface that was not described; `known` were.
    UnknownInterface { offset: usize, id: u32, known: usize },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CaptureError::Empty => f.write_str("the file is empty"),
            CaptureError::UnknownFormat { first } => {
                write!(f, "byte 0: neither pcapng nor pcap: the file begins with {first:08x}")?;
                match first >> 16 {
                    0x1f8b => f.write_str(" (gzip: unpack it first)"),
                    0x28b5 => f.write_str(" (zstd: unpack it first)"),
                    _ => Ok(()),
                }
            }
            CaptureError::Truncated { offset, what, need, have } => {
                write!(f, "byte {offset}: the file ends inside a {what}: {need} bytes needed, {have} there")
            }
            CaptureError::BadLength { offset, what, value } => {
                write!(f, "byte {offset}: a {what} cannot be {value} bytes")
            }
            CaptureError::BadMagic { offset, value } => {
                write!(f, "byte {offset}: {value:08x} is no byte-order magic")
            }
            CaptureError::BadVersion { offset, value } => {
                write!(f, "byte {offset}: version {value} is not known")
            }
            CaptureError::UnknownInterface { offset, id, known } => {
                write!(f, "byte {offset}: interface {id} of {known} described")
            }
        }
    }
}

impl core::error::Error for CaptureError {}

/// Which format a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// pcapng.
    PcapNg,
    /// Classic pcap.
    Pcap,
}

/// A captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedPacket<'a> {
    /// Index into [`Capture::interfaces`].
    pub interface: usize,
    /// What `bytes` begins with.
    pub link_type: LinkType,
    /// When. A pcapng simple packet block has no time: it gets that of the packet before it.
    pub at: Instant,
    /// The bytes captured.
    pub bytes: &'a [u8],
    /// Bytes the packet had.
    pub original_len: u32,
    /// Which way it went through the interface.
    pub direction: Direction,
    /// Comments, in order.
    pub comments: Vec<Cow<'a, str>>,
    /// Where its block or header begins in the file.
    pub offset: usize,
}

impl<'a> CapturedPacket<'a> {
    /// The packet's headers; `None` for a link type that is not read (see [`LinkType::strip`]).
    pub fn parse(&self) -> Option<packet::Packet<'a>> {
        let (medium, bytes) = self.link_type.strip(self.bytes)?;
        Some(packet::Packet::parse(bytes, medium))
    }
}

/// Keys for decryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secrets<'a> {
    /// Of what kind.
    pub kind: SecretsType,
    /// The keys.
    pub bytes: &'a [u8],
}

/// A capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture<'a> {
    /// Its format.
    pub format: Format,
    /// The program that wrote it, as the last section says; empty when it does not.
    pub application: Cow<'a, str>,
    /// Comments on whole sections.
    pub comments: Vec<Cow<'a, str>>,
    /// The interfaces of all sections, one after the other.
    pub interfaces: Vec<Interface>,
    /// The packets in the order of the file.
    pub packets: Vec<CapturedPacket<'a>>,
    /// Keys for decryption.
    pub secrets: Vec<Secrets<'a>>,
    /// Type and offset of blocks that were not read (names, statistics, unknown ones).
    pub skipped_blocks: Vec<(u32, usize)>,
    /// Why reading stopped before the end of the file: what stands above is what came before.
    pub problem: Option<CaptureError>,
}

/// Reads a pcapng or pcap file, told apart by its first bytes. `Err` only when not even its header can
/// be read; damage later on is [`Capture::problem`].
pub fn read(bytes: &[u8]) -> Result<Capture<'_>, CaptureError> {
    if bytes.is_empty() {
        return Err(CaptureError::Empty);
    }
    if pcap::Reader::recognises(bytes) { read_pcap(bytes) } else { read_pcapng(bytes) }
}

fn empty<'a>(format: Format) -> Capture<'a> {
    Capture {
        format,
        application: Cow::default(),
        comments: Vec::new(),
        interfaces: Vec::new(),
        packets: Vec::new(),
        secrets: Vec::new(),
        skipped_blocks: Vec::new(),
        problem: None,
    }
}

fn read_pcap(bytes: &[u8]) -> Result<Capture<'_>, CaptureError> {
    let reader = pcap::Reader::new(bytes)?;
    let mut capture = empty(Format::Pcap);
    let link_type = reader.link_type();
    capture.interfaces.push(Interface::bare(link_type, reader.snap_len()));
    for item in reader {
        match item {
            Ok((offset, packet)) => capture.packets.push(CapturedPacket {
                interface: 0,
                link_type,
                at: packet.at,
                bytes: packet.bytes,
                original_len: packet.original_len,
                direction: Direction::Unknown,
                comments: Vec::new(),
                offset,
            }),
            Err(error) => capture.problem = Some(error),
        }
    }
    Ok(capture)
}

fn read_pcapng(bytes: &[u8]) -> Result<Capture<'_>, CaptureError> {
    let mut capture = empty(Format::PcapNg);
    let mut first_of_section = 0;
    let mut last = Instant::ZERO;
    for (i, item) in pcapng::Reader::new(bytes).enumerate() {
        let (offset, block) = match item {
            Ok(block) => block,
            Err(error) if i == 0 => return Err(error),
            Err(error) => {
                capture.problem = Some(error);
                break;
            }
        };
        match block {
            Block::Section { application, comments, .. } => {
                first_of_section = capture.interfaces.len();
                capture.application = application;
                capture.comments.extend(comments);
            }
            Block::Interface(interface) => capture.interfaces.push(interface),
            Block::Packet(packet) => {
                let interface = first_of_section + packet.interface;
                last = packet.at.unwrap_or(last);
                capture.packets.push(CapturedPacket {
                    interface,
                    link_type: capture.interfaces[interface].link_type,
                    at: last,
                    bytes: packet.bytes,
                    original_len: packet.original_len,
                    direction: packet.direction,
                    comments: packet.comments,
                    offset,
                });
            }
            Block::Secrets { kind, bytes } => capture.secrets.push(Secrets { kind, bytes }),
            Block::Other { kind, .. } => capture.skipped_blocks.push((kind, offset)),
        }
    }
    Ok(capture)
}
