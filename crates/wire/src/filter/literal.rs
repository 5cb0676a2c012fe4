//! Values written in a filter, read by the type of the field they stand beside, and how they compare.

use super::{Field, Kind, Relation, Value};
use crate::MacAddr;
use core::cmp::Ordering;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    Uint(u64),
    Bool(bool),
    /// Address and prefix length.
    V4(Ipv4Addr, u32),
    V6(Ipv6Addr, u32),
    Mac(MacAddr),
    Bytes(Vec<u8>),
}

/// What stood in the text.
#[derive(Clone, Copy)]
pub(super) enum Written<'t> {
    Word(&'t str),
    Text(&'t str),
}

impl Literal {
    /// Reads what was written as a value of `kind`; otherwise says what was expected.
    pub(super) fn read(kind: Kind, field: &Field, written: Written<'_>) -> Result<Literal, String> {
        let name = field.name;
        let word = match written {
            Written::Text(text) if kind == Kind::Bytes => return Ok(Literal::Bytes(unescape(text))),
            Written::Text(_) => {
                return Err(format!("{name} is {}: no quotation marks here", kind.expected()));
            }
            Written::Word(word) => word,
        };
        let expected = || format!("{} is expected for {name}, not {word:?}", kind.expected());
        match kind {
            Kind::Uint(bits) => {
                let v = uint(word).ok_or_else(expected)?;
                if bits < 64 && v >> bits != 0 {
                    return Err(format!("{name} has {bits} bits: {v} does not fit"));
                }
                Ok(Literal::Uint(v))
            }
            Kind::Bool => match word {
                "1" | "true" | "True" | "TRUE" => Ok(Literal::Bool(true)),
                "0" | "false" | "False" | "FALSE" => Ok(Literal::Bool(false)),
                _ => Err(expected()),
            },
            Kind::Ipv4 => {
                let (address, prefix) = prefix(word, 32).ok_or_else(expected)?;
                Ok(Literal::V4(address.parse().map_err(|_| expected())?, prefix))
            }
            Kind::Ipv6 => {
                let (address, prefix) = prefix(word, 128).ok_or_else(expected)?;
                Ok(Literal::V6(address.parse().map_err(|_| expected())?, prefix))
            }
            Kind::Mac => {
                let octets = hex(word).and_then(|b| <[u8; 6]>::try_from(b).ok()).ok_or_else(expected)?;
                Ok(Literal::Mac(MacAddr(octets)))
            }
            Kind::Bytes => Ok(Literal::Bytes(hex(word).ok_or_else(expected)?)),
            Kind::Protocol => Err(format!("{name} is a protocol and has no value to compare")),
        }
    }

    /// `value relation self`.
    pub(super) fn relates(&self, value: Value<'_>, relation: Relation) -> bool {
        match (self, value) {
            (Literal::Uint(l), value) => relates(value, Value::Uint(*l), relation),
            (Literal::Bool(l), value) => relates(value, Value::Bool(*l), relation),
            (Literal::Mac(l), value) => relates(value, Value::Mac(*l), relation),
            (Literal::Bytes(l), value) => relates(value, Value::Bytes(l), relation),
            (Literal::V4(l, prefix), Value::V4(v)) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                ordered((v.to_bits() & mask).cmp(&(l.to_bits() & mask)), relation)
            }
            (Literal::V6(l, prefix), Value::V6(v)) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                ordered((v.to_bits() & mask).cmp(&(l.to_bits() & mask)), relation)
            }
            (Literal::V4(..) | Literal::V6(..), _) => false,
        }
    }
}

/// `left relation right`; values of different types do not relate.
pub(super) fn relates(left: Value<'_>, right: Value<'_>, relation: Relation) -> bool {
    let order = match (left, right) {
        (Value::Bytes(l), Value::Bytes(r)) if relation == Relation::Contains => {
            return !r.is_empty() && l.windows(r.len()).any(|w| w == r);
        }
        (Value::Uint(l), Value::Uint(r)) => l.cmp(&r),
        (Value::Bool(l), Value::Bool(r)) => l.cmp(&r),
        (Value::V4(l), Value::V4(r)) => l.cmp(&r),
        (Value::V6(l), Value::V6(r)) => l.cmp(&r),
        (Value::Mac(l), Value::Mac(r)) => l.cmp(&r),
        (Value::Bytes(l), Value::Bytes(r)) => l.cmp(r),
        _ => return false,
    };
    ordered(order, relation)
}

fn ordered(order: Ordering, relation: Relation) -> bool {
    match relation {
        Relation::Eq | Relation::AllEq => order.is_eq(),
        Relation::Ne | Relation::AnyNe => order.is_ne(),
        Relation::Lt => order.is_lt(),
        Relation::Le => order.is_le(),
        Relation::Gt => order.is_gt(),
        Relation::Ge => order.is_ge(),
        Relation::Contains => false,
    }
}

/// Decimal, `0x` hexadecimal, `0b` binary or, with a leading zero, octal.
pub(super) fn uint(word: &str) -> Option<u64> {
    let lower = word.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    // from_str_radix takes a sign.
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

fn prefix(word: &str, bits: u32) -> Option<(&str, u32)> {
    match word.split_once('/') {
        None => Some((word, bits)),
        Some((address, len)) => Some((address, len.parse().ok().filter(|&n| n <= bits)?)),
    }
}

/// Bytes as `de:ad`, `de-ad`, `dead`, `0xdead`.
fn hex(word: &str) -> Option<Vec<u8>> {
    if !word.is_ascii() {
        return None;
    }
    let separator = word.chars().find(|c| matches!(c, ':' | '-' | '.'));
    let groups: Vec<&str> = match separator {
        Some(c) => word.split(c).collect(),
        None => {
            let digits = word.strip_prefix("0x").unwrap_or(word);
            if digits.is_empty() || !digits.len().is_multiple_of(2) {
                return None;
            }
            (0..digits.len()).step_by(2).map(|i| &digits[i..i + 2]).collect()
        }
    };
    let byte = |g: &&str| {
        let digits = (1..=2).contains(&g.len()) && g.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(g, 16).ok()).flatten()
    };
    groups.iter().map(byte).collect()
}

/// The bytes of a quoted text: `\"`, `\\`, `\n`, `\r`, `\t`, `\0`, `\xNN`; any other character is itself.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [escape, tail @ ..] = rest else { break };
        rest = tail;
        out.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let code = rest.get(..2).and_then(|d| core::str::from_utf8(d).ok());
                match code.and_then(|d| u8::from_str_radix(d, 16).ok()) {
                    Some(byte) => {
                        rest = &rest[2..];
                        byte
                    }
                    None => b'x',
                }
            }
            other => *other,
        });
    }
    out
}
