//! TCP options of scripts as bytes and back, in exact order with their padding (RFC 9293 §3.2, 7323, 2018, 7413, 9768).

use core::fmt::Write;

use crate::ast::TcpOption;

/// Experiment identifier of Fast Open before it had a kind (RFC 6994).
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];
/// AccECN with the ECT(0) counter first, and with the ECT(1) counter first (RFC 9768 §3.2.3).
const ACC_ECN: [u8; 2] = [172, 174];

impl TcpOption {
    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        match self {
            TcpOption::Nop | TcpOption::Eol => 1,
            TcpOption::Mss(_) => 4,
            TcpOption::WindowScale(_) => 3,
            TcpOption::SackPermitted => 2,
            TcpOption::Sack(blocks) => 2 + 8 * blocks.len(),
            TcpOption::Timestamps { .. } => 10,
            TcpOption::FastOpen { cookie, experimental } => {
                2 + cookie.len() + if *experimental { FAST_OPEN_MAGIC.len() } else { 0 }
            }
            TcpOption::Md5(digest) => 2 + digest.len(),
            TcpOption::AccEcn { counters, .. } => 2 + 3 * counters.len(),
        }
    }

    /// The option's kind.
    pub fn kind(&self) -> u8 {
        match self {
            TcpOption::Eol => 0,
            TcpOption::Nop => 1,
            TcpOption::Mss(_) => 2,
            TcpOption::WindowScale(_) => 3,
            TcpOption::SackPermitted => 4,
            TcpOption::Sack(_) => 5,
            TcpOption::Timestamps { .. } => 8,
            TcpOption::Md5(_) => 19,
            TcpOption::FastOpen { experimental: false, .. } => 34,
            TcpOption::FastOpen { experimental: true, .. } => 254,
            TcpOption::AccEcn { e1b_first, .. } => ACC_ECN[usize::from(*e1b_first)],
        }
    }

    /// Appends the option's bytes.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        if matches!(self, TcpOption::Nop | TcpOption::Eol) {
            return;
        }
        out.push(u8::try_from(self.wire_len()).unwrap_or(u8::MAX));
        match self {
            TcpOption::Nop | TcpOption::Eol | TcpOption::SackPermitted => {}
            TcpOption::Mss(n) => out.extend(n.to_be_bytes()),
            TcpOption::WindowScale(n) => out.push(*n),
            TcpOption::Sack(blocks) => {
                for (left, right) in blocks {
                    out.extend(left.to_be_bytes());
                    out.extend(right.to_be_bytes());
                }
            }
            TcpOption::Timestamps { val, ecr } => {
                out.extend(val.to_be_bytes());
                out.extend(ecr.to_be_bytes());
            }
            TcpOption::FastOpen { cookie, experimental } => {
                if *experimental {
                    out.extend(FAST_OPEN_MAGIC);
                }
                out.extend(cookie);
            }
            TcpOption::Md5(digest) => out.extend(digest),
            TcpOption::AccEcn { counters, .. } => {
                for n in counters {
                    out.extend(&n.to_be_bytes()[1..]);
                }
            }
        }
    }
}

/// One option of a live packet: kind and data. `None` stands for bytes that are no option.
pub type RawOption<'a> = (u8, &'a [u8]);

/// Splits option bytes as packetdrill does: EOL and NOP are options of one byte, also as padding. `Err` when a
/// length is wrong.
pub fn split(mut bytes: &[u8]) -> Result<Vec<RawOption<'_>>, String> {
    let mut all = Vec::new();
    while let [kind, rest @ ..] = bytes {
        if *kind <= 1 {
            all.push((*kind, &bytes[..0]));
            bytes = rest;
            continue;
        }
        let len = usize::from(*rest.first().ok_or("TCP option ends after its kind")?);
        if len < 2 || len > bytes.len() {
            return Err(format!("TCP option of kind {kind} has length {len}"));
        }
        all.push((*kind, &bytes[2..len]));
        bytes = &bytes[len..];
    }
    Ok(all)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// One option in the script's words.
pub fn show((kind, data): RawOption<'_>) -> String {
    let hex = |data: &[u8]| {
        data.iter().fold(String::new(), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
    };
    let known = match (kind, data.len()) {
        (0, _) => Some("eol".to_owned()),
        (1, _) => Some("nop".to_owned()),
        (2, 2) => Some(format!("mss {}", u16::from_be_bytes([data[0], data[1]]))),
        (3, 1) => Some(format!("wscale {}", data[0])),
        (4, 0) => Some("sackOK".to_owned()),
        (5, n) if n % 8 == 0 => {
            let blocks = data.chunks(8).filter_map(|b| Some((u32_at(b, 0)?, u32_at(b, 4)?)));
            Some(blocks.fold("sack".to_owned(), |text, (l, r)| format!("{text} {l}:{r}")))
        }
        (8, 8) => u32_at(data, 0).zip(u32_at(data, 4)).map(|(val, ecr)| format!("TS val {val} ecr {ecr}")),
        (19, _) => Some(format!("md5 {}", hex(data))),
        (34, _) => Some(format!("FO {}", hex(data))),
        (254, n) if n >= 2 && data[..2] == FAST_OPEN_MAGIC => Some(format!("FOEXP {}", hex(&data[2..]))),
        (172 | 174, n) if n % 3 == 0 => {
            let names = if kind == ACC_ECN[0] { ["e0b", "ceb", "e1b"] } else { ["e1b", "ceb", "e0b"] };
            let counters = data.chunks(3).map(|c| u32::from_be_bytes([0, c[0], c[1], c[2]]));
            Some(counters.zip(names).fold("ECN".to_owned(), |text, (n, name)| format!("{text} {name} {n}")))
        }
        _ => None,
    };
    known.map_or_else(|| format!("kind {kind} 0x{}", hex(data)), |k| k.trim_end().to_owned())
}
