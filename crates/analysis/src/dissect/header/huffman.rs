//! HPACK's Huffman code (RFC 7541 §5.2 and Appendix B), which QPACK uses too.
//!
//! The code is canonical: codes follow from their lengths, shorter first, equal lengths in the order of the symbols.

/// Bits of each symbol's code; the last is the end of the string, which never stands in one.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

const LONGEST: usize = 30;
const END: u16 = 256;

/// For each length: the first code of that length, and where its symbols begin in the order of codes.
struct Code {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [usize; LONGEST + 1],
    symbols: [u16; 257],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut c =
        Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], start: [0; LONGEST + 1], symbols: [0; 257] };
    let (mut len, mut next, mut at) = (1, 0_u32, 0);
    while len <= LONGEST {
        next <<= 1;
        c.first[len] = next;
        c.start[len] = at;
        let mut symbol = 0_u16;
        while symbol <= END {
            if LENGTHS[symbol as usize] as usize == len {
                c.symbols[at] = symbol;
                c.count[len] += 1;
                at += 1;
            }
            symbol += 1;
        }
        next += c.count[len];
        len += 1;
    }
    c
}

/// The string; `None` when it holds the end symbol or its padding is wrong (RFC 7541 §5.2).
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut len) = (0_u32, 0);
    for byte in bytes {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            len += 1;
            if len > LONGEST {
                return None;
            }
            let above = code.wrapping_sub(CODE.first[len]);
            if code >= CODE.first[len] && above < CODE.count[len] {
                let symbol = CODE.symbols[CODE.start[len] + above as usize];
                out.push(u8::try_from(symbol).ok()?);
                (code, len) = (0, 0);
            }
        }
    }
    // Padding is the beginning of the end symbol's code: ones, fewer than eight.
    (len < 8 && code == (1 << len) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn examples_of_rfc_7541_appendix_c_4_decode() {
        let bytes = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&bytes).as_deref(), Some(&b"www.example.com"[..]));
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Some(&b"no-cache"[..]));
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "the end symbol is no part of a string");
        assert_eq!(decode(&[0xa8, 0xf0]), None, "padding is of ones");
    }
}
