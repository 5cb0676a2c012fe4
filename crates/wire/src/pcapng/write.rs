//! Writes pcapng: little-endian, nanosecond time stamps, one growing buffer and no allocation per packet.

use super::{BYTE_ORDER_MAGIC, Direction, SecretsType, block, option};
use crate::capture::LinkType;
use crate::{Frame, Instant};
use core::net::IpAddr;
use std::io::{self, Write};

/// Bytes gathered before they are written out.
const FLUSH_AT: usize = 64 * 1024;

/// What the section header says about where the capture comes from; empty texts are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct SectionInfo<'a> {
    /// The machine.
    pub hardware: &'a str,
    /// The operating system, or what stood for it.
    pub os: &'a str,
    /// The program that wrote the file.
    pub application: &'a str,
    /// A comment on the whole capture.
    pub comment: &'a str,
}

/// All about a packet but its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketInfo<'a> {
    /// The interface, as [`Writer::interface`] returned it.
    pub interface: u32,
    /// When.
    pub at: Instant,
    /// Which way.
    pub direction: Direction,
    /// Bytes the packet had; 0 for as many as are written.
    pub original_len: usize,
    /// Any number of comments; each is cut to 65,535 bytes.
    pub comments: &'a [&'a str],
}

/// Writes one section. Call [`Writer::finish`] at the end; dropping the writer loses what is buffered.
///
/// ```
/// use wire::pcapng::{PacketInfo, SectionInfo, Writer};
/// use wire::{Instant, capture::{self, LinkType}};
/// let mut writer = Writer::new(Vec::new(), &SectionInfo { application: "example", ..Default::default() }).unwrap();
/// let eth0 = writer.interface("client:eth0", "", LinkType::RAW).unwrap();
/// let info = PacketInfo { interface: eth0, at: Instant::from_nanos(5), comments: &["why"], ..Default::default() };
/// writer.packet(&info, &[0x45, 0, 0, 20]).unwrap();
/// let bytes = writer.finish().unwrap();
/// let capture = capture::read(&bytes).unwrap();
/// assert_eq!(capture.packets[0].at, Instant::from_nanos(5));
/// assert_eq!(capture.packets[0].comments, ["why"]);
/// ```
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    buffer: Vec<u8>,
    interfaces: u32,
}

impl<W: Write> Writer<W> {
    /// Begins a section.
    pub fn new(out: W, info: &SectionInfo<'_>) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, buffer: Vec::with_capacity(FLUSH_AT + 4096), interfaces: 0 };
        let start = writer.begin(block::SECTION_HEADER);
        writer.u32(BYTE_ORDER_MAGIC);
        writer.buffer.extend([1, 0, 0, 0]); // version 1.0
        writer.buffer.extend([0xff; 8]); // section length not known
        let texts = [
            (option::COMMENT, info.comment),
            (option::SHB_HARDWARE, info.hardware),
            (option::SHB_OS, info.os),
            (option::SHB_APPLICATION, info.application),
        ];
        writer.texts(&texts);
        writer.end(start)?;
        Ok(writer)
    }

    /// Describes an interface; empty texts are left out. Its number is for [`PacketInfo::interface`].
    pub fn interface(&mut self, name: &str, description: &str, link_type: LinkType) -> io::Result<u32> {
        let start = self.begin(block::INTERFACE);
        self.u16(link_type.0);
        self.u16(0);
        self.u32(0); // no snap length
        self.option(option::IF_TSRESOL, &[9]);
        self.texts(&[(option::IF_NAME, name), (option::IF_DESCRIPTION, description)]);
        self.end(start)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Keys for decryption. Must stand before the packets they decrypt. Panics above 4 GiB.
    pub fn secrets(&mut self, kind: SecretsType, secrets: &[u8]) -> io::Result<()> {
        let start = self.begin(block::SECRETS);
        self.u32(kind.0);
        self.u32(len32(secrets.len()));
        self.buffer.extend_from_slice(secrets);
        self.pad();
        self.end(start)
    }

    /// Names for addresses, shown by Wireshark when it resolves names.
    pub fn names<'n>(&mut self, names: impl IntoIterator<Item = (IpAddr, &'n str)>) -> io::Result<()> {
        let start = self.begin(block::NAMES);
        for (address, name) in names {
            // A name that does not fit the record's 16-bit length is cut as comments are.
            let name = cut(name, u16::MAX as usize - 17);
            let (kind, octets): (u16, &[u8]) = match &address {
                IpAddr::V4(a) => (1, &a.octets()),
                IpAddr::V6(a) => (2, &a.octets()),
            };
            self.u16(kind);
            self.u16(len16(octets.len() + name.len() + 1));
            self.buffer.extend_from_slice(octets);
            self.buffer.extend_from_slice(name.as_bytes());
            self.buffer.push(0);
            self.pad();
        }
        self.u32(0); // end of records
        self.end(start)
    }

    /// A packet in one piece.
    #[inline]
    pub fn packet(&mut self, info: &PacketInfo<'_>, bytes: &[u8]) -> io::Result<()> {
        self.packet_parts(info, bytes, &[])
    }

    /// A packet in two pieces.
    #[inline]
    pub fn frame(&mut self, info: &PacketInfo<'_>, frame: &Frame) -> io::Result<()> {
        self.packet_parts(info, frame.head(), frame.tail())
    }

    /// A packet of `head` followed by `tail`. Panics when the interface was not described.
    pub fn packet_parts(&mut self, info: &PacketInfo<'_>, head: &[u8], tail: &[u8]) -> io::Result<()> {
        let PacketInfo { interface, at, direction, original_len, comments } = *info;
        assert!(interface < self.interfaces, "interface {interface} of {}", self.interfaces);
        let len = head.len() + tail.len();
        let captured = len32(len);
        let original = if original_len == 0 { captured } else { len32(original_len) };
        let ns = at.as_nanos();
        self.buffer.reserve(len + 64);
        let start = self.buffer.len();
        let mut fixed = [0; 28];
        let words = [
            block::ENHANCED_PACKET,
            0, // the block's length, known at its end
            interface,
            (ns >> 32) as u32,
            (ns & 0xffff_ffff) as u32,
            captured,
            original,
        ];
        for (to, word) in fixed.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        self.buffer.extend_from_slice(&fixed);
        self.buffer.extend_from_slice(head);
        self.buffer.extend_from_slice(tail);
        self.pad();
        if direction != Direction::Unknown || !comments.is_empty() {
            match direction {
                Direction::Unknown => {}
                Direction::Inbound => self.option(option::EPB_FLAGS, &[1, 0, 0, 0]),
                Direction::Outbound => self.option(option::EPB_FLAGS, &[2, 0, 0, 0]),
            }
            for comment in comments {
                self.option(option::COMMENT, cut(comment, u16::MAX.into()).as_bytes());
            }
            self.option(option::END, &[]);
        }
        self.end(start)
    }

    /// An interface's counters at the end: packets received, and dropped for lack of room.
    pub fn statistics(&mut self, interface: u32, at: Instant, received: u64, dropped: u64) -> io::Result<()> {
        assert!(interface < self.interfaces, "interface {interface} of {}", self.interfaces);
        let start = self.begin(block::STATISTICS);
        self.u32(interface);
        self.u32((at.as_nanos() >> 32) as u32);
        self.u32((at.as_nanos() & 0xffff_ffff) as u32);
        self.option(option::ISB_IFRECV, &received.to_le_bytes());
        self.option(option::ISB_IFDROP, &dropped.to_le_bytes());
        self.option(option::END, &[]);
        self.end(start)
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }

    /// Writes out what is buffered and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    fn u16(&mut self, v: u16) {
        self.buffer.extend(v.to_le_bytes());
    }

    fn u32(&mut self, v: u32) {
        self.buffer.extend(v.to_le_bytes());
    }

    /// A block's type and room for its length; where it begins.
    fn begin(&mut self, kind: u32) -> usize {
        let start = self.buffer.len();
        self.u32(kind);
        self.u32(0);
        start
    }

    /// The length at both ends of the block that began at `start`.
    #[inline]
    fn end(&mut self, start: usize) -> io::Result<()> {
        let len = len32(self.buffer.len() + 4 - start).to_le_bytes();
        self.buffer.extend_from_slice(&len);
        self.buffer[start + 4..start + 8].copy_from_slice(&len);
        if self.buffer.len() >= FLUSH_AT {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Blocks begin on multiples of four in the buffer, so this pads within the block.
    #[inline]
    fn pad(&mut self) {
        let n = self.buffer.len().next_multiple_of(4) - self.buffer.len();
        self.buffer.extend_from_slice(&[0; 3][..n]);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(len16(value.len()));
        self.buffer.extend_from_slice(value);
        self.pad();
    }

    /// The options that are not empty, and the end of options.
    fn texts(&mut self, texts: &[(u16, &str)]) {
        for (code, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            self.option(*code, cut(text, u16::MAX.into()).as_bytes());
        }
        self.option(option::END, &[]);
    }
}

/// The first at most `n` bytes of `text`, whole characters.
fn cut(text: &str, n: usize) -> &str {
    &text[..text.floor_char_boundary(n)]
}

fn len16(n: usize) -> u16 {
    u16::try_from(n).expect("texts are cut to 16-bit lengths")
}

fn len32(n: usize) -> u32 {
    u32::try_from(n).expect("a block is less than 4 GiB")
}
