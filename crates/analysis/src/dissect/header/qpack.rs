//! QPACK (RFC 9204): field sections, and the encoder's instructions that fill the dynamic table.

use super::{Line, MAX_FIELDS, MAX_LIST, Pair, Table, integer, string, tables};

/// Most bytes of an instruction that are waited for.
const MAX_WAITING: usize = 256 << 10;

/// One direction's encoder as its decoder sees it.
#[derive(Debug)]
pub(in crate::dissect) struct Qpack {
    pub(in crate::dissect) table: Table,
    /// SETTINGS_QPACK_MAX_TABLE_CAPACITY of the decoder's side.
    pub(in crate::dissect) max_capacity: u64,
    buffer: Vec<u8>,
}

impl Default for Qpack {
    fn default() -> Qpack {
        Qpack { table: Table::new(0), max_capacity: 0, buffer: Vec::new() }
    }
}

fn fixed(index: usize) -> Option<Pair> {
    let (name, value) = tables::QPACK.get(index)?;
    Some((name.as_bytes().to_vec(), value.as_bytes().to_vec()))
}

impl Qpack {
    /// Bytes of the encoder stream; what was done, in words.
    pub(in crate::dissect) fn instructions(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        let mut told = Vec::new();
        while at < buffer.len() {
            let mut end = at;
            match self.instruction(&buffer, &mut end) {
                Some(text) => told.push(text),
                None => break,
            }
            at = end;
        }
        buffer.drain(..at);
        if buffer.len() <= MAX_WAITING {
            self.buffer = buffer;
        }
        told
    }

    /// RFC 9204 §4.3. `None`: not complete.
    fn instruction(&mut self, b: &[u8], at: &mut usize) -> Option<String> {
        let first = *b.get(*at)?;
        let show =
            |pair: &Pair| format!("{}: {}", crate::dissect::lossy(&pair.0), crate::dissect::lossy(&pair.1));
        if first & 0x80 != 0 {
            let index = integer(b, at, 6)?;
            let (value, _) = string(b, at, 7)?;
            let name = if first & 0x40 != 0 {
                fixed(index).map(|p| p.0)
            } else {
                self.table.get(index).map(|p| p.0.clone())
            };
            let pair = (name.unwrap_or_else(|| b"?".to_vec()), value);
            let text = format!("insert {}", show(&pair));
            self.table.insert(pair);
            return Some(text);
        }
        if first & 0x40 != 0 {
            let (name, _) = string(b, at, 5)?;
            let (value, _) = string(b, at, 7)?;
            let text = format!("insert {}", show(&(name.clone(), value.clone())));
            self.table.insert((name, value));
            return Some(text);
        }
        if first & 0x20 != 0 {
            let capacity = integer(b, at, 5)?;
            self.table.resize(capacity);
            return Some(format!("capacity {capacity}"));
        }
        let index = integer(b, at, 5)?;
        let pair = self.table.get(index).cloned();
        let text = format!("duplicate {}", pair.as_ref().map_or_else(|| "?".to_string(), show));
        if let Some(pair) = pair {
            self.table.insert(pair);
        }
        Some(text)
    }

    /// The entry with this absolute index, from 0.
    fn absolute(&self, index: u64) -> Option<Pair> {
        let back = self.table.inserted.checked_sub(index)?.checked_sub(1)?;
        self.table.get(usize::try_from(back).ok()?).cloned()
    }

    /// A field section (RFC 9204 §4.5). `None`: malformed, or it needs entries that were not seen yet.
    pub(in crate::dissect) fn decode(&self, b: &[u8]) -> Option<Vec<Line>> {
        let mut at = 0;
        let encoded = integer(b, &mut at, 8)? as u64;
        let required = self.required(encoded)?;
        if required > self.table.inserted {
            return None;
        }
        let negative = b.get(at)? & 0x80 != 0;
        let delta = integer(b, &mut at, 7)? as u64;
        let base = if negative { required.checked_sub(delta)?.checked_sub(1)? } else { required + delta };
        let relative =
            |index: usize| base.checked_sub(index as u64)?.checked_sub(1).and_then(|i| self.absolute(i));
        let post = |index: usize| self.absolute(base + index as u64);
        let mut lines = Vec::new();
        let mut size = 0;
        while let Some(&first) = b.get(at) {
            let line = if first & 0x80 != 0 {
                let index = integer(b, &mut at, 6)?;
                let fixed_one = first & 0x40 != 0;
                let pair = if fixed_one { fixed(index) } else { relative(index) }?;
                let from = if fixed_one { "static" } else { "dynamic" };
                Line::new(pair, format!("indexed, {from} {index}"))
            } else if first & 0x40 != 0 {
                let index = integer(b, &mut at, 4)?;
                let fixed_one = first & 0x10 != 0;
                let (name, _) = if fixed_one { fixed(index) } else { relative(index) }?;
                let (value, coded) = string(b, &mut at, 7)?;
                let from = if fixed_one { "static" } else { "dynamic" };
                Line::new((name, value), format!("name {from} {index}, {}", value_word(coded)))
            } else if first & 0x20 != 0 {
                let (name, _) = string(b, &mut at, 3)?;
                let (value, coded) = string(b, &mut at, 7)?;
                Line::new((name, value), format!("literal name, {}", value_word(coded)))
            } else if first & 0x10 != 0 {
                let index = integer(b, &mut at, 4)?;
                Line::new(post(index)?, format!("indexed, dynamic post-base {index}"))
            } else {
                let index = integer(b, &mut at, 3)?;
                let (name, _) = post(index)?;
                let (value, coded) = string(b, &mut at, 7)?;
                Line::new((name, value), format!("name dynamic post-base {index}, {}", value_word(coded)))
            };
            size += line.name.len() + line.value.len();
            if size > MAX_LIST || lines.len() >= MAX_FIELDS {
                return None;
            }
            lines.push(line);
        }
        Some(lines)
    }

    /// The Required Insert Count (RFC 9204 §4.5.1.1).
    fn required(&self, encoded: u64) -> Option<u64> {
        if encoded == 0 {
            return Some(0);
        }
        let max_entries = self.max_capacity / 32;
        let full = 2 * max_entries;
        if max_entries == 0 || encoded > full {
            return None;
        }
        let most = self.table.inserted + max_entries;
        let mut required = most / full * full + encoded - 1;
        if required > most {
            required = required.checked_sub(full)?;
        }
        (required != 0).then_some(required)
    }
}

fn value_word(coded: bool) -> &'static str {
    if coded { "Huffman value" } else { "literal value" }
}

#[cfg(test)]
mod tests {
    use super::Qpack;

    fn texts(qpack: &Qpack, section: &[u8]) -> Option<Vec<String>> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        Some(
            qpack.decode(section)?.iter().map(|l| format!("{}: {}", text(&l.name), text(&l.value))).collect(),
        )
    }

    #[test]
    fn sections_and_instructions_of_rfc_9204_appendix_b_decode() {
        let mut qpack = Qpack { max_capacity: 220, ..Qpack::default() };
        // B.1: a literal with a static name.
        let section = [&[0, 0, 0x51, 0x0b][..], b"/index.html"].concat();
        assert_eq!(texts(&qpack, &section).expect("B.1"), [":path: /index.html"]);
        // B.2: two insertions, then post-base references.
        let begin = [&[0x3f, 0xbd, 0x01, 0xc0, 0x0f][..], b"www.example.com", &[0xc1, 0x0c], b"/sample/path"]
            .concat();
        let told = qpack.instructions(&begin[..10]);
        assert_eq!(told, ["capacity 220"]);
        let told = qpack.instructions(&begin[10..]);
        assert_eq!(told, ["insert :authority: www.example.com", "insert :path: /sample/path"]);
        assert_eq!(qpack.table.words(), "table 2 entries 106 B");
        let both = [":authority: www.example.com", ":path: /sample/path"];
        assert_eq!(texts(&qpack, &[0x03, 0x81, 0x10, 0x11]).expect("B.2"), both);
        // B.3, B.4: a literal name, a duplicate, a section with relative references.
        let told =
            qpack.instructions(&[&[0x4a][..], b"custom-key", &[0x0c], b"custom-value", &[0x02]].concat());
        assert_eq!(told, ["insert custom-key: custom-value", "duplicate :authority: www.example.com"]);
        let section = [0x05, 0x00, 0x80, 0xc1, 0x81];
        let all = [":authority: www.example.com", ":path: /", "custom-key: custom-value"];
        assert_eq!(texts(&qpack, &section).expect("B.4"), all);
        assert!(texts(&qpack, &[0x07, 0x00, 0x80]).is_none(), "needs an entry that is not there");
    }
}
