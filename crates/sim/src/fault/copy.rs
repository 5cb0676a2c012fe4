//! Changed copies of TCP segments, as a fault makes them: a late segment of before, a blind attacker's, a middlebox's.
//! Numbers are relative to the segment's own, so that they fit whatever a connection began with.

use core::fmt::Write as _;
use core::ops::Range;

use wire::packet::{Packet, Transport};
use wire::tcp::{Flags, Options, SeqNum};
use wire::{Frame, Medium, ipv4, tcp};

/// What a copy has that the segment has not; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgedCopy {
    /// Flags.
    pub flags: Option<Flags>,
    /// Added to the sequence number.
    pub seq: Option<i32>,
    /// Added to the acknowledgment number.
    pub ack: Option<i32>,
    /// The window field.
    pub window: Option<u16>,
    /// Added to the timestamp's value.
    pub tsval: Option<i32>,
    /// Added to the timestamp's echo.
    pub tsecr: Option<i32>,
    /// Without options.
    pub no_options: bool,
    /// Congestion is experienced: the ECN field of the IP header is CE (RFC 3168), as a router marks it.
    pub ce: bool,
    /// The payload.
    pub data: Option<Vec<u8>>,
    /// One bit of the payload's byte at this offset is another; an offset past its end changes its last byte.
    pub flip: Option<u16>,
}

/// What cannot be read of a copy's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyError {
    /// The bytes of the text that it is about.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Longest payload of a copy: what a packet of 1500 bytes takes.
const MAX_DATA: usize = 1400;

const HINT: &str = "write such words as `flags R`, `seq +100`, `ack -1`, `window 0`, `tsval -5000`, `tsecr +1`, \
                    `no-options`, `ce`, `data none`, `data \"bytes\"`, `flip 20`";

impl ForgedCopy {
    /// Reads `flags R seq +100 data "bytes"`.
    ///
    /// # Errors
    /// The first word that is not understood.
    pub fn parse(text: &str) -> Result<ForgedCopy, CopyError> {
        let mut copy = ForgedCopy::default();
        let mut at = 0;
        while let Some((word, span)) = next_word(text, &mut at) {
            let bad = |span: Range<usize>, message: String| CopyError {
                span,
                message,
                hint: Some(HINT.to_string()),
            };
            if word == "no-options" || word == "ce" {
                copy.no_options |= word == "no-options";
                copy.ce |= word == "ce";
                continue;
            }
            let Some((value, value_span)) = next_word(text, &mut at) else {
                return Err(bad(span, format!("`{word}` is no change, or lacks its value")));
            };
            let no_number =
                || bad(value_span.clone(), format!("`{value}` is no difference such as +1 or -1"));
            let difference = || {
                let signed = value.starts_with(['+', '-']);
                value.parse::<i32>().ok().filter(|_| signed).ok_or_else(no_number)
            };
            match word {
                "flags" => {
                    copy.flags = Some(flags(value).ok_or_else(|| {
                        bad(
                            value_span.clone(),
                            format!("`{value}` are no flags as tcpdump writes them (FSRP.UEW)"),
                        )
                    })?)
                }
                "seq" => copy.seq = Some(difference()?),
                "ack" => copy.ack = Some(difference()?),
                "tsval" => copy.tsval = Some(difference()?),
                "tsecr" => copy.tsecr = Some(difference()?),
                "window" => {
                    let window = value.parse();
                    copy.window =
                        Some(window.map_err(|_| bad(value_span, format!("`{value}` is no window")))?);
                }
                "flip" => {
                    let offset = value.parse();
                    copy.flip = Some(offset.map_err(|_| bad(value_span, format!("`{value}` is no offset")))?);
                }
                "data" if value == "none" => copy.data = Some(Vec::new()),
                "data" => {
                    let bytes = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                    match bytes.filter(|b| b.len() <= MAX_DATA) {
                        Some(bytes) => copy.data = Some(bytes.as_bytes().to_vec()),
                        None => {
                            return Err(bad(value_span, "data are `none`, or short and in quotes".into()));
                        }
                    }
                }
                _ => return Err(bad(span, format!("`{word}` is nothing that can be changed"))),
            }
        }
        Ok(copy)
    }

    /// The changed copy; `None` of what is no TCP segment over IPv4.
    pub(crate) fn of(&self, frame: &Frame, medium: Medium) -> Option<Frame> {
        let bytes = frame.to_vec();
        let packet = Packet::parse(&bytes, medium);
        let level = packet.outermost();
        let (Transport::Tcp(header), wire::packet::Network::Ipv4(ip)) = (&level.transport, &level.network)
        else {
            return None;
        };
        let mut header = *header;
        let add = |n: SeqNum, by: Option<i32>| SeqNum(n.0.wrapping_add_signed(by.unwrap_or(0)));
        header.flags = self.flags.unwrap_or(header.flags);
        header.seq = add(header.seq, self.seq);
        header.ack = add(header.ack, self.ack);
        header.window = self.window.unwrap_or(header.window);
        header.options = if self.no_options { Options::EMPTY } else { self.timestamps(&header.options) };
        header.checksum = 0;
        let data = self.data.as_deref().unwrap_or(level.payload);
        let mut segment = vec![0; header.header_len()];
        header.emit(&mut segment);
        segment.extend_from_slice(data);
        if let Some(offset) = self.flip.filter(|_| !data.is_empty()) {
            let at = usize::from(offset).min(data.len() - 1);
            segment[header.header_len() + at] ^= 1;
        }
        header.checksum = tcp::checksum_v4(ip.src, ip.dst, &segment);
        header.emit(&mut segment);
        let link = level.ethernet.map_or(0, |h| h.header_len());
        let mut head = *ip;
        if self.ce {
            head.tos |= 3;
        }
        head.total_len = u16::try_from(ip.header_len() + segment.len()).ok()?;
        let mut out = Frame::with_headroom(wire::frame::MAX_HEADROOM, segment.len());
        out.put(&segment);
        let mut ip_header = vec![0; ip.header_len()];
        ipv4::Header::emit(&head, &mut ip_header);
        out.push(ip_header.len()).copy_from_slice(&ip_header);
        out.push(link).copy_from_slice(&bytes[..link]);
        Some(out)
    }

    /// The options with the timestamps moved.
    fn timestamps(&self, options: &Options) -> Options {
        let mut bytes = options.as_bytes().to_vec();
        let found = options.iter().find(|(_, o)| matches!(o, tcp::Opt::Timestamps(_)));
        if let Some((at, tcp::Opt::Timestamps(t))) = found {
            let add = |n: u32, by: Option<i32>| n.wrapping_add_signed(by.unwrap_or(0)).to_be_bytes();
            bytes[at + 2..at + 6].copy_from_slice(&add(t.val, self.tsval));
            bytes[at + 6..at + 10].copy_from_slice(&add(t.ecr, self.tsecr));
        }
        Options::from_bytes(&bytes).expect("as long as before")
    }
}

impl core::fmt::Display for ForgedCopy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut words = String::new();
        if let Some(flags) = self.flags {
            let letters: String =
                Flags::LETTERS.iter().filter(|l| flags.contains(l.0)).map(|l| l.1).collect();
            let _ = write!(words, " flags {letters}");
        }
        for (name, by) in [("seq", self.seq), ("ack", self.ack), ("tsval", self.tsval), ("tsecr", self.tsecr)]
        {
            if let Some(by) = by {
                let _ = write!(words, " {name} {by:+}");
            }
        }
        if let Some(window) = self.window {
            let _ = write!(words, " window {window}");
        }
        if self.no_options {
            words.push_str(" no-options");
        }
        if self.ce {
            words.push_str(" ce");
        }
        if let Some(data) = &self.data {
            let _ = write!(words, " data {} B", data.len());
        }
        if let Some(offset) = self.flip {
            let _ = write!(words, " flip {offset}");
        }
        f.write_str(words.trim_start())
    }
}

fn flags(text: &str) -> Option<Flags> {
    let each = text.chars().map(|c| Flags::LETTERS.iter().find(|l| l.1 == c).map(|l| l.0));
    each.collect::<Option<Vec<Flags>>>().map(|all| all.into_iter().fold(Flags(0), |a, b| a | b))
}

/// The next word; quotes keep blanks together.
fn next_word<'a>(text: &'a str, at: &mut usize) -> Option<(&'a str, Range<usize>)> {
    let rest = &text[*at..];
    let start = *at + rest.find(|c: char| !c.is_whitespace())?;
    let rest = &text[start..];
    let len = match rest.strip_prefix('"') {
        Some(inside) => inside.find('"').map_or(rest.len(), |end| end + 2),
        None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
    };
    *at = start + len;
    Some((&text[start..start + len], start..start + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_what_is_not_understood_is_shown_at_its_place() {
        let copy = ForgedCopy::parse("flags R. seq +100 tsval -5000 data \"old data\"").expect("it reads");
        assert_eq!(copy.flags, Some(Flags::RST | Flags::ACK));
        assert_eq!((copy.seq, copy.tsval, copy.ack), (Some(100), Some(-5000), None));
        assert_eq!(copy.data.as_deref(), Some(&b"old data"[..]));
        for (text, span) in [("seq 100", 4..7), ("flags X", 6..7), ("colour red", 0..6), ("data", 0..4)] {
            assert_eq!(ForgedCopy::parse(text).expect_err("not understood").span, span, "{text}");
        }
    }

    #[test]
    fn a_copy_has_a_right_checksum_and_keeps_what_is_not_changed() {
        let header = tcp::Header {
            src_port: 5000,
            dst_port: 80,
            seq: SeqNum(u32::MAX),
            ack: SeqNum(7),
            flags: Flags::ACK,
            window: 100,
            ..tcp::Header::default()
        };
        let ip = ipv4::Header {
            src: [192, 0, 2, 1].into(),
            dst: [192, 0, 2, 2].into(),
            protocol: wire::ip::Protocol::TCP,
            total_len: 45,
            ttl: 64,
            ..ipv4::Header::default()
        };
        let mut bytes = vec![0; 40];
        ip.emit(&mut bytes);
        header.emit(&mut bytes[20..]);
        bytes.extend_from_slice(b"hello");
        let copy = ForgedCopy::parse("seq +2 data \"HI\"").expect("it reads");
        let made = copy.of(&Frame::from_slice(&bytes), Medium::Ip).expect("a segment").to_vec();
        let packet = Packet::parse(&made, Medium::Ip);
        let Transport::Tcp(h) = packet.outermost().transport else { panic!("{packet:?}") };
        assert_eq!(
            (h.seq, h.ack, h.window, packet.outermost().payload),
            (SeqNum(1), SeqNum(7), 100, &b"HI"[..])
        );
        assert!(tcp::verify_v4(ip.src, ip.dst, &made[20..]));
        for (text, payload) in [("flip 1", b"hdllo"), ("flip 999", b"helln")] {
            let copy = ForgedCopy::parse(text).expect("it reads");
            let made = copy.of(&Frame::from_slice(&bytes), Medium::Ip).expect("a segment").to_vec();
            assert_eq!(Packet::parse(&made, Medium::Ip).outermost().payload, payload);
            assert!(tcp::verify_v4(ip.src, ip.dst, &made[20..]));
        }
    }
}
