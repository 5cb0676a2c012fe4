//! DER as OCSP answers and certificate policies need it (X.690): values written from their parts, and read one by one.

/// Universal and context tags that are used here.
pub(super) mod tag {
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    /// `[n]`, constructed.
    pub(crate) const fn context(n: u8) -> u8 {
        0xa0 + n
    }
    /// `[n] IMPLICIT` of a primitive type.
    pub(crate) const fn context_primitive(n: u8) -> u8 {
        0x80 + n
    }
}

/// One value made of the bytes of its parts.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..128) => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | u8::try_from(bytes.len() - skip).expect("at most eight"));
            out.extend_from_slice(&bytes[skip..]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// `SEQUENCE` of parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(tag::SEQUENCE, parts)
}

/// Values one after another, as a peer sent them.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The tag of the next value.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value whatever it is: its tag, all its bytes, and its content.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // 0x80 would be a length that comes later: not in DER. Four bytes of length are more than any answer that is read here.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some((tag, whole, content))
    }

    /// The content of the next value, which must have this tag.
    pub(super) fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.any().filter(|(tag, ..)| *tag == wanted).map(|(.., content)| content)
    }

    /// The inside of the next value, which must have this tag.
    pub(super) fn enter(&mut self, wanted: u8) -> Option<Reader<'a>> {
        self.expect(wanted).map(Reader)
    }
}
