//! One packet as one line, in the script's own notation.

use core::fmt::Write;

use wire::tcp::Flags;

use super::live::{Live, LiveBody};
use super::{icmp, options};
use crate::ast::{Body, Packet, Quoted};

/// packetdrill's letters: tcpdump's, but for one.
pub(crate) fn letters() -> impl Iterator<Item = (Flags, char)> {
    Flags::LETTERS.into_iter().map(|(flag, c)| (flag, if flag == Flags::AE { 'A' } else { c }))
}

fn flags(bits: u16, ace: bool) -> String {
    let shown = letters().take(if ace { 6 } else { 9 });
    let mut text: String = shown.filter(|(f, _)| bits & f.0 != 0).map(|(_, c)| c).collect();
    if ace {
        let n = u8::from(bits & Flags::AE.0 != 0) << 2
            | u8::from(bits & Flags::CWR.0 != 0) << 1
            | u8::from(bits & Flags::ECE.0 != 0);
        let _ = write!(text, "{n}");
    }
    if text.is_empty() { "-".into() } else { text }
}

struct Line<'a> {
    flags: String,
    seq: u32,
    len: usize,
    ack: Option<u32>,
    window: Option<u16>,
    options: &'a [String],
}

fn line(l: &Line<'_>) -> String {
    let len = u32::try_from(l.len).unwrap_or(u32::MAX);
    let mut text = format!("{} {}:{}({})", l.flags, l.seq, l.seq.wrapping_add(len), l.len);
    if let Some(ack) = l.ack {
        let _ = write!(text, " ack {ack}");
    }
    if let Some(window) = l.window {
        let _ = write!(text, " win {window}");
    }
    if !l.options.is_empty() {
        let _ = write!(text, " <{}>", l.options.join(","));
    }
    text
}

/// A packet of the host; `ace` when the script counts congestion marks.
pub(crate) fn show_live(live: &Live, ace: bool) -> String {
    match &live.body {
        LiveBody::Tcp(tcp) => {
            let shown: Vec<String> = match options::split(&tcp.options) {
                Ok(all) => all.into_iter().map(options::show).collect(),
                Err(e) => vec![e],
            };
            line(&Line {
                flags: flags(tcp.flags, ace),
                seq: tcp.seq,
                len: tcp.payload.len(),
                ack: (tcp.flags & Flags::ACK.0 != 0).then_some(tcp.ack),
                window: Some(tcp.window),
                options: &shown,
            })
        }
        LiveBody::Udp { payload, .. } => format!("udp ({})", payload.len()),
        LiveBody::Icmp { ty, code, .. } => format!("icmp {}", icmp::show(*ty, *code, live.src.is_ipv6())),
        LiveBody::Other(n) => format!("protocol {n}"),
    }
}

/// A packet of the script.
pub(crate) fn show_script(packet: &Packet) -> String {
    match &packet.body {
        Body::Tcp(tcp) => {
            let shown: Vec<String> = match &tcp.options {
                None => vec!["...".into()],
                Some(all) => all
                    .iter()
                    .map(|o| {
                        let mut bytes = Vec::new();
                        o.emit(&mut bytes);
                        options::show((o.kind(), bytes.get(2..).unwrap_or_default()))
                    })
                    .collect(),
            };
            line(&Line {
                flags: flags(tcp.flags, tcp.ace),
                seq: tcp.seq,
                len: usize::from(tcp.len),
                ack: (tcp.flags & Flags::ACK.0 != 0).then_some(tcp.ack),
                window: tcp.window,
                options: &shown,
            })
        }
        Body::Udp { len } => format!("udp ({len})"),
        Body::Icmp(icmp) => {
            let mut text = format!("icmp {}", icmp.kind);
            if let Some(code) = &icmp.code {
                let _ = write!(text, " {code}");
            }
            if let Some(mtu) = icmp.mtu {
                let _ = write!(text, " mtu {mtu}");
            }
            if let Quoted::Tcp { seq, len } = icmp.quoted {
                let _ = write!(text, " [{seq}:{}({len})]", seq.wrapping_add(len.into()));
            }
            text
        }
    }
}
